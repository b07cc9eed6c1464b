// Slack's Web API: what an app calls. Every method is a row with what it takes and what it does.
import { messageErrors, tooLarge, tooLong, viewErrors } from './block_kit.mjs'
import { Refusal, complete, hex, kept, makeId, seconds } from './workspace.mjs'

const POST_TEXT = 40_000
const UPDATE_TEXT = 4_000
/** So many views lie on each other at the most. */
export const PUSHES = 3
// Calls a minute, by tier. The lowest is one, and Slack bears a few more for a while.
const TIERS = { 1: 5, 2: 20, 3: 50, 4: 100 }

/** Answers one call: `args` are the caller's, `token` the bearer's. */
export async function answer (platform, name, { args, token, isJson }) {
  const { app } = platform.workspace
  const method = Object.hasOwn(METHODS, name) ? METHODS[name] : null
  const headers = {}
  try {
    if (!method) throw new Refusal('unknown_method', { req_method: name })
    const kind = authenticate(app, token)
    if (kind === 'bot') headers['x-oauth-scopes'] = app.scopes.join(',')
    if (method.scope) headers['x-accepted-oauth-scopes'] = method.scope
    if (!(method.tokens ?? ['bot', 'user']).includes(kind)) throw new Refusal('not_allowed_token_type')
    if (method.scope && kind === 'bot' && !app.scopes.includes(method.scope)) {
      throw new Refusal('missing_scope', { needed: method.scope, provided: app.scopes.join(',') })
    }
    const given = isJson && method.form ? {} : args
    const missing = (method.needs ?? []).filter(field => given[field] === undefined || given[field] === '')
    if (missing.length) throw invalid(missing.map(field => `[ERROR] missing required field: ${field}`))
    const wait = platform.limits.wait(name, method, given)
    if (wait) return limited(wait)
    const found = await method.run(platform, given)
    return { status: 200, headers, body: { ok: true, ...found } }
  } catch (refused) {
    if (!(refused instanceof Refusal)) throw refused
    return { status: 200, headers, body: refused.answer }
  }
}

export const limited = after => ({
  status: 429,
  headers: { 'retry-after': String(after) },
  body: { ok: false, error: 'ratelimited' }
})

function authenticate (app, token) {
  if (!token) throw new Refusal('not_authed')
  const kinds = { [app.bot_token]: 'bot', [app.app_token]: 'app', [app.user_token]: 'user' }
  if (!Object.hasOwn(kinds, token)) throw new Refusal('invalid_auth')
  if (app.revoked) throw new Refusal('token_revoked')
  return kinds[token]
}

/** Slack's limits: a message a second for each channel, and so many calls a minute for each method. */
export class Limits {
  constructor (habits) {
    this.habits = habits
    this.calls = new Map()
  }

  /** Seconds until the next call may come; none if this one may. */
  wait (name, { tier }, { channel }) {
    if (!this.habits.rate_limits) return 0
    const [key, most, span] =
      name === 'chat.postMessage' ? [`${name} ${channel}`, 1, 1000] : [name, TIERS[tier], 60_000]
    const now = Date.now()
    const recent = (this.calls.get(key) ?? []).filter(at => at > now - span)
    this.calls.set(key, recent)
    if (recent.length >= most) return Math.max(1, Math.ceil((recent[0] + span - now) / 1000))
    recent.push(now)
    return 0
  }
}

const invalid = messages => new Refusal('invalid_arguments', { response_metadata: { messages } })
const truthy = value => value === true || value === 'true' || value === '1'

function structured (value, error) {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch {
    throw error()
  }
}

