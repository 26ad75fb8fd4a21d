//! NVRTC: from CUDA C to machine code for a card.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use libloading::Library;

use crate::Error;
use crate::library::{self, NVRTC, Places};

type Program = *mut c_void;

/// The compiler. Documented in NVIDIA's "NVRTC", version 13.0, whose functions are those of 11 and 12.
#[derive(Debug)]
pub struct Nvrtc {
    library: Library,
    /// What NVRTC asks the loader for by name only; once it is open, it is found.
    _companions: Vec<Library>,
    path: PathBuf,
}

/// The function `$name` of the library.
macro_rules! function {
    ($library:expr, $name:literal, fn($($argument:ty),* $(,)?) -> $result:ty) => {{
        // SAFETY: NVRTC's header declares the function with this type.
        unsafe { $library.get::<unsafe extern "C" fn($($argument),*) -> $result>($name) }
            .map_err(|_| Error::Function { library: "NVRTC", function: name_of($name) })
    }};
}

/// A name as it is in messages.
fn name_of(name: &'static [u8]) -> &'static str {
    std::str::from_utf8(name).unwrap_or("?")
}

impl Nvrtc {
    /// Opens the library.
    pub fn open(places: &Places) -> Result<Self, Error> {
        let (library, path) = places.open(NVRTC)?;
        let beside = library::beside(&path, "libnvrtc-builtins.so");
        // SAFETY: they belong to the library that was just opened.
        let companions = beside
            .iter()
            .filter_map(|path| unsafe { Library::new(path) }.ok());
        Ok(Self {
            _companions: companions.collect(),
            library,
            path,
        })
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Machine code for cards of compute capability `(major, minor)`. `name` is what messages call the source.
    pub fn compile(
        &self,
        name: &'static str,
        source: &str,
        (major, minor): (u32, u32),
    ) -> Result<Vec<u8>, Error> {
        let library = &self.library;
        let create = function!(
            library,
            b"nvrtcCreateProgram",
            fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> c_int
        )?;
        let compile = function!(
            library,
            b"nvrtcCompileProgram",
            fn(Program, c_int, *const *const c_char) -> c_int
        )?;
        let code_size = function!(
            library,
            b"nvrtcGetCUBINSize",
            fn(Program, *mut usize) -> c_int
        )?;
        let code = function!(library, b"nvrtcGetCUBIN", fn(Program, *mut c_char) -> c_int)?;
        let log_size = function!(
            library,
            b"nvrtcGetProgramLogSize",
            fn(Program, *mut usize) -> c_int
        )?;
        let log = function!(
            library,
            b"nvrtcGetProgramLog",
            fn(Program, *mut c_char) -> c_int
        )?;
        let destroy = function!(library, b"nvrtcDestroyProgram", fn(*mut Program) -> c_int)?;
        let message = function!(library, b"nvrtcGetErrorString", fn(c_int) -> *const c_char)?;

        let failed = |status: c_int, log: String| Error::Compile {
            name,
            // SAFETY: the answer is a string that lives as long as the library.
            status: unsafe { CStr::from_ptr(message(status)) }
                .to_string_lossy()
                .into_owned(),
            log,
        };
        let text = CString::new(source)
            .map_err(|_| failed(0, "the source holds a zero byte".to_owned()))?;
        let title =
            CString::new(name).map_err(|_| failed(0, "the name holds a zero byte".to_owned()))?;
        let options = [
            format!("--gpu-architecture=sm_{major}{minor}"),
            "--extra-device-vectorization".to_owned(),
        ]
        .map(|option| CString::new(option).expect("options hold no zero byte"));
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

        let mut program: Program = null_mut();
        // SAFETY: pointers live as long as the calls; sizes are those that the library gives.
        unsafe {
            let status = create(
                &raw mut program,
                text.as_ptr(),
                title.as_ptr(),
                0,
                null_mut(),
                null_mut(),
            );
            if status != 0 {
                return Err(failed(status, String::new()));
            }
            let read = |size_of: &dyn Fn(*mut usize) -> c_int,
                        read: &dyn Fn(*mut c_char) -> c_int| {
                let mut size = 0;
                let status = size_of(&raw mut size);
                if status != 0 {
                    return Err(status);
                }
                let mut bytes = vec![0u8; size];
                match read(bytes.as_mut_ptr().cast()) {
                    0 => Ok(bytes),
                    status => Err(status),
                }
            };
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let outcome = if status == 0 {
                read(&|size| code_size(program, size), &|to| code(program, to))
                    .map_err(|status| failed(status, String::new()))
            } else {
                let log = read(&|size| log_size(program, size), &|to| log(program, to))
                    .unwrap_or_default();
                let log = String::from_utf8_lossy(&log)
                    .trim_end_matches('\0')
                    .trim_end()
                    .to_owned();
                Err(failed(status, log))
            };
            destroy(&raw mut program);
            outcome
        }
    }
}
