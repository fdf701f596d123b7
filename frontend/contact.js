/** Tell when the server has been out of reach for some seconds, and when it is back. */
export class Contact {
  #clock;
  #tell;
  #patience;
  #timer = null;
  #isTold = false;

  /** Calls `tell(true)` after `patience` milliseconds without contact, and `tell(false)` when the server is back. */
  constructor({ clock, tell, patience = 5_000 }) {
    this.#clock = clock;
    this.#tell = tell;
    this.#patience = patience;
  }

  get isTold() {
    return this.#isTold;
  }

  lost() {
    this.#timer ??= this.#clock.setTimeout(() => this.#say(true), this.#patience);
  }

  made() {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#isTold) this.#say(false);
  }

  #say(isLost) {
    this.#isTold = isLost;
    this.#tell(isLost);
  }
}
