//! What a program writes to its standard error: a file of bounded length, and the last lines in memory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::gate::lock;

/// Most bytes of a log; what follows is read and dropped, so that the program never waits for it.
pub(crate) const MAX_LOG_BYTES: u64 = 1 << 20;

/// Most bytes of the last lines.
const TAIL_BYTES: usize = 400;

/// Where the standard error of a program goes, over all its starts.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

struct Inner {
    file: Option<File>,
    left: u64,
    tail: Vec<u8>,
}

impl Log {
    /// A new log at `path`, in the place of an older one.
    pub(crate) fn new(path: Option<&Path>) -> io::Result<Self> {
        let file = match path {
            Some(path) => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                Some(File::create(path)?)
            }
            None => None,
        };
        Ok(Self(Arc::new(Mutex::new(Inner {
            file,
            left: MAX_LOG_BYTES,
            tail: Vec::new(),
        }))))
    }

    /// Reads until `from` ends.
    pub(crate) fn follow(&self, mut from: impl Read) {
        let mut buffer = [0; 4096];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => lock(&self.0).add(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The last lines as text, on one line.
    pub(crate) fn tail(&self) -> String {
        let inner = lock(&self.0);
        let text = String::from_utf8_lossy(&inner.tail);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let said = lines.join(" | ");
        said.trim_matches([' ', '|']).to_owned()
    }
}

impl Inner {
    fn add(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let over = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        let Some(file) = &mut self.file else { return };
        let len = bytes
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        // A log that cannot be written is no reason to end a run.
        let _ = file.write_all(&bytes[..len]);
        self.left -= len as u64;
        if len < bytes.len() {
            let _ = writeln!(
                file,
                "\n[the rest is left out: a log has at most {MAX_LOG_BYTES} bytes]"
            );
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_an_end_and_the_last_lines_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.log");
        let log = Log::new(Some(&path)).unwrap();
        let long = "x".repeat(3 << 20) + "\nthe last line\n";
        log.follow(long.as_bytes());
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.len() < (MAX_LOG_BYTES + 200) as usize);
        assert!(written.ends_with("bytes]\n"));
        assert!(log.tail().ends_with("x | the last line"), "{}", log.tail());
    }
}
