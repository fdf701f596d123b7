/** The life of one WebSocket: it opens or fails, is pinged, is taken for dead when it stays silent, and ends once. */

const OPEN_WITHIN = 10_000;
const PING_EVERY = 25_000;
const PING_AT_MOST_EVERY = 20_000;
const SILENCE = 60_000;
const ANSWER_WITHIN = 10_000;
const ABNORMAL = 1006;

export class LiveSocket {
  #socket;
  #clock;
  #received;
  #closed;
  #openedAt = null;
  #heardAt = null;
  #pingedAt = null;
  #opening;
  #pinging = null;
  #watching = null;

  /**
   * `opened()`, then `received(message)` for each JSON object, then `closed({code, lasted})` once, `lasted` being the
   * milliseconds it was open, or null when it never opened. After `close()` none of them is called.
   */
  constructor({ url, WebSocket, clock, opened, received, closed }) {
    this.#clock = clock;
    this.#received = received;
    this.#closed = closed;
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => this.#open(opened);
    this.#socket.onmessage = (event) => this.#hear(event.data);
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

  /** Asks for a sign of life, but never faster than the server allows. */
  ping() {
    if (!this.isOpen) return;
    this.#pingLater();
    if (this.#clock.now() - this.#pingedAt < PING_AT_MOST_EVERY) return;
    this.#pingedAt = this.#clock.now();
    this.send({ type: "ping" });
  }

  close() {
    this.#openedAt = null;
    for (const timer of [this.#opening, this.#pinging, this.#watching]) this.#clock.clearTimeout(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #open(opened) {
    this.#clock.clearTimeout(this.#opening);
    this.#openedAt = this.#heardAt = this.#pingedAt = this.#clock.now();
    this.#pingLater();
    this.#watch(SILENCE);
    opened();
  }

  #hear(text) {
    this.#heardAt = this.#clock.now();
    // Timers of a hidden tab may fire once a minute only; messages come in time.
    if (this.#heardAt - this.#pingedAt >= PING_EVERY) this.ping();
    const message = parse(text);
    if (message) this.#received(message);
  }

  #pingLater() {
    this.#clock.clearTimeout(this.#pinging);
    this.#pinging = this.#clock.setTimeout(() => this.ping(), PING_EVERY);
  }

  #watch(delay) {
    this.#watching = this.#clock.setTimeout(() => this.#judge(), delay);
  }

  /** A computer that slept has heard nothing for hours: it must have asked before it judges. */
  #judge() {
    const now = this.#clock.now();
    const patience = Math.max(this.#heardAt + SILENCE, this.#pingedAt + ANSWER_WITHIN) - now;
    if (patience > 0) this.#watch(patience);
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
    // A frame that is not JSON is no message of ours; the next one may be.
    return null;
  }
}
