/** Download the file of a ready state without leaving the page: in Firefox a link that is followed closes its sockets. */

import { get, head } from "./http.js";
import { isState } from "./state.js";

/**
 * Fetch a fresh signed link to the file and check that it gives the file: a browser would save an error or a login page
 * just as well. Return `{state}` with the newest state, whose `urls.ticket` leads to the file, or is null if there is
 * none any more; or `{refusal}`, an answer as in `http.js`.
 *
 * @param {import("./state.js").State} shown
 */
export async function freshLink(shown, { fetch, clock }) {
  const answer = await get(shown.urls.self, { fetch, clock });
  if (![200, 410].includes(answer.status) || !isState(answer.body)) return { refusal: answer };
  const state = answer.body;
  if (state.urls.ticket === null) return { state };
  const file = await head(state.urls.ticket, { fetch, clock });
  // A redirect leads to the storage, whose signed URL works for GET alone.
  return [200, 302].includes(file.status) ? { state } : { refusal: file };
}

/** Let the browser save the file of a state of `freshLink`. */
export function save({ file, urls }) {
  const link = document.createElement("a");
  link.href = urls.ticket;
  link.download = file?.name ?? "";
  link.click();
}
