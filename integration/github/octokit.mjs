// GitHub's own libraries, for deployment.py: what GitHub does to an App, and what an App does to GitHub.
//
//   octokit.mjs deliver              one delivery a line from standard input, signed by @octokit/webhooks
//   octokit.mjs app                  an App by @octokit/auth-app and @octokit/core reads a run or answers for its job

import { createInterface } from "node:readline";
import { createAppAuth } from "@octokit/auth-app";
import { Octokit } from "@octokit/core";
import { Webhooks } from "@octokit/webhooks";

/** Posts what GitHub would post, and says what was answered. */
async function deliver({ url, secret, payload, headers = {}, tamper = "" }) {
  const webhooks = new Webhooks({ secret });
  const body = JSON.stringify(payload);
  const signature = await webhooks.sign(body);
  if (!(await webhooks.verify(body, signature))) throw new Error("it does not believe itself");
  const answer = await fetch(url, {
    method: "POST",
    redirect: "manual",
    body: body + tamper,
    headers: {
      "content-type": "application/json",
      "user-agent": "GitHub-Hookshot/0000000",
      "x-github-delivery": crypto.randomUUID(),
      "x-github-event": "deployment_protection_rule",
      "x-github-hook-installation-target-type": "integration",
      "x-hub-signature-256": signature,
      ...headers,
    },
  });
  return { status: answer.status, text: await answer.text() };
}

/** Asks or answers as an App does that is written with GitHub's own libraries. */
async function app({ api, appId, privateKey, installationId, route, body = {}, method = "POST" }) {
  const auth = { appId, privateKey, installationId };
  const octokit = new Octokit({ authStrategy: createAppAuth, auth, baseUrl: api });
  try {
    const answer = await octokit.request(`${method} ${route}`, body);
    return { status: answer.status, data: answer.data };
  } catch (error) {
    if (error.status === undefined) throw error;
    return { status: error.status, text: error.message };
  }
}

const what = { deliver, app }[process.argv[2]];
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await what(JSON.parse(line))));
}
