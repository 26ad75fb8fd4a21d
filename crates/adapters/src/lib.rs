//! Models outside the process, as models of this program.
//!
//! A model in any language joins a suite in one of two ways: as a program that answers JSON lines on its standard output
//! ([`protocol`], `docs/adapters.md`), or as a server with the HTTP interface that OpenAI made. Both become a
//! [`Model`](sightline_models::Model) that takes image files as they are, so that tasks ask them as they ask any other.
//!
//! What is outside is not trusted. Every request has a time limit and every answer is checked for its number, its length
//! and for values that are none; at most so many requests are on their way at once. A request without a right answer is
//! [`Unanswered`](sightline_models::Error::Unanswered): its sample failed, for a reason that can be counted, and the others
//! go on. A program that ends, stalls or breaks the protocol is started again, so often in a row; after that, it is
//! [`Gone`](sightline_models::Error::Gone).
//!
//! The crate reads no variables of the environment and knows no folders: its caller gives them in [`Around`].

mod endpoint;
mod error;
mod gate;
mod http;
mod log;
mod model;
mod process;
pub mod protocol;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use sightline_core::Digest;
use sightline_manifest::PlannedOutside;
use sightline_models::{Capability, Model};

pub use error::{Error, Result};
pub use gate::side_by_side;
pub use protocol::Hello;

use endpoint::Endpoint;
use model::{Backend, Outside};
use process::Process;

/// Names of variables that a program is always given, if they are set.
pub const ALWAYS: &[&str] = &["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT"];

/// What is around a model outside the process.
#[derive(Clone, Default)]
pub struct Around {
    /// The folder in which a program is started.
    pub folder: PathBuf,
    /// Variables of the environment; a program gets those of [`ALWAYS`] and those that its manifest names.
    pub environment: BTreeMap<String, OsString>,
    /// Where what a program writes to its standard error goes; `None` for nowhere.
    pub log: Option<PathBuf>,
}

impl fmt::Debug for Around {
    /// Names of variables, never their values: one of them is a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around")
            .field("folder", &self.folder)
            .field("environment", &self.environment.keys())
            .field("log", &self.log)
            .finish()
    }
}

/// A model outside the process, ready to be asked.
pub struct Adapter {
    backend: Arc<dyn Backend>,
    command: Digest,
}

impl Adapter {
    /// Starts the program or looks at the server that `outside` names, and asks what it can do.
    pub fn open(outside: &PlannedOutside, around: &Around) -> Result<Self> {
        let backend: Arc<dyn Backend> = match outside {
            PlannedOutside::Process(process) => Arc::new(Process::start(process, around)?),
            PlannedOutside::Endpoint(endpoint) => Arc::new(Endpoint::open(endpoint, around)?),
        };
        Ok(Self {
            backend,
            command: command(outside)?,
        })
    }

    /// What it said about itself.
    pub fn hello(&self) -> &Hello {
        self.backend.hello()
    }

    /// What can be asked of it, in the order of [`Capability::ALL`].
    pub fn offers(&self) -> Vec<Capability> {
        self.hello().offers()
    }

    /// The digest of how it is started, or where it is.
    pub fn command(&self) -> Digest {
        self.command
    }

    /// A vector of unit length for each text, of a program or server that embeds texts, whether or not it embeds images.
    pub fn embed_texts(&self, texts: &[&str]) -> sightline_models::Result<Vec<Vec<f32>>> {
        model::text_vectors(self.backend.as_ref(), texts).map_err(Into::into)
    }

    /// The model, which tasks ask.
    pub fn into_model(self) -> Box<dyn Model> {
        Box::new(Outside::new(self.backend))
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("hello", self.hello())
            .finish_non_exhaustive()
    }
}

/// The digest of what decides who answers: neither time limits nor how many requests are made at once.
fn command(outside: &PlannedOutside) -> Result<Digest> {
    let value: Value = match outside {
        PlannedOutside::Process(process) => json!({
            "command": process.command,
            "env": process.env,
            "images": process.images,
        }),
        PlannedOutside::Endpoint(endpoint) => json!({
            "url": endpoint.url,
            "model": endpoint.model,
            "capabilities": endpoint.capabilities,
        }),
    };
    Digest::of_json(&value).map_err(|source| Error::Json { source })
}
