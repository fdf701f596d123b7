/**
 * Exponential backoff with full jitter, in milliseconds: a random time from 0 to min(cap, base x 2^attempt), so that
 * the pages that lost one server do not all come back at the same moment.
 */
export class Backoff {
  #attempt = 0;
  #base;
  #cap;
  #random;

  constructor({ base = 1_000, cap = 15_000, random = Math.random } = {}) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
  }

  next() {
    const ceiling = Math.min(this.#cap, this.#base * 2 ** this.#attempt);
    this.#attempt += 1;
    return this.#random() * ceiling;
  }

  reset() {
    this.#attempt = 0;
  }
}
