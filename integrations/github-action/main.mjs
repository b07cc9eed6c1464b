// Runs one command through a Countersign gateway, as a step of a workflow.
//
// In scope: from the step's inputs to `countersign run`, from its events to log, outputs, summary and status.
// Out of scope: who the job is and what is decided; the program and the gateway do that.
// Invariant: the step succeeds only if the command ran and succeeded. What the command or people wrote is never
// read as a workflow command.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { find } from './program.mjs'
import { Runner, Wrong, lines } from './runner.mjs'

/** How a run ended, by the exit status of `countersign run`, where the command itself did not run. */
const ENDINGS = { 64: 'refused', 69: 'unavailable', 70: 'unknown', 75: 'held', 77: 'refused', 130: 'interrupted', 143: 'interrupted' }

/** The status where nobody knows how it ended. */
const UNKNOWN = 70

const runner = new Runner()

/** The words of the command: a JSON list, or one a line. */
function words(text) {
  if (!text.trimStart().startsWith('[')) return lines(text)
  let list
  try {
    list = JSON.parse(text)
  } catch (error) {
    throw new Wrong(`\`command\` begins like a JSON list and is none: ${error.message}`)
  }
  if (!Array.isArray(list) || list.some(word => typeof word !== 'string')) throw new Wrong('`command` is no list of texts')
  return list
}

/** The arguments of the program. */
function argumentsOf(input) {
  const command = words(input('command'))
  if (command.length === 0) throw new Wrong('`command` is empty')
  if (command.some(word => word.includes('\0'))) throw new Wrong('`command` has a NUL in it, which no command takes')
  const local = input('local')
  if (!['true', 'false', ''].includes(local)) throw new Wrong('`local` is `true` or `false`')
  const reason = input('reason') || runner.page()
  return [
    '--json', 'run', `--target=${input('target')}`, `--wait=${input('wait')}`,
    ...(reason ? [`--reason=${reason}`] : []),
    ...(local === 'true' ? ['--local'] : []),
    ...lines(input('bind')).map(path => `--bind=${path}`),
    ...lines(input('env')).map(value => `--env=${value}`),
    '--', ...command,
  ]
}

/** The environment of the program: the job's, without the step's inputs, and who the job is. */
function environment(input) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('INPUT_'))
  const env = { ...Object.fromEntries(kept), COUNTERSIGN_URL: input('url') }
  const proven = ['COUNTERSIGN_TOKEN', 'COUNTERSIGN_IDENTITY'].some(name => env[name])
  if (!proven) {
    if (!env.ACTIONS_ID_TOKEN_REQUEST_URL) {
      throw new Wrong('the job can\'t say who it is: add `permissions: id-token: write` to it. Jobs of pull requests from forks can\'t have that')
    }
    env.COUNTERSIGN_IDENTITY = 'github-actions'
  }
  if (input('ca')) env.COUNTERSIGN_CA = input('ca')
  return env
}

/** What is known of the run so far. */
const seen = { request: '', page: '', exited: null, failure: null, waited: false }

/** Takes one event of the run. */
function take(event) {
  if (event.request) seen.request = event.request
  switch (event.event) {
    case 'held':
      // The page of a gateway that is not the one that was named would be somebody else's.
      seen.page = event.url.startsWith(`${runner.input('url')}/`) ? event.url : ''
      if (!seen.waited) {
        const many = event.advisory ? '; it will run in this job (advisory)' : ''
        runner.notice('Waits for people', `${event.request} is held for ${event.rules.join(', ')}${many}. Decide at ${seen.page}`)
      }
      seen.waited = true
      break
    case 'progress':
      runner.foreign(`${event.text}\n`)
      break
    case 'asked':
      runner.foreign(`${event.by} asks: ${event.text}\n`)
      runner.notice('A reviewer asks something', `Answer it at ${seen.page}, or with: countersign requests answer ${event.request} TEXT`)
      break
    case 'started':
    case 'permitted':
      if (seen.waited) runner.say('Approved; it runs.')
      break
    case 'stdout':
    case 'stderr':
      runner.foreign(Buffer.from(event.data, 'base64'))
      break
    case 'exited':
      seen.exited = event
      break
  }
}

