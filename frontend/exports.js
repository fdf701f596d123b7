/** Defines the elements. The one script a page includes: `<script type="module" src=".../exports/exports.js">`. */

import { ExportForm } from "./export-form.js";
import { ExportProgress } from "./export-progress.js";

function define() {
  if (!customElements.get("export-progress")) customElements.define("export-progress", ExportProgress);
  if (!customElements.get("export-form")) customElements.define("export-form", ExportForm);
}

// A page that the browser prepares unasked has not been seen by anybody.
if (document.prerendering) document.addEventListener("prerenderingchange", define, { once: true });
else define();
