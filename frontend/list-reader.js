/** Read the list of the user's exports by GET, to find what no message has told. */

import { systemClock } from "./clock.js";
import { get } from "./http.js";
import { pageFetch } from "./page.js";
import { isState } from "./state.js";

const READ_EVERY = 60_000;
const READ_WITHOUT_SOCKET_EVERY = 5_000;

export class ListReader {
  #url;
  #connection;
  #take;
  #timer = null;
  #isReading = false;
  #listening = new AbortController();

  /** Calls `take(states)` after each answer, newest first; `connection` is an ExportsConnection. */
  constructor({ url, connection, take }) {
    this.#url = url;
    this.#connection = connection;
    this.#take = take;
  }

  /** Read when the page is shown again, as after Back, and regularly; more often while no socket tells of changes. */
  start() {
    const { signal } = this.#listening;
    window.addEventListener("pageshow", (event) => this.#isOld(event) && this.read(), { signal });
    document.addEventListener("visibilitychange", () => isSeen() && this.read(), { signal });
    this.#readLater();
  }

  stop() {
    this.#listening.abort();
    systemClock.clearTimeout(this.#timer);
  }

  async read() {
    if (this.#isReading) return;
    this.#isReading = true;
    const { body } = await get(this.#url, { fetch: pageFetch, clock: systemClock });
    this.#isReading = false;
    if (this.#listening.signal.aborted) return;
    if (Array.isArray(body?.exports)) this.#take(body.exports.filter(isState));
    this.#readLater();
  }

  /** Return whether the browser shows a page that it has kept. */
  #isOld({ persisted }) {
    return persisted || performance.getEntriesByType("navigation")[0]?.type === "back_forward";
  }

  #readLater() {
    systemClock.clearTimeout(this.#timer);
    const delay = this.#connection.isHeard ? READ_EVERY : READ_WITHOUT_SOCKET_EVERY;
    this.#timer = systemClock.setTimeout(() => (isSeen() ? this.read() : this.#readLater()), delay);
  }
}

function isSeen() {
  return document.visibilityState === "visible";
}
