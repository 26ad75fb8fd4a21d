//! The messages between this program and one that holds a model: JSON lines, version 1.
//!
//! `docs/adapters.md` describes every message for people who write such a program; this module holds what of them has a
//! fixed form. A request is one line of JSON with an `id` and an `op`, an answer one line with the same `id`; answers may
//! come in any order. Readers on both sides MUST ignore fields that they do not know. A line MUST NOT be longer than
//! [`MAX_LINE_BYTES`]: a program that never ends its line would fill this one's memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sightline_models::{Capability, Decoding, Strategy};

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;

/// Longest answer in bytes: a thousand vectors of 4096 values.
pub const MAX_LINE_BYTES: u64 = 64 << 20;

/// Most requests, or samples of one request, at once.
const MOST_IN_BATCH: usize = 1 << 12;

/// What a program says that it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// Images to vectors.
    EmbedImage,
    /// Texts to vectors of the same space.
    EmbedText,
    /// How well a text fits an image, as logarithmic odds.
    Score,
    /// How likely the tokens of a text are behind a prompt.
    Logprob,
    /// Text behind a prompt.
    Generate,
    /// Scores of the model's own labels.
    Classify,
    /// Boxes of named classes.
    Detect,
}

impl Op {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::EmbedImage,
        Self::EmbedText,
        Self::Score,
        Self::Logprob,
        Self::Generate,
        Self::Classify,
        Self::Detect,
    ];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmbedImage => "embed_image",
            Self::EmbedText => "embed_text",
            Self::Score => "score",
            Self::Logprob => "logprob",
            Self::Generate => "generate",
            Self::Classify => "classify",
            Self::Detect => "detect",
        }
    }
}

/// What a program says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol that it speaks: [`PROTOCOL`].
    pub protocol: u32,
    /// What it can do.
    pub capabilities: Vec<Op>,
    /// Who it is: name, weights, versions, whatever tells one model from another. Part of every lock.
    #[serde(default)]
    pub info: Map<String, Value>,
    /// Its space, of a program that embeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<Space>,
    /// Its labels, of a program that classifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classify: Option<Labels>,
    /// Whether prompts may hold text, and not images alone.
    #[serde(default = "yes")]
    pub reads_text: bool,
    /// Most samples of a request. More than 1 is faster, and what it answers about one sample must not depend on the
    /// others.
    #[serde(default = "one")]
    pub batch: usize,
}

/// A space of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// Values of a vector.
    pub width: usize,
    /// Factor from cosine to logit.
    #[serde(default = "unscaled")]
    pub scale: f32,
}

