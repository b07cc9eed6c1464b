// Bolt over Socket Mode: sockets that are refreshed, break, fall silent, or are too many.
import assert from 'node:assert/strict'
import bolt from '@slack/bolt'
import socketMode from '@slack/socket-mode'
import webApi from '@slack/web-api'
import WebSocket from 'ws'
import { click, clientOptions, fresh, heard, heardOf, listen, logger, olga, ops, post, refused } from './app.mjs'
import { HABITS, ask, check, slack, state, until } from './harness.mjs'
import { together } from './together.mjs'

const LIBRARY = { clientPingTimeout: 600, serverPingTimeout: 3000 }
const connections = new webApi.WebClient(slack.app_token, clientOptions)
await check('sockets are for apps that have them on', async () => {
  await refused(() => connections.apps.connections.open(), 'forbidden_team')
  await ask('app', { socket_mode: true })
  const { url } = await connections.apps.connections.open()
  assert.match(url, new RegExp(`^ws://.*/link/\\?ticket=\\w+&app_id=${slack.app_id}$`))
  const first = new WebSocket(url)
  const hello = await new Promise((resolve, reject) => {
    first.onmessage = ({ data }) => resolve(JSON.parse(data))
    first.onerror = reject
  })
  assert.deepEqual([hello.type, hello.num_connections, hello.connection_info], ['hello', 1, { app_id: slack.app_id }])
  assert.ok(hello.debug_info.host && hello.debug_info.approximate_connection_time > 0)
  first.close()
  const again = new WebSocket(url)
  await new Promise((resolve, reject) => {
    again.onerror = resolve
    again.onopen = () => reject(new Error('a ticket counts once'))
  })
  await until(async () => (await state('sockets')).every(one => !one.open))
})

const open = async () => (await state('sockets')).filter(one => one.open)
await ask('habits', { ping_every: 250 })
const receiver = new bolt.SocketModeReceiver({
  appToken: slack.app_token,
  installerOptions: { clientOptions },
  logger,
  ...LIBRARY
})
const socketApp = listen(receiver)
await socketApp.start()
await together('sockets')

await check('sockets: pings are answered in both directions', async () => {
  await new Promise(resolve => setTimeout(resolve, 1500))
  const [one, ...more] = await open()
  assert.equal(more.length, 0)
  assert.ok(Date.now() - one.ponged < 1000, `${Date.now() - one.ponged}`)
  assert.equal(one.id, (await state('sockets')).at(-1).id, 'Bolt found its socket well all the time')
})

for (const [what, act] of Object.entries({
  'a refresh': { act: 'disconnect', reason: 'refresh_requested' },
  'a warning': { act: 'disconnect', reason: 'warning' },
  'a broken connection': { act: 'drop' },
  'a connection on which all is silent': { act: 'silence' }
})) {
  await check(`sockets: after ${what} Bolt comes back, and nothing is lost for good`, async () => {
    fresh()
    const [{ id }] = await open()
    await ask('sockets', act)
    if (act.act !== 'silence') await until(async () => (await open()).some(one => one.id !== id))
    else await until(async () => (await state('sockets')).some(one => one.open && one.id !== id))
    // Slack still believes in the silent one.
    await ask('sockets', { act: 'drop', socket: id })
    assert.ok((await click(await post())).acknowledged)
    await heardOf('action')
  })
}

await check('sockets: what is no envelope does no harm', async () => {
  await ask('sockets', { act: 'text', text: 'not JSON' })
  await ask('sockets', { act: 'text', text: '{"type":"unheard of","envelope_id":"x","payload":{}}' })
  await ask('sockets', { act: 'binary', text: 'AAEC' })
  const [{ id }] = await open()
  assert.ok((await click(await post())).acknowledged)
  assert.deepEqual(
    (await open()).map(one => one.id),
    [id]
  )
})

await check("sockets: an event that isn't acknowledged comes again, a click doesn't", async () => {
  await ask('habits', { ack_timeout: 300, retry_delays: [100] })
  await ask('sockets', { act: 'deafen' })
  fresh()
  assert.equal((await click(await post())).acknowledged, false)
  fresh()
  await ask('write', { user: olga, channel: ops, text: 'once more' })
  await until(() => heard.filter(one => one.kind === 'message').length === 2)
  const [first, second] = heard.filter(one => one.kind === 'message')
  assert.deepEqual([first.context.retryNum, second.context.retryNum, second.context.retryReason], [0, 1, 'timeout'])
  assert.equal(first.body.event_id, second.body.event_id)
  assert.equal(heard.filter(one => one.kind === 'action').length, 0)
  await ask('sockets', { act: 'hear' })
  await ask('habits', { ack_timeout: HABITS.ack_timeout })
})

await check('sockets: of several, each takes its turn; the eleventh is one too many', async () => {
  const some = []
  const seen = []
  for (let count = 2; count <= 10; count++) {
    const client = new socketMode.SocketModeClient({ appToken: slack.app_token, logger, clientOptions })
    client.on('ws_message', data => {
      const { type, num_connections: number } = JSON.parse(data)
      if (type === 'hello') seen.push(number)
    })
    client.on('interactive', async ({ ack }) => {
      some.push(count)
      await ack()
    })
    client.on('slack_event', async ({ ack, type }) => {
      if (type === 'events_api') await ack()
    })
    await client.start()
    some.clients = [...(some.clients ?? []), client]
  }
  assert.deepEqual(seen, [2, 3, 4, 5, 6, 7, 8, 9, 10])
  fresh()
  const ts = await post()
  for (let times = 0; times < 10; times++) assert.ok((await click(ts)).acknowledged)
  assert.deepEqual(
    [new Set(some).size, heard.filter(one => one.kind === 'action').length],
    [9, 1],
    'ten clicks went to ten sockets'
  )
  const told = await new Promise((resolve, reject) => {
    connections.apps.connections.open().then(({ url }) => {
      new WebSocket(url).onmessage = ({ data }) => resolve(JSON.parse(data))
    }, reject)
  })
  assert.deepEqual([told.type, told.reason], ['disconnect', 'too_many_websockets'])
  await Promise.all(some.clients.map(client => client.disconnect()))
})

await socketApp.stop()
