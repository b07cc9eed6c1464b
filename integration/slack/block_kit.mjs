// What Slack accepts as blocks of a message and as a view, and the words in which it refuses the rest.
//
// The limits are those of docs.slack.dev and of the comments in `@slack/types`; the refusals are worded
// as Slack words them in `response_metadata.messages`, with a JSON pointer to the culprit. Slack says no
// to a property that it doesn't know, and so does this.

// A message's blocks may be this long as JSON: measured by others, documented nowhere.
const MESSAGE_JSON = 13_300
const VIEW_BYTES = 250_000

/** The refusals of a message's blocks: none means that Slack takes them. */
export function messageErrors (blocks) {
  return check(blocks, '/blocks', 'message', blockList(50))
}

/** The refusals of a view, which is a modal or a home tab. */
export function viewErrors (view) {
  const surface = view?.type === 'home' ? 'home' : 'modal'
  const found = check(view, '/view', surface, surface === 'home' ? home : modal)
  if (!found.length && surface === 'modal' && view.submit === undefined) {
    const at = view.blocks.findIndex(block => block.type === 'input')
    if (at >= 0) found.push(error(`/view/blocks/${at}/input`, 'must define `submit` to use an `input` block in modals'))
  }
  return found.length ? [error('/view', 'failed to match all allowed schemas'), ...found] : []
}

/** Whether blocks that are valid one by one are too long together. */
export const tooLong = blocks => JSON.stringify(blocks).length > MESSAGE_JSON

/** Whether a view is larger than Slack takes. */
export const tooLarge = view => Buffer.byteLength(JSON.stringify(view)) > VIEW_BYTES

const error = (at, what) => `[ERROR] ${what} [json-pointer:${at}]`

function check (value, at, surface, rule) {
  const errors = []
  rule(value, at, { surface, tell: (place, what) => errors.push(error(place, what)), errors })
  return errors
}

// A rule is a function of a value, its place, and a context with `tell`.

const anything = () => {}
const bool = (value, at, { tell }) => typeof value === 'boolean' || tell(at, 'must be a valid boolean')

const str =
  (max, min = 1) =>
  (value, at, { tell }) => {
    if (typeof value !== 'string') tell(at, 'must be a string')
    else if ([...value].length > max) tell(at, `must be less than ${max + 1} characters`)
    else if (value.length < min) tell(at, `must be more than ${min - 1} characters`)
  }

const oneOf =
  (...allowed) =>
  (value, at, { tell }) =>
    allowed.includes(value) || tell(at, `must be one of: ${allowed.join(', ')}`)

const whole =
  (min, max) =>
  (value, at, { tell }) =>
    (Number.isInteger(value) && value >= min && value <= max) || tell(at, `must be an integer from ${min} to ${max}`)

const list = (min, max, rule) => (value, at, context) => {
  if (!Array.isArray(value)) return context.tell(at, 'must be an array')
  if (value.length > max) return context.tell(at, `no more than ${max} items allowed`)
  if (value.length < min) return context.tell(at, `must provide at least ${min} items`)
  value.forEach((item, index) => rule(item, `${at}/${index}`, context))
}

const isObject = value => typeof value === 'object' && value !== null && !Array.isArray(value)

const object =
  (fields, required = []) =>
  (value, at, context) => {
    if (!isObject(value)) return context.tell(at, 'must provide an object')
    for (const name of required) if (value[name] === undefined) context.tell(at, `missing required field: ${name}`)
    for (const [name, given] of Object.entries(value)) {
      if (!Object.hasOwn(fields, name)) context.tell(at, `invalid additional property: ${name}`)
      else fields[name](given, `${at}/${name}`, context)
    }
  }

// An object whose rule is chosen by its `type`.
const typed = rules => (value, at, context) => {
  if (!isObject(value)) return context.tell(at, 'must provide an object')
  if (value.type === undefined) return context.tell(at, 'missing required field: type')
  if (!Object.hasOwn(rules, value.type)) return context.tell(`${at}/type`, `unsupported type: ${value.type}`)
  rules[value.type](value, at, context)
}

