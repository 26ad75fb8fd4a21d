//! A server with the HTTP interface that OpenAI made, which `vLLM`, `SGLang`, `llama.cpp`, `Ollama` and others have too.
//!
//! | asked for | request |
//! | --- | --- |
//! | `generate` | `/v1/chat/completions`, images as `data:` addresses in `image_url` |
//! | `embed_text` | `/v1/embeddings`; there is no standard for images |
//! | `logprob` | `/v1/completions` with `echo` and `logprobs`: how likely a text is without the image |
//!
//! Beam search has no place in this interface and is refused.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sightline_manifest::PlannedEndpoint;
use sightline_models::{Decoding, Prompt, Strategy};

use crate::Around;
use crate::error::{Error, Result, Trouble};
use crate::gate::Gate;
use crate::http::{Http, Settings};
use crate::model::{Backend, OwnedSegment, prompt_of};
use crate::protocol::{Hello, Op, PROTOCOL, media_type};

/// A server.
pub(crate) struct Endpoint {
    http: Http,
    model: String,
    hello: Hello,
    gate: Gate,
    at_once: usize,
}

impl Endpoint {
    /// Finds the key. Asks the server nothing, unless `logprob` has to be tried: not every one gives it.
    pub(crate) fn open(spec: &PlannedEndpoint, around: &Around) -> Result<Self> {
        let url = spec.url.clone();
        let server = |problem: String| Error::Server {
            url: url.clone(),
            problem,
        };
        let key = match &spec.key_env {
            None => None,
            Some(variable) => {
                let key = around
                    .environment
                    .get(variable)
                    .and_then(|key| key.to_str());
                let key = key.filter(|key| !key.trim().is_empty());
                Some(key.map(str::to_owned).ok_or_else(|| Error::NoKey {
                    variable: variable.clone(),
                    url: url.clone(),
                })?)
            }
        };
        let http = Http::new(Settings {
            url: url.clone(),
            key,
            timeout: Duration::from_secs_f64(spec.timeout_s),
            retries: spec.retries,
            per_minute: spec.requests_per_minute,
        })
        .map_err(server)?;
        let named = |op: &Op| spec.capabilities.iter().any(|name| name == op.name());
        let mut info = Map::new();
        info.insert("model".to_owned(), spec.model.clone().into());
        let endpoint = Self {
            http,
            model: spec.model.clone(),
            hello: Hello {
                protocol: PROTOCOL,
                capabilities: Op::ALL.into_iter().filter(named).collect(),
                info,
                embed: None,
                classify: None,
                reads_text: true,
                batch: 1,
            },
            gate: Gate::new(spec.at_once as usize),
            at_once: spec.at_once as usize,
        };
        if endpoint.hello.can(Op::Logprob) {
            endpoint.likelihood("a photo of a cat").map_err(|trouble| {
                let (Trouble::Unanswered(reason) | Trouble::Gone(reason)) = trouble;
                server(format!("gives no log-probabilities of a prompt: {reason}"))
            })?;
        }
        Ok(endpoint)
    }

    fn ask(&self, path: &str, mut body: Value) -> Result<Value, Trouble> {
        body["model"] = self.model.as_str().into();
        let _inside = self.gate.enter();
        self.http.post(path, &body)
    }

