// Other people's clients against a gateway: node clients.mjs SETTINGS
//
// SETTINGS is JSON: {"url", "client", "key"}: the gateway, a machine's name and its private key as JSON Web
// Key. GitHub's own library asks the endpoint of ACTIONS_ID_TOKEN_REQUEST_URL for a job's token. Prints what
// each client got.
import * as core from '@actions/core'
import * as oauth from 'openid-client'

const { url, client, key } = JSON.parse(process.argv[2])
const options = { algorithm: 'oauth2', execute: [oauth.allowInsecureRequests] }
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const jwt = 'urn:ietf:params:oauth:token-type:jwt'

const found = {}
const subject = async response => (await response.json()).subject
const ask = (config, token, dpop) =>
  oauth.fetchProtectedResource(config, token, new URL('/v1/whoami', url), 'GET', undefined, undefined, dpop && { DPoP: dpop })

// private_key_jwt, with and without DPoP.
const signing = await crypto.subtle.importKey('jwk', key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
const signer = await oauth.discovery(new URL(url), client, undefined, oauth.PrivateKeyJwt(signing), options)
const plain = await oauth.clientCredentialsGrant(signer)
found.assertion = await subject(await ask(signer, plain.access_token))
const pair = await oauth.randomDPoPKeyPair('ES256')
const dpop = oauth.getDPoPHandle(signer, pair)
const bound = await oauth.clientCredentialsGrant(signer, {}, { DPoP: dpop })
found.bound_type = bound.token_type
found.bound = await subject(await ask(signer, bound.access_token, dpop))
const bearer = await fetch(new URL('/v1/whoami', url), { headers: { authorization: `Bearer ${bound.access_token}` } })
found.bound_as_bearer = bearer.status

// A job's token, as GitHub's library has it, exchanged by a client that has no secret.
const token = await core.getIDToken(url)
const job = await oauth.discovery(new URL(url), 'job', undefined, oauth.None(), options)
const form = { subject_token: token, subject_token_type: jwt }
const given = await oauth.genericGrantRequest(job, exchange, form)
found.job = await subject(await ask(job, given.access_token))
found.job_lasts = given.expires_in
const handle = oauth.getDPoPHandle(job, await oauth.randomDPoPKeyPair('PS256'))
const held = await oauth.genericGrantRequest(job, exchange, form, { DPoP: handle })
found.job_bound = await subject(await ask(job, held.access_token, handle))
const other = await core.getIDToken('https://elsewhere.example')
try {
  await oauth.genericGrantRequest(job, exchange, { ...form, subject_token: other })
} catch (error) {
  found.refused = { error: error.error, why: error.error_description, status: error.status }
}
process.stdout.write(`\n${JSON.stringify(found)}\n`)
