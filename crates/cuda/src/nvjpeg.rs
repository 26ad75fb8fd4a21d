//! nvJPEG: JPEG files to RGB pixels in a card's memory, by the hardware engines in batches, or by the multiprocessors
//! with a thread of the host for each file.
//!
//! Documented in NVIDIA's "nvJPEG", version 13.0; the functions used here have been the same since 11.6. Its pixels
//! differ from libjpeg-turbo's by some levels where chroma is enlarged.

use std::collections::HashMap;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Arc;

use libloading::Library;

use crate::Error;
use crate::library::{NVJPEG, Places};

/// nvJPEG's answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// The file is no JPEG file, or not one of the kinds that this back end decodes: another may.
    pub fn is_of_the_file(self) -> bool {
        // Bad, not supported, incomplete; internal errors are given for some broken files too.
        matches!(self.0, 3 | 4 | 6 | 8 | 9 | 10)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "not initialised",
            2 => "invalid parameter",
            3 => "bad JPEG file",
            4 => "JPEG file of a kind that is not supported",
            5 => "no memory",
            6 => "execution failed",
            7 => "the card is too old",
            8 => "internal error",
            9 => "not supported by this back end",
            10 => "incomplete file",
            code => return write!(f, "answer {code}"),
        };
        f.write_str(name)
    }
}

/// Where the pixels of a file go: RGB interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address of the first pixel in the card's memory.
    pub address: u64,
    /// Bytes from row to row.
    pub stride: u32,
}

/// A stream of the driver.
pub type Stream = *mut c_void;

type Handle = *mut c_void;
type Answer = c_int;

/// Pictures as nvJPEG names them, `nvjpegImage_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Picture {
    channels: [u64; 4],
    strides: [usize; 4],
}

impl From<Target> for Picture {
    fn from(target: Target) -> Self {
        Self {
            channels: [target.address, 0, 0, 0],
            strides: [target.stride as usize, 0, 0, 0],
        }
    }
}

/// `NVJPEG_OUTPUT_RGBI`.
const INTERLEAVED: c_int = 5;
/// `NVJPEG_BACKEND_DEFAULT`, `.._HYBRID` (Huffman codes on the host), `.._GPU_HYBRID`, `.._HARDWARE`.
const DEFAULT: c_int = 0;
const HYBRID: c_int = 1;
const GPU_HYBRID: c_int = 2;
const HARDWARE: c_int = 3;

/// A function of the library, and its name.
type Named<F> = (&'static str, F);

/// Declares the functions that are used, and opens all of them.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*);)*) => {
        /// The functions of the library.
        struct Functions {
            $($field: Named<unsafe extern "C" fn($($argument),*) -> Answer>,)*
        }

        impl Functions {
            fn open(library: &Library) -> Result<Self, Error> {
                Ok(Self {
                    // SAFETY: nvJPEG's header declares the functions with these types.
                    $($field: ($name, unsafe { *library.get($name).map_err(|_| Error::Function {
                        library: "nvJPEG",
                        function: $name,
                    })? }),)*
                })
            }
        }
    };
}

functions! {
    create = "nvjpegCreateEx": fn(c_int, *const c_void, *const c_void, c_uint, *mut Handle);
    destroy = "nvjpegDestroy": fn(Handle);
    state_create = "nvjpegJpegStateCreate": fn(Handle, *mut Handle);
    state_destroy = "nvjpegJpegStateDestroy": fn(Handle);
    batch_start = "nvjpegDecodeBatchedInitialize": fn(Handle, Handle, c_int, c_int, c_int);
    batch_decode = "nvjpegDecodeBatched": fn(Handle, Handle, *const *const c_uchar, *const usize, *mut Picture, Stream);
    batch_supported = "nvjpegDecodeBatchedSupported": fn(Handle, Handle, *mut c_int);
    stream_create = "nvjpegJpegStreamCreate": fn(Handle, *mut Handle);
    stream_destroy = "nvjpegJpegStreamDestroy": fn(Handle);
    parse_header = "nvjpegJpegStreamParseHeader": fn(Handle, *const c_uchar, usize, Handle);
    parse = "nvjpegJpegStreamParse": fn(Handle, *const c_uchar, usize, c_int, c_int, Handle);
    decoder_create = "nvjpegDecoderCreate": fn(Handle, c_int, *mut Handle);
    decoder_destroy = "nvjpegDecoderDestroy": fn(Handle);
    decoder_state = "nvjpegDecoderStateCreate": fn(Handle, Handle, *mut Handle);
    pinned_create = "nvjpegBufferPinnedCreate": fn(Handle, *const c_void, *mut Handle);
    pinned_destroy = "nvjpegBufferPinnedDestroy": fn(Handle);
    device_create = "nvjpegBufferDeviceCreate": fn(Handle, *const c_void, *mut Handle);
    device_destroy = "nvjpegBufferDeviceDestroy": fn(Handle);
    attach_pinned = "nvjpegStateAttachPinnedBuffer": fn(Handle, Handle);
    attach_device = "nvjpegStateAttachDeviceBuffer": fn(Handle, Handle);
    params_create = "nvjpegDecodeParamsCreate": fn(Handle, *mut Handle);
    params_destroy = "nvjpegDecodeParamsDestroy": fn(Handle);
    params_format = "nvjpegDecodeParamsSetOutputFormat": fn(Handle, c_int);
    decode_host = "nvjpegDecodeJpegHost": fn(Handle, Handle, Handle, Handle, Handle);
    decode_transfer = "nvjpegDecodeJpegTransferToDevice": fn(Handle, Handle, Handle, Handle, Stream);
    decode_device = "nvjpegDecodeJpegDevice": fn(Handle, Handle, Handle, *mut Picture, Stream);
}

