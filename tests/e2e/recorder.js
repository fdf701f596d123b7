/*
 * Record what the card of each export shows at every change, and the status of its link at the moment when the bar
 * reaches 100 %. Runs before the scripts of the page; the tests read `window.recorder`.
 */
(() => {
  const recorder = { entries: [], answers: {}, clickedAt: null, violations: [] };
  window.recorder = recorder;

  function record(card) {
    const part = (name) => card.querySelector(`[data-part="${name}"]`);
    const [bar, link] = [part("bar"), part("download")];
    if (!bar || !link || !card.getAttribute("export-id")) return;
    add({
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

  function add(entry) {
    const last = recorder.entries.findLast(({ id }) => id === entry.id);
    if (last && JSON.stringify({ ...last, at: null }) === JSON.stringify({ ...entry, at: null })) return;
    recorder.entries.push({ ...entry, at: Date.now() });
    if ((entry.value === 1 || entry.percent === "100%") && !(entry.id in recorder.answers)) requestLink(entry);
  }

  function requestLink({ id, link }) {
    recorder.answers[id] = link === null ? "no link" : "requested";
    if (link === null) return;
    fetch(link).then(
      (response) => {
        recorder.answers[id] = response.status;
        response.body?.cancel();
      },
      (error) => (recorder.answers[id] = String(error)),
    );
  }

  function recordChanges(records) {
    const nodes = records.flatMap((record) => [record.target, ...record.addedNodes]);
    const elements = nodes.map((node) => (node instanceof Element ? node : node.parentElement)).filter(Boolean);
    const cards = elements.flatMap((element) => [element.closest("export-progress"), ...element.querySelectorAll("export-progress")]);
    for (const card of new Set(cards.filter(Boolean))) record(card);
  }

  new MutationObserver(recordChanges).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  document.addEventListener("click", () => (recorder.clickedAt = Date.now()), { capture: true });
  document.addEventListener("securitypolicyviolation", (event) => recorder.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
})();
