import assert from "node:assert/strict";
import { test } from "node:test";

import { catalogue } from "./catalogue.mjs";
import { openPage, part } from "./document.mjs";
import { ID, Server, ready, settled, socketClass, stateOf } from "./stand_ins.mjs";

const [FULL, EMPTY, WAITING] = [2, 3, 4].map((number) => `${ID.slice(0, -1)}${number}`);
const RETRY = `/exports/${ID}/retry/`;
const TICKET = "/exports/file/fresh/";
const FAILED = stateOf({ seq: 5, status: "failed", error: { code: "internal", message: "" }, urls: { retry: RETRY } });
const FILE = { name: "flights.csv", size: 1536 };
const server = new Server();
const page = openPage({ words: catalogue, server, WebSocket: socketClass() });
const { ExportProgress } = await import("../../frontend/export-progress.js");

/** Press "Try again" on a failed export; return what is announced once the answer, `state`, has been dealt with. */
async function retried(state) {
  server.answers = { [RETRY]: { status: 202, body: state }, [state.urls.self]: { body: state }, [TICKET]: {} };
  const [announce, retry] = [part("announce"), part("retry")];
  const card = new ExportProgress().append(announce, retry);
  card.setAttribute("state", JSON.stringify(FAILED));
  retry.setAttribute("action", RETRY);
  card.connectedCallback();
  card.submit(retry);
  for (let turn = 0; turn < 20; turn += 1) await settled();
  card.disconnectedCallback();
  return announce.said;
}

test("a file that is ready at once is announced once, with its download", async () => {
  const urls = { download: `/exports/${FULL}/download/`, ticket: TICKET };
  const said = await retried(ready({ id: FULL, file: FILE, urls }));
  assert.equal(said.length, 1, said.join("\n"));
  assert.match(said[0], /^Flights: Ready: flights\.csv, 1\.5\sKB\. The download has started\./);
  assert.deepEqual(page.saved, ["flights.csv"]);
});

test("a file without rows that is ready at once is announced once, and not downloaded", async () => {
  const said = await retried(ready({ id: EMPTY, file: FILE, receipt: { rows: 0 } }));
  assert.deepEqual(said, ["Flights: Nothing matched: the file has no rows"]);
});

test("a new export that waits is announced at once", async () => {
  assert.deepEqual(await retried(stateOf({ id: WAITING })), ["Flights: Waiting"]);
});
