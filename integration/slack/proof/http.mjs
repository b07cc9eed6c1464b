// Bolt over HTTP: what the stand-in signs, and what it forges when asked to.
import assert from 'node:assert/strict'
import http from 'node:http'
import bolt from '@slack/bolt'
import { click, fresh, heard, heardOf, listen, logger, modal, olga, ops, post, refused, web } from './app.mjs'
import { HABITS, ask, check, slack, state, until } from './harness.mjs'
import { together } from './together.mjs'

const { HTTPReceiver, HTTPModuleFunctions } = bolt
const overHttp = new HTTPReceiver({ signingSecret: slack.signing_secret, logger, endpoints: ['/slack/events'] })
const server = await listen(overHttp).start({ port: 0, host: '127.0.0.1' })
const url = `http://127.0.0.1:${server.address().port}/slack/events`

await check('Slack waits three seconds, and comes again at once, after a minute, and after five', async () => {
  const { ack_timeout, trigger_life, retry_delays, response_url_life, response_url_uses } = HABITS
  assert.deepEqual([ack_timeout, trigger_life, retry_delays], [3000, 3000, [0, 60_000, 300_000]])
  assert.deepEqual([response_url_life, response_url_uses], [1_800_000, 5])
})

await check("an address that doesn't answer the challenge is refused, and Bolt's is taken", async () => {
  await assert.rejects(ask('app', { events_url: `${slack.url}/nowhere` }), /challenge/)
  const { verified } = await ask('app', { events_url: url, interactivity_url: url, commands_url: url })
  assert.equal(verified, true)
})

await check('auth.test tells Bolt who it is', async () => {
  fresh()
  await click(await post())
  const { context } = await heardOf('action')
  assert.deepEqual([context.botId, context.botUserId, context.teamId], [slack.bot_id, slack.bot_user_id, slack.team_id])
})

await together('http')

await check('a response_url works five times and for thirty minutes, and not for ever', async () => {
  fresh()
  await click(await post())
  const { response_url } = (await heardOf('action')).body
  const use = async () => {
    const answer = await fetch(response_url, { method: 'POST', body: JSON.stringify({ text: 'again' }) })
    return [answer.status, (await answer.json()).error]
  }
  for (let times = 0; times < 5; times++) assert.deepEqual(await use(), [200, undefined])
  assert.deepEqual(await use(), [404, 'used_url'])
  fresh()
  await click(await post())
  const late = (await heardOf('action')).body
  await ask('expire')
  const answer = await fetch(late.response_url, { method: 'POST', body: JSON.stringify({ text: 'late' }) })
  assert.deepEqual([answer.status, (await answer.json()).error], [404, 'expired_url'])
  await refused(() => web.views.open({ trigger_id: late.trigger_id, view: modal() }), 'expired_trigger_id')
})

await check('a trigger opens one view, within three seconds', async () => {
  fresh()
  await click(await post())
  const { trigger_id } = (await heardOf('action')).body
  await refused(() => web.views.open({ trigger_id: 'nonsense', view: modal() }), 'invalid_trigger_id')
  await refused(() => web.views.push({ trigger_id, view: modal() }), 'not_found')
  const { view } = await web.views.open({ trigger_id, view: modal({ external_id: 'one' }) })
  assert.equal(view.app_installed_team_id, slack.team_id)
  await refused(() => web.views.open({ trigger_id, view: modal() }), 'exchanged_trigger_id')
  const { view: changed } = await web.views.update({
    external_id: 'one',
    hash: view.hash,
    view: modal({ external_id: 'one' })
  })
  assert.notEqual(changed.hash, view.hash)
  await refused(() => web.views.update({ view_id: view.id, hash: view.hash, view: modal() }), 'hash_conflict')
  await ask('close', { user: olga, view: view.id })
  await refused(() => web.views.update({ view_id: view.id, view: modal() }), 'not_found')
  const began = Date.now()
  fresh()
  await click(await post())
  const { trigger_id: slow } = (await heardOf('action')).body
  await new Promise(resolve => setTimeout(resolve, 3100 - (Date.now() - began)))
  await refused(() => web.views.open({ trigger_id: slow, view: modal() }), 'expired_trigger_id')
})

