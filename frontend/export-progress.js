import { Announcements } from "./announcements.js";
import { systemClock } from "./clock.js";
import { freshLink, save } from "./download.js";
import { load } from "./load.js";
import { autoDownloads, connectionTo, mark, pageFetch, postFromPage, socketUrl, whenParsed, words } from "./page.js";
import { partsOf } from "./parts.js";
import { Silence } from "./silence.js";
import { isActive, isEmpty, isReady, isState, isTerminal } from "./state.js";
import { viewOf } from "./view.js";

const NO_NEWS_AFTER = 20_000;

/**
 * Show one export in the markup that the server rendered, or in new markup.
 *
 * Attributes: `state` (a STATE as JSON; a child `<script type="application/json">` serves too) or `src` (urls.self);
 * `socket` (address of the WebSocket); `autodownload` (download the file as soon as it is ready, as for exports that
 * <export-form> has requested). Set by the element: `status`, `export-id`, `troubled`, `ended` (why the export is not
 * followed any more).
 * Events, bubbling, with the STATE as detail: export:changed, export:ready, export:failed.
 */
export class ExportProgress extends HTMLElement {
  #words;
  #parts;
  #state = null;
  #firstId = null;
  #connection;
  #announcements;
  #silence = new Silence({ clock: systemClock, report: (milliseconds) => this.#noteSilence(milliseconds) });
  #listening;
  #isPosting = false;
  #isFetching = false;
  #isNoticeLasting = false;
  #stop = () => {};
  #listener = {
    changed: (state) => this.#change(state),
    troubled: (isLost) => this.#trouble(isLost),
    ended: (reason) => this.#end(reason),
  };

  /**
   * The STATE that is shown, or null before the first.
   *
   * @returns {import("./state.js").State | null}
   */
  get state() {
    return this.#state;
  }

  connectedCallback() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    whenParsed(() => this.#start(signal), signal);
  }

  disconnectedCallback() {
    this.#listening.abort();
    this.#silence.stop();
    this.#stop();
  }

  #start(signal) {
    this.#words = words();
    this.#parts = partsOf(this, this.#words);
    this.addEventListener("submit", (event) => this.#submit(event), { signal });
    for (const type of ["visibilitychange", "resume"]) document.addEventListener(type, () => this.#silence.check(), { signal });
    this.#parts.download?.addEventListener("click", (event) => this.#pressDownload(event), { signal });
    const state = this.#state ?? givenState(this);
    if (state) this.#follow(state);
    else if (this.hasAttribute("src")) this.#load();
  }

  #load() {
    const listener = { ...this.#listener, changed: (state) => this.#follow(state) };
    this.#stop = load(this.getAttribute("src"), { fetch: pageFetch, clock: systemClock, listener });
  }

  #follow(state) {
    this.#stop();
    this.#state = state;
    this.#firstId ??= state.id;
    this.#announcements = new Announcements(this.#words, state);
    this.removeAttribute("ended");
    this.#notice("");
    this.#show(state);
    // The socket of one export has its id in the URL, and "Try again" makes a new export.
    this.#connection = connectionTo(socketUrl(this).replace(this.#firstId, state.id));
    this.#stop = this.#connection.watch(state, this.#listener);
    if (isActive(state) && this.hasAttribute("autodownload")) autoDownloads().want(state.id);
    this.#downloadIfWanted(state);
  }

  #change(state) {
    const before = this.#state;
    const isReadyNow = isActive(before) && isReady(state);
    if (isReadyNow) mark("ready-received");
    this.#state = state;
    this.removeAttribute("ended");
    if (state.status !== before.status || !this.#isNoticeLasting) this.#notice("");
    this.#show(state);
    if (before.status !== "running" && state.status === "running") mark("first-progress");
    const announcement = this.#announcements.next(state);
    if (!this.#downloadIfWanted(state)) this.#say(announcement);
    this.#fireEvents(before, state);
  }

  #fireEvents(before, state) {
    this.#fire("changed", state);
    if (isTerminal(before) || !["ready", "failed"].includes(state.status)) return;
    this.#fire(state.status, state);
  }

  #fire(name, detail) {
    this.dispatchEvent(new CustomEvent(`export:${name}`, { bubbles: true, detail }));
  }

  // What is shown

  #show(state) {
    const view = viewOf(state, this.#words);
    const focused = this.contains(document.activeElement) ? document.activeElement : null;
    this.#setAttributes(this, { status: state.status, phase: state.phase, "export-id": state.id, role: "group", "aria-label": view.label });
    for (const name of ["title", "format", "percent", "status", "detail"]) this.#text(name, view[name]);
    this.#text("label", view.chosen);
    if (this.#parts.title) this.#setAttributes(this.#parts.title, { href: view.page, "aria-label": view.name });
    this.#parts.login?.setAttribute("href", view.page);
    this.#showBar(view);
    this.#showAltered(view);
    this.#showLink(this.#parts.download, view.download);
    this.#showLink(this.#parts.edit, view.edit);
    for (const name of ["cancel", "retry", "delete"]) this.#showForm(this.#parts[name], view[name]);
    if (focused?.closest("[hidden]")) this.#keepFocus();
    if (state.status === "running") this.#silence.heard((state.worker?.silent_seconds ?? 0) * 1000);
    else this.#silence.stop();
  }

  #showAltered({ altered, page }) {
    const node = this.#parts.altered;
    if (!node) return;
    this.#text("altered", altered);
    this.#setAttributes(node, { href: `${page}#receipt` });
    node.hidden = altered === "";
  }

  #showBar({ bar, hasBar, label }) {
    const node = this.#parts.bar;
    if (!node) return;
    node.hidden = !hasBar;
    node.setAttribute("aria-label", label);
    if (bar === null) node.removeAttribute("value");
    else node.value = bar;
  }

  #showLink(node, { url, label }) {
    if (!node) return;
    node.hidden = url === null;
    this.#setAttributes(node, { href: url ?? "", "aria-label": label });
  }

  #showForm(form, { url, label }) {
    if (!form) return;
    form.hidden = url === null;
    form.setAttribute("action", url ?? "");
    form.querySelector("button")?.setAttribute("aria-label", label);
  }

  /** Move the focus from a button that was hidden to the most useful visible one. */
  #keepFocus() {
    const { download, retry, title } = this.#parts;
    const next = [download, retry?.querySelector("button"), title].find((node) => node && !node.closest("[hidden]"));
    next?.focus({ preventScroll: true });
  }

  /** Show a notice and announce it: in one sentence with the end of the export, if `unsaid` is its last STATE. */
  #notice(text, { isLasting = false, hasLogin = false, unsaid = null } = {}) {
    this.#isNoticeLasting = isLasting;
    this.#text("notice", text);
    if (text) this.#say(unsaid ? this.#words.announcement(unsaid, { notice: text }) : text);
    if (this.#parts.login) this.#parts.login.hidden = !hasLogin || this.#state === null;
  }

  #say(text) {
    if (text !== null) this.#text("announce", text);
  }

  #text(name, text) {
    const node = this.#parts[name];
    if (node && node.textContent !== text) node.textContent = text;
  }

  #setAttributes(node, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
  }

  // Calls of the connection

  #trouble(isLost) {
    const isShown = isLost && (this.#state === null || isActive(this.#state));
    if (isShown === this.hasAttribute("troubled")) return;
    this.toggleAttribute("troubled", isShown);
    if (isShown) this.#hidePace();
    this.#notice(isShown ? this.#words.text("connection_lost") : "");
  }

  /** Hide speed and time left once they are old; later say for how long nothing has been heard. */
  #noteSilence(milliseconds) {
    this.#hidePace();
    if (milliseconds < NO_NEWS_AFTER || this.hasAttribute("troubled") || this.hasAttribute("ended")) return;
    this.#text("notice", this.#words.noNews(milliseconds / 1000));
  }

  #hidePace() {
    if (this.#state?.status === "running") this.#text("detail", "");
  }

  /** Show why the export is not followed any more, unless it has ended anyway. */
  #end(reason) {
    if (this.#state !== null && isTerminal(this.#state)) return;
    this.setAttribute("ended", reason);
    this.removeAttribute("troubled");
    this.#notice(this.#words.text(reason), { hasLogin: reason === "logged_out" });
  }

  // Actions of the user

  #submit(event) {
    if (![this.#parts.cancel, this.#parts.retry, this.#parts.delete].includes(event.target)) return;
    event.preventDefault();
    if (!this.#isPosting) this.#post(event.target);
  }

  async #post(form) {
    const { signal } = this.#listening;
    this.#setBusy(form, true);
    const reply = await postFromPage(form.getAttribute("action"));
    this.#setBusy(form, false);
    if (signal.aborted) return;
    if (isState(reply.body)) this.#take(reply.body);
    else if (reply.status === 204) this.#leave();
    else this.#refused(reply);
  }

  /** Tell the list that the user has deleted this export. The page of this export alone is left for the list, as by its form. */
  #leave() {
    this.#fire("removed", this.#state);
    if (this.isConnected) location.assign(new URL("../../", new URL(this.#state.urls.page, location.href)));
  }

  #refused(reply, unsaid = null) {
    const sentence = this.#words.refusal(reply, systemClock.now());
    this.#notice(sentence, { isLasting: true, hasLogin: reply.status === 401, unsaid });
  }

  #setBusy(form, isPosting) {
    this.#isPosting = isPosting;
    this.setAttribute("aria-busy", String(isPosting));
    // `disabled` would remove the focus from the button.
    form.querySelector("button")?.setAttribute("aria-disabled", String(isPosting));
  }

  /** Show the answer to a POST: Cancel answers with this export, Try again with a new one. */
  #take(state) {
    if (state.id === this.#state.id) return this.#connection.learn(state);
    const list = this.closest("export-list");
    // The list shows both, and may have heard of the new one before.
    const card = list ? list.insert(state) : this;
    if (list) card.scrollIntoView({ block: "nearest" });
    else this.#continueWith(state);
    autoDownloads().want(state.id);
    if (!card.#downloadIfWanted(card.#state)) this.#say(this.#words.announcement(state));
  }

  #continueWith(state) {
    // A reload then shows the new export.
    if (location.pathname === this.#state.urls.page) history.replaceState(history.state, "", state.urls.page);
    this.#follow(state);
    this.#fire("changed", state);
  }

  /**
   * Download by itself what this tab has requested, unless another download has begun since. Return true if the notice
   * about that announces the end of the export, too.
   */
  #downloadIfWanted(state) {
    if (isActive(state) || !autoDownloads().wants(state.id)) return false;
    if (!isReady(state) || isEmpty(state) || state.urls.download === null) {
      autoDownloads().forget(state.id);
      return false;
    }
    if (autoDownloads().take(state.id)) this.#download(state);
    else this.#notice(this.#words.text("download_waits"), { isLasting: true, unsaid: state });
    return true;
  }

  /** Download in place, unless the user asks the browser for another tab or window. */
  #pressDownload(event) {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.#download();
  }

  /** Download the file. `unsaid` is the STATE whose end has not been announced, or null. */
  async #download(unsaid = null) {
    if (this.#isFetching) return;
    const { signal } = this.#listening;
    this.#isFetching = true;
    const { state, refusal } = await freshLink(this.#state, { fetch: pageFetch, clock: systemClock });
    this.#isFetching = false;
    if (signal.aborted) return;
    if (refusal) return this.#refused(refusal, unsaid);
    this.#connection.learn(state);
    if (state.urls.ticket === null) return unsaid && this.#say(this.#words.announcement(state));
    save(state);
    this.#notice(this.#words.text("download_started"), { isLasting: true, unsaid });
  }
}

function givenState(element) {
  const json = element.getAttribute("state") ?? element.querySelector("script[type='application/json']")?.textContent;
  return json ? JSON.parse(json) : null;
}
