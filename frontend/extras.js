/** What the page of one export does with a script: it copies the link, and shows the first rows by itself. */

/** Show the buttons that copy the text of another element, and say when they have. */
export function showCopyButtons(root, clipboard) {
  if (!clipboard) return;
  for (const button of root.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await clipboard.writeText(root.getElementById(button.dataset.copy).textContent.trim());
      button.textContent = button.dataset.copied;
    });
  }
}

/** Fill the places for the first rows of an export. Where that fails, the link to them stays. */
export async function showFirstRows(root, fetch) {
  for (const place of root.querySelectorAll("[data-first-rows]")) {
    const reply = await fetch(place.dataset.firstRows, { headers: { accept: "application/json" } }).catch(() => null);
    if (reply?.status === 200) place.replaceChildren(tableOf(await reply.json()));
  }
}

function tableOf({ columns, rows }) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of columns) head.append(Object.assign(document.createElement("th"), { textContent: text, scope: "col" }));
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const text of row) line.insertCell().textContent = text;
  }
  return table;
}
