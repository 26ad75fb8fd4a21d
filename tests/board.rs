//! `sightline board` as a reader has it: in a browser, from a file, with and without the mouse.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::util::files;
use crate::watch::Watch;

/// The pages of tasks that the board has now, with what is in them.
fn pages(watch: &Watch) -> Vec<(PathBuf, String)> {
    let site = watch.sandbox.path("site");
    let data: Value = serde_json::from_slice(&fs::read(site.join("board.json")).unwrap()).unwrap();
    let names = data["pages"].as_array().unwrap().iter();
    let paths = names.map(|name| site.join("pages").join(name.as_str().unwrap()));
    paths
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// A board of two nights of three models, and its first page.
fn made(watch: &Watch) -> PathBuf {
    watch.night().expect(0);
    watch.worsen();
    watch.night();
    watch.sandbox.path("site/index.html")
}

#[test]
fn a_board_says_what_it_cannot_know_and_holds_what_it_can() {
    let watch = Watch::new(20);
    let sandbox = &watch.sandbox;
    let page = made(&watch);
    let html = fs::read_to_string(&page).unwrap();
    for part in [
        "All tasks",
        "To the row above",
        "class=\"spark\"",
        "sightline run",
        "sightline verify",
    ] {
        assert!(
            html.contains(part) || html.replace("&#x2f;", "/").contains(part),
            "{part}"
        );
    }
    let pages = pages(&watch);
    assert_eq!(pages.len(), 2);
    for (path, text) in &pages {
        let name = path.display();
        let text = text.replace("&#x2f;", "/");
        assert!(text.contains("data:image/jpeg;base64,"), "{name}");
        assert!(
            text.contains("12 of 20 samples"),
            "{name}: how many of how many"
        );
        assert!(!text.contains("<b>of many"), "captions are text");
        for foreign in ["http://", "https://", "<link", "@import", "url("] {
            assert!(!text.contains(foreign), "{name}: {foreign}");
        }
    }
    // The measurements are in the records.
    let records = files(&sandbox.path("records"), |name| name.ends_with(".json"));
    let record: Value = records
        .values()
        .map(|bytes| serde_json::from_slice(bytes).unwrap())
        .find(|record: &Value| record["model"]["name"] == "clip-tiny-random")
        .unwrap();
    assert!(
        record["model"]["size"]["parameters"].as_u64().unwrap() > 1000,
        "{record}"
    );
    let cost = &record["tasks"][0]["cost"];
    assert!(
        cost["sample_seconds"]["p50"].as_f64().unwrap() > 0.0,
        "{cost}"
    );
    if cfg!(target_os = "linux") {
        assert!(
            cost["peak_memory_bytes"].as_u64().unwrap() > 1 << 20,
            "{cost}"
        );
    }
    // A table for other programs.
    let mut reader = csv::Reader::from_path(sandbox.path("site/board.csv")).unwrap();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3 * 4, "models × metrics");

    // Without manifests, data or predictions the rest is made, and the board says why.
    fs::rename(sandbox.path("manifests"), sandbox.path("away")).unwrap();
    sandbox.sightline("board records --out bare").expect(0);
    let bare = fs::read_to_string(sandbox.path("bare/index.html")).unwrap();
    assert!(
        bare.contains("Neither tests between models nor samples"),
        "a reason"
    );
    sandbox
        .sightline("board records --out data-gone --suite away/suites/watch.toml --data nowhere")
        .expect(0);
    let gone = fs::read_to_string(sandbox.path("data-gone/index.html")).unwrap();
    assert!(gone.contains("nowhere"), "{gone}");
    sandbox
        .sightline("board records --out plain --records-only")
        .expect(0);
    // Records alone: still a page of each task for its trend.
    assert!(sandbox.path("plain/index.html").exists());
}

/// What the suite of [`Watch`] puts side by side.
const COMPARISON: &str = "\n[[comparison]]\nname = 'sees'\ntitle = 'Who looks knows the <b>colour</b>.'\n\
    metric = 'accuracy@1'\nrows = [\n\
    { model = 'clip-tiny-random', task = 'zero-shot-colours', label = 'looks' },\n\
    { model = 'random', task = 'zero-shot-colours', label = 'guesses' },\n]\n\
    floor = { model = 'constant', task = 'zero-shot-colours', label = 'always the same' }\n";

