import { systemClock } from "./clock.js";
import { ListReader } from "./list-reader.js";
import { connectionTo, socketUrl, whenParsed, words } from "./page.js";
import { isActive } from "./state.js";

/**
 * Show the user's exports live: also those that are requested in other tabs, on other pages or by a program. Its
 * children are <export-progress> elements, which follow their own exports.
 *
 * Attributes: `src` (URL of the same list as JSON); `count` (how many to show); `file-type` (show only these); `grouped`
 * (a heading for each day); `filtered` (only `src` knows what belongs here, and where); `socket`, passed on.
 */
export class ExportList extends HTMLElement {
  #connection;
  #listening;
  #reader = null;
  #stop = () => {};

  connectedCallback() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    whenParsed(() => this.#start(signal), signal);
  }

  disconnectedCallback() {
    this.#listening.abort();
    this.#reader?.stop();
    this.#stop();
  }

  /** Show an export at its place among the others, newest first. Return its card. */
  insert(state) {
    const present = this.#cardOf(state.id);
    if (present) return present;
    const card = this.#newCard(state);
    const newer = this.#cards.findLast((each) => requestedAt(each) >= state.requested_at);
    if (newer) newer.after(card);
    else this.prepend(card);
    this.#trim();
    this.#group();
    return card;
  }

  #newCard(state) {
    const card = document.createElement("export-progress");
    card.setAttribute("state", JSON.stringify(state));
    if (this.hasAttribute("socket")) card.setAttribute("socket", this.getAttribute("socket"));
    return card;
  }

  get #cards() {
    return [...this.querySelectorAll(":scope > export-progress")];
  }

  #cardOf(id) {
    return this.#cards.find((card) => card.getAttribute("export-id") === id);
  }

  get #room() {
    return Number(this.getAttribute("count") ?? Infinity);
  }

  #start(signal) {
    this.#group();
    this.#connection = connectionTo(socketUrl(this));
    this.#stop = this.#connection.subscribe({
      changed: (state) => this.#learn(state),
      removed: (id) => this.#remove(id),
      troubled: (isLost) => isLost || this.#reader?.read(),
    });
    this.addEventListener("export:removed", (event) => this.#remove(event.detail.id), { signal });
    if (!this.hasAttribute("src")) return;
    const take = (states) => this.#take(states);
    this.#reader = new ListReader({ url: this.getAttribute("src"), connection: this.#connection, take });
    this.#reader.start();
  }

  #learn(state) {
    if (this.#cardOf(state.id)) return;
    const fileType = this.getAttribute("file-type");
    if (fileType && fileType !== state.file_type) return;
    if (this.hasAttribute("filtered")) return void (isActive(state) && this.#reader?.read());
    // The first message of a socket has the exports of a whole day.
    const isFull = this.#cards.length >= this.#room;
    if (!isFull || requestedAt(this.#cards.at(-1)) < state.requested_at) this.insert(state);
  }

  #remove(id) {
    const card = this.#cardOf(id);
    if (!card) return;
    const hadFocus = card.contains(document.activeElement);
    const next = card.nextElementSibling ?? card.previousElementSibling;
    card.remove();
    this.#group();
    if (hadFocus) next?.querySelector("a, button")?.focus();
  }

  /** Remove what does not fit any more, the oldest first, but nothing that is under way. */
  #trim() {
    const excess = this.#cards.length - this.#room;
    const ended = this.#cards.filter((card) => card.state && !isActive(card.state));
    if (excess > 0) for (const card of ended.slice(-excess)) card.remove();
  }

  #take(states) {
    const known = new Set(states.map(({ id }) => id));
    const oldest = states.at(-1)?.requested_at ?? "";
    let before = null;
    for (const state of states) {
      this.#connection.learn(state);
      const present = this.#cardOf(state.id);
      const card = present ?? this.#newCard(state);
      if (!present && before) before.after(card);
      else if (!present) this.prepend(card);
      before = card;
    }
    this.#trim();
    this.#group();
    if (this.hasAttribute("filtered")) return;
    for (const card of this.#cards.filter((each) => each.state && !isActive(each.state))) {
      if (!known.has(card.state.id) && card.state.requested_at >= oldest) this.#remove(card.state.id);
    }
  }

  /** Put a heading above the exports of each day, in the time zone of the browser. */
  #group() {
    if (!this.hasAttribute("grouped")) return;
    for (const heading of this.querySelectorAll(":scope > .export-day")) heading.remove();
    let shown = "";
    for (const card of this.#cards) {
      const day = words().day(requestedAt(card), systemClock.now());
      if (day === shown) continue;
      shown = day;
      card.before(Object.assign(document.createElement("h2"), { className: "export-day", textContent: day }));
    }
  }
}

/** Return when the export of a card was requested; a card that has not started yet carries its state. */
function requestedAt(card) {
  const json = card.getAttribute("state") ?? card.querySelector("script[type='application/json']")?.textContent ?? "null";
  return (card.state ?? JSON.parse(json))?.requested_at ?? "";
}
