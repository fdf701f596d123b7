import assert from "node:assert/strict";
import { test } from "node:test";

import { Announcements } from "../../frontend/announcements.js";
import { Words } from "../../frontend/words.js";
import { catalogue } from "./catalogue.mjs";
import { ready, running, stateOf } from "./stand_ins.mjs";

const words = new Words("en", catalogue);
const at = (fraction, given = {}) => running({ progress: { fraction }, ...given });
const spoken = (first, ...states) => {
  const announcements = new Announcements(words, first);
  return states.map((state) => announcements.next(state));
};

test("a hundred messages give three announcements, one per quarter", () => {
  const states = Array.from({ length: 99 }, (_, index) => at((index + 1) / 100));
  assert.deepEqual(spoken(at(0), ...states).filter(Boolean), ["Flights: 25%", "Flights: 50%", "Flights: 75%"]);
});

test("a change of status is announced", () => {
  const states = [at(0, { phase: "counting" }), ready({ file: { name: "flights.csv", size: 1536 } })];
  assert.deepEqual(spoken(stateOf(), ...states), ["Flights: Counting rows", "Flights: Ready: flights.csv, 1.5\u00a0KB"]);
});

test("a quarter that was skipped is not announced later", () => {
  assert.deepEqual(spoken(at(0.1), at(0.8), at(0.9)), ["Flights: 80%", null]);
});

test("a page that opens in the middle does not announce earlier quarters", () => {
  assert.deepEqual(spoken(at(0.6), at(0.61), at(0.75)), [null, "Flights: 75%"]);
});

test("a new attempt is announced as resumed and starts with the first quarter", () => {
  const again = { attempt: 2, resumed: true };
  assert.deepEqual(spoken(at(0.8), at(0.01, again), at(0.26, again)),
    ["Flights: Starting over, attempt 2", "Flights: 26%"]);
});

test("a change of phase is not announced", () => {
  assert.deepEqual(spoken(at(0.9), at(0.96, { phase: "finishing" }), at(0.98, { phase: "storing" })), [null, null]);
});