/** Runs the program to its end; gives its exit status. */
async function run(program, input) {
  const cwd = input('working-directory') || undefined
  const given = [argumentsOf(input), { cwd, env: environment(input), stdio: ['ignore', 'pipe', 'pipe'] }]
  let child
  try {
    child = spawn(program, ...given)
  } catch (error) {
    throw new Wrong(`${program} can't be started: ${error.message}`)
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  const ended = new Promise((resolve, reject) => {
    child.on('error', error => reject(new Wrong(`${program} can't be started: ${error.message}`)))
    child.on('close', (status, signal) => resolve(status ?? 128 + constants.signals[signal]))
  })
  const read = async (stream, use) => {
    let rest = ''
    stream.setEncoding('utf8')
    for await (const piece of stream) {
      const whole = (rest + piece).split('\n')
      rest = whole.pop()
      whole.filter(line => line).forEach(use)
    }
    if (rest) use(rest)
  }
  const parsed = line => {
    try {
      return JSON.parse(line)
    } catch {
      return null
    }
  }
  const [status] = await Promise.all([
    ended,
    read(child.stdout, line => {
      const event = parsed(line)
      event?.event ? take(event) : runner.foreign(`${line}\n`)
    }),
    read(child.stderr, line => {
      const failure = parsed(line)
      failure?.title ? (seen.failure = failure) : runner.foreign(`${line}\n`)
    }),
  ])
  return isKnown(status) ? status : UNKNOWN
}

/** Whether a status says how it ended: the step succeeds only where the program said that the command did. */
function isKnown(status) {
  return status !== 0 || seen.exited?.outcome === 'succeeded'
}

/** What the step tells about how it ended. */
function tell(status) {
  const ran = seen.exited !== null && seen.exited.outcome !== 'unknown'
  const decision = ran ? 'ran' : ENDINGS[status] ?? 'unknown'
  const request = seen.request || seen.failure?.request || ''
  runner.output('decision', decision)
  runner.output('request', request)
  runner.output('page', seen.page)
  runner.output('status', String(status))
  const why = seen.failure ? [seen.failure.title, seen.failure.detail].filter(Boolean).join('. ') : ''
  const said = {
    ran: status === 0 ? 'The command ran and succeeded.' : `The command ran and failed with status ${status}.`,
    held: 'It still waits for people. Run this job again once it is approved; it finds the same request.',
    refused: 'It was refused; nothing was run.',
    unavailable: 'The gateway could not be asked, or does not believe who the job is; nothing was run.',
    unknown: 'It may have run, and nobody here knows how it ended. A person has to look at the target before it is repeated.',
    interrupted: 'The step was interrupted. The request goes on waiting.',
  }[decision]
  runner.summary([
    ['Decision', said],
    ['Target', runner.input('target')],
    ['Command', words(runner.input('command')).join(' ')],
    ...(request ? [['Request', request]] : []),
    ...(why ? [['Why', why]] : []),
  ], seen.page)
  if (status !== 0) runner.error('Countersign', [said, why].filter(Boolean).join(' '))
  else runner.say(said)
}

try {
  const input = name => runner.input(name)
  for (const name of ['url', 'target', 'command', 'wait']) {
    if (!input(name)) throw new Wrong(`the input \`${name}\` is missing`)
  }
  const program = await find(input)
  const status = await run(program, input)
  tell(status)
  process.exitCode = status
} catch (error) {
  if (!(error instanceof Wrong)) throw error
  runner.output('decision', 'unavailable')
  runner.error('Countersign', `${error.message}. Nothing was run.`)
  process.exitCode = 64
}
