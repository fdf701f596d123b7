import assert from "node:assert/strict";
import { test } from "node:test";

import { Words } from "../../frontend/words.js";
import { viewOf } from "../../frontend/view.js";
import { catalogue, catalogueIn, serverTexts } from "./catalogue.mjs";
import { ready, running, stateOf } from "./stand_ins.mjs";

const words = new Words("en", catalogue);
const FILE = { name: "flights.xlsx", size: 48_234_496, expires_at: "2026-11-24T06:00:00Z" };
const NOW = Date.parse("2026-11-22T06:05:00Z");
const reply = (given) => ({ status: 0, body: null, etag: null, retryAfter: null, ...given });

test("each status has its text", () => {
  const cases = [
    [stateOf(), "Waiting"],
    [stateOf({ progress: { queue_position: 1 } }), "Waiting, next in line"],
    [stateOf({ progress: { queue_position: 2 } }), "Waiting, number 2 in line"],
    [stateOf({ progress: { queue_position: 1, unserved_queue: "large" } }), "No worker is running"],
    [stateOf({ progress: { queue_position: 101 } }), "Waiting, more than 100 in line before it"],
    [running({ phase: "counting" }), "Counting rows"],
    [running({ progress: { rows_done: 120_000, rows_total: 336_776 } }), "Writing rows: 120,000 of 336,776"],
    [running({ progress: { rows_done: 120_000 } }), "Writing rows: 120,000 so far"],
    [running({ phase: "finishing" }), "Finishing the file"],
    [running({ phase: "storing" }), "Storing the file"],
    [running({ phase: "something new" }), "Working"],
    [ready({ file: FILE }), "Ready: flights.xlsx, 46.0\u00a0MB"],
    [stateOf({ status: "failed", error: { code: "stalled", message: "It stalled." } }), "Failed: It stalled."],
    [stateOf({ status: "cancelled" }), "Cancelled"],
    [stateOf({ status: "expired" }), "Expired"],
  ];
  for (const [state, sentence] of cases) assert.equal(words.status(state), sentence);
});

test("the end and the notice about its download are one sentence that says Ready once", () => {
  const notice = words.text("download_started");
  const spoken = words.announcement(ready({ file: FILE, label: "January" }), { notice });
  assert.equal(spoken, `Flights, January: Ready: flights.xlsx, 46.0\u00a0MB. ${notice}`);
  assert.equal(notice.includes("Ready"), false);
});

test("the server's first render and the script say the same", () => {
  const error = { code: "stalled", message: "It stalled." };
  const progress = { rows_done: 120_000, rows_total: 336_776 };
  const states = [
    ...[null, 1, 2, 1200].map((place) => stateOf({ progress: { queue_position: place } })),
    stateOf({ progress: { queue_position: 1, unserved_queue: "large" } }),
    ...[null, 1, 2].map((place) => stateOf({ resumed: true, progress: { queue_position: place } })),
    ...["counting", "finishing", "storing", "something new"].map((phase) => running({ phase })),
    running({ resumed: true }), running({ progress }), running({ progress: { rows_done: 120_000 } }),
    running({ progress: { ...progress, rows_total_is_estimate: true } }),
    ready({ error }), stateOf({ status: "failed", error }), stateOf({ status: "failed" }),
    stateOf({ status: "cancelled" }), stateOf({ status: "expired" }), stateOf({ status: "unknown" }),
  ];
  assert.deepEqual(states.map((state) => words.status(state)), serverTexts(states));
});

test("only the catalogue of staff says how a missing worker is started", () => {
  const state = stateOf({ progress: { unserved_queue: "large" }, requested_at: "2026-11-22T06:05:00Z" });
  const ofStaff = new Words("en", { ...catalogue, start_worker: "start one: manage.py exports work {queue}" });
  assert.match(ofStaff.detail(state), /^Start one: manage.py exports work large · Asked for/i);
  const ofUser = new Words("en", { ...catalogue, start_worker: "" });
  assert.match(ofUser.detail(state), /^Asked for [^·]+$/);
  assert.match(words.detail(stateOf({ requested_at: "2026-11-22T06:05:00Z" })), /^Asked for [^·]+$/);
});

test("an export that waits says when it is expected to start, unless no worker is running", () => {
  const waiting = (progress) => words.detail(stateOf({ progress: { queue_position: 2, wait_seconds: 40, ...progress } }));
  assert.match(waiting(), /^Starts in about 40 sec · Asked for/i);
  assert.match(waiting({ unserved_queue: "small" }), /^[^·]*Asked for/i);
});

