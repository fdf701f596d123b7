/**
 * Follows exports: over one WebSocket while it is open, by GET while it is not, and by a GET every 15 s even then,
 * because a message is only a hint. The newest state of each is kept and passed to its listeners.
 */

import { Backoff } from "./backoff.js";
import { systemClock } from "./clock.js";
import { Contact } from "./contact.js";
import { post } from "./http.js";
import { Poll } from "./poll.js";
import { SeenOutbox } from "./seen.js";
import { LiveSocket } from "./socket.js";
import {
  ENDING_OF_STATUS, accept, isActive, isRecentlyFinished, isSame, isState, isTerminal, isWorthSeeing,
} from "./state.js";

const CONNECT_GRACE = 2_000;
const POLL_EVERY = 1_000;
const RESYNC_EVERY = 15_000;
const STABLE_AFTER = 10_000;
const LINGER = 1_000;
const WAKE_AT_MOST_EVERY = 1_000;
const LOGGED_OUT = 4401;
const TOO_MANY = 4430;
const TOO_MANY_WAIT = 60_000;

export class ExportsConnection {
  #url;
  #makeSocket;
  #fetch;
  #clock;
  #random;
  #token;
  #backoff;
  #contact;
  #outbox;
  #known = new Map();
  #watched = new Map();
  #everyone = new Set();
  #socket = null;
  #pollEvery = null;
  #ending = null;
  #triedAt = -Infinity;
  #reconnecting = null;
  #grace = null;
  #lingering = null;

  /** `token()` gives the CSRF token at the time of a POST; the other arguments are the browser's own by default. */
  constructor({ url, WebSocket, fetch, token = () => "", clock = systemClock, random = Math.random }) {
    this.#url = url;
    this.#makeSocket = (callbacks) => new LiveSocket({ url, WebSocket, clock, ...callbacks });
    this.#fetch = fetch;
    this.#clock = clock;
    this.#random = random;
    this.#token = token;
    this.#backoff = new Backoff({ random });
    this.#contact = new Contact({ clock, tell: (isLost) => this.#tellAll("troubled", isLost) });
    const deliver = (state) => this.#sendSeen(state);
    this.#outbox = new SeenOutbox({ deliver, clock, backoff: new Backoff({ random }) });
  }

  get url() {
    return this.#url;
  }

  get isOpen() {
    return this.#socket?.isOpen ?? false;
  }

  /**
   * Follows one export from the STATE that its watcher shows already. The listener's methods, all optional:
   * `changed(state)` for each newer one; `troubled(isLost)` when the server is out of reach for 5 s and when it is
   * back; `ended(reason)` with logged_out, forbidden or not_found, after which nothing more comes. Returns a function
   * that stops it.
   */
  watch(shown, listener) {
    this.learn(shown);
    const watch = this.#watched.get(shown.id) ?? this.#startWatch(shown);
    watch.listeners.add(listener);
    const newest = this.#known.get(shown.id);
    if (!isSame(newest, shown)) listener.changed?.(newest);
    this.#noteSeen(shown, newest);
    this.#revive();
    return () => this.#stopWatch(shown.id, listener);
  }

  /** Follows all exports of this person: `changed(state)`, `troubled(isLost)`, `ended(reason)`. Returns its stop. */
  subscribe(listener) {
    this.#everyone.add(listener);
    this.#revive();
    return () => {
      this.#everyone.delete(listener);
      this.#rest();
    };
  }

