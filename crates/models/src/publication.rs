//! Which files of a published repository a model is loaded from.
//!
//! Repositories hold the same weights in several formats, for several programs. One format is taken, and the small files
//! beside it: configurations, vocabularies, processor settings.

/// Weights in the order in which they are wanted: safetensors before pickles, `open_clip`'s before another program's, beside
/// which they hold both towers. The second of a pair is how the shards of an index end, which are called as its first.
const WEIGHTS: &[(&str, &str)] = &[
    ("open_clip_model", ".safetensors"),
    ("model", ".safetensors"),
    ("open_clip_pytorch_model", ".bin"),
    ("pytorch_model", ".bin"),
];

/// Endings of the small files.
const SETTINGS: &[&str] = &["json", "txt", "model", "yaml", "yml"];

/// Endings of other weights: a repository with one file of them, and no others, is about it.
const OTHERS: &[&str] = &["safetensors", "pth", "pt", "bin"];

/// Files that are neither settings nor weights of the model, whatever their ending.
const STRANGERS: &[&str] = &[
    "optimizer",
    "requirements.txt",
    "rng_state",
    "scheduler",
    "trainer_state.json",
    "training_args",
];

/// The files to load a model from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// Paths in the repository.
    pub files: Vec<String>,
    /// Whether there are weights among them, all shards included, and a configuration.
    pub is_enough: bool,
}

/// What is needed of a repository that holds `names`. Only what lies in its first folder is looked at.
///
/// ```
/// use sightline_models::publication::needed;
///
/// let names = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "onnx/config.json"];
/// let needed = needed(&names.map(str::to_owned));
/// assert_eq!(needed.files, ["config.json", "model.safetensors"]);
/// assert!(needed.is_enough);
/// ```
pub fn needed(names: &[String]) -> Needed {
    let mut top: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !name.contains('/') && !name.starts_with('.'))
        .filter(|name| !STRANGERS.iter().any(|stranger| name.starts_with(stranger)))
        .collect();
    top.sort_unstable();
    let weights = weights(&top);
    let is_setting = |name: &&&str| ends_in(name, SETTINGS) && !name.ends_with(".index.json");
    let settings: Vec<&str> = top.iter().filter(is_setting).copied().collect();
    let is_config = |name: &&str| ends_in(name, &["json", "yaml", "yml"]);
    let is_enough = !weights.is_empty() && settings.iter().any(is_config);
    let files = settings.iter().chain(&weights);
    let mut files: Vec<String> = files.map(|&name| name.to_owned()).collect();
    files.sort();
    files.dedup();
    Needed { files, is_enough }
}

/// One file, or an index and its shards; nothing if a shard is missing.
fn weights<'a>(top: &[&'a str]) -> Vec<&'a str> {
    for (stem, ending) in WEIGHTS {
        let whole = format!("{stem}{ending}");
        if let Some(found) = top.iter().find(|name| **name == whole) {
            return vec![found];
        }
        let index = format!("{whole}.index.json");
        let Some(index) = top.iter().find(|name| **name == index) else {
            continue;
        };
        // `model-00001-of-00003.safetensors`: how many there are stands in the name.
        let shards: Vec<&str> = top
            .iter()
            .copied()
            .filter(|name| shards_of(name, stem, ending).is_some())
            .collect();
        let wanted = shards
            .first()
            .and_then(|name| shards_of(name, stem, ending));
        if wanted == Some(shards.len()) {
            return [&shards[..], &[index]].concat();
        }
    }
    // A shard is not a model.
    let is_other = |name: &&str| ends_in(name, OTHERS) && !name.contains("-of-");
    let others: Vec<&str> = top.iter().copied().filter(is_other).collect();
    match others[..] {
        [only] => vec![only],
        _ => Vec::new(),
    }
}

/// Of how many shards the file is one.
fn shards_of(name: &str, stem: &str, ending: &str) -> Option<usize> {
    let numbers = name
        .strip_prefix(stem)?
        .strip_prefix('-')?
        .strip_suffix(ending)?;
    let (_, of) = numbers.split_once("-of-")?;
    of.parse().ok()
}

fn ends_in(name: &str, endings: &[&str]) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, ending)| endings.contains(&ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> (String, bool) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let needed = needed(&names);
        (needed.files.join(" "), needed.is_enough)
    }

    #[test]
    fn one_format_of_the_weights_is_taken() {
        let laion = [
            "config.json",
            "merges.txt",
            "model.safetensors",
            "open_clip_config.json",
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.bin",
            "pytorch_model.bin",
            "tokenizer.json",
        ];
        let (files, is_enough) = of(&laion);
        let wanted = "config.json merges.txt open_clip_config.json open_clip_model.safetensors tokenizer.json";
        assert_eq!((files.as_str(), is_enough), (wanted, true));
        let openai = [
            "config.json",
            "flax_model.msgpack",
            "pytorch_model.bin",
            "tf_model.h5",
            "vocab.json",
        ];
        assert_eq!(of(&openai).0, "config.json pytorch_model.bin vocab.json");
        // Safetensors of another program before a pickle of this one: pickles are the last resort.
        let both = [
            "config.json",
            "model.safetensors",
            "open_clip_pytorch_model.bin",
        ];
        assert_eq!(of(&both).0, "config.json model.safetensors");
        let own = [
            "virtex.yaml",
            "weights.pth",
            "optimizer.pt",
            "training_args.bin",
            ".gitattributes",
        ];
        assert_eq!(of(&own), ("virtex.yaml weights.pth".to_owned(), true));
    }

    #[test]
    fn shards_are_taken_with_their_index_and_only_all_of_them() {
        let all = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ];
        assert_eq!(of(&all), (all.join(" "), true));
        let one = [all[0], all[1], all[3]];
        assert!(!of(&one).1);
    }

    #[test]
    fn without_weights_or_a_configuration_there_is_not_enough() {
        assert!(!of(&[]).1);
        assert!(!of(&["config.json", "README.md"]).1);
        assert!(!of(&["model.safetensors"]).1);
        assert!(!of(&["config.json", "onnx/model.safetensors"]).1);
        assert!(!of(&["config.json", "a.pt", "b.pt"]).1);
    }
}
