/** Every sentence and number that a person reads. Numbers, sizes and times follow the language of the page. */

const ORDINAL_ENDINGS = { one: "st", two: "nd", few: "rd", other: "th" };
const BYTE_UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
const RESUMED = "Resumed: a worker stopped and another one goes on";

const STATUS = {
  queued: (words, state) => words.waiting(state),
  running: (words, state) => (state.resumed ? RESUMED : words.phase(state)),
  ready: (words, state) => words.ready(state),
  failed: (words, state) => (state.error ? `Failed: ${state.error.message}` : "Failed"),
  cancelled: () => "Cancelled",
  expired: () => "Expired",
};

const PHASE = {
  counting: () => "Counting rows",
  writing: (words, state) => words.writing(state.progress),
  finishing: () => "Finishing the file",
  storing: () => "Storing the file",
};

const DETAIL = {
  queued: (words, state) => [`asked for ${words.moment(state.requested_at)}`],
  running: (words, state) => words.pace(state),
  ready: (words, state) => words.inFile(state),
  failed: (words, state) => [words.stoppedAfter(state.progress.rows_done)],
  cancelled: (words, state) => [words.stoppedAfter(state.progress.rows_done)],
  expired: () => ["the file was kept for a while and is gone; try again to have it made anew"],
};

export const LOGGED_OUT = "You are logged out.";

const REFUSALS = {
  0: "No answer came. Check your connection and try again.",
  401: `${LOGGED_OUT} Log in again, then try again.`,
  403: "This was refused. Reload the page and try again.",
  404: "This is no longer there. Reload the page.",
  429: "Too many requests at once.",
};

export const ENDINGS = {
  logged_out: `${LOGGED_OUT} Log in again to follow this export.`,
  forbidden: "You may not follow this export any more.",
  not_found: "This export is no longer there.",
};

export const TROUBLE = "Connection lost, still trying";
export const STARTED = "The download has started. If it has not, press Download.";

export class Words {
  #number;
  #rounded;
  #percent;
  #locale;
  #ordinals = new Intl.PluralRules("en", { type: "ordinal" });

  /** `language` is a BCP 47 tag, or anything else for the browser's own language. */
  constructor(language) {
    this.#locale = localeOf(language);
    this.#number = new Intl.NumberFormat(this.#locale);
    this.#rounded = new Intl.NumberFormat(this.#locale, { maximumSignificantDigits: 3 });
    this.#percent = new Intl.NumberFormat(this.#locale, { style: "percent" });
  }

  /** What is going on, in one line. */
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
    const said = reply.body?.error?.message;
    const own = REFUSALS[reply.status] ?? otherwise(reply.status);
    const first = said && reply.status !== 401 ? said : own;
    return reply.retryAfter === null ? first : `${first} ${this.tryAgain(reply.retryAfter, now)}`;
  }

  tryAgain(delay, now) {
    return `Try again in ${this.duration(Math.max(1, delay / 1000))}, at ${this.time(now + delay)}.`;
  }

  /** Of a file that is offered again, so many seconds after it was made. */
  madeBefore(seconds) {
    return `Made ${this.duration(Math.max(1, seconds))} ago, with the same choices.`;
  }

  /** A file that its owner may not have any more comes without its name, and with the reason. */
  ready({ file, error }) {
    if (error) return error.message;
    return file ? `Ready: ${file.name}, ${this.size(file.size)}` : "Ready";
  }

  waiting(state) {
    const place = state.progress.queue_position;
    const position = place === null ? "" : place === 1 ? ", next in line" : `, ${this.ordinal(place)} in line`;
    return state.resumed ? `Waiting for another worker${position}` : `Waiting${position}`;
  }

  phase(state) {
    return PHASE[state.phase]?.(this, state) ?? "Working";
  }

  writing({ rows_done: done, rows_total: total, rows_total_is_estimate: isEstimate }) {
    const reached = this.#number.format(done);
    return `Writing rows: ${reached} ${total === null ? "so far" : `of ${this.total(total, isEstimate)}`}`;
  }

  /** An estimate has three digits that count: more of them would be made up. */
  total(rows, isEstimate) {
    return isEstimate ? `about ${this.#rounded.format(rows)}` : this.#number.format(rows);
  }

  /** How much of a state is done, `whole` percent of it. */
  reached(whole, { progress }) {
    return progress.rows_total_is_estimate ? `about ${this.percent(whole)}` : this.percent(whole);
  }

  pace(state) {
    const { rows_per_second: rate, eta_seconds: left } = state.progress;
    return [state.resumed && this.phase(state), rate !== null && this.rate(rate), left !== null && this.timeLeft(left)];
  }

  rows(count) {
    return `${this.#number.format(count)} ${count === 1 ? "row" : "rows"}`;
  }

  inFile({ receipt, file }) {
    return [
      this.rowsInFile(receipt), this.altered(receipt), this.withheld(receipt), this.keptUntil(file?.expires_at),
    ];
  }

  /** A file that was attached by hand has no receipt, and nobody knows its rows. */
  rowsInFile(receipt) {
    return Number.isFinite(receipt?.rows) && this.rows(receipt.rows);
  }

  /** Cells that the format could not hold as they were; the page of the export says which kinds. */
  altered(receipt) {
    const cells = Object.values(receipt?.alterations ?? {}).reduce((sum, count) => sum + count, 0);
    return cells > 0 && `${this.#number.format(cells)} ${cells === 1 ? "cell" : "cells"} altered`;
  }

  /** Columns that whoever asked may not have. */
  withheld(receipt) {
    const names = receipt?.columns_withheld ?? [];
    return names.length > 0 && `left out: ${names.join(", ")}`;
  }

  rate(rowsPerSecond) {
    return rowsPerSecond < 1 ? "less than 1 row/s" : `${this.#rounded.format(rowsPerSecond)} rows/s`;
  }

  /** Rounded up and coarse, so that it does not flicker from message to message. */
  timeLeft(seconds) {
    return seconds < 5 ? "a few seconds left" : `about ${this.duration(seconds, "short")} left`;
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

  ordinal(place) {
    return `${this.#number.format(place)}${ORDINAL_ENDINGS[this.#ordinals.select(place)]}`;
  }

  keptUntil(iso) {
    return iso && `kept until ${this.moment(iso)}`;
  }

  stoppedAfter(rows) {
    return rows > 0 && `stopped after ${this.rows(rows)}`;
  }

  moment(iso) {
    return new Intl.DateTimeFormat(this.#locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
  }

  time(milliseconds) {
    return new Intl.DateTimeFormat(this.#locale, { timeStyle: "medium" }).format(new Date(milliseconds));
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

function otherwise(status) {
  return status >= 500
    ? "The server has a problem. Wait a minute and try again."
    : "The answer was not understood. Reload the page and try again.";
}
