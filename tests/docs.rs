//! What README, CHANGELOG and the pages below `docs/` say about the program is what the program says.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::util::Sandbox;

/// A document, by its path.
fn documents() -> BTreeMap<String, String> {
    // Tests run in the folder of the package.
    let pages = fs::read_dir("docs").unwrap();
    let pages = pages.map(|entry| format!("docs/{}", entry.unwrap().file_name().display()));
    let names = ["README.md", "CHANGELOG.md"].map(str::to_owned);
    names
        .into_iter()
        .chain(pages.filter(|name| name.ends_with(".md")))
        .map(|name| (name.clone(), fs::read_to_string(&name).unwrap()))
        .collect()
}

/// What stands between backticks in `text`, which has no code blocks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `text` without its code blocks, and the lines in them, continued ones joined.
fn without_blocks(text: &str) -> (String, Vec<String>) {
    let (mut prose, mut code) = (String::new(), Vec::new());
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 0 {
            prose.push_str(part);
        } else {
            code.extend(part.replace("\\\n", " ").lines().map(str::to_owned));
        }
    }
    (prose, code)
}

/// `a-{1,2}` as `a-1` and `a-2`.
fn expanded(id: &str) -> Vec<String> {
    let Some((before, rest)) = id.split_once('{') else {
        return vec![id.to_owned()];
    };
    let (choices, after) = rest.split_once('}').unwrap();
    let after = expanded(after);
    choices
        .split(',')
        .flat_map(|choice| {
            after
                .iter()
                .map(move |after| format!("{before}{choice}{after}"))
        })
        .collect()
}

/// The help of every command, asked for once.
struct Helps {
    sandbox: Sandbox,
    known: RefCell<BTreeMap<String, String>>,
}

impl Helps {
    fn new() -> Self {
        Self {
            sandbox: Sandbox::new(),
            known: RefCell::default(),
        }
    }

    fn of(&self, command: &str) -> String {
        let ask = || {
            let help = self.sandbox.sightline(&format!("{command} --help"));
            help.expect(0).stdout
        };
        let mut known = self.known.borrow_mut();
        known.entry(command.to_owned()).or_insert_with(ask).clone()
    }

    /// Commands below `command`.
    fn below(&self, command: &str) -> Vec<String> {
        let help = self.of(command);
        let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let listed = listed.split("\n\n").next().unwrap_or_default().lines();
        listed
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|&name| name != "help")
            .map(str::to_owned)
            .collect()
    }

    /// The command that `words` begin with.
    fn command(&self, words: &[&str]) -> String {
        let mut command = String::new();
        for &word in words {
            if !self.below(&command).iter().any(|known| known == word) {
                break;
            }
            format!("{command} {word}").trim().clone_into(&mut command);
        }
        command
    }

    /// The flags of every command.
    fn all_flags(&self) -> BTreeSet<String> {
        let mut flags = BTreeSet::new();
        let mut commands = vec![String::new()];
        while let Some(command) = commands.pop() {
            flags.extend(flags_in(&self.of(&command)));
            let below = self.below(&command).into_iter();
            commands.extend(below.map(|name| format!("{command} {name}").trim().to_owned()));
        }
        flags
    }
}

/// Long flags in `text`.
fn flags_in(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.split(|c: char| c.is_whitespace() || "[](),`;".contains(c))
        .filter_map(|word| word.split('=').next()?.strip_prefix("--"))
        .map(|name| name.trim_end_matches(|c| !is_name(c)))
        .filter(|name| !name.is_empty() && name.chars().all(is_name))
        .map(|name| format!("--{name}"))
        .collect()
}

#[test]
fn every_metric_has_a_row_in_the_page_of_variants_and_every_row_a_metric() {
    let listed = Sandbox::new()
        .sightline("metrics list --json")
        .expect(0)
        .json();
    let listed = listed["metrics"].as_array().unwrap().iter();
    let listed: BTreeSet<String> = listed
        .map(|metric| metric["id"].as_str().unwrap().to_owned())
        .collect();
    let documents = documents();
    let rows = documents["docs/variants.md"].lines();
    let cells = rows.filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let described: Vec<String> = cells
        .flat_map(|cell| {
            spans(&format!("`{cell}"))
                .flat_map(expanded)
                .collect::<Vec<_>>()
        })
        .collect();
    let once: BTreeSet<String> = described.iter().cloned().collect();
    assert_eq!(once.len(), described.len(), "an id has two rows");
    assert_eq!(once, listed);
}

#[test]
fn commands_in_the_documents_exist_with_their_flags() {
    let helps = Helps::new();
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        let (prose, code) = without_blocks(&text);
        let lines = code.iter().map(String::as_str).chain(spans(&prose));
        for line in lines.filter(|line| line.starts_with("sightline ")) {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            let command = helps.command(&words);
            let help = helps.of(&command);
            let unknown = flags_in(line)
                .into_iter()
                .filter(|flag| !help.contains(flag));
            wrong.extend(unknown.map(|flag| format!("{name}: `{line}`: no {flag}")));
            let is_word = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if command.is_empty() && words.first().is_some_and(|word| is_word(word)) {
                wrong.push(format!("{name}: `{line}`: no such command"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn flags_that_the_changelog_and_the_readme_name_exist() {
    let flags = Helps::new().all_flags();
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        let (prose, _) = without_blocks(&text);
        let is_ours = |span: &&str| span.starts_with("--");
        for flag in spans(&prose).filter(is_ours).flat_map(flags_in) {
            if !flags.contains(&flag) {
                wrong.push(format!("{name}: {flag}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_published_checkpoint_has_its_row_on_the_page_of_models() {
    let (sandbox, documents) = (Sandbox::new(), documents());
    let rows = documents["docs/models.md"].lines();
    let rows: Vec<Vec<&str>> = rows
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut listed = 0;
    for entry in fs::read_dir("manifests/models").unwrap() {
        let path = std::path::absolute(entry.unwrap().path()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let manifests = path.parent().unwrap().parent().unwrap().to_str().unwrap();
        if ["clip", "constant", "random"].contains(&name) {
            // The family of that name is shown.
            continue;
        }
        let shown = ["models", "show", name, "--json", "--manifests", manifests];
        let card = sandbox.run(shown).expect(0).json();
        assert_eq!(card["schema"], 1);
        let published = &card["published"];
        if published.is_null() {
            continue;
        }
        let named = format!("`{name}`");
        let row = rows.iter().find(|row| row[0] == named && row.len() == 5);
        let row = row.unwrap_or_else(|| panic!("docs/models.md has no row of {name}"));
        let source = published["source"].as_str().unwrap();
        assert_eq!(row[1], source.trim_start_matches("https://"), "{name}");
        assert_eq!(row[2], published["licence"], "{name}");
        let millions: f64 = row[3].parse().unwrap();
        assert_eq!(published["parameters_millions"], millions, "{name}");
        let run_with = published["run_with"].as_str().unwrap();
        assert_eq!(row[4], run_with.replace('-', " "), "{name}");
        listed += 1;
    }
    let of_checkpoints = rows
        .iter()
        .filter(|row| row.len() == 5 && row[3].parse::<f64>().is_ok());
    assert_eq!(of_checkpoints.count(), listed);
}

#[test]
fn the_readme_names_every_command() {
    let documents = documents();
    let readme = &documents["README.md"];
    for command in Helps::new().below("") {
        let is_named = [format!("sightline {command}"), format!("`{command}`")]
            .iter()
            .any(|form| readme.contains(form));
        assert!(is_named, "README.md does not name `sightline {command}`");
    }
}
