import { systemClock } from "./clock.js";
import { freshLink, save } from "./download.js";
import { ListReader } from "./list-reader.js";
import { autoDownloads, connectionTo, pageFetch, socketUrl, whenParsed, words } from "./page.js";
import { barValue, isActive, isReady } from "./state.js";
import { builtPanel, builtRow, builtToast } from "./tray-parts.js";

const SHOWN = 6;
const NOTIFY = "exports:notify";

/**
 * Show on every page of a site what is being exported and what is ready: a button such as "2 running, 45 %" that opens
 * a list, a note with Download when a file is ready, and the progress in the title of the page. It hides itself on
 * pages that have a list of exports.
 *
 * Attributes: `src` (URL of the list as JSON); `socket`. Set by the element: `open`, `empty`, `idle`.
 */
export class ExportTray extends HTMLElement {
  #words;
  #parts;
  #connection;
  #reader;
  #states = new Map();
  #watches = new Map();
  #announced = new Set();
  #stop = () => {};
  #title = document.title;
  #lastTitle = document.title;

  connectedCallback() {
    whenParsed(() => this.isConnected && this.#start());
  }

  disconnectedCallback() {
    this.#stop();
    this.#reader?.stop();
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
    document.title = this.#title;
  }

  #start() {
    this.#words = words();
    this.#parts = builtPanel(this, this.#words, { href: this.getAttribute("src"), canNotify: "Notification" in window });
    this.#parts.pill.addEventListener("click", () => this.#open(!this.hasAttribute("open")));
    this.#parts.notify.addEventListener("change", () => this.#chooseNotifications());
    this.addEventListener("keydown", ({ key }) => key === "Escape" && this.#open(false));
    this.#parts.notify.checked = wantsNotifications();
    this.#connection = connectionTo(socketUrl(this));
    this.#stop = this.#connection.subscribe({ changed: (state) => this.#learn(state), removed: (id) => this.#forget(id) });
    const take = (states) => states.forEach((state) => this.#connection.learn(state));
    this.#reader = new ListReader({ url: this.getAttribute("src"), connection: this.#connection, take });
    this.#reader.start();
    this.#show();
  }

  #learn(state) {
    const before = this.#states.get(state.id);
    this.#states.set(state.id, state);
    if (isActive(state)) this.#watch(state);
    else this.#unwatch(state.id);
    // A list on this page may show the export, too, once it has been told.
    if (isReady(state) && (!before || isActive(before))) queueMicrotask(() => this.#ready(state));
    this.#show();
  }

  #forget(id) {
    this.#unwatch(id);
    this.#states.delete(id);
    this.#show();
  }

  /** Follow an active export like a card, so that lost messages are noticed. */
  #watch(state) {
    if (!this.#watches.has(state.id)) this.#watches.set(state.id, this.#connection.watch(state, {}));
  }

  #unwatch(id) {
    this.#watches.get(id)?.();
    this.#watches.delete(id);
  }

  /** Tell that a file is ready, unless the user has seen it, or sees it in a card of the page. */
  #ready(state) {
    if (document.querySelector(`export-progress[export-id="${CSS.escape(state.id)}"]`)) return;
    if (autoDownloads().wants(state.id) && autoDownloads().take(state.id)) this.#download(state);
    if (state.urls.seen === null || this.#announced.has(state.id)) return;
    this.#announced.add(state.id);
    this.#notify(state);
    this.#showToast();
    this.#show();
  }

  /** Show the newest file that is ready, or how many there are. */
  #showToast() {
    const ready = [...this.#announced].map((id) => this.#states.get(id)).filter((state) => state && isReady(state));
    if (ready.length === 0) return this.#parts.toast.replaceChildren();
    const [state] = ready;
    const isOne = ready.length === 1;
    const text = isOne ? this.#words.announcement(state) : this.#words.counted("files_ready", ready.length);
    const act = isOne
      ? { label: this.#words.text("download"), press: () => this.#download(state) }
      : { label: this.#words.text("show"), press: () => this.#open(true) };
    const close = () => {
      this.#announced.clear();
      this.#parts.toast.replaceChildren();
    };
    const press = () => {
      close();
      act.press();
    };
    this.#parts.toast.replaceChildren(...builtToast({ text, label: act.label, press, close, closing: this.#words.text("close") }));
    // The user has seen the end now, as with a card.
    for (const each of ready) this.#connection.watch(each, {})();
  }

  async #download(shown) {
    const { state, refusal } = await freshLink(shown, { fetch: pageFetch, clock: systemClock });
    if (state) this.#connection.learn(state);
    if (state?.urls.ticket) save(state);
    const said = refusal ? this.#words.refusal(refusal, systemClock.now()) : this.#words.text("download_started");
    this.#parts.note.textContent = state && !state.urls.ticket ? this.#words.status(state) : said;
  }

  #open(isOpen) {
    this.toggleAttribute("open", isOpen);
    this.#parts.pill.setAttribute("aria-expanded", String(isOpen));
    this.#parts.panel.hidden = !isOpen;
    if (!isOpen) this.#parts.note.textContent = "";
    this.#show();
  }

  #show() {
    const newest = [...this.#states.values()].sort((a, b) => (a.requested_at < b.requested_at ? 1 : -1));
    const active = newest.filter(isActive);
    const running = active.filter(({ status }) => status === "running");
    const ready = newest.filter((state) => isReady(state) && this.#announced.has(state.id));
    const parts = running.map((state) => barValue(state) ?? 0);
    const percent = parts.length > 0 ? Math.floor((100 * parts.reduce((sum, part) => sum + part, 0)) / parts.length) : null;
    const waiting = active.length - running.length;
    const text = this.#words.tray({ running: running.length, waiting, ready: ready.length, percent });
    this.toggleAttribute("empty", newest.length === 0);
    this.toggleAttribute("idle", text === "");
    const label = text || this.#words.text("all_exports");
    if (this.#parts.pill.textContent !== label) this.#parts.pill.textContent = label;
    this.#showTitle(percent);
    if (this.hasAttribute("open")) this.#showRows(newest.slice(0, SHOWN));
  }

  /** Put the progress in front of the title, which a tab shows even in the background. */
  #showTitle(percent) {
    if (document.title !== this.#lastTitle) this.#title = document.title;
    const title = percent === null ? this.#title : `${this.#words.percent(percent)} · ${this.#title}`;
    if (document.title !== title) document.title = title;
    this.#lastTitle = document.title;
  }

  #showRows(states) {
    const focused = this.#parts.rows.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    this.#parts.rows.replaceChildren(...states.map((state) => builtRow(state, this.#words, () => this.#download(state))));
    if (focused) this.#parts.rows.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  // Notifications of the desktop, which the user chooses once for this browser

  async #chooseNotifications() {
    const isWanted = this.#parts.notify.checked && (await Notification.requestPermission()) === "granted";
    this.#parts.notify.checked = isWanted;
    localStorage.setItem(NOTIFY, isWanted ? "1" : "");
  }

  /** Show a notification of the desktop while the page is in the background. Those of other tabs have the same tag. */
  #notify(state) {
    if (document.visibilityState === "visible" || !wantsNotifications()) return;
    const note = new Notification(this.#words.name(state), { body: this.#words.status(state), tag: state.id });
    note.onclick = () => window.focus();
  }
}

function wantsNotifications() {
  return window.Notification?.permission === "granted" && localStorage.getItem(NOTIFY) === "1";
}
