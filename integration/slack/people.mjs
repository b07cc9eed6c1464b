// What people do in Slack's clients, and what Slack sends to the app for it.
import { randomUUID } from 'node:crypto'
import { PUSHES, content, makeView, readView, replaceView, revise } from './web_api.mjs'
import { Refusal, complete, elements, hex, kept, makeId, seconds } from './workspace.mjs'

const TROUBLE = 'We had some trouble connecting. Try again?'

/** Slack's client didn't let somebody do something, so that nothing was sent. */
export class Unable extends Error {}

export class People {
  constructor (platform) {
    this.platform = platform
    this.workspace = platform.workspace
  }

  user (id) {
    const user = this.workspace.users.get(id)
    if (!user) throw new Unable(`there is no user ${id}`)
    if (user.deleted) throw new Unable(`${user.name} is deactivated`)
    return user
  }

  channel (id) {
    const channel = this.workspace.channels.get(id)
    if (!channel) throw new Unable(`there is no channel ${id}`)
    return channel
  }

  // Whoever is not in a channel doesn't see it.
  within (user, id, force) {
    const channel = this.channel(id)
    if (!force && !channel.members.includes(user.id)) throw new Unable(`${user.name} is not in ${channel.name}`)
    return channel
  }

  // What every payload of an interaction says of who acts where.
  whose (user) {
    const { app, team } = this.workspace
    const enterprise = team.enterprise_id ? { id: team.enterprise_id, name: team.enterprise_name } : null
    const home =
      user.team_id === team.id
        ? {
            id: team.id,
            domain: team.domain,
            ...(enterprise ? { enterprise_id: enterprise.id, enterprise_name: enterprise.name } : {})
          }
        : { id: user.team_id, domain: 'elsewhere' }
    return {
      user: { id: user.id, username: user.name, name: user.name, team_id: user.team_id },
      api_app_id: app.id,
      token: app.verification_token,
      team: home,
      enterprise,
      is_enterprise_install: false
    }
  }

  interact (payload, { accepts = false, forge }) {
    const { app } = this.workspace
    return this.platform.deliverer.send({ kind: 'interactive', payload, url: app.interactivity_url, accepts, forge })
  }

  /** Somebody uses a button, or another element, of a message, an ephemeral one, or a view. */
  async click ({ user: id, channel, ts, view: viewId, action_id, block_id, value, version, force, forge }) {
    const user = this.user(id)
    const place = viewId
      ? this.onView(user, viewId)
      : this.onMessage(user, this.within(user, channel, force), ts, version)
    const found = find(place.blocks, action_id, block_id)
    if (!found) throw new Unable(`there is nothing ${action_id} to use: ${describe(place.blocks)}`)
    const { block, element } = found
    const action = {
      ...acted(element, value),
      type: element.type,
      action_id: element.action_id,
      block_id: block.block_id,
      action_ts: this.workspace.ts()
    }
    const view = viewId && this.workspace.views.get(viewId)
    const payload = {
      type: 'block_actions',
      ...this.whose(user),
      trigger_id: this.workspace.addTrigger(user, view),
      ...place.payload,
      actions: [action]
    }
    return this.interact(payload, { forge })
  }

  onMessage (user, channel, ts, version) {
    const shown = this.workspace.entry(channel.id, ts)
    const ephemeral = this.workspace.ephemerals.find(one => one.ts === ts && one.user === user.id && !one.deleted)
    if (!shown && !ephemeral) throw new Unable(`there is no message ${ts} in ${channel.id}`)
    const { at, ...message } = shown?.versions.at(version ?? -1) ?? ephemeral
    const response_url = this.workspace.addResponseUrl('actions', this.platform.origin, {
      channel: channel.id,
      user: user.id,
      ts
    })
    const thread = message.thread_ts ? { thread_ts: message.thread_ts } : {}
    const payload = {
      container: { type: 'message', message_ts: ts, channel_id: channel.id, is_ephemeral: !shown, ...thread },
      channel: { id: channel.id, name: nameOf(channel) },
      ...(shown ? { message } : {}),
      state: { values: {} },
      response_url
    }
    return { blocks: message.blocks ?? [], payload }
  }

  onView (user, id) {
    const { view } = this.looking(user, id)
    return { blocks: view.blocks, payload: { container: { type: 'view', view_id: id }, view } }
  }

  looking (user, id) {
    const found = this.workspace.views.get(id)
    if (!found?.open || found.user !== user.id) throw new Unable(`${user.name} doesn't look at a view ${id}`)
    return found
  }

