/** The texts and numbers that a user reads, from the page's catalogue and in the formats of the page's language. */

import { isEmpty } from "./state.js";

// Places behind it are not counted.
const MAX_PLACE = 100;
// Of 1,024 ** 5 bytes.
const LARGEST_UNIT = 5;

const STATUS = {
  queued: (words, state) => words.waiting(state),
  running: (words, state) => (state.resumed ? words.text("resumed", state) : words.phase(state)),
  ready: (words, state) => words.ready(state),
  failed: (words, { error }) => (error ? words.text("failed", error) : words.text("failed_unexplained")),
  cancelled: (words, { error }) => error?.message ?? words.text("cancelled"),
  expired: (words) => words.text("expired"),
};

const PHASE = {
  counting: (words) => words.text("counting"),
  writing: (words, state) => words.writing(state.progress),
  finishing: (words) => words.text("finishing"),
  storing: (words) => words.text("storing"),
};

const DETAIL = {
  queued: (words, state) => [
    words.startWorker(state), words.wait(state), words.text("asked_for", { time: words.moment(state.requested_at) }),
    words.mail(state),
  ],
  running: (words, state) => [...words.pace(state), words.mail(state)],
  ready: (words, state) => words.inFile(state),
  failed: (words, state) => [words.stoppedAfter(state.progress.rows_done)],
  cancelled: (words, state) => [words.stoppedAfter(state.progress.rows_done)],
  expired: (words) => [words.text("file_deleted")],
};

export class Words {
  #catalogue;
  #number;
  #rounded;
  #decimal;
  #percent;
  #locale;
  #plural;
  #list;

  /** `language` is a BCP 47 tag, or anything else for the browser's; `catalogue` comes from exports/http/words.py. */
  constructor(language, catalogue) {
    this.#catalogue = catalogue;
    this.#locale = localeOf(language);
    this.#number = new Intl.NumberFormat(this.#locale);
    this.#rounded = new Intl.NumberFormat(this.#locale, { maximumSignificantDigits: 3 });
    this.#decimal = new Intl.NumberFormat(this.#locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    this.#percent = new Intl.NumberFormat(this.#locale, { style: "percent" });
    this.#plural = new Intl.PluralRules(this.#locale);
    this.#list = new Intl.ListFormat(this.#locale, { style: "short", type: "unit" });
  }

