// Two models can be chosen; only their comparison is then shown.
const pairs = [...document.querySelectorAll("table.pairs tbody")];
const choice = document.querySelector(".choice");
if (pairs.length && choice) {
  const models = JSON.parse(choice.dataset.models);
  const option = ([id, name]) => new Option(name, id);
  const [a, b] = [0, 1].map(() => make("select", {}, new Option("any model", ""), ...models.map(option)));
  const shown = make("output");
  const update = () => {
    const wanted = [a.value, b.value].filter(Boolean);
    for (const pair of pairs) {
      pair.hidden = !wanted.every((id) => pair.dataset.a === id || pair.dataset.b === id);
    }
    const left = pairs.filter((pair) => !pair.hidden).length;
    shown.textContent = left ? "" : "These two were not compared here: `sightline compare` does it.";
    if (a.value && a.value === b.value) shown.textContent = "Choose two different models.";
  };
  const fromHash = () => {
    const [, x, y] = location.hash.match(/^#compare=(\w+),(\w+)$/) ?? [];
    if (!x) return;
    a.value = x;
    b.value = y;
    update();
    document.getElementById("compare").scrollIntoView();
  };
  for (const select of [a, b]) select.addEventListener("change", update);
  choice.append(make("label", {}, "Compare ", a), make("label", {}, "with ", b), shown);
  addEventListener("hashchange", fromHash);
  fromHash();
}
// Samples can be searched.
const samples = [...document.querySelectorAll(".sample")];
const search = document.querySelector(".search");
if (samples.length && search) {
  const words = make("input", { type: "search", placeholder: "key, words, answers" });
  const kind = make("select", {},
    new Option("all samples", ""),
    new Option("where the models differ most", "differs"),
    new Option("that a model failed", "failed"));
  const shown = make("output");
  const texts = samples.map((sample) => sample.textContent.toLowerCase().replace(/\s+/g, " "));
  const update = () => {
    const wanted = words.value.toLowerCase().trim().replace(/\s+/g, " ");
    samples.forEach((sample, at) => {
      const isKind = kind.value === "" || kind.value in sample.dataset;
      sample.hidden = !isKind || !texts[at].includes(wanted);
    });
    const left = samples.filter((sample) => !sample.hidden).length;
    shown.textContent = left < samples.length ? `${left} of ${samples.length} shown` : "";
  };
  words.addEventListener("input", update);
  kind.addEventListener("change", update);
  search.append(make("label", {}, "Only samples with ", words), make("label", {}, "Show ", kind), shown);
}
