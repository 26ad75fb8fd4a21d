//! Merge files of byte-pair encodings, and the byte alphabet they are written in.
//!
//! A merge file MUST hold two symbols with a space between them on each line, best rank first. Its
//! first line MAY be a header, told by `#version` in it; empty lines are skipped. Both the file and what it
//! unpacks to (gzip, told by its first two bytes) are bounded by [`LIMIT_BYTES`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::{Error, Result};

/// No published tokenizer file comes near this size; the largest `tokenizer.json` files have 35 MB.
pub(super) const LIMIT_BYTES: u64 = 128 << 20;

/// The whole file, unpacked when it is gzip.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let error = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = bounded(File::open(path).map_err(error)?, path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return bounded(GzDecoder::new(bytes.as_slice()), path);
    }
    Ok(bytes)
}

fn bounded(reader: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit_bytes: LIMIT_BYTES,
        });
    }
    Ok(bytes)
}

/// At most `limit` merges of the file, best rank first.
pub(super) fn read_merges(path: &Path, limit: usize) -> Result<Vec<[String; 2]>> {
    let bytes = read_bounded(path)?;
    let text = String::from_utf8(bytes).map_err(|e| Error::Read {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, e),
    })?;
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if merges.len() == limit {
            break;
        }
        if line.is_empty() || (number == 0 && line.contains("#version")) {
            continue;
        }
        let mut symbols = line.split(' ').filter(|symbol| !symbol.is_empty());
        match (symbols.next(), symbols.next(), symbols.next()) {
            (Some(left), Some(right), None) => merges.push([left.to_owned(), right.to_owned()]),
            _ => {
                return Err(Error::Merge {
                    path: path.to_owned(),
                    line: number + 1,
                });
            }
        }
    }
    Ok(merges)
}

/// The 256 byte symbols in vocabulary order: the printable Latin-1 bytes as themselves, then the
/// other 68 as the characters from U+0100 on (Radford et al. 2019, `bytes_to_unicode`).
pub(super) fn byte_symbols() -> Vec<char> {
    let printable = || ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let others = 256 - printable().count() as u32;
    printable()
        .chain((0x100..0x100 + others).filter_map(char::from_u32))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn alphabet_has_a_symbol_for_every_byte() {
        let symbols = byte_symbols();
        assert_eq!(symbols.len(), 256);
        assert_eq!((symbols[0], symbols[94], symbols[188]), ('!', '¡', 'Ā'));
    }

    #[test]
    fn header_and_limit_are_kept() {
        let path = file(b"#version: 0.2\ni n\nt h\n\na n</w>\n");
        let merges = read_merges(path.path(), usize::MAX).unwrap();
        assert_eq!(merges, [["i", "n"], ["t", "h"], ["a", "n</w>"]]);
        assert_eq!(read_merges(path.path(), 1).unwrap(), [["i", "n"]]);
    }

    #[test]
    fn a_line_of_one_or_three_symbols_is_named() {
        for (content, line) in [(&b"i n\nth\n"[..], 2), (b"a b c\n", 1)] {
            match read_merges(file(content).path(), usize::MAX) {
                Err(Error::Merge { line: found, .. }) => assert_eq!(found, line),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_gzip_bomb_stops_at_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![b'a'; 1 << 20];
        for _ in 0..=(LIMIT_BYTES >> 20) {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = file(&encoder.finish().unwrap());
        assert!(matches!(
            read_merges(bomb.path(), 1),
            Err(Error::TooLarge { .. })
        ));
    }
}
