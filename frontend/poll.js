/** Reads one export's state by GET, again and again at the pace it is given. */

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

  /** `report` gets one outcome per answer: `kind` is state (with `state`), unchanged, refused (`status`) or failed. */
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

  /** Reads every `interval` milliseconds, or less often where Retry-After or a failure asks for it. */
  start(interval, { soon = false } = {}) {
    this.#interval = interval;
    this.#schedule(soon ? 0 : interval);
  }

  stop() {
    this.#interval = null;
    this.#clock.clearTimeout(this.#timer);
  }

  /** Reads once, now; a poll that runs goes on from here. */
  async read() {
    // The read that is under way schedules the next one.
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

  /** What the server or its silence asks for, whatever our own pace is. */
  #pause(outcome, retryAfter) {
    if (outcome.kind === "failed") return Math.max(retryAfter ?? 0, this.#backoff.next());
    this.#backoff.reset();
    return retryAfter ?? 0;
  }
}
