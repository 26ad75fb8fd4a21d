"use strict";

// Everything from samples goes into the page as text, never as markup.
const COUNT = 60;
const SMALL = 320;
const $ = (id) => document.getElementById(id);

const state = {
  shards: [],
  samples: [],
  // What is shown: a place in a shard, or the results of a search from some of them on.
  shard: 0,
  row: 0,
  search: null,
  from: 0,
  found: 0,
  chosen: 0,
  // Only the last request may change the page.
  request: 0,
};

const number = new Intl.NumberFormat("en");
const bytes = (n) => {
  if (n == null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; n >= 1000 && at < units.length - 1; at++) n /= 1000;
  return `${at && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
};

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

async function ask(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  const answer = await fetch(text ? `${path}?${text}` : path);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

function say(text) {
  $("message").textContent = text || "";
  $("message").hidden = !text;
}

// The dataset as a whole.

async function readDataset() {
  let dataset;
  try {
    dataset = await ask("/api/dataset");
  } catch {
    say("The program that shows this page has ended.");
    return;
  }
  const first = state.shards.length === 0;
  state.shards = dataset.shards;
  document.title = `${dataset.title} – shards`;
  $("title").textContent = dataset.title;
  const total = dataset.shards.reduce((sum, shard) => sum + (shard.bytes || 0), 0);
  const parts = [
    `${number.format(dataset.samples)}${dataset.done ? "" : "+"} samples`,
    `${number.format(dataset.shards.length)} shard${dataset.shards.length === 1 ? "" : "s"}`,
    bytes(total),
  ];
  if (!dataset.done) parts.push(`captions of ${number.format(dataset.shards_read)} shards read`);
  if (dataset.cut) parts.push("only the first captions fit into memory and are searched");
  $("about").textContent = parts.filter(Boolean).join(" · ");
  $("progress").max = Math.max(1, dataset.shards.length);
  $("progress").value = dataset.shards_read;
  $("progress").hidden = dataset.done;
  document.body.dataset.done = dataset.done;
  showShards();
  if (first) await fromAddress();
  if (!dataset.done) setTimeout(readDataset, 700);
}

function showShards() {
  const list = $("shards");
  while (list.children.length < state.shards.length) {
    const at = list.children.length;
    const button = make("button", "", make("span", "name"), make("span", "count"));
    button.type = "button";
    button.addEventListener("click", () => show(at, 0));
    list.append(make("li", "", button));
  }
  state.shards.forEach((shard, at) => {
    const button = list.children[at].firstChild;
    button.title = `${shard.name} (${shard.format}, ${bytes(shard.bytes)})${shard.damage ? `\n${shard.damage}` : ""}`;
    // An embedding keeps dots and digits in their places in a right-to-left box.
    button.firstChild.textContent = `\u2066${shard.name}\u2069`;
    button.lastChild.textContent = shard.damage ? "damaged" : shard.read ? number.format(shard.samples) : "…";
    button.parentNode.className = shard.damage ? "damaged" : "";
    button.setAttribute("aria-current", String(!state.search && at === state.shard));
  });
}

// Pages.

async function show(shard, row, chosen = 0) {
  const request = ++state.request;
  let page;
  try {
    page = await ask("/api/page", { shard, row, count: COUNT });
  } catch (error) {
    say(error.message);
    return;
  }
  if (request !== state.request) return;
  // The end of a shard is the start of the next one.
  if (page.samples.length === 0 && !page.damage && row > 0 && shard + 1 < state.shards.length) {
    await show(shard + 1, 0);
    return;
  }
  Object.assign(state, { shard, row, search: null, samples: page.samples });
  const name = state.shards[shard]?.name ?? "";
  const last = row + page.samples.length;
  const range = page.samples.length ? `samples ${number.format(row + 1)}–${number.format(last)}` : "no samples";
  $("where").replaceChildren(name, " ", make("span", "muted", range));
  $("previous").disabled = row === 0 && shard === 0;
  $("next").disabled = page.samples.length < COUNT && shard + 1 >= state.shards.length;
  say(page.damage ? `The shard cannot be read further: ${page.damage}` : "");
  draw(chosen);
}

async function find(text, regex, from, chosen = 0) {
  const request = ++state.request;
  let result;
  try {
    result = await ask("/api/search", { text, regex: regex ? 1 : 0, from, count: COUNT });
  } catch (error) {
    say(error.message);
    return;
  }
  if (request !== state.request) return;
  Object.assign(state, { search: { text, regex }, from, found: result.found, samples: result.samples });
  const count = `${result.more ? "more than " : ""}${number.format(result.found)}`;
  const range = result.samples.length
    ? `${number.format(from + 1)}–${number.format(from + result.samples.length)} of ${count}`
    : "none found";
  $("where").replaceChildren(`Captions with ${regex ? `/${text}/` : `“${text}”`} `, make("span", "muted", range));
  $("previous").disabled = from === 0;
  $("next").disabled = from + result.samples.length >= result.found;
  say("");
  draw(chosen);
}

async function turn(by) {
  if (by < 0 ? $("previous").disabled : $("next").disabled) return false;
  const chosen = by < 0 ? Infinity : 0;
  if (state.search) {
    const { text, regex } = state.search;
    await find(text, regex, Math.max(0, state.from + by * COUNT), chosen);
  } else if (by > 0) {
    const ends = state.samples.length < COUNT;
    await (ends ? show(state.shard + 1, 0) : show(state.shard, state.row + COUNT));
  } else if (state.row > 0) {
    await show(state.shard, Math.max(0, state.row - COUNT), chosen);
  } else {
    const { samples, read } = state.shards[state.shard - 1];
    const row = read && samples ? Math.floor((samples - 1) / COUNT) * COUNT : 0;
    await show(state.shard - 1, row, chosen);
  }
  return true;
}

// Samples.

const address = (sample, side) =>
  `/image?${new URLSearchParams({ shard: sample.shard, row: sample.row, ...(side ? { side } : {}) })}`;

function marked(text) {
  const search = state.search;
  if (!search?.text) return [text];
  let pattern;
  try {
    pattern = new RegExp(search.regex ? search.text : search.text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), search.regex ? "gu" : "giu");
  } catch {
    // Not every expression that the program knows is one that browsers know.
    return [text];
  }
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (!match[0]) continue;
    parts.push(text.slice(end, match.index), make("mark", "", match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

async function reason(sample) {
  const answer = await fetch(address(sample, SMALL));
  return answer.ok ? "The browser does not show this image." : (await answer.text()).trim();
}

function thumb(sample) {
  const box = make("span", "thumb");
  if (!sample.image) {
    box.append("no image");
    return box;
  }
  const image = make("img");
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.src = address(sample, SMALL);
  image.addEventListener("error", async () => {
    box.classList.add("broken");
    box.replaceChildren(await reason(sample));
  });
  box.append(image);
  return box;
}

const dimensions = ({ image }) => (image?.width ? `${image.width} × ${image.height}` : "");

function card(sample, at) {
  const caption = sample.captions.find((caption) => caption.trim()) ?? "";
  // Of several captions the one that was found.
  const shown = state.search ? sample.captions.find((caption) => marked(caption).length > 1) ?? caption : caption;
  const button = make(
    "button",
    "",
    thumb(sample),
    make("span", shown ? "caption" : "caption none", ...(shown ? marked(shown) : ["no caption"])),
    make("span", "line", make("span", "mono", sample.key), make("span", "size", dimensions(sample))),
  );
  button.type = "button";
  button.title = sample.key;
  button.addEventListener("click", () => {
    choose(at, false);
    openSample();
  });
  button.addEventListener("focus", () => choose(at, false));
  return make("li", "", button);
}

function draw(chosen) {
  const cards = state.samples.map(card);
  const none = state.search ? "No caption that was read holds this." : "There are no samples here.";
  $("grid").replaceChildren(...(cards.length ? cards : [make("li", "empty", none)]));
  document.querySelector("main").scrollTop = 0;
  showShards();
  $("shards").children[state.shard]?.scrollIntoView({ block: "nearest" });
  choose(Math.min(chosen, state.samples.length - 1), false);
  remember();
  document.body.dataset.ready = String(state.request);
}

function choose(at, focus) {
  const cards = $("grid").children;
  if (!state.samples.length) return;
  cards[state.chosen]?.firstChild?.setAttribute("aria-current", "false");
  state.chosen = Math.max(0, Math.min(at, cards.length - 1));
  const button = cards[state.chosen].firstChild;
  button.setAttribute("aria-current", "true");
  if (focus) {
    button.focus();
    button.scrollIntoView({ block: "nearest" });
  }
}

function value(item) {
  if (item === null) return make("dd", "null", "null");
  return make("dd", "", typeof item === "object" ? JSON.stringify(item, null, 2) : String(item));
}

const row = (name, dd) => make("div", "", make("dt", "", name), dd);

function openSample() {
  const sample = state.samples[state.chosen];
  if (!sample) return;
  $("sample-key").textContent = sample.key;
  const figure = $("sample-image");
  if (sample.image) {
    const image = make("img", sample.image.width && Math.max(sample.image.width, sample.image.height) < 160 ? "tiny" : "");
    image.alt = sample.captions[0] ?? "";
    image.src = address(sample);
    image.addEventListener("error", async () => figure.replaceChildren(make("p", "", await reason(sample))));
    figure.replaceChildren(image);
  } else {
    figure.replaceChildren(make("p", "", "This sample has no image."));
  }
  const captions = sample.captions.map((caption) => make("li", caption ? "" : "muted", ...(caption ? marked(caption) : ["(empty)"])));
  $("sample-captions").replaceChildren(...(captions.length ? captions : [make("li", "muted", "none")]));
  const shard = state.shards[sample.shard];
  const facts = [["Shard", shard?.name], ["Place", `sample ${number.format(sample.row + 1)}`]];
  if (sample.image) {
    facts.push(["Size", dimensions(sample) || "unknown"], ["File", `${sample.image.format}, ${number.format(sample.image.bytes)} bytes`]);
  }
  $("sample-facts").replaceChildren(...facts.map(([name, text]) => row(name, make("dd", "", text ?? ""))));
  const meta = Object.entries(sample.meta).map(([name, item]) => row(name, value(item)));
  $("sample-meta").replaceChildren(...(meta.length ? meta : [row("none", make("dd"))]));
  if (!$("sample").open) $("sample").showModal();
  $("sample").scrollTop = 0;
}

async function step(by) {
  const at = state.chosen + by;
  if (at >= 0 && at < state.samples.length) choose(at, false);
  else if (!(await turn(Math.sign(by)))) return;
  openSample();
}

// The address says what is shown, so that it can be kept and sent.

function remember() {
  const query = state.search
    ? { text: state.search.text, regex: state.search.regex ? 1 : 0, from: state.from }
    : { shard: state.shard, row: state.row };
  const text = `#${new URLSearchParams(query)}`;
  if (location.hash !== text) history.replaceState(null, "", text);
}