  /** Somebody fills in a view and sends it. `values` are by `block_id` or `action_id`. */
  async submit ({ user: id, view: viewId, values = {}, force, forge }) {
    const user = this.user(id)
    const found = this.looking(user, viewId)
    if (!found.view.submit && !force) throw new Unable('the view has no button to send it')
    const state = fill(found.view.blocks, values, force)
    found.errors = null
    const payload = {
      type: 'view_submission',
      ...this.whose(user),
      trigger_id: this.workspace.addTrigger(user, found),
      view: { ...found.view, state: { values: state } },
      response_urls: []
    }
    const outcome = await this.interact(payload, { accepts: true, forge })
    return { ...outcome, ...this.afterSubmission(found, outcome) }
  }

  // What the client makes of the app's answer.
  afterSubmission (found, { acknowledged, answer, body }) {
    if (!acknowledged) return { shown: TROUBLE }
    if (!answer) {
      if (body) return { shown: TROUBLE }
      found.open = false
      return { closed: true }
    }
    try {
      return this.respond(found, answer)
    } catch (refused) {
      if (!(refused instanceof Refusal)) throw refused
      return { shown: TROUBLE, refused: refused.answer }
    }
  }

  respond (found, { response_action: act, errors, view, ...rest }) {
    const { workspace } = this
    if (act === undefined && !Object.keys(rest).length) {
      found.open = false
      return { closed: true }
    }
    if (act === 'errors') {
      const known = new Set(found.view.blocks.filter(block => block.type === 'input').map(block => block.block_id))
      const wrong = Object.keys(errors ?? {}).filter(name => !known.has(name))
      if (wrong.length || !Object.keys(errors ?? {}).length)
        throw new Refusal('invalid_arguments', { unknown_blocks: wrong })
      found.errors = errors
      return { errors }
    }
    if (act === 'update') return { view: replaceView(workspace, found, readView(view)) }
    if (act === 'push') {
      if (workspace.stack(found.user).length >= PUSHES) throw new Refusal('push_limit_reached')
      const { root_view_id: root, id: previous } = found.view
      return { view: makeView(workspace, readView(view), { user: found.user, root, previous }) }
    }
    if (act !== 'clear') throw new Refusal('invalid_arguments', { response_action: act ?? null })
    workspace.stack(found.user).forEach(one => {
      one.open = false
    })
    return { closed: true }
  }

  /** Somebody closes a view, or with `clear` all of them. */
  async close ({ user: id, view: viewId, clear = false, forge }) {
    const user = this.user(id)
    const found = this.looking(user, viewId)
    for (const one of clear ? this.workspace.stack(user.id) : [found]) one.open = false
    if (!found.view.notify_on_close) return { closed: true }
    const { trigger_id: _, ...payload } = {
      type: 'view_closed',
      ...this.whose(user),
      view: found.view,
      is_cleared: clear
    }
    return { closed: true, ...(await this.interact(payload, { forge })) }
  }

  /** Somebody types a command. */
  async command ({ user: id, channel: place, command, text = '', forge, force }) {
    const user = this.user(id)
    const channel = this.within(user, place, force)
    const { app, team } = this.workspace
    // Guests from other workspaces don't have this workspace's commands.
    if ((!app.commands.includes(command) || user.team_id !== team.id) && !force)
      throw new Unable(`${command} is not a valid command`)
    const grid = team.enterprise_id ? { enterprise_id: team.enterprise_id, enterprise_name: team.enterprise_name } : {}
    const payload = {
      token: app.verification_token,
      team_id: user.team_id,
      team_domain: team.domain,
      ...grid,
      channel_id: channel.id,
      channel_name: nameOf(channel),
      user_id: user.id,
      user_name: user.name,
      command,
      text,
      api_app_id: app.id,
      is_enterprise_install: 'false',
      response_url: this.workspace.addResponseUrl('commands', this.platform.origin, {
        channel: channel.id,
        user: user.id
      }),
      trigger_id: this.workspace.addTrigger(user)
    }
    const outcome = await this.platform.deliverer.send({
      kind: 'slash_commands',
      payload,
      url: app.commands_url,
      accepts: true,
      forge
    })
    return { ...outcome, ...this.afterCommand(command, payload, outcome) }
  }

