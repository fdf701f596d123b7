/** One clock on the page: the times that the server has written, in the time zone of the browser, which is named. */

/** Write the `<time>` elements of the class `export-time`, and the zone where the page names it. */
export function showLocalTimes(root, words) {
  for (const node of root.querySelectorAll("time.export-time")) node.textContent = words.moment(node.dateTime);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const node of root.querySelectorAll("[data-time-zone]")) if (zone) node.textContent = zone;
}
