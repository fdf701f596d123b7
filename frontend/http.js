/** Requests as plain answers: `{status, body, etag, retryAfter}`; `body` is JSON or null, status 0 is no answer. */

const NO_ANSWER = { status: 0, body: null, etag: null, retryAfter: null };
const READ_WITHIN = 10_000;
const POST_WITHIN = 30_000;

/** POST with Accept: application/json. `token` is Django's CSRF token, `body` a FormData or nothing. */
export function post(url, { fetch, clock, token, body = null }) {
  const headers = { Accept: "application/json", "X-CSRFToken": token };
  // keepalive lets a last word leave while the page is closing.
  return ask(url, { method: "POST", headers, body, keepalive: body === null }, { fetch, clock, within: POST_WITHIN });
}

/** GET of the newest state; `etag` of the last answer makes an unchanged one a 304. */
export function get(url, { fetch, clock, etag = null }) {
  const headers = { Accept: "application/json", ...(etag && { "If-None-Match": etag }) };
  return ask(url, { method: "GET", headers, cache: "no-store" }, { fetch, clock, within: READ_WITHIN });
}

/** The token for a POST: the cookie's is the newest, a field's serves where scripts cannot read the cookie. */
export function csrfToken(document) {
  const cookie = /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie);
  if (cookie) return decodeURIComponent(cookie[1]);
  return document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
}

/** Retry-After (RFC 9110, 10.2.3: seconds or a date) as milliseconds from `now`, or null. */
export function retryAfter(value, now) {
  if (value === null || value.trim() === "") return null;
  const delay = Number.isFinite(Number(value)) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(delay) ? null : Math.max(0, delay);
}

async function ask(url, options, { fetch, clock, within }) {
  const abort = new AbortController();
  const timer = clock.setTimeout(() => abort.abort(), within);
  try {
    const response = await fetch(url, { credentials: "same-origin", signal: abort.signal, ...options });
    return await answerOf(response, clock.now());
  } catch {
    // No network, no server, no answer in time: for the caller it is all the same.
    return NO_ANSWER;
  } finally {
    clock.clearTimeout(timer);
  }
}

async function answerOf(response, now) {
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json") ?? false;
  return {
    // A host that sends everybody who is logged out to a login page answers 200 with that page.
    status: response.redirected && !isJson ? 401 : response.status,
    body: isJson ? await response.json() : null,
    etag: response.headers.get("ETag"),
    retryAfter: retryAfter(response.headers.get("Retry-After"), now),
  };
}
