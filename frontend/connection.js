/**
 * Follow exports over one WebSocket, and by GET every second until its first message arrives. From then on a GET every
 * 15 s finds the changes of lost messages. The newest STATE of each is kept and passed to its listeners.
 */

import { Backoff } from "./backoff.js";
import { systemClock } from "./clock.js";
import { Contact } from "./contact.js";
import { post } from "./http.js";
import { Poll } from "./poll.js";
import { SeenOutbox } from "./seen.js";
import { LiveSocket } from "./socket.js";
import {
  ENDING_OF_STATUS, accept, isActive, isSame, isState, isTerminal,
} from "./state.js";

const FIRST_MESSAGE_WITHIN = 2_000;
const POLL_EVERY = 1_000;
const RESYNC_EVERY = 15_000;
const RESYNC_WAITING_EVERY = 3_000;
const STABLE_AFTER = 10_000;
const NEWS_WITHIN = 5_000;
const ANSWER_WITHIN = 5_000;
const LOST_WITHOUT_ANSWER = 1_000;
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
  #tokens;
  #backoff;
  #contact;
  #outbox;
  #known = new Map();
  #watched = new Map();
  #subscribers = new Set();
  #socket = null;
  #pollEvery = null;
  #ending = null;
  #triedAt = -Infinity;
  #reconnecting = null;
  #grace = null;
  #quiet = null;
  #lingering = null;

  /**
   * `tokens()` returns the CSRF tokens at the time of a POST, and `isVisible()` whether the user can see the page. Tests
   * replace the clock and the random numbers.
   */
  constructor({ url, WebSocket, fetch, tokens, isVisible, clock = systemClock, random = Math.random }) {
    this.#url = url;
    this.#makeSocket = (callbacks) => new LiveSocket({ url, WebSocket, clock, ...callbacks });
    this.#fetch = fetch;
    this.#clock = clock;
    this.#random = random;
    this.#tokens = tokens;
    this.#backoff = new Backoff({ random });
    this.#contact = new Contact({ clock, report: (isLost) => this.#notifyAll("troubled", isLost) });
    const deliver = (state) => this.#sendSeen(state);
    this.#outbox = new SeenOutbox({ deliver, isVisible, clock, backoff: new Backoff({ random }) });
  }

  get url() {
    return this.#url;
  }

  /** Whether messages arrive over the socket; else exports are read by GET. */
  get isHeard() {
    return this.#pollEvery === RESYNC_EVERY;
  }

  /**
   * Follow one export, starting from the STATE that the page shows already. The listener's methods are all optional:
   * `changed(state)` for each newer state; `troubled(isLost)` when the server has been out of reach for 5 s, and when
   * it is back; `ended(reason)` with logged_out, forbidden or not_found, the last call. Return a function that stops
   * following.
   *
   * @param {import("./state.js").State} shown
   */
  watch(shown, listener) {
    this.learn(shown);
    const watch = this.#watched.get(shown.id) ?? this.#startWatch(shown);
    watch.listeners.add(listener);
    const newest = this.#known.get(shown.id);
    if (!isSame(newest, shown)) listener.changed?.(newest);
    this.#noteSeen(newest);
    this.#revive();
    return () => this.#stopWatch(shown.id, listener);
  }

  /**
   * Follow all exports of the user, with a listener as for `watch`, and `removed(id)` for those that the user deletes.
   * What is known already is told first. Return a function that stops following.
   */
  subscribe(listener) {
    this.#subscribers.add(listener);
    for (const state of this.#known.values()) listener.changed?.(state);
    this.#revive();
    return () => {
      this.#subscribers.delete(listener);
      this.#rest();
    };
  }

  /**
   * Take a state from a message, a GET or the answer to a POST. Older states are dropped.
   *
   * @param {import("./state.js").State} state
   */
  learn(state) {
    const before = this.#known.get(state.id) ?? null;
    const after = accept(before, state);
    if (after === null) return;
    this.#known.set(after.id, after);
    if (before && isSame(before, after)) return;
    const watch = this.#watched.get(after.id);
    for (const listener of [...this.#subscribers, ...(watch?.listeners ?? [])]) listener.changed?.(after);
    if (watch && isTerminal(after)) watch.poll.stop();
    else if (watch && this.#pollEvery !== null && this.#isFollowed(watch) && before?.status !== after.status)
      watch.poll.start(this.#intervalOf(watch));
    if (watch) this.#noteSeen(after);
    this.#expectNews();
  }

  /** Connect and poll at once, because the network or the user may be back. */
  wake() {
    this.#outbox.resume();
    if (!this.#isNeeded() || this.#clock.now() - this.#triedAt < WAKE_AT_MOST_EVERY) return;
    this.#triedAt = this.#clock.now();
    this.#socket?.ping({ isUrgent: true });
    if (!this.#socket) this.#connect();
    if (this.#pollEvery !== null) this.#poll(this.#pollEvery, { soon: true });
  }

  /** Tell the listeners at once that the server is out of reach, because the browser says so. */
  goOffline() {
    if (this.#isNeeded()) this.#contact.lost({ isCertain: true });
  }

  /** Close the socket until `wake` is called, because the page is left. */
  suspend() {
    this.#socket?.close();
    this.#socket = null;
    this.#stopReconnecting();
    this.#triedAt = -Infinity;
  }

  /** Forget an export that its owner has deleted. */
  #remove(id) {
    const watch = this.#watched.get(id);
    for (const subscriber of this.#subscribers) subscriber.removed?.(id);
    if (watch) this.#refused(watch, 404);
  }

  // The socket

  #connect() {
    this.#stopReconnecting();
    this.#triedAt = this.#clock.now();
    if (this.#pollEvery === null) {
      this.#grace = this.#clock.setTimeout(() => this.#beginWithoutSocket(), FIRST_MESSAGE_WITHIN);
    }
    const callbacks = {
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

  #received(message) {
    this.#contact.made();
    this.#expectNews();
    // A proxy may accept a socket and hold its frames back, so only a message shows that it works.
    if (this.#pollEvery !== RESYNC_EVERY) this.#poll(RESYNC_EVERY);
    if (message.type === "export.changed" && isState(message.export)) this.learn(message.export);
    if (message.type === "export.removed") this.#remove(message.id);
    if (message.type === "resumed" && message.is_restored) this.#expectOlder();
  }

  /** Accept any number from now on: the server's database is that of a backup. */
  #expectOlder() {
    for (const [id, state] of this.#known) this.#known.set(id, { ...state, seq: -1, attempt: -1 });
  }

  /** Ask for an answer once nothing has been heard of a run for 5 s. Without one, read by GET and soon say so. */
  #expectNews() {
    this.#clock.clearTimeout(this.#quiet);
    if (![...this.#watched.values()].some((watch) => this.#isRunning(watch))) return;
    this.#quiet = this.#clock.setTimeout(() => {
      this.#socket?.ping({ isUrgent: true });
      this.#quiet = this.#clock.setTimeout(() => this.#missAnswer(), ANSWER_WITHIN);
    }, NEWS_WITHIN);
  }

  #missAnswer() {
    if (!this.#socket || !this.#isNeeded()) return;
    this.#contact.lost({ patience: LOST_WITHOUT_ANSWER });
    this.#fallBack();
  }

  #closed({ code, lasted }) {
    this.#socket = null;
    if (code === LOGGED_OUT) return this.#end("logged_out");
    if (lasted !== null && lasted >= STABLE_AFTER) this.#backoff.reset();
    const isOneTooMany = code === TOO_MANY;
    if (!isOneTooMany && this.#isNeeded()) this.#contact.lost();
    this.#fallBack();
    if (lasted === null) this.#askWhy();
    // Other pages of this user hold all the sockets that one user may have; one of them may be closed later.
    const wait = this.#backoff.next() + (isOneTooMany ? TOO_MANY_WAIT : 0);
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

  /** Find out by GET why a handshake failed, which a browser does not tell. A poll that runs does it anyway. */
  #askWhy() {
    const watches = [...this.#watched.values()];
    if (!watches.some((watch) => watch.poll.isRunning)) watches[0]?.poll.read();
  }

  // Reading by GET

  #poll(interval, { soon = false } = {}) {
    this.#clock.clearTimeout(this.#grace);
    this.#pollEvery = interval;
    for (const watch of this.#watched.values()) if (this.#isFollowed(watch)) watch.poll.start(this.#intervalOf(watch), { soon });
  }

  /** Return the interval of a poll. No message tells that others in the queue have moved: those that wait read more. */
  #intervalOf(watch) {
    if (!this.isHeard || this.#known.get(watch.id).status !== "queued") return this.#pollEvery;
    const waiting = [...this.#watched.keys()].filter((id) => this.#known.get(id).status === "queued").length;
    return Math.min(RESYNC_EVERY, Math.max(RESYNC_WAITING_EVERY, waiting * 1_000));
  }

  #reported(watch, outcome) {
    if (outcome.kind === "failed") return this.#failed();
    this.#contact.made();
    if (outcome.kind === "state") this.learn(outcome.state);
    if (outcome.kind === "refused") this.#refused(watch, outcome.status);
  }

  /** Take the server for lost, even if the socket seems to be open, unless that answers to a ping. */
  #failed() {
    this.#contact.lost();
    this.#socket?.ping({ isUrgent: true });
  }

  #refused(watch, status) {
    if (status !== 404) return this.#end(ENDING_OF_STATUS[status]);
    watch.isOver = true;
    watch.poll.stop();
    for (const listener of watch.listeners) listener.ended?.(ENDING_OF_STATUS[404]);
    if (!this.#isNeeded()) this.#stopReconnecting();
  }

  // Watches and subscriptions

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

  /** Start to follow again after a new element was added; an earlier ending is checked once more. */
  #revive() {
    this.#ending = null;
    this.#clock.clearTimeout(this.#lingering);
    if (this.#contact.isReported) this.#notifyAll("troubled", true);
    if (this.#isNeeded() && !this.#socket && this.#reconnecting === null) this.#connect();
    if (this.#pollEvery === null) return;
    for (const watch of this.#watched.values())
      if (this.#isFollowed(watch) && !watch.poll.isRunning) watch.poll.start(this.#intervalOf(watch));
  }

  #rest() {
    this.#clock.clearTimeout(this.#lingering);
    if (this.#watched.size + this.#subscribers.size > 0) return;
    this.#lingering = this.#clock.setTimeout(() => this.#shut(), LINGER);
  }

  #end(reason) {
    this.#shut();
    this.#ending = reason;
    this.#notifyAll("ended", reason);
  }

  #shut() {
    for (const timer of [this.#grace, this.#quiet, this.#lingering]) this.#clock.clearTimeout(timer);
    this.#stopReconnecting();
    for (const watch of this.#watched.values()) watch.poll.stop();
    this.#socket?.close();
    this.#socket = this.#pollEvery = null;
    this.#contact.made();
  }

  #isFollowed(watch) {
    return !watch.isOver && isActive(this.#known.get(watch.id));
  }

  #isRunning(watch) {
    return !watch.isOver && this.#known.get(watch.id).status === "running";
  }

  #isNeeded() {
    if (this.#ending !== null) return false;
    return this.#subscribers.size > 0 || [...this.#watched.values()].some((watch) => this.#isFollowed(watch));
  }

  #notifyAll(method, argument) {
    const listeners = [...this.#watched.values()].flatMap((watch) => [...watch.listeners]);
    for (const listener of new Set([...this.#subscribers, ...listeners])) listener[method]?.(argument);
  }

  // What the user has seen

  /** Report once that the user has seen the end, if the server has not been told before. */
  #noteSeen(state) {
    if (state.urls.seen !== null) this.#outbox.add(state);
  }

  async #sendSeen(state) {
    if (this.isHeard && this.#socket?.send({ type: "seen", id: state.id })) return true;
    const { status } = await post(state.urls.seen, { fetch: this.#fetch, clock: this.#clock, tokens: this.#tokens() });
    // Try again after no answer or a server error; a refusal is final.
    return status !== 0 && status !== 429 && status < 500;
  }
}
