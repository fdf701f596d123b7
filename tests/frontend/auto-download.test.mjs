import assert from "node:assert/strict";
import { test } from "node:test";

import { AutoDownloads, MemoryStorage } from "../../frontend/auto-download.js";
import { Clock } from "./stand_ins.mjs";

function given() {
  const clock = new Clock();
  const storage = new MemoryStorage();
  return { clock, reloaded: () => new AutoDownloads({ storage, clock }), downloads: new AutoDownloads({ storage, clock }) };
}

test("an export that was requested is downloaded once, also after a reload", () => {
  const { downloads, reloaded } = given();
  downloads.want("a");
  assert.equal(reloaded().take("a"), true);
  assert.equal(downloads.take("a"), false);
});

test("of five exports requested together only the first is downloaded", async () => {
  const { clock, downloads } = given();
  for (const id of "abcde") downloads.want(id);
  await clock.advance(1_000);
  assert.deepEqual([..."cabde"].map((id) => downloads.take(id)), [true, false, false, false, false]);
});

test("an export requested after a download is downloaded too", async () => {
  const { clock, downloads } = given();
  downloads.want("a");
  await clock.advance(1_000);
  downloads.take("a");
  await clock.advance(1_000);
  downloads.want("b");
  assert.equal(downloads.take("b"), true);
});

test("what was requested a day ago is not downloaded", async () => {
  const { clock, downloads } = given();
  downloads.want("a");
  await clock.advance(25 * 3_600_000);
  assert.equal(downloads.wants("a"), false);
});