/// The library.
pub struct Nvjpeg {
    functions: Functions,
    /// Keeps the functions where they are.
    _library: Library,
    path: PathBuf,
}

impl fmt::Debug for Nvjpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvjpeg")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Calls a function; its answer as a result.
macro_rules! call {
    ($nvjpeg:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: handles are those that the library gave and has not yet taken back; pointers are to memory that lives
        // through the call, and what the library keeps of them is kept alive by the struct that calls.
        let (name, function) = $nvjpeg.functions.$function;
        match unsafe { function($($argument),*) } {
            0 => Ok(()),
            answer => Err(Error::Nvjpeg { call: name, status: Status(answer) }),
        }
    }};
}

impl Nvjpeg {
    /// Opens the library.
    pub fn open(places: &Places) -> Result<Arc<Self>, Error> {
        let (library, path) = places.open(NVJPEG)?;
        Ok(Arc::new(Self {
            functions: Functions::open(&library)?,
            _library: library,
            path,
        }))
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle of a back end; an error where the card has none.
    fn handle(self: &Arc<Self>, back_end: c_int) -> Result<Owned, Error> {
        self.owned(Kind::Library, |to| {
            call!(self, create(back_end, null_mut(), null_mut(), 0, to))
        })
    }

    fn owned(
        self: &Arc<Self>,
        kind: Kind,
        make: impl FnOnce(*mut Handle) -> Result<(), Error>,
    ) -> Result<Owned, Error> {
        let mut handle = null_mut();
        make(&raw mut handle)?;
        Ok(Owned {
            nvjpeg: Arc::clone(self),
            handle,
            kind,
        })
    }
}

/// What a handle is of, and so how it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Library,
    State,
    File,
    Decoder,
    Pinned,
    Device,
    Params,
}

/// A handle that is given back when it is dropped.
#[derive(Debug)]
struct Owned {
    nvjpeg: Arc<Nvjpeg>,
    handle: Handle,
    kind: Kind,
}

// SAFETY: nvJPEG's handles may be used by any thread, one at a time.
unsafe impl Send for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        let functions = &self.nvjpeg.functions;
        let destroy = match self.kind {
            Kind::Library => functions.destroy.1,
            Kind::State => functions.state_destroy.1,
            Kind::File => functions.stream_destroy.1,
            Kind::Decoder => functions.decoder_destroy.1,
            Kind::Pinned => functions.pinned_destroy.1,
            Kind::Device => functions.device_destroy.1,
            Kind::Params => functions.params_destroy.1,
        };
        // SAFETY: the handle came from the matching call, and nothing uses it any more.
        unsafe { destroy(self.handle) };
    }
}

/// The hardware engines: many files at once, of the kinds that they know (baseline).
#[derive(Debug)]
pub struct Hardware {
    // Dropped in this order.
    /// A state for each number of files that is a power of four, made when it is needed: to prepare one for another
    /// number takes longer than to decode.
    states: [Option<Owned>; SIZES],
    file: Owned,
    library: Owned,
    /// Whether the engines know files of a kind, by [`kind_of`].
    known: HashMap<u64, bool>,
    pointers: Vec<usize>,
    lengths: Vec<usize>,
    pictures: Vec<Picture>,
}

