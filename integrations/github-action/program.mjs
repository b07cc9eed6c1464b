// The program that speaks to the gateway: found, or fetched and checked.
//
// In scope: the whole path of a program, with the SHA-256 that was named.
// Out of scope: what it does.
// Invariant: where a SHA-256 is named, what is started is a copy of the step's own of the bytes that have it. A path
// starts where the step does, wherever the program is started.
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { access, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { Wrong } from './runner.mjs'

/** The most that is fetched, in bytes. */
const MOST = 1 << 30
/** How long fetching it may take. */
const PATIENCE = 300_000

/** The absolute path of the program, as the step's inputs have it. */
export async function find(input) {
  const [program, download, sha256] = [input('program'), input('download'), input('sha256').toLowerCase()]
  if (sha256 && !/^[0-9a-f]{64}$/.test(sha256)) throw new Wrong('`sha256` is not 64 hexadecimal digits')
  if (download) {
    if (!sha256) throw new Wrong('`download` needs `sha256`: what is fetched could be anything')
    return fetched(download, sha256)
  }
  const path = await located(program)
  if (!sha256) return path
  let bytes
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw new Wrong(`${path} can't be read: ${error.message}`)
  }
  return checked(bytes, sha256, path)
}

async function located(program) {
  const places = program.includes('/') ? [program] : (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, program))
  // From here on it is where it was found, also for a command that runs in another directory.
  for (const place of places.map(place => resolve(place))) {
    try {
      await access(place, constants.X_OK)
      return place
    } catch {
      // The next one.
    }
  }
  throw new Wrong(`there is no program \`${program}\`: install countersign on the runner, or name \`download\` and \`sha256\``)
}

async function fetched(address, sha256) {
  let url
  try {
    url = new URL(address)
  } catch {
    throw new Wrong('`download` is no address')
  }
  const here = url.protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
  if (url.protocol !== 'https:' && !here) throw new Wrong('`download` is no `https` address')
  let bytes
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) })
    if (!answer.ok) throw new Error(`it answers with status ${answer.status}`)
    if (Number(answer.headers.get('content-length')) > MOST) throw new Error('it is too long')
    bytes = Buffer.from(await answer.arrayBuffer())
  } catch (error) {
    throw new Wrong(`the program can't be fetched from ${url.host}: ${error.message}`)
  }
  return checked(bytes, sha256, url.host)
}

/** A copy of a program that is the one that was named, which nobody else changes. */
async function checked(bytes, sha256, from) {
  const has = createHash('sha256').update(bytes).digest('hex')
  if (has !== sha256) throw new Wrong(`the program from ${from} is not the one that was named: its SHA-256 is ${has}`)
  const folder = await mkdtemp(join(process.env.RUNNER_TEMP || tmpdir(), 'countersign-'))
  const path = join(folder, 'countersign')
  await writeFile(path, bytes, { mode: 0o755, flag: 'wx' })
  return path
}
