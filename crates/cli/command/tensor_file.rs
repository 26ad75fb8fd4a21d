//! Tensors as files, row by row: how many rows there are is written at the end.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sightline_core::image_spec::Dtype;
use sightline_store::AtomicFile;

use crate::command::{exits, target};
use crate::exit::Failure;

/// Room for a header whose numbers are not known yet; a multiple of 64, as NPY wants it.
const HEADER_LEN_BYTES: usize = 256;

/// What the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Safetensors,
    Npy,
}

/// A tensor that grows row by row.
pub(crate) struct TensorForm {
    /// What it is called where the file has names.
    pub(crate) name: &'static str,
    /// Shape of a row.
    pub(crate) row: Vec<u64>,
    pub(crate) dtype: Dtype,
}

/// A file with one tensor, which grows.
pub(crate) struct TensorFile {
    path: PathBuf,
    file: AtomicFile,
    form: Form,
    tensor: TensorForm,
    rows: u64,
}

impl TensorFile {
    /// Begins a file, safetensors or NPY by its ending.
    pub(crate) fn create(path: &Path, tensor: TensorForm) -> Result<Self, Failure> {
        let doing = || format!("writing `{}`", path.display());
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        let form = match extension {
            "safetensors" => Form::Safetensors,
            "npy" => Form::Npy,
            _ => {
                let problem = "the name says neither `.safetensors` nor `.npy`";
                return Err(Failure::usage(doing(), problem));
            }
        };
        if form == Form::Npy && tensor.dtype == Dtype::Bf16 {
            let problem = "NPY has no bfloat16";
            return Err(Failure::usage(doing(), problem)
                .with_hint("Use a `.safetensors` file, or `--dtype f16`."));
        }
        let mut file = Self {
            path: path.to_owned(),
            file: AtomicFile::create(path)
                .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?,
            form,
            tensor,
            rows: 0,
        };
        file.file
            .write_all(&[b' '; HEADER_LEN_BYTES])
            .map_err(|e| file.failure(&e))?;
        Ok(file)
    }

    /// Appends the bytes of one row's values, little-endian.
    pub(crate) fn push(&mut self, row: &[u8]) -> Result<(), Failure> {
        self.rows += 1;
        self.file.write_all(row).map_err(|e| self.failure(&e))
    }

    /// Writes the header and gives the file its name; says what it holds. Another file of that name is
    /// replaced only with `force`.
    pub(crate) fn finish(mut self, force: bool) -> Result<String, Failure> {
        let header = self.header();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .map_err(|e| self.failure(&e))?;
        let about = format!(
            "{} [{}] {} in {}",
            self.tensor.name,
            self.shape(),
            name(self.tensor.dtype),
            self.path.display()
        );
        self.file.flush().map_err(|e| self.failure(&e))?;
        if target::is_to_be_replaced(&self.path, self.file.path(), force)? {
            let doing = format!("writing `{}`", self.path.display());
            self.file
                .commit()
                .map_err(|error| Failure::new(exits::store(&error), doing, &error))?;
        }
        Ok(about)
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::io(format!("writing `{}`", self.path.display()), error).with_exit(exits::io(error))
    }

    /// The tensor's shape, rows first; a comma behind every number but the last.
    fn shape(&self) -> String {
        let all = std::iter::once(&self.rows).chain(&self.tensor.row);
        let all: Vec<String> = all.map(u64::to_string).collect();
        all.join(", ")
    }

    fn header(&self) -> [u8; HEADER_LEN_BYTES] {
        let mut header = [b' '; HEADER_LEN_BYTES];
        let TensorForm { name, row, dtype } = &self.tensor;
        match self.form {
            Form::Safetensors => {
                let bytes = self.rows * row.iter().product::<u64>() * width(*dtype);
                let shape = self.shape().replace(' ', "");
                let dtype = match dtype {
                    Dtype::F32 => "F32",
                    Dtype::F16 => "F16",
                    Dtype::Bf16 => "BF16",
                };
                let json = format!(
                    r#"{{"{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[0,{bytes}]}}}}"#
                );
                let len = (HEADER_LEN_BYTES - 8) as u64;
                header[..8].copy_from_slice(&len.to_le_bytes());
                header[8..8 + json.len()].copy_from_slice(json.as_bytes());
            }
            Form::Npy => {
                let descr = match dtype {
                    Dtype::F16 => "<f2",
                    _ => "<f4",
                };
                let text = format!(
                    "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
                    self.shape()
                );
                let len = (HEADER_LEN_BYTES - 10) as u16;
                header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
                header[8..10].copy_from_slice(&len.to_le_bytes());
                header[10..10 + text.len()].copy_from_slice(text.as_bytes());
                header[HEADER_LEN_BYTES - 1] = b'\n';
            }
        }
        header
    }
}

/// Bytes of a value.
fn width(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::Bf16 => 2,
    }
}

fn name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    }
}
