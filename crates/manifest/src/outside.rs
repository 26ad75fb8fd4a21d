//! Models outside the process, in manifests: a program or a server, and what becomes of them in a plan.
//!
//! ```toml
//! schema = 1
//! model = "my-model"
//! family = "process"
//! description = "A pipeline of Hugging Face's, in Python."
//!
//! [process]
//! command = ["python3", "adapter.py"]
//! files = ["adapter.py"]           # optional: digested by every lock
//! folder = "adapters"              # optional: where it is started; of the data folder, or "./x" beside the manifest
//! env = ["HF_HOME"]                # optional: variables that it is given beside PATH, HOME and the language's
//! images = "base64"                # optional: or "path"
//! timeout_s = 60                   # optional, of each request
//! start_timeout_s = 600            # optional: until it says hello
//! restarts = 3                     # optional: in a row
//! at_once = 1                      # optional: requests on their way
//! ```
//!
//! ```toml
//! family = "openai"
//!
//! [endpoint]
//! url = "http://127.0.0.1:8000"
//! model = "llava-hf/llava-1.5-7b-hf"
//! capabilities = ["generate"]      # "generate", "embed_text", "logprob"
//! key_env = "OPENAI_API_KEY"       # optional: the variable that holds the key
//! timeout_s = 60                   # optional
//! retries = 4                      # optional, of each request
//! requests_per_minute = 600        # optional
//! at_once = 4                      # optional
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::check::{Checker, texts};
use crate::error::Fault;
use crate::folder::Kind;
use crate::plan::Place;
use crate::rules;
use crate::schema::{Model, Names};
use crate::span::SourceFile;

/// The family of programs.
pub const PROCESS: &str = "process";
/// The family of servers.
pub const ENDPOINT: &str = "openai";

/// Longest time limit, in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;
/// Most requests at once, restarts and tries.
const MAX_COUNT: u32 = 1 << 10;

/// A model outside the process, with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedOutside {
    /// A program.
    Process(PlannedProcess),
    /// A server.
    Endpoint(PlannedEndpoint),
}

/// A program that holds a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedProcess {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Patterns of files below `folder` that decide what it answers.
    pub files: Vec<String>,
    /// Where it is started.
    pub folder: Place,
    /// Variables that it is given.
    pub env: Vec<String>,
    /// How it is given images: `base64` or `path`.
    pub images: String,
    /// Longest time of a request in seconds.
    pub timeout_s: f64,
    /// Longest time until it says hello, in seconds.
    pub start_timeout_s: f64,
    /// How often in a row it is started again.
    pub restarts: u32,
    /// Requests on their way at once.
    pub at_once: u32,
}

/// A server that holds a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedEndpoint {
    /// Its address, without `/v1`.
    pub url: String,
    /// What it calls the model.
    pub model: String,
    /// What is asked of it: `generate`, `embed_text`, `logprob`.
    pub capabilities: Vec<String>,
    /// The variable that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Longest time of a request in seconds.
    pub timeout_s: f64,
    /// Further tries of a request.
    pub retries: u32,
    /// Most requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests on their way at once.
    pub at_once: u32,
}

/// A program as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenProcess {
    command: Names,
    files: Option<Names>,
    folder: Option<Spanned<String>>,
    env: Option<Names>,
    images: Option<Spanned<String>>,
    timeout_s: Option<Spanned<f64>>,
    start_timeout_s: Option<Spanned<f64>>,
    restarts: Option<Spanned<u32>>,
    at_once: Option<Spanned<u32>>,
}

/// A server as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenEndpoint {
    url: Spanned<String>,
    model: Spanned<String>,
    capabilities: Names,
    key_env: Option<Spanned<String>>,
    timeout_s: Option<Spanned<f64>>,
    retries: Option<Spanned<u32>>,
    requests_per_minute: Option<Spanned<u32>>,
    at_once: Option<Spanned<u32>>,
}

