import assert from "node:assert/strict";
import { test } from "node:test";

import { accept, barValue, isActive, isSame, isState, isTerminal, percentOf } from "../../frontend/state.js";
import { ready, running, stateOf } from "./stand_ins.mjs";

test("the first state of an export is accepted", () => {
  const state = running();
  assert.equal(accept(null, state), state);
});

test("a state with a smaller number is dropped", () => {
  assert.equal(accept(running({ seq: 7 }), running({ seq: 6 })), null);
});

test("a state with the same number is accepted, because its ticket is newer", () => {
  const newer = ready({ urls: { ticket: "/t/2" } });
  assert.equal(accept(ready({ urls: { ticket: "/t/1" } }), newer), newer);
});

test("progress does not fall within an attempt", () => {
  const known = running({ seq: 5, progress: { rows_done: 500, fraction: 0.5 } });
  const kept = accept(known, running({ seq: 6, progress: { rows_done: 400, fraction: 0.4 } }));
  assert.equal(kept.seq, 6);
  assert.equal(kept.progress.rows_done, 500);
  assert.equal(kept.progress.fraction, 0.5);
});

test("progress starts again with a new attempt", () => {
  const known = running({ seq: 5, attempt: 1, progress: { rows_done: 500, fraction: 0.5 } });
  const next = accept(known, running({ seq: 6, attempt: 2, progress: { rows_done: 10, fraction: 0.01 } }));
  assert.equal(next.progress.rows_done, 10);
});

test("a released attempt starts again with the same number", () => {
  const given = accept(running({ seq: 5, progress: { rows_done: 500, fraction: 0.5 } }), stateOf({ seq: 6 }));
  const next = accept(given, running({ seq: 7, progress: { rows_done: 10, fraction: 0.01 } }));
  assert.equal(next.progress.rows_done, 10);
});

test("a total that becomes unknown makes the fraction unknown", () => {
  const next = accept(running({ progress: { fraction: 0.01 } }), running({ seq: 3, progress: { fraction: null } }));
  assert.equal(next.progress.fraction, null);
});

test("only ready fills the bar", () => {
  assert.equal(barValue(running({ progress: { fraction: 1 } })), 0.99);
  assert.equal(barValue(ready()), 1);
});

test("percent is rounded down and never 100 before ready", () => {
  assert.equal(percentOf(running({ progress: { fraction: 0.999 } })), 99);
  assert.equal(percentOf(running({ progress: { fraction: 1 } })), 99);
  assert.equal(percentOf(running({ progress: { fraction: 0.3699 } })), 36);
  assert.equal(percentOf(running({ progress: { fraction: 0.29 } })), 29);
  assert.equal(percentOf(ready()), 100);
});

test("an unknown total has neither percent nor value", () => {
  const state = running({ progress: { fraction: null } });
  assert.equal(percentOf(state), null);
  assert.equal(barValue(state), null);
});

test("queued and running are active, the other four are terminal", () => {
  assert.deepEqual(["queued", "running"].map((status) => isActive({ status })), [true, true]);
  const ends = ["ready", "failed", "cancelled", "expired"];
  assert.ok(ends.every((status) => isTerminal({ status })));
});

test("a new ticket is the same state, a new place in the queue is not", () => {
  assert.ok(isSame(ready({ urls: { ticket: "/t/1" } }), ready({ urls: { ticket: "/t/2" } })));
  assert.ok(!isSame(stateOf({ progress: { queue_position: 2 } }), stateOf({ progress: { queue_position: 1 } })));
});

test("isState refuses values that are no state", () => {
  assert.ok(isState(running()));
  const textual = { ...running(), seq: "1" };
  for (const value of [null, undefined, "ready", 7, [], {}, textual]) assert.ok(!isState(value));
});

test("isState refuses addresses of other sites", () => {
  assert.ok(isState(ready({ urls: { download: "/exports/1/download/?a=b", ticket: "/exports/file/a:b_c/" } })));
  const foreign = [
    "https://evil.example/", "//evil.example/", "/\\evil.example/", "\\\\evil.example/", "/\t/evil.example/",
    "/\n/evil.example/", "javascript:alert(1)", "data:text/html,x", " /exports/", "", "exports/", 7, {}, undefined,
  ];
  for (const address of foreign) {
    for (const name of ["self", "page", "seen", "cancel", "retry", "download", "ticket"]) {
      assert.ok(!isState(ready({ urls: { [name]: address } })), `${name}: ${address}`);
    }
  }
});
