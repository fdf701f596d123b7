/** HTTP requests. Answers are `{status, body, etag, retryAfter}`: `body` is JSON or null, status 0 means no answer. */

const NO_ANSWER = { status: 0, body: null, etag: null, retryAfter: null };
const READ_WITHIN = 10_000;
const POST_WITHIN = 30_000;

/** Send a POST that accepts JSON. `token` is Django's CSRF token, `body` a FormData or null. */
export function post(url, { fetch, clock, token, body = null }) {
  const headers = { Accept: "application/json", "X-CSRFToken": token };
  // keepalive lets a report that the user has seen the end leave while the page closes; it does not allow large bodies.
  return ask(url, { method: "POST", headers, body, keepalive: body === null }, { fetch, clock, within: POST_WITHIN });
}

/** Send a GET; with the `etag` of the last answer, an unchanged state is answered with 304. */
export function get(url, { fetch, clock, etag = null }) {
  const headers = { Accept: "application/json", ...(etag && { "If-None-Match": etag }) };
  return ask(url, { method: "GET", headers, cache: "no-store" }, { fetch, clock, within: READ_WITHIN });
}

/** Return the CSRF token: that of the cookie, or that of a form field if scripts may not read the cookie. */
export function csrfToken(document) {
  const cookie = /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie);
  if (cookie) return decodeURIComponent(cookie[1]);
  return document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
}

/** Return Retry-After (RFC 9110, 10.2.3: seconds or a date) as milliseconds from `now`, or null. */
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
    // A caller does the same after no network, no server and no answer in time.
    return NO_ANSWER;
  } finally {
    clock.clearTimeout(timer);
  }
}

async function answerOf(response, now) {
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json") ?? false;
  return {
    // A site that redirects logged-out users to a login page answers 200 with that page.
    status: response.redirected && !isJson ? 401 : response.status,
    body: isJson ? await response.json() : null,
    etag: response.headers.get("ETag"),
    retryAfter: retryAfter(response.headers.get("Retry-After"), now),
  };
}
