/** Before the click: how many rows the chosen export has, and about how large and how long it will be. */

const PAUSE = 400;

/**
 * Ask for an estimate when the user begins to use a form and after each change, and show its sentence. The form's own
 * button for it is removed. `signal` ends this; `post(url, entries)` is that of `page.js`.
 */
export function showEstimates(form, { post, clock, signal }) {
  const shown = form.querySelector("[data-estimate]");
  if (!shown) return;
  let timer, asked;
  for (const button of form.querySelectorAll("button[name=estimate]")) button.remove();

  async function ask() {
    const entries = new FormData(form);
    const text = new URLSearchParams(entries).toString();
    if (text === asked) return;
    asked = text;
    const { status, body } = await post(shown.dataset.estimate, entries);
    // What the form says by now counts, not an answer that was overtaken. An error is shown when the form is sent.
    if (text === asked) shown.textContent = status === 200 ? body.text : "";
  }

  function askSoon() {
    clock.clearTimeout(timer);
    timer = clock.setTimeout(ask, PAUSE);
  }

  form.addEventListener("focusin", askSoon, { signal, once: true });
  form.addEventListener("input", askSoon, { signal });
  signal.addEventListener("abort", () => clock.clearTimeout(timer));
}