const FORGED = {
  'a bad signature': { signature: 'bad' },
  'no signature': { signature: 'missing' },
  'a signature with another secret': { signature: 'other_secret' },
  'a signature of another version': { signature: 'other_version' },
  'half a signature': { signature: 'truncated' },
  'a signature in other letters': { signature: 'upper_case' },
  'no time': { without_headers: ['x-slack-request-timestamp'] },
  'a time five minutes ago': { timestamp_offset: -302 },
  'a payload changed after it was signed': { tamper: { 'actions.0.value': 'other' } },
  'a person changed after it was signed': { tamper: { 'user.id': 'U0EVE' } }
}
await check('Bolt takes what is signed well, though it be almost five minutes old', async () => {
  fresh()
  assert.ok((await click(await post(), 'approve', { forge: { timestamp_offset: -290 } })).acknowledged)
  await heardOf('action')
})
for (const [what, forge] of Object.entries(FORGED)) {
  await check(`Bolt refuses ${what}`, async () => {
    fresh()
    const { acknowledged, status } = await click(await post(), 'approve', { forge })
    assert.deepEqual([acknowledged, status, heard.length], [false, 401, 0])
    const command = await ask('command', {
      user: olga,
      channel: ops,
      command: '/countersign',
      text: 'x',
      forge: { ...forge, tamper: forge.tamper && { text: 'y' } }
    })
    assert.deepEqual(
      [command.status, command.shown, heard.length],
      [401, '/countersign failed with the error "dispatch_failed"', 0]
    )
  })
}

await check("an event comes again when it isn't answered, says why, and stops when asked to", async () => {
  const answers = [['slow'], [500], [500, { 'x-slack-no-retry': '1' }]]
  const got = []
  const stubborn = http.createServer(async (request, response) => {
    const { rawBody } = await HTTPModuleFunctions.parseAndVerifyHTTPRequest(
      { signingSecret: slack.signing_secret },
      request
    )
    const body = JSON.parse(rawBody)
    if (body.challenge) return response.end(body.challenge)
    const { extractRetryNumFromHTTPRequest: number, extractRetryReasonFromHTTPRequest: reason } = HTTPModuleFunctions
    got.push([body.event_id, number(request), reason(request)])
    const [status, headers] = answers.shift() ?? [200]
    if (status === 'slow') return
    response.writeHead(status, headers).end()
  })
  await new Promise(resolve => stubborn.listen(0, '127.0.0.1', resolve))
  await ask('app', { events_url: `http://127.0.0.1:${stubborn.address().port}/` })
  await ask('habits', { ack_timeout: 300, retry_delays: [0, 50, 100] })
  await ask('write', { user: olga, channel: ops, text: 'again?' })
  await until(() => got.length === 3)
  await new Promise(resolve => setTimeout(resolve, 300))
  assert.deepEqual(
    got.map(([, ...rest]) => rest),
    [
      [undefined, undefined],
      [1, 'http_timeout'],
      [2, 'http_error']
    ]
  )
  assert.equal(new Set(got.map(([id]) => id)).size, 1)
  await ask('habits', HABITS)
  await ask('app', { events_url: url })
  stubborn.closeAllConnections()
  stubborn.close()
})

await check('Slack reads JSON only where it is called that', async () => {
  const told = JSON.stringify({ text: 'words' })
  for (const [type, shown] of Object.entries({ 'application/json': 'words', 'text/plain': told })) {
    const careless = http.createServer((_, response) => response.writeHead(200, { 'content-type': type }).end(told))
    await new Promise(resolve => careless.listen(0, '127.0.0.1', resolve))
    await ask('app', { commands_url: `http://127.0.0.1:${careless.address().port}/` })
    await ask('command', { user: olga, channel: ops, command: '/countersign' })
    assert.equal((await state('ephemerals')).at(-1).text, shown)
    careless.close()
  }
  await ask('app', { commands_url: url })
})

await check("a click that nobody answers within three seconds isn't sent again", async () => {
  fresh({ action: async () => {}, command: async () => {} })
  const began = Date.now()
  const { acknowledged, delivery } = await click(await post())
  assert.equal(acknowledged, false)
  assert.ok(Date.now() - began >= 2900 && Date.now() - began < 3500, `${Date.now() - began}`)
  await new Promise(resolve => setTimeout(resolve, 200))
  assert.equal(heard.length, 1)
  assert.equal((await state('deliveries')).find(one => one.id === delivery).attempts.length, 1)
})

/** Bolt goes; whoever asks for more over HTTP asks before. */
export const stop = () => overHttp.stop()