/// A run of the suite of `watch` with [`COMPARISON`], and the board of its records.
fn compared(watch: &Watch) -> String {
    let sandbox = &watch.sandbox;
    let suite = fs::read_to_string(sandbox.path("manifests/suites/watch.toml")).unwrap();
    sandbox.write("manifests/suites/watch.toml", suite + COMPARISON);
    let run = sandbox
        .sightline(
            "run manifests/suites/watch.toml --data data --checkpoint clip-tiny-random=checkpoint",
        )
        .expect(0);
    sandbox
        .sightline("board records --data data --out site")
        .expect(0);
    run.stdout
}

#[test]
fn comparisons_are_printed_and_drawn_and_lead_to_their_rows() {
    let watch = Watch::new(20);
    let printed = compared(&watch);
    let sandbox = &watch.sandbox;
    for part in [
        "watch · sees: Who looks knows the <b>colour</b>.",
        "looks",
        "100.0",
        "always the same",
        "n 20",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    let html = fs::read_to_string(sandbox.path("site/index.html")).unwrap();
    assert!(html.contains("Who looks knows the &lt;b&gt;colour&lt;&#x2f;b&gt;."));
    let links: Vec<&str> = html
        .split("<figure ")
        .nth(1)
        .and_then(|rest| rest.split("</figure>").next())
        .unwrap()
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(links.len(), 3, "two rows and the line");
    for link in links {
        assert_eq!(html.matches(&format!("id=\"{link}\"")).count(), 1, "{link}");
    }
    let text = fs::read(sandbox.path("site/board.json")).unwrap();
    let data: Value = serde_json::from_slice(&text).unwrap();
    let comparison = &data["suites"][0]["comparisons"][0];
    assert_eq!(comparison["rows"][0]["score"]["value"], 1.0);
    assert_eq!(comparison["line"]["label"], "always the same");

    // Another title makes no record outdated, and without the manifest the tables are there alone.
    let suite = fs::read_to_string(sandbox.path("manifests/suites/watch.toml")).unwrap();
    sandbox.write(
        "manifests/suites/watch.toml",
        suite.replace("Who looks", "Whoever looks"),
    );
    let count = || files(&sandbox.path("records"), |name| name.ends_with(".json")).len();
    let before = count();
    let again = sandbox
        .sightline(
            "run manifests/suites/watch.toml --data data --checkpoint clip-tiny-random=checkpoint",
        )
        .expect(0);
    assert_eq!(count(), before, "{}", again.stderr);
    assert!(again.stdout.contains("Whoever looks"), "{}", again.stdout);
    fs::rename(sandbox.path("manifests"), sandbox.path("away")).unwrap();
    sandbox
        .sightline("board records --out bare")
        .expect(0)
        .says(&["no comparisons of suite"]);
    let bare = fs::read_to_string(sandbox.path("bare/index.html")).unwrap();
    assert!(!bare.contains("<figure"));
}

#[test]
fn a_browser_draws_comparisons() {
    let watch = Watch::new(20);
    compared(&watch);
    let Some(mut browser) = Browser::start(&watch.sandbox.path("")) else {
        return;
    };
    browser.open(&watch.sandbox.path("site/index.html"), "");
    let labels = browser.texts("figure tbody th");
    assert_eq!(labels, ["looks", "guesses", "always the same"]);
    // The bar of the one that is always right is as wide as the track, and the other shorter.
    let widths = browser.value(
        "[...document.querySelectorAll('figure .fill')].map((it) => Math.round(it.getBoundingClientRect().width))",
    );
    let track = browser
        .value("Math.round(document.querySelector('figure .track').getBoundingClientRect().width)");
    assert_eq!(widths[0], track);
    assert!(widths[1].as_u64() < widths[0].as_u64(), "{widths}");
    assert!(track.as_u64().unwrap() > 100, "{track}");
    browser.value("document.querySelector('figure tbody th a').click()");
    let target = browser.value("document.querySelector(':target th .name').textContent");
    assert_eq!(target, "clip-tiny-random");
}

#[test]
fn the_same_records_make_the_same_site_and_old_pages_go() {
    let watch = Watch::new(12);
    let sandbox = &watch.sandbox;
    watch.night().expect(0);
    let site = || files(&sandbox.path("site"), |name| !name.starts_with("alerts"));
    let first = site();
    watch.night().expect(0);
    assert!(site() == first, "another board of the same records");
    watch.worsen();
    watch.night();
    watch.worsen();
    watch.night();
    let pages = files(&sandbox.path("site/pages"), |_| true);
    assert!(
        pages.len() <= 4,
        "this board's and the last one's: {:?}",
        pages.keys()
    );
    sandbox.write("site/pages/mine.html", "<!doctype html>mine");
    watch.night();
    assert!(
        sandbox.path("site/pages/mine.html").exists(),
        "what is not ours stays"
    );
}

#[test]
fn a_browser_sorts_filters_and_compares() {
    let watch = Watch::new(20);
    let page = made(&watch);
    let Some(mut browser) = Browser::start(&watch.sandbox.path("")) else {
        return;
    };
    browser.open(&page, "");
    let table = "section.task:nth-of-type(2) table";
    let models = format!("{table} tbody .name");
    let first = browser.texts(&models);
    assert_eq!(first.len(), 3, "{first:?}");

    // Sorting, by key alone: focus on the head of the first column.
    browser.value(&format!(
        "document.querySelector('{table} thead th.model button').focus()"
    ));
    browser.press("Enter");
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(browser.texts(&models), sorted);
    let order =
        format!("document.querySelector('{table} thead th.model').getAttribute('aria-sort')");
    assert_eq!(browser.value(&order), "ascending");
    browser.press(" ");
    sorted.reverse();
    assert_eq!(browser.texts(&models), sorted);
    assert_eq!(browser.value(&order), "descending");

    // Filtering: by words, and floors away.
    browser.value("{ const it = document.querySelector('.tools input[type=search]'); it.value = 'rand'; it.dispatchEvent(new Event('input')) }");
    assert!(
        browser
            .texts(&models)
            .iter()
            .all(|name| name.contains("rand"))
    );
    assert!(browser.texts(".tools output")[0].contains("rows shown"));
    browser.value("{ const it = document.querySelector('.tools input[type=search]'); it.value = ''; it.dispatchEvent(new Event('input')); document.querySelector('.tools input[type=checkbox]').click() }");
    assert_eq!(browser.texts(&models), ["clip-tiny-random"]);
    browser.value("document.querySelector('.tools input[type=checkbox]').click()");

    // Two rows lead to their comparison.
    browser.value(&format!("[...document.querySelectorAll('{table} tbody input')].slice(0, 2).forEach((it) => it.click())"));
    let link = browser.texts(".chosen a");
    assert!(link[0].starts_with("Compare "), "{link:?}");
    let href = browser.value("[...document.querySelectorAll('.chosen a')].find((it) => it.checkVisibility()).getAttribute('href')");
    let href = href.as_str().unwrap();
    let (file, part) = href.split_once('#').unwrap();
    browser.open(&watch.sandbox.path("site").join(file), &format!("#{part}"));
    let heads = browser.texts("table.pairs tbody .pair");
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].contains("samples paired"), "{heads:?}");
    let rows = browser.texts("table.pairs tbody tr:not(.pair) th");
    assert_eq!(rows, ["accuracy@1", "accuracy@5"]);
    // All pairs are there without a choice.
    browser.open(&watch.sandbox.path("site").join(file), "");
    assert_eq!(browser.texts("table.pairs tbody .pair").len(), 3);
}