impl Hardware {
    /// The engines of the card whose context is this thread's; an error where it has none.
    pub fn new(nvjpeg: &Arc<Nvjpeg>) -> Result<Self, Error> {
        Self::of(nvjpeg, HARDWARE)
    }

    /// The same calls on the back end that the library chooses, for cards without engines.
    pub fn without_engines(nvjpeg: &Arc<Nvjpeg>) -> Result<Self, Error> {
        Self::of(nvjpeg, DEFAULT)
    }

    fn of(nvjpeg: &Arc<Nvjpeg>, back_end: c_int) -> Result<Self, Error> {
        let library = nvjpeg.handle(back_end)?;
        Ok(Self {
            states: [const { None }; SIZES],
            file: nvjpeg.owned(Kind::File, |to| {
                call!(nvjpeg, stream_create(library.handle, to))
            })?,
            library,
            known: HashMap::new(),
            pointers: Vec::new(),
            lengths: Vec::new(),
            pictures: Vec::new(),
        })
    }

    /// Whether the engines know files of this kind.
    pub fn accepts(&mut self, file: &[u8]) -> bool {
        let kind = kind_of(file);
        if let Some(known) = kind.and_then(|kind| self.known.get(&kind)) {
            return *known;
        }
        let nvjpeg = &self.library.nvjpeg;
        let mut refused = 1;
        let known = call!(
            nvjpeg,
            parse_header(
                self.library.handle,
                file.as_ptr(),
                file.len(),
                self.file.handle
            )
        )
        .and_then(|()| {
            call!(
                nvjpeg,
                batch_supported(self.library.handle, self.file.handle, &raw mut refused)
            )
        });
        let is_known = known.is_ok() && refused == 0;
        if let (Some(kind), Ok(())) = (kind, known) {
            self.known.insert(kind, is_known);
        }
        is_known
    }

    /// Decodes files, each to its target. On `stream` the work is in order with what else is there. An error is one of the
    /// batch as a whole: which file it was is not said.
    ///
    /// # Safety
    /// `stream` is one of the context that this was made in, which is this thread's. Targets have room for their pictures
    /// in that context. Files and targets stay, and are not used otherwise, until the stream has done the work.
    pub unsafe fn decode(
        &mut self,
        files: &[&[u8]],
        targets: &[Target],
        stream: Stream,
    ) -> Result<(), Error> {
        assert_eq!(files.len(), targets.len(), "a target for each file");
        let mut start = 0;
        while start < files.len() {
            let size = ((files.len() - start).ilog2() / 2).min(SIZES as u32 - 1);
            let part = start..start + (1 << (2 * size));
            // SAFETY: the caller's.
            unsafe {
                self.decode_part(
                    &files[part.clone()],
                    &targets[part.clone()],
                    size as usize,
                    stream,
                )?;
            };
            start = part.end;
        }
        Ok(())
    }

    /// As [`Self::decode`] for `4^size` files.
    unsafe fn decode_part(
        &mut self,
        files: &[&[u8]],
        targets: &[Target],
        size: usize,
        stream: Stream,
    ) -> Result<(), Error> {
        let (nvjpeg, library) = (&self.library.nvjpeg, self.library.handle);
        // What a batch that fails leaves behind is not used again.
        let state = if let Some(state) = self.states[size].take() {
            state
        } else {
            let new = |to| call!(nvjpeg, state_create(library, to));
            let state = nvjpeg.owned(Kind::State, new)?;
            let count = files.len() as c_int;
            call!(
                nvjpeg,
                batch_start(library, state.handle, count, 1, INTERLEAVED)
            )?;
            state
        };
        self.pointers.clear();
        self.pointers
            .extend(files.iter().map(|file| file.as_ptr() as usize));
        self.lengths.clear();
        self.lengths.extend(files.iter().map(|file| file.len()));
        self.pictures.clear();
        self.pictures
            .extend(targets.iter().map(|&target| Picture::from(target)));
        call!(
            nvjpeg,
            batch_decode(
                library,
                state.handle,
                self.pointers.as_ptr().cast(),
                self.lengths.as_ptr(),
                self.pictures.as_mut_ptr(),
                stream,
            )
        )?;
        self.states[size] = Some(state);
        Ok(())
    }
}

/// Batches of the engines are of 1, 4, 16, 64 and 256 files.
const SIZES: usize = 5;