  afterCommand (command, { user_id: user, channel_id: channel }, { acknowledged, status, answer, body }) {
    const failed = why => ({ shown: `${command} failed with the error "${why}"` })
    if (!acknowledged) return failed(status ? 'dispatch_failed' : 'operation_timeout')
    const said = typeof answer === 'object' && answer ? answer : { text: body }
    if (!said.text && !said.blocks) return {}
    try {
      return { answered: this.say({ channel, user }, said) }
    } catch (refused) {
      if (!(refused instanceof Refusal)) throw refused
      return { ...failed('dispatch_failed'), refused: refused.answer }
    }
  }

  // Puts what the app answered where a response_url or a command puts it.
  say ({ channel: id, user }, args) {
    const { workspace, platform } = this
    const said = content(args)
    if (args.response_type === 'in_channel') {
      const message = workspace.post(this.channel(id), said, workspace.bot)
      platform.inbound.message(this.channel(id), message)
      return { ts: message.ts }
    }
    const ts = workspace.ts()
    workspace.ephemerals.push({ channel: id, user, ts, at: Date.now(), deleted: false, ...said })
    return { ts }
  }

  /** What an app posts to a response_url. */
  response (path, args) {
    const { workspace, platform } = this
    const found = workspace.response_urls.get(path)
    const { response_url_life: life, response_url_uses: uses } = workspace.habits
    if (!found || Date.now() - found.at > life) throw new Refusal('expired_url')
    if (found.uses >= uses) throw new Refusal('used_url')
    const shown = found.ts && workspace.ephemerals.find(one => one.ts === found.ts && !one.deleted)
    if (args.delete_original) {
      const entry = shown ?? workspace.entry(found.channel, found.ts)
      if (!entry) throw new Refusal('message_not_found')
      entry.deleted = true
    } else if (args.replace_original) {
      if (shown) Object.assign(shown, defined(content(args)))
      else revise(platform, this.channel(found.channel), found.ts, content(args))
    } else this.say(found, args)
    found.uses += 1
    return found.kind
  }

  /** Somebody writes, into a channel or a thread. */
  async write ({ user: id, channel: place, text, thread_ts, force, forge }) {
    const user = this.user(id)
    const channel = this.within(user, place, force)
    if (thread_ts && !this.workspace.find(channel.id, thread_ts))
      throw new Unable(`there is no message ${thread_ts} in ${channel.id}`)
    const rich = { type: 'rich_text', elements: [{ type: 'rich_text_section', elements: [{ type: 'text', text }] }] }
    const message = this.workspace.post(
      channel,
      { text: escaped(text), thread_ts, blocks: kept([rich]), client_msg_id: randomUUID() },
      user
    )
    const outcome = await this.platform.inbound.message(channel, message, forge)
    return { ts: message.ts, ...outcome }
  }

  /** Somebody looks at the app's home. */
  async home ({ user: id, tab = 'home', forge }) {
    const user = this.user(id)
    const { channel } = this.workspace.direct(user)
    return this.platform.inbound.event(
      'app_home_opened',
      { type: 'app_home_opened', user: user.id, channel: channel.id, tab },
      forge
    )
  }
}

/** Events, for which an app subscribes. */
export class Inbound {
  constructor (platform) {
    this.platform = platform
    this.workspace = platform.workspace
  }

  async event (subscription, event, forge) {
    const { app, team, bot } = this.workspace
    if (!app.subscriptions.includes(subscription))
      return { acknowledged: false, error: `not subscribed to ${subscription}` }
    const payload = {
      token: app.verification_token,
      team_id: team.id,
      context_team_id: team.id,
      context_enterprise_id: team.enterprise_id,
      ...(team.enterprise_id ? { enterprise_id: team.enterprise_id } : {}),
      api_app_id: app.id,
      event: { ...event, event_ts: event.event_ts ?? event.ts ?? this.workspace.ts() },
      type: 'event_callback',
      event_id: makeId('Ev'),
      event_time: seconds(),
      authorizations: [
        {
          enterprise_id: team.enterprise_id,
          team_id: team.id,
          user_id: bot.id,
          is_bot: true,
          is_enterprise_install: false
        }
      ],
      is_ext_shared_channel: this.workspace.channels.get(event.channel)?.is_ext_shared ?? false,
      event_context: `4-${hex(24)}`
    }
    return this.platform.deliverer.send({ kind: 'events_api', payload, url: app.events_url, forge })
  }

  // Slack tells an app of its own messages, too.
  async message (channel, message, forge) {
    const { bot } = this.workspace
    if (!channel.members.includes(bot.id)) return { acknowledged: false, error: 'the app is not in the channel' }
    const { kind, subscription } = kindOf(channel)
    const event = { ...structuredClone(message), channel: channel.id, event_ts: message.ts, channel_type: kind }
    if (message.user !== bot.id && message.text.includes(`<@${bot.id}>`))
      this.event('app_mention', { ...event, type: 'app_mention' })
    return this.event(subscription, event, forge)
  }

