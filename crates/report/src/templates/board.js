// Columns can be sorted: better values first, then the other way round. Missing values stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th[data-sort]")];
  for (const head of heads) {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.sort;
      const second = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      const sign = order === "ascending" ? 1 : -1;
      const column = head.cellIndex;
      const key = (row) => row.cells[column].dataset.value;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const [m, n] = [Number(x), Number(y)];
        return sign * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n);
      });
      table.tBodies[0].append(...rows);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      // Differences to the row above are those of the first order.
      table.classList.toggle("resorted", true);
    });
  }
}
// Rows can be filtered, in all tables at once.
const rows = [...document.querySelectorAll("table.sortable tbody tr")];
if (rows.length) {
  const words = make("input", { type: "search", placeholder: "model, family, device" });
  const floors = make("input", { type: "checkbox", checked: true });
  const shown = make("output");
  const texts = rows.map((row) => (row.dataset.words ?? "").toLowerCase());
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, at) => {
      const isFloor = row.classList.contains("baseline");
      row.hidden = !wanted.every((word) => texts[at].includes(word)) || (isFloor && !floors.checked);
    });
    const hidden = rows.filter((row) => row.hidden).length;
    shown.textContent = hidden ? `${rows.length - hidden} of ${rows.length} rows shown` : "";
  };
  words.addEventListener("input", filter);
  floors.addEventListener("change", filter);
  document.querySelector(".tools").append(
    make("label", {}, "Only rows with ", words),
    make("label", {}, floors, " floors"),
    shown,
  );
}
// Two rows of a task can be chosen; a link then leads to their comparison.
for (const table of document.querySelectorAll("table[data-page]")) {
  const bar = make("p", { className: "chosen", hidden: true });
  bar.setAttribute("role", "status");
  table.closest(".wide").after(bar);
  const boxes = [...table.querySelectorAll("tbody tr")].map((row) => {
    const box = make("input", { type: "checkbox" });
    box.setAttribute("aria-label", `Compare ${row.dataset.model}`);
    row.cells[0].prepend(box, " ");
    return { row, box };
  });
  const update = (last) => {
    let on = boxes.filter(({ box }) => box.checked);
    // A third choice takes the place of the older one.
    if (on.length > 2) {
      on.find(({ box }) => box !== last).box.checked = false;
      on = boxes.filter(({ box }) => box.checked);
    }
    bar.hidden = on.length === 0;
    const [a, b] = on.map(({ row }) => row.dataset);
    bar.replaceChildren(on.length < 2
      ? `${a?.model ?? ""}: choose a second row to compare with.`
      : make("a", { href: `${table.dataset.page}#compare=${a.run},${b.run}` }, `Compare ${a.model} with ${b.model}`));
  };
  for (const { box } of boxes) box.addEventListener("change", () => update(box));
}
// A link to a run opens it.
const open = () => {
  const run = location.hash.startsWith("#run-") && document.getElementById(location.hash.slice(1));
  if (run) run.open = true;
};
addEventListener("hashchange", open);
open();
