//! GPUs of NVIDIA's: how they are opened, and what the system says of them.

use candle_core::{Device, Result};

/// The GPU `number`, with one stream for all threads.
pub(crate) fn open(number: usize) -> Result<Device> {
    // candle's usual stream is one of its own for each thread, and nothing orders them.
    let device = Device::new_cuda_with_stream(number)?;
    #[expect(
        unsafe_code,
        reason = "cudarc's marker for programs that order their streams themselves"
    )]
    // SAFETY: all that is made on this device lives on its one stream, which orders it. Whoever uses another stream
    // beside it waits for events on their own.
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    Ok(device)
}

/// The name of the card.
pub(crate) fn card(device: &Device) -> Option<String> {
    let device = device.as_cuda_device().ok()?;
    device.cuda_stream().context().name().ok()
}
