import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "../../frontend/load.js";
import { Clock, ID, Server, running } from "./stand_ins.mjs";

const SELF = `/exports/${ID}/`;

function given(answers) {
  const clock = new Clock();
  const server = new Server(answers);
  const told = { states: [], troubles: [], endings: [] };
  const listener = {
    changed: (state) => told.states.push(state),
    troubled: (isLost) => told.troubles.push(isLost),
    ended: (reason) => told.endings.push(reason),
  };
  const stop = load(SELF, { fetch: server.fetch, clock, listener });
  return { clock, server, told, stop };
}

test("the state is read at once, and once", async () => {
  const { clock, server, told } = given({ [SELF]: { body: running() } });
  await clock.advance(60_000);
  assert.deepEqual(told.states.map(({ id }) => id), [ID]);
  assert.equal(server.count(SELF), 1);
});

test("a state of an expired file is one too", async () => {
  const { clock, told } = given({ [SELF]: { status: 410, body: running({ status: "expired" }) } });
  await clock.advance(0);
  assert.equal(told.states[0].status, "expired");
});

test("a refusal ends it with its reason", async () => {
  const { clock, server, told } = given({ [SELF]: { status: 404 } });
  await clock.advance(60_000);
  assert.deepEqual(told.endings, ["not_found"]);
  assert.equal(server.count(SELF), 1);
});

test("a server that is away is asked again, and its absence told after five seconds", async () => {
  const { clock, server, told } = given({});
  await clock.advance(6_000);
  assert.deepEqual(told.troubles, [true]);
  server.answers[SELF] = { body: running() };
  await clock.advance(16_000);
  assert.deepEqual(told.troubles, [true, false]);
  assert.equal(told.states.length, 1);
});

test("an element that has left asks no more", async () => {
  const { clock, server, told, stop } = given({ [SELF]: { body: running() } });
  stop();
  await clock.advance(60_000);
  assert.equal(server.asked.length, 0);
  assert.deepEqual(told.states, []);
});
