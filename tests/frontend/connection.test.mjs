import assert from "node:assert/strict";
import { test } from "node:test";

import { ExportsConnection } from "../../frontend/connection.js";
import { Clock, ID, Server, ready, running, settled, socketClass, stateOf } from "./stand_ins.mjs";

const SELF = `/exports/${ID}/`;
const SEEN = `/exports/${ID}/seen/`;
const ANSWERS = { [SELF]: { body: running() }, [SEEN]: { body: ready() } };
const OTHER = "7d9f6c1e-0000-4000-8000-000000000002";

/** Return a connection with its own clock and server, and the calls of its one watcher. */
function given({ shown = running(), answers = ANSWERS, random = () => 0.5 } = {}) {
  const clock = new Clock();
  const Socket = socketClass();
  const server = new Server(answers);
  const calls = { states: [], troubles: [], endings: [] };
  const listener = {
    changed: (state) => calls.states.push(state),
    troubled: (isLost) => calls.troubles.push(isLost),
    ended: (reason) => calls.endings.push(reason),
  };
  const page = { isVisible: true };
  const connection = new ExportsConnection({
    url: "ws://host/ws/exports/", WebSocket: Socket, fetch: server.fetch, tokens: () => ["token"],
    isVisible: () => page.isVisible, clock, random,
  });
  const stop = shown ? connection.watch(shown, listener) : null;
  return { clock, Socket, server, calls, listener, connection, page, stop };
}

const seenOf = (Socket) => Socket.sockets.flatMap((socket) => socket.sent).filter(({ type }) => type === "seen");

test("watching opens the socket and passes newer states on", () => {
  const { Socket, calls } = given();
  assert.equal(Socket.last.url, "ws://host/ws/exports/");
  Socket.last.open();
  Socket.last.change(running({ seq: 3 }));
  assert.deepEqual(calls.states.map(({ seq }) => seq), [3]);
});

test("an older state is dropped, from wherever it comes", () => {
  const { Socket, calls, connection } = given();
  Socket.last.open();
  Socket.last.change(running({ seq: 8 }));
  Socket.last.change(running({ seq: 7 }));
  connection.learn(running({ seq: 2 }));
  assert.deepEqual(calls.states.map(({ seq }) => seq), [8]);
});

test("a repeated state is passed on once", () => {
  const { Socket, calls } = given();
  Socket.last.open();
  Socket.last.change(running({ seq: 3 }));
  Socket.last.change(running({ seq: 3 }));
  assert.equal(calls.states.length, 1);
});

test("a watcher gets the changes of its export, a subscriber those of all", () => {
  const { Socket, calls, connection } = given();
  const all = [];
  connection.subscribe({ changed: (state) => all.push(state.id) });
  Socket.last.open();
  Socket.last.change(running({ id: OTHER }));
  Socket.last.change(running({ seq: 3 }));
  assert.deepEqual(calls.states.map(({ id }) => id), [ID]);
  // What is known already comes first.
  assert.deepEqual(all, [ID, OTHER, ID]);
});

test("a second watcher gets the newest state at once", () => {
  const { Socket, connection } = given();
  Socket.last.open();
  Socket.last.change(ready());
  const states = [];
  connection.watch(running(), { changed: (state) => states.push(state.status) });
  assert.deepEqual(states, ["ready"]);
});

test("many watchers share one socket", () => {
  const { Socket, connection } = given();
  connection.watch(running({ id: OTHER }), {});
  assert.equal(Socket.sockets.length, 1);
});

test("a malformed frame changes nothing", () => {
  const { Socket, calls } = given();
  Socket.last.open();
  const incomplete = { type: "export.changed", export: { id: ID } };
  for (const frame of ["no json", { type: "export.changed" }, incomplete, { type: "new" }]) Socket.last.receive(frame);
  assert.deepEqual(calls.states, []);
});