  async changed (channel, message, before) {
    const { kind, subscription } = kindOf(channel)
    return this.event(subscription, {
      type: 'message',
      subtype: 'message_changed',
      message: structuredClone(message),
      previous_message: before,
      channel: channel.id,
      hidden: true,
      ts: this.workspace.ts(),
      channel_type: kind
    })
  }
}

const kindOf = channel =>
  channel.is_im
    ? { kind: 'im', subscription: 'message.im' }
    : channel.is_private
      ? { kind: 'group', subscription: 'message.groups' }
      : { kind: 'channel', subscription: 'message.channels' }

const nameOf = channel => (channel.is_im ? 'directmessage' : channel.is_private ? 'privategroup' : channel.name)

// Text as Slack keeps it: what isn't a mention of its own is escaped.
const escaped = text =>
  text
    .split(/(<[@#!][^<>]+>)/)
    .map((part, index) => (index % 2 ? part : part.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')))
    .join('')

const defined = given => Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))

function find (blocks, action_id, block_id) {
  for (const block of blocks) {
    for (const element of elements(block)) {
      if (element.action_id === action_id && (!block_id || block.block_id === block_id)) return { block, element }
    }
  }
}

const describe = blocks =>
  blocks
    .flatMap(elements)
    .map(one => one.action_id)
    .join(', ') || 'nothing at all'

const MULTIPLE = { checkboxes: 'options', multi_static_select: 'options', multi_users_select: 'users' }
const SINGLE = {
  static_select: 'option',
  radio_buttons: 'option',
  overflow: 'option',
  users_select: 'user',
  conversations_select: 'conversation',
  channels_select: 'channel',
  datepicker: 'date',
  timepicker: 'time',
  datetimepicker: 'date_time'
}

// The state of an element into which somebody put a value.
function chosen (element, value) {
  const { type } = element
  const options = [...(element.options ?? []), ...(element.option_groups ?? []).flatMap(group => group.options)]
  const option = name => {
    const one = options.find(each => each.value === name)
    if (!one) throw new Unable(`there is no option ${name}`)
    return complete(one)
  }
  if (Object.hasOwn(MULTIPLE, type)) {
    const name = MULTIPLE[type]
    return {
      [`selected_${name}`]:
        name === 'options'
          ? (value ?? (element.initial_options ?? []).map(one => one.value)).map(option)
          : (value ?? [])
    }
  }
  if (Object.hasOwn(SINGLE, type)) {
    const name = SINGLE[type]
    if (name !== 'option') return { [`selected_${name}`]: value ?? element[`initial_${name}`] ?? null }
    const picked = value ?? element.initial_option?.value
    return { selected_option: picked === undefined ? null : option(picked) }
  }
  if (type === 'rich_text_input') return { rich_text_value: value ?? element.initial_value ?? null }
  return { value: value ?? element.initial_value ?? null }
}

function acted (element, value) {
  if (element.type !== 'button') return chosen(element, value)
  const { text, style, url, value: own } = element
  return { text, ...defined({ style, url, value: own }) }
}

// The state of a view, unless Slack's client wouldn't send it like that.
function fill (blocks, values, force) {
  const state = {}
  for (const block of blocks) {
    for (const element of elements(block)) {
      if (element.type === 'button' || element.type === 'overflow') continue
      const value = values[block.block_id] ?? values[element.action_id]
      const held = chosen(element, value)
      if (block.type === 'input' && !force) wellFilled(block, element, held)
      state[block.block_id] = { ...state[block.block_id], [element.action_id]: { type: element.type, ...held } }
    }
  }
  const places = new Set(Object.entries(state).flatMap(([block, held]) => [block, ...Object.keys(held)]))
  const unknown = Object.keys(values).filter(name => !places.has(name))
  if (unknown.length) throw new Unable(`the view has no ${unknown.join(', ')}: ${[...places].join(', ')}`)
  return state
}

function wellFilled (block, element, held) {
  const [value] = Object.values(held)
  const empty = value === null || value === '' || (Array.isArray(value) && !value.length)
  if (empty && !block.optional) throw new Unable(`Please complete this required field: ${block.block_id}`)
  if (empty || typeof value !== 'string') return
  const { min_length: min = 0, max_length: max = 3000 } = element
  if (value.length < min || value.length > max)
    throw new Unable(`${block.block_id} takes from ${min} to ${max} characters`)
}
