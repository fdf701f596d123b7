/** Show the errors of a form next to its fields, and a summary at its top. Answers become text, never markup. */

const OWN = "data-export-error";

/** Show `message` and the errors of `fields` ({name: [sentence, ...]}), and move the focus to the first such field. */
export function showErrors(form, { message, fields = {} }) {
  clearErrors(form);
  const wrong = Object.entries(fields)
    .map(([name, sentences]) => ({ name, sentences, control: visibleControl(form, name) }));
  const placed = wrong.filter(({ control }) => control);
  for (const { control, name, sentences } of placed) markWrong(form, control, name, sentences.join(" "));
  const box = summary(message, wrong);
  form.prepend(box);
  if (placed.length > 0) placed[0].control.focus();
  else box.scrollIntoView({ block: "nearest" });
}

export function clearErrors(form) {
  for (const note of form.querySelectorAll(`[${OWN}]`)) note.remove();
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    describe(control, (ids) => ids.filter((id) => !id.startsWith("export-error-")));
  }
}

function markWrong(form, control, name, sentence) {
  const id = `export-error-${form.id || "form"}-${name}`;
  control.setAttribute("aria-invalid", "true");
  describe(control, (ids) => [...ids, id]);
  (control.closest("label") ?? control).after(note("p", "export-field-error", sentence, { id }));
}

function summary(message, wrong) {
  const box = note("div", "export-summary", "", { role: "alert" });
  const list = document.createElement("ul");
  for (const { name, sentences, control } of wrong) list.append(summaryLine(labelOf(control), sentences, name));
  box.append(note("p", "export-summary-message", message), ...(wrong.length > 0 ? [list] : []));
  return box;
}

/** Return one line of the summary. An error of the form (`__all__`) has no label, a hidden field has its name. */
function summaryLine(label, sentences, name) {
  const heading = label || (name === "__all__" ? "" : name);
  const line = document.createElement("li");
  line.textContent = [heading, sentences.join(" ")].filter(Boolean).join(": ");
  return line;
}

function visibleControl(form, name) {
  const found = form.elements.namedItem(name);
  const control = found instanceof RadioNodeList ? found[0] : found;
  return control && control.type !== "hidden" ? control : null;
}

/** Return the text of a control's label, without that of the control inside it, such as the options of a select. */
function labelOf(control) {
  const label = control?.labels?.[0]?.cloneNode(true);
  for (const inner of label?.querySelectorAll("input, select, textarea, button") ?? []) inner.remove();
  return label?.textContent.replace(/\s+/g, " ").trim().replace(/:$/, "") ?? "";
}

function describe(control, change) {
  const ids = change((control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
  if (ids.length > 0) control.setAttribute("aria-describedby", ids.join(" "));
  else control.removeAttribute("aria-describedby");
}

function note(tag, className, text, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  node.setAttribute(OWN, "");
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
