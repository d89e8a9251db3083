"use strict";
// Tables sort by their headings; points of a plot say what they are. Without a script the page shows all the same.

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** What a row is sorted by in a column: a number, or a text where there is none. */
function keyOf(row, column) {
  const cell = row.cells[column];
  const order = cell.dataset.order;
  if (order === "inf") return Infinity;
  if (order === "-inf") return -Infinity;
  return order !== undefined ? Number(order) : cell.textContent.trim();
}

/** Unknown values stand last, whichever way the table is sorted. */
function compare(a, b, sign) {
  const unknown = (value) => value === "-" || value === "";
  if (unknown(a) || unknown(b)) return Number(unknown(a)) - Number(unknown(b));
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : sign * (a < b ? -1 : 1);
  return sign * collator.compare(String(a), String(b));
}

function sortBy(table, heading) {
  const column = heading.cellIndex;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const numeric = rows.some((row) => row.cells[column].dataset.order !== undefined);
  const was = heading.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const now = was === first ? other : first;
  for (const each of heading.parentElement.cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", now);
  const sign = now === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [keyOf(row, column), row]);
  keyed.sort((a, b) => compare(a[0], b[0], sign));
  body.append(...keyed.map((each) => each[1]));
}

for (const table of document.querySelectorAll("table.sorts")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.title = "Sort by " + heading.textContent;
    button.addEventListener("click", () => sortBy(table, heading));
    heading.replaceChildren(button);
  }
}

// The first box of a graph stands in the middle: that is what a narrow screen shows first.
for (const graph of document.querySelectorAll(".graph")) graph.scrollLeft = (graph.scrollWidth - graph.clientWidth) / 2;

const tip = document.getElementById("tip");

/** Shows the text of a point beside it, within the window. */
function show(point) {
  tip.textContent = point.dataset.tip;
  tip.hidden = false;
  const at = point.getBoundingClientRect();
  const space = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = Math.max(8, Math.min(at.left + at.width / 2 - tip.offsetWidth / 2, space)) + "px";
  const above = at.top - tip.offsetHeight - 10;
  tip.style.top = (above > 8 ? above : at.bottom + 10) + "px";
}

function hide() {
  tip.hidden = true;
}

for (const point of document.querySelectorAll("[data-tip]")) {
  const title = point.querySelector("title");
  if (title) title.remove(); // its own text would be shown twice
  point.addEventListener("mouseenter", () => show(point));
  point.addEventListener("focus", () => show(point));
  point.addEventListener("mouseleave", hide);
  point.addEventListener("blur", hide);
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});
document.addEventListener("scroll", hide, { passive: true });
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
