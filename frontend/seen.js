/** Report to the server, once per export, that the page shows how it ended; then the server sends no mail. */
export class SeenOutbox {
  #deliver;
  #isVisible;
  #clock;
  #backoff;
  #pace;
  #waiting = new Map();
  #taken = new Set();
  #isRunning = false;

  /**
   * `deliver(state)` resolves to true if it was delivered. Nothing is delivered while `isVisible()` is false. `pace`
   * keeps a long list under the server's frame limit.
   */
  constructor({ deliver, isVisible, clock, backoff, pace = 500 }) {
    this.#deliver = deliver;
    this.#isVisible = isVisible;
    this.#clock = clock;
    this.#backoff = backoff;
    this.#pace = pace;
  }

  add(state) {
    if (this.#taken.has(state.id)) return;
    this.#taken.add(state.id);
    this.#waiting.set(state.id, state);
    this.resume();
  }

  /** Deliver what waits, now that the user may see the page again. */
  resume() {
    if (!this.#isRunning) this.#run();
  }

  async #run() {
    this.#isRunning = true;
    while (this.#waiting.size > 0 && this.#isVisible()) {
      const isDelivered = await this.#deliverNewest();
      await this.#pause(isDelivered ? this.#pace : this.#pace + this.#backoff.next());
    }
    this.#isRunning = false;
  }

  async #deliverNewest() {
    const state = [...this.#waiting.values()].at(-1);
    const isDelivered = await this.#deliver(state);
    if (isDelivered) {
      this.#waiting.delete(state.id);
      this.#backoff.reset();
    }
    return isDelivered;
  }

  #pause(delay) {
    return new Promise((resolve) => this.#clock.setTimeout(resolve, delay));
  }
}
