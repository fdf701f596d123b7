/** The texts, links and bar value that a card shows for a STATE. */

import { barValue, percentOf } from "./state.js";

const WITH_PERCENT = new Set(["running", "ready"]);

export function viewOf(state, words) {
  const percent = percentOf(state);
  const name = words.name(state);
  const file = state.file?.name ?? name;
  return {
    title: state.title,
    chosen: state.label ?? "",
    name,
    format: state.format.toUpperCase(),
    page: state.urls.page,
    label: words.text("label", { title: name }),
    bar: barValue(state),
    hasBar: state.status !== "expired",
    percent: percent !== null && WITH_PERCENT.has(state.status) ? words.reached(percent, state) : "",
    status: words.status(state),
    detail: words.detail(state),
    altered: words.altered(state),
    cancel: { url: state.urls.cancel, label: words.text("cancel_label", { title: name }) },
    edit: { url: state.urls.edit ?? null, label: words.text("edit_label", { title: name }) },
    retry: { url: state.urls.retry, label: words.text("retry_label", { title: name }) },
    delete: { url: state.urls.delete, label: words.text("delete_label", { title: name }) },
    download: { url: state.urls.download, label: words.text("download_label", { file }) },
  };
}
