//! Where NVIDIA's libraries are looked for: they come with a driver, a toolkit, or the Python packages that PyTorch
//! brings, and none of these has to be on the loader's path.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::Error;

/// A library that is opened when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called in messages.
    pub name: &'static str,
    /// Environment variable with the path of the file, or of its folder.
    pub variable: &'static str,
    /// What its file names start with, `libnvjpeg.so`.
    pub file: &'static str,
    /// Package of the Python Package Index that holds it.
    pub package: &'static str,
}

/// nvJPEG, which decodes JPEG files.
pub const NVJPEG: Wanted = Wanted {
    name: "nvJPEG",
    variable: "SIGHTLINE_NVJPEG",
    file: "libnvjpeg",
    package: "nvidia-nvjpeg",
};

/// NVRTC, which compiles kernels.
pub const NVRTC: Wanted = Wanted {
    name: "NVRTC",
    variable: "SIGHTLINE_NVRTC",
    file: "libnvrtc",
    package: "nvidia-cuda-nvrtc",
};

/// Major versions whose interface is the same as far as it is used here, the newest first.
const VERSIONS: [u32; 3] = [13, 12, 11];

/// The places where libraries may be, read from an environment once.
///
/// In this order: the file or folder that the library's own variable names; the loader's path; `site-packages` of the
/// active Python environment and of `python3`; toolkits.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// What the variable of each library says.
    named: Vec<(&'static str, PathBuf)>,
    /// `site-packages` of Python environments.
    packages: Vec<PathBuf>,
    /// Folders of toolkits.
    toolkits: Vec<PathBuf>,
}

impl Places {
    /// The places that an environment names; `variable` looks one up, as `std::env::var_os` does.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| !path.as_os_str().is_empty())
        };
        let mut environments: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
            .into_iter()
            .filter_map(path)
            .collect();
        let search = variable("PATH").unwrap_or_default();
        for folder in std::env::split_paths(&search) {
            if folder.join("python3").exists()
                && let Some(prefix) = folder.parent()
            {
                environments.push(prefix.to_path_buf());
            }
        }
        let mut packages = Vec::new();
        for environment in environments {
            for library in children(&environment.join("lib"), "python3") {
                for name in ["site-packages", "dist-packages"] {
                    let folder = library.join(name);
                    if folder.is_dir() && !packages.contains(&folder) {
                        packages.push(folder);
                    }
                }
            }
        }
        let mut toolkits: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"]
            .into_iter()
            .filter_map(path)
            .collect();
        toolkits.push(PathBuf::from("/usr/local/cuda"));
        let named = [NVJPEG, NVRTC]
            .into_iter()
            .filter_map(|wanted| Some((wanted.variable, path(wanted.variable)?)));
        Self {
            named: named.collect(),
            packages,
            toolkits,
        }
    }

    /// The same, with the file or folder of one library given.
    #[must_use]
    pub fn with(mut self, wanted: Wanted, path: PathBuf) -> Self {
        self.named
            .retain(|(variable, _)| *variable != wanted.variable);
        self.named.push((wanted.variable, path));
        self
    }

    /// What is tried for a library, in order; names without a folder are left to the loader.
    pub fn candidates(&self, wanted: Wanted) -> Vec<PathBuf> {
        let named = self
            .named
            .iter()
            .find(|(variable, _)| *variable == wanted.variable);
        if let Some((_, path)) = named {
            // What somebody names is taken, or nothing is.
            return if path.is_dir() {
                files(path, wanted)
            } else {
                vec![path.clone()]
            };
        }
        let mut all: Vec<PathBuf> = VERSIONS
            .iter()
            .map(|version| format!("{}.so.{version}", wanted.file).into())
            .collect();
        for folder in &self.packages {
            for package in children(&folder.join("nvidia"), "") {
                all.extend(files(&package.join("lib"), wanted));
            }
            // torchvision brings its own, with a digest in its name.
            all.extend(files(&folder.join("torchvision.libs"), wanted));
        }
        for toolkit in &self.toolkits {
            for folder in [
                "lib64",
                "lib",
                "targets/x86_64-linux/lib",
                "targets/sbsa-linux/lib",
            ] {
                all.extend(files(&toolkit.join(folder), wanted));
            }
        }
        all
    }

    /// Opens the first candidate that the loader takes.
    pub fn open(&self, wanted: Wanted) -> Result<(Library, PathBuf), Error> {
        let mut refused = Vec::new();
        for path in self.candidates(wanted) {
            // SAFETY: NVIDIA's libraries, or what somebody names in their place, run their initialisers.
            match unsafe { Library::new(&path) } {
                Ok(library) => return Ok((library, path)),
                Err(error) => refused.push(format!("{}: {error}", path.display())),
            }
        }
        Err(Error::Missing { wanted, refused })
    }
}

