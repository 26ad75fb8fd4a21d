//! Pages of a column, each checked before the crate makes room for what it announces.

use std::io::{self, Read};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescPtr;
use sightline_core::ReadAt;

use super::Pieces;
use super::header::PageHeader;

/// Most bytes of a page once it is unpacked, unless it takes more than [`MIN_PACKED`] of that in the file. Writers
/// end pages at about 1 MiB; some of images, which are hardly packed, are much longer.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// How often shorter a page of any length may be in the file.
const MIN_PACKED: u64 = 8;

/// The pages of a column.
pub(super) struct Pages {
    read: Box<dyn PageReader>,
    object: Arc<dyn ReadAt>,
    column: ColumnDescPtr,
    codec: Compression,
    /// Where the next page begins, and the column ends.
    at: u64,
    end: u64,
    /// The header of the next page, once it has been checked.
    next: Option<PageHeader>,
    /// Values that the pages so far hold, nulls with them, and those the footer says they all hold.
    values: u64,
    declared: u64,
}

impl Pages {
    /// The pages that `read` reads of `column` in `object`.
    pub(super) fn new(
        read: Box<dyn PageReader>,
        column: &ColumnChunkMetaData,
        object: Arc<dyn ReadAt>,
    ) -> Self {
        let (at, len) = column.byte_range();
        Self {
            read,
            object,
            column: column.column_descr_ptr(),
            codec: column.compression(),
            at,
            end: at.saturating_add(len),
            next: None,
            values: 0,
            declared: u64::try_from(column.num_values()).unwrap_or(0),
        }
    }

    /// Checks the header of the next page, if there is one. Pages of an index are passed over, as the crate does.
    fn check_next(&mut self) -> ParquetResult<()> {
        while self.next.is_none() && self.at < self.end {
            let head = Pieces::new(Arc::clone(&self.object), self.at, self.end);
            let header = PageHeader::read(head).map_err(|error| {
                ParquetError::General(format!("the header of a page is malformed: {error}"))
            })?;
            let left = self.end - self.at;
            if header.len_bytes.saturating_add(header.stored_bytes) > left {
                return Err(refused("a page is longer than what is left of its column"));
            }
            let limit = MAX_PAGE_BYTES.max(header.stored_bytes.saturating_mul(MIN_PACKED));
            if header.unpacked_bytes > limit {
                return Err(ParquetError::General(format!(
                    "a page announces {} bytes, the limit is {limit}",
                    header.unpacked_bytes
                )));
            }
            if header.is_index {
                self.at += header.len_bytes + header.stored_bytes;
                continue;
            }
            self.check_unpacked(&header)?;
            self.next = Some(header);
        }
        Ok(())
    }

    /// Refuses a page that unpacks to more than it announces. Only of these codecs the crate unpacks all there is.
    fn check_unpacked(&self, header: &PageHeader) -> ParquetResult<()> {
        let is_endless = matches!(self.codec, Compression::GZIP(_) | Compression::BROTLI(_));
        if !is_endless || header.is_plain || header.level_bytes > header.stored_bytes {
            return Ok(());
        }
        let start = self.at + header.len_bytes;
        let packed = self
            .object
            .read_at(start + header.level_bytes..start + header.stored_bytes)?;
        let limit = header.unpacked_bytes.saturating_sub(header.level_bytes);
        let count = |unpacked: &mut dyn Read| {
            io::copy(&mut unpacked.take(limit + 1), &mut io::sink()).unwrap_or(0)
        };
        let len = match self.codec {
            Compression::BROTLI(_) => count(&mut brotli::Decompressor::new(&packed[..], 4096)),
            _ => count(&mut flate2::read::MultiGzDecoder::new(&packed[..])),
        };
        if len > limit {
            return Err(refused("a page unpacks to more bytes than it announces"));
        }
        Ok(())
    }