impl Checker<'_> {
    /// The program or server of a model's manifest, which is there exactly for the families of such.
    pub(crate) fn outside(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Model,
    ) -> Option<PlannedOutside> {
        let family = written.family.get_ref().as_str();
        let with = || format!("the family `{family}`");
        for (field, of, span) in [
            (
                "process",
                PROCESS,
                written.process.as_ref().map(Spanned::span),
            ),
            (
                "endpoint",
                ENDPOINT,
                written.endpoint.as_ref().map(Spanned::span),
            ),
        ] {
            match span {
                Some(span) if family != of => {
                    let with = with();
                    self.tell_at(file, span, Fault::MeaninglessWith { field, with });
                }
                None if family == of => {
                    let with = with();
                    self.tell_at(
                        file,
                        written.family.span(),
                        Fault::MissingWith { field, with },
                    );
                }
                _ => {}
            }
        }
        match family {
            PROCESS => {
                let process = written.process.as_ref()?;
                self.process(file, process.get_ref())
                    .map(PlannedOutside::Process)
            }
            ENDPOINT => {
                let endpoint = written.endpoint.as_ref()?;
                self.endpoint(file, endpoint.get_ref())
                    .map(PlannedOutside::Endpoint)
            }
            _ => None,
        }
    }

    fn process(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenProcess,
    ) -> Option<PlannedProcess> {
        if written.command.get_ref().is_empty() {
            self.tell_at(
                file,
                written.command.span(),
                Fault::Empty { field: "command" },
            );
        }
        if let Some(files) = &written.files {
            self.list("files", "file", file, files);
            for name in files.get_ref() {
                self.keep(file, name.span(), rules::place(name.get_ref(), ""));
            }
        }
        let own = Kind::Model.folder();
        let folder = match &written.folder {
            Some(folder) => {
                let place = rules::place(folder.get_ref(), own);
                self.keep(file, folder.span(), place)?
            }
            None => Place::Manifests(own.to_owned()),
        };
        let forms = ["base64", "path"].map(str::to_owned);
        let images = match &written.images {
            Some(images) => self.known("images", file, images, &forms)?,
            None => forms[0].clone(),
        };
        let listed = |names: &Option<Names>| names.as_ref().map(texts).unwrap_or_default();
        Some(PlannedProcess {
            command: texts(&written.command),
            files: listed(&written.files),
            folder,
            env: listed(&written.env),
            images,
            timeout_s: self.seconds("timeout_s", file, written.timeout_s.as_ref(), 60.0)?,
            start_timeout_s: self.seconds(
                "start_timeout_s",
                file,
                written.start_timeout_s.as_ref(),
                600.0,
            )?,
            restarts: self.count_or("restarts", file, written.restarts.as_ref(), 0, 3)?,
            at_once: self.count_or("at_once", file, written.at_once.as_ref(), 1, 1)?,
        })
    }

    fn endpoint(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenEndpoint,
    ) -> Option<PlannedEndpoint> {
        let address = address(written.url.get_ref(), written.key_env.is_some());
        let url = self.keep(file, written.url.span(), address);
        self.list("capabilities", "capability", file, &written.capabilities);
        let known = ["generate", "embed_text", "logprob"].map(str::to_owned);
        let mut capabilities = Vec::new();
        for name in written.capabilities.get_ref() {
            capabilities.extend(self.known("capability of a server", file, name, &known));
        }
        let per_minute = match &written.requests_per_minute {
            Some(most) => Some(self.keep(
                file,
                most.span(),
                rules::range("requests_per_minute", *most.get_ref(), &(1..=1_000_000)),
            )?),
            None => None,
        };
        Some(PlannedEndpoint {
            url: url?,
            model: written.model.get_ref().clone(),
            capabilities,
            key_env: written.key_env.as_ref().map(|name| name.get_ref().clone()),
            timeout_s: self.seconds("timeout_s", file, written.timeout_s.as_ref(), 60.0)?,
            retries: self.count_or("retries", file, written.retries.as_ref(), 0, 4)?,
            requests_per_minute: per_minute,
            at_once: self.count_or("at_once", file, written.at_once.as_ref(), 1, 4)?,
        })
    }

    fn seconds(
        &mut self,
        field: &'static str,
        file: &Arc<SourceFile>,
        written: Option<&Spanned<f64>>,
        usual: f64,
    ) -> Option<f64> {
        let Some(written) = written else {
            return Some(usual);
        };
        let checked = rules::range(field, *written.get_ref(), &(0.001..=MAX_SECONDS));
        self.keep(file, written.span(), checked)
    }

    fn count_or(
        &mut self,
        field: &'static str,
        file: &Arc<SourceFile>,
        written: Option<&Spanned<u32>>,
        least: u32,
        usual: u32,
    ) -> Option<u32> {
        let Some(written) = written else {
            return Some(usual);
        };
        let checked = rules::range(field, *written.get_ref(), &(least..=MAX_COUNT));
        self.keep(file, written.span(), checked)
    }
}

/// The address of a server: nothing of a user in it, and no key over an open line to another machine.
fn address(written: &str, has_key: bool) -> Result<String, Fault> {
    let refuse = |reason| Fault::Address {
        url: written.to_owned(),
        reason,
    };
    let (is_open, rest) = match (
        written.strip_prefix("http://"),
        written.strip_prefix("https://"),
    ) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(refuse("begins with neither `http://` nor `https://`")),
    };
    if rest.is_empty() || rest.starts_with('/') {
        return Err(refuse("names no server"));
    }
    if written.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refuse("holds a space or a control character"));
    }
    if rest.contains(['@', '?', '#']) {
        return Err(refuse("holds a user, a query or a fragment"));
    }
    if rest.trim_end_matches('/').ends_with("/v1") {
        return Err(refuse("ends with `/v1`, which is added to it"));
    }
    let host = rest.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_here = name == "localhost" || name.starts_with("127.") || name == "[::1]";
    if has_key && is_open && !is_here {
        return Err(refuse(
            "would send the key to another machine without encryption",
        ));
    }
    Ok(written.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_server_and_no_secret() {
        for (url, has_key) in [
            ("http://127.0.0.1:8000", true),
            ("http://localhost:8000/", true),
            ("https://api.example.com", true),
            ("http://gpu-3:8000/proxy", false),
        ] {
            assert!(address(url, has_key).is_ok(), "{url}");
        }
        for (url, has_key, reason) in [
            ("ftp://a", false, "neither"),
            ("http://", false, "no server"),
            ("https://me:secret@a", false, "a user"),
            ("https://a/v1", false, "`/v1`"),
            ("http://gpu-3:8000", true, "without encryption"),
            ("http://127.example.com@b", true, "a user"),
            ("https://a b", false, "a space"),
        ] {
            let told = address(url, has_key).unwrap_err().to_string();
            assert!(told.contains(reason), "{url}: {told}");
        }
    }
}