  /** Return the text of this key with its placeholders filled in. */
  text(key, values = {}) {
    return filled(this.#catalogue[key], values);
  }

  /** Return the status in one line. */
  status(state) {
    return STATUS[state.status]?.(this, state) ?? state.status;
  }

  /** Return the second line, which may be empty: speed and time left, or facts about the file. */
  detail(state) {
    const parts = DETAIL[state.status]?.(this, state) ?? [];
    return sentence(parts.filter(Boolean).join(" · "));
  }

  /** Return why a request was refused and what to do. `reply` is that of `http.js`, `now` is in milliseconds. */
  refusal(reply, now) {
    const said = reply.status !== 401 && reply.body?.error?.message;
    const status = reply.status >= 500 ? 500 : reply.status;
    const first = said || this.text(`refused_${status}` in this.#catalogue ? `refused_${status}` : "refused");
    return reply.retryAfter === null ? first : `${first} ${this.tryAgain(reply.retryAfter, now)}`;
  }

  noNews(seconds) {
    return this.text("no_news", { duration: this.duration(seconds) });
  }

  tryAgain(delay, now) {
    const duration = this.duration(Math.max(1, delay / 1000));
    return this.text("try_again_in", { duration, time: this.time(now + delay) });
  }

  /** Return how long ago the offered file was made. */
  madeBefore(seconds) {
    return this.text("made_before", { duration: this.duration(Math.max(1, seconds)) });
  }

  /** Return the status of a ready export; if the user may not have the file any more, the reason. */
  ready(state) {
    const { file, error } = state;
    if (error) return error.message;
    if (isEmpty(state)) return this.text("ready_empty");
    return file ? this.text("ready", { name: file.name, size: this.size(file.size) }) : this.text("ready_unnamed");
  }

  waiting(state) {
    if (state.progress.unserved_queue) return this.text("no_worker");
    const place = state.progress.queue_position;
    const key = state.resumed ? "waiting_again" : "waiting";
    if (place === null) return this.text(key);
    if (place > MAX_PLACE) return this.text(`${key}_behind`, { place: this.#number.format(MAX_PLACE) });
    return place === 1 ? this.text(`${key}_next`) : this.text(`${key}_place`, { place: this.#number.format(place) });
  }

  /** Return how a missing worker is started, or "" if the page is not for staff, whose catalogue alone says it. */
  startWorker({ progress: { unserved_queue: queue } }) {
    return queue && this.text("start_worker", { queue });
  }

  /** Return when a worker is expected to take a waiting export, or false if that is not known or none is running. */
  wait({ progress: { wait_seconds: wait, unserved_queue: queue } }) {
    return !queue && Number.isFinite(wait) && this.text("starts_in", { duration: this.duration(Math.max(1, wait), "short") });
  }

  phase(state) {
    return PHASE[state.phase]?.(this, state) ?? this.text("working");
  }

  writing({ rows_done: done, rows_total: total, rows_total_is_estimate: isEstimate }) {
    const reached = this.#number.format(done);
    if (total === null) return this.text("writing_unknown", { done: reached });
    return this.text("writing", { done: reached, total: this.total(total, isEstimate) });
  }

  /** Return a number of rows. An estimate is rounded to three digits, because more would look exact. */
  total(rows, isEstimate) {
    return isEstimate ? this.text("about", { number: this.#rounded.format(rows) }) : this.#number.format(rows);
  }

  /** Return the percentage that is done, marked as an estimate if the total is one. */
  reached(whole, { progress }) {
    return progress.rows_total_is_estimate ? this.text("about", { number: this.percent(whole) }) : this.percent(whole);
  }

  pace(state) {
    const { rows_per_second: rate, eta_seconds: left } = state.progress;
    return [state.resumed && this.phase(state), rate !== null && this.rate(rate), left !== null && this.timeLeft(left)];
  }

  mail(state) {
    return state.sends_mail && this.text("mail_comes");
  }

  rows(count) {
    return this.counted("rows", count);
  }

  /** Return how many exports run, wait and are ready, and how far those that run are: "2 running, 45 %". */
  tray({ running, waiting, ready, percent }) {
    const parts = [
      running > 0 && this.counted("tray_running", running),
      percent !== null && this.percent(percent),
      waiting > 0 && this.counted("tray_waiting", waiting),
      ready > 0 && this.counted("tray_ready", ready),
    ];
    return new Intl.ListFormat(this.#locale, { style: "narrow", type: "unit" }).format(parts.filter(Boolean));
  }

  /** Return the name and the status, or another `text`, in one sentence; a `notice` follows it. */
  announcement(state, { text = this.status(state), notice = "" } = {}) {
    const sentence = this.text("announcement", { title: this.name(state), text });
    return notice ? `${sentence}. ${notice}` : sentence;
  }

  /** Return the title and, if there is one, the label. */
  name(state) {
    return state.label ? this.text("name", state) : state.title;
  }

  inFile(state) {
    const { receipt, file } = state;
    return [
      this.rowsInFile(receipt), this.withheld(receipt), this.made(state),
      this.keptUntil(file?.expires_at),
    ];
  }

  /** Return when the file was made and how long that took. */
  made({ finished_at: end, took_seconds: seconds }) {
    if (end === null) return false;
    if (!Number.isFinite(seconds)) return this.text("made", { time: this.moment(end) });
    return this.text("made_in", { time: this.moment(end), duration: this.duration(Math.max(1, seconds), "short") });
  }

  /** Return the number of rows, or false for a file that the project attached itself, which has no receipt. */
  rowsInFile(receipt) {
    return Number.isFinite(receipt?.rows) && this.rows(receipt.rows);
  }

  /** Return how many cells were altered because the format cannot hold them, or "" for none. */
  altered({ status, receipt }) {
    const cells = Object.values(receipt?.alterations ?? {}).reduce((sum, count) => sum + count, 0);
    return status === "ready" && cells > 0 ? this.counted("cells_altered", cells) : "";
  }

  /** Return the columns that were left out because the user lacks a permission. */
  withheld(receipt) {
    const names = receipt?.columns_withheld ?? [];
    return names.length > 0 && this.text("withheld", { names: this.#list.format(names) });
  }

  rate(rowsPerSecond) {
    if (rowsPerSecond < 1) return this.text("slow_rate");
    return this.text("rate", { rows: this.#rounded.format(rowsPerSecond) });
  }

  /** Return the time left, rounded up to large steps so that it does not flicker with every message. */
  timeLeft(seconds) {
    if (seconds < 5) return this.text("seconds_left");
    return this.text("time_left", { duration: this.duration(seconds, "short") });
  }

  duration(seconds, unitDisplay = "long") {
    if (seconds <= 10) return this.#unit(Math.ceil(seconds), "second", { unitDisplay });
    if (seconds <= 55) return this.#unit(Math.ceil(seconds / 5) * 5, "second", { unitDisplay });
    if (seconds <= 55 * 60) return this.#unit(Math.ceil(seconds / 60), "minute", { unitDisplay });
    return this.#unit(Math.ceil(seconds / 1800) / 2, "hour", { unitDisplay });
  }

  /** Return a size in the units and the words of Django, so that it does not change when a script takes over. */
  size(bytes) {
    const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), LARGEST_UNIT);
    if (power === 0) return this.counted("bytes", bytes);
    return filled(this.#catalogue[`size_${power}`], { size: this.#decimal.format(bytes / 1024 ** power) });
  }

  percent(whole) {
    return this.#percent.format(whole / 100);
  }

  keptUntil(iso) {
    return iso && this.text("kept_until", { time: this.moment(iso) });
  }

  stoppedAfter(rows) {
    return rows > 0 && this.text("stopped_after", { rows: this.rows(rows) });
  }

  moment(iso) {
    return new Intl.DateTimeFormat(this.#locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
  }

  /** Return the day of a time: "Today", "Yesterday" or a date, in the language of the page. */
  day(iso, now) {
    const then = new Date(iso);
    const days = Math.round((midnight(now) - midnight(then)) / 86_400_000);
    if (days < 0 || days > 1) return new Intl.DateTimeFormat(this.#locale, { dateStyle: "long" }).format(then);
    return sentence(new Intl.RelativeTimeFormat(this.#locale, { numeric: "auto" }).format(-days, "day"));
  }

  time(milliseconds) {
    return new Intl.DateTimeFormat(this.#locale, { timeStyle: "medium" }).format(new Date(milliseconds));
  }

  /**
   * Return the plural form for `count`: its own if it is one of the samples, else that of the largest sample in the same
   * plural category. The catalogue's rule for 0 and 1 may differ from the browser's: in Portugal and Brazil, for one.
   */
  counted(key, count) {
    const forms = this.#catalogue[key];
    const category = this.#plural.select(count);
    const samples = Object.keys(forms).map(Number).sort((one, other) => one - other);
    const sample = count in forms ? count : samples.findLast((each) => this.#plural.select(each) === category);
    return filled(forms[sample ?? samples.at(-1)], { count: this.#number.format(count) });
  }

  #unit(amount, unit, options) {
    return new Intl.NumberFormat(this.#locale, { style: "unit", unit, ...options }).format(amount);
  }
}

function localeOf(language) {
  try {
    return Intl.getCanonicalLocales(language)[0];
  } catch {
    // A page may have lang="en_GB" or lang=""; then the language of the browser is used.
    return undefined;
  }
}

function midnight(moment) {
  return new Date(moment).setHours(0, 0, 0, 0);
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (placeholder, name) => values[name] ?? placeholder);
}
