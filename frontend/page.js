/** What the elements of one page share: its connections, its words, its marks. */

import { systemClock } from "./clock.js";
import { ExportsConnection } from "./connection.js";
import { csrfToken, post } from "./http.js";
import { Words } from "./words.js";

const SOCKET = "/ws/exports/";
const connections = new Map();

/** The connection of this page to a socket's URL, made when first asked for. */
export function connectionTo(url) {
  if (!connections.has(url)) connections.set(url, wakened(newConnection(url)));
  return connections.get(url);
}

/** The socket an element speaks to: its own attribute, the page's `data-exports-socket`, or this host's usual place. */
export function socketUrl(element) {
  const { documentElement, body } = document;
  const given = element.getAttribute("socket") ?? documentElement.dataset.exportsSocket ?? body.dataset.exportsSocket;
  const url = new URL(given || SOCKET, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

export function words() {
  return new Words(document.documentElement.lang);
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
