"use strict";
// What every page of the board has: the choice of light or dark, and commands that can be copied.
const make = (tag, set = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), set);
  node.append(...inside);
  return node;
};
{
  const names = { "": "As the system", light: "Light", dark: "Dark" };
  const root = document.documentElement;
  // Where pages are files, some browsers keep nothing for them: then a choice lasts as long as the page.
  const kept = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("sightline-theme") ?? "";
      localStorage.setItem("sightline-theme", value);
    } catch { /* nothing is kept */ }
    return "";
  };
  const select = make("select", {}, ...Object.entries(names).map(([value, name]) => new Option(name, value)));
  const apply = (value) => {
    if (value) root.dataset.theme = value; else delete root.dataset.theme;
    select.value = value;
  };
  select.addEventListener("change", () => { apply(select.value); kept(select.value); });
  const now = kept();
  apply(now in names ? now : "");
  document.querySelector(".switches")?.append(make("label", {}, "Colours ", select));
}
if (navigator.clipboard) {
  for (const place of document.querySelectorAll(".command")) {
    const text = place.querySelector("code").textContent;
    const button = make("button", { type: "button" }, "Copy");
    button.setAttribute("aria-label", `Copy: ${text}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch { button.textContent = "Select it and copy"; }
    });
    place.append(button);
  }
}
