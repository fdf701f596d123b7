/** A clock, a WebSocket class and a server that tests control. */

export const ID = "7d9f6c1e-0000-4000-8000-000000000001";

const ENDED = { finished_at: "2026-11-22T06:00:30Z", progress: { fraction: 1 } };
const READY = { seq: 9, status: "ready", phase: "done", ...ENDED };

/** Return a STATE (docs/protocol.md); `progress` and `urls` may be given in part. */
export function stateOf({ progress = {}, urls = {}, ...rest } = {}) {
  const id = rest.id ?? ID;
  const none = {
    rows_done: 0, rows_total: null, rows_total_is_estimate: false, fraction: 0, rows_per_second: null, eta_seconds: null,
    queue_position: null, wait_seconds: null,
    unserved_queue: null,
  };
  const addresses = {
    self: `/exports/${id}/`, page: `/exports/${id}/page/`,
    seen: ["ready", "failed"].includes(rest.status) ? `/exports/${id}/seen/` : null,
    edit: null, cancel: null, retry: null, delete: null, download: null, ticket: null, ticket_expires_at: null,
  };
  return {
    id, seq: 1, attempt: 1, resumed: false, status: "queued", phase: "queued",
    file_type: "flights", title: "Flights", label: "", format: "xlsx",
    requested_at: "2026-11-22T06:00:00Z", finished_at: null, took_seconds: null, file: null, error: null, sends_mail: false, receipt: {},
    ...rest, progress: { ...none, ...progress }, urls: { ...addresses, ...urls },
  };
}

export const running = (given = {}) => stateOf({ seq: 2, status: "running", phase: "writing", ...given });
export const ready = (given = {}) => stateOf({ ...READY, ...given });

export class Clock {
  #now = Date.parse("2026-11-22T06:01:00Z");
  #timers = new Map();
  #names = 0;

  now = () => this.#now;

  setTimeout = (callback, delay) => {
    this.#names += 1;
    this.#timers.set(this.#names, { callback, due: this.#now + delay });
    return this.#names;
  };

  clearTimeout = (name) => {
    this.#timers.delete(name);
  };

  get waiting() {
    return this.#timers.size;
  }

  /** Move the time forward, timer by timer, and let pending promises settle after each. */
  async advance(milliseconds) {
    const end = this.#now + milliseconds;
    await settled();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [name, { callback, due }] = next;
      this.#timers.delete(name);
      this.#now = Math.max(due, this.#now);
      callback();
      await settled();
    }
    this.#now = end;
  }

  /** Move the time forward without firing timers, as while a computer sleeps. */
  sleep(milliseconds) {
    this.#now += milliseconds;
  }

  #next(end) {
    return [...this.#timers].filter(([, timer]) => timer.due <= end).sort(([, a], [, b]) => a.due - b.due)[0];
  }
}

export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Return a WebSocket class; its `sockets` lists those that were opened. */
export function socketClass() {
  return class Socket {
    static sockets = [];
    static get last() {
      return this.sockets.at(-1);
    }

    sent = [];
    isClosed = false;
    answers = false;

    constructor(url) {
      this.url = url;
      this.constructor.sockets.push(this);
    }

    send(text) {
      const message = JSON.parse(text);
      this.sent.push(message);
      if (message.type === "ping" && this.answers) this.receive({ type: "pong" });
    }

    close() {
      this.isClosed = true;
    }

    /** Open as if the server were there: it answers each ping until `answers` is false. */
    open() {
      this.answers = true;
      this.openSilently();
    }

    openSilently() {
      this.onopen();
    }

    receive(message) {
      this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) });
    }

    change(state) {
      this.receive({ type: "export.changed", export: state });
    }

    drop(code = 1006) {
      this.onclose({ code });
    }
  };
}

/** A server for `fetch`: `answers[url]` is `{status, body, headers}`, a function of the request, or nothing. */
export class Server {
  asked = [];

  constructor(answers = {}) {
    this.answers = answers;
  }

  fetch = async (url, options) => {
    this.asked.push({ url, ...options });
    const given = this.answers[url];
    const answer = typeof given === "function" ? given(options) : given;
    if (!answer) throw new TypeError("Failed to fetch");
    const { status = 200, body = null, headers = {} } = answer;
    const text = status === 304 ? null : JSON.stringify(body);
    return new Response(text, { status, headers: { "Content-Type": "application/json", ...headers } });
  };

  count(url, method = "GET") {
    return this.asked.filter((request) => request.url === url && request.method === method).length;
  }
}
