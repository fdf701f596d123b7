/** The rules for a STATE, the JSON shape of docs/protocol.md. Nothing here touches the page. */

const TERMINAL = new Set(["ready", "failed", "cancelled", "expired"]);
const WORTH_SEEING = new Set(["ready", "failed"]);
const HIGHEST_BEFORE_READY = 0.99;
const RECENT = 10 * 60_000;

/** Why following ends, by the status of the GET that says so. */
export const ENDING_OF_STATUS = { 401: "logged_out", 403: "forbidden", 404: "not_found" };

export const isTerminal = (state) => TERMINAL.has(state.status);
export const isActive = (state) => !isTerminal(state);
export const isReady = (state) => state.status === "ready";

/** READY and FAILED are what the server would send a mail about. */
export const isWorthSeeing = (state) => WORTH_SEEING.has(state.status);

/** Whether a value from the wire has what every rule here relies on. */
export function isState(value) {
  if (!value?.progress || !value.urls) return false;
  return typeof value.id === "string" && Number.isFinite(value.seq) && typeof value.status === "string";
}

/**
 * The STATE to keep after `next` has arrived: null when it is older than the known one, and otherwise `next`, with
 * progress that does not fall within an attempt.
 */
export function accept(known, next) {
  if (known && next.seq < known.seq) return null;
  return known && isSameRun(known, next) ? withProgressKept(known, next) : next;
}

/** Whether two states show the same: the ticket differs in every message and is ignored. */
export function isSame(one, other) {
  return one.seq === other.seq && withoutTicket(one) === withoutTicket(other);
}

/** The bar's value, 0 to 1, or null while the total is unknown. It is 1 only when the file is there. */
export function barValue(state) {
  if (isReady(state)) return 1;
  const { fraction } = state.progress;
  return fraction === null ? null : Math.min(fraction, HIGHEST_BEFORE_READY);
}

/** Whole percent, rounded down, or null while the total is unknown. */
export function percentOf(state) {
  const value = barValue(state);
  return value === null ? null : Math.floor(value * 100 + 1e-9);
}

/** Whether a request ended so lately (ten minutes) that its mail may still be waiting. */
export function isRecentlyFinished(state, now) {
  return isTerminal(state) && Date.parse(state.finished_at) > now - RECENT;
}

function isSameRun(known, next) {
  return known.attempt === next.attempt && known.status === "running" && next.status === "running";
}

function withProgressKept(known, next) {
  const [before, after] = [known.progress, next.progress];
  const fraction = after.fraction === null ? null : Math.max(before.fraction ?? 0, after.fraction);
  return { ...next, progress: { ...after, rows_done: Math.max(before.rows_done, after.rows_done), fraction } };
}

function withoutTicket(state) {
  return JSON.stringify({ ...state, urls: { ...state.urls, ticket: null, ticket_expires_at: null } });
}
