"use strict";
document.documentElement.classList.add("scripted");

// Tables: a click on a head sorts, typing filters.
function sortBy(table, head, column) {
  const isNumber = head.dataset.sort === "number";
  const ascending = head.ariaSort ? head.ariaSort !== "ascending" : !isNumber;
  for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const keyed = [...table.tBodies[0].rows].map((row) => {
    const text = row.cells[column].textContent.trim();
    return { row, text, number: parseFloat(text.replaceAll(",", "")) };
  });
  const sign = ascending ? 1 : -1;
  keyed.sort((a, b) => {
    if (!isNumber || (isNaN(a.number) && isNaN(b.number))) return sign * a.text.localeCompare(b.text);
    if (isNaN(a.number)) return 1; // what is missing stays below
    if (isNaN(b.number)) return -1;
    return sign * (a.number - b.number);
  });
  table.tBodies[0].append(...keyed.map((entry) => entry.row));
}

// A head's column among the cells of a row, with heads above it that span several.
function columnOf(table, head) {
  const rows = [...table.tHead.rows];
  const before = [...rows.at(-1).cells];
  if (head.parentElement === rows[0] || rows.length === 1) {
    return [...head.parentElement.cells].indexOf(head);
  }
  const spanning = [...rows[0].cells].filter((cell) => cell.rowSpan > 1).length;
  return spanning + before.indexOf(head);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head, columnOf(table, head)));
  }
}

for (const input of document.querySelectorAll(".filter input")) {
  const rows = input.closest(".table").querySelector("tbody").rows;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

// Charts: each static picture gives way to the living chart of the same specification.
const specifications = JSON.parse(document.getElementById("specifications").textContent);
const views = new Map();
const signals = {};

// Their data name the columns once, where Vega-Lite wants the names in each row.
function unpacked({ datasets, ...specification }) {
  const named = ({ names, rows }) =>
    rows.map((row) => Object.fromEntries(names.map((name, n) => [name, row[n]])));
  return {
    ...specification,
    datasets: Object.fromEntries(Object.entries(datasets).map(([key, data]) => [key, named(data)])),
  };
}

function fitted(specification, figure) {
  const picture = figure.querySelector("svg");
  const missing = picture.width.baseVal.value - figure.clientWidth;
  if (missing > 0 && typeof specification.width === "number") {
    return { ...specification, width: Math.max(120, specification.width - missing) };
  }
  if (missing > 0 && specification.columns > 2) return { ...specification, columns: 2 };
  return specification;
}

async function enliven(figure) {
  const name = figure.id.replace("chart-", "");
  if (views.has(name)) return;
  views.set(name, null);
  const living = document.createElement("div");
  const specification = fitted(unpacked(specifications[name]), figure);
  const result = await vegaEmbed(living, specification, { renderer: "svg", actions: false });
  views.set(name, result.view);
  const control = figure.dataset.control;
  if (control && signals[control] !== undefined) {
    await result.view.signal(control, signals[control]).runAsync();
  }
  figure.querySelector(".picture > div").replaceChildren(living);
}

if (window.vegaEmbed) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        enliven(entry.target).catch(console.error); // the static picture stays
      }
    }
  }, { rootMargin: "400px" });
  for (const figure of document.querySelectorAll("figure.chart")) watcher.observe(figure);
}

// The choice of two runs moves the charts of classes, the words and the columns of the table.
const choice = document.getElementById("pair-choice");
function choosePair() {
  signals.pair = choice.selectedIndex;
  for (const [number, part] of document.querySelectorAll(".of-pair").entries()) {
    part.hidden = number !== choice.selectedIndex;
  }
  for (const head of document.querySelectorAll("th[data-pair]")) {
    const column = head.cellIndex;
    const hide = column - head.parentElement.querySelector("[data-pair]").cellIndex
      !== choice.selectedIndex;
    for (const row of head.closest("table").rows) row.cells[column].hidden = hide;
  }
  for (const figure of document.querySelectorAll("[data-control=pair]")) {
    views.get(figure.id.replace("chart-", ""))?.signal("pair", choice.selectedIndex).run();
  }
}
if (choice) {
  choice.addEventListener("change", choosePair);
  choosePair();
}
