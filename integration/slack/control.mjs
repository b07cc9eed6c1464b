// What a test asks of the stand-in: to see what is there, to be somebody, to forge, and to make weather.
import { Unable } from './people.mjs'
import { Refusal } from './workspace.mjs'

/** Answers a control request. `{status, body}`. */
export async function control (platform, name, asked) {
  if (!Object.hasOwn(CONTROLS, name))
    return { status: 404, body: { error: `there is no control ${name}: ${Object.keys(CONTROLS).join(', ')}` } }
  try {
    return { status: 200, body: await CONTROLS[name](platform, asked) }
  } catch (error) {
    if (error instanceof Refusal) return { status: 400, body: error.answer }
    if (error instanceof Unable) return { status: 400, body: { error: error.message, unable: true } }
    return { status: 400, body: { error: error.message, stack: error.stack } }
  }
}

// What is set is known: a misspelled setting would make a test that tests nothing.
function set (what, values, name) {
  for (const [key, value] of Object.entries(values)) {
    if (!Object.hasOwn(what, key)) throw new Error(`${name} has no ${key}: ${Object.keys(what).join(', ')}`)
    what[key] = value
  }
}

async function app ({ workspace, deliverer }, { verify = true, ...values }) {
  set(workspace.app, values, 'the app')
  let verified = null
  if (verify && values.events_url) {
    verified = await deliverer.verify(values.events_url)
    if (!verified) {
      workspace.app.events_url = null
      throw new Error("the address of events didn't answer the challenge")
    }
  }
  return { ...workspace.app, verified }
}

const FAULTS = ['ratelimited', 'error', 'garbage', 'hang', 'drop', 'lost', 'slow']
function weather (platform, { clear = false, fault, next = 1, method = null, ...more }) {
  if (clear) platform.weather.length = 0
  if (!fault) return { coming: platform.weather }
  if (!FAULTS.includes(fault)) throw new Error(`there is no ${fault}: ${FAULTS.join(', ')}`)
  platform.weather.push({ fault, left: next, method, ...more })
  return { coming: platform.weather }
}

function state ({ workspace, deliverer, calls, sockets }, { part }) {
  const parts = {
    app: () => workspace.app,
    team: () => workspace.team,
    bot: () => workspace.bot,
    habits: () => workspace.habits,
    users: () => Object.fromEntries(workspace.users),
    channels: () => Object.fromEntries(workspace.channels),
    messages: () =>
      Object.fromEntries(
        [...workspace.messages].map(([id, all]) => [
          id,
          all.map(({ message, versions, deleted }) => ({ ...message, versions, deleted }))
        ])
      ),
    ephemerals: () => workspace.ephemerals,
    views: () => [...workspace.views.values()],
    calls: () => calls,
    deliveries: () => deliverer.log,
    sockets: () => sockets.state()
  }
  if (part && !Object.hasOwn(parts, part)) throw new Error(`there is no ${part}: ${Object.keys(parts).join(', ')}`)
  return Object.fromEntries(
    Object.entries(parts)
      .filter(([name]) => !part || name === part)
      .map(([name, read]) => [name, read()])
  )
}

const CONTROLS = {
  state,
  app,
  habits: ({ workspace }, values) => {
    set(workspace.habits, values, 'Slack')
    return workspace.habits
  },
  user: ({ workspace }, { id, ...more }) => {
    const known = workspace.users.get(id)
    return known ? Object.assign(known, more) : workspace.addUser({ id, ...more })
  },
  channel: ({ workspace }, { id, ...more }) => {
    const known = workspace.channels.get(id)
    return known ? Object.assign(known, more) : workspace.addChannel({ id, ...more })
  },
  direct: ({ workspace, people }, { user }) => workspace.direct(people.user(user)).channel,
  click: ({ people }, asked) => people.click(asked),
  submit: ({ people }, asked) => people.submit(asked),
  close: ({ people }, asked) => people.close(asked),
  command: ({ people }, asked) => people.command(asked),
  write: ({ people }, asked) => people.write(asked),
  home: ({ people }, asked) => people.home(asked),
  event: ({ inbound }, { subscription, event, forge }) => inbound.event(subscription, event, forge),
  replay: ({ deliverer }, { delivery }) => deliverer.replay(delivery),
  weather,
  sockets: ({ sockets }, asked) => sockets.act(asked),
  expire: ({ workspace }) => {
    workspace.expire()
    return {}
  }
}
