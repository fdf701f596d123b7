/** A document for one element whose markup has only some parts, and a window in which requests go to a `Server`. */

class Node extends EventTarget {
  #attributes = new Map();
  children = [];
  parent = null;
  textContent = "";
  hidden = false;
  isConnected = true;

  append(...nodes) {
    for (const node of nodes) node.parent = this;
    this.children.push(...nodes);
    return this;
  }

  getAttribute(name) {
    return this.#attributes.get(name) ?? null;
  }

  hasAttribute(name) {
    return this.#attributes.has(name);
  }

  setAttribute(name, value) {
    this.#attributes.set(name, String(value));
  }

  removeAttribute(name) {
    this.#attributes.delete(name);
  }

  toggleAttribute(name, isOn) {
    if (isOn) this.setAttribute(name, "");
    else this.removeAttribute(name);
  }

  querySelectorAll(selector) {
    return selector === "[data-part]" ? this.children : [];
  }

  querySelector(selector) {
    return this.querySelectorAll(selector)[0] ?? null;
  }

  contains() {
    return false;
  }

  closest() {
    return null;
  }

  /** Do as an event that bubbles from a child. */
  submit(child) {
    const event = new Event("submit", { cancelable: true });
    Object.defineProperty(event, "target", { value: child });
    this.dispatchEvent(event);
  }
}

/** Return a part; what it has said is kept in `said`. */
export function part(name) {
  const node = new Node();
  node.dataset = { part: name };
  node.said = [];
  let text = "";
  Object.defineProperty(node, "textContent", {
    get: () => text,
    set: (value) => {
      text = value;
      if (value) node.said.push(value);
    },
  });
  return node;
}

/** Open a page with these words, whose requests go to `server`. Files that it saves are in `saved`. */
export function openPage({ words, server, WebSocket }) {
  const saved = [];
  const config = { language: "en", words, csrf_cookie: null, socket: "/ws/exports/", reader: null };
  const link = () => ({ click() { saved.push(this.download); } });
  const document = Object.assign(new EventTarget(), {
    documentElement: { lang: "en", dataset: {} }, body: { dataset: {} }, readyState: "complete", cookie: "",
    // A hidden page does not report to the server what it shows, which would keep the test running.
    visibilityState: "hidden", activeElement: null,
    getElementById: () => ({ textContent: JSON.stringify(config) }), createElement: link, querySelectorAll: () => [],
  });
  const window = Object.assign(new EventTarget(), { fetch: server.fetch, WebSocket, sessionStorage: storage() });
  Object.assign(globalThis, {
    HTMLElement: Node, document, window, location: new URL("http://site/"), history: {},
  });
  return { saved };
}

function storage() {
  const values = new Map();
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value) };
}
