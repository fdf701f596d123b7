// The button "Show" of a filter leads to the table. It shares the export's form, which <export-form> would post in place.
document.addEventListener(
  "submit",
  (event) => {
    if (event.submitter?.hasAttribute("data-show")) event.stopPropagation();
  },
  { capture: true },
);
