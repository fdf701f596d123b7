/** What an export's card shows for a STATE: plain values, which the element puts into its parts. */

import { barValue, percentOf } from "./state.js";

const WITH_PERCENT = new Set(["running", "ready"]);

export function viewOf(state, words) {
  const percent = percentOf(state);
  const file = state.file?.name ?? state.title;
  return {
    title: state.title,
    format: state.format.toUpperCase(),
    page: state.urls.page,
    label: `Export: ${state.title}`,
    bar: barValue(state),
    hasBar: state.status !== "expired",
    percent: percent !== null && WITH_PERCENT.has(state.status) ? words.reached(percent, state) : "",
    status: words.status(state),
    detail: words.detail(state),
    cancel: { url: state.urls.cancel, label: `Cancel export: ${state.title}` },
    retry: { url: state.urls.retry, label: `Try again: ${state.title}` },
    download: { url: state.urls.download, label: `Download ${file}` },
  };
}
