import { systemClock } from "./clock.js";
import { clearErrors, showErrors } from "./field-errors.js";
import { csrfToken } from "./http.js";
import { clearOffer, showOffer } from "./offer.js";
import { connectionTo, mark, postFromPage, socketUrl, words } from "./page.js";
import { isActive, isState } from "./state.js";

/**
 * Wraps a `<form method="post">` that asks for an export, and posts it without leaving the page. Without JavaScript the
 * form just posts.
 *
 * Attributes: `target` (a CSS selector or an id: the list at whose top the new export appears); `socket`, passed on.
 * Event, bubbling, with the STATE as detail: export:requested.
 */
export class ExportForm extends HTMLElement {
  #listening;
  #isPosting = false;
  #notBefore = -Infinity;

  connectedCallback() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    this.addEventListener("submit", (event) => this.#submit(event), { signal });
    if (document.readyState !== "loading") this.#fillTimeZone();
    else document.addEventListener("DOMContentLoaded", () => this.#fillTimeZone(), { once: true, signal });
  }

  disconnectedCallback() {
    this.#listening.abort();
  }

  get #form() {
    return this.querySelector("form");
  }

  /** A field that the person can see is theirs; only a hidden one is filled. */
  #fillTimeZone() {
    const field = this.#form?.elements.namedItem("time_zone") ?? this.#hiddenField("time_zone");
    if (field?.type === "hidden") field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  }

  #hiddenField(name) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name });
    this.#form?.append(field);
    return field;
  }

  /** A button with its own `formaction` does not request an export. */
  #submit(event) {
    if (event.target !== this.#form || event.submitter?.hasAttribute("formaction")) return;
    event.preventDefault();
    this.#post(event.target, entriesOf(event.target, event.submitter));
  }

  async #post(form, entries) {
    if (this.#isPosting) return;
    const wait = this.#notBefore - systemClock.now();
    if (wait > 0) return this.#refuse(words().tryAgain(wait, systemClock.now()));
    mark("click");
    this.#setBusy(form, true);
    // The socket opens while the server writes the row, so that the first progress finds it open.
    const release = connectionTo(socketUrl(this)).subscribe({});
    const reply = await postFromPage(form.getAttribute("action") ?? location.href, entries);
    this.#setBusy(form, false);
    if (this.isConnected) this.#receive(form, entries, reply);
    release();
  }

  #receive(form, entries, reply) {
    clearErrors(form);
    clearOffer(form);
    if (reply.status === 202 && isState(reply.body)) return this.#insert(reply.body);
    if (reply.status === 200 && isState(reply.body)) return this.#offer(form, entries, reply.body);
    const fields = reply.body?.error?.fields;
    if (reply.status === 400 && fields) return showErrors(form, { message: reply.body.error.message, fields });
    const now = systemClock.now();
    if (reply.status === 429) this.#notBefore = now + (reply.retryAfter ?? 0);
    this.#refuse(words().refusal(reply, now));
  }

  #refuse(sentence) {
    showErrors(this.#form, { message: sentence });
  }

  /** A recent file exists. The button requests a newer one with the same fields. */
  #offer(form, entries, { reused, ...state }) {
    this.#insert(state);
    entries.set("fresh", "1");
    const sentence = words().madeBefore(reused?.age_seconds ?? 0);
    showOffer(form, { sentence, label: words().text("regenerate"), again: () => this.#post(form, entries) });
  }

  #insert(state) {
    const present = document.querySelector(`export-progress[export-id="${CSS.escape(state.id)}"]`);
    const progress = present ?? this.#newProgress(state);
    progress.toggleAttribute("autodownload", true);
    const list = this.#list;
    const entry = ["OL", "UL"].includes(list.tagName) ? progress.closest("li") ?? listItem(progress) : progress;
    if (!present) list.prepend(entry);
    bringIntoView(progress);
    const isJoined = present && isActive(state);
    const spoken = { title: state.title, text: words().status(state) };
    this.#say(words().text(isJoined ? "already_active" : "announcement", spoken));
    this.dispatchEvent(new CustomEvent("export:requested", { bubbles: true, detail: state }));
  }

  #newProgress(state) {
    const progress = document.createElement("export-progress");
    progress.setAttribute("state", JSON.stringify(state));
    if (this.hasAttribute("socket")) progress.setAttribute("socket", this.getAttribute("socket"));
    return progress;
  }

  /** Where no list is named, or none is found, the export appears right under the form. */
  get #list() {
    const target = this.getAttribute("target");
    return (target && (document.getElementById(target) ?? document.querySelector(target))) || this.#ownList();
  }

  #ownList() {
    const own = this.querySelector(":scope > .export-list") ?? document.createElement("div");
    own.className = "export-list";
    this.append(own);
    return own;
  }

  #say(text) {
    const region = this.querySelector(":scope > .export-spoken") ?? this.#newRegion();
    // A region that is there before its text is the one that gets read.
    systemClock.setTimeout(() => (region.textContent = text), 100);
  }

  #newRegion() {
    const region = Object.assign(document.createElement("p"), { className: "export-spoken" });
    region.setAttribute("role", "status");
    this.append(region);
    return region;
  }

  #setBusy(form, isPosting) {
    this.#isPosting = isPosting;
    form.setAttribute("aria-busy", String(isPosting));
    // `disabled` would take the focus away.
    for (const button of form.querySelectorAll("button, input[type=submit]")) {
      button.setAttribute("aria-disabled", String(isPosting));
    }
  }
}

/** What the browser would post: the fields, the button that was pressed, and the newest CSRF token. */
function entriesOf(form, submitter) {
  const entries = new FormData(form);
  if (submitter?.name) entries.append(submitter.name, submitter.value);
  const token = csrfToken(document);
  if (token) entries.set("csrfmiddlewaretoken", token);
  return entries;
}

/** On a phone the list is below the form; a tap that changes nothing in sight looks like one that did nothing. */
function bringIntoView(node) {
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.scrollIntoView({ block: "nearest", behavior: isCalm ? "instant" : "smooth" });
}

function listItem(child) {
  const item = document.createElement("li");
  item.append(child);
  return item;
}