    /// Checks the numbers of values of the page that follows, before its values are read.
    fn admit(&mut self, page: &Page) -> ParquetResult<()> {
        if let Page::DictionaryPage {
            buf, num_values, ..
        } = page
        {
            if self.column.physical_type() == Physical::BOOLEAN {
                return Err(refused("a column of truths has a dictionary"));
            }
            let least = self.least_bits();
            if u64::from(*num_values).saturating_mul(least) > buf.len() as u64 * 8 {
                return Err(refused("a dictionary announces more values than it holds"));
            }
            return Ok(());
        }

        let values = u64::from(page.num_values());
        self.values += values;
        if self.values > self.declared {
            return Err(refused("a column holds more values than it announces"));
        }
        let mut data = self.data(page);
        let lists = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            // The crate takes values out of whatever is there.
            Encoding::BYTE_STREAM_SPLIT => {
                let bits = data.map_or(0, |data| data.len() as u64 * 8);
                if !bits.is_multiple_of(self.least_bits()) {
                    return Err(refused("a page holds a part of a value"));
                }
                0
            }
            _ => 0,
        };
        for _ in 0..lists {
            let (lengths, rest) = data
                .and_then(lengths)
                .ok_or_else(|| refused("the lengths of the texts of a page are malformed"))?;
            if lengths > values {
                return Err(refused("a page announces more texts than it has values"));
            }
            data = Some(rest);
        }
        Ok(())
    }

    /// Bits that a value takes at least as it is: all bits of those that have a fixed length, the length of others.
    fn least_bits(&self) -> u64 {
        match self.column.physical_type() {
            Physical::BOOLEAN => 1,
            Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 32,
            Physical::INT64 | Physical::DOUBLE => 64,
            Physical::INT96 => 96,
            Physical::FIXED_LEN_BYTE_ARRAY => {
                8 * u64::try_from(self.column.type_length()).unwrap_or(0).max(1)
            }
        }
    }

    /// What follows the levels of a data page; `None` where they are malformed.
    fn data<'a>(&self, page: &'a Page) -> Option<&'a [u8]> {
        let (levels, mut rest) = match page {
            Page::DictionaryPage { buf, .. } => return Some(buf),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                return buf.get(usize::try_from(levels).ok()?..);
            }
            Page::DataPage {
                buf,
                num_values,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let levels = [
                    (self.column.max_rep_level(), *rep_level_encoding),
                    (self.column.max_def_level(), *def_level_encoding),
                ];
                (
                    levels.map(|(max, encoding)| (max, encoding, *num_values)),
                    &buf[..],
                )
            }
        };
        for (max, encoding, values) in levels {
            let max = u64::try_from(max).ok()?;
            if max == 0 {
                continue;
            }
            let len = if encoding == Encoding::RLE {
                let (len, after) = rest.split_first_chunk()?;
                rest = after;
                u64::from(u32::from_le_bytes(*len))
            } else {
                let width = u64::from(u64::BITS - max.leading_zeros());
                (u64::from(values) * width).div_ceil(8)
            };
            rest = rest.get(usize::try_from(len).ok()?..)?;
        }
        Some(rest)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.check_next()?;
        let Some(page) = self.read.get_next_page()? else {
            // The crate would make nulls of those that are missing.
            if self.values < self.declared {
                return Err(refused("a column holds fewer values than it announces"));
            }
            return Ok(None);
        };
        if let Some(header) = self.next.take() {
            self.at += header.len_bytes + header.stored_bytes;
        }
        self.admit(&page)?;
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.check_next()?;
        self.read.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.get_next_page().map(drop)
    }
}

impl Iterator for Pages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