// Slack names the place of the choice before the fault in what was chosen.
const choice = rule => (value, at, context) => {
  const errors = []
  rule(value, at, { ...context, tell: (place, what) => errors.push([place, what]) })
  if (errors.length) context.tell(at, 'failed to match all allowed schemas')
  errors.forEach(([place, what]) => context.tell(place, what))
}

const allOf =
  (...rules) =>
  (value, at, context) =>
    rules.forEach(rule => rule(value, at, context))

// No two items may have the same `name`.
const unique =
  name =>
  (items, at, { tell }) => {
    const seen = new Set()
    if (!Array.isArray(items)) return
    items.forEach((item, index) => {
      const id = item?.[name]
      if (id === undefined) return
      if (seen.has(id)) tell(`${at}/${index}/${name}`, `\`${name}\` "${id}" already exists`)
      seen.add(id)
    })
  }

const plain = (max, min) => object({ type: oneOf('plain_text'), text: str(max, min), emoji: bool }, ['type', 'text'])
const mrkdwn = (max, min) => object({ type: oneOf('mrkdwn'), text: str(max, min), verbatim: bool }, ['type', 'text'])
const text = (max, min) => choice(typed({ plain_text: plain(max, min), mrkdwn: mrkdwn(max, min) }))

const confirm = object(
  { title: plain(100), text: text(300), confirm: plain(30), deny: plain(30), style: oneOf('primary', 'danger') },
  ['title', 'text', 'confirm', 'deny']
)
const option = (words, more = {}) =>
  object({ text: words(75), value: str(150), description: words(75), ...more }, ['text', 'value'])
const optionGroup = object({ label: plain(75), options: list(1, 100, option(plain)) }, ['label', 'options'])

const action = { type: anything, action_id: str(255), confirm, focus_on_load: bool }
const placed = { ...action, placeholder: plain(150) }
const typing = {
  ...placed,
  initial_value: str(3000, 0),
  dispatch_action_config: anything,
  min_length: whole(0, 3000),
  max_length: whole(1, 3000)
}
const choices = { options: list(1, 100, option(plain)), option_groups: list(1, 100, optionGroup) }
const needsChoices = (value, at, { tell }) =>
  value.options ?? value.option_groups ?? tell(at, 'missing required field: options')
const many = { max_selected_items: whole(1, 1000) }

const image = {
  type: anything,
  image_url: str(3000),
  slack_file: anything,
  alt_text: str(2000, 0)
}
const button = object(
  {
    ...action,
    text: plain(75),
    url: str(3000),
    value: str(2000),
    style: oneOf('primary', 'danger'),
    accessibility_label: str(75)
  },
  ['text']
)
const INTERACTIVE = {
  button,
  checkboxes: object({ ...action, options: list(1, 10, option(text)), initial_options: list(1, 10, option(text)) }, [
    'options'
  ]),
  datepicker: object({ ...placed, initial_date: str(10) }),
  datetimepicker: object({ ...action, initial_date_time: whole(1e9, 1e10) }),
  timepicker: object({ ...placed, initial_time: str(5), timezone: str(100) }),
  overflow: object({ ...action, options: list(1, 5, option(plain, { url: str(3000) })) }, ['options']),
  radio_buttons: object({ ...action, options: list(1, 10, option(text)), initial_option: option(text) }, ['options']),
  static_select: allOf(object({ ...placed, ...choices, initial_option: option(plain) }), needsChoices),
  multi_static_select: allOf(
    object({ ...placed, ...choices, ...many, initial_options: list(1, 100, option(plain)) }),
    needsChoices
  ),
  users_select: object({ ...placed, initial_user: str(255) }),
  multi_users_select: object({ ...placed, ...many, initial_users: list(1, 1000, str(255)) }),
  conversations_select: object({
    ...placed,
    initial_conversation: str(255),
    default_to_current_conversation: bool,
    response_url_enabled: bool,
    filter: anything
  }),
  channels_select: object({ ...placed, initial_channel: str(255), response_url_enabled: bool })
}
const INPUTS = {
  ...INTERACTIVE,
  plain_text_input: object({ ...typing, multiline: bool }),
  email_text_input: object({ ...placed, initial_value: str(3000, 0), dispatch_action_config: anything }),
  url_text_input: object({ ...placed, initial_value: str(3000, 0), dispatch_action_config: anything }),
  number_input: object(
    {
      ...placed,
      is_decimal_allowed: bool,
      initial_value: anything,
      min_value: anything,
      max_value: anything,
      dispatch_action_config: anything
    },
    ['is_decimal_allowed']
  ),
  rich_text_input: object({ ...placed, initial_value: anything, dispatch_action_config: anything })
}
delete INPUTS.button
delete INPUTS.overflow
const needsImage = (value, at, { tell }) =>
  value.image_url ?? value.slack_file ?? tell(at, 'missing required field: image_url')
