// Starts the stand-in for `faithful.mjs`, and counts what isn't as it should be.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const child = spawn('node', [fileURLToPath(new URL('../slack.mjs', import.meta.url))], {
  stdio: ['pipe', 'pipe', 'inherit']
})
/** What the stand-in says of itself. */
export const slack = JSON.parse((await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()).value)

/** What a test asks at `/control/`. */
export async function ask (name, asked = {}) {
  const answer = await fetch(`${slack.url}/control/${name}`, { method: 'POST', body: JSON.stringify(asked) })
  const told = await answer.json()
  if (!answer.ok) throw new Error(told.error)
  return told
}
/** One part of what is there. */
export const state = async part => (await ask('state', { part }))[part]
/** The views that somebody looks at. */
export const views = async user => (await state('views')).filter(one => one.open && one.user === user)

/** What `look` finds, once it finds something. */
export async function until (look) {
  const end = Date.now() + 10_000
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > end) throw new Error(`it didn't come: ${look}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** How Slack behaves unless it is told otherwise. */
const { ping_every: _, ...HABITS } = await state('habits')
export { HABITS }
const APP = await state('app')
let failed = 0
// What a check left behind is not the next one's fault.
async function cleanUp () {
  await ask('weather', { clear: true })
  await ask('sockets', { act: 'hear' })
  await ask('habits', HABITS)
  await ask('app', { scopes: APP.scopes, revoked: false, verify: false })
}

/** One line of proof. */
export async function check (what, run) {
  try {
    await run()
    console.log(`ok  ${what}`)
  } catch (error) {
    failed += 1
    await cleanUp().catch(() => {})
    console.log(`NOT ${what}\n    ${error.stack.split('\n').slice(0, 6).join('\n    ')}`)
  }
}

/** Ends the stand-in, and tells whether all was well. */
export async function end () {
  child.stdin.end()
  setTimeout(() => child.kill('SIGKILL'), 5000)
  const code = await new Promise(resolve => child.on('exit', resolve))
  await check('the stand-in ends with its standard input', async () => assert.equal(code, 0))
  return failed
}
