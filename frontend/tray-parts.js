/** The markup of <export-tray>. */

import { isReady, percentOf } from "./state.js";
import { make } from "./parts.js";

/** Fill the element; return its nodes by name. */
export function builtPanel(element, words, { href, canNotify }) {
  const pill = make("button", { type: "button", class: "export-tray-pill", "aria-expanded": "false" });
  const rows = make("ul", { class: "export-tray-rows" });
  const notify = make("input", { type: "checkbox" });
  const choice = make("label", { class: "export-tray-notify", ...(!canNotify && { hidden: "" }) }, [notify, words.text("notify")]);
  const note = make("p", { class: "export-tray-note", role: "status" });
  const all = make("a", { href }, [words.text("all_exports")]);
  const panel = make("section", { class: "export-tray-panel", "aria-label": words.text("all_exports"), hidden: "" }, [rows, note, choice, all]);
  const toast = make("div", { class: "export-tray-toast", role: "status" });
  element.replaceChildren(toast, panel, pill);
  return { pill, panel, rows, notify, note, toast };
}

/** Build the line of one export. */
export function builtRow(state, words, download) {
  const title = make("a", { href: state.urls.page, "data-id": `${state.id} page` }, [words.name(state)]);
  const percent = state.status === "running" ? percentOf(state) : null;
  const bar = percent === null ? [] : [make("progress", { max: "100", value: String(percent), "aria-label": words.name(state) })];
  const row = make("li", { "data-status": state.status }, [title, make("span", {}, [words.status(state)]), ...bar]);
  if (isReady(state) && state.urls.download) {
    const label = words.text("download_label", { file: state.file?.name ?? state.title });
    row.append(button(words.text("download"), download, { "aria-label": label, "data-id": `${state.id} download` }));
  }
  return row;
}

export function builtToast({ text, label, press, close, closing }) {
  return [make("p", {}, [text]), button(label, press), button("×", close, { "aria-label": closing, class: "export-button export-button-quiet" })];
}

function button(label, press, attributes = {}) {
  const node = make("button", { type: "button", class: "export-button", ...attributes }, [label]);
  node.addEventListener("click", press);
  return node;
}
