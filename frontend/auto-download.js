/**
 * The exports whose files a tab downloads by itself, kept while the tab is reloaded or shows another page. Of several
 * that were requested together only the first is downloaded: browsers block more, and people lose track of them.
 */

const KEY = "exports:downloads";
const FORGET_AFTER = 24 * 3_600_000;

export class AutoDownloads {
  #storage;
  #clock;

  /** `storage` has the methods of `sessionStorage`. */
  constructor({ storage, clock }) {
    this.#storage = storage;
    this.#clock = clock;
  }

  /** Note that the file of this export is to be downloaded once it is ready. */
  want(id) {
    if (!this.wants(id)) this.#write(({ wanted, ...rest }) => ({ ...rest, wanted: { ...wanted, [id]: this.#clock.now() } }));
  }

  wants(id) {
    return id in this.#read().wanted;
  }

  /** Forget this export. Return whether to download its file: if no other has been since it was requested. */
  take(id) {
    const { wanted, last } = this.#read();
    if (!(id in wanted)) return false;
    const isFirst = wanted[id] >= last;
    this.forget(id);
    if (isFirst) this.#write((kept) => ({ ...kept, last: this.#clock.now() }));
    return isFirst;
  }

  forget(id) {
    this.#write(({ wanted: { [id]: _, ...wanted }, ...rest }) => ({ ...rest, wanted }));
  }

  #read() {
    const { wanted = {}, last = 0 } = JSON.parse(this.#storage.getItem(KEY) ?? "{}");
    const recent = Object.entries(wanted).filter(([, at]) => at > this.#clock.now() - FORGET_AFTER);
    return { wanted: Object.fromEntries(recent), last };
  }

  #write(change) {
    this.#storage.setItem(KEY, JSON.stringify(change(this.#read())));
  }
}

/** Keep values for as long as the page is shown, where the browser allows no storage. */
export class MemoryStorage {
  #values = new Map();

  getItem(key) {
    return this.#values.get(key) ?? null;
  }

  setItem(key, value) {
    this.#values.set(key, value);
  }
}
