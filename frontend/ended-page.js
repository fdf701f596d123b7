import { isActive } from "./state.js";

/**
 * Show on the page of an export, as soon as it has ended, what the server writes only then: the receipt, the first rows,
 * the link for anyone. They are taken from the same page, fetched once more; `shown()` is called when they are there.
 */
export function followEnd(document, { fetch, shown }) {
  document.addEventListener("export:changed", async ({ detail: state }) => {
    const place = document.querySelector("[data-after-end]");
    const isOther = !place || location.pathname !== state.urls.page;
    if (isOther || isActive(state) || place.dataset.afterEnd === state.status) return;
    place.dataset.afterEnd = state.status;
    const reply = await fetch(state.urls.page);
    if (!reply.ok || reply.redirected) return;
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    place.replaceChildren(...page.querySelector("[data-after-end]").childNodes);
    shown();
  });
}
