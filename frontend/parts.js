/** The markup of one export: that which the server has rendered, or new markup if the element is empty. */

/** Return the nodes by their `data-part` names. A project's own markup may leave some out. */
export function partsOf(element, words) {
  if (!element.querySelector("[data-part]")) element.append(builtCard(words));
  return Object.fromEntries([...element.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node]));
}

/** Build the same structure as templates/exports/_progress.html. */
function builtCard(words) {
  return make("div", { class: "export-card" }, [builtHead(), part("label", "p", { class: "export-label" }), builtBar(), builtFoot(words), builtAnnouncer()]);
}

function builtHead() {
  return make("div", { class: "export-head" }, [
    part("title", "a", { class: "export-title" }),
    part("format", "span", { class: "export-format" }),
    part("percent", "span", { class: "export-percent" }),
  ]);
}

function builtBar() {
  return part("bar", "progress", { max: "1" });
}

function builtFoot(words) {
  return make("div", { class: "export-foot" }, [
    make("div", { class: "export-words" }, [
      part("status", "p", { class: "export-status" }),
      part("detail", "p", { class: "export-detail" }),
      part("altered", "a", { class: "export-link", hidden: "" }),
      part("notice", "p", { class: "export-notice" }),
    ]),
    make("div", { class: "export-actions" }, [
      part("login", "a", { class: "export-button", hidden: "" }, [words.text("login")]),
      part("download", "a", { class: "export-button export-button-main", hidden: "" }, [words.text("download")]),
      builtForm("cancel", words),
      builtForm("retry", words),
      part("edit", "a", { class: "export-link", hidden: "" }, [words.text("edit")]),
      builtForm("delete", words),
    ]),
  ]);
}

function builtForm(name, words) {
  const token = make("input", { type: "hidden", name: "csrfmiddlewaretoken" });
  const look = name === "delete" ? "export-button export-button-quiet" : "export-button";
  const button = make("button", { class: look, type: "submit" }, [words.text(name)]);
  return part(name, "form", { method: "post", hidden: "" }, [token, button]);
}

function builtAnnouncer() {
  return part("announce", "p", { class: "export-spoken", role: "status" });
}

function part(name, tag, attributes, children = []) {
  return make(tag, { "data-part": name, ...attributes }, children);
}

export function make(tag, attributes, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
