/** The note in a form that a recent file for the same fields exists, with a button that requests a new one. */

const CLASS = "export-offer";

/** Show `sentence`, and a button with `label` that calls `again`. */
export function showOffer(form, { sentence, label, again }) {
  clearOffer(form);
  const note = Object.assign(document.createElement("p"), { textContent: sentence });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
  button.className = "export-button";
  button.addEventListener("click", again);
  const box = Object.assign(document.createElement("div"), { className: CLASS });
  box.append(note, button);
  form.prepend(box);
}

export function clearOffer(form) {
  form.querySelector(`:scope > .${CLASS}`)?.remove();
}
