// A stand-in for Slack's platform on this machine: node slack.mjs [SETTINGS]
//
// Prints one line of JSON, `{"url", "api", …}` with the app's tokens and secret, and ends with its
// standard input. SETTINGS is JSON: {"team_id", "enterprise_id"}. The Web API is at `/api/`, response
// URLs at `/actions/` and `/commands/`, sockets at `/link/`, and what a test asks for at `/control/`.
// `faithful.mjs` and `faithful.py` prove with Slack's own clients that it behaves as Slack does.
import http from 'node:http'
import { control } from './control.mjs'
import { Deliverer } from './deliver.mjs'
import { Inbound, People } from './people.mjs'
import { Sockets } from './sockets.mjs'
import { Limits, answer, limited } from './web_api.mjs'
import { Refusal, Workspace, hex } from './workspace.mjs'

const MOST = 10 * 1024 * 1024
const FORM = 'application/x-www-form-urlencoded'

class Platform {
  constructor (settings) {
    this.workspace = new Workspace(settings)
    this.sockets = new Sockets(this.workspace)
    this.deliverer = new Deliverer(this.workspace, this.sockets)
    this.limits = new Limits(this.workspace.habits)
    this.inbound = new Inbound(this)
    this.people = new People(this)
    this.calls = []
    this.weather = []
  }

  // The fault that is next for this method, if any.
  fault (method) {
    const at = this.weather.findIndex(one => one.left > 0 && (one.method === null || one.method === method))
    if (at < 0) return {}
    const one = this.weather[at]
    one.left -= 1
    if (one.left === 0) this.weather.splice(at, 1)
    return one
  }

  async handle (request, response) {
    const { pathname: path, searchParams: query } = new URL(request.url, this.origin)
    const body = await read(request)
    const [, first, name] = path.split('/')
    if (first === 'control')
      return reply(response, await control(this, name, body ? JSON.parse(body) : Object.fromEntries(query)))
    if (first === 'api') return this.weathered(name ?? '', response, () => this.call(name, request, body, query), body)
    if (first === 'actions' || first === 'commands')
      return this.weathered('response_url', response, () => this.respond(path, body), body)
    reply(response, { status: 404, body: {} })
  }

  // Slack's answer, as far as the weather lets it through.
  async weathered (method, response, work, body) {
    const { fault, retry_after: after = 1, status = 500, delay = 1000 } = this.fault(method)
    const call = { at: Date.now(), method, fault: fault ?? null, body }
    this.calls.push(call)
    switch (fault) {
      case 'ratelimited':
        return reply(response, limited(after), call)
      case 'error':
        return reply(response, { status, type: 'text/html', body: '<h1>Server Error</h1>' }, call)
      case 'garbage':
        return reply(response, { status: 200, type: 'text/html', body: '<h1>Maintenance</h1>' }, call)
      case 'drop':
        return response.destroy()
      case 'hang':
        return
      case 'slow':
        await new Promise(resolve => setTimeout(resolve, delay))
    }
    const found = await work()
    if (fault === 'lost') {
      Object.assign(call, { args: found.args, answer: found.body })
      return response.destroy()
    }
    reply(response, found, call)
  }

  async call (name, request, body, query) {
    const read = readArguments(request, body, query)
    if (read.error) return { status: 200, body: { ok: false, error: read.error } }
    const found = await answer(this, name, read)
    if (read.warning) {
      Object.assign(found.body, { warning: read.warning })
      found.body.response_metadata = { ...found.body.response_metadata, warnings: [read.warning] }
    }
    return { ...found, args: read.args }
  }

  async respond (path, body) {
    try {
      const args = JSON.parse(body)
      const kind = this.people.response(path, args)
      return {
        status: 200,
        type: kind === 'commands' ? 'text/html' : undefined,
        body: kind === 'commands' ? 'ok' : { ok: true },
        args
      }
    } catch (refused) {
      if (refused instanceof SyntaxError) return { status: 400, type: 'text/html', body: 'invalid_payload' }
      if (!(refused instanceof Refusal)) throw refused
      const { error } = refused.answer
      return { status: /_url$/.test(error) ? 404 : 200, body: refused.answer }
    }
  }
}

async function read (request) {
  const parts = []
  let size = 0
  for await (const part of request) {
    size += part.length
    if (size > MOST) throw new Error('a request is too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

// Where a call's arguments and its token are.
function readArguments ({ method, headers }, body, query) {
  const [, bearer] = /^Bearer (.+)$/i.exec(headers.authorization ?? '') ?? []
  const [type, ...options] = (headers['content-type'] ?? '').split(';').map(one => one.trim().toLowerCase())
  const asked = Object.fromEntries(query)
  if (method === 'GET' || !body) return { args: asked, token: bearer ?? asked.token }
  if (type === 'application/json') {
    // A token in JSON isn't one.
    const warning = options.some(one => one.startsWith('charset=')) ? null : 'missing_charset'
    try {
      const args = JSON.parse(body)
      if (typeof args !== 'object' || args === null || Array.isArray(args)) return { error: 'json_not_object' }
      return { args, token: bearer, isJson: true, warning }
    } catch {
      return { error: 'invalid_json' }
    }
  }
  if (type === '') return { error: 'missing_post_type' }
  if (type !== FORM) return { error: 'invalid_post_type' }
  const args = { ...asked, ...Object.fromEntries(new URLSearchParams(body)) }
  return { args, token: bearer ?? args.token }
}

function reply (response, { status, headers = {}, body, type = 'application/json; charset=utf-8', args }, call) {
  if (call) Object.assign(call, { status, answer: body, args, took: Date.now() - call.at })
  response.writeHead(status, { ...headers, 'content-type': type, 'x-slack-req-id': hex(16) })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}

const platform = new Platform(JSON.parse(process.argv[2] ?? '{}'))
const server = http.createServer((request, response) => {
  platform.handle(request, response).catch(error => {
    console.error(error)
    response.destroy()
  })
})
server.on('upgrade', (request, stream, head) => platform.sockets.upgrade(request, stream, head))
server.listen(0, '127.0.0.1', () => {
  platform.origin = platform.sockets.origin = `http://127.0.0.1:${server.address().port}`
  const { app, team, bot } = platform.workspace
  const { id: app_id, bot_id, signing_secret, bot_token, app_token } = app
  console.log(
    JSON.stringify({
      url: platform.origin,
      api: `${platform.origin}/api/`,
      app_id,
      bot_id,
      bot_user_id: bot.id,
      team_id: team.id,
      enterprise_id: team.enterprise_id,
      signing_secret,
      bot_token,
      app_token
    })
  )
})
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
