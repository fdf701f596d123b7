import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as client from "../../frontend/client.js";
import { ready, running, stateOf } from "./stand_ins.mjs";

const SITE = "https://site.example/below";

/** Return a connection with a token, and what it has sent to where. */
function connected() {
  const sent = [];
  const WebSocket = class {
    constructor(url, subprotocols) {
      sent.push({ url, subprotocols });
    }

    close() {}
  };
  const fetch = (url, { headers }) => {
    sent.push({ url, authorization: headers.Authorization });
    return Promise.reject(new TypeError("no network"));
  };
  return { connection: client.connectTo(SITE, { token: "exp_1", WebSocket, fetch }), sent };
}

test("the declared names are those of the module", () => {
  const types = readFileSync(new URL("../../frontend/client.d.ts", import.meta.url), "utf8");
  const declared = [...types.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(declared.sort(), Object.keys(client).sort());
});

test("an export that has ended is told at once, and one that ends when it does", async () => {
  const { connection } = connected();
  assert.equal((await client.follow(connection, ready())).status, "ready");
  const told = [];
  const ending = client.follow(connection, running({ id: "other" }), (state) => told.push(state.seq));
  connection.learn(stateOf({ id: "other", seq: 5, status: "cancelled" }));
  assert.equal((await ending).status, "cancelled");
  assert.deepEqual(told, [5]);
  connection.suspend();
});

test("the token is sent to the site alone", async () => {
  const { connection, sent } = connected();
  const elsewhere = running({ id: "elsewhere", urls: { self: "//evil.example/" } });
  const stops = [elsewhere, running()].map((state) => connection.watch(state, {}));
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  for (const stop of stops) stop();
  assert.deepEqual(sent[0], { url: "wss://site.example/below/ws/exports/", subprotocols: ["exports", "authorization.Bearer%20exp_1"] });
  const read = sent.slice(1).filter(({ url }) => url.startsWith("http"));
  assert.ok(read.length > 0);
  for (const { url, authorization } of read) {
    assert.deepEqual([new URL(url).origin, authorization], ["https://site.example", "Bearer exp_1"]);
  }
});
