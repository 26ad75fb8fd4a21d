//! What the resize kernel is given, in the layout that `kernels/resize.cu` reads: tables of weights, an image after
//! the other, and what all of a batch share.

/// Columns of a tile; `TILE_COLUMNS` of the kernel.
pub const TILE_COLUMNS: u32 = 32;

/// Threads of a block; `LANES * WARPS` of the kernel.
pub const BLOCK: u32 = 256;

/// Warps of a block; `WARPS` of the kernel.
const WARPS: u32 = 8;

/// Words of the look-up table, 256 for each channel; `VALUES` of the kernel.
pub const VALUES: usize = 768;

/// Heights that a tile may have, the preferred one first: 224 is four times 56.
const TILE_ROWS: [u32; 7] = [56, 32, 16, 8, 4, 2, 1];

/// Source pixels that a word holds; `GROUP` of the kernel.
const GROUP: u32 = 4;

/// Words of a channel that are loaded at once; `CHUNK` of the kernel.
const CHUNK: u32 = 4;

/// Pixels that are loaded at once. The rows of a source start on a multiple of so many.
pub const PIXELS: u32 = GROUP * CHUNK;

/// Bytes of an RGB row in memory that holds `width` pixels: whole loads.
pub fn row_bytes(width: u32) -> u32 {
    width.div_ceil(PIXELS) * 3 * PIXELS
}

/// The weights of one axis as the kernel reads them: of each weight three bytes apart, four neighbours to a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisTable {
    words: Vec<u32>,
    count: u32,
    /// Words of a target pixel.
    depth: u32,
    bits: u32,
}

impl AxisTable {
    /// The sums of `spans`, first source pixel and number of them for each target pixel, with `stride` weights for each
    /// of them in `weights`, of `bits` fractional bits. The firsts MUST not fall, weights MUST be at least `-2^23` and
    /// below `2^23`. The source starts `shift` pixels behind the place that rows are read from.
    pub fn new(
        spans: &[(u32, u32)],
        stride: usize,
        weights: &[i32],
        bits: u32,
        shift: u32,
    ) -> Self {
        let place = |&(first, _): &(u32, u32)| (first + shift) / GROUP;
        let depth = spans
            .iter()
            .map(|span| (span.0 + shift + span.1).div_ceil(GROUP) - place(span))
            .max()
            .unwrap_or(0);
        let count = spans.len();
        let mut words = vec![0; count + count * depth as usize * 3];
        // An empty span has a place that keeps the order.
        let mut least = 0;
        for (i, span) in spans.iter().enumerate() {
            if span.1 > 0 {
                least = place(span);
            }
            words[i] = least;
        }
        for (i, &(first, taps)) in spans.iter().enumerate() {
            for k in 0..taps {
                let at = first + shift + k - words[i] * GROUP;
                let weight = weights[i * stride + k as usize].to_le_bytes();
                for (plane, byte) in weight[..3].iter().enumerate() {
                    let word = count + ((at / GROUP) as usize * 3 + plane) * count + i;
                    words[word] |= u32::from(*byte) << (8 * (at % GROUP));
                }
            }
        }
        Self {
            words,
            count: count as u32,
            depth,
            bits,
        }
    }

    /// The first words of all target pixels, then the weights.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Target pixels.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The most words of the source that a tile of `side` target pixels reads, where the window starts `before` pixels
    /// behind the first tile, when words are read `at_once` at a time.
    fn extent(&self, side: u32, before: u32, at_once: u32) -> u32 {
        let firsts = &self.words[..self.count as usize];
        let mut most = 0;
        let mut from = 0;
        while from < self.count {
            let to = ((before + from) / side + 1) * side - before;
            let last = to.min(self.count) - 1;
            let first = firsts[from as usize] / at_once * at_once;
            let end = firsts[last as usize] + self.depth;
            most = most.max((end - first).next_multiple_of(at_once));
            from = to;
        }
        most
    }
}

/// One image of a batch: pixels in device memory, and how they become a window of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Address of the first pixel that is read, or of one less than [`PIXELS`] before it, a multiple of 16.
    pub source: u64,
    /// Bytes from row to row: [`row_bytes`] of some width.
    pub stride: u32,
    /// Rows that may be read.
    pub rows: u32,
    /// Columns of the window.
    pub across: &'a AxisTable,
    /// Rows of the window.
    pub down: &'a AxisTable,
    /// Whether rows are summed before columns.
    pub vertical_first: bool,
    /// Columns to the left of the window in the tensor, rows above it.
    pub place: (u32, u32),
}

impl Image<'_> {
    /// The least shared memory with which a block can make tiles of it, in bytes.
    pub fn least_memory(&self) -> u64 {
        self.memory(1)
    }

    /// Bytes of shared memory that a block needs in tiles of `rows` rows.
    fn memory(&self, rows: u32) -> u64 {
        let across = u64::from(self.across.extent(TILE_COLUMNS, self.place.0, CHUNK));
        let down = u64::from(self.down.extent(rows, self.place.1, 1));
        let work = if self.vertical_first {
            across * 12 * u64::from(rows)
        } else {
            let between = 3 * u64::from(TILE_COLUMNS) * down;
            let buffers = u64::from(WARPS * 3 * GROUP) * across;
            4 * (between + buffers)
        };
        4 * VALUES as u64 + work.next_multiple_of(4)
    }
}

/// What all tensors of a batch share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue around windows.
    pub fill: [u8; 3],
    /// `[image, row, column, channel]` instead of `[image, channel, row, column]`.
    pub channels_last: bool,
    /// Values of 4 bytes instead of 2.
    pub wide: bool,
}

