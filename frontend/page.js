/** What the elements of one page share: its configuration, connections, words and performance marks. */

import { systemClock } from "./clock.js";
import { ExportsConnection } from "./connection.js";
import { csrfToken, post } from "./http.js";
import { Words } from "./words.js";

const connections = new Map();

/** The connection of this page to a socket's URL, made when first asked for. */
export function connectionTo(url) {
  if (!connections.has(url)) connections.set(url, wakened(newConnection(url)));
  return connections.get(url);
}

/** The URL of an element's socket: its own attribute, else the page's `data-exports-socket`, else the site's path. */
export function socketUrl(element) {
  const { documentElement, body } = document;
  const given = element.getAttribute("socket") ?? documentElement.dataset.exportsSocket ?? body.dataset.exportsSocket;
  const url = new URL(given || config().socket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

export function words() {
  return new Words(document.documentElement.lang, config().words);
}

/** What `{% export_assets %}` puts into the head of the page: the path of the socket, and the words. */
function config() {
  const script = document.getElementById("exports-config");
  if (script === null) throw new Error("The page has no exports-config: put {% export_assets %} into its head.");
  return JSON.parse(script.textContent);
}

/** POST with this page's CSRF token; `http.js` says what comes back. */
export function postFromPage(url, body = null) {
  return post(url, { fetch: pageFetch, clock: systemClock, token: csrfToken(document), body });
}

/** `fetch` must be called on the window. */
export function pageFetch(...args) {
  return window.fetch(...args);
}

export function mark(name) {
  performance.mark(`export:${name}`);
}

function newConnection(url) {
  return new ExportsConnection({ url, WebSocket, fetch: pageFetch, token: () => csrfToken(document) });
}

function wakened(connection) {
  const wake = () => document.visibilityState === "visible" && connection.wake();
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", wake);
  document.addEventListener("visibilitychange", wake);
  return connection;
}