#[test]
fn a_browser_shows_samples_and_finds_them() {
    let watch = Watch::new(20);
    made(&watch);
    let Some(mut browser) = Browser::start(&watch.sandbox.path("")) else {
        return;
    };
    let pages = pages(&watch);
    let is_it = |path: &PathBuf| path.to_string_lossy().contains("zero-shot");
    let (page, _) = pages.iter().find(|(path, _)| is_it(path)).unwrap();
    browser.open(page, "");
    let samples = browser.texts(".sample").len();
    assert_eq!(samples, 12);
    // Images are there and were decoded.
    let widths = browser.value("Promise.all([...document.images].map((it) => (it.loading = 'eager', it.decode().then(() => it.naturalWidth))))");
    assert!(
        widths
            .as_array()
            .unwrap()
            .iter()
            .all(|width| *width == json!(48)),
        "{widths}"
    );
    let answers = browser.texts("#sample-0 tbody tr");
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(browser.texts("#sample-0 .references")[0].contains("rectangle number"));
    assert!(
        browser
            .texts("#sample-0 table thead th")
            .contains(&"accuracy@1".to_owned())
    );

    let search = "{ const it = document.querySelector('.search input'); it.value = 'number 0 '; it.dispatchEvent(new Event('input')) }";
    browser.value(search);
    assert_eq!(browser.texts(".sample").len(), 1);
    assert!(browser.texts(".search output")[0].starts_with("1 of "));
    browser.value("{ const it = document.querySelector('.search input'); it.value = ''; it.dispatchEvent(new Event('input')) }");
    browser.value("{ const it = document.querySelector('.search select'); it.value = 'differs'; it.dispatchEvent(new Event('change')) }");
    assert!(browser.texts(".sample").len() < samples);
    // The way back.
    let back = browser.value("document.querySelector('.back a').href");
    assert!(
        back.as_str().unwrap().ends_with("site/index.html"),
        "{back}"
    );
}

