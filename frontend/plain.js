/**
 * Lead a page whose modules were not loaded to the same page without scripts, which reloads itself.
 *
 * This is no module, and imports none: it is also loaded where modules are not, such as from another host that does not
 * allow them (CORS), or if a file that a module imports is missing.
 */
(() => {
  const AFTER_LOAD = 2_000;
  const AT_THE_LATEST = 20_000;

  addEventListener("load", () => setTimeout(leave, AFTER_LOAD));
  setTimeout(leave, AT_THE_LATEST);

  function leave() {
    if (customElements.get("export-progress")) return;
    const plain = new URL(location.href);
    plain.searchParams.set("plain", "1");
    location.replace(plain);
  }
})();
