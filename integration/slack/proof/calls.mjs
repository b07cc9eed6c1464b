// Slack's Web API in the eyes of `@slack/web-api`: what is refused, how, and what weather there is.
import assert from 'node:assert/strict'
import webApi from '@slack/web-api'
import {
  button,
  click,
  clientOptions,
  empty,
  eve,
  fresh,
  heardOf,
  message,
  modal,
  olga,
  ops,
  plain,
  post,
  refused,
  web
} from './app.mjs'
import { ask, check, slack, state } from './harness.mjs'

const { WebClient, WebAPIPlatformError, WebAPIRateLimitedError, WebAPIHTTPError, WebAPIRequestError } = webApi
const ours = await post()
const theirs = (await ask('write', { user: olga, channel: ops, text: 'mine' })).ts
const gone = (await ask('user', { name: 'gone', deleted: true })).id
await ask('channel', { name: 'secret', members: [olga], is_private: true })
const archived = (await ask('channel', { name: 'old', members: [slack.bot_user_id], is_archived: true })).id
const other = (token, more) => new WebClient(token, { ...clientOptions, ...more })
const section = text => [{ type: 'section', text: { type: 'mrkdwn', text } }]
const pointer =
  (...places) =>
  data =>
    assert.deepEqual(
      data.response_metadata.messages.map(one => /^\[ERROR\] .+ \[json-pointer:(.+)\]$/.exec(one)[1]),
      places
    )
const REFUSED = {
  channel_not_found: [
    () => web.chat.postMessage({ channel: 'C0NOWHERE', text: 'x' }),
    () => web.chat.postMessage({ channel: 'secret', text: 'x' }),
    () => web.chat.postMessage({ channel: gone, text: 'x' }),
    () => web.chat.update({ channel: olga, ts: ours, text: 'x' }),
    () => web.conversations.info({ channel: 'C0NOWHERE' })
  ],
  not_in_channel: [() => web.chat.postMessage({ channel: empty, text: 'x' })],
  is_archived: [() => web.chat.postMessage({ channel: archived, text: 'x' })],
  user_not_in_channel: [() => web.chat.postEphemeral({ channel: ops, user: gone, text: 'x' })],
  no_text: [() => web.chat.postMessage({ channel: ops, text: '' })],
  msg_too_long: [
    () => web.chat.postMessage({ channel: ops, text: 'x'.repeat(40_001) }),
    () => web.chat.update({ channel: ops, ts: ours, text: 'x'.repeat(4_001) })
  ],
  msg_blocks_too_long: [
    () => web.chat.postMessage({ channel: ops, text: 'x', blocks: Array(6).fill(section('x'.repeat(2900))[0]) })
  ],
  invalid_blocks_format: [() => web.chat.postMessage({ channel: ops, text: 'x', blocks: '[' })],
  cant_update_message: [() => web.chat.update({ channel: ops, ts: theirs, text: 'x' })],
  cant_delete_message: [() => web.chat.delete({ channel: ops, ts: theirs })],
  message_not_found: [
    () => web.chat.update({ channel: ops, ts: '1.000001', text: 'x' }),
    () => web.chat.delete({ channel: ops, ts: '1.000001' }),
    () => web.reactions.add({ channel: ops, timestamp: '1.000001', name: 'eyes' })
  ],
  thread_not_found: [() => web.conversations.replies({ channel: ops, ts: '1.000001' })],
  user_not_found: [() => web.users.info({ user: 'U0NOBODY' }), () => web.conversations.open({ users: 'U0NOBODY' })],
  users_not_found: [() => web.users.lookupByEmail({ email: 'nobody@example.com' })],
  unknown_method: [() => web.apiCall('chat.nonsense')],
  invalid_auth: [() => other('xoxb-nonsense').auth.test()],
  not_authed: [() => other(undefined).auth.test()],
  not_allowed_token_type: [
    () => web.apps.connections.open({}),
    () => other(slack.app_token).chat.postMessage({ channel: ops, text: 'x' })
  ],
  invalid_metadata_schema: [() => web.chat.postMessage({ channel: ops, text: 'x', metadata: { event_type: 1 } })]
}
for (const [error, calls] of Object.entries(REFUSED)) {
  await check(`${error} is an error of Slack's for the client`, async () => {
    for (const call of calls) await refused(call, error)
  })
}

await check('invalid blocks are named, each with its place', async () => {
  const blocks = [
    ...section('x'.repeat(3001)),
    { type: 'actions', elements: [button('same'), { ...button('same'), nonsense: 1 }] }
  ]
  await refused(
    () => web.chat.postMessage({ channel: ops, text: 'x', blocks }),
    'invalid_blocks',
    data => {
      pointer('/blocks/0/text', '/blocks/0/text/text', '/blocks/1/elements/1', '/blocks/1/elements/1/action_id')(data)
      assert.match(data.response_metadata.messages[1], /^\[ERROR\] must be less than 3001 characters/)
    }
  )
  await refused(
    () => web.chat.update({ channel: ops, ts: ours, text: 'x', blocks: Array(51).fill({ type: 'divider' }) }),
    'invalid_blocks',
    data =>
      assert.deepEqual(data.response_metadata.messages, [
        '[ERROR] no more than 50 items allowed [json-pointer:/blocks]'
      ])
  )
})

await check('an invalid view is named, with its place, and keeps its trigger', async () => {
  fresh()
  await click(await post())
  const { trigger_id } = (await heardOf('action')).body
  const open = view => web.views.open({ trigger_id, view })
  await refused(
    () => open(modal({ title: plain('x'.repeat(25)) })),
    'invalid_arguments',
    pointer('/view', '/view/title/text')
  )
  await refused(
    () => open(modal({ private_metadata: 'x'.repeat(3001) })),
    'invalid_arguments',
    pointer('/view', '/view/private_metadata')
  )
  await refused(
    () => open(modal({ blocks: Array(101).fill({ type: 'divider' }) })),
    'invalid_arguments',
    pointer('/view', '/view/blocks')
  )
  await refused(() => open(modal({ submit: undefined })), 'invalid_arguments', pointer('/view', '/view/blocks/0/input'))
  await open(modal())
})

