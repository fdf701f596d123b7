import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../../frontend/backoff.js";

const pausesOf = (backoff, count) => Array.from({ length: count }, () => backoff.next());

test("the ceiling doubles with each attempt and stops at 15 seconds", () => {
  const backoff = new Backoff({ random: () => 1 });
  assert.deepEqual(pausesOf(backoff, 6), [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
});

test("the pause is random between zero and the ceiling", () => {
  assert.deepEqual(pausesOf(new Backoff({ random: () => 0.25 }), 3), [250, 500, 1_000]);
  assert.deepEqual(pausesOf(new Backoff({ random: () => 0 }), 3), [0, 0, 0]);
});

test("a reset starts at the base again", () => {
  const backoff = new Backoff({ base: 100, random: () => 1 });
  pausesOf(backoff, 5);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test("thousands of attempts stay at the cap", () => {
  const pauses = pausesOf(new Backoff({ cap: 500, random: () => 1 }), 3_000);
  assert.equal(pauses.at(-1), 500);
});

test("random pauses stay below the ceiling", () => {
  const pauses = pausesOf(new Backoff(), 200);
  assert.ok(pauses.every((pause) => pause >= 0 && pause < 15_000));
});
