/** Read the first STATE of a card that has only its URL, until the server answers. */

import { Backoff } from "./backoff.js";
import { Contact } from "./contact.js";
import { Poll } from "./poll.js";
import { ENDING_OF_STATUS } from "./state.js";

const READ_EVERY = 1_000;

/** `listener` is as for `ExportsConnection.watch`; `changed` is called once. Return a function that stops reading. */
export function load(url, { fetch, clock, listener }) {
  const contact = new Contact({ clock, report: (isLost) => listener.troubled(isLost) });
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
