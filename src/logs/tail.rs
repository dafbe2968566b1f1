//! Reads logs for RPC by the rules of supervisor-behaviour.md §7.7. The file may grow meanwhile.

use crate::sys::memory;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Why a log cannot be read, named after the RPC faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// BAD_ARGUMENTS.
    BadArguments,
    /// NO_FILE.
    NoFile,
    /// FAILED: it exists but cannot be read or is not a regular file.
    Failed,
}

/// The answer of `tailProcess…Log`.
#[derive(Debug)]
pub struct TailAnswer {
    /// The text; `None`: it is empty.
    pub part: Option<LogPart>,
    /// The offset to ask from next: the size of the file.
    pub offset: i64,
    /// The file has more than was asked for.
    pub overflow: bool,
}

/// The most bytes of one answer. A log with the default maxbytes is shorter.
// Differs from Supervisor, which reads a log of any size into memory. Here the answer is the last part of the requested range.
const MOST: u64 = 64 * 1024 * 1024;

/// A part of a log, read piece by piece.
#[derive(Debug)]
pub struct LogPart {
    file: File,
    at: u64,
    left: u64,
    is_begun: bool,
}

impl LogPart {
    /// Passes the text of the next `most` bytes (at least 8) to `write`; `false`: there are none. A character that is incomplete at the
    /// start or the end of the part is dropped; one across the end of a piece comes with the next piece. Other bytes that are not
    /// UTF-8 become U+FFFD.
    // Differs from Supervisor, which answers HTTP 500 for a slice that ends within a character.
    pub fn next(&mut self, most: u64, write: &mut dyn FnMut(&str)) -> io::Result<bool> {
        let mut bytes = bytes(&mut self.file, self.at, most.min(self.left))?;
        let begun = if std::mem::replace(&mut self.is_begun, true) { 0 } else { continued(&bytes) };
        let read = bytes.len();
        bytes.truncate(read.saturating_sub(unfinished(&bytes)));
        let is_last = most >= self.left || read == 0;
        let taken = u64::try_from(if is_last { read } else { bytes.len() }).unwrap_or(u64::MAX);
        (self.at, self.left) =
            (self.at.saturating_add(taken), if is_last { 0 } else { self.left.saturating_sub(taken) });
        for chunk in bytes.get(begun..).unwrap_or_default().utf8_chunks() {
            write(chunk.valid());
            write(if chunk.invalid().is_empty() { "" } else { "\u{fffd}" });
        }
        Ok(read > 0)
    }
}

/// `readLog` and `readProcess…Log`: with a negative `offset` the last bytes, else `length` bytes (0: all) from `offset`.
pub fn read(path: &Path, offset: i64, length: i64) -> Result<LogPart, ReadError> {
    let (file, size) = open_log(path)?;
    if length < 0 || offset < 0 && length != 0 {
        return Err(ReadError::BadArguments);
    }
    let size = size.unsigned_abs();
    let start = if offset < 0 { size.saturating_sub(offset.unsigned_abs()) } else { offset.unsigned_abs() };
    let there = size.saturating_sub(start);
    let wanted = if length == 0 { there } else { there.min(length.unsigned_abs()) };
    let end = start.saturating_add(wanted);
    let left = wanted.min(MOST);
    Ok(LogPart { file, at: end.saturating_sub(left), left, is_begun: false })
}

/// `tailProcess…Log`: the last `length` bytes. It never fails: without a file the text is empty.
#[must_use]
pub fn tail(path: &Path, offset: i64, length: i64) -> TailAnswer {
    let nothing = |offset| TailAnswer { part: None, offset, overflow: false };
    let (file, size) = match open_log(path) {
        Ok(opened) => opened,
        Err(ReadError::NoFile) => return nothing(0),
        Err(_) => return nothing(offset),
    };
    let end = offset.saturating_add(length);
    let overflow = size > end;
    let empty = !overflow && offset > size.saturating_sub(1);
    let left = if empty { 0 } else { length.max(0).min(size).unsigned_abs().min(MOST) };
    let at = size.unsigned_abs().saturating_sub(left);
    TailAnswer { part: Some(LogPart { file, at, left, is_begun: false }), offset: size, overflow }
}

/// Opens only a regular file: reading from a FIFO or a terminal would wait, and would take bytes from another reader.
fn open_log(path: &Path) -> Result<(File, i64), ReadError> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match std::fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(ReadError::NoFile);
        }
        Ok(meta) if meta.is_file() => {}
        _ => return Err(ReadError::Failed),
    }
    let file = File::from(open(path, flags, Mode::empty()).map_err(|_| ReadError::Failed)?);
    let size = file.metadata().map_err(|_| ReadError::Failed)?.len();
    Ok((file, i64::try_from(size).map_err(|_| ReadError::Failed)?))
}

fn bytes(file: &mut File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    // read_to_end allocates with try_reserve, and returns OutOfMemory if that fails.
    memory::fallible(|| file.take(length).read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// The number of bytes at the start that are the rest of a character.
#[must_use]
pub fn continued(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count()
}

/// The number of bytes at the end that are the start of a character that more bytes could complete.
#[must_use]
pub fn unfinished(bytes: &[u8]) -> usize {
    let end = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
    let invalid = end.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let may_go_on = str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
    if may_go_on { invalid.len() } else { 0 }
}
