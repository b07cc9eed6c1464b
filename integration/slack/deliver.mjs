// Brings to the app what Slack has for it, over signed HTTP or a socket, and again when nobody answers.
import { createHmac, randomUUID } from 'node:crypto'
import http from 'node:http'
import { hex } from './workspace.mjs'

const AGENT = 'Slackbot 1.0 (+https://api.slack.com/robots)'
const FORM = 'application/x-www-form-urlencoded'

export class Deliverer {
  constructor (workspace, sockets) {
    this.workspace = workspace
    this.sockets = sockets
    this.log = []
  }

  /** Sends one thing and tells how it was answered. Events come again later when they aren't. */
  async send ({ kind, payload, url, accepts = false, forge = {}, asks = false }) {
    const { app, habits } = this.workspace
    const delivery = {
      id: `${this.log.length}`,
      kind,
      via: app.socket_mode && !asks ? 'socket' : 'http',
      at: Date.now(),
      url,
      accepts,
      payload: forged(kind, payload, forge),
      forge,
      attempts: []
    }
    this.log.push(delivery)
    if (delivery.via === 'http' && !url)
      return { delivery: delivery.id, acknowledged: false, error: 'the app has no address for this' }
    const outcome = await this.attempt(delivery, 0, null)
    if (kind === 'events_api' && !asks && !outcome.acknowledged && !outcome.final)
      this.later(delivery, 1, outcome.reason, habits.retry_delays)
    return { delivery: delivery.id, ...outcome }
  }

  async attempt (delivery, retry, reason) {
    const times = delivery.forge.times ?? this.workspace.habits.deliveries_each
    const prepared =
      delivery.via === 'socket' ? this.envelope(delivery, retry, reason) : this.request(delivery, retry, reason)
    const all = await Promise.all(Array.from({ length: times }, () => this.bring(delivery, prepared)))
    return all.find(one => one.acknowledged) ?? all[0]
  }

  async bring (delivery, prepared) {
    const at = Date.now()
    const outcome =
      delivery.via === 'socket'
        ? await this.sockets.bring(prepared, this.workspace.habits.ack_timeout)
        : await post(delivery.url, prepared, this.workspace.habits.ack_timeout)
    delivery.attempts.push({ at, took: Date.now() - at, sent: prepared, ...outcome })
    return outcome
  }

  later (delivery, retry, reason, [delay, ...rest]) {
    if (delay === undefined) return
    setTimeout(async () => {
      const outcome = await this.attempt(delivery, retry, reason)
      if (!outcome.acknowledged && !outcome.final) this.later(delivery, retry + 1, outcome.reason, rest)
    }, delay).unref()
  }

  /** The very same bytes again, as somebody who overheard them would send them. */
  async replay (id) {
    const delivery = this.log[Number(id)]
    const sent = delivery?.attempts[0]?.sent
    if (!sent) throw new Error(`there is no delivery ${id}`)
    return { delivery: delivery.id, ...(await this.bring(delivery, sent)) }
  }

  envelope ({ kind, payload, accepts }, retry, reason) {
    const again = kind === 'events_api' ? { retry_attempt: retry, retry_reason: reason ?? '' } : {}
    return JSON.stringify({
      envelope_id: randomUUID(),
      payload,
      type: kind,
      accepts_response_payload: accepts,
      ...again
    })
  }

  request ({ kind, payload, forge }, retry, reason) {
    const { signing_secret: secret } = this.workspace.app
    const timestamp = forge.timestamp ?? String(Math.floor(Date.now() / 1000) + (forge.timestamp_offset ?? 0))
    const body = encode(kind, payload)
    const headers = {
      'user-agent': AGENT,
      accept: kind === 'events_api' ? '*/*' : 'application/json,*/*',
      'accept-encoding': 'gzip,deflate',
      'content-type': forge.content_type ?? (kind === 'events_api' ? 'application/json' : FORM),
      'x-slack-request-timestamp': timestamp,
      'x-slack-signature': signature(forge.signature, secret, timestamp, body)
    }
    for (const name of forge.without_headers ?? []) delete headers[name]
    if (headers['x-slack-signature'] === undefined) delete headers['x-slack-signature']
    if (retry) Object.assign(headers, { 'x-slack-retry-num': String(retry), 'x-slack-retry-reason': reason })
    return { headers, body: forge.tamper ? encode(kind, changed(payload, forge.tamper)) : body }
  }

