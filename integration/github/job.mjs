// Plays GitHub's runner for one step: node job.mjs ACTION INPUTS
//
// Reads the action's own action.yml, gives the step its inputs as the runner does, defaults included, runs it with
// node, and prints, as JSON, what the runner would have made of it: status, log, annotations, outputs, summary. SIGINT
// goes on to the step.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'

const [folder, given] = process.argv.slice(2)
const action = parse(readFileSync(join(folder, 'action.yml'), 'utf8'))
const inputs = JSON.parse(given)
const unknown = Object.keys(inputs).filter(name => !(name in action.inputs))
if (unknown.length) throw new Error(`the action has no ${unknown}`)
const env = { ...process.env }
for (const [name, { default: value }] of Object.entries(action.inputs)) {
  const chosen = inputs[name] ?? value
  if (chosen !== undefined) env[`INPUT_${name.replaceAll(' ', '_').toUpperCase()}`] = String(chosen)
}
const work = mkdtempSync(join(tmpdir(), 'job-'))
for (const file of ['GITHUB_OUTPUT', 'GITHUB_STEP_SUMMARY']) {
  env[file] = join(work, file)
  writeFileSync(env[file], '')
}
env.RUNNER_TEMP = work

const child = spawn('node', [join(folder, action.runs.main)], { env, stdio: ['ignore', 'pipe', 'pipe'] })
process.on('SIGINT', () => child.kill('SIGINT'))
let log = ''
child.stdout.on('data', piece => { log += piece })
child.stderr.on('data', piece => { log += piece })
const status = await new Promise(resolve => child.on('close', resolve))

// As the runner reads a log: between the marks nothing is a command.
const annotations = []
const orders = []
let stopped = ''
for (const line of log.split('\n')) {
  const command = /^\s*::([\w-]+)( [^:]*)?::(.*)$/.exec(line)
  if (stopped) {
    if (line.trim() === `::${stopped}::`) stopped = ''
  } else if (command?.[1] === 'stop-commands') {
    stopped = command[3]
  } else if (['notice', 'warning', 'error'].includes(command?.[1])) {
    annotations.push({ level: command[1], text: command[3].replaceAll('%0A', '\n').replaceAll('%25', '%') })
  } else if (command || /^##\[/.test(line)) {
    orders.push(line)
  }
}

const outputs = {}
const rows = readFileSync(env.GITHUB_OUTPUT, 'utf8').split('\n')
while (rows.length > 1) {
  const [name, mark] = rows.shift().split('<<')
  const end = rows.indexOf(mark)
  outputs[name] = rows.splice(0, end).join('\n')
  rows.shift()
}
for (const name of Object.keys(outputs)) if (!(name in action.outputs)) throw new Error(`action.yml has no output ${name}`)
const summary = readFileSync(env.GITHUB_STEP_SUMMARY, 'utf8')
rmSync(work, { recursive: true })
process.stdout.write(`${JSON.stringify({ status, log, annotations, orders, outputs, summary, stopped })}\n`)