test("silence of the worker is told with its length", () => {
  assert.equal(words.noNews(20), "No news from the worker for 20 seconds");
});

test("an estimate is always marked as one", () => {
  const progress = { rows_done: 120_000, rows_total: 1_003_417, rows_total_is_estimate: true, fraction: 0.1236 };
  const state = running({ progress });
  assert.equal(words.status(state), "Writing rows: 120,000 of about 1,000,000");
  assert.equal(viewOf(state, words).percent, "about 12%");
  assert.equal(viewOf(running({ progress: { ...progress, rows_total_is_estimate: false } }), words).percent, "12%");
});

test("rows beyond the estimate are counted without a total or a bar value", () => {
  const state = running({ progress: { rows_done: 1_003_418, rows_total: null, fraction: null } });
  assert.equal(words.status(state), "Writing rows: 1,003,418 so far");
  assert.equal(viewOf(state, words).bar, null);
  assert.equal(viewOf(state, words).percent, "");
});

test("a resumed run says so and keeps its numbers in the second line", () => {
  const progress = { rows_done: 10, rows_total: 20, rows_per_second: 5, eta_seconds: 2 };
  const state = running({ attempt: 2, resumed: true, progress });
  assert.equal(words.status(state), "Starting over, attempt 2");
  assert.equal(words.detail(state), "Writing rows: 10 of 20 · 5 rows/s · a few seconds left");
  assert.equal(words.status(stateOf({ resumed: true })), "Waiting for another worker");
  assert.equal(words.status(ready({ resumed: true, file: FILE })), "Ready: flights.xlsx, 46.0\u00a0MB");
});

test("the age of an offered file is shown", () => {
  assert.equal(words.madeBefore(0), "Made 1 second ago, with the same choices.");
  assert.equal(words.madeBefore(180), "Made 3 minutes ago, with the same choices.");
  assert.equal(words.madeBefore(7200), "Made 2 hours ago, with the same choices.");
});

test("a reached limit says which one and when to try again", () => {
  const message = "You have 20 exports waiting and may have no more.";
  const answer = reply({ status: 429, body: { error: { code: "too_many_queued", message } }, retryAfter: 15_000 });
  assert.match(words.refusal(answer, NOW), /^You have 20 exports waiting and may have no more\. Try again in 15 seconds/);
});

test("languages with several plural forms get the correct one", () => {
  const rows = { 0: "{count} wierszy", 1: "{count} wiersz", 2: "{count} wiersze", 3: "{count} wiersze" };
  const polish = new Words("pl", { ...catalogue, rows });
  assert.deepEqual([1, 4, 5, 22].map((count) => polish.rows(count)), ["1 wiersz", "4 wiersze", "5 wierszy", "22 wiersze"]);
});

test("a sample has its own form, other numbers that of the largest sample of their category", () => {
  const rows = { 0: "{count} linhas", 1: "{count} linha", 2: "{count} linhas", 100: "{count} linhas" };
  for (const language of ["pt", "pt-PT"]) {
    const portuguese = new Words(language, { ...catalogue, rows });
    assert.deepEqual([0, 1, 5].map((count) => portuguese.rows(count)), ["0 linhas", "1 linha", "5 linhas"]);
  }
});

test("a German page has German words, numbers, times and places in the queue", () => {
  const german = new Words("de", catalogueIn("de"));
  assert.equal(german.rows(1), "1 Zeile");
  assert.equal(german.rows(336_776), "336.776 Zeilen");
  assert.equal(german.timeLeft(20), "noch etwa 20 Sek.");
  assert.equal(german.day(new Date(NOW - 86_400_000).toISOString(), NOW), "Gestern");
  const progress = { queue_position: 2, unserved_queue: null };
  assert.equal(german.waiting({ resumed: false, progress }), "Wartet, Platz 2 in der Warteschlange");
});

test("an Arabic page has the form of each kind of number", () => {
  const arabic = new Words("ar", catalogueIn("ar"));
  assert.deepEqual(
    [0, 1, 2, 5, 15, 500].map((count) => arabic.rows(count).replace(/[\d٠-٩]+/, "N")),
    ["N صف", "صف واحد", "صفان", "N صفوف", "N صفًا", "N صف"],
  );
});

test("time left is coarse and rounded up", () => {
  const times = [2, 7.2, 17, 41, 56, 170, 5400].map((seconds) => words.timeLeft(seconds));
  assert.deepEqual(times, [
    "a few seconds left", "about 8 sec left", "about 20 sec left", "about 45 sec left",
    "about 1 min left", "about 3 min left", "about 1.5 hr left",
  ]);
});

