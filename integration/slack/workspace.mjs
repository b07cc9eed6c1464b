// A workspace with one app in it: people, channels, messages, views, and what the app may hold on to.
import { randomBytes, randomInt } from 'node:crypto'

const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'
/** An identifier as Slack makes them: a letter for its kind, and ten characters. */
export const makeId = kind => kind + Array.from({ length: 10 }, () => LETTERS[randomInt(36)]).join('')
export const hex = bytes => randomBytes(bytes).toString('hex')

const BOT_SCOPES = [
  'app_mentions:read',
  'channels:history',
  'channels:read',
  'chat:write',
  'commands',
  'groups:history',
  'groups:read',
  'im:history',
  'im:read',
  'im:write',
  'reactions:write',
  'users:read',
  'users:read.email'
]
const SUBSCRIPTIONS = ['app_home_opened', 'app_mention', 'message.channels', 'message.groups', 'message.im']

/** What somebody meant for the client did wrong: the name of Slack's error. */
export class Refusal extends Error {
  constructor (error, more = {}) {
    super(error)
    this.answer = { ok: false, error, ...more }
  }
}

export class Workspace {
  constructor (settings = {}) {
    const { team_id = makeId('T'), enterprise_id = null } = settings
    this.team = {
      id: team_id,
      domain: 'example',
      name: 'Example',
      enterprise_id,
      enterprise_name: enterprise_id && 'Example Grid'
    }
    this.app = {
      id: makeId('A'),
      bot_id: makeId('B'),
      name: 'countersign',
      signing_secret: hex(16),
      verification_token: hex(12),
      bot_token: `xoxb-${randomInt(1e9)}-${randomInt(1e9)}-${hex(12)}`,
      app_token: `xapp-1-${makeId('A')}-${randomInt(1e9)}-${hex(32)}`,
      user_token: `xoxp-${randomInt(1e9)}-${randomInt(1e9)}-${hex(16)}`,
      scopes: BOT_SCOPES,
      subscriptions: SUBSCRIPTIONS,
      commands: ['/countersign'],
      events_url: null,
      interactivity_url: null,
      commands_url: null,
      socket_mode: false,
      revoked: false
    }
    // How Slack behaves. Times are in milliseconds, so that a test can make Slack impatient.
    this.habits = {
      ack_timeout: 3000,
      trigger_life: 3000,
      response_url_life: 30 * 60_000,
      response_url_uses: 5,
      retry_delays: [0, 60_000, 300_000],
      ping_every: 5000,
      ticket_life: 30_000,
      rate_limits: false,
      deliveries_each: 1
    }
    this.users = new Map()
    this.channels = new Map()
    this.messages = new Map()
    this.ephemerals = []
    this.views = new Map()
    this.triggers = new Map()
    this.response_urls = new Map()
    this.lastTs = 0
    this.bot = this.addUser({ name: this.app.name, real_name: 'Countersign', is_bot: true })
    this.addChannel({ name: 'general', members: [this.bot.id] })
  }

  addUser ({ id = makeId('U'), name, email = null, real_name = name, team_id = this.team.id, ...more }) {
    const user = { id, name, email, real_name, team_id, is_bot: false, deleted: false, is_restricted: false, ...more }
    this.users.set(id, user)
    return user
  }

  addChannel ({ id = makeId('C'), name, members = [], ...more }) {
    const { is_private = false, is_archived = false, is_ext_shared = false } = more
    const channel = {
      id,
      name,
      members: [...members],
      is_private,
      is_archived,
      is_ext_shared,
      is_im: false,
      created: seconds()
    }
    this.channels.set(id, channel)
    this.messages.set(id, [])
    return channel
  }

  /** The conversation of the bot and somebody, which there is one of. */
  direct (user) {
    const found = [...this.channels.values()].find(one => one.is_im && one.user === user.id)
    if (found) return { channel: found, fresh: false }
    const channel = {
      id: makeId('D'),
      name: user.id,
      user: user.id,
      members: [this.bot.id, user.id],
      is_im: true,
      is_private: true,
      created: seconds()
    }
    this.channels.set(channel.id, channel)
    this.messages.set(channel.id, [])
    return { channel, fresh: true }
  }

