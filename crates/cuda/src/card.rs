//! A card, and the resize kernel on it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute_enum};
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, result};
use cudarc::nvrtc::Ptx;

use crate::layout::{BLOCK, Batch, Shape};
use crate::nvrtc::Nvrtc;
use crate::{Error, kernels};

/// The oldest driver that knows the calls used here, as `cuDriverGetVersion` says it: 12.0.
const NEEDED: i32 = 12_000;

/// A card that is ready for work.
#[derive(Debug)]
pub struct Card {
    context: Arc<CudaContext>,
    resize: CudaFunction,
    name: String,
    driver: i32,
    capability: (u32, u32),
    most_shared: u32,
}

/// Where what a batch needs lies in the card's memory.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// [`Batch::jobs`].
    pub jobs: u64,
    /// [`Batch::tables`].
    pub tables: u64,
    /// Bits of the values of the bytes, 256 for each channel.
    pub values: u64,
    /// The batch's tensor.
    pub out: u64,
}

/// A version of CUDA as people write it.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Checks that a driver is there, and new enough; its version.
pub fn driver() -> Result<i32, Error> {
    // SAFETY: the driver's library, which is opened for good at the first call.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_err() {
        return Err(Error::NoDriver);
    }
    let mut found = 0;
    // SAFETY: writes one integer; needs no initialisation.
    let answer = unsafe { sys::cuDriverGetVersion(&raw mut found) };
    answer.result().map_err(Error::driver("say its version"))?;
    if found < NEEDED {
        return Err(Error::OldDriver {
            found: version(found),
            needed: version(NEEDED),
        });
    }
    Ok(found)
}

/// Code that was compiled, by the compiler's library, the kernel and the card's capability.
type Compiled = HashMap<(PathBuf, &'static str, (u32, u32)), Vec<u8>>;

/// The kernel's code for cards of that capability, which is compiled once in a process: it takes two seconds, and every
/// model of a run has a preprocessor of its own.
fn code_of(
    kernel: kernels::Source,
    nvrtc: &Nvrtc,
    capability: (u32, u32),
) -> Result<Vec<u8>, Error> {
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    let key = (nvrtc.path().to_owned(), kernel.name, capability);
    if let Some(code) = compiled.get(&key) {
        return Ok(code.clone());
    }
    let code = nvrtc.compile(kernel.name, kernel.source, capability)?;
    compiled.insert(key, code.clone());
    Ok(code)
}

impl Card {
    /// The card `cuda:number`.
    pub fn open(number: usize, nvrtc: &Nvrtc) -> Result<Self, Error> {
        let driver = driver()?;
        let no_card = |count: usize| Error::NoCard {
            wanted: number,
            count,
        };
        let count = match result::init().and_then(|()| result::device::get_count()) {
            Ok(count) => count.max(0) as usize,
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Err(no_card(0)),
            Err(error) => return Err(Error::driver("start")(error)),
        };
        if number >= count {
            return Err(no_card(count));
        }
        let context = CudaContext::new(number).map_err(Error::driver("open the card"))?;
        Self::on(context, driver, nvrtc)
    }

    /// The card of a context that is there already.
    pub fn of(context: Arc<CudaContext>, nvrtc: &Nvrtc) -> Result<Self, Error> {
        Self::on(context, driver()?, nvrtc)
    }

    fn on(context: Arc<CudaContext>, driver: i32, nvrtc: &Nvrtc) -> Result<Self, Error> {
        let asked = Error::driver("say what the card is");
        let (major, minor) = context.compute_capability().map_err(asked)?;
        let capability = (major as u32, minor as u32);
        let kernel = kernels::RESIZE;
        let module = context
            .load_module(Ptx::from_binary(code_of(kernel, nvrtc, capability)?))
            .map_err(Error::driver("load the kernel"))?;
        let resize = module
            .load_function("resize")
            .map_err(Error::driver("find the kernel"))?;
        let most = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most_shared = context
            .attribute(most)
            .map_err(Error::driver("say its shared memory"))?;
        resize
            .set_attribute(
                CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                most_shared,
            )
            .map_err(Error::driver("give the kernel shared memory"))?;
        Ok(Self {
            name: context.name().map_err(Error::driver("say its name"))?,
            resize,
            driver,
            capability,
            most_shared: most_shared as u32,
            context,
        })
    }

    /// Name of the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of CUDA that the driver speaks.
    pub fn driver(&self) -> String {
        version(self.driver)
    }

    /// Compute capability.
    pub fn capability(&self) -> (u32, u32) {
        self.capability
    }

    /// Bytes of shared memory that a block can have.
    pub fn most_shared(&self) -> u64 {
        u64::from(self.most_shared)
    }

    /// Its context.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// Makes the card this thread's.
    pub fn bind(&self) -> Result<(), Error> {
        self.context
            .bind_to_thread()
            .map_err(Error::driver("choose the card"))
    }

    /// A stream of its own.
    pub fn stream(&self) -> Result<Arc<CudaStream>, Error> {
        self.context
            .new_stream()
            .map_err(Error::driver("make a stream"))
    }

    /// Bytes of memory that are free, and all.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        self.context
            .mem_get_info()
            .map_err(Error::driver("say its memory"))
    }

    /// Registers of a thread of the kernel, and bytes that did not fit into them.
    pub fn kernel_registers(&self) -> Result<(i32, i32), Error> {
        let asked = || Error::driver("describe the kernel");
        let registers = self.resize.num_regs().map_err(asked())?;
        Ok((registers, self.resize.local_size_bytes().map_err(asked())?))
    }

    /// Launches the kernel for a batch.
    ///
    /// # Safety
    /// What the batch and `addresses` name is in the memory of this card, as long as the kernel reads and writes it, and
    /// stays until the stream has done it; `out` has room for the places of all images.
    pub unsafe fn resize(
        &self,
        batch: &Batch,
        shape: &Shape,
        addresses: &Addresses,
        stream: &CudaStream,
    ) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut addresses = *addresses;
        let mut words = batch.shape_words(shape);
        let mut arguments = [
            (&raw mut addresses.jobs).cast(),
            (&raw mut addresses.tables).cast(),
            (&raw mut addresses.values).cast(),
            (&raw mut addresses.out).cast(),
            (&raw mut words).cast(),
        ];
        // SAFETY: the arguments are those of the kernel; the rest is the caller's.
        unsafe {
            result::launch_kernel(
                self.resize.cu_function(),
                batch.grid(shape),
                (BLOCK, 1, 1),
                batch.memory(),
                stream.cu_stream(),
                &mut arguments,
            )
        }
        .map_err(Error::driver("launch the kernel"))
    }
}
