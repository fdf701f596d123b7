/** Define the elements. A page includes only this script: `<script type="module" src=".../exports/exports.js">`. */

import { followEnd } from "./ended-page.js";
import { ExportForm } from "./export-form.js";
import { ExportList } from "./export-list.js";
import { ExportProgress } from "./export-progress.js";
import { ExportTray } from "./export-tray.js";
import { showCopyButtons, showFirstRows } from "./extras.js";
import { pageFetch, words } from "./page.js";
import { showLocalTimes } from "./times.js";

function define() {
  if (!customElements.get("export-progress")) customElements.define("export-progress", ExportProgress);
  if (!customElements.get("export-list")) customElements.define("export-list", ExportList);
  if (!customElements.get("export-tray")) customElements.define("export-tray", ExportTray);
  if (!customElements.get("export-form")) customElements.define("export-form", ExportForm);
  enrich();
  followEnd(document, { fetch: pageFetch, shown: enrich });
}

function enrich() {
  showLocalTimes(document, words());
  showCopyButtons(document, navigator.clipboard);
  showFirstRows(document, pageFetch);
}

// A page that the browser prerenders has not been seen by the user.
if (document.prerendering) document.addEventListener("prerenderingchange", define, { once: true });
else define();
