/** Report when the server has been out of reach for some seconds, and when it is back. */
export class Contact {
  #clock;
  #report;
  #patience;
  #timer = null;
  #isReported = false;

  /** Calls `report(true)` after `patience` milliseconds without contact, and `report(false)` when the server is back. */
  constructor({ clock, report, patience = 5_000 }) {
    this.#clock = clock;
    this.#report = report;
    this.#patience = patience;
  }

  get isReported() {
    return this.#isReported;
  }

  /** Note that the server did not answer; with `isCertain`, report it without waiting. */
  lost({ isCertain = false, patience = this.#patience } = {}) {
    if (isCertain) this.#setLost(true);
    else this.#timer ??= this.#clock.setTimeout(() => this.#setLost(true), patience);
  }

  made() {
    this.#setLost(false);
  }

  #setLost(isLost) {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    if (isLost === this.#isReported) return;
    this.#isReported = isLost;
    this.#report(isLost);
  }
}
