import assert from "node:assert/strict";
import { test } from "node:test";

import { csrfTokens, get, post, retryAfter } from "../../frontend/http.js";
import { Clock, Server } from "./stand_ins.mjs";

const NOW = Date.parse("2026-11-22T06:00:00Z");

test("Retry-After is seconds or a date", () => {
  assert.equal(retryAfter("30", NOW), 30_000);
  assert.equal(retryAfter("Sun, 22 Nov 2026 06:00:10 GMT", NOW), 10_000);
  assert.equal(retryAfter("Sun, 22 Nov 2026 05:00:00 GMT", NOW), 0);
  for (const value of [null, "", "soon"]) assert.equal(retryAfter(value, NOW), null);
});

test("a server that does not answer is status 0", async () => {
  const answer = await get("/exports/", { fetch: new Server().fetch, clock: new Clock() });
  assert.deepEqual(answer, { status: 0, body: null, etag: null, retryAfter: null });
});

test("a request without an answer is aborted", async () => {
  const clock = new Clock();
  const aborted = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const fetch = (url, { signal }) => aborted(signal);
  const asking = get("/exports/", { fetch, clock });
  await clock.advance(10_000);
  assert.equal((await asking).status, 0);
});

test("a redirect to a login page means logged out", async () => {
  const page = new Response("<html>", { headers: { "Content-Type": "text/html" } });
  Object.defineProperty(page, "redirected", { value: true });
  const answer = await get("/exports/", { fetch: async () => page, clock: new Clock() });
  assert.equal(answer.status, 401);
});

test("an answer that is not JSON has no body", async () => {
  const headers = { "Content-Type": "text/html" };
  const fetch = async () => new Response("<h1>Bad Gateway</h1>", { status: 502, headers });
  const answer = await get("/exports/", { fetch, clock: new Clock() });
  assert.equal(answer.status, 502);
  assert.equal(answer.body, null);
});

test("truncated JSON is status 0", async () => {
  const fetch = async () => new Response('{"id": ', { headers: { "Content-Type": "application/json" } });
  assert.equal((await get("/exports/", { fetch, clock: new Clock() })).status, 0);
});

test("a POST carries the token and asks for JSON", async () => {
  const server = new Server({ "/cancel/": { body: {} } });
  await post("/cancel/", { fetch: server.fetch, clock: new Clock(), tokens: ["abc"] });
  const [{ method, headers, body }] = server.asked;
  assert.equal(method, "POST");
  assert.deepEqual(headers, { Accept: "application/json" });
  assert.equal(body.toString(), "csrfmiddlewaretoken=abc");
});

test("a POST that Django refuses for its token is sent again with the next one", async () => {
  const refusal = { status: 403, headers: { "Content-Type": "text/html" } };
  const answer = ({ body }) => (body.get("csrfmiddlewaretoken") === "new" ? { body: { id: 1 } } : refusal);
  const server = new Server({ "/cancel/": answer });
  const asking = (tokens) => post("/cancel/", { fetch: server.fetch, clock: new Clock(), tokens });
  assert.equal((await asking(["old", "new"])).status, 200);
  assert.equal((await asking(["old", "older"])).status, 403);
});

test("a refusal by the view is not sent again", async () => {
  const server = new Server({ "/cancel/": { status: 403, body: { error: {} } } });
  await post("/cancel/", { fetch: server.fetch, clock: new Clock(), tokens: ["old", "new"] });
  assert.equal(server.count("/cancel/", "POST"), 1);
});

test("the tokens are that of a field, then that of the cookie with the configured name", () => {
  const page = (cookie, ...values) => ({ cookie, querySelectorAll: () => values.map((value) => ({ value })) });
  assert.deepEqual(csrfTokens(page("csrftoken=other; own=abc", "", "field"), "own"), ["field", "abc"]);
  assert.deepEqual(csrfTokens(page("own=first; own=second", "second"), "own"), ["second"]);
  assert.deepEqual(csrfTokens(page("null=1; xown=no"), "own"), []);
  assert.deepEqual(csrfTokens(page("csrftoken=other", "field"), null), ["field"]);
});
