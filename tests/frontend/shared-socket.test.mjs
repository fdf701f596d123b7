import assert from "node:assert/strict";
import { test } from "node:test";

import { sharedSocketClass } from "../../frontend/shared-socket.js";
import { Clock, ID, running, settled, socketClass } from "./stand_ins.mjs";

const URL = "ws://host/ws/exports/";

/** Locks and channels as browsers have them, for the tabs of one browser. */
class Browser {
  clock = new Clock();
  Socket = socketClass();
  #holder = null;
  #queue = [];
  #channels = new Set();

  locks = {
    request: (name, { signal, steal = false }, callback) =>
      new Promise((resolve, reject) => {
        const entry = { callback, resolve, reject };
        signal?.addEventListener("abort", () => {
          this.#queue = this.#queue.filter((each) => each !== entry);
          if (this.#holder !== entry) reject(new DOMException("aborted", "AbortError"));
        });
        if (steal && this.#holder) this.#holder.reject(new DOMException("stolen", "AbortError"));
        if (steal) this.#grant(entry);
        else this.#queue.push(entry), this.#next();
      }),
  };

  get BroadcastChannel() {
    const channels = this.#channels;
    return class {
      constructor(name) {
        this.name = name;
        channels.add(this);
      }
      postMessage(data) {
        const others = [...channels].filter((each) => each !== this && each.name === this.name && !each.isFrozen);
        for (const each of others) queueMicrotask(() => each.onmessage?.({ data }));
      }
      close() {
        channels.delete(this);
      }
    };
  }

  freezeFirst() {
    [...this.#channels][0].isFrozen = true;
  }

  #next() {
    if (!this.#holder && this.#queue.length > 0) this.#grant(this.#queue.shift());
  }

  #grant(entry) {
    this.#holder = entry;
    queueMicrotask(async () => {
      await entry.callback();
      if (this.#holder === entry) this.#holder = null;
      entry.resolve();
      this.#next();
    });
  }
}

/** Open a tab; it records what its socket tells. */
async function tab(browser, reader = "ada") {
  return (await page(browser, reader)).connect();
}

/** Open a tab whose sockets are made by `connect`. */
async function page(browser, reader = "ada", url = URL) {
  const Shared = sharedSocketClass({ reader, WebSocket: browser.Socket, BroadcastChannel: browser.BroadcastChannel, locks: browser.locks, clock: browser.clock });
  return { connect: () => connected(new Shared(url)) };
}

async function connected(socket) {
  const [heard, texts] = [[], []];
  socket.onopen = () => heard.push("open");
  socket.onmessage = ({ data }) => {
    heard.push(JSON.parse(data).type);
    texts.push(data);
  };
  socket.onclose = ({ code }) => heard.push(code);
  await settled();
  return { socket, heard, texts };
}

test("two tabs have one connection, and both hear it", async () => {
  const browser = new Browser();
  const [first, second] = [await tab(browser), await tab(browser)];
  browser.Socket.last.open();
  browser.Socket.last.change(running());
  await settled();
  assert.equal(browser.Socket.sockets.length, 1);
  for (const { heard } of [first, second]) assert.deepEqual(heard, ["open", "export.changed"]);
});

test("a tab that joins later hears the newest states at once", async () => {
  const browser = new Browser();
  await tab(browser);
  browser.Socket.last.open();
  for (const seq of [3, 4]) browser.Socket.last.change(running({ seq }));
  const { heard } = await tab(browser);
  assert.deepEqual(heard, ["open", "export.changed"]);
});

test("a tab in which another user has signed in hears nothing of the first user", async () => {
  const browser = new Browser();
  await tab(browser, "ada");
  browser.Socket.last.open();
  browser.Socket.last.change(running());
  const { heard } = await tab(browser, "bo");
  browser.Socket.last.change(running({ seq: 9 }));
  await settled();
  assert.deepEqual(heard, []);
});

test("a tab that joins later hears nothing of an export that was deleted", async () => {
  const browser = new Browser();
  await tab(browser);
  browser.Socket.last.open();
  browser.Socket.last.change(running());
  browser.Socket.last.onmessage({ data: `{"type": "export.removed", "id": "${ID}"}` });
  const { heard } = await tab(browser);
  assert.deepEqual(heard, ["open"]);
});

test("when the tab with the connection is closed, another one connects and nothing is lost", async () => {
  const browser = new Browser();
  const [first, second] = [await tab(browser), await tab(browser)];
  browser.Socket.last.open();
  await settled();
  first.socket.close();
  await settled();
  assert.equal(browser.Socket.sockets.length, 2);
  browser.Socket.last.open();
  browser.Socket.last.change(running());
  assert.deepEqual(second.heard, ["open", "export.changed"]);
});

test("all tabs learn with which code the connection was closed", async () => {
  const browser = new Browser();
  const tabs = [await tab(browser), await tab(browser)];
  browser.Socket.last.open();
  browser.Socket.last.drop(4401);
  await settled();
  for (const { heard } of tabs) assert.deepEqual(heard, ["open", 4401]);
});

test("another tab's messages are sent, its pings only if the server was silent", async () => {
  const browser = new Browser();
  await tab(browser);
  browser.Socket.last.open();
  const { socket, heard } = await tab(browser);
  browser.Socket.last.change(running());
  socket.send(JSON.stringify({ type: "ping" }));
  socket.send(JSON.stringify({ type: "seen", id: ID }));
  await settled();
  assert.deepEqual(browser.Socket.last.sent.map(({ type }) => type), ["resume", "seen"]);
  assert.equal(heard.at(-1), "pong");
  await browser.clock.advance(5_000);
  socket.send(JSON.stringify({ type: "ping" }));
  await settled();
  assert.equal(browser.Socket.last.sent.at(-1).type, "ping");
});

test("a tab that is frozen loses the connection to one that works", async () => {
  const browser = new Browser();
  const frozen = await tab(browser);
  browser.Socket.last.open();
  browser.freezeFirst();
  const second = await tab(browser);
  await browser.clock.advance(1_000);
  assert.equal(browser.Socket.sockets.length, 2);
  browser.Socket.last.open();
  assert.deepEqual(second.heard, ["open"]);
  assert.deepEqual(frozen.heard, ["open", 1006]);
});

test("an address that the browser refuses ends the socket", async () => {
  const browser = new Browser();
  browser.Socket = class {
    constructor() {
      throw new DOMException("blocked", "SecurityError");
    }
  };
  assert.deepEqual((await tab(browser)).heard, [1006]);
});

const resumed = (rest) => JSON.stringify({ type: "resumed", epoch: "e1", is_restored: false, ...rest });

test("a tab that connects again says what it knows", async () => {
  const browser = new Browser();
  const { connect } = await page(browser);
  await connect();
  assert.equal(browser.Socket.last.url, `${URL}?resume=1`);
  browser.Socket.last.open();
  browser.Socket.last.onmessage({ data: resumed() });
  for (const seq of [3, 4]) browser.Socket.last.change(running({ seq }));
  browser.Socket.last.drop(1006);
  await connect();
  browser.Socket.last.open();
  assert.deepEqual(browser.Socket.last.sent, [{ type: "resume", epoch: "e1", known: { [ID]: 4 } }]);
});

test("a socket of one export says nothing", async () => {
  const browser = new Browser();
  await (await page(browser, "ada", `${URL}${ID}/`)).connect();
  browser.Socket.last.open();
  assert.deepEqual([browser.Socket.last.url, browser.Socket.last.sent], [`${URL}${ID}/`, []]);
});

test("a tab that was opened without a connection hears what the other one knows", async () => {
  const browser = new Browser();
  const { connect } = await page(browser);
  await connect();
  browser.Socket.last.open();
  browser.Socket.last.change(running());
  browser.Socket.last.drop(1006);
  await connect();
  const { heard } = await tab(browser);
  browser.Socket.last.open();
  browser.Socket.last.onmessage({ data: resumed() });
  await settled();
  assert.deepEqual(heard, ["open", "resumed", "export.changed"]);
});

test("after a restored backup nothing is known any more", async () => {
  const browser = new Browser();
  const { connect } = await page(browser);
  await connect();
  browser.Socket.last.open();
  browser.Socket.last.change(running({ seq: 9 }));
  browser.Socket.last.onmessage({ data: resumed({ epoch: "e2", is_restored: true }) });
  browser.Socket.last.drop(1006);
  await connect();
  browser.Socket.last.open();
  assert.deepEqual(browser.Socket.last.sent, [{ type: "resume", epoch: "e2", known: {} }]);
});

test("a tab that connects later hears that a backup was restored while it had no connection", async () => {
  for (const epoch of ["e2", "e1"]) {
    const browser = new Browser();
    const [first, second] = [await page(browser), await page(browser)];
    await first.connect();
    await second.connect();
    browser.Socket.last.open();
    browser.Socket.last.receive(resumed());
    browser.Socket.last.change(running({ seq: 12 }));
    await settled();
    browser.Socket.last.drop(1006);
    await settled();
    await first.connect();
    browser.Socket.last.open();
    browser.Socket.last.receive(resumed({ epoch, is_restored: true }));
    browser.Socket.last.change(running({ seq: 5 }));
    await settled();
    const { heard, texts } = await second.connect();
    assert.deepEqual(heard, ["open", "resumed", "export.changed"]);
    assert.equal(JSON.parse(texts[0]).is_restored, true);
    assert.deepEqual((await tab(browser)).texts.map((text) => JSON.parse(text).is_restored), [false, undefined]);
  }
});

test("for a tab that has heard another epoch a backup was restored, even if the tab with the connection is new", async () => {
  const browser = new Browser();
  const old = await page(browser);
  await old.connect();
  browser.Socket.last.open();
  browser.Socket.last.receive(resumed());
  browser.Socket.last.drop(1006);
  await settled();
  await tab(browser);
  browser.Socket.last.open();
  const { texts } = await old.connect();
  browser.Socket.last.receive(resumed({ epoch: "e2" }));
  await settled();
  assert.deepEqual(texts.map((text) => JSON.parse(text).is_restored), [true]);
});

test("a tab that joined later says the epoch when it takes over", async () => {
  const browser = new Browser();
  const first = await tab(browser);
  browser.Socket.last.open();
  browser.Socket.last.receive(resumed());
  browser.Socket.last.change(running({ seq: 12 }));
  await tab(browser);
  first.socket.close();
  await settled();
  browser.Socket.last.open();
  assert.deepEqual(browser.Socket.last.sent, [{ type: "resume", epoch: "e1", known: { [ID]: 12 } }]);
});

test("what a tab says while it takes over is sent once its socket is open", async () => {
  const browser = new Browser();
  const [first, second, third] = [await tab(browser), await tab(browser), await tab(browser)];
  browser.Socket.last.open();
  await settled();
  first.socket.close();
  await settled();
  second.socket.send('{"type":"seen"}');
  third.socket.send('{"type":"seen"}');
  for (const { socket } of [second, third]) socket.send('{"type":"ping"}');
  await settled();
  assert.deepEqual(browser.Socket.last.sent, []);
  browser.Socket.last.open();
  assert.deepEqual(browser.Socket.last.sent.map(({ type }) => type), ["resume", "seen", "seen"]);
});
