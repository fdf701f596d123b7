import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "../../frontend/load.js";
import { Clock, ID, Server, running } from "./stand_ins.mjs";

const SELF = `/exports/${ID}/`;

function given(answers) {
  const clock = new Clock();
  const server = new Server(answers);
  const calls = { states: [], troubles: [], endings: [] };
  const listener = {
    changed: (state) => calls.states.push(state),
    troubled: (isLost) => calls.troubles.push(isLost),
    ended: (reason) => calls.endings.push(reason),
  };
  const stop = load(SELF, { fetch: server.fetch, clock, listener });
  return { clock, server, calls, stop };
}

test("the state is read once, at once", async () => {
  const { clock, server, calls } = given({ [SELF]: { body: running() } });
  await clock.advance(60_000);
  assert.deepEqual(calls.states.map(({ id }) => id), [ID]);
  assert.equal(server.count(SELF), 1);
});

test("the state of an expired file is passed on", async () => {
  const { clock, calls } = given({ [SELF]: { status: 410, body: running({ status: "expired" }) } });
  await clock.advance(0);
  assert.equal(calls.states[0].status, "expired");
});

test("a refusal is passed on with its reason", async () => {
  const { clock, server, calls } = given({ [SELF]: { status: 404 } });
  await clock.advance(60_000);
  assert.deepEqual(calls.endings, ["not_found"]);
  assert.equal(server.count(SELF), 1);
});

test("a server out of reach is asked again, and reported after five seconds", async () => {
  const { clock, server, calls } = given({});
  await clock.advance(6_000);
  assert.deepEqual(calls.troubles, [true]);
  server.answers[SELF] = { body: running() };
  await clock.advance(16_000);
  assert.deepEqual(calls.troubles, [true, false]);
  assert.equal(calls.states.length, 1);
});

test("after stop() nothing is read", async () => {
  const { clock, server, calls, stop } = given({ [SELF]: { body: running() } });
  stop();
  await clock.advance(60_000);
  assert.equal(server.asked.length, 0);
  assert.deepEqual(calls.states, []);
});