// What a message says, from the arguments of a call or of a response_url.
export function content (args, most = POST_TEXT) {
  const { text, markdown_text: markdown, thread_ts, client_msg_id } = args
  const blocks = structured(args.blocks, () => new Refusal('invalid_blocks_format'))
  const metadata = structured(args.metadata, () => new Refusal('invalid_metadata_format'))
  if (markdown !== undefined && (text !== undefined || blocks !== undefined))
    throw new Refusal('markdown_text_conflict')
  if (blocks !== undefined) {
    const messages = messageErrors(blocks)
    const errors = messages.map(one => one.replace('[ERROR] ', ''))
    if (messages.length) throw new Refusal('invalid_blocks', { errors, response_metadata: { messages } })
    if (tooLong(blocks)) throw new Refusal('msg_blocks_too_long')
  }
  const given = text ?? markdown
  const words = given === undefined ? undefined : String(given)
  if (!words && !blocks?.length && !args.attachments) throw new Refusal('no_text')
  if ([...(words ?? '')].length > most) throw new Refusal('msg_too_long')
  if (metadata !== undefined) checkMetadata(metadata)
  return { text: words, blocks: blocks && kept(blocks), metadata, thread_ts, client_msg_id }
}

function checkMetadata (metadata) {
  const { event_type: type, event_payload: payload } = metadata ?? {}
  if (typeof type !== 'string' || typeof payload !== 'object') throw new Refusal('invalid_metadata_schema')
  if (JSON.stringify(payload).length > 15_000) throw new Refusal('metadata_too_large')
}

