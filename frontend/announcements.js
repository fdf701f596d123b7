/** What a screen reader is told: changes of status and each quarter of the way, not every message. */

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

  /** The sentence to announce now that `state` is shown, or null. */
  next(state) {
    const before = this.#last;
    this.#last = state;
    if (state.attempt !== before.attempt) this.#quarter = 0;
    if (changesTheStory(before, state)) return this.#said(state, this.#words.status(state));
    return this.#reachesQuarter(state) ? this.#said(state, this.#words.reached(percentOf(state), state)) : null;
  }

  #said({ title }, text) {
    return this.#words.text("announcement", { title, text });
  }

  #reachesQuarter(state) {
    const quarter = quarterOf(state);
    const isReached = isActive(state) && quarter > this.#quarter;
    this.#quarter = Math.max(quarter, this.#quarter);
    return isReached;
  }
}

function changesTheStory(before, after) {
  return before.status !== after.status || (isActive(after) && !before.resumed && after.resumed);
}

function quarterOf(state) {
  return Math.floor((percentOf(state) ?? 0) / 25);
}
