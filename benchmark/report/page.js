"use strict";
// Sorting and searching; without JavaScript the page shows everything in the order of the report.

const valueOf = (row, column) => {
  const cell = row.cells[column];
  const number = cell.dataset.sort === undefined ? NaN : Number(cell.dataset.sort);
  return { number, text: cell.textContent.trim() };
};

const compare = (a, b, sign) => {
  const missing = Number.isNaN(a.number) - Number.isNaN(b.number);
  if (missing) return missing; // what has no number stays below, whichever way is up
  if (Number.isNaN(a.number)) return sign * a.text.localeCompare(b.text);
  return sign * (a.number - b.number);
};

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = Number(button.dataset.column);
    const ascending = head.getAttribute("aria-sort") === "descending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = table.tBodies[table.tBodies.length - 1];
    const rows = [...body.rows];
    rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), ascending ? 1 : -1));
    body.append(...rows);
  });
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  const status = document.getElementById(input.getAttribute("aria-describedby"));
  const rows = [...document.querySelectorAll(`${input.dataset.filter} > tbody > tr`)];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => (row.dataset.find || row.textContent).toLowerCase().includes(word));
      shown += row.hidden ? 0 : 1;
    }
    status.textContent = words.length ? `${shown} of ${rows.length} rows shown` : "";
  });
}
