// What a person and an app do together, the same over HTTP and over sockets.
import assert from 'node:assert/strict'
import {
  card,
  click,
  eve,
  fresh,
  heard,
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
import { ask, check, slack, state, until, views } from './harness.mjs'

const TOGETHER = {
  'a click is acknowledged, opens a view, and what is sent from it updates the message': async () => {
    fresh({
      action: async ({ ack, body, client, action }) => {
        await ack()
        assert.deepEqual([action.value, action.block_id], ['value of approve', 'choices'])
        const { container } = body
        await client.views.open({
          trigger_id: body.trigger_id,
          view: modal({ private_metadata: `${container.channel_id} ${container.message_ts}` })
        })
      },
      view: async ({ ack, view, client, body }) => {
        await ack()
        const [channel, ts] = view.private_metadata.split(' ')
        const { value } = view.state.values.why.text
        await client.chat.update({ channel, ts, text: `done: ${value} by ${body.user.id}`, blocks: card('undo') })
      }
    })
    const ts = await post()
    const clicked = await click(ts)
    assert.ok(clicked.acknowledged, JSON.stringify(clicked))
    const [{ view }] = await until(async () => (await views(olga)).length && views(olga))
    const sent = await ask('submit', { user: olga, view: view.id, values: { why: 'because' } })
    assert.equal(sent.closed, true)
    const updated = await until(async () => {
      const one = await message(ts)
      return one.versions.length > 1 && one
    })
    assert.equal(updated.text, `done: because by ${olga}`)
    assert.deepEqual(
      updated.blocks[1].elements.map(one => one.action_id),
      ['undo']
    )
    assert.equal(updated.edited.user, slack.bot_user_id)
    assert.equal(heard.filter(one => one.kind === 'error').length, 0)
    await assert.rejects(click(ts, 'approve'), /nothing approve/)
    assert.ok((await click(ts, 'approve', { version: 0 })).acknowledged, 'somebody who still sees the old message')
  },

  "a view's answers are errors, another view, one more, and an end to all": async () => {
    const answers = [
      { response_action: 'errors', errors: { why: 'say more' } },
      { response_action: 'update', view: modal({ title: plain('Once more') }) },
      { response_action: 'push', view: modal({ title: plain('On top') }) },
      { response_action: 'clear' }
    ]
    fresh({
      action: async ({ ack, body, client }) => {
        await ack()
        await client.views.open({ trigger_id: body.trigger_id, view: modal() })
      },
      view: async ({ ack }) => ack(answers.shift())
    })
    await click(await post())
    const [
      {
        view: { id }
      }
    ] = await until(async () => (await views(olga)).length && views(olga))
    const send = view => ask('submit', { user: olga, view, values: { why: 'because' } })
    await assert.rejects(ask('submit', { user: olga, view: id, values: { why: 'x' } }), /3 to 3000/)
    assert.deepEqual((await send(id)).errors, { why: 'say more' })
    assert.equal((await send(id)).view.title.text, 'Once more')
    const { view: top } = await send(id)
    assert.deepEqual([top.title.text, top.previous_view_id, top.root_view_id], ['On top', id, id])
    assert.equal((await views(olga)).length, 2)
    assert.equal((await send(top.id)).closed, true)
    assert.equal((await views(olga)).length, 0)
  },

  'a third view lies on top, and no fourth': async () => {
    let trigger_id
    const push = { response_action: 'push', view: modal() }
    const answers = [push, push, push]
    fresh({
      action: async ({ ack, body, client }) => {
        await ack()
        await client.views.open({ trigger_id: body.trigger_id, view: modal() })
      },
      view: async ({ ack, body }) => {
        trigger_id = body.trigger_id
        await ack(answers.shift())
      }
    })
    await click(await post())
    await until(async () => (await views(olga)).length)
    const send = async () =>
      ask('submit', { user: olga, view: (await views(olga)).at(-1).view.id, values: { why: 'because' } })
    await send()
    await send()
    assert.match((await send()).shown, /trouble connecting/)
    await refused(() => web.views.push({ trigger_id, view: modal() }), 'push_limit_reached')
    assert.equal((await views(olga)).length, 3)
    await ask('close', { user: olga, view: (await views(olga)).at(-1).view.id, clear: true })
    const { body } = await heardOf('closed')
    assert.equal(body.is_cleared, true)
    assert.equal((await views(olga)).length, 0)
  },

  "an answer that Slack doesn't take is trouble, and the view stays": async () => {
    const answers = [
      { response_action: 'errors', errors: { other: 'no such block' } },
      { response_action: 'update', view: modal({ title: plain('x'.repeat(25)) }) }
    ]
    fresh({
      action: async ({ ack, body, client }) => {
        await ack()
        await client.views.open({ trigger_id: body.trigger_id, view: modal() })
      },
      view: async ({ ack }) => ack(answers.shift())
    })
    await click(await post())
    const [
      {
        view: { id }
      }
    ] = await until(async () => (await views(olga)).length && views(olga))
    for (let times = 0; times < 2; times++) {
      const { shown } = await ask('submit', { user: olga, view: id, values: { why: 'because' } })
      assert.match(shown, /trouble connecting/)
    }
    assert.equal((await views(olga)).length, 1)
    await ask('close', { user: olga, view: id })
    const { body } = await heardOf('closed')
    assert.deepEqual([body.type, body.is_cleared, body.view.private_metadata], ['view_closed', false, 'kept'])
  },

  'a command is answered at once, later, and in the channel': async () => {
    fresh({
      command: async ({ ack, respond, say, command }) => {
        await ack(`at once: ${command.text}`)
        await respond({ text: 'later', response_type: 'ephemeral' })
        await say('for all')
      }
    })
    const before = (await state('ephemerals')).length
    const outcome = await ask('command', { user: olga, channel: ops, command: '/countersign', text: 'list & more' })
    assert.ok(outcome.acknowledged && !outcome.shown, JSON.stringify(outcome))
    const told = await until(async () => {
      const all = (await state('ephemerals')).slice(before)
      return all.length === 2 && all
    })
    assert.deepEqual(
      told.map(one => [one.user, one.text]),
      [
        [olga, 'at once: list & more'],
        [olga, 'later']
      ]
    )
    await until(async () => (await state('messages'))[ops].at(-1).text === 'for all')
    const { command } = heard[0].body
    assert.equal(command, '/countersign')
    assert.deepEqual(
      [heard[0].body.team_id, heard[0].body.api_app_id, heard[0].body.channel_id],
      [slack.team_id, slack.app_id, ops]
    )
    await assert.rejects(ask('command', { user: olga, channel: ops, command: '/unknown' }), /not a valid command/)
    await assert.rejects(ask('command', { user: eve, channel: ops, command: '/countersign' }), /not a valid command/)
  },

  'a command that fails shows why': async () => {
    fresh({ command: async ({ ack }) => ack({ blocks: [{ type: 'nonsense' }] }) })
    const { shown } = await ask('command', { user: olga, channel: ops, command: '/countersign' })
    assert.match(shown, /dispatch_failed/)
  },

  'what is written into a thread arrives, and Bolt leaves out its own messages': async () => {
    fresh()
    const ts = await post()
    const said = await ask('write', {
      user: olga,
      channel: ops,
      text: `why <so> & so? <@${slack.bot_user_id}>`,
      thread_ts: ts
    })
    assert.ok(said.acknowledged)
    const { body, payload, context } = await heardOf('message')
    assert.equal(payload.text, `why &lt;so&gt; &amp; so? <@${slack.bot_user_id}>`)
    assert.deepEqual([payload.thread_ts, payload.user, payload.parent_user_id], [ts, olga, slack.bot_user_id])
    assert.deepEqual([payload.channel, payload.channel_type, payload.ts], [ops, 'channel', said.ts])
    assert.deepEqual([body.type, body.team_id, body.api_app_id], ['event_callback', slack.team_id, slack.app_id])
    assert.equal(context.teamId, slack.team_id)
    await heardOf('mention')
    const own = (await state('deliveries')).filter(one => one.payload.event?.ts === ts)
    assert.equal(own.length, 1, 'the app is told of its own message')
    assert.equal(heard.filter(one => one.kind === 'message').length, 1)
    const { messages } = await web.conversations.replies({ channel: ops, ts })
    assert.deepEqual(
      messages.map(one => one.ts),
      [ts, said.ts]
    )
  },

  'the home is opened, and somebody writes to the app alone': async () => {
    fresh()
    await ask('home', { user: olga })
    const { payload } = await heardOf('home')
    assert.deepEqual([payload.user, payload.tab], [olga, 'home'])
    const { channel } = await web.conversations.open({ users: olga })
    await ask('write', { user: olga, channel: channel.id, text: 'hello' })
    assert.equal((await heardOf('message')).payload.channel_type, 'im')
  },

  'an ephemeral message is clicked, replaced and deleted by its response_url': async () => {
    const { message_ts: ts } = await web.chat.postEphemeral({
      channel: ops,
      user: olga,
      text: 'only you',
      blocks: card('mine')
    })
    const mine = async () => (await state('ephemerals')).find(one => one.ts === ts)
    await assert.rejects(click(ts, 'mine', { user: eve }), /no message/)
    fresh({
      action: async ({ ack, respond }) => {
        await ack()
        await respond({ replace_original: true, text: 'replaced', blocks: card('gone') })
      }
    })
    await click(ts, 'mine')
    const { body } = await heardOf('action')
    assert.deepEqual([body.container.is_ephemeral, body.message], [true, undefined])
    await until(async () => (await mine()).text === 'replaced')
    fresh({
      action: async ({ ack, respond }) => {
        await ack()
        await respond({ delete_original: true })
      }
    })
    await click(ts, 'gone')
    await until(async () => (await mine()).deleted)
  },

  'somebody of another workspace is who they are': async () => {
    fresh()
    const ts = await post()
    await click(ts, 'approve', { user: eve })
    const { body } = await heardOf('action')
    assert.deepEqual([body.user.id, body.user.team_id, body.team.id], [eve, 'T0ELSEWHERE', 'T0ELSEWHERE'])
    fresh()
    await click(ts, 'approve', {
      forge: { team_id: 'T0FOREIGN', enterprise_id: 'E0FOREIGN', app_id: 'A0FOREIGN', user_id: 'U0FOREIGN' }
    })
    const { body: other } = await heardOf('action')
    assert.deepEqual(
      [other.team.id, other.enterprise.id, other.api_app_id, other.user.id],
      ['T0FOREIGN', 'E0FOREIGN', 'A0FOREIGN', 'U0FOREIGN']
    )
  },

  'one click is delivered twice, and the same bytes again later': async () => {
    fresh()
    const { delivery } = await click(await post(), 'approve', { forge: { times: 2 } })
    await until(() => heard.length === 2)
    await ask('replay', { delivery })
    await until(() => heard.length === 3)
    assert.deepEqual(new Set(heard.map(one => one.body.trigger_id)).size, 1)
    const { attempts } = (await state('deliveries')).find(one => one.id === delivery)
    assert.equal(new Set(attempts.map(one => JSON.stringify(one.sent))).size, 1)
    assert.deepEqual(
      attempts.map(one => one.acknowledged),
      [true, true, true]
    )
  }
}

/** Proves all of it over one of the two. */
export async function together (over) {
  for (const [what, run] of Object.entries(TOGETHER)) await check(`${over}: ${what}`, run)
}
