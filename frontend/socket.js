/** One WebSocket that is pinged regularly and closed when the server stays silent. */

const OPEN_WITHIN = 10_000;
const PING_EVERY = 25_000;
const PING_AT_MOST_EVERY = 20_000;
const URGENT_PING_AT_MOST_EVERY = 4_000;
const SILENCE = 60_000;
const ANSWER_WITHIN = 10_000;
const ABNORMAL = 1006;

export class LiveSocket {
  #socket;
  #clock;
  #received;
  #closed;
  #openedAt = null;
  #lastMessageAt = null;
  #pingedAt = -Infinity;
  #unansweredSince = null;
  #opening;
  #pinging = null;
  #watching = null;

  /**
   * Calls `received(message)` for each JSON object, then `closed({code, lasted})` once; `lasted` is how many
   * milliseconds the socket was open, or null if it never opened. After `close()` nothing is called.
   */
  constructor({ url, WebSocket, clock, received, closed }) {
    this.#clock = clock;
    this.#received = received;
    this.#closed = closed;
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => this.#open();
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = (event) => this.#end(event.code);
    this.#opening = clock.setTimeout(() => this.#end(ABNORMAL), OPEN_WITHIN);
  }

  get isOpen() {
    return this.#openedAt !== null;
  }

  /** Whether the message was handed to an open socket. */
  send(message) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Send a ping, unless the last one was sent less than 20 s ago, or 4 s if it is urgent. */
  ping({ isUrgent = false } = {}) {
    if (!this.isOpen) return;
    this.#pingLater();
    const pause = isUrgent ? URGENT_PING_AT_MOST_EVERY : PING_AT_MOST_EVERY;
    if (this.#clock.now() - this.#pingedAt < pause) return;
    this.#pingedAt = this.#clock.now();
    this.#unansweredSince ??= this.#pingedAt;
    this.send({ type: "ping" });
  }

  close() {
    this.#openedAt = null;
    for (const timer of [this.#opening, this.#pinging, this.#watching]) this.#clock.clearTimeout(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  /** Ask for a first message at once, because the server sends none by itself if nothing changes. */
  #open() {
    this.#clock.clearTimeout(this.#opening);
    this.#openedAt = this.#lastMessageAt = this.#clock.now();
    this.ping();
    this.#checkSilenceIn(SILENCE);
  }

  #receive(text) {
    this.#lastMessageAt = this.#clock.now();
    this.#unansweredSince = null;
    // Browsers let timers of a hidden tab fire only once a minute; messages still arrive in time.
    if (this.#lastMessageAt - this.#pingedAt >= PING_EVERY) this.ping();
    const message = parse(text);
    if (message) this.#received(message);
  }

  #pingLater() {
    this.#clock.clearTimeout(this.#pinging);
    this.#pinging = this.#clock.setTimeout(() => this.ping(), PING_EVERY);
  }

  #checkSilenceIn(delay) {
    this.#watching = this.#clock.setTimeout(() => this.#checkSilence(), delay);
  }

  /** Close a silent socket, but only after a ping went unanswered: a computer may have slept for hours. */
  #checkSilence() {
    const now = this.#clock.now();
    const isSilent = this.#lastMessageAt + SILENCE <= now;
    if (isSilent) this.ping({ isUrgent: true });
    const patience = Math.max(this.#lastMessageAt + SILENCE, (this.#unansweredSince ?? -Infinity) + ANSWER_WITHIN) - now;
    if (patience > 0) this.#checkSilenceIn(patience);
    else this.#end(ABNORMAL);
  }

  #end(code) {
    const lasted = this.#openedAt === null ? null : this.#clock.now() - this.#openedAt;
    this.close();
    this.#closed({ code, lasted });
  }
}

function parse(text) {
  try {
    const message = JSON.parse(text);
    return message !== null && typeof message === "object" ? message : null;
  } catch {
    // The protocol has only JSON messages, so a frame of anything else is ignored.
    return null;
  }
}
