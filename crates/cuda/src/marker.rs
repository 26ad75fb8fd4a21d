//! Places in a stream's work that others wait for.

use std::sync::Arc;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream};

use crate::Error;

/// A place in the work of a stream: its latest [`Self::record`]. Before the first there is nothing to wait for.
#[derive(Debug)]
pub struct Marker(CudaEvent);

impl Marker {
    /// A marker whose waiting threads sleep.
    pub fn new(context: &Arc<CudaContext>) -> Result<Self, Error> {
        Self::with(context, CUevent_flags::CU_EVENT_BLOCKING_SYNC)
    }

    /// A marker that knows when it was reached.
    pub fn timed(context: &Arc<CudaContext>) -> Result<Self, Error> {
        Self::with(context, CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(context: &Arc<CudaContext>, flags: CUevent_flags) -> Result<Self, Error> {
        context
            .new_event(Some(flags))
            .map(Self)
            .map_err(Error::driver("make an event"))
    }

    /// Marks the end of what is on the stream now.
    pub fn record(&self, stream: &CudaStream) -> Result<(), Error> {
        self.0
            .record(stream)
            .map_err(Error::driver("mark a place in its work"))
    }

    /// Waits until the place has been reached.
    pub fn wait(&self) -> Result<(), Error> {
        self.0
            .synchronize()
            .map_err(Error::driver("finish its work"))
    }

    /// What is put on the stream from now on starts when the place has been reached.
    pub fn hold(&self, stream: &CudaStream) -> Result<(), Error> {
        stream
            .wait(&self.0)
            .map_err(Error::driver("order its work"))
    }

    /// Milliseconds from this place to a later one; both MUST be [timed](Self::timed).
    pub fn milliseconds_to(&self, later: &Self) -> Result<f32, Error> {
        self.0
            .elapsed_ms(&later.0)
            .map_err(Error::driver("say how long it took"))
    }
}

/// Copies bytes of the host to an address of the card, in order with what else is on `stream`.
///
/// # Safety
/// There is room at the address, in the stream's context; the bytes stay as they are until the stream has done it.
pub unsafe fn upload(address: u64, bytes: &[u8], stream: &CudaStream) -> Result<(), Error> {
    // SAFETY: the caller's.
    unsafe { cudarc::driver::result::memcpy_htod_async(address, bytes, stream.cu_stream()) }
        .map_err(Error::driver("copy to the card"))
}
