// An OpenID provider on this machine: node provider.mjs SETTINGS
//
// SETTINGS is a JSON file: {"port", "host", "client_id", "client_secret", "redirect_uri", "jwks", "accounts",
// "in_user_info"}. `accounts` maps a login to the claims of that account and is read again for every
// sign-in, so that a test changes groups by writing the file. With `in_user_info` the claims are not in
// the ID token. Anybody signs in with any password.
import { readFileSync } from 'node:fs'
import Provider from 'oidc-provider'

const file = process.argv[2]
const settings = () => JSON.parse(readFileSync(file, 'utf8'))
const { port, host, client_id, client_secret, redirect_uri, jwks, in_user_info } = settings()

const provider = new Provider(`http://${host}:${port}`, {
  clients: [
    {
      client_id,
      client_secret,
      redirect_uris: [redirect_uri],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      id_token_signed_response_alg: jwks.keys[0].alg,
      token_endpoint_auth_method: settings().auth_method ?? 'client_secret_basic'
    }
  ],
  jwks,
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'tenant', 'groups']
  },
  conformIdTokenClaims: in_user_info,
  cookies: { keys: ['a key of a test'] },
  features: { devInteractions: { enabled: true } },
  pkce: { required: () => true },
  ttl: { Grant: 600, Session: 600, Interaction: 600, IdToken: 300, AccessToken: 300 },
  async findAccount (_, id) {
    const claims = settings().accounts[id]
    return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) }
  }
})
provider.listen(port, '127.0.0.1', () => console.log('ready'))