#[test]
fn every_control_is_reached_by_key_and_seen_when_it_is() {
    let watch = Watch::new(12);
    let page = made(&watch);
    let Some(mut browser) = Browser::start(&watch.sandbox.path("")) else {
        return;
    };
    browser.open(&page, "");
    let controls = "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')].filter((it) => it.checkVisibility())";
    let all = browser
        .value(&format!("{controls}.length"))
        .as_u64()
        .unwrap();
    let mut reached = 0;
    for _ in 0..all + 5 {
        browser.press("Tab");
        let seen = browser.value(
            "(() => { const it = document.activeElement; if (it === document.body || it.dataset.reached) return 'again'; \
             it.dataset.reached = 1; const style = getComputedStyle(it); \
             return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 ? 'seen' : it.outerHTML.slice(0, 80) })()",
        );
        match seen.as_str().unwrap() {
            "again" => {}
            "seen" => reached += 1,
            other => panic!("focus cannot be seen: {other}"),
        }
    }
    let missed = browser.value(&format!(
        "{controls}.filter((it) => !it.dataset.reached).map((it) => it.outerHTML.slice(0, 80))"
    ));
    assert_eq!(reached, all, "{missed}");
    // Every control has a name, every table a caption, every head a scope.
    let nameless = browser.value(
        "[...document.querySelectorAll('input, select, button, a[href]')].filter((it) => !(it.getAttribute('aria-label') || it.textContent.trim() || it.labels?.[0]?.textContent.trim())).length",
    );
    assert_eq!(nameless, 0);
    assert_eq!(browser.value("[...document.querySelectorAll('table')].filter((it) => !it.caption?.textContent).length"), 0);
    assert_eq!(
        browser.value("[...document.querySelectorAll('th')].filter((it) => !it.scope).length"),
        0
    );
}

#[test]
fn colours_follow_the_system_or_the_reader_and_downloads_are_there() {
    let watch = Watch::new(12);
    let page = made(&watch);
    let Some(mut browser) = Browser::start(&watch.sandbox.path("")) else {
        return;
    };
    let paper = "getComputedStyle(document.body).backgroundColor";
    browser.prefer("light");
    browser.open(&page, "");
    let light = browser.value(paper);
    browser.prefer("dark");
    let dark = browser.value(paper);
    assert_ne!(light, dark);
    let choose = |scheme: &str| {
        format!(
            "{{ const it = document.querySelector('.switches select'); it.value = '{scheme}'; it.dispatchEvent(new Event('change')) }}"
        )
    };
    browser.value(&choose("light"));
    assert_eq!(browser.value(paper), light);
    browser.value(&choose(""));
    assert_eq!(browser.value(paper), dark);

    // Files beside the page, and the same in it.
    let links = browser.value("[...document.querySelectorAll('.downloads a')].map((it) => [it.getAttribute('href'), it.download])");
    let links: Vec<[String; 2]> = serde_json::from_value(links).unwrap();
    assert_eq!(links.len(), 4, "{links:?}");
    for [href, _] in &links[..2] {
        assert!(page.with_file_name(href).exists(), "{href}");
    }
    let csv = fs::read_to_string(page.with_file_name("board.csv")).unwrap();
    let held = browser.value(&format!("atob({}.split(',')[1])", json!(links[2][0])));
    assert_eq!(held.as_str().unwrap().lines().next(), csv.lines().next());
    let held = browser.value(&format!(
        "JSON.parse(atob({}.split(',')[1])).length",
        json!(links[3][0])
    ));
    assert_eq!(held, csv.lines().count() - 1);

    // In a narrow window nothing is wider than it.
    browser.resize(390, 800);
    assert_eq!(
        browser.value("document.documentElement.scrollWidth <= 390"),
        true
    );
}
