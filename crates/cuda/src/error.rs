//! What can go wrong between the program and a card.

use cudarc::driver::DriverError;
use sightline_core::Hint;

use crate::library::Wanted;

/// A card, or a library of NVIDIA's, that does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no driver.
    #[error("no NVIDIA driver is installed: libcuda.so.1 is not on the loader's path")]
    NoDriver,
    /// The driver is older than what the program was built for.
    #[error("the NVIDIA driver speaks CUDA {found}, needed is {needed} or newer")]
    OldDriver {
        /// What it speaks, as 12.4.
        found: String,
        /// What is needed.
        needed: String,
    },
    /// There is no such card.
    #[error("there is no card cuda:{wanted}; the driver sees {count}")]
    NoCard {
        /// Number of the card.
        wanted: usize,
        /// Cards that there are.
        count: usize,
    },
    /// A library that is not there.
    #[error("{} cannot be opened", wanted.name)]
    Missing {
        /// Which.
        wanted: Wanted,
        /// What was tried, and what the loader says.
        refused: Vec<String>,
    },
    /// A library without a function that is needed.
    #[error("{library} has no function `{function}`")]
    Function {
        /// Which library.
        library: &'static str,
        /// Which function.
        function: &'static str,
    },
    /// A kernel that does not compile.
    #[error("NVRTC does not compile `{name}`: {status}\n{log}")]
    Compile {
        /// File of the kernel.
        name: &'static str,
        /// What NVRTC says.
        status: String,
        /// The compiler's log.
        log: String,
    },
    /// nvJPEG's answer to a call.
    #[error("nvJPEG's {call}: {status}")]
    Nvjpeg {
        /// The function.
        call: &'static str,
        /// Its answer, by name.
        status: crate::nvjpeg::Status,
    },
    /// No memory left on the card.
    #[error("the card has no memory left for {bytes} bytes")]
    Memory {
        /// What was asked for.
        bytes: usize,
    },
    /// The driver's answer to a call.
    #[error("the driver cannot {doing}")]
    Driver {
        /// What was to be done.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: DriverError,
    },
}

impl Error {
    /// An answer of the driver to what was to be done.
    pub(crate) fn driver(doing: &'static str) -> impl FnOnce(DriverError) -> Self {
        move |source| Self::Driver { doing, source }
    }

    /// Whether the card itself is gone, or no longer usable by this process: nothing that is asked of it will succeed.
    pub fn is_lost(&self) -> bool {
        use cudarc::driver::sys::CUresult::{
            CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_ECC_UNCORRECTABLE,
            CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_FAILED,
            CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_NO_DEVICE, CUDA_ERROR_SYSTEM_NOT_READY,
            CUDA_ERROR_UNKNOWN,
        };
        match self {
            Self::Driver { source, .. } => matches!(
                source.0,
                CUDA_ERROR_CONTEXT_IS_DESTROYED
                    | CUDA_ERROR_ECC_UNCORRECTABLE
                    | CUDA_ERROR_HARDWARE_STACK_ERROR
                    | CUDA_ERROR_ILLEGAL_ADDRESS
                    | CUDA_ERROR_LAUNCH_FAILED
                    | CUDA_ERROR_LAUNCH_TIMEOUT
                    | CUDA_ERROR_NO_DEVICE
                    | CUDA_ERROR_SYSTEM_NOT_READY
                    | CUDA_ERROR_UNKNOWN
            ),
            _ => false,
        }
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoDriver => vec!["--device cpu needs none".to_owned()],
            Self::OldDriver { .. } => {
                vec!["install a newer driver, or take --device cpu".to_owned()]
            }
            Self::NoCard { count, .. } if *count > 0 => {
                vec![format!("cards are cuda:0 to cuda:{}", count - 1)]
            }
            Self::Missing { wanted, refused } => {
                let mut hints = vec![format!(
                    "pip install {}, or name the file in the environment variable {}",
                    wanted.package, wanted.variable
                )];
                hints.extend(refused.iter().map(|refused| format!("tried {refused}")));
                hints
            }
            Self::Memory { .. } => vec!["make batches smaller".to_owned()],
            _ => Vec::new(),
        }
    }
}