test("the rate has three significant digits", () => {
  const rates = [12_345.6, 987.65, 0.4].map((rate) => words.rate(rate));
  assert.deepEqual(rates, ["12,300 rows/s", "988 rows/s", "less than 1 row/s"]);
});

test("sizes are those of the server, in units of 1,024 bytes", () => {
  const sizes = [0, 1, 999, 1536, 48_234_496, 5 * 1024 ** 3].map((bytes) => words.size(bytes));
  assert.deepEqual(sizes, ["0 bytes", "1 byte", "999 bytes", "1.5 KB", "46.0 MB", "5.0 GB"].map((size) => size.replace(" ", "\u00a0")));
});

test("a single row is in the singular", () => {
  assert.equal(words.rows(1), "1 row");
  assert.equal(words.rows(336_776), "336,776 rows");
});

test("an empty file has 0 rows, an attached file shows no number of rows", () => {
  assert.match(words.detail(ready({ receipt: { rows: 0 }, file: FILE })), /^0 rows · made .* · kept until Nov 24, 2026/);
  assert.match(words.detail(ready({ file: FILE })), /^Made .* · kept until/);
});

test("columns that were left out are named", () => {
  const receipt = { rows: 10, columns_withheld: ["Price", "Margin"] };
  assert.equal(words.detail(ready({ receipt, finished_at: null })), "10 rows · left out: Price, Margin");
  const complete = ready({ receipt: { rows: 10, columns_withheld: [] }, finished_at: null });
  assert.equal(words.detail(complete), "10 rows");
});

test("a file that its owner may not have any more is explained", () => {
  const error = { code: "permission_lost", message: "You may no longer export this." };
  assert.equal(words.status(ready({ error })), "You may no longer export this.");
});

test("altered cells are counted", () => {
  const receipt = { rows: 10, alterations: { text_cut: 2, number_as_text: 1 } };
  assert.equal(words.altered(ready({ receipt })), "3 cells altered");
  assert.equal(words.altered(ready({ receipt: { rows: 10, alterations: {} } })), "");
  assert.equal(words.altered(ready({ status: "expired", receipt })), "");
});

test("a ready file says when it was made and how long that took", () => {
  const state = ready({ receipt: { rows: 10 }, took_seconds: 2.3 });
  assert.match(words.detail(state), /^10 rows · made Nov 22, 2026, .* in 3 sec$/);
});

test("the card names an export by its title and its label", () => {
  const view = viewOf(ready({ label: "Month: January" }), words);
  assert.equal(view.chosen, "Month: January");
  assert.equal(view.label, "Export: Flights, Month: January");
  assert.equal(view.retry.label, "Try again: Flights, Month: January");
  assert.equal(viewOf(ready(), words).label, "Export: Flights");
});

test("numbers follow the language of the page", () => {
  const german = new Words("de", catalogue);
  const state = running({ progress: { rows_done: 120_000, rows_total: 336_776 } });
  assert.equal(german.status(state), "Writing rows: 120.000 of 336.776");
  assert.match(german.percent(36), /^36\s%$/);
});

test("an invalid language tag falls back to the browser's", () => {
  for (const language of ["", "en_GB", "no such language", undefined]) {
    assert.match(new Words(language, catalogue).rows(1000), /^1.?000 rows$/);
  }
});

test("a refusal says what to do", () => {
  assert.match(words.refusal(reply(), NOW), /^No answer came\. Check your connection/);
  assert.match(words.refusal(reply({ status: 401 }), NOW), /^You are logged out\. Log in again/);
  assert.match(words.refusal(reply({ status: 403 }), NOW), /Reload the page and try again\.$/);
  assert.match(words.refusal(reply({ status: 502 }), NOW), /^The server has a problem\. Wait a minute/);
});

test("the server's message comes first, then Retry-After", () => {
  const body = { error: { code: "too_many", message: "You have five exports running." } };
  const refused = reply({ status: 429, body, retryAfter: 30_000 });
  const [first, then] = words.refusal(refused, NOW).split(" Try again in ");
  assert.equal(first, "You have five exports running.");
  assert.match(then, /^30 seconds, at .*:05:30/);
});

test("the card shows percent only when running or ready", () => {
  assert.equal(viewOf(running({ progress: { fraction: 0.364 } }), words).percent, "36%");
  assert.equal(viewOf(running({ progress: { fraction: null } }), words).percent, "");
  assert.equal(viewOf(stateOf(), words).percent, "");
  assert.equal(viewOf(ready({ file: FILE }), words).percent, "100%");
  assert.equal(viewOf(stateOf({ status: "failed", progress: { fraction: 0.5 } }), words).percent, "");
});