  /** Takes a STATE from wherever it came: a message, a GET, the answer to a POST. Older ones are dropped. */
  learn(state) {
    const before = this.#known.get(state.id) ?? null;
    const after = accept(before, state);
    if (after === null) return;
    this.#known.set(after.id, after);
    if (before && isSame(before, after)) return;
    const watch = this.#watched.get(after.id);
    for (const listener of [...this.#everyone, ...(watch?.listeners ?? [])]) listener.changed?.(after);
    if (watch && isTerminal(after)) watch.poll.stop();
    if (watch) this.#noteSeen(before, after);
  }

  /** The network or the person may be back: look at once. */
  wake() {
    if (!this.#isNeeded() || this.#clock.now() - this.#triedAt < WAKE_AT_MOST_EVERY) return;
    this.#triedAt = this.#clock.now();
    this.#socket?.ping();
    if (!this.#socket) this.#connect();
    if (this.#pollEvery !== null) this.#poll(this.#pollEvery, { soon: true });
  }

  // The socket

  #connect() {
    this.#stopReconnecting();
    this.#triedAt = this.#clock.now();
    if (this.#pollEvery === null) this.#grace = this.#clock.setTimeout(() => this.#beginWithoutSocket(), CONNECT_GRACE);
    const callbacks = {
      opened: () => this.#opened(),
      received: (message) => this.#received(message),
      closed: (end) => this.#closed(end),
    };
    try {
      this.#socket = this.#makeSocket(callbacks);
    } catch {
      // A browser may refuse the address itself (policy, mixed content): polling still works.
      this.#closed({ code: null, lasted: null });
    }
  }

  #opened() {
    this.#contact.made();
    this.#poll(RESYNC_EVERY);
  }

  #received(message) {
    this.#contact.made();
    if (message.type === "export.changed" && isState(message.export)) this.learn(message.export);
  }

  #closed({ code, lasted }) {
    this.#socket = null;
    if (code === LOGGED_OUT) return this.#end("logged_out");
    if (lasted !== null && lasted >= STABLE_AFTER) this.#backoff.reset();
    const hasNoRoom = code === TOO_MANY;
    if (!hasNoRoom && this.#isNeeded()) this.#contact.lost();
    this.#fallBack();
    if (lasted === null) this.#askWhy();
    // Other pages of this person have all the sockets there are: one of them may be closed by and by.
    const wait = this.#backoff.next() + (hasNoRoom ? TOO_MANY_WAIT : 0);
    if (this.#isNeeded()) this.#reconnecting = this.#clock.setTimeout(() => this.#connect(), wait);
  }

  #beginWithoutSocket() {
    if (this.#isNeeded()) this.#contact.lost();
    this.#fallBack();
  }

  #fallBack() {
    if (this.#pollEvery !== POLL_EVERY) this.#poll(POLL_EVERY, { soon: true });
  }

  #stopReconnecting() {
    this.#clock.clearTimeout(this.#reconnecting);
    this.#reconnecting = null;
  }

  /** A browser does not say why a handshake failed; a GET does. Exports that are polled ask anyway. */
  #askWhy() {
    const watches = [...this.#watched.values()];
    if (!watches.some((watch) => watch.poll.isRunning)) watches[0]?.poll.read();
  }

  // Reading by GET

  #poll(interval, { soon = false } = {}) {
    this.#clock.clearTimeout(this.#grace);
    this.#pollEvery = interval;
    for (const watch of this.#watched.values()) if (this.#isFollowed(watch)) watch.poll.start(interval, { soon });
  }

  #reported(watch, outcome) {
    if (outcome.kind === "failed") return this.isOpen || this.#contact.lost();
    this.#contact.made();
    if (outcome.kind === "state") this.learn(outcome.state);
    if (outcome.kind === "refused") this.#refused(watch, outcome.status);
  }

  #refused(watch, status) {
    if (status !== 404) return this.#end(ENDING_OF_STATUS[status]);
    watch.isOver = true;
    watch.poll.stop();
    for (const listener of watch.listeners) listener.ended?.(ENDING_OF_STATUS[404]);
    if (!this.#isNeeded()) this.#stopReconnecting();
  }

  // Who watches

  #startWatch(shown) {
    const watch = { id: shown.id, listeners: new Set(), isOver: false };
    const report = (outcome) => this.#reported(watch, outcome);
    const backoff = new Backoff({ random: this.#random });
    watch.poll = new Poll({ url: shown.urls.self, fetch: this.#fetch, clock: this.#clock, backoff, report });
    this.#watched.set(shown.id, watch);
    return watch;
  }

  #stopWatch(id, listener) {
    const watch = this.#watched.get(id);
    if (!watch?.listeners.delete(listener) || watch.listeners.size > 0) return;
    watch.poll.stop();
    this.#watched.delete(id);
    this.#rest();
  }

  /** Another element follows now, so an earlier ending is checked again. */
  #revive() {
    this.#ending = null;
    this.#clock.clearTimeout(this.#lingering);
    if (this.#contact.isTold) this.#tellAll("troubled", true);
    if (this.#isNeeded() && !this.#socket && this.#reconnecting === null) this.#connect();
    if (this.#pollEvery === null) return;
    for (const watch of this.#watched.values())
      if (this.#isFollowed(watch) && !watch.poll.isRunning) watch.poll.start(this.#pollEvery);
  }

  #rest() {
    this.#clock.clearTimeout(this.#lingering);
    if (this.#watched.size + this.#everyone.size > 0) return;
    this.#lingering = this.#clock.setTimeout(() => this.#shut(), LINGER);
  }

  #end(reason) {
    this.#shut();
    this.#ending = reason;
    this.#tellAll("ended", reason);
  }

  #shut() {
    for (const timer of [this.#grace, this.#lingering]) this.#clock.clearTimeout(timer);
    this.#stopReconnecting();
    for (const watch of this.#watched.values()) watch.poll.stop();
    this.#socket?.close();
    this.#socket = this.#pollEvery = null;
    this.#contact.made();
  }

  #isFollowed(watch) {
    return !watch.isOver && isActive(this.#known.get(watch.id));
  }

  #isNeeded() {
    if (this.#ending !== null) return false;
    return this.#everyone.size > 0 || [...this.#watched.values()].some((watch) => this.#isFollowed(watch));
  }

  #tellAll(method, argument) {
    const listeners = [...this.#watched.values()].flatMap((watch) => [...watch.listeners]);
    for (const listener of new Set([...this.#everyone, ...listeners])) listener[method]?.(argument);
  }

  // Seen

  /** READY and FAILED are told once; one that was on the page from the start only while its mail may be waiting. */
  #noteSeen(before, after) {
    if (!isWorthSeeing(after)) return;
    if (before === null || isActive(before) || isRecentlyFinished(after, this.#clock.now())) this.#outbox.add(after);
  }

  async #sendSeen(state) {
    if (this.#socket?.send({ type: "seen", id: state.id })) return true;
    const { status } = await post(state.urls.seen, { fetch: this.#fetch, clock: this.#clock, token: this.#token() });
    // No answer, or a server error: try again later. A refusal is an answer.
    return status !== 0 && status !== 429 && status < 500;
  }
}