async function fromAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  const whole = (name) => Math.max(0, Math.trunc(Number(query.get(name))) || 0);
  if (query.has("text")) {
    const regex = query.get("regex") === "1";
    $("text").value = query.get("text");
    $("regex").setAttribute("aria-pressed", String(regex));
    await find(query.get("text"), regex, whole("from"));
  } else if (query.has("key")) {
    await jump(query.get("key"));
  } else {
    await show(Math.min(whole("shard"), Math.max(0, state.shards.length - 1)), whole("row"));
  }
  if (query.has("open")) {
    choose(whole("open"), false);
    openSample();
  }
}

async function jump(key) {
  try {
    const { shard, row } = await ask("/api/find", { key });
    const from = Math.floor(row / COUNT) * COUNT;
    await show(shard, from, row - from);
    choose(row - from, true);
  } catch (error) {
    say(error.message);
  }
}

function theme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (isDark ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("sightline-theme", name);
  } catch {
    // Without storage it holds for this page only.
  }
}

// Keys and buttons.

function columns() {
  const cards = [...$("grid").children];
  const top = cards[0]?.offsetTop;
  const below = cards.findIndex((card) => card.offsetTop !== top);
  return below < 0 ? cards.length : below;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target instanceof HTMLInputElement;
  if (isTyping) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if ($("help").open) return;
  const isOpen = $("sample").open;
  const act = isOpen
    ? { ArrowRight: () => step(1), ArrowLeft: () => step(-1), t: theme }[event.key]
    : {
        ArrowRight: () => choose(state.chosen + 1, true),
        ArrowLeft: () => choose(state.chosen - 1, true),
        ArrowDown: () => choose(state.chosen + columns(), true),
        ArrowUp: () => choose(state.chosen - columns(), true),
        n: () => turn(1),
        p: () => turn(-1),
        "]": () => state.shard + 1 < state.shards.length && show(state.shard + 1, 0),
        "[": () => state.shard > 0 && show(state.shard - 1, 0),
        "/": () => $("text").focus(),
        g: () => $("key").focus(),
        t: theme,
        "?": () => $("help").showModal(),
        Enter: event.target instanceof HTMLButtonElement ? null : openSample,
      }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

let waiting;
function onSearch() {
  clearTimeout(waiting);
  const text = $("text").value;
  const regex = $("regex").getAttribute("aria-pressed") === "true";
  if (text) find(text, regex, 0);
  else show(state.shard, state.row);
}

document.addEventListener("keydown", onKey);
$("text").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(onSearch, 180);
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  onSearch();
});
$("regex").addEventListener("click", () => {
  const is = $("regex").getAttribute("aria-pressed") === "true";
  $("regex").setAttribute("aria-pressed", String(!is));
  onSearch();
});
$("jump").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("key").value) jump($("key").value.trim());
});
$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
$("theme").addEventListener("click", theme);
$("help-open").addEventListener("click", () => $("help").showModal());
$("help-close").addEventListener("click", () => $("help").close());
$("sample-close").addEventListener("click", () => $("sample").close());
$("sample-previous").addEventListener("click", () => step(-1));
$("sample-next").addEventListener("click", () => step(1));
$("sample").addEventListener("close", () => choose(state.chosen, true));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
window.addEventListener("hashchange", fromAddress);
try {
  const kept = localStorage.getItem("sightline-theme");
  if (kept === "dark" || kept === "light") setTheme(kept);
} catch {
  // As in setTheme.
}
readDataset();