test("while the socket is open each active export is polled every 15 seconds with its ETag", async () => {
  const whole = { body: running({ seq: 3 }), headers: { ETag: '"3"' } };
  const answer = ({ headers }) => (headers["If-None-Match"] ? { status: 304 } : whole);
  const { clock, Socket, server, calls } = given({ answers: { [SELF]: answer } });
  Socket.last.open();
  await clock.advance(14_999);
  assert.equal(server.count(SELF), 0);
  await clock.advance(1);
  assert.equal(server.count(SELF), 1);
  Socket.last.receive({ type: "pong" });
  await clock.advance(30_000);
  assert.equal(server.count(SELF), 3);
  assert.equal(server.asked.at(-1).headers["If-None-Match"], '"3"');
  assert.equal(calls.states.length, 1);
});

test("a state that the socket lost arrives with the next poll", async () => {
  const { clock, Socket, calls } = given({ answers: { [SELF]: { body: ready() }, [SEEN]: { body: ready() } } });
  Socket.last.open();
  await clock.advance(15_000);
  assert.deepEqual(calls.states.map(({ status }) => status), ["ready"]);
});

test("an export that has ended is not polled any more", async () => {
  const { clock, Socket, server } = given();
  Socket.last.open();
  Socket.last.change(ready());
  await clock.advance(50_000);
  assert.equal(server.count(SELF), 0);
});

test("a first handshake that fails starts polling at once", async () => {
  const { clock, Socket, server, calls } = given({ answers: { [SELF]: { body: running({ seq: 3 }) } } });
  Socket.last.drop();
  await clock.advance(0);
  assert.equal(server.count(SELF), 1);
  assert.deepEqual(calls.states.map(({ seq }) => seq), [3]);
});

test("a first handshake that takes longer than two seconds starts polling meanwhile", async () => {
  const { clock, Socket, server } = given();
  await clock.advance(1_999);
  assert.equal(server.count(SELF), 0);
  await clock.advance(1);
  assert.equal(server.count(SELF), 1);
  assert.equal(Socket.sockets.length, 1);
});

test("polling goes on every second while a proxy holds back the frames of an open socket", async () => {
  const { clock, Socket, server } = given();
  Socket.last.openSilently();
  await clock.advance(10_000);
  assert.equal(server.count(SELF), 9);
  Socket.last.answers = true;
  Socket.last.receive({ type: "pong" });
  await clock.advance(14_000);
  assert.equal(server.count(SELF), 9);
});

test("polling goes on every second and stops when the socket opens", async () => {
  const { clock, Socket, server } = given({ random: () => 1 });
  Socket.last.drop();
  await clock.advance(900);
  assert.equal(server.count(SELF), 1);
  await clock.advance(1_100);
  assert.equal(server.count(SELF), 3);
  Socket.last.open();
  await clock.advance(14_000);
  assert.equal(server.count(SELF), 3);
});

test("polling obeys Retry-After even if a reconnect fails in between", async () => {
  const answers = { [SELF]: { body: running({ seq: 3 }), headers: { "Retry-After": "4" } } };
  const { clock, Socket, server } = given({ answers, random: () => 0.1 });
  Socket.last.drop();
  for (let tenth = 0; tenth < 39; tenth += 1) {
    await clock.advance(100);
    if (Socket.last.onclose) Socket.last.drop();
  }
  assert.equal(server.count(SELF), 1);
  await clock.advance(100);
  assert.equal(server.count(SELF), 2);
});

test("polling that fails backs off", async () => {
  const { clock, Socket, server } = given({ answers: {}, random: () => 1 });
  Socket.last.drop();
  await clock.advance(60_000);
  assert.ok(server.count(SELF) <= 9, `${server.count(SELF)} requests in a minute`);
});

test("a lost socket is opened again after a pause that grows with every failure", async () => {
  const { clock, Socket } = given({ random: () => 1 });
  Socket.last.drop();
  const waits = [];
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const before = Socket.sockets.length;
    const since = clock.now();
    while (Socket.sockets.length === before) await clock.advance(500);
    waits.push(clock.now() - since);
    Socket.last.drop();
  }
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 15_000]);
});

