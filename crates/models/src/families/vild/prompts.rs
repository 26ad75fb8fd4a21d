//! Sentences in which a class is named, and their mean as its place in CLIP's space.

use candle_core::Tensor;
use sightline_nn::unit_length;

use crate::detect::{Class, Vocabulary};
use crate::{Embed, Error, Result};

/// One a line; `{}` stands for the name, `{article}` for "a" or "an". A list in CLIP's manner, with those about a scene.
pub const TEMPLATES: &str = include_str!("templates.txt");

/// Sentences that are embedded together.
const PART: usize = 128;

/// The sentences about `name`.
pub fn sentences(name: &str) -> Vec<String> {
    let name = spoken(name);
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    let sentence = |template: &str| template.replace("{article}", article).replace("{}", &name);
    TEMPLATES.lines().map(sentence).collect()
}

/// A class's name as it is said: data sets write `alarm_clock` and `pliers/tongs`.
fn spoken(name: &str) -> String {
    let words = name.replace('_', " ").replace('/', " or ").to_lowercase();
    words.trim().trim_end_matches('.').to_owned()
}

/// For each class the mean of the unit vectors of the sentences about all its names, of unit length again.
pub fn vocabulary(embed: &dyn Embed, classes: &[Class<'_>]) -> Result<Vocabulary> {
    let mut rows = Vec::with_capacity(classes.len());
    for (number, class) in classes.iter().enumerate() {
        if class.names.is_empty() || class.names.iter().any(|name| spoken(name).is_empty()) {
            return Err(Error::ClassName { number });
        }
        let sentences = class.names.iter().flat_map(|name| sentences(name));
        let sentences: Vec<String> = sentences.collect();
        let mut vectors = Vec::new();
        for part in sentences.chunks(PART) {
            let part: Vec<&str> = part.iter().map(String::as_str).collect();
            vectors.push(embed.embed_texts(&part)?);
        }
        rows.push(Tensor::cat(&vectors, 0)?.mean_keepdim(0)?);
    }
    let embeddings = if rows.is_empty() {
        embed.embed_texts(&[])?
    } else {
        unit_length(&Tensor::cat(&rows, 0)?)?
    };
    Ok(Vocabulary {
        embeddings,
        is_base: classes.iter().map(|class| class.is_base).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_said_as_people_say_them() {
        let all = sentences("Alarm_Clock");
        assert!(all.contains(&"a photo of an alarm clock.".to_owned()));
        assert!(all.contains(&"There is an alarm clock in the scene.".to_owned()));
        assert!(sentences("pliers/tongs")[0].contains("a pliers or tongs"));
        assert_eq!(spoken(" Etc. "), "etc");
        assert!(all.iter().all(|sentence| !sentence.contains(['{', '}'])));
        assert!(TEMPLATES.lines().all(|line| line.contains("{}")));
    }
}
