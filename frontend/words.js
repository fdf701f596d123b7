/** The sentences and numbers that a person reads: the page's catalogue, in the formats of the page's language. */

const BYTE_UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

const STATUS = {
  queued: (words, state) => words.waiting(state),
  running: (words, state) => (state.resumed ? words.text("resumed") : words.phase(state)),
  ready: (words, state) => words.ready(state),
  failed: (words, { error }) => (error ? words.text("failed", error) : words.text("failed_unexplained")),
  cancelled: (words) => words.text("cancelled"),
  expired: (words) => words.text("expired"),
};

const PHASE = {
  counting: (words) => words.text("counting"),
  writing: (words, state) => words.writing(state.progress),
  finishing: (words) => words.text("finishing"),
  storing: (words) => words.text("storing"),
};

const DETAIL = {
  queued: (words, state) => [words.text("asked_for", { time: words.moment(state.requested_at) })],
  running: (words, state) => words.pace(state),
  ready: (words, state) => words.inFile(state),
  failed: (words, state) => [words.stoppedAfter(state.progress.rows_done)],
  cancelled: (words, state) => [words.stoppedAfter(state.progress.rows_done)],
  expired: (words) => [words.text("file_deleted")],
};

export class Words {
  #catalogue;
  #number;
  #rounded;
  #percent;
  #locale;
  #plural;

  /** `language` is a BCP 47 tag, or anything else for the browser's own; `catalogue` is that of exports/words.py. */
  constructor(language, catalogue) {
    this.#catalogue = catalogue;
    this.#locale = localeOf(language);
    this.#number = new Intl.NumberFormat(this.#locale);
    this.#rounded = new Intl.NumberFormat(this.#locale, { maximumSignificantDigits: 3 });
    this.#percent = new Intl.NumberFormat(this.#locale, { style: "percent" });
    this.#plural = new Intl.PluralRules(this.#locale);
  }

  /** The sentence of this key, with its placeholders filled in. */
  text(key, values = {}) {
    return filled(this.#catalogue[key], values);
  }

  /** The status in one line. */
  status(state) {
    return STATUS[state.status]?.(this, state) ?? state.status;
  }

  /** What else is known: speed and time left, or what became of it. May be empty. */
  detail(state) {
    const parts = DETAIL[state.status]?.(this, state) ?? [];
    return sentence(parts.filter(Boolean).join(" · "));
  }

  /** Why a request of this page was refused and what to do. `reply` is what `http.js` gives, `now` milliseconds. */
  refusal(reply, now) {
    const said = reply.status !== 401 && reply.body?.error?.message;
    const status = reply.status >= 500 ? 500 : reply.status;
    const first = said || this.text(`refused_${status}` in this.#catalogue ? `refused_${status}` : "refused");
    return reply.retryAfter === null ? first : `${first} ${this.tryAgain(reply.retryAfter, now)}`;
  }

  tryAgain(delay, now) {
    const duration = this.duration(Math.max(1, delay / 1000));
    return this.text("try_again_in", { duration, time: this.time(now + delay) });
  }

  /** How long ago a file was made that is offered again. */
  madeBefore(seconds) {
    return this.text("made_before", { duration: this.duration(Math.max(1, seconds)) });
  }

  /** A file that its owner may not have any more comes without its name, and with the reason. */
  ready({ file, error }) {
    if (error) return error.message;
    return file ? this.text("ready", { name: file.name, size: this.size(file.size) }) : this.text("ready_unnamed");
  }

  waiting(state) {
    const place = state.progress.queue_position;
    const key = state.resumed ? "waiting_again" : "waiting";
    if (place === null) return this.text(key);
    return place === 1 ? this.text(`${key}_next`) : this.text(`${key}_place`, { place: this.#number.format(place) });
  }

  phase(state) {
    return PHASE[state.phase]?.(this, state) ?? this.text("working");
  }

  writing({ rows_done: done, rows_total: total, rows_total_is_estimate: isEstimate }) {
    const reached = this.#number.format(done);
    if (total === null) return this.text("writing_unknown", { done: reached });
    return this.text("writing", { done: reached, total: this.total(total, isEstimate) });
  }

  /** An estimate is rounded to three digits: more would look exact. */
  total(rows, isEstimate) {
    return isEstimate ? this.text("about", { number: this.#rounded.format(rows) }) : this.#number.format(rows);
  }

  /** How much of a state is done, `whole` percent of it. */
  reached(whole, { progress }) {
    return progress.rows_total_is_estimate ? this.text("about", { number: this.percent(whole) }) : this.percent(whole);
  }

  pace(state) {
    const { rows_per_second: rate, eta_seconds: left } = state.progress;
    return [state.resumed && this.phase(state), rate !== null && this.rate(rate), left !== null && this.timeLeft(left)];
  }

  rows(count) {
    return this.#counted("rows", count);
  }

  inFile({ receipt, file }) {
    return [
      this.rowsInFile(receipt), this.altered(receipt), this.withheld(receipt), this.keptUntil(file?.expires_at),
    ];
  }

  /** A file that the project attached itself has no receipt, so its rows are not known. */
  rowsInFile(receipt) {
    return Number.isFinite(receipt?.rows) && this.rows(receipt.rows);
  }

  /** Cells that the format could not hold as they were; the page of the export says which kinds. */
  altered(receipt) {
    const cells = Object.values(receipt?.alterations ?? {}).reduce((sum, count) => sum + count, 0);
    return cells > 0 && this.#counted("cells_altered", cells);
  }

  /** Columns for which the user lacks the permission. */
  withheld(receipt) {
    const names = receipt?.columns_withheld ?? [];
    return names.length > 0 && this.text("withheld", { names: names.join(", ") });
  }

  rate(rowsPerSecond) {
    if (rowsPerSecond < 1) return this.text("slow_rate");
    return this.text("rate", { rows: this.#rounded.format(rowsPerSecond) });
  }

  /** Rounded up and coarse, so that it does not flicker from message to message. */
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

  /** In units of 1,024, as Django and most download lists have it. */
  size(bytes) {
    const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), BYTE_UNITS.length - 1);
    const amount = bytes / 1024 ** power;
    const digits = power > 0 && amount < 10 ? 1 : 0;
    const unitDisplay = power > 0 ? "short" : "long";
    return this.#unit(amount, BYTE_UNITS[power], { unitDisplay, maximumFractionDigits: digits });
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

  time(milliseconds) {
    return new Intl.DateTimeFormat(this.#locale, { timeStyle: "medium" }).format(new Date(milliseconds));
  }

  /** The form of a counted word whose sample count is in the same plural category as `count`. */
  #counted(key, count) {
    const forms = Object.entries(this.#catalogue[key]);
    const isSame = ([sample]) => this.#plural.select(Number(sample)) === this.#plural.select(count);
    const [, form] = forms.find(isSame) ?? forms.at(-1);
    return filled(form, { count: this.#number.format(count) });
  }

  #unit(amount, unit, options) {
    return new Intl.NumberFormat(this.#locale, { style: "unit", unit, ...options }).format(amount);
  }
}

function localeOf(language) {
  try {
    return Intl.getCanonicalLocales(language)[0];
  } catch {
    // A page may say lang="en_GB" or lang="": the browser's own language is better than no numbers.
    return undefined;
  }
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (placeholder, name) => values[name] ?? placeholder);
}
