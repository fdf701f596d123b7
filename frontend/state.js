/**
 * STATE, the JSON of one export, and the rules that apply to it. docs/protocol.md describes each field;
 * exports/state.py has the same types. Times are ISO 8601 strings.
 *
 * @typedef {object} Progress
 * @property {number} rows_done
 * @property {number | null} rows_total
 * @property {boolean} rows_total_is_estimate
 * @property {number | null} fraction 0 to 1, or null while the total is unknown
 * @property {number | null} rows_per_second
 * @property {number | null} eta_seconds
 * @property {number | null} queue_position
 * @property {number | null} wait_seconds
 * @property {string | null} unserved_queue the queue in which it waits, if no worker of it is running
 *
 * @typedef {object} ExportFile
 * @property {string} name
 * @property {number | null} size in bytes
 * @property {string} content_type
 * @property {string} sha256
 * @property {string | null} expires_at
 * @property {string | null} public_until
 *
 * @typedef {object} Urls null if the action does not apply to the present status
 * @property {string} self
 * @property {string} page
 * @property {string | null} seen null too once the owner has seen the end
 * @property {string | null} edit the form, filled in as this export was requested; for its owner
 * @property {string | null} cancel
 * @property {string | null} retry
 * @property {string | null} delete
 * @property {string | null} download
 * @property {string | null} ticket
 * @property {string | null} ticket_expires_at
 *
 * @typedef {object} State
 * @property {string} id
 * @property {number} seq increases with every change of the export
 * @property {number} attempt
 * @property {boolean} resumed
 * @property {"queued" | "running" | "ready" | "failed" | "cancelled" | "expired"} status
 * @property {"queued" | "counting" | "writing" | "finishing" | "storing" | "done"} phase
 * @property {string} file_type
 * @property {string} title
 * @property {string} label what the user chose, in words; "" if everything has its default
 * @property {string} format
 * @property {string | null} requested_at
 * @property {string | null} finished_at
 * @property {number | null} took_seconds how long the last attempt took, once it has ended
 * @property {Progress} progress
 * @property {{silent_seconds: number, lease_seconds: number} | null} worker of a running export
 * @property {ExportFile | null} file
 * @property {{code: string, message: string} | null} error
 * @property {boolean} sends_mail whether the owner gets a mail if they do not see the end
 * @property {Record<string, any>} receipt what the run recorded about the file; empty before it is ready
 * @property {Urls} urls
 */

const TERMINAL = new Set(["ready", "failed", "cancelled", "expired"]);
const HIGHEST_BEFORE_READY = 0.99;
// A path: not "//host", nor what browsers take for it ("/\\host", and tabs or line breaks between the slashes).
const OWN_ADDRESS = /^\/(?![/\\])[!-~]*$/;

/** Why an export cannot be followed any more, by the HTTP status that says so. */
export const ENDING_OF_STATUS = { 401: "logged_out", 403: "forbidden", 404: "not_found" };

/** @type {(state: State) => boolean} */
export const isTerminal = (state) => TERMINAL.has(state.status);
/** @type {(state: State) => boolean} */
export const isActive = (state) => !isTerminal(state);
/** @type {(state: State) => boolean} */
export const isReady = (state) => state.status === "ready";
/** Whether the file of a ready export has no rows. @type {(state: State) => boolean} */
export const isEmpty = (state) => isReady(state) && state.receipt?.rows === 0;

/**
 * Return whether a value from the server has the fields that the functions of this module use, and addresses of this
 * site alone.
 *
 * @param {any} value
 * @returns {boolean}
 */
export function isState(value) {
  if (!value?.progress || !value.urls) return false;
  const { ticket_expires_at: _, ...addresses } = value.urls;
  if (!Object.values(addresses).every((address) => address === null || OWN_ADDRESS.test(address))) return false;
  return typeof value.id === "string" && Number.isFinite(value.seq) && typeof value.status === "string";
}

/**
 * Return the state to keep after `next` has arrived: null if it is older than the known one, and otherwise `next`, with
 * progress that does not decrease within an attempt.
 *
 * @param {State | null} known
 * @param {State} next
 * @returns {State | null}
 */
export function accept(known, next) {
  if (known && next.seq < known.seq) return null;
  return known && isSameRun(known, next) ? withProgressKept(known, next) : next;
}

/**
 * Return whether two states look the same to a user. Their tickets are ignored: each message has a new one. So is the
 * silence of the worker, which grows.
 *
 * @param {State} one
 * @param {State} other
 * @returns {boolean}
 */
export function isSame(one, other) {
  return one.seq === other.seq && lasting(one) === lasting(other);
}

/**
 * Return the value of the progress bar, 0 to 1, or null while the total is unknown. It is 1 only if the file is ready.
 *
 * @param {State} state
 * @returns {number | null}
 */
export function barValue(state) {
  if (isReady(state)) return 1;
  const { fraction } = state.progress;
  return fraction === null ? null : Math.min(fraction, HIGHEST_BEFORE_READY);
}

/**
 * Return whole percent, rounded down, or null while the total is unknown.
 *
 * @param {State} state
 * @returns {number | null}
 */
export function percentOf(state) {
  const value = barValue(state);
  return value === null ? null : Math.floor(value * 100 + 1e-9);
}

function isSameRun(known, next) {
  return known.attempt === next.attempt && known.status === "running" && next.status === "running";
}

function withProgressKept(known, next) {
  const [before, after] = [known.progress, next.progress];
  const fraction = after.fraction === null ? null : Math.max(before.fraction ?? 0, after.fraction);
  return { ...next, progress: { ...after, rows_done: Math.max(before.rows_done, after.rows_done), fraction } };
}

function lasting(state) {
  return JSON.stringify({ ...state, worker: null, urls: { ...state.urls, ticket: null, ticket_expires_at: null } });
}
