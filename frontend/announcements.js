/** Sentences for screen readers: one for each change of status and each quarter, not one for each message. */

import { isActive, percentOf } from "./state.js";

export class Announcements {
  #words;
  #last;
  #quarter;

  /** The first state is on the page already and is not announced. */
  constructor(words, first) {
    this.#words = words;
    this.#last = first;
    this.#quarter = quarterOf(first);
  }

  /** Return the sentence to announce for the state that is shown now, or null. */
  next(state) {
    const before = this.#last;
    this.#last = state;
    if (state.attempt !== before.attempt) this.#quarter = 0;
    if (isNewStatus(before, state)) return this.#words.announcement(state);
    if (!this.#reachesQuarter(state)) return null;
    return this.#words.announcement(state, { text: this.#words.reached(percentOf(state), state) });
  }

  #reachesQuarter(state) {
    const quarter = quarterOf(state);
    const isReached = isActive(state) && quarter > this.#quarter;
    this.#quarter = Math.max(quarter, this.#quarter);
    return isReached;
  }
}

function isNewStatus(before, after) {
  return before.status !== after.status || (isActive(after) && !before.resumed && after.resumed);
}

function quarterOf(state) {
  return Math.floor((percentOf(state) ?? 0) / 25);
}