/// Files of a library in a folder, the newest version first.
fn files(folder: &Path, wanted: Wanted) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in children(folder, wanted.file) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let rest = name.strip_prefix(wanted.file).unwrap_or_default();
        // `.so.13`, or a digest before it; not `libnvrtc-builtins.so`, nor `libnvrtc.alt.so`.
        let (digest, version) = rest.split_once(".so").unwrap_or((".", ""));
        let is_plain = digest.is_empty()
            || (digest.starts_with(['-', '.'])
                && digest[1..].len() == 8
                && digest[1..].bytes().all(|b| b.is_ascii_hexdigit()));
        if is_plain {
            let version: u32 = version
                .trim_start_matches('.')
                .split('.')
                .next()
                .and_then(|v| v.parse().ok())
                .unwrap_or(0);
            if version == 0 || VERSIONS.contains(&version) {
                found.push((version, path));
            }
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Files in the folder of `path` whose names start with `prefix`; none where the loader chose the folder.
pub(crate) fn beside(path: &Path, prefix: &str) -> Vec<PathBuf> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => children(folder, prefix),
        _ => Vec::new(),
    }
}

/// Entries of a folder whose names start with `prefix`, sorted; none if it is not there.
fn children(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tried_in_their_order_and_other_files_are_not() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"").unwrap();
            path
        };
        let wheel = make("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
        make("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc-builtins.so.13.0");
        make("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.alt.so.13");
        let bundled =
            make("venv/lib/python3.12/site-packages/torchvision.libs/libnvjpeg.a1b2c3d4.so.13");
        make("bin/python3");
        let old = make("lib/python3.9/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2");
        let toolkit = make("cuda/lib64/libnvrtc.so.12");
        make("cuda/lib64/libnvrtc.so.9");
        let at = |name: &str| Some(root.path().join(name).into_os_string());
        let places = Places::new(|name| match name {
            "VIRTUAL_ENV" => at("venv"),
            "PATH" => at("bin"),
            "CUDA_HOME" => at("cuda"),
            _ => None,
        });
        let loader = |version: u32| PathBuf::from(format!("libnvrtc.so.{version}"));
        let mut found = places.candidates(NVRTC);
        found.retain(|path| !path.starts_with("/usr/local/cuda"));
        assert_eq!(
            found,
            [
                loader(13),
                loader(12),
                loader(11),
                wheel,
                old,
                toolkit.clone()
            ]
        );
        assert!(places.candidates(NVJPEG).contains(&bundled));

        let named = places.clone().with(NVRTC, toolkit.clone());
        assert_eq!(named.candidates(NVRTC), std::slice::from_ref(&toolkit));
        let folder = places.with(NVRTC, root.path().join("cuda/lib64"));
        assert_eq!(folder.candidates(NVRTC), [toolkit]);
        let error = folder.open(NVRTC).unwrap_err();
        assert!(
            error.to_string().starts_with("NVRTC cannot be opened"),
            "{error}"
        );
    }
}