const imageElement = allOf(object(image, ['alt_text']), needsImage)

const RUN = {
  type: anything,
  style: anything,
  text: str(3000),
  url: str(3000),
  user_id: str(255),
  usergroup_id: str(255),
  channel_id: str(255),
  name: str(255),
  range: str(255),
  timestamp: anything,
  format: anything,
  fallback: anything,
  unicode: str(255),
  unsafe: bool,
  skin_tone: anything
}
const run = typed(
  Object.fromEntries(
    ['text', 'link', 'user', 'usergroup', 'channel', 'emoji', 'broadcast', 'date', 'color', 'team'].map(kind => [
      kind,
      object(RUN)
    ])
  )
)
const runs = more => object({ type: anything, elements: list(0, 1000, run), ...more }, ['elements'])
const RICH = {
  rich_text_section: runs({}),
  rich_text_preformatted: runs({ border: whole(0, 1), language: str(255) }),
  rich_text_quote: runs({ border: whole(0, 1) }),
  rich_text_list: object(
    {
      type: anything,
      style: oneOf('bullet', 'ordered'),
      indent: whole(0, 8),
      offset: whole(0, 1000),
      border: whole(0, 1),
      elements: list(1, 1000, typed({ rich_text_section: runs({}) }))
    },
    ['style', 'elements']
  )
}

const common = { type: anything, block_id: str(255) }
const section = allOf(
  object({
    ...common,
    text: text(3000),
    fields: list(1, 10, text(2000)),
    accessory: typed({ ...INTERACTIVE, image: imageElement }),
    expand: bool
  }),
  (value, at, { tell }) => value.text ?? value.fields ?? tell(at, 'missing required field: text')
)
const actions = object(
  {
    ...common,
    elements: allOf(list(1, 25, typed(INTERACTIVE)), unique('action_id'))
  },
  ['elements']
)
const context = object(
  {
    ...common,
    elements: list(1, 10, typed({ image: imageElement, plain_text: plain(3000), mrkdwn: mrkdwn(3000) }))
  },
  ['elements']
)
const input = object(
  {
    ...common,
    label: plain(2000),
    hint: plain(2000),
    optional: bool,
    dispatch_action: bool,
    element: typed(INPUTS)
  },
  ['label', 'element']
)
const BOTH = {
  actions,
  context,
  section,
  input,
  divider: object(common),
  header: object({ ...common, text: plain(150), level: whole(1, 6) }, ['text']),
  image: allOf(object({ ...common, ...image, title: plain(2000) }, ['alt_text']), needsImage),
  rich_text: object({ ...common, elements: list(1, 1000, typed(RICH)) }, ['elements'])
}
const BLOCKS = {
  message: {
    ...BOTH,
    markdown: object({ ...common, text: str(12_000) }, ['text']),
    table: object({ ...common, rows: list(1, 100, list(1, 20, anything)), column_settings: list(0, 20, anything) }, [
      'rows'
    ])
  },
  modal: BOTH,
  home: BOTH
}

function blockList (max) {
  const each = (value, at, context) => typed(BLOCKS[context.surface])(value, at, context)
  return allOf(list(0, max, each), unique('block_id'))
}

const view = {
  type: oneOf('modal', 'home'),
  blocks: blockList(100),
  private_metadata: str(3000, 0),
  callback_id: str(255, 0),
  external_id: str(255, 0)
}
const home = object(view, ['type', 'blocks'])
const modal = object(
  {
    ...view,
    title: plain(24),
    close: plain(24),
    submit: plain(24),
    clear_on_close: bool,
    notify_on_close: bool,
    submit_disabled: bool
  },
  ['type', 'title', 'blocks']
)