test("only a stable connection resets the pause before a reconnect", async () => {
  const { clock, Socket } = given({ random: () => 1 });
  Socket.last.drop();
  await clock.advance(1_000);
  Socket.last.open();
  Socket.last.drop();
  await clock.advance(1_999);
  assert.equal(Socket.sockets.length, 2);
  await clock.advance(1);
  assert.equal(Socket.sockets.length, 3);
  Socket.last.open();
  await clock.advance(10_000);
  Socket.last.drop();
  await clock.advance(1_000);
  assert.equal(Socket.sockets.length, 4);
});

test("a dead socket is replaced", async () => {
  const { clock, Socket } = given();
  Socket.last.open();
  Socket.last.answers = false;
  await clock.advance(60_000);
  assert.ok(Socket.sockets[0].isClosed);
  await clock.advance(1_000);
  assert.equal(Socket.sockets.length, 2);
});

test("if the browser refuses the WebSocket URL the page polls", async () => {
  class Refusing {
    constructor() {
      throw new DOMException("mixed content", "SecurityError");
    }
  }
  const { clock, server } = given({ shown: null });
  new ExportsConnection({ url: "ws://host/", WebSocket: Refusing, fetch: server.fetch, clock }).watch(running(), {});
  await clock.advance(0);
  assert.equal(server.count(SELF), 1);
});

for (const [status, reason] of [[401, "logged_out"], [403, "forbidden"], [404, "not_found"]]) {
  test(`after a handshake refused with ${status} the page does not reconnect`, async () => {
    const answers = { [SELF]: { status, body: { error: { code: "x", message: "x" } } } };
    const { clock, Socket, calls, server } = given({ answers });
    Socket.last.drop();
    await clock.advance(120_000);
    assert.deepEqual(calls.endings, [reason]);
    assert.equal(Socket.sockets.length, 1);
    assert.equal(server.count(SELF), 1);
    assert.deepEqual(calls.troubles.filter(Boolean), []);
  });
}

test("one export that is gone does not end the others", async () => {
  const answers = { [SELF]: { status: 404 }, [`/exports/${OTHER}/`]: { body: running({ id: OTHER }) } };
  const { clock, Socket, calls, connection } = given({ answers });
  const endings = [];
  connection.watch(running({ id: OTHER }), { ended: (reason) => endings.push(reason) });
  Socket.last.drop();
  await clock.advance(30_000);
  assert.deepEqual(calls.endings, ["not_found"]);
  assert.deepEqual(endings, []);
  assert.ok(Socket.sockets.length > 1);
});

test("a subscriber without active exports gets the reason of a failed handshake", async () => {
  const { clock, Socket, connection } = given({ shown: null, answers: { [SELF]: { status: 401 } } });
  const endings = [];
  connection.watch(stateOf({ status: "cancelled" }), {});
  connection.subscribe({ ended: (reason) => endings.push(reason) });
  Socket.last.drop();
  await clock.advance(60_000);
  assert.deepEqual(endings, ["logged_out"]);
  assert.equal(Socket.sockets.length, 1);
});

test("after close code 4401 the page does not reconnect", async () => {
  const { clock, Socket, calls, server } = given();
  Socket.last.open();
  Socket.last.drop(4401);
  await clock.advance(120_000);
  assert.deepEqual(calls.endings, ["logged_out"]);
  assert.equal(Socket.sockets.length, 1);
  assert.equal(server.asked.length, 0);
  assert.equal(clock.waiting, 0);
});

test("after close code 4430 the page polls, shows no trouble and reconnects after a minute", async () => {
  const { clock, Socket, server, calls } = given();
  Socket.last.open();
  Socket.last.drop(4430);
  await clock.advance(59_000);
  assert.equal(Socket.sockets.length, 1);
  assert.ok(server.count(SELF) > 50);
  assert.deepEqual(calls.troubles, []);
  assert.deepEqual(calls.endings, []);
  await clock.advance(2_000);
  assert.equal(Socket.sockets.length, 2);
});

