//! Memory of a device, kept from batch to batch and grown where one needs more.

use wgpu::{Buffer, BufferDescriptor, BufferUsages};

use crate::error::Trouble;
use crate::pack::Needs;

/// All buffers; none before the first batch.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    all: [Option<Buffer>; 6],
}

/// What each buffer is for, in the order of [`Buffers`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// Where the host writes the input.
    Upload,
    Input,
    Between,
    Resized,
    Tensors,
    /// Where the host reads the tensors.
    Download,
}

/// Longest buffer, and most bytes of all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) each: u64,
    pub(crate) all: Option<u64>,
}

impl Buffers {
    /// Makes room for `needs`. What the driver refuses it reports elsewhere.
    pub(crate) fn grow(
        &mut self,
        device: &wgpu::Device,
        needs: &Needs,
        room: Room,
    ) -> Result<(), Trouble> {
        let storage = BufferUsages::STORAGE;
        for (at, usage, bytes) in [
            (
                Use::Upload,
                BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                needs.input,
            ),
            (Use::Input, storage | BufferUsages::COPY_DST, needs.input),
            (Use::Between, storage, needs.between),
            (Use::Resized, storage, needs.resized),
            (
                Use::Tensors,
                storage | BufferUsages::COPY_SRC,
                needs.tensors,
            ),
            (
                Use::Download,
                BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                needs.tensors,
            ),
        ] {
            let old = self.all[at as usize].as_ref().map_or(0, Buffer::size);
            if old >= bytes && old > 0 {
                continue;
            }
            // A little more each time, so that batches of slowly growing needs do not make a buffer each.
            let size = bytes.max(old + old / 2).min(room.each.max(bytes)).max(4);
            let size = size.next_multiple_of(4);
            self.all[at as usize] = None;
            if room.all.is_some_and(|all| self.bytes() + size > all) {
                return Err(Trouble::OutOfMemory);
            }
            self.all[at as usize] = Some(device.create_buffer(&BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            }));
        }
        Ok(())
    }

    /// A buffer, after [`Self::grow`].
    pub(crate) fn of(&self, at: Use) -> &Buffer {
        self.all[at as usize]
            .as_ref()
            .expect("buffers are grown before they are used")
    }

    /// Bytes of all.
    pub(crate) fn bytes(&self) -> u64 {
        self.all.iter().flatten().map(Buffer::size).sum()
    }
}
