import { systemClock } from "./clock.js";
import { showEstimates } from "./estimate.js";
import { clearErrors, showErrors } from "./field-errors.js";
import { clearOffer, showOffer } from "./offer.js";
import { autoDownloads, connectionTo, mark, postFromPage, socketUrl, whenParsed, words } from "./page.js";
import { isActive, isState } from "./state.js";

/**
 * Wrap a `<form method="post">` that requests an export, and post it without leaving the page. Without JavaScript the
 * browser posts the form as usual.
 *
 * Attributes: `target` (a CSS selector or an id: the list at whose top the new export appears); `socket`, passed on.
 * Event, bubbling, with the STATE as detail: export:requested.
 */
export class ExportForm extends HTMLElement {
  #listening;
  #isPosting = false;
  #notBefore = -Infinity;
  #last = { sent: "", at: -Infinity };

  connectedCallback() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    this.addEventListener("submit", (event) => this.#submit(event), { signal });
    whenParsed(() => this.#start(signal), signal);
  }

  disconnectedCallback() {
    this.#listening.abort();
  }

  get #form() {
    return this.querySelector("form.export-form") ?? this.querySelector("form");
  }

  #start(signal) {
    this.#fillTimeZone();
    if (this.#form) showEstimates(this.#form, { post: postFromPage, clock: systemClock, signal });
  }

  /** Fill the hidden field with the time zone of the browser; a visible one is left to the user. */
  #fillTimeZone() {
    const field = this.#form?.elements.namedItem("time_zone") ?? this.#hiddenField("time_zone");
    if (field?.type === "hidden") field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  }

  #hiddenField(name) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name });
    this.#form?.append(field);
    return field;
  }

  /** Post the form, unless its button has its own `formaction` and so does something else. */
  #submit(event) {
    if (event.target !== this.#form || event.submitter?.hasAttribute("formaction")) return;
    event.preventDefault();
    this.#post(event.target, entriesOf(event.target, event.submitter));
  }

  async #post(form, entries) {
    if (this.#isPosting || this.#isSecondClick(entries)) return;
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

  /** Return whether the same fields led to an export less than a second ago. */
  #isSecondClick(entries) {
    return systemClock.now() - this.#last.at < 1_000 && textOf(entries) === this.#last.sent;
  }

  #receive(form, entries, reply) {
    clearErrors(form);
    clearOffer(form);
    if (isState(reply.body)) this.#last = { sent: textOf(entries), at: systemClock.now() };
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

  /** Show the recent file, with a button that requests a new one for the same fields. */
  #offer(form, entries, { reused, ...state }) {
    this.#insert(state);
    entries.set("fresh", "1");
    const sentence = words().madeBefore(reused?.age_seconds ?? 0);
    showOffer(form, { sentence, label: words().text("regenerate"), again: () => this.#post(form, entries) });
  }

  #insert(state) {
    const present = document.querySelector(`export-progress[export-id="${CSS.escape(state.id)}"]`);
    if (isActive(state)) autoDownloads().want(state.id);
    const progress = present ?? this.#list.insert?.(state) ?? this.#newProgress(state);
    if (!progress.isConnected) {
      const list = this.#list;
      list.prepend(["OL", "UL"].includes(list.tagName) ? listItem(progress) : progress);
    }
    bringIntoView(progress);
    const isJoined = present && isActive(state);
    const spoken = { title: words().name(state), text: words().status(state) };
    this.#say(words().text(isJoined ? "already_active" : "announcement", spoken));
    this.dispatchEvent(new CustomEvent("export:requested", { bubbles: true, detail: state }));
  }

  #newProgress(state) {
    const progress = document.createElement("export-progress");
    progress.setAttribute("state", JSON.stringify(state));
    if (this.hasAttribute("socket")) progress.setAttribute("socket", this.getAttribute("socket"));
    return progress;
  }

  /** Return the list for new exports: that of the `target` attribute, or else one right under the form. */
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
    // Screen readers read a live region only if it existed before its text changed.
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
    // `disabled` would remove the focus from the button.
    for (const button of form.querySelectorAll("button, input[type=submit]")) {
      button.setAttribute("aria-disabled", String(isPosting));
    }
  }
}

/** Return what the browser would post: the fields and the pressed button. */
function entriesOf(form, submitter) {
  const entries = new FormData(form);
  if (submitter?.name) entries.append(submitter.name, submitter.value);
  return entries;
}

/** Return the fields as text, without the CSRF token, which `post` may have replaced. */
function textOf(entries) {
  const fields = new URLSearchParams(entries);
  fields.delete("csrfmiddlewaretoken");
  return fields.toString();
}

/** Scroll to the new export: on a phone it is below the form, and a tap without visible effect looks like a failure. */
function bringIntoView(node) {
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.scrollIntoView({ block: "nearest", behavior: isCalm ? "instant" : "smooth" });
}

function listItem(child) {
  const item = document.createElement("li");
  item.append(child);
  return item;
}
