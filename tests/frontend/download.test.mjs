import assert from "node:assert/strict";
import { test } from "node:test";

import { freshLink } from "../../frontend/download.js";
import { Clock, ID, Server, ready } from "./stand_ins.mjs";

const SELF = `/exports/${ID}/`;
const TICKET = "/exports/file/fresh/";
const STATE = ready({ urls: { download: `/exports/${ID}/download/`, ticket: TICKET } });

function linkWith(answers) {
  const server = new Server(answers);
  return freshLink(ready(), { fetch: server.fetch, clock: new Clock() });
}

test("the link is a fresh one that gives the file", async () => {
  assert.deepEqual(await linkWith({ [SELF]: { body: STATE }, [TICKET]: {} }), { state: STATE });
});

test("a redirect to the storage is a link that gives the file", async () => {
  const server = new Server({ [SELF]: { body: STATE } });
  const fetch = (url, options) => (url === TICKET ? { type: "opaqueredirect" } : server.fetch(url, options));
  assert.deepEqual(await freshLink(ready(), { fetch, clock: new Clock() }), { state: STATE });
});

test("without a file the newest state is returned", async () => {
  const expired = ready({ status: "expired", seq: 10 });
  assert.deepEqual(await linkWith({ [SELF]: { status: 410, body: expired } }), { state: expired });
});

for (const status of [401, 404, 429, 500]) {
  test(`a link that answers ${status} is refused`, async () => {
    const { state, refusal } = await linkWith({ [SELF]: { body: STATE }, [TICKET]: { status } });
    assert.deepEqual([state, refusal.status], [undefined, status]);
  });
}

test("without an answer nothing is downloaded", async () => {
  assert.equal((await linkWith({})).refusal.status, 0);
});