/// Labels of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Their names, in the order of the scores.
    pub labels: Vec<String>,
    /// Images that a text is about.
    #[serde(default = "one")]
    pub images: usize,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detected {
    /// Left, top, right and bottom in pixels of the image.
    #[serde(rename = "box")]
    pub edges: [f32; 4],
    /// Number of its class among those that were asked for, from 0.
    pub class: usize,
    /// How sure the model is: more is surer.
    pub score: f32,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn unscaled() -> f32 {
    1.0
}

impl Hello {
    /// Reads an answer to hello, or says in words what is wrong with it.
    pub(crate) fn read(answer: &Value) -> Result<Self, String> {
        let protocol = answer.get("protocol").unwrap_or(&Value::Null);
        if *protocol != PROTOCOL {
            return Err(format!(
                "protocol {protocol}, this version speaks {PROTOCOL}"
            ));
        }
        let known = |name: &Value| Op::ALL.iter().any(|op| *name == op.name());
        let named = answer.get("capabilities").and_then(Value::as_array);
        if let Some(other) = named.into_iter().flatten().find(|name| !known(name)) {
            let all = Op::ALL.map(Op::name).join(", ");
            return Err(format!("the capability {other}, which is none of {all}"));
        }
        let hello: Self = serde_json::from_value(answer.clone()).map_err(|e| e.to_string())?;
        let can = |op| hello.capabilities.contains(&op);
        let space = hello.embed.filter(|space| {
            (1..=1 << 16).contains(&space.width) && space.scale.is_finite() && space.scale > 0.0
        });
        let labels = hello.classify.as_ref();
        let labels = labels.filter(|it| !it.labels.is_empty() && (1..=8).contains(&it.images));
        if hello.capabilities.is_empty() {
            return Err("no capability".to_owned());
        }
        if (can(Op::EmbedImage) || can(Op::EmbedText)) && space.is_none() {
            return Err(
                "no `embed` of a positive `width` and `scale`, though it embeds".to_owned(),
            );
        }
        if can(Op::Classify) && labels.is_none() {
            return Err("no `classify` with `labels`, though it classifies".to_owned());
        }
        if !(1..=MOST_IN_BATCH).contains(&hello.batch) {
            return Err(format!(
                "a `batch` of {}, it must be from 1 to {MOST_IN_BATCH}",
                hello.batch
            ));
        }
        Ok(hello)
    }

    /// Whether it can do `op`.
    pub fn can(&self, op: Op) -> bool {
        self.capabilities.contains(&op)
    }

    /// What tasks can ask of it, in the order of [`Capability::ALL`].
    pub fn offers(&self) -> Vec<Capability> {
        let offers = |capability: &&Capability| match capability {
            Capability::Embed => self.can(Op::EmbedImage) && self.can(Op::EmbedText),
            Capability::Classify => self.can(Op::Classify),
            Capability::Match => self.can(Op::Score),
            Capability::Detect => self.can(Op::Detect),
            Capability::Generate => self.can(Op::Generate),
            Capability::Score => self.can(Op::Logprob),
            Capability::Answer => self.can(Op::Generate) && self.reads_text,
            _ => false,
        };
        Capability::ALL.iter().filter(offers).copied().collect()
    }
}

/// The decoding as a request names it.
pub(crate) fn decoding(decoding: &Decoding) -> Value {
    let mut value = match decoding.strategy {
        Strategy::Beam { width } => json!({ "strategy": "beam", "width": width }),
        Strategy::Nucleus { p } => json!({ "strategy": "nucleus", "p": p }),
        _ => json!({ "strategy": "greedy" }),
    };
    if let Some(most) = decoding.max_tokens {
        value["max_new_tokens"] = most.into();
    }
    value
}

/// The type of an image file by its first bytes.
pub(crate) fn media_type(file: &[u8]) -> &'static str {
    match file {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', ..] => "image/bmp",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "image/webp",
        _ => "application/octet-stream",
    }
}

/// An image as base64.
pub(crate) fn inline(file: &Bytes) -> Value {
    json!({ "base64": STANDARD.encode(file), "media_type": media_type(file) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(value: &Value) -> Result<Hello, String> {
        Hello::read(value)
    }

    #[test]
    fn a_hello_says_what_tasks_can_ask() {
        let said = hello(&json!({
            "id": 1, "protocol": 1, "later": true,
            "capabilities": ["embed_image", "embed_text", "generate"],
            "info": {"name": "x"}, "embed": {"width": 4},
        }))
        .unwrap();
        let offers = said.offers();
        let names: Vec<&str> = offers.iter().map(|capability| capability.name()).collect();
        assert_eq!(names, ["embed", "generate", "answer"]);
        assert_eq!((said.batch, said.embed.unwrap().scale), (1, 1.0));
        let half =
            hello(&json!({"protocol": 1, "capabilities": ["embed_image"], "embed": {"width": 4}}));
        assert!(half.unwrap().offers().is_empty());
    }

    #[test]
    fn a_hello_that_is_none_is_told_in_words() {
        for (value, words) in [
            (json!({}), "protocol null"),
            (
                json!({"protocol": 2, "capabilities": []}),
                "protocol 2, this version speaks 1",
            ),
            (json!({"protocol": 1, "capabilities": []}), "no capability"),
            (
                json!({"protocol": 1, "capabilities": ["emded_image"]}),
                "none of embed_image, embed_text",
            ),
            (
                json!({"protocol": 1, "capabilities": ["embed_text"]}),
                "no `embed`",
            ),
            (
                json!({"protocol": 1, "capabilities": ["embed_text"], "embed": {"width": 0}}),
                "no `embed`",
            ),
            (
                json!({"protocol": 1, "capabilities": ["classify"], "classify": {"labels": []}}),
                "no `classify`",
            ),
            (
                json!({"protocol": 1, "capabilities": ["generate"], "batch": 0}),
                "a `batch` of 0",
            ),
            (
                json!({"protocol": 1, "capabilities": "generate"}),
                "invalid type",
            ),
        ] {
            let told = hello(&value).unwrap_err();
            assert!(told.contains(words), "{value}: {told}");
        }
    }

    #[test]
    fn images_are_typed_by_their_bytes() {
        assert_eq!(media_type(b"\x89PNG\r\n"), "image/png");
        assert_eq!(media_type(b"RIFF\0\0\0\0WEBPVP8 "), "image/webp");
        assert_eq!(media_type(b""), "application/octet-stream");
    }
}