/// Images whose kernel is launched once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// So many words for each image, as `struct Job` of the kernel.
    jobs: Vec<u32>,
    tables: Vec<u32>,
    /// Where tables that are there already start, by the address of their words.
    starts: Vec<(*const u32, u32)>,
    tile_rows: u32,
    memory: u64,
}

// SAFETY: the addresses are only compared.
unsafe impl Send for Batch {}

/// Words of `struct Job`.
const JOB: usize = 16;

impl Batch {
    /// Forgets the images, keeps the memory.
    pub fn clear(&mut self) {
        self.jobs.clear();
        self.tables.clear();
        self.starts.clear();
        self.tile_rows = 0;
        self.memory = 0;
    }

    /// Images so far.
    pub fn len(&self) -> usize {
        self.jobs.len() / JOB
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Adds the image at `place` of the batch's tensor; false, and nothing changes, if even a tile of one row needs more
    /// than `most` bytes of shared memory. Tables of images that are equal SHOULD be the same one.
    pub fn push(&mut self, image: &Image<'_>, place: u32, most: u64) -> bool {
        // Tiles are as high as the largest image allows; half of what there is lets two blocks share a multiprocessor.
        let tallest = if self.tile_rows == 0 {
            TILE_ROWS[0]
        } else {
            self.tile_rows
        };
        let heights = || TILE_ROWS.into_iter().filter(|&rows| rows <= tallest);
        let fitting = |most: u64| heights().find(|&rows| image.memory(rows) <= most);
        let Some(rows) = fitting(most / 4)
            .or_else(|| fitting(most / 2))
            .or_else(|| fitting(most))
        else {
            return false;
        };
        self.tile_rows = rows;
        self.memory = self.memory.max(image.memory(rows));
        let (across, down) = (self.table(image.across), self.table(image.down));
        self.jobs.extend([
            image.source as u32,
            (image.source >> 32) as u32,
            image.stride,
            image.rows,
            across,
            image.across.count,
            image.across.depth,
            image.across.bits,
            down,
            image.down.count,
            image.down.depth,
            image.down.bits,
            image.place.0,
            image.place.1,
            place,
            u32::from(image.vertical_first),
        ]);
        true
    }

    fn table(&mut self, table: &AxisTable) -> u32 {
        let address = table.words.as_ptr();
        if let Some((_, start)) = self.starts.iter().find(|(known, _)| *known == address) {
            return *start;
        }
        let start = self.tables.len() as u32;
        self.tables.extend(&table.words);
        self.starts.push((address, start));
        start
    }

    /// The images as the kernel reads them.
    pub fn jobs(&self) -> &[u32] {
        &self.jobs
    }

    /// The tables as the kernel reads them.
    pub fn tables(&self) -> &[u32] {
        &self.tables
    }

    /// Bytes of dynamic shared memory of a block.
    pub fn memory(&self) -> u32 {
        self.memory as u32
    }

    /// Blocks of the launch.
    pub fn grid(&self, shape: &Shape) -> (u32, u32, u32) {
        (
            shape.width.div_ceil(TILE_COLUMNS),
            shape.height.div_ceil(self.tile_rows.max(1)),
            self.len() as u32,
        )
    }

    /// `struct Shape` of the kernel.
    pub fn shape_words(&self, shape: &Shape) -> [u32; 8] {
        let [red, green, blue] = shape.fill.map(u32::from);
        [
            shape.width,
            shape.height,
            red,
            green,
            blue,
            self.tile_rows,
            u32::from(shape.channels_last),
            u32::from(shape.wide),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_split_into_bytes_four_neighbours_to_a_word() {
        let spans = [(0, 2), (3, 3)];
        let table = AxisTable::new(&spans, 3, &[0x01_02_03, -1, 0, 0x7f_00_00, 5, -2], 22, 2);
        // The first span covers the places 2 and 3, the second 5 to 7.
        let words = table.words();
        assert_eq!((table.count, table.depth, table.bits), (2, 1, 22));
        assert_eq!(words[..2], [0, 1]);
        let weights: Vec<u32> = words[2..].to_vec();
        assert_eq!(
            weights,
            [
                0xff03_0000,
                0xfe05_0000,
                0xff02_0000,
                0xff00_0000,
                0xff01_0000,
                0xff00_7f00
            ]
        );
    }

    #[test]
    fn a_tile_reads_what_its_pixels_read() {
        let spans: Vec<(u32, u32)> = (0..70).map(|i| (i * 4, 6)).collect();
        let table = AxisTable::new(&spans, 6, &[1; 420], 22, 0);
        assert_eq!(table.extent(32, 0, 1), 33);
        // Tiles of 2, 32, 32 and 4 pixels.
        assert_eq!(table.extent(32, 30, 1), 33);
        assert_eq!(table.extent(1, 0, 1), 2);
        // From the word 2 on: 2 to 34, in fours 0 to 35.
        assert_eq!(table.extent(32, 30, 4), 36);
        assert_eq!((row_bytes(1), row_bytes(17), row_bytes(64)), (48, 96, 192));
    }

    #[test]
    fn tiles_shrink_until_they_fit() {
        let spans: Vec<(u32, u32)> = (0..224).map(|i| (i * 40, 160)).collect();
        let table = AxisTable::new(&spans, 160, &vec![1; 224 * 160], 22, 0);
        let image = Image {
            source: 0,
            stride: row_bytes(9_080),
            rows: 9_080,
            across: &table,
            down: &table,
            vertical_first: false,
            place: (0, 0),
        };
        let mut batch = Batch::default();
        assert!(!batch.push(&image, 0, 60_000));
        assert!(batch.is_empty());
        assert!(batch.push(&image, 0, 220_000));
        assert!(batch.memory() <= 220_000);
        assert_eq!(batch.len(), 1);
    }
}