  /** A message's name: seconds with six digits, never the same twice in a workspace. */
  ts () {
    const now = Math.max(Date.now() * 1000, this.lastTs + 1)
    this.lastTs = now
    return `${Math.floor(now / 1e6)}.${String(now % 1e6).padStart(6, '0')}`
  }

  post (channel, content, author) {
    const message = {
      type: 'message',
      user: author.id,
      ts: this.ts(),
      text: content.text ?? '',
      team: author.team_id,
      ...this.botMarks(author)
    }
    for (const name of ['blocks', 'thread_ts', 'metadata', 'client_msg_id']) {
      if (content[name] !== undefined) message[name] = content[name]
    }
    const root = message.thread_ts && this.find(channel.id, message.thread_ts)
    if (root) message.parent_user_id = root.user
    this.messages
      .get(channel.id)
      .push({ message, versions: [{ at: Date.now(), ...structuredClone(message) }], deleted: false })
    return message
  }

  botMarks (author) {
    if (author.id !== this.bot.id) return {}
    const { bot_id, id: app_id, name } = this.app
    return {
      bot_id,
      app_id,
      bot_profile: { id: bot_id, app_id, name, deleted: false, updated: 0, team_id: this.team.id }
    }
  }

  entry (channel, ts) {
    return this.messages.get(channel)?.find(one => one.message.ts === ts && !one.deleted)
  }

  find (channel, ts) {
    return this.entry(channel, ts)?.message
  }

  addTrigger (user, view = null) {
    const id = `${randomInt(1e12)}.${randomInt(1e12)}.${hex(16)}`
    this.triggers.set(id, { user, view, at: Date.now(), used: false })
    return id
  }

  /** Who acted, once and for three seconds. */
  exchange (id, { peek = false } = {}) {
    if (!/^\d+\.\d+\.[0-9a-f]+$/.test(id ?? '')) throw new Refusal('invalid_trigger_id')
    const trigger = this.triggers.get(id)
    if (!trigger) throw new Refusal('invalid_trigger_id')
    if (trigger.used) throw new Refusal('exchanged_trigger_id')
    if (Date.now() - trigger.at > this.habits.trigger_life) throw new Refusal('expired_trigger_id')
    if (!peek) trigger.used = true
    return trigger
  }

  addResponseUrl (kind, origin, about) {
    const path = `/${kind}/${this.team.id}/${randomInt(1e13)}/${hex(12)}`
    this.response_urls.set(path, { kind, at: Date.now(), uses: 0, ...about })
    return origin + path
  }

  /** The views that somebody looks at, the topmost last. */
  stack (user) {
    return [...this.views.values()].filter(one => one.user === user && one.open)
  }

  expire () {
    for (const one of [...this.triggers.values(), ...this.response_urls.values()]) one.at = 0
  }
}

export const seconds = () => Math.floor(Date.now() / 1000)

/** What an app said, and what it left to Slack, in every text of it. */
export function complete (value) {
  const walk = part => {
    if (Array.isArray(part)) part.forEach(walk)
    else if (typeof part === 'object' && part !== null) {
      if (part.type === 'plain_text') part.emoji ??= true
      if (part.type === 'mrkdwn') part.verbatim ??= false
      Object.values(part).forEach(walk)
    }
    return part
  }
  return walk(structuredClone(value))
}

/** What somebody can use in a block. */
export const elements = block =>
  [...(block.type === 'actions' ? block.elements : []), block.element, block.accessory].filter(
    one => one && one.type !== 'image'
  )

/** The blocks as Slack keeps them: each has a `block_id`, and what can be used an `action_id`. */
export function kept (blocks) {
  const copy = complete(blocks)
  for (const block of copy) {
    if (block.type === 'input')
      Object.assign(block, { optional: block.optional ?? false, dispatch_action: block.dispatch_action ?? false })
    block.block_id ??= randomBytes(6).toString('base64url').slice(0, 5)
    for (const one of elements(block)) one.action_id ??= randomBytes(6).toString('base64url').slice(0, 5)
  }
  return copy
}