test("repeated close codes 4430 never shorten the minute", async () => {
  const { clock, Socket } = given({ random: () => 0 });
  for (let minute = 1; minute <= 10; minute += 1) {
    assert.equal(Socket.sockets.length, minute);
    Socket.last.open();
    Socket.last.drop(4430);
    await clock.advance(60_000);
  }
});

test("a page that reconnects after close code 4430 uses its socket again", async () => {
  const { clock, Socket, server, calls } = given();
  Socket.last.open();
  Socket.last.drop(4430);
  await clock.advance(61_000);
  Socket.last.open();
  Socket.last.change(running({ seq: 5 }));
  const before = server.count(SELF);
  await clock.advance(14_000);
  assert.equal(server.count(SELF), before);
  assert.deepEqual(calls.states.map(({ seq }) => seq), [5]);
});

test("close code 4430 is no trouble for a subscriber", async () => {
  const { clock, Socket, connection } = given({ shown: null });
  const troubles = [];
  connection.subscribe({ troubled: (isLost) => troubles.push(isLost) });
  Socket.last.open();
  Socket.last.drop(4430);
  await clock.advance(30_000);
  assert.deepEqual(troubles, []);
});

test("a new export is followed even after the last one ended with 4401", async () => {
  const { Socket, connection } = given();
  Socket.last.open();
  Socket.last.drop(4401);
  connection.watch(running({ id: OTHER }), {});
  assert.equal(Socket.sockets.length, 2);
});

test("ready is reported as seen once over the socket", async () => {
  const { clock, Socket, server } = given();
  Socket.last.open();
  for (const seq of [9, 9, 10]) Socket.last.change(ready({ seq }));
  await clock.advance(60_000);
  assert.deepEqual(seenOf(Socket), [{ type: "seen", id: ID }]);
  assert.equal(server.count(SEEN, "POST"), 0);
});

test("failed is reported as seen, cancelled and expired are not", async () => {
  for (const [status, count] of [["failed", 1], ["cancelled", 0], ["expired", 0]]) {
    const { clock, Socket } = given();
    Socket.last.open();
    Socket.last.change(stateOf({ seq: 9, status }));
    await clock.advance(5_000);
    assert.equal(seenOf(Socket).length, count, status);
  }
});

test("seen is posted with the token while the socket is not open", async () => {
  const { clock, Socket, server } = given({ answers: { [SELF]: { body: ready() }, [SEEN]: { body: ready() } } });
  Socket.last.drop();
  await clock.advance(60_000);
  assert.equal(server.count(SEEN, "POST"), 1);
  assert.equal(server.asked.find(({ url }) => url === SEEN).body.get("csrfmiddlewaretoken"), "token");
});

test("seen is posted while an open socket has said nothing", async () => {
  const { clock, Socket, server } = given({ answers: { [SELF]: { body: ready() }, [SEEN]: { body: ready() } } });
  Socket.last.openSilently();
  await clock.advance(5_000);
  assert.equal(server.count(SEEN, "POST"), 1);
});

test("seen is sent again until the server has answered", async () => {
  let tries = 0;
  const answers = { [SELF]: { body: ready() }, [SEEN]: () => ((tries += 1) < 3 ? { status: 503 } : { body: ready() }) };
  const { clock, Socket } = given({ answers });
  Socket.last.drop();
  await clock.advance(120_000);
  assert.equal(tries, 3);
});

test("an export that this page does not watch is not reported as seen", async () => {
  const { clock, Socket } = given();
  Socket.last.open();
  Socket.last.change(ready({ id: OTHER }));
  await clock.advance(5_000);
  assert.deepEqual(seenOf(Socket), []);
});

test("an export that had ended before is reported as seen unless the server knows it", async () => {
  for (const [urls, count] of [[{}, 1], [{ seen: null }, 0]]) {
    const { clock, server } = given({ shown: ready({ urls }) });
    await clock.advance(5_000);
    assert.equal(server.count(SEEN, "POST"), count);
  }
});

