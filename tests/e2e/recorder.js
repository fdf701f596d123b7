/*
 * Writes down what a person could see of every export on the page, at every change, and whether the link works at the
 * moment the bar says 100 %. Installed before the page's own scripts; `window.recorder` is what the tests read.
 */
(() => {
  const recorder = { entries: [], answers: {}, clickedAt: null, violations: [] };
  window.recorder = recorder;

  function look(card) {
    const part = (name) => card.querySelector(`[data-part="${name}"]`);
    const [bar, link] = [part("bar"), part("download")];
    if (!bar || !link || !card.getAttribute("export-id")) return;
    note({
      id: card.getAttribute("export-id"),
      status: card.getAttribute("status"),
      attempt: card.state?.attempt ?? null,
      value: bar.hasAttribute("value") ? bar.value : null,
      percent: part("percent")?.textContent.trim() ?? "",
      text: part("status")?.textContent.trim() ?? "",
      link: link.hidden ? null : link.getAttribute("href"),
      troubled: card.hasAttribute("troubled"),
    });
  }

  function note(entry) {
    const last = recorder.entries.findLast(({ id }) => id === entry.id);
    if (last && JSON.stringify({ ...last, at: null }) === JSON.stringify({ ...entry, at: null })) return;
    recorder.entries.push({ ...entry, at: Date.now() });
    if ((entry.value === 1 || entry.percent === "100%") && !(entry.id in recorder.answers)) ask(entry);
  }

  function ask({ id, link }) {
    recorder.answers[id] = link === null ? "no link" : "asked";
    if (link === null) return;
    fetch(link).then(
      (response) => {
        recorder.answers[id] = response.status;
        response.body?.cancel();
      },
      (error) => (recorder.answers[id] = String(error)),
    );
  }

  function seen(records) {
    const nodes = records.flatMap((record) => [record.target, ...record.addedNodes]);
    const elements = nodes.map((node) => (node instanceof Element ? node : node.parentElement)).filter(Boolean);
    const cards = elements.flatMap((element) => [element.closest("export-progress"), ...element.querySelectorAll("export-progress")]);
    for (const card of new Set(cards.filter(Boolean))) look(card);
  }

  new MutationObserver(seen).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  document.addEventListener("click", () => (recorder.clickedAt = Date.now()), { capture: true });
  document.addEventListener("securitypolicyviolation", (event) => recorder.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
})();
