/** Reads the state that a page does not have yet, until there is one. */

import { Backoff } from "./backoff.js";
import { Contact } from "./contact.js";
import { Poll } from "./poll.js";
import { ENDING_OF_STATUS } from "./state.js";

const READ_EVERY = 1_000;

/** The listener is that of `ExportsConnection.watch`; `changed` is called once. Returns a function that stops it. */
export function load(url, { fetch, clock, listener }) {
  const contact = new Contact({ clock, tell: (isLost) => listener.troubled(isLost) });
  const poll = new Poll({ url, fetch, clock, backoff: new Backoff(), report });
  const stop = () => {
    poll.stop();
    contact.made();
  };
  poll.start(READ_EVERY, { soon: true });
  return stop;

  function report(outcome) {
    if (!poll.isRunning) return;
    if (outcome.kind === "failed") return contact.lost();
    stop();
    if (outcome.kind === "state") listener.changed(outcome.state);
    if (outcome.kind === "refused") listener.ended(ENDING_OF_STATUS[outcome.status]);
  }
}