test("the end of an export is reported as seen when the hidden page is visible again", async () => {
  const { clock, Socket, connection, page } = given();
  Socket.last.open();
  page.isVisible = false;
  Socket.last.change(ready());
  await clock.advance(30_000);
  assert.deepEqual(seenOf(Socket), []);
  page.isVisible = true;
  connection.wake();
  await clock.advance(0);
  assert.deepEqual(seenOf(Socket), [{ type: "seen", id: ID }]);
});

test("many reports at once stay below the server's frame limit", async () => {
  const { clock, Socket, connection } = given();
  const ids = Array.from({ length: 20 }, (_, index) => `many-${index}`);
  for (const id of ids) connection.watch(running({ id }), {});
  Socket.last.open();
  for (const id of ids) Socket.last.change(ready({ id }));
  await clock.advance(900);
  assert.ok(seenOf(Socket).length <= 2);
  await clock.advance(15_000);
  assert.deepEqual(new Set(seenOf(Socket).map(({ id }) => id)), new Set(ids));
  assert.equal(seenOf(Socket).length, 20);
});

test("wake() connects at once instead of waiting for the backoff", async () => {
  const { clock, Socket, connection } = given({ random: () => 1 });
  for (let attempt = 0; attempt < 4; attempt += 1) {
    Socket.last.drop();
    await clock.advance([1_000, 2_000, 4_000, 1_500][attempt]);
  }
  assert.equal(Socket.sockets.length, 4);
  connection.wake();
  assert.equal(Socket.sockets.length, 5);
});

test("wake() polls even while the socket seems open", async () => {
  const { clock, Socket, connection, server } = given();
  Socket.last.open();
  await clock.advance(3_000);
  connection.wake();
  await clock.advance(0);
  assert.equal(server.count(SELF), 1);
});

test("trouble is reported at once when the browser goes offline", async () => {
  const { Socket, calls, connection } = given();
  Socket.last.open();
  connection.goOffline();
  assert.deepEqual(calls.troubles, [true]);
  Socket.last.change(running({ seq: 3 }));
  assert.deepEqual(calls.troubles, [true, false]);
});

test("polls that fail are trouble even while the socket seems open", async () => {
  const { clock, Socket, calls } = given({ answers: {} });
  Socket.last.open();
  Socket.last.answers = false;
  await clock.advance(10_000);
  assert.deepEqual(calls.troubles, []);
  await clock.advance(1_000);
  assert.deepEqual(calls.troubles, [true]);
  Socket.last.receive({ type: "pong" });
  assert.deepEqual(calls.troubles, [true, false]);
});

test("trouble is reported after five seconds and when it is over", async () => {
  const { clock, Socket, calls, server } = given({ answers: {} });
  Socket.last.open();
  await clock.advance(1_000);
  Socket.last.drop();
  await clock.advance(4_999);
  assert.deepEqual(calls.troubles, []);
  await clock.advance(1);
  assert.deepEqual(calls.troubles, [true]);
  server.answers[SELF] = { body: running({ seq: 3 }) };
  await clock.advance(16_000);
  assert.deepEqual(calls.troubles, [true, false]);
});

test("polling that works is no trouble", async () => {
  const { clock, Socket, calls } = given();
  for (let second = 0; second < 60; second += 1) {
    if (Socket.last.onclose) Socket.last.drop();
    await clock.advance(1_000);
  }
  assert.deepEqual(calls.troubles, []);
});

test("a page without active exports opens no socket", async () => {
  const { clock, Socket } = given({ shown: ready({ finished_at: "2026-11-20T06:00:00Z" }) });
  await clock.advance(60_000);
  assert.equal(Socket.sockets.length, 0);
});

