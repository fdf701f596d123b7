import assert from "node:assert/strict";
import { test } from "node:test";

import { LiveSocket } from "../../frontend/socket.js";
import { Clock, socketClass } from "./stand_ins.mjs";

function given() {
  const clock = new Clock();
  const Socket = socketClass();
  const calls = { messages: [], ends: [] };
  const live = new LiveSocket({
    url: "ws://host/ws/exports/", WebSocket: Socket, clock,
    received: (message) => calls.messages.push(message),
    closed: (end) => calls.ends.push(end),
  });
  return { clock, live, calls, socket: Socket.last };
}

const pingsOf = (socket) => socket.sent.filter(({ type }) => type === "ping").length;

test("a socket is pinged when it opens and every 25 seconds", async () => {
  const { clock, socket } = given();
  socket.open();
  await clock.advance(24_999);
  assert.equal(pingsOf(socket), 1);
  for (let ping = 2; ping <= 5; ping += 1) {
    await clock.advance(ping === 2 ? 1 : 25_000);
    assert.equal(pingsOf(socket), ping);
    socket.receive({ type: "pong" });
  }
});

test("sixty seconds of silence end the connection", async () => {
  const { clock, socket, calls } = given();
  socket.open();
  socket.answers = false;
  await clock.advance(59_999);
  assert.deepEqual(calls.ends, []);
  await clock.advance(1);
  assert.deepEqual(calls.ends, [{ code: 1006, lasted: 60_000 }]);
  assert.ok(socket.isClosed);
});

test("any frame ends the silence", async () => {
  const { clock, socket, calls } = given();
  socket.open();
  for (let minute = 0; minute < 5; minute += 1) {
    await clock.advance(59_000);
    socket.receive({ type: "pong" });
  }
  assert.deepEqual(calls.ends, []);
});

test("after sleep a computer pings before it gives up the socket", async () => {
  const { clock, socket, calls } = given();
  socket.open();
  socket.answers = false;
  clock.sleep(3_600_000);
  await clock.advance(0);
  assert.equal(pingsOf(socket), 2);
  assert.deepEqual(calls.ends, []);
  await clock.advance(9_999);
  assert.deepEqual(calls.ends, []);
  await clock.advance(1);
  assert.equal(calls.ends.length, 1);
});

test("a message sends the ping if the timer is late", () => {
  const { clock, socket } = given();
  socket.open();
  clock.sleep(30_000);
  socket.receive({ type: "pong" });
  assert.equal(pingsOf(socket), 2);
  socket.receive({ type: "pong" });
  assert.equal(pingsOf(socket), 2);
});

test("pings are at least 20 seconds apart", async () => {
  const { clock, live, socket } = given();
  socket.open();
  for (let second = 0; second < 60; second += 1) {
    live.ping();
    socket.receive({ type: "pong" });
    await clock.advance(1_000);
  }
  assert.equal(pingsOf(socket), 3);
});

test("a socket that does not open within ten seconds has failed", async () => {
  const { clock, socket, calls } = given();
  await clock.advance(10_000);
  assert.deepEqual(calls.ends, [{ code: 1006, lasted: null }]);
  assert.ok(socket.isClosed);
});

test("the close code and the duration are reported once", async () => {
  const { clock, socket, calls } = given();
  socket.open();
  await clock.advance(5_000);
  socket.drop(4401);
  assert.deepEqual(calls.ends, [{ code: 4401, lasted: 5_000 }]);
  assert.equal(clock.waiting, 0);
});

test("a frame that is not a JSON object is ignored", () => {
  const { socket, calls } = given();
  socket.openSilently();
  for (const text of ["not json", "7", "null", '{"type":"pong"}']) socket.receive(text);
  assert.deepEqual(calls.messages, [{ type: "pong" }]);
});

test("a socket that was closed makes no calls and leaves no timer", () => {
  const { clock, live, socket, calls } = given();
  socket.open();
  live.close();
  assert.equal(live.send({ type: "ping" }), false);
  assert.deepEqual(calls.ends, []);
  assert.equal(clock.waiting, 0);
});
