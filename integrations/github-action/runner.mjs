// The runner of a job: inputs, outputs, summary, annotations, and a log that nobody else can give orders in.
//
// In scope: what GitHub's runner reads of a step.
// Out of scope: what it means.
// Invariant: between the two marks of `stop-commands` nothing is an order to the runner; what others wrote stands
// only there.
// Specification: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
import { randomUUID } from 'node:crypto'
import { appendFileSync } from 'node:fs'

/** Something that whoever wrote the workflow has to change. */
export class Wrong extends Error {}

/** The lines of a text that are not empty. */
export const lines = text => text.split(/\r?\n/).map(line => line.trim()).filter(line => line)

const data = text => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
const property = text => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C')
const escaped = text =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replace(/\r?\n/g, '&#10;')

export class Runner {
  #mark = ''
  #atStart = true

  /** An input of the step. */
  input(name) {
    return (process.env[`INPUT_${name.toUpperCase()}`] ?? '').trim()
  }

  /** The page of this run. */
  page() {
    const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository, GITHUB_RUN_ID: run } = process.env
    return server && repository && run ? `${server}/${repository}/actions/runs/${run}` : ''
  }

  /** Writes what somebody else wrote, which gives no orders. */
  foreign(bytes) {
    if (bytes.length === 0) return
    if (!this.#mark) {
      this.#mark = randomUUID()
      process.stdout.write(`::stop-commands::${this.#mark}\n`)
    }
    process.stdout.write(bytes)
    this.#atStart = Buffer.from(bytes).at(-1) === 10
  }

  #resume() {
    if (!this.#mark) return
    process.stdout.write(`${this.#atStart ? '' : '\n'}::${this.#mark}::\n`)
    this.#mark = ''
    this.#atStart = true
  }

  /** Writes a line of the action's own. */
  say(text) {
    this.#resume()
    process.stdout.write(`${data(text)}\n`)
  }

  notice(title, text) {
    this.#resume()
    process.stdout.write(`::notice title=${property(title)}::${data(text)}\n`)
  }

  error(title, text) {
    this.#resume()
    process.stdout.write(`::error title=${property(title)}::${data(text)}\n`)
  }

  output(name, value) {
    const mark = randomUUID()
    this.#append('GITHUB_OUTPUT', `${name}<<${mark}\n${value}\n${mark}\n`)
  }

  /** Adds a table to the run's summary. The page is the only link. */
  summary(rows, page) {
    const row = ([name, value]) => `<tr><th align="left">${escaped(name)}</th><td><pre>${escaped(value)}</pre></td></tr>`
    const link = page ? `<p><a href="${escaped(page)}">The request's page</a></p>` : ''
    this.#append('GITHUB_STEP_SUMMARY', `<h3>Countersign</h3><table>${rows.map(row).join('')}</table>${link}\n\n`)
  }

  #append(variable, text) {
    const file = process.env[variable]
    if (file) appendFileSync(file, text)
  }
}
