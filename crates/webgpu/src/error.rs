//! What can go wrong with a device, and with one image on it.

use sightline_core::Hint;

/// A device that cannot be used, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no GPU that can be used, or not as many.
    #[error("no GPU number {index}: {looked_for} {}", listed(found))]
    NoAdapter {
        /// Which was asked for, from 0.
        index: usize,
        /// What was asked for GPUs.
        looked_for: String,
        /// Names of those that there are.
        found: Vec<String>,
    },
    /// The GPU lacks something that the kernel needs.
    #[error("`{adapter}` cannot run the kernel: {reason}")]
    Unfit {
        /// Name of the GPU.
        adapter: String,
        /// What is missing.
        reason: String,
    },
    /// The driver has given the GPU up: it was unplugged, reset or took too long.
    #[error("`{adapter}` was lost: {reason}")]
    Lost {
        /// Name of the GPU.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The driver or the library before it refuses what was asked of it.
    #[error("`{adapter}` refuses the work: {reason}")]
    Refused {
        /// Name of the GPU.
        adapter: String,
        /// Their words.
        reason: String,
    },
}

impl Error {
    /// Whether the machine has no such GPU, or none that can run the kernel; else it has one that failed.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NoAdapter { .. } | Self::Unfit { .. })
    }
}

/// What the driver or wgpu reports while work is handed over.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    OutOfMemory,
    Lost(String),
    Refused(String),
}

fn listed(found: &[String]) -> String {
    if found.is_empty() {
        return "finds none".to_owned();
    }
    let names: Vec<String> = (0..)
        .zip(found)
        .map(|(index, name)| format!("{index} is `{name}`"))
        .collect();
    format!("finds {}: {}", found.len(), names.join(", "))
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoAdapter { found, .. } if !found.is_empty() => {
                vec!["Name one of these, counted from 0.".to_owned()]
            }
            Self::NoAdapter { .. } if cfg!(target_os = "linux") => vec![
                "Install the driver of the GPU, with Vulkan. Without a GPU, `apt-get install mesa-vulkan-drivers libvulkan1` \
                 (Debian) gives a slow one in software."
                    .to_owned(),
            ],
            Self::NoAdapter { .. } => vec!["Install the driver of the GPU.".to_owned()],
            Self::Lost { .. } => vec![
                "Run the same command again; if it is lost again, with a smaller batch or on the CPU."
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

/// An image that a device did not turn into a tensor. The others of its batch are not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It alone needs a larger buffer than the driver allows.
    #[error("image needs a buffer of {bytes} bytes for {what}, limit of the GPU is {limit}")]
    TooLarge {
        /// What would be in the buffer.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The longest that there may be.
        limit: u64,
    },
    /// It alone needs more memory than the GPU has left.
    #[error("image needs more memory than the GPU has left")]
    OutOfMemory,
    /// The job does not fit its pixels or the tensor.
    #[error("{what} of the resize do not fit: {reason}")]
    Malformed {
        /// Which part of the job.
        what: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl JobError {
    /// A stable name in kebab-case, for tables and counts.
    pub fn class(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large-for-gpu",
            Self::OutOfMemory => "out-of-gpu-memory",
            Self::Malformed { .. } => "malformed-job",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_gpu_is_told_with_those_that_are_there() {
        let none = Error::NoAdapter {
            index: 0,
            looked_for: "Vulkan".to_owned(),
            found: Vec::new(),
        };
        assert_eq!(none.to_string(), "no GPU number 0: Vulkan finds none");
        assert_eq!(none.hints().len(), 1);
        let second = Error::NoAdapter {
            index: 1,
            looked_for: "Vulkan".to_owned(),
            found: vec!["llvmpipe".to_owned()],
        };
        assert_eq!(
            second.to_string(),
            "no GPU number 1: Vulkan finds 1: 0 is `llvmpipe`"
        );
    }
}