/// What decides whether the engines know a baseline file: components and their sampling. `None` where the headers are
/// not as usual.
fn kind_of(file: &[u8]) -> Option<u64> {
    let mut at = 2;
    loop {
        let &[0xff, marker, high, low] = file.get(at..)?.first_chunk::<4>()? else {
            return None;
        };
        if marker == 0xc0 {
            let components = usize::from(*file.get(at + 9)?);
            let frame = file.get(at + 10..)?.get(..3 * components)?;
            let samplings = frame
                .chunks_exact(3)
                .map(|component| u64::from(component[1]));
            return (components <= 4)
                .then(|| samplings.fold(1, |kind, sampling| kind << 8 | sampling));
        }
        if !(0xc0..=0xfe).contains(&marker) || matches!(marker, 0xd0..=0xda) {
            return None;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
}

/// The multiprocessors: one file at a time, whose Huffman codes a thread of the host or the card reads.
#[derive(Debug)]
pub struct Hybrid {
    // Dropped in this order.
    slots: [Slot; 2],
    /// The slot that is used next.
    next: usize,
    params: Owned,
    decoder: Owned,
    library: Owned,
}

/// Memory of one file: while the card reads one slot, the host fills the other.
#[derive(Debug)]
struct Slot {
    state: Owned,
    file: Owned,
    pinned: Owned,
    device: Owned,
}

impl Hybrid {
    /// A decoder on the card whose context is this thread's.
    pub fn new(nvjpeg: &Arc<Nvjpeg>) -> Result<Self, Error> {
        Self::of(nvjpeg, HYBRID)
    }

    /// The same with Huffman codes read by the card, which pays for large files.
    pub fn on_card(nvjpeg: &Arc<Nvjpeg>) -> Result<Self, Error> {
        Self::of(nvjpeg, GPU_HYBRID)
    }

    fn of(nvjpeg: &Arc<Nvjpeg>, back_end: c_int) -> Result<Self, Error> {
        let library = nvjpeg.handle(DEFAULT)?;
        let handle = library.handle;
        let decoder = nvjpeg.owned(Kind::Decoder, |to| {
            call!(nvjpeg, decoder_create(handle, back_end, to))
        })?;
        let params = nvjpeg.owned(Kind::Params, |to| call!(nvjpeg, params_create(handle, to)))?;
        call!(nvjpeg, params_format(params.handle, INTERLEAVED))?;
        let slot = || -> Result<Slot, Error> {
            let slot = Slot {
                state: nvjpeg.owned(Kind::State, |to| {
                    call!(nvjpeg, decoder_state(handle, decoder.handle, to))
                })?,
                file: nvjpeg.owned(Kind::File, |to| call!(nvjpeg, stream_create(handle, to)))?,
                pinned: nvjpeg.owned(Kind::Pinned, |to| {
                    call!(nvjpeg, pinned_create(handle, null_mut(), to))
                })?,
                device: nvjpeg.owned(Kind::Device, |to| {
                    call!(nvjpeg, device_create(handle, null_mut(), to))
                })?,
            };
            call!(nvjpeg, attach_pinned(slot.state.handle, slot.pinned.handle))?;
            call!(nvjpeg, attach_device(slot.state.handle, slot.device.handle))?;
            Ok(slot)
        };
        Ok(Self {
            slots: [slot()?, slot()?],
            next: 0,
            params,
            decoder,
            library,
        })
    }

    /// Decodes a file to its target: the host's part on this thread, then the card's on `stream`.
    ///
    /// # Safety
    /// As [`Hardware::decode`]; what the last call but one put on its stream is done.
    pub unsafe fn decode(
        &mut self,
        file: &[u8],
        target: Target,
        stream: Stream,
    ) -> Result<(), Error> {
        let nvjpeg = &self.library.nvjpeg;
        let (library, decoder) = (self.library.handle, self.decoder.handle);
        let slot = &self.slots[self.next];
        let mut picture = Picture::from(target);
        call!(
            nvjpeg,
            parse(library, file.as_ptr(), file.len(), 0, 0, slot.file.handle)
        )?;
        call!(
            nvjpeg,
            decode_host(
                library,
                decoder,
                slot.state.handle,
                self.params.handle,
                slot.file.handle
            )
        )?;
        call!(
            nvjpeg,
            decode_transfer(
                library,
                decoder,
                slot.state.handle,
                slot.file.handle,
                stream
            )
        )?;
        call!(
            nvjpeg,
            decode_device(
                library,
                decoder,
                slot.state.handle,
                &raw mut picture,
                stream
            )
        )?;
        self.next = 1 - self.next;
        Ok(())
    }
}