await check(
  'a scope opens public channels in which the app is not, and somebody deactivated does nothing',
  async () => {
    const { scopes } = await state('app')
    await ask('app', { scopes: [...scopes, 'chat:write.public'] })
    assert.equal((await web.chat.postMessage({ channel: empty, text: 'x' })).channel, empty)
    await refused(() => web.chat.postMessage({ channel: 'secret', text: 'x' }), 'channel_not_found')
    await ask('app', { scopes })
    await assert.rejects(ask('write', { user: gone, channel: ops, text: 'x', force: true }), /deactivated/)
  }
)

await check('a scope that is missing is named', async () => {
  const { scopes } = await state('app')
  await ask('app', { scopes: scopes.filter(one => one !== 'chat:write') })
  await refused(
    () => web.chat.postMessage({ channel: ops, text: 'x' }),
    'missing_scope',
    data => {
      assert.equal(data.needed, 'chat:write')
      assert.ok(data.provided.includes('users:read') && !data.provided.includes('chat:write'))
      assert.ok(
        !data.response_metadata.scopes.includes('chat:write') &&
          data.response_metadata.acceptedScopes.includes('chat:write')
      )
    }
  )
  await ask('app', { scopes, revoked: true })
  await refused(() => web.auth.test(), 'token_revoked')
  await ask('app', { revoked: false })
})

await check('what is there is told: people, channels, members, pages, conversations', async () => {
  const { user } = await web.users.lookupByEmail({ email: 'OLGA@example.com' })
  assert.deepEqual([user.id, user.team_id, user.profile.email], [olga, slack.team_id, 'olga@example.com'])
  assert.equal((await web.users.info({ user: eve })).user.team_id, 'T0ELSEWHERE')
  const { channel } = await web.conversations.info({ channel: ops })
  assert.deepEqual([channel.name, channel.is_member, channel.is_ext_shared], ['ops', true, true])
  assert.deepEqual(
    (await web.conversations.members({ channel: ops })).members.sort(),
    [olga, eve, slack.bot_user_id].sort()
  )
  const names = []
  for await (const part of web.paginate('conversations.list', { limit: 1, types: 'public_channel,private_channel' })) {
    assert.equal(part.channels.length, 1)
    names.push(part.channels[0].name)
  }
  assert.deepEqual(names.sort(), ['empty', 'general', 'old', 'ops'])
  const { channel: direct } = await web.conversations.open({ users: olga })
  const posted = await web.chat.postMessage({ channel: olga, text: 'to you' })
  assert.equal(posted.channel, direct.id)
  await web.reactions.add({ channel: ops, timestamp: ours, name: 'eyes' })
  assert.equal((await message(ours)).reactions[0].name, 'eyes')
})

await check('the client waits as long as it is told, and calls again', async () => {
  await ask('weather', { fault: 'ratelimited', retry_after: 1, next: 1, method: 'chat.postMessage' })
  const began = Date.now()
  const patient = other(slack.bot_token, { retryConfig: { retries: 2, minTimeout: 1, maxTimeout: 10 } })
  await patient.chat.postMessage({ channel: ops, text: 'waited' })
  assert.ok(Date.now() - began >= 1000, `${Date.now() - began}`)
  await ask('weather', { fault: 'ratelimited', retry_after: 7 })
  const thrown = await other(slack.bot_token, { rejectRateLimitedCalls: true })
    .auth.test()
    .catch(error => error)
  assert.ok(thrown instanceof WebAPIRateLimitedError && thrown.retryAfter === 7, `${thrown}`)
})

await check('with limits on, a channel takes one message a second', async () => {
  await ask('habits', { rate_limits: true })
  const hasty = other(slack.bot_token, { rejectRateLimitedCalls: true })
  await hasty.chat.postMessage({ channel: ops, text: 'one' })
  await assert.rejects(
    hasty.chat.postMessage({ channel: ops, text: 'two' }),
    error => error instanceof WebAPIRateLimitedError && error.retryAfter === 1
  )
  await hasty.chat.postMessage({ channel: olga, text: 'elsewhere' })
  await new Promise(resolve => setTimeout(resolve, 1050))
  await hasty.chat.postMessage({ channel: ops, text: 'three' })
  await ask('habits', { rate_limits: false })
})

await check("a fault is the client's own error, and a lost answer may hide a message", async () => {
  const count = async () => (await state('messages'))[ops].length
  const say = client => client.chat.postMessage({ channel: ops, text: 'x' }).catch(error => error)
  const before = await count()
  await ask('weather', { fault: 'error', status: 503 })
  assert.ok((await say(web)) instanceof WebAPIHTTPError)
  await ask('weather', { fault: 'drop' })
  assert.ok((await say(web)) instanceof WebAPIRequestError)
  await ask('weather', { fault: 'hang' })
  assert.ok((await say(other(slack.bot_token, { timeout: 300 }))) instanceof WebAPIRequestError)
  await ask('weather', { fault: 'garbage' })
  assert.ok((await say(web)) instanceof WebAPIPlatformError)
  assert.equal(await count(), before)
  await ask('weather', { fault: 'slow', delay: 300 })
  const began = Date.now()
  assert.ok((await say(web)).ok && Date.now() - began >= 300)
  await ask('weather', { fault: 'lost' })
  assert.ok((await say(web)) instanceof WebAPIRequestError)
  assert.equal(await count(), before + 2)
})
