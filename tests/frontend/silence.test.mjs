import assert from "node:assert/strict";
import { test } from "node:test";

import { Silence } from "../../frontend/silence.js";
import { Clock } from "./stand_ins.mjs";

test("silence is reported every five seconds until something arrives", async () => {
  const clock = new Clock();
  const reports = [];
  const silence = new Silence({ clock, report: (milliseconds) => reports.push(milliseconds) });
  silence.heard();
  await clock.advance(4_000);
  silence.heard();
  await clock.advance(11_000);
  assert.deepEqual(reports, [5_000, 10_000]);
  silence.stop();
  await clock.advance(60_000);
  assert.equal(reports.length, 2);
  assert.equal(clock.waiting, 0);
});

test("a run that was silent before is reported at once, with that time", async () => {
  const clock = new Clock();
  const reports = [];
  const silence = new Silence({ clock, report: (milliseconds) => reports.push(milliseconds) });
  silence.heard(22_000);
  await clock.advance(5_000);
  silence.heard(4_000);
  assert.deepEqual(reports, [22_000, 27_000]);
  silence.stop();
});
