/** HTTP requests. Answers are `{status, body, etag, retryAfter}`: `body` is JSON or null, status 0 means no answer. */

const NO_ANSWER = { status: 0, body: null, etag: null, retryAfter: null };
const READ_WITHIN = 10_000;
const POST_WITHIN = 30_000;

/**
 * Send a POST that accepts JSON. `tokens` are the CSRF tokens to try, one after the other, while the answer is a 403 that
 * is not JSON: Django's refusal, before any view has run. `body` is a FormData or null.
 */
export async function post(url, { fetch, clock, tokens, body = null }) {
  // The token is sent as a field: the name of its header is a setting of the site.
  const fields = body ?? new URLSearchParams();
  // keepalive lets a report that the user has seen the end leave while the page closes; it does not allow large bodies.
  const options = { method: "POST", headers: { Accept: "application/json" }, body: fields, keepalive: body === null };
  let answer;
  for (const token of tokens.length > 0 ? tokens : [""]) {
    fields.set("csrfmiddlewaretoken", token);
    answer = await ask(url, options, { fetch, clock, within: POST_WITHIN });
    if (answer.status !== 403 || answer.body !== null) return answer;
  }
  return answer;
}

/** Send a GET; with the `etag` of the last answer, an unchanged state is answered with 304. */
export function get(url, { fetch, clock, etag = null }) {
  const headers = { Accept: "application/json", ...(etag && { "If-None-Match": etag }) };
  return ask(url, { method: "GET", headers, cache: "no-store" }, { fetch, clock, within: READ_WITHIN });
}

/** Ask what a GET would answer. A redirect is not followed; its status is 302. */
export function head(url, { fetch, clock }) {
  const options = { method: "HEAD", headers: { Accept: "application/json" }, redirect: "manual", cache: "no-store" };
  return ask(url, options, { fetch, clock, within: READ_WITHIN });
}

/**
 * Return the CSRF tokens of a page: that of its forms, and that of the cookie `cookieName`, which is newer if the user
 * has signed in from another tab since. `cookieName` is null if the site keeps the token in the session.
 */
export function csrfTokens(document, cookieName) {
  const fields = [...document.querySelectorAll("input[name=csrfmiddlewaretoken]")];
  const cookies = document.cookie.split(/;\s*/).filter((cookie) => cookie.startsWith(`${cookieName}=`));
  const found = [fields.find(({ value }) => value)?.value, cookies.at(-1)?.slice(cookieName.length + 1)];
  return [...new Set(found.filter(Boolean))];
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
    return await answerOf(response, options, clock.now());
  } catch {
    // A caller does the same after no network, no server and no answer in time.
    return NO_ANSWER;
  } finally {
    clock.clearTimeout(timer);
  }
}

async function answerOf(response, { method }, now) {
  if (response.type === "opaqueredirect") return { ...NO_ANSWER, status: 302 };
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json") ?? false;
  return {
    // A site that redirects logged-out users to a login page answers 200 with that page.
    status: response.redirected && !isJson ? 401 : response.status,
    body: isJson && method !== "HEAD" ? await response.json() : null,
    etag: response.headers.get("ETag"),
    retryAfter: retryAfter(response.headers.get("Retry-After"), now),
  };
}
