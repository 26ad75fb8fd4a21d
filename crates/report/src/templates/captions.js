"use strict";
// Images can be filtered by words and sorted within their lists; the order of the page comes first.
const legend = document.getElementById("legend");
const cards = [...document.querySelectorAll(".card")];
if (legend && cards.length) {
  const tools = document.createElement("div");
  tools.className = "tools";
  const field = (name, control) => {
    const label = document.createElement("label");
    label.append(name, control);
    tools.append(label);
    return control;
  };
  const filter = field("Only images with", document.createElement("input"));
  filter.type = "search";
  filter.placeholder = "words or an id";
  const sort = field("Sort by", document.createElement("select"));
  sort.append(new Option("order of the page", ""));
  legend.dataset.metrics.split("|").forEach((name, at) => {
    sort.append(new Option(`${name}, low first`, `${at} 1`), new Option(`${name}, high first`, `${at} -1`));
  });
  const shown = document.createElement("output");
  tools.append(shown);
  legend.append(tools);

  const texts = cards.map((card) => card.textContent.toLowerCase().replace(/\s+/g, " "));
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase().trim().replace(/\s+/g, " ");
    cards.forEach((card, at) => { card.hidden = !texts[at].includes(wanted); });
    const left = cards.filter((card) => !card.hidden).length;
    shown.textContent = wanted ? `${left} of ${cards.length} shown` : "";
  });

  const first = new Map(cards.map((card, at) => [card, at]));
  sort.addEventListener("change", () => {
    const [column, sign] = sort.value.split(" ").map(Number);
    const key = (card) => card.dataset.values.split("|")[column];
    for (const list of document.querySelectorAll(".cards")) {
      const order = [...list.children].sort((a, b) => {
        const before = first.get(a) - first.get(b);
        if (sort.value === "") return before;
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "") || before;
        return sign * (Number(x) - Number(y)) || before;
      });
      list.append(...order);
    }
  });
}
