// Socket Mode: an app opens sockets to Slack, and everything comes over one of them.
import { randomInt } from 'node:crypto'
import { WebSocketServer } from 'ws'
import { hex } from './workspace.mjs'

const MOST = 10
const HOST = 'applink-stand-in'

export class Sockets {
  constructor (workspace) {
    this.workspace = workspace
    this.server = new WebSocketServer({ noServer: true })
    this.tickets = new Map()
    this.sockets = []
    this.waiting = new Map()
    this.next = 0
    this.opened = 0
    setInterval(() => this.ping(), 250).unref()
  }

  /** An address for one socket, once and soon. */
  ticket () {
    const ticket = hex(16)
    this.tickets.set(ticket, Date.now())
    return `${this.origin.replace('http', 'ws')}/link/?ticket=${ticket}&app_id=${this.workspace.app.id}`
  }

  upgrade (request, stream, head) {
    const ticket = new URL(request.url, 'http://stand-in').searchParams.get('ticket')
    const at = this.tickets.get(ticket)
    this.tickets.delete(ticket)
    if (!at || Date.now() - at > this.workspace.habits.ticket_life) {
      stream.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      return
    }
    this.server.handleUpgrade(request, stream, head, socket => this.welcome(socket))
  }

  welcome (socket) {
    const one = {
      id: this.opened++,
      socket,
      silent: false,
      deaf: false,
      at: Date.now(),
      pinged: Date.now(),
      ponged: null,
      closed: null,
      acks: []
    }
    this.sockets.push(one)
    socket.on('message', (data, isBinary) => this.hear(one, isBinary ? '' : data.toString()))
    socket.on('pong', () => {
      one.ponged = Date.now()
    })
    socket.on('close', (code, reason) => {
      one.closed = { at: Date.now(), code, reason: reason.toString() }
    })
    socket.on('error', () => socket.terminate())
    if (this.open().length > MOST) {
      this.tell(one, { type: 'disconnect', reason: 'too_many_websockets', debug_info: { host: HOST } })
      return socket.close()
    }
    this.tell(one, {
      type: 'hello',
      num_connections: this.open().length,
      debug_info: { host: HOST, build_number: 1, approximate_connection_time: 18060 },
      connection_info: { app_id: this.workspace.app.id }
    })
  }

  open () {
    return this.sockets.filter(one => !one.closed && one.socket.readyState === one.socket.OPEN)
  }

  tell (one, what) {
    if (!one.silent) one.socket.send(typeof what === 'string' ? what : JSON.stringify(what))
  }

  hear (one, text) {
    let said
    try {
      said = JSON.parse(text)
    } catch {
      return
    }
    one.acks.push({ at: Date.now(), ...said })
    if (one.deaf) return
    this.waiting.get(said.envelope_id)?.shift()?.(said)
  }

  /** Brings an envelope over the next of the sockets, and tells whether and with what it was acknowledged. */
  bring (envelope, timeout) {
    // One that went silent still counts: Slack doesn't know yet that nobody hears it.
    const ready = this.open()
    if (!ready.length) return { acknowledged: false, reason: 'connection_failed', error: 'no socket is open' }
    const one = ready[this.next++ % ready.length]
    const { envelope_id: id, accepts_response_payload: accepts } = JSON.parse(envelope)
    return new Promise(resolve => {
      const timer = setTimeout(
        () => give({ acknowledged: false, reason: 'timeout', error: 'no acknowledgement in time', socket: one.id }),
        timeout
      )
      const give = outcome => {
        clearTimeout(timer)
        resolve(outcome)
      }
      const heard = ({ payload }) => {
        const answer = accepts && payload && Object.keys(payload).length ? payload : null
        give({ acknowledged: true, answer, socket: one.id })
      }
      // The same envelope may come twice, and each waits for an acknowledgement of its own.
      this.waiting.set(id, [...(this.waiting.get(id) ?? []), heard])
      this.tell(one, envelope)
    })
  }

  ping () {
    for (const one of this.open()) {
      if (one.silent || Date.now() - one.pinged < this.workspace.habits.ping_every) continue
      one.pinged = Date.now()
      one.socket.ping(`Ping from ${HOST}`)
    }
  }

  /** What happens to a socket, or to all of them. */
  async act ({ act, socket = null, reason = 'refresh_requested', code = 1000, text }) {
    const some = this.open().filter(one => socket === null || one.id === socket)
    for (const one of some) {
      const acts = {
        disconnect: () => {
          this.tell(one, { type: 'disconnect', reason, debug_info: { host: HOST } })
          // A warning comes some seconds before.
          if (reason !== 'warning') setTimeout(() => one.socket.close(1000), 200 + randomInt(100)).unref()
        },
        close: () => one.socket.close(code),
        drop: () => one.socket.terminate(),
        // As a connection that broke where neither side sees it: nothing is sent, nothing is read.
        silence: () => {
          one.silent = true
          one.socket.pause()
        },
        resume: () => {
          one.silent = false
          one.socket.resume()
        },
        deafen: () => {
          one.deaf = true
        },
        hear: () => {
          one.deaf = false
        },
        text: () => this.tell(one, text),
        binary: () => one.socket.send(Buffer.from(text, 'base64'))
      }
      if (!Object.hasOwn(acts, act)) throw new Error(`a socket can't ${act}`)
      acts[act]()
    }
    return { sockets: some.map(one => one.id) }
  }

  state () {
    return this.sockets.map(({ id, at, silent, deaf, ponged, closed, acks, socket }) => ({
      id,
      at,
      open: !closed && socket.readyState === socket.OPEN,
      silent,
      deaf,
      ponged,
      closed,
      acks
    }))
  }
}
