/** The note of a form that a file of the same choices is there already, with a button for a new one. */

const CLASS = "export-offer";

/** Shows `sentence`; `again` is called when somebody wants the file made again. */
export function showOffer(form, sentence, again) {
  clearOffer(form);
  const words = Object.assign(document.createElement("p"), { textContent: sentence });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Make it again" });
  button.className = "export-button";
  button.addEventListener("click", again);
  const box = Object.assign(document.createElement("div"), { className: CLASS });
  box.append(words, button);
  form.prepend(box);
}

export function clearOffer(form) {
  form.querySelector(`:scope > .${CLASS}`)?.remove();
}
