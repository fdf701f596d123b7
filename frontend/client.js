/** What a program in Node, or a page of another site, follows its exports with: the classes of the pages, and a token. */

import { ExportsConnection } from "./connection.js";
import { barValue, isActive, isReady, isState, isTerminal, percentOf } from "./state.js";

export { ExportsConnection, barValue, isActive, isReady, isState, isTerminal, percentOf };

/** Return an ExportsConnection to a site, which sends the API token to this site alone; client.d.ts has its options. */
export function connectTo(site, { token, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch, isVisible = () => false }) {
  const root = new URL(site.endsWith("/") ? site : `${site}/`);
  const url = new URL("ws/exports/", root);
  url.protocol = url.protocol.replace("http", "ws");
  const header = `Bearer ${token}`;
  // A browser can set no header of a socket.
  const subprotocols = ["exports", `authorization.${encodeURIComponent(header)}`];
  const SocketWithToken = function (address) {
    return new WebSocket(address, subprotocols);
  };
  const fetchWithToken = (path, { headers, ...options }) => {
    const given = { ...options, credentials: "omit", redirect: "manual", headers: { ...headers, Authorization: header } };
    const address = new URL(path, root);
    if (address.origin !== root.origin) throw new TypeError(`${address.origin} must not get the token`);
    return fetch(address.href, given);
  };
  const tokens = () => [];
  return new ExportsConnection({ url: url.href, WebSocket: SocketWithToken, fetch: fetchWithToken, tokens, isVisible });
}

/**
 * Follow one export, and call `changed(state)` after every change. Return a promise of the STATE in which it ends, which
 * is rejected if the export cannot be followed any more.
 */
export function follow(connection, state, changed = () => {}) {
  return new Promise((resolve, reject) => {
    const take = (newest) => {
      changed(newest);
      if (isTerminal(newest)) stop(() => resolve(newest));
    };
    // What is known already may be told before `watch` returns.
    const stop = (settle) => queueMicrotask(() => (unwatch(), settle()));
    const ended = (reason) => stop(() => reject(new Error(reason)));
    const unwatch = connection.watch(state, { changed: take, ended });
    if (isTerminal(state)) take(state);
  });
}
