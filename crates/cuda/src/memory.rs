//! Memory of a card, and of the host where a card can read it, that is kept and grows.

use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

use crate::Error;

/// The least that is asked for, so that small growth does not ask again and again.
const LEAST: usize = 1 << 16;

/// What is asked for when `bytes` are needed: half a size class more, so that batches of nearly the same size share it.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(LEAST);
    let step = (bytes.next_power_of_two() / 8).max(LEAST);
    bytes.next_multiple_of(step)
}

fn refused(doing: &'static str, bytes: usize) -> impl FnOnce(DriverError) -> Error {
    move |source| match source.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { bytes },
        _ => Error::Driver { doing, source },
    }
}

/// Memory of a card.
#[derive(Debug)]
pub struct DeviceBuffer {
    context: Arc<CudaContext>,
    address: u64,
    len: usize,
}

impl DeviceBuffer {
    /// None yet.
    pub fn new(context: &Arc<CudaContext>) -> Self {
        Self {
            context: Arc::clone(context),
            address: 0,
            len: 0,
        }
    }

    /// Makes room for `bytes`. If it has to grow, what is in it is lost, and the card waits for all its work.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes <= self.len {
            return Ok(());
        }
        self.release();
        self.context
            .bind_to_thread()
            .map_err(Error::driver("choose the card"))?;
        let len = class(bytes);
        // SAFETY: the context is this thread's.
        self.address = unsafe { result::malloc_sync(len) }.map_err(refused("give memory", len))?;
        self.len = len;
        Ok(())
    }

    /// Address of the first byte.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        self.len
    }

    /// Copies the first bytes back, after all that is on `stream`.
    pub fn download(&self, to: &mut [u8], stream: &CudaStream) -> Result<(), Error> {
        assert!(to.len() <= self.len, "the buffer has {}", self.len);
        // SAFETY: there are as many; the stream is waited for before `to` is used.
        unsafe { result::memcpy_dtoh_async(to, self.address, stream.cu_stream()) }
            .map_err(Error::driver("copy from the card"))?;
        stream
            .synchronize()
            .map_err(Error::driver("finish its work"))
    }

    /// Copies the first `len` bytes of another buffer of the same card, in order with what else is on `stream`.
    pub fn copy(&mut self, from: &Self, len: usize, stream: &CudaStream) -> Result<(), Error> {
        assert!(
            len <= self.len.min(from.len),
            "the buffers have {} and {}",
            self.len,
            from.len
        );
        // SAFETY: both have as many; freeing waits for the card.
        unsafe { result::memcpy_dtod_async(self.address, from.address, len, stream.cu_stream()) }
            .map_err(Error::driver("copy within the card"))
    }

    /// Zeros from `offset` on, in order with what else is on `stream`.
    pub fn clear(&self, offset: usize, len: usize, stream: &CudaStream) -> Result<(), Error> {
        assert!(
            offset + len <= self.len,
            "the buffer has room for {}",
            self.len
        );
        // SAFETY: there is room.
        unsafe { result::memset_d8_async(self.address + offset as u64, 0, len, stream.cu_stream()) }
            .map_err(Error::driver("clear memory"))
    }

    fn release(&mut self) {
        if self.len > 0 {
            // SAFETY: the address came from the driver; freeing waits for work that uses it.
            let freed = self
                .context
                .bind_to_thread()
                .and_then(|()| unsafe { result::free_sync(self.address) });
            self.context.record_err(freed);
        }
        (self.address, self.len) = (0, 0);
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

/// Memory of the host that does not move, which a card copies from by itself.
#[derive(Debug)]
pub struct PinnedBuffer {
    context: Arc<CudaContext>,
    start: *mut u8,
    len: usize,
}

// SAFETY: it is memory, which one owner uses at a time.
unsafe impl Send for PinnedBuffer {}

impl PinnedBuffer {
    /// None yet.
    pub fn new(context: &Arc<CudaContext>) -> Self {
        Self {
            context: Arc::clone(context),
            start: std::ptr::null_mut(),
            len: 0,
        }
    }

    /// The first `bytes`, of any content. If it has to grow, what is in it is lost: no copy of it MUST be under way.
    pub fn bytes(&mut self, bytes: usize) -> Result<&mut [u8], Error> {
        if bytes > self.len {
            self.release();
            self.context
                .bind_to_thread()
                .map_err(Error::driver("choose the card"))?;
            let len = class(bytes);
            // SAFETY: the context is this thread's.
            let start = unsafe { result::malloc_host(len, 0) }
                .map_err(refused("give memory of the host", len))?;
            self.start = start.cast();
            self.len = len;
            // SAFETY: it was just given; it is initialised so that it may be a slice.
            unsafe { self.start.write_bytes(0, len) };
        }
        if bytes == 0 {
            return Ok(&mut []);
        }
        // SAFETY: as many bytes are there and initialised, and borrowed like this buffer.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start, bytes) })
    }

    fn release(&mut self) {
        if self.len > 0 {
            // SAFETY: it came from the driver.
            let freed = self
                .context
                .bind_to_thread()
                .and_then(|()| unsafe { result::free_host(self.start.cast()) });
            self.context.record_err(freed);
        }
        (self.start, self.len) = (std::ptr::null_mut(), 0);
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_classes() {
        assert_eq!(class(1), LEAST);
        assert_eq!(class(LEAST + 1), 2 * LEAST);
        for bytes in [1_000_000, 123_456_789, (1 << 30) + 1] {
            let class = class(bytes);
            assert!(
                class >= bytes && class as f64 <= bytes as f64 * 1.25,
                "{bytes} {class}"
            );
        }
    }
}
