// An app of Bolt's, the people that use it, and a client of Slack's Web API.
import assert from 'node:assert/strict'
import bolt from '@slack/bolt'
import webApi from '@slack/web-api'
import { ask, slack, state, until } from './harness.mjs'

const { WebClient, WebAPIPlatformError } = webApi
// Bolt wants all of them.
const QUIET = Object.fromEntries(
  ['debug', 'info', 'warn', 'error', 'setLevel', 'setName'].map(name => [name, () => {}])
)
/** A logger that keeps quiet: many of these calls are meant to fail. */
export const logger = { ...QUIET, getLevel: () => 'error' }
export const plain = text => ({ type: 'plain_text', text })
export const button = (action_id, value) => ({ type: 'button', action_id, text: plain(action_id), value })
export const card = (...names) => [
  { type: 'section', block_id: 'what', text: { type: 'mrkdwn', text: 'a *card*, größer / <b>' } },
  { type: 'actions', block_id: 'choices', elements: names.map(name => button(name, `value of ${name}`)) }
]
/** A view that asks for a reason. */
export const modal = (more = {}) => ({
  type: 'modal',
  callback_id: 'reason',
  title: plain('Why?'),
  submit: plain('Send'),
  private_metadata: 'kept',
  notify_on_close: true,
  blocks: [
    {
      type: 'input',
      block_id: 'why',
      label: plain('Reason'),
      element: { type: 'plain_text_input', action_id: 'text', min_length: 3 }
    }
  ],
  ...more
})

/** What the app heard since `fresh`. */
export let heard = []
let does = {}
/** Options with which Slack's clients call the stand-in, and don't call again. */
export const clientOptions = { slackApiUrl: slack.api, retryConfig: { retries: 0 }, logger }

/** An app of Bolt's that hears everything. */
export function listen (receiver, more = {}) {
  const app = new bolt.App({ token: slack.bot_token, receiver, clientOptions, logger, ...more })
  const hears = kind => async args => {
    const { ack, body, payload, context } = args
    heard.push({ kind, body, payload, context })
    if (does[kind]) await does[kind](args)
    else if (ack) await ack()
  }
  app.action(/.*/, hears('action'))
  app.view('reason', hears('view'))
  app.view({ callback_id: 'reason', type: 'view_closed' }, hears('closed'))
  app.command('/countersign', hears('command'))
  app.message(hears('message'))
  app.event('app_home_opened', hears('home'))
  app.event('app_mention', hears('mention'))
  app.error(async error => {
    heard.push({ kind: 'error', error })
  })
  return app
}

/** Begins anew: nothing was heard, and this is what the app does. */
export function fresh (doing = {}) {
  heard = []
  does = doing
}
/** The first of a kind that is heard. */
export const heardOf = kind => until(() => heard.find(one => one.kind === kind))

export const { id: olga } = await ask('user', { name: 'olga', email: 'olga@example.com' })
export const { id: eve } = await ask('user', { name: 'eve', team_id: 'T0ELSEWHERE' })
export const { id: ops } = await ask('channel', {
  name: 'ops',
  members: [olga, eve, slack.bot_user_id],
  is_ext_shared: true
})
export const { id: empty } = await ask('channel', { name: 'empty', members: [olga] })
export const web = new WebClient(slack.bot_token, clientOptions)
/** A message as it is now, with everything that it said. */
export const message = async ts => (await state('messages'))[ops].find(one => one.ts === ts)
/** Posts a card, and tells its `ts`. */
export const post = async (more = {}) =>
  (await web.chat.postMessage({ channel: ops, text: 'a card', blocks: card('approve', 'deny'), ...more })).ts
/** Olga uses a button. */
export const click = (ts, action_id = 'approve', more = {}) =>
  ask('click', { user: olga, channel: ops, ts, action_id, ...more })

/** Expects an answer that the client calls an error of Slack's. */
export async function refused (call, error, look = () => {}) {
  const thrown = await call().then(
    () => assert.fail('it was accepted'),
    one => one
  )
  assert.ok(thrown instanceof WebAPIPlatformError, `${thrown}`)
  assert.equal(thrown.data.error, error)
  look(thrown.data)
}