// A channel that the bot sees: by its identifier, or by its name for a message.
function visible ({ workspace }, id, { named = false } = {}) {
  const { channels, bot } = workspace
  const name = String(id).replace(/^#/, '')
  const found = channels.get(id) ?? (named && [...channels.values()].find(one => !one.is_im && one.name === name))
  if (!found || (found.is_private && !found.members.includes(bot.id))) throw new Refusal('channel_not_found')
  return found
}

// Where to post: a channel, or the conversation with somebody.
function destination (platform, id) {
  const { app, users, bot } = platform.workspace
  const user = users.get(id)
  if (user?.deleted || user?.is_bot) throw new Refusal('channel_not_found')
  if (user) return platform.workspace.direct(user).channel
  const channel = visible(platform, id, { named: true })
  if (channel.is_archived) throw new Refusal('is_archived')
  const everywhere = app.scopes.includes('chat:write.public') && !channel.is_private
  if (!channel.members.includes(bot.id) && !everywhere) throw new Refusal('not_in_channel')
  return channel
}

async function postMessage (platform, args) {
  const { workspace } = platform
  const channel = destination(platform, args.channel)
  const said = content(args)
  if (said.thread_ts && !workspace.find(channel.id, said.thread_ts)) throw new Refusal('thread_not_found')
  const message = workspace.post(channel, said, workspace.bot)
  platform.inbound.message(channel, message)
  return { channel: channel.id, ts: message.ts, message }
}

async function postEphemeral (platform, args) {
  const { workspace } = platform
  const channel = visible(platform, args.channel, { named: true })
  if (!channel.members.includes(workspace.bot.id)) throw new Refusal('not_in_channel')
  if (!channel.members.includes(args.user)) throw new Refusal('user_not_in_channel')
  const said = content(args)
  const ts = workspace.ts()
  workspace.ephemerals.push({ channel: channel.id, user: args.user, ts, at: Date.now(), deleted: false, ...said })
  return { message_ts: ts }
}

/** Puts other content into a message that the app posted. */
export function revise (platform, channel, ts, said) {
  const { workspace } = platform
  const entry = workspace.entry(channel.id, ts)
  if (!entry) throw new Refusal('message_not_found')
  const { message } = entry
  if (message.user !== workspace.bot.id) throw new Refusal('cant_update_message')
  const before = structuredClone(message)
  // What a call leaves out stays as it is.
  for (const name of ['text', 'blocks', 'metadata']) if (said[name] !== undefined) message[name] = said[name]
  message.edited = { user: workspace.bot.id, ts: workspace.ts() }
  entry.versions.push({ at: Date.now(), ...structuredClone(message) })
  platform.inbound.changed(channel, message, before)
  return message
}

async function update (platform, args) {
  const channel = visible(platform, args.channel)
  const message = revise(platform, channel, args.ts, content(args, UPDATE_TEXT))
  return { channel: channel.id, ts: message.ts, text: message.text, message }
}

async function remove (platform, { channel: id, ts }) {
  const channel = visible(platform, id)
  const entry = platform.workspace.entry(channel.id, ts)
  if (!entry) throw new Refusal('message_not_found')
  if (entry.message.user !== platform.workspace.bot.id) throw new Refusal('cant_delete_message')
  entry.deleted = true
  return { channel: channel.id, ts }
}

async function openConversation (platform, { users, channel, return_im: whole }) {
  const { workspace } = platform
  if (!users && !channel) throw new Refusal('users_list_not_supplied')
  if (channel) return { no_op: true, already_open: true, channel: { id: visible(platform, channel).id } }
  const ids = String(users).split(',')
  if (ids.length > 1) throw new Refusal('method_not_supported_for_channel_type')
  const user = workspace.users.get(ids[0])
  if (!user) throw new Refusal('user_not_found')
  if (user.deleted) throw new Refusal('user_disabled')
  if (user.is_bot) throw new Refusal('cannot_dm_bot')
  const { channel: direct, fresh } = workspace.direct(user)
  const found = truthy(whole) ? described(direct) : { id: direct.id }
  return fresh ? { channel: found } : { no_op: true, already_open: true, channel: found }
}

function described (channel) {
  if (channel.is_im) {
    const { id, user, created } = channel
    return {
      id,
      created,
      is_im: true,
      is_org_shared: false,
      user,
      is_archived: false,
      is_user_deleted: false,
      priority: 0
    }
  }
  const { id, name, is_private: secret, is_archived, is_ext_shared: shared, created, members } = channel
  return {
    id,
    name,
    name_normalized: name,
    created,
    is_archived,
    is_channel: true,
    is_group: false,
    is_im: false,
    is_mpim: false,
    is_private: secret,
    is_general: name === 'general',
    is_shared: shared,
    is_ext_shared: shared,
    is_org_shared: false,
    is_member: true,
    num_members: members.length,
    topic: { value: '', creator: '', last_set: 0 },
    purpose: { value: '', creator: '', last_set: 0 }
  }
}

// A page of what is listed, and where the next begins.
function page (all, { limit = 100, cursor }) {
  const from = cursor ? Number(Buffer.from(cursor, 'base64').toString().replace('from:', '')) : 0
  if (!Number.isInteger(from)) throw new Refusal('invalid_cursor')
  const to = from + Math.min(Math.max(Number(limit) || 100, 1), 1000)
  const next_cursor = to < all.length ? Buffer.from(`from:${to}`).toString('base64') : ''
  return { some: all.slice(from, to), more: to < all.length, response_metadata: { next_cursor } }
}

async function listConversations (platform, args) {
  const kinds = (args.types ?? 'public_channel').split(',').map(one => one.trim())
  const { channels, bot } = platform.workspace
  const kindOf = one => (one.is_im ? 'im' : one.is_private ? 'private_channel' : 'public_channel')
  const seen = [...channels.values()].filter(
    one =>
      kinds.includes(kindOf(one)) &&
      (!one.is_private || one.members.includes(bot.id)) &&
      !(truthy(args.exclude_archived) && one.is_archived)
  )
  const { some, response_metadata } = page(seen, args)
  return {
    channels: some.map(one => ({ ...described(one), is_member: one.members.includes(bot.id) })),
    response_metadata
  }
}

async function replies (platform, args) {
  const channel = visible(platform, args.channel)
  const all = platform.workspace.messages
    .get(channel.id)
    .filter(one => !one.deleted)
    .map(one => one.message)
  const thread = all.filter(one => one.ts === args.ts || one.thread_ts === args.ts)
  if (!thread.length) throw new Refusal('thread_not_found')
  const { some, more, response_metadata } = page(thread, args)
  return { messages: some, has_more: more, response_metadata }
}

// Newest first, without what was said in threads.
async function history (platform, args) {
  const channel = visible(platform, args.channel)
  const all = platform.workspace.messages.get(channel.id).filter(one => !one.deleted).map(one => one.message)
  const since = all.filter(one => (!one.thread_ts || one.thread_ts === one.ts) && Number(one.ts) > Number(args.oldest ?? 0)).reverse()
  const shown = args.include_all_metadata === 'true' ? since : since.map(({ metadata, ...one }) => one)
  const { some, more, response_metadata } = page(shown, args)
  return { messages: some, has_more: more, response_metadata }
}

function userInfo ({ app }, { id, team_id, name, real_name, email, is_bot, deleted, is_restricted }) {
  const shown = app.scopes.includes('users:read.email') && email ? { email } : {}
  return {
    id,
    team_id,
    name,
    deleted,
    real_name,
    is_bot,
    is_restricted,
    is_ultra_restricted: false,
    is_admin: false,
    is_owner: false,
    is_primary_owner: false,
    is_app_user: false,
    is_email_confirmed: true,
    tz: 'Etc/UTC',
    tz_label: 'UTC',
    tz_offset: 0,
    updated: seconds(),
    profile: {
      real_name,
      display_name: name,
      real_name_normalized: real_name,
      display_name_normalized: name,
      team: team_id,
      ...shown
    }
  }
}

async function lookUp ({ workspace }, { email }) {
  const found = [...workspace.users.values()].find(
    one => one.email?.toLowerCase() === email.toLowerCase() && !one.deleted
  )
  if (!found) throw new Refusal('users_not_found')
  return { user: userInfo(workspace, found) }
}

/** Reads and checks a view as an app gives it. */
export function readView (given) {
  const view = structured(given, () => invalid(['[ERROR] must provide an object [json-pointer:/view]']))
  const messages = viewErrors(view)
  if (messages.length) throw invalid(messages)
  if (tooLarge(view)) throw new Refusal('view_too_large')
  return view
}

/** A view as Slack shows it to somebody. */
export function makeView (workspace, view, { user, root = null, previous = null, id = makeId('V') }) {
  const { app, team, bot } = workspace
  const taken = [...workspace.views.values()].some(
    one => one.open && one.view.id !== id && view.external_id && one.view.external_id === view.external_id
  )
  if (taken) throw new Refusal('duplicate_external_id')
  const shown = {
    id,
    team_id: team.id,
    type: view.type,
    blocks: kept(view.blocks),
    private_metadata: view.private_metadata ?? '',
    callback_id: view.callback_id ?? '',
    state: { values: {} },
    hash: `${seconds()}.${hex(4)}`,
    title: view.title && complete(view.title),
    clear_on_close: view.clear_on_close ?? false,
    notify_on_close: view.notify_on_close ?? false,
    close: view.close ? complete(view.close) : null,
    submit: view.submit ? complete(view.submit) : null,
    previous_view_id: previous,
    root_view_id: root ?? id,
    app_id: app.id,
    external_id: view.external_id ?? '',
    app_installed_team_id: team.id,
    bot_id: app.bot_id
  }
  workspace.views.set(id, { view: shown, user: user ?? bot.id, open: true, errors: null, at: Date.now() })
  return shown
}

// PHP has one kind of empty array, and Slack shows that here.
const told = view => ({ view: { ...view, state: { values: [] } } })

async function openView ({ workspace }, args) {
  workspace.exchange(args.trigger_id, { peek: true })
  const view = readView(args.view)
  if (view.type !== 'modal') throw invalid(['[ERROR] must be one of: modal [json-pointer:/view/type]'])
  const { user } = workspace.exchange(args.trigger_id)
  workspace.stack(user.id).forEach(one => {
    one.open = false
  })
  return told(makeView(workspace, view, { user: user.id }))
}

async function pushView ({ workspace }, args) {
  const trigger = workspace.exchange(args.trigger_id, { peek: true })
  const view = readView(args.view)
  const stack = workspace.stack(trigger.user.id)
  if (!trigger.view || !stack.length) throw new Refusal('not_found')
  if (stack.length >= PUSHES) throw new Refusal('push_limit_reached')
  workspace.exchange(args.trigger_id)
  const top = stack.at(-1).view
  return told(makeView(workspace, view, { user: trigger.user.id, root: top.root_view_id, previous: top.id }))
}

async function updateView ({ workspace }, args) {
  const { view_id: id, external_id: external, hash } = args
  if (!id && !external) throw invalid(['[ERROR] missing required field: view_id'])
  const found = [...workspace.views.values()].find(
    one => one.open && (id ? one.view.id === id : one.view.external_id === external)
  )
  if (!found) throw new Refusal('not_found')
  if (hash && hash !== found.view.hash) throw new Refusal('hash_conflict')
  return told(replaceView(workspace, found, readView(args.view)))
}

/** Puts another view in the place of one that somebody looks at. */
export function replaceView (workspace, { view: old, user }, view) {
  return makeView(workspace, view, { user, root: old.root_view_id, previous: old.previous_view_id, id: old.id })
}

async function react (platform, { channel: id, timestamp, name }) {
  const channel = visible(platform, id)
  const message = platform.workspace.find(channel.id, timestamp)
  if (!message) throw new Refusal('message_not_found')
  if (!/^[a-z0-9_+'-]+$/.test(name)) throw new Refusal('invalid_name')
  message.reactions ??= []
  if (message.reactions.some(one => one.name === name)) throw new Refusal('already_reacted')
  message.reactions.push({ name, users: [platform.workspace.bot.id], count: 1 })
  return {}
}

async function test ({ workspace }) {
  const { team, app, bot } = workspace
  const grid = team.enterprise_id ? { enterprise_id: team.enterprise_id } : {}
  return {
    url: `https://${team.domain}.slack.com/`,
    team: team.name,
    user: bot.name,
    team_id: team.id,
    user_id: bot.id,
    bot_id: app.bot_id,
    ...grid,
    is_enterprise_install: false
  }
}

async function openConnection ({ workspace, sockets }) {
  if (!workspace.app.socket_mode) throw new Refusal('forbidden_team')
  return { url: sockets.ticket() }
}

// `form` methods don't read JSON. `tier` is how often they may be called.
const METHODS = {
  'api.test': { tier: 4, tokens: ['bot', 'user', 'app'], run: async (_, args) => ({ args }) },
  'auth.test': { tier: 4, tokens: ['bot', 'user', 'app'], run: test },
  'apps.connections.open': { tier: 1, tokens: ['app'], run: openConnection },
  'chat.postMessage': { scope: 'chat:write', tier: 4, needs: ['channel'], run: postMessage },
  'chat.postEphemeral': { scope: 'chat:write', tier: 4, needs: ['channel', 'user'], run: postEphemeral },
  'chat.update': { scope: 'chat:write', tier: 3, needs: ['channel', 'ts'], run: update },
  'chat.delete': { scope: 'chat:write', tier: 3, needs: ['channel', 'ts'], run: remove },
  'conversations.open': { scope: 'im:write', tier: 3, run: openConversation },
  'conversations.history': { form: true, scope: 'channels:history', tier: 3, needs: ['channel'], run: history },
  'conversations.info': {
    form: true,
    scope: 'channels:read',
    tier: 3,
    needs: ['channel'],
    run: async (platform, args) => {
      const found = visible(platform, args.channel)
      return { channel: { ...described(found), is_member: found.members.includes(platform.workspace.bot.id) } }
    }
  },
  'conversations.list': { form: true, scope: 'channels:read', tier: 2, run: listConversations },
  'conversations.members': {
    form: true,
    scope: 'channels:read',
    tier: 4,
    needs: ['channel'],
    run: async (platform, args) => {
      const { some, response_metadata } = page(visible(platform, args.channel).members, args)
      return { members: some, response_metadata }
    }
  },
  'conversations.replies': { form: true, scope: 'channels:history', tier: 3, needs: ['channel', 'ts'], run: replies },
  'reactions.add': { scope: 'reactions:write', tier: 3, needs: ['channel', 'timestamp', 'name'], run: react },
  'users.info': {
    form: true,
    scope: 'users:read',
    tier: 4,
    needs: ['user'],
    run: async ({ workspace }, { user }) => {
      if (!workspace.users.has(user)) throw new Refusal('user_not_found')
      return { user: userInfo(workspace, workspace.users.get(user)) }
    }
  },
  'users.lookupByEmail': { form: true, scope: 'users:read.email', tier: 3, needs: ['email'], run: lookUp },
  'views.open': { tier: 4, needs: ['trigger_id', 'view'], run: openView },
  'views.push': { tier: 4, needs: ['trigger_id', 'view'], run: pushView },
  'views.update': { tier: 4, needs: ['view'], run: updateView }
}
