/** What all elements of one page share: configuration, connections, words and performance marks. */

import { AutoDownloads, MemoryStorage } from "./auto-download.js";
import { systemClock } from "./clock.js";
import { ExportsConnection } from "./connection.js";
import { csrfTokens, post } from "./http.js";
import { sharedSocketClass } from "./shared-socket.js";
import { Words } from "./words.js";

const connections = new Map();
let downloads = null;

/** Return the connection of this page to a WebSocket URL; elements with the same URL share one. */
export function connectionTo(url) {
  if (!connections.has(url)) connections.set(url, wakened(newConnection(url)));
  return connections.get(url);
}

/** Return what this tab downloads by itself. */
export function autoDownloads() {
  downloads ??= new AutoDownloads({ storage: tabStorage(), clock: systemClock });
  return downloads;
}

/** Return the WebSocket URL of an element: from its attribute, the page's `data-exports-socket`, or the site's path. */
export function socketUrl(element) {
  const { documentElement, body } = document;
  const given = element.getAttribute("socket") ?? documentElement.dataset.exportsSocket ?? body.dataset.exportsSocket;
  const url = new URL(given || config().socket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/** Return the words of this page, in the formats of its language, or in those of the words if the two differ. */
export function words() {
  const { language, words } = config();
  const { lang } = document.documentElement;
  const isSame = lang.split("-")[0] === language.split("-")[0];
  return new Words(isSame ? lang : language, words);
}

/** Return what `{% export_assets %}` has put into the head: the socket's path, names of CSRF cookie and user, the words. */
function config() {
  const script = document.getElementById("exports-config");
  if (script === null) throw new Error("The page has no exports-config: put {% export_assets %} into its head.");
  return JSON.parse(script.textContent);
}

/** Send a POST with the CSRF token of this page; `http.js` describes the answer. */
export function postFromPage(url, body = null) {
  return post(url, { fetch: pageFetch, clock: systemClock, tokens: tokens(), body });
}

function tokens() {
  return csrfTokens(document, config().csrf_cookie);
}

/** Call `fetch` on the window, as browsers require. */
export function pageFetch(...args) {
  return window.fetch(...args);
}

/** Call `start` once the page is parsed: until then the markup inside an element may not exist. */
export function whenParsed(start, signal) {
  if (document.readyState !== "loading") start();
  else document.addEventListener("DOMContentLoaded", start, { once: true, signal });
}

export function mark(name) {
  performance.mark(`export:${name}`);
}

function tabStorage() {
  try {
    return window.sessionStorage;
  } catch {
    // The user has forbidden this site to store anything.
    return new MemoryStorage();
  }
}

function newConnection(url) {
  return new ExportsConnection({ url, WebSocket: socketClass(), fetch: pageFetch, tokens, isVisible });
}

/**
 * Return the class for sockets that the tabs of a user share; that for one each where the page does not know its user or
 * the browser has no locks (also: no HTTPS).
 */
function socketClass() {
  const { WebSocket, BroadcastChannel, navigator } = window;
  const { reader } = config();
  if (!BroadcastChannel || !navigator.locks || !reader) return WebSocket;
  return sharedSocketClass({ reader, WebSocket, BroadcastChannel, locks: navigator.locks, clock: systemClock });
}

function isVisible() {
  return document.visibilityState === "visible";
}

function wakened(connection) {
  const wake = () => isVisible() && connection.wake();
  window.addEventListener("offline", () => connection.goOffline());
  window.addEventListener("online", wake);
  // A page that the browser keeps for Back must not hold the socket of the other tabs.
  window.addEventListener("pagehide", () => connection.suspend());
  window.addEventListener("pageshow", wake);
  document.addEventListener("visibilitychange", wake);
  return connection;
}