  /** Slack's question whether an address is the app's. */
  async verify (url) {
    const challenge = hex(24)
    const outcome = await this.send({
      kind: 'events_api',
      url,
      payload: { token: this.workspace.app.verification_token, challenge, type: 'url_verification' },
      asks: true
    })
    const told = outcome.body ?? ''
    const heard =
      told.trim() === challenge || told.trim() === `challenge=${challenge}` || parsed(told)?.challenge === challenge
    return outcome.acknowledged && heard
  }
}

function signature (how, secret, timestamp, body) {
  const made = key => `v0=${createHmac('sha256', key).update(`v0:${timestamp}:${body}`).digest('hex')}`
  const real = made(secret)
  switch (how) {
    case undefined:
      return real
    case 'missing':
      return undefined
    case 'other_secret':
      return made(hex(16))
    case 'other_version':
      return real.replace('v0=', 'v1=')
    case 'truncated':
      return real.slice(0, -2)
    case 'upper_case':
      return `v0=${real.slice(3).toUpperCase()}`
    case 'bad':
      return `v0=${'0'.repeat(64)}`
    default:
      return how
  }
}

// JSON as PHP writes it: whoever signs what they parsed and wrote again signs something else.
const json = value =>
  JSON.stringify(value)
    .replace(/\//g, '\\/')
    .replace(/[\u0080-\uffff]/g, one => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

function encode (kind, payload) {
  if (kind === 'events_api') return json(payload)
  return new URLSearchParams(kind === 'slash_commands' ? payload : { payload: json(payload) }).toString()
}

function changed (payload, values) {
  const copy = structuredClone(payload)
  for (const [path, value] of Object.entries(values)) {
    const names = path.split('.')
    const last = names.pop()
    const place = names.reduce((at, name) => (at[name] ??= {}), copy)
    if (value === undefined) delete place[last]
    else place[last] = value
  }
  return copy
}

// Where each kind of payload says whose it is.
const PLACES = {
  interactive: {
    team_id: ['team.id', 'user.team_id'],
    enterprise_id: ['enterprise.id', 'team.enterprise_id'],
    app_id: ['api_app_id'],
    user_id: ['user.id']
  },
  events_api: {
    team_id: ['team_id', 'context_team_id', 'event.team'],
    enterprise_id: ['enterprise_id', 'context_enterprise_id'],
    app_id: ['api_app_id'],
    user_id: ['event.user']
  },
  slash_commands: {
    team_id: ['team_id'],
    enterprise_id: ['enterprise_id'],
    app_id: ['api_app_id'],
    user_id: ['user_id']
  }
}

function forged (kind, payload, forge) {
  const values = {}
  for (const [name, paths] of Object.entries(PLACES[kind])) {
    if (forge[name] !== undefined)
      paths.forEach(path => {
        values[path] = forge[name]
      })
  }
  return changed(payload, { ...values, ...forge.set })
}

function post (url, { headers, body }, timeout) {
  return new Promise(resolve => {
    const give = outcome => {
      clearTimeout(timer)
      resolve(outcome)
    }
    const request = http.request(
      url,
      {
        method: 'POST',
        agent: false,
        headers: { ...headers, 'content-length': Buffer.byteLength(body) }
      },
      async response => {
        let text = ''
        response.setEncoding('utf8')
        try {
          for await (const part of response) text += part
        } catch {
          return give({ acknowledged: false, reason: 'connection_failed', error: 'the answer broke off' })
        }
        const { statusCode: status } = response
        const acknowledged = status >= 200 && status < 300
        // Slack reads JSON where it is called that.
        const isJson = /^application\/json\b/.test(response.headers['content-type'])
        const final = response.headers['x-slack-no-retry'] === '1'
        give({
          acknowledged,
          status,
          body: text,
          final,
          ...(acknowledged ? { answer: isJson ? parsed(text) : null } : { reason: 'http_error' })
        })
      }
    )
    const timer = setTimeout(() => {
      give({ acknowledged: false, reason: 'http_timeout', error: 'no answer in time' })
      request.destroy()
    }, timeout)
    request.on('error', error =>
      give({ acknowledged: false, reason: 'connection_failed', error: error.code ?? error.message })
    )
    request.end(body)
  })
}

function parsed (text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