    /// What the model writes behind a prompt.
    fn chat(
        &self,
        segments: &[OwnedSegment<'_>],
        how: &Decoding,
        seed: u64,
    ) -> Result<String, Trouble> {
        let content: Vec<Value> = segments
            .iter()
            .map(|segment| match segment {
                OwnedSegment::Text(text) => json!({ "type": "text", "text": text }),
                OwnedSegment::Image(file) => {
                    let url = format!("data:{};base64,{}", media_type(file), STANDARD.encode(file));
                    json!({ "type": "image_url", "image_url": { "url": url } })
                }
            })
            .collect();
        let mut body = json!({ "messages": [{ "role": "user", "content": content }] });
        match how.strategy {
            Strategy::Greedy => body["temperature"] = 0.into(),
            Strategy::Nucleus { p } => {
                body["temperature"] = 1.into();
                body["top_p"] = p.into();
                body["seed"] = seed.into();
            }
            _ => {
                let reason = "a server of this interface decodes greedily or from a nucleus only";
                return Err(Trouble::Gone(reason.to_owned()));
            }
        }
        if let Some(most) = how.max_tokens {
            body["max_tokens"] = most.into();
        }
        let answer = self.ask("/v1/chat/completions", body)?;
        let choice = &answer["choices"][0];
        if choice["finish_reason"] == "content_filter" {
            return Err(Trouble::unanswered(
                "the server's filter withheld the answer",
            ));
        }
        let text = choice["message"]["content"].as_str();
        text.map(str::to_owned)
            .ok_or_else(|| Trouble::unanswered("answered without a text"))
    }

    /// The log-probabilities of the tokens of a text, but of the first, which has nothing before it.
    fn likelihood(&self, text: &str) -> Result<Vec<f64>, Trouble> {
        let body = json!({
            "prompt": text, "echo": true, "max_tokens": 0, "logprobs": 1, "temperature": 0,
        });
        let answer = self.ask("/v1/completions", body)?;
        let tokens = answer["choices"][0]["logprobs"]["token_logprobs"].as_array();
        let tokens = tokens.filter(|tokens| !tokens.is_empty());
        let tokens =
            tokens.ok_or_else(|| Trouble::unanswered("answered without `token_logprobs`"))?;
        let rest = tokens.iter().skip(usize::from(tokens[0].is_null()));
        let values = rest.map(Value::as_f64).collect::<Option<Vec<f64>>>();
        values.ok_or_else(|| Trouble::unanswered("answered `token_logprobs` of another form"))
    }
}

impl Backend for Endpoint {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    fn embed_images(&self, _: &[Bytes]) -> Result<Value, Trouble> {
        Err(cannot("embed images"))
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Value, Trouble> {
        if !self.hello.can(Op::EmbedText) {
            return Err(cannot("embed texts"));
        }
        let mut answer = self.ask("/v1/embeddings", json!({ "input": texts }))?;
        let rows = answer["data"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let mut by_index: Vec<(u64, Value)> = Vec::with_capacity(rows.len());
        for (at, mut row) in rows.into_iter().enumerate() {
            let index = row["index"].as_u64().unwrap_or(at as u64);
            by_index.push((index, row["embedding"].take()));
        }
        by_index.sort_by_key(|(index, _)| *index);
        let is_whole = by_index
            .iter()
            .zip(0..)
            .all(|((index, _), at)| *index == at);
        if !is_whole {
            return Err(Trouble::unanswered("answered vectors of other texts"));
        }
        let rows: Vec<Value> = by_index.into_iter().map(|(_, row)| row).collect();
        Ok(json!({ "embeddings": rows }))
    }

    fn score(&self, _: &[Bytes], _: &[&str]) -> Result<Value, Trouble> {
        Err(cannot("score pairs"))
    }

    fn logprob(&self, _: &[Bytes], texts: &[&str]) -> Result<Value, Trouble> {
        let all = texts.iter().map(|text| self.likelihood(text));
        let all: Vec<Vec<f64>> = all.collect::<Result<_, _>>()?;
        Ok(json!({ "logprobs": all }))
    }

    fn generate(
        &self,
        images: &[Bytes],
        prompts: &[Prompt<'_>],
        how: &Decoding,
    ) -> Result<Value, Trouble> {
        let mut texts = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let segments = prompt_of(images, prompt)?;
            // JSON numbers of other programs are exact up to 2^53.
            texts.push(self.chat(&segments, how, prompt.seed.0 >> 11)?);
        }
        Ok(json!({ "texts": texts }))
    }

    fn classify(&self, _: &[&[Bytes]], _: &[&str]) -> Result<Value, Trouble> {
        Err(cannot("classify"))
    }

    fn detect(&self, _: &Bytes, _: &[Vec<&str>]) -> Result<Value, Trouble> {
        Err(cannot("detect"))
    }
}

/// Nothing that tasks ask for: they look at what is offered before.
fn cannot(what: &str) -> Trouble {
    Trouble::Gone(format!("a server of this interface cannot {what}"))
}