fn refused(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// How many numbers the list with which `data` begins announces, and what follows it. The list is encoded as
/// `DELTA_BINARY_PACKED`: blocks of a least difference, a bit width for each mini block, and the mini blocks.
fn lengths(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = data;
    let block = varint(&mut rest)?;
    let minis = varint(&mut rest)?;
    let count = varint(&mut rest)?;
    let _first = varint(&mut rest)?;
    let per_mini = block.checked_div(minis)?;
    if per_mini == 0 {
        return None;
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least = varint(&mut rest)?;
        let (widths, after) = rest.split_at_checked(usize::try_from(minis).ok()?)?;
        rest = after;
        for &width in widths {
            // The bit widths of mini blocks behind the last number mean nothing.
            if left > 0 {
                let len = per_mini.checked_mul(u64::from(width))? / 8;
                rest = rest.get(usize::try_from(len).ok()?..)?;
            }
            left = left.saturating_sub(per_mini);
        }
    }
    Some((count, rest))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Write;

    use bytes::Bytes;
    use parquet::basic::GzipLevel;
    use parquet::schema::types::{ColumnDescriptor, ColumnPath, Type};

    use super::*;

    /// Gives the pages that it is given.
    struct Given(VecDeque<Page>);

    impl PageReader for Given {
        fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
            Ok(self.0.pop_front())
        }

        fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
            Ok(None)
        }

        fn skip_next_page(&mut self) -> ParquetResult<()> {
            Ok(())
        }
    }

    impl Iterator for Given {
        type Item = ParquetResult<Page>;

        fn next(&mut self) -> Option<Self::Item> {
            self.get_next_page().transpose()
        }
    }

    /// Reads all pages of a column of three texts that are never null.
    fn read(codec: Compression, object: Vec<u8>, pages: Vec<Page>) -> Result<usize, String> {
        let text = Type::primitive_type_builder("text", Physical::BYTE_ARRAY).build();
        let path = ColumnPath::from("text");
        let column = ColumnDescriptor::new(Arc::new(text.unwrap()), 0, 0, path);
        let column = ColumnChunkMetaData::builder(Arc::new(column))
            .set_num_values(3)
            .set_compression(codec)
            .set_data_page_offset(0)
            .set_total_compressed_size(object.len() as i64)
            .build();
        let given = Box::new(Given(pages.into()));
        let pages = Pages::new(given, &column.unwrap(), Arc::new(Bytes::from(object)));
        let read: ParquetResult<Vec<Page>> = pages.collect();
        read.map(|pages| pages.len()).map_err(|e| e.to_string())
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// A data page of `stored` bytes that announces `unpacked`.
    fn stored(unpacked: u64, stored: &[u8]) -> Vec<u8> {
        let field = |value: u64| [vec![0x15], varint(value * 2)].concat();
        let head = [
            field(0),
            field(unpacked),
            field(stored.len() as u64),
            vec![0],
        ]
        .concat();
        [&head, stored].concat()
    }

    fn data(num_values: u32, encoding: Encoding, buf: impl Into<Bytes>) -> Page {
        Page::DataPage {
            buf: buf.into(),
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    /// Lengths 0, as a list encodes them in blocks of 128 in 4 parts.
    fn zeros(count: u64) -> Vec<u8> {
        let blocks = count.saturating_sub(1).div_ceil(128).min(4);
        let head = [varint(128), varint(4), varint(count), varint(0)].concat();
        [head, vec![0; 5 * blocks as usize]].concat()
    }

    #[test]
    fn pages_that_announce_too_much_are_refused_before_they_are_unpacked() {
        let refused = read(Compression::SNAPPY, stored(300 << 20, &[0; 10]), Vec::new());
        assert!(
            refused
                .unwrap_err()
                .ends_with("a page announces 314572800 bytes, the limit is 268435456")
        );
        let page = || vec![data(3, Encoding::PLAIN, vec![0; 12])];
        let hardly_packed = stored(300 << 20, &vec![0; 40 << 20]);
        assert_eq!(read(Compression::SNAPPY, hardly_packed, page()), Ok(1));

        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![0; 100_000]).unwrap();
        let packed = packed.finish().unwrap();
        let gzip = Compression::GZIP(GzipLevel::default());
        assert_eq!(read(gzip, stored(100_000, &packed), page()), Ok(1));
        let refused = read(gzip, stored(99_999, &packed), page());
        assert!(
            refused
                .unwrap_err()
                .ends_with("unpacks to more bytes than it announces")
        );
    }

    #[test]
    fn values_that_are_not_there_are_refused() {
        let page = || stored(12, &[0; 12]);
        let plain = |values| data(values, Encoding::PLAIN, vec![0; 12]);
        let dictionary = |num_values| Page::DictionaryPage {
            buf: vec![0; 12].into(),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let lengths = |count| data(3, Encoding::DELTA_LENGTH_BYTE_ARRAY, zeros(count));
        let prefixes = |count| {
            let both = [zeros(3), zeros(count)].concat();
            data(3, Encoding::DELTA_BYTE_ARRAY, both)
        };
        for (given, pages, problem) in [
            (vec![plain(3)], 1, ""),
            (vec![dictionary(3), plain(3)], 2, ""),
            (vec![lengths(3)], 1, ""),
            (vec![prefixes(3)], 1, ""),
            (
                vec![plain(2)],
                1,
                "a column holds fewer values than it announces",
            ),
            (
                vec![plain(2), plain(2)],
                2,
                "a column holds more values than it announces",
            ),
            (
                vec![dictionary(4)],
                1,
                "a dictionary announces more values than it holds",
            ),
            (
                vec![dictionary(u32::MAX)],
                1,
                "a dictionary announces more values than it holds",
            ),
            (
                vec![lengths(500)],
                1,
                "a page announces more texts than it has values",
            ),
            (
                vec![prefixes(4)],
                1,
                "a page announces more texts than it has values",
            ),
            (
                vec![lengths(1 << 61)],
                1,
                "the lengths of the texts of a page are malformed",
            ),
            (
                vec![prefixes(1 << 61)],
                1,
                "the lengths of the texts of a page are malformed",
            ),
        ] {
            let read = read(Compression::UNCOMPRESSED, page().repeat(pages), given);
            match read {
                Ok(read) => assert_eq!((read, problem), (pages, "")),
                Err(error) => assert!(
                    !problem.is_empty() && error.ends_with(problem),
                    "{error}, not {problem}"
                ),
            }
        }
    }
}
