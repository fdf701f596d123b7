/** Read one STATE by GET at a given interval. */

import { get } from "./http.js";
import { ENDING_OF_STATUS, isState } from "./state.js";

export class Poll {
  #url;
  #fetch;
  #clock;
  #backoff;
  #report;
  #etag = null;
  #interval = null;
  #notBefore = 0;
  #timer = null;
  #isReading = false;

  /**
   * `report(outcome)` is called for each answer; `outcome.kind` is state (with `state`), unchanged, refused (with
   * `status`) or failed.
   */
  constructor({ url, fetch, clock, backoff, report }) {
    this.#url = url;
    this.#fetch = fetch;
    this.#clock = clock;
    this.#backoff = backoff;
    this.#report = report;
  }

  get isRunning() {
    return this.#interval !== null;
  }

  /** Read every `interval` milliseconds, or less often after a failure or if Retry-After asks for it. */
  start(interval, { soon = false } = {}) {
    this.#interval = interval;
    this.#schedule(soon ? 0 : interval);
  }

  stop() {
    this.#interval = null;
    this.#clock.clearTimeout(this.#timer);
  }

  /** Read now. The interval of a running poll starts again after the answer. */
  async read() {
    // The read in progress schedules the next one.
    if (this.#isReading) return;
    this.#isReading = true;
    const answer = await get(this.#url, { fetch: this.#fetch, clock: this.#clock, etag: this.#etag });
    this.#isReading = false;
    const outcome = this.#outcomeOf(answer);
    this.#notBefore = this.#clock.now() + this.#pause(outcome, answer.retryAfter);
    this.#report(outcome);
    if (this.isRunning) this.#schedule(this.#interval);
  }

  #schedule(delay) {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => this.read(), Math.max(delay, this.#notBefore - this.#clock.now()));
  }

  #outcomeOf({ status, body, etag }) {
    if (status === 304) return { kind: "unchanged" };
    if (status in ENDING_OF_STATUS) return { kind: "refused", status };
    // 410 carries the state of an export whose file has expired.
    if (![200, 410].includes(status) || !isState(body)) return { kind: "failed" };
    this.#etag = etag;
    return { kind: "state", state: body };
  }

  /** Return the least number of milliseconds until the next read: Retry-After, or the backoff after a failure. */
  #pause(outcome, retryAfter) {
    if (outcome.kind === "failed") return Math.max(retryAfter ?? 0, this.#backoff.next());
    this.#backoff.reset();
    return retryAfter ?? 0;
  }
}
