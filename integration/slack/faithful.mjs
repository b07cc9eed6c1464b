// The stand-in in the eyes of Slack's own clients for Node: node faithful.mjs
//
// Bolt receives over HTTP and over Socket Mode, `@slack/web-api` calls, and the stand-in does as Slack
// does, or a line begins with NOT and the program ends with 1.
import { end } from './proof/harness.mjs'

// One after the other: they share a workspace.
const { stop } = await import('./proof/http.mjs')
await import('./proof/calls.mjs')
await stop()
await import('./proof/sockets.mjs')
const failed = await end()
console.log(
  failed ? `${failed} of these are not as Slack does` : "Slack's own clients for Node take the stand-in for Slack"
)
process.exit(failed ? 1 : 0)
