/** Report for how long a run has shown no sign of life: after five seconds, and every five seconds from then on. */

const STEP = 5_000;

export class Silence {
  #clock;
  #report;
  #heardAt = null;
  #timer = null;

  /** Calls `report(milliseconds)`. */
  constructor({ clock, report }) {
    this.#clock = clock;
    this.#report = report;
  }

  /** Start again, because something newer has arrived about a run that had been silent for these milliseconds. */
  heard(silent = 0) {
    this.stop();
    this.#heardAt = this.#clock.now() - silent;
    if (silent < STEP) this.#schedule();
    else this.#tick();
  }

  stop() {
    this.#clock.clearTimeout(this.#timer);
    this.#heardAt = null;
  }

  /** Report at once what is due: the timers of a tab that slept are late. */
  check() {
    if (this.#heardAt !== null && this.#clock.now() - this.#heardAt >= STEP) this.#tick();
  }

  #schedule() {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => this.#tick(), STEP);
  }

  #tick() {
    this.#schedule();
    this.#report(this.#clock.now() - this.#heardAt);
  }
}
