//! Models on Hugging Face's hub, with the settings that its own tools read from the environment.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `HF_ENDPOINT` | the hub's address; one that is given may be private |
//! | `HF_HUB_CACHE` | the cache; else `hub` in `HF_HOME`, in `XDG_CACHE_HOME/huggingface`, in `~/.cache/huggingface` |
//! | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: nothing is asked of the network |

use std::env;
use std::path::{Path, PathBuf};

use sightline_core::HubName;
use sightline_core::hub::PREFIX;
use sightline_fetch::hub::{HubError, HubSpec, Snapshot, Wanted, snapshot};
use sightline_models::publication::needed;

use crate::exit::{Exit, Failure};
use crate::output::{Bar, note};
use crate::signal::Stop;

/// The name on the hub that a text is, if it says that it is one.
pub(crate) fn name(text: &Path) -> Option<Result<HubName, Failure>> {
    let text = text.to_str().filter(|text| text.starts_with(PREFIX))?;
    Some(text.parse().map_err(|error| {
        let doing = format!("reading the model's name `{text}`");
        Failure::usage(doing, format!("it {error}")).with_hint(
            "A name on the hub is `hf:OWNER/NAME@REVISION`; the revision is a commit, a branch or a tag, for example \
             `hf:openai/clip-vit-base-patch32@main`.",
        )
    }))
}

/// The folder with the files of `name`, downloaded if they are not in the cache, and the name with its commit.
pub(crate) fn fetch(name: &HubName, offline: bool) -> Result<(PathBuf, HubName), Failure> {
    let doing = || format!("fetching `{name}`");
    let spec = spec(offline)?;
    let stop = Stop::listen()?;
    let choose = |files: &[String]| {
        let needed = needed(files);
        Wanted {
            files: needed.files,
            is_enough: needed.is_enough,
        }
    };
    let fetched = snapshot(name, &spec, &choose, &Bar::default(), &stop.flag().into());
    let Snapshot {
        folder,
        commit,
        downloaded_bytes,
    } = fetched.map_err(|error| {
        let exit = match &error {
            HubError::Stopped { .. } => stop.exit(),
            error if error.is_usage() => Exit::Usage,
            HubError::Digest { .. } => Exit::No,
            _ => Exit::Environment,
        };
        Failure::new(exit, doing(), &error)
    })?;
    let resolved = name
        .at(&commit)
        .map_err(|error| Failure::usage(doing(), format!("`{commit}` {error}")))?;
    if downloaded_bytes > 0 {
        note(&format!("{name}: {downloaded_bytes} bytes downloaded"));
    }
    if !name.is_commit() {
        note(&format!("{name} is {resolved}"));
    }
    Ok((folder, resolved))
}

fn spec(offline: bool) -> Result<HubSpec, Failure> {
    let mut spec = HubSpec::new(cache()?);
    if let Some(endpoint) = of("HF_ENDPOINT") {
        spec.endpoint = endpoint.to_string_lossy().into_owned();
        spec.allow_private_addresses = true;
    }
    let is_on = |value: PathBuf| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        matches!(value.as_str(), "1" | "true" | "yes" | "on")
    };
    spec.offline = offline || of("HF_HUB_OFFLINE").is_some_and(is_on);
    Ok(spec)
}

/// Where the hub's own tools keep models.
fn cache() -> Result<PathBuf, Failure> {
    of("HF_HUB_CACHE")
        .or_else(|| of("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(of("HF_HOME")?.join("hub")))
        .or_else(|| Some(of("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(of("HOME")?.join(".cache/huggingface/hub")))
        .ok_or_else(|| {
            Failure::usage(
                "looking for the cache of models",
                "none of HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HOME is set",
            )
        })
}

fn of(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
