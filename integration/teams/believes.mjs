// Says of tokens whether Microsoft's own library for bots believes them.
//
//     node believes.mjs METADATA_URL APP < questions > answers
//
// A line is { token, serviceUrl, channelId }, an answer `true` or `false`.
import { createInterface } from "node:readline";
import { AuthenticationConfiguration, ChannelValidation, SimpleCredentialProvider } from "botframework-connector";

const [metadata, app] = process.argv.slice(2);
ChannelValidation.OpenIdMetadataEndpoint = metadata;
const credentials = new SimpleCredentialProvider(app, "");
// The library says why on these.
console.error = () => {};
const answer = console.log;
console.log = () => {};

for await (const line of createInterface({ input: process.stdin })) {
  const { token, serviceUrl, channelId } = JSON.parse(line);
  const asked = ChannelValidation.authenticateChannelTokenWithServiceUrl(
    `Bearer ${token}`, credentials, serviceUrl, channelId, new AuthenticationConfiguration(),
  );
  answer(await asked.then(() => true, () => false));
}