test("a socket that is lost without active exports stays closed", async () => {
  const { clock, Socket, calls } = given();
  Socket.last.open();
  Socket.last.change(ready());
  Socket.last.drop();
  await clock.advance(60_000);
  assert.equal(Socket.sockets.length, 1);
  assert.deepEqual(calls.troubles, []);
});

test("the socket closes soon after the last watcher has left", async () => {
  const { clock, Socket, stop, connection } = given();
  Socket.last.open();
  stop();
  const again = connection.watch(running(), {});
  await clock.advance(5_000);
  assert.ok(!Socket.last.isClosed);
  again();
  await clock.advance(1_000);
  assert.ok(Socket.last.isClosed);
  await clock.advance(60_000);
  assert.equal(clock.waiting, 0);
});

test("a watcher that has left gets no calls", async () => {
  const { Socket, stop, calls } = given();
  Socket.last.open();
  stop();
  Socket.last.change(ready());
  await settled();
  assert.deepEqual(calls.states, []);
  assert.deepEqual(seenOf(Socket), []);
});

// When news stop

test("after five seconds without news of a run the server is asked", async () => {
  const { clock, Socket } = given();
  Socket.last.open();
  await clock.advance(4_999);
  assert.equal(Socket.last.sent.length, 1);
  await clock.advance(1);
  assert.deepEqual(Socket.last.sent.map(({ type }) => type), ["ping", "ping"]);
});

test("a server that freezes while its socket stays open is reported after 11 seconds", async () => {
  const never = { [SELF]: () => new Promise(() => {}) };
  const { clock, Socket, calls } = given({ answers: never });
  Socket.last.open();
  Socket.last.answers = false;
  await clock.advance(10_999);
  assert.deepEqual(calls.troubles, []);
  await clock.advance(1);
  assert.deepEqual(calls.troubles, [true]);
  Socket.last.receive({ type: "pong" });
  assert.deepEqual(calls.troubles, [true, false]);
});

test("a socket that falls silent is replaced by polling, and no trouble is reported", async () => {
  const { clock, Socket, server, calls } = given({ answers: { [SELF]: { body: running({ seq: 3 }) } } });
  Socket.last.open();
  Socket.last.answers = false;
  await clock.advance(14_000);
  assert.ok(server.count(SELF) >= 4);
  assert.deepEqual(calls.troubles, []);
});

test("an export that waits is not asked about every five seconds", async () => {
  const { clock, Socket } = given({ shown: stateOf(), answers: { [SELF]: { body: stateOf() } } });
  Socket.last.open();
  await clock.advance(20_000);
  assert.equal(Socket.last.sent.length, 1);
});

test("the place of an export that waits is read every three seconds until it runs", async () => {
  const { clock, Socket, server } = given({ shown: stateOf(), answers: { [SELF]: { body: stateOf() } } });
  Socket.last.open();
  await clock.advance(9_000);
  assert.equal(server.count(SELF), 3);
  Socket.last.change(running());
  await clock.advance(14_000);
  assert.equal(server.count(SELF), 3);
});

test("after a restored backup states with smaller numbers are shown", async () => {
  const { Socket, calls } = given();
  Socket.last.open();
  Socket.last.change(running({ seq: 9 }));
  Socket.last.change(running({ seq: 4 }));
  Socket.last.onmessage({ data: '{"type": "resumed", "epoch": "e2", "is_restored": true}' });
  Socket.last.change(running({ seq: 4 }));
  assert.deepEqual(calls.states.map(({ seq }) => seq), [9, 4]);
});

test("an export that runs again after its end, as after a restored backup, is polled again", async () => {
  const { clock, Socket, server, connection } = given({ shown: ready({ seq: 12, urls: { seen: null } }) });
  connection.subscribe({});
  Socket.last.open();
  Socket.last.onmessage({ data: '{"type": "resumed", "epoch": "e2", "is_restored": true}' });
  await clock.advance(20_000);
  assert.equal(server.count(SELF), 0);
  Socket.last.change(running({ seq: 5 }));
  await clock.advance(15_000);
  assert.equal(server.count(SELF), 1);
});
