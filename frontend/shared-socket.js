/**
 * One WebSocket for all tabs of a user in a browser. The tab that holds a lock has the connection and passes its messages
 * on over a BroadcastChannel; when it is closed, the next tab gets the lock and connects.
 */

const ANSWER_WITHIN = 1_000;
const FRESH = 4_000;
const ABNORMAL = 1006;
const PING = JSON.stringify({ type: "ping" });
const PONG = JSON.stringify({ type: "pong" });
/** The socket of all exports of the user, which is asked only for what this browser has not heard yet. */
const OF_USER = /\/ws\/exports\/(\?|$)/;
const RESUMED = /^\{"type": ?"resumed"/;
const MOST_KNOWN = 50;
const CHANGED = /"export\.changed".*?"id": ?"([^"]+)"/;
const REMOVED = /^\{"type": ?"export\.removed", ?"id": ?"([^"]+)"/;

/**
 * Return a class that is used like `WebSocket`. `reader` names the user: a tab in which another user has signed in since
 * hears nothing of this one's. `locks` is `navigator.locks`.
 */
export function sharedSocketClass({ reader, WebSocket, BroadcastChannel, locks, clock }) {
  // What this tab has heard over all its sockets, whichever tab had the connection.
  const newest = new Map();
  let epoch = null;
  // The epoch of the last backup that was restored meanwhile.
  let restored = null;

  function note(text) {
    const [, id] = CHANGED.exec(text) ?? [];
    if (id) newest.set(id, text);
    newest.delete(REMOVED.exec(text)?.[1]);
    if (!RESUMED.test(text)) return;
    const resumed = JSON.parse(text);
    if (resumed.is_restored) {
      newest.clear();
      restored = resumed.epoch;
    }
    epoch = resumed.epoch;
  }

  /** Return the message for this tab, which may be older than a restored backup while the one that asked is not. */
  function told(text) {
    if (!RESUMED.test(text)) return text;
    const resumed = JSON.parse(text);
    const isOther = epoch !== null && resumed.epoch !== epoch;
    return isOther ? JSON.stringify({ ...resumed, is_restored: true }) : text;
  }

  /** Return the message that says what is known, so that the server sends only what is newer. */
  function resume() {
    const states = [...newest.values()].slice(-MOST_KNOWN).map((text) => JSON.parse(text).export);
    return JSON.stringify({ type: "resume", epoch, known: Object.fromEntries(states.map(({ id, seq }) => [id, seq])) });
  }

  return class SharedSocket {
    onopen = null;
    onmessage = null;
    onclose = null;
    #name;
    #url;
    #channel;
    #waiting = new AbortController();
    #patience;
    #socket = null;
    #unsent = [];
    #isConnected = false;
    #heardAt = -Infinity;
    #isOpen = false;
    #isOver = false;
    #release = () => {};

    constructor(url) {
      this.#url = url;
      this.#name = `exports:${reader}:${url}`;
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#tell({ kind: "join" });
      this.#ask({ signal: this.#waiting.signal });
      // A tab that the browser has frozen keeps its lock and passes nothing on.
      this.#patience = clock.setTimeout(() => this.#ask({ steal: true }), ANSWER_WITHIN);
    }

    send(text) {
      if (this.#socket) this.#sendSoon(text);
      else this.#tell({ kind: "send", text });
    }

    close() {
      this.#isOver = true;
      clock.clearTimeout(this.#patience);
      this.#waiting.abort();
      if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket?.close();
      this.#socket = null;
      this.#channel.close();
      this.#release();
    }

    #ask(options) {
      const held = locks.request(this.#name, options, () => this.#lead());
      // Either another tab has taken the lock of this one, or this one does not want it any more.
      held.catch(() => this.#end(ABNORMAL));
    }

    /** Connect, and keep the lock until the socket closes. */
    #lead() {
      if (this.#isOver || this.#socket) return undefined;
      clock.clearTimeout(this.#patience);
      this.#tell({ kind: "welcome", isOpen: false, epoch: null, restored: null, texts: [] });
      try {
        this.#socket = new WebSocket(this.#resumes ? withResume(this.#url) : this.#url);
      } catch {
        // A browser may refuse the address itself (policy, mixed content).
        return this.#end(ABNORMAL);
      }
      this.#socket.onopen = () => {
        this.#isConnected = true;
        if (this.#resumes) this.#socket.send(resume());
        for (const text of this.#unsent.splice(0)) this.#socket.send(text);
        this.#pass({ kind: "open" });
      };
      this.#socket.onmessage = ({ data }) => this.#receive(data);
      this.#socket.onclose = ({ code }) => this.#pass({ kind: "close", code });
      return new Promise((resolve) => (this.#release = resolve));
    }

    get #resumes() {
      return OF_USER.test(this.#url);
    }

    #receive(text) {
      this.#heardAt = clock.now();
      this.#pass({ kind: "message", text });
      // Another tab may have been opened while there was no connection, and the server does not repeat what this one knows.
      if (RESUMED.test(text)) for (const known of newest.values()) this.#tell({ kind: "message", text: known });
    }

    #tell(message) {
      if (!this.#isOver) this.#channel.postMessage(message);
    }

    /** Handle what the connection said here and in the other tabs. */
    #pass(message) {
      this.#tell(message);
      this.#hear(message);
    }

    #hear({ kind, ...rest }) {
      if (this.#isOver) return;
      if (kind === "join" && this.#socket) this.#welcome();
      if (kind === "send" && this.#socket) this.#forward(rest.text);
      if (kind === "welcome" && !this.#socket) this.#join(rest);
      if (kind === "open") this.#opened();
      if (kind === "message" && this.#isOpen) this.#heard(rest.text);
      if (kind === "close") this.#end(rest.code);
    }

    #heard(given) {
      const text = told(given);
      note(text);
      this.onmessage?.({ data: text });
    }

    #welcome() {
      this.#tell({ kind: "welcome", isOpen: this.#isOpen, epoch, restored, texts: [...newest.values()] });
    }

    /** Take part in the connection of another tab, and in what it has heard so far. */
    #join({ isOpen, texts, ...other }) {
      clock.clearTimeout(this.#patience);
      if (!isOpen || this.#isOpen) return;
      this.#opened();
      const isRestored = epoch !== null && other.restored !== null && other.restored !== restored;
      if (other.epoch) this.#heard(JSON.stringify({ type: "resumed", epoch: other.epoch, is_restored: isRestored }));
      restored = other.restored ?? restored;
      for (const text of texts) this.#heard(text);
    }

    /** Send what another tab says. The pings of many tabs become one. */
    #forward(text) {
      if (!this.#isOpen) return;
      const isFresh = clock.now() - this.#heardAt < FRESH;
      if (text === PING && isFresh) this.#tell({ kind: "message", text: PONG });
      else this.#sendSoon(text);
    }

    /** Send it now, or once the socket is open: this tab may have taken over from another one just now. */
    #sendSoon(text) {
      if (this.#isConnected) this.#socket.send(text);
      else if (text !== PING) this.#unsent.push(text);
    }

    #opened() {
      if (this.#isOpen) return;
      this.#isOpen = true;
      this.onopen?.();
    }

    #end(code) {
      if (this.#isOver) return undefined;
      this.close();
      this.onclose?.({ code });
      return undefined;
    }
  };
}

function withResume(url) {
  return `${url}${url.includes("?") ? "&" : "?"}resume=1`;
}
