//! A log that a client follows (`tail -f`; supervisor-behaviour.md §7.3): its last bytes, then everything that is appended, across
//! rotation and clearing.
//!
//! A piece is read from the file only after the piece before it was sent, so rsup holds one piece for a slow client.

use crate::logs::tail;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

/// How much of the existing log is sent first, in bytes.
const FIRST_BYTES: u64 = 1024;
/// Largest piece, in bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// Supervisor's text for a file that has become shorter.
const CUT: &[u8] = b"==> File truncated <==\n";

/// A log file and the offset up to which it has been sent.
#[derive(Debug)]
pub(super) struct FollowedLog {
    path: PathBuf,
    file: File,
    inode: (u64, u64),
    at: u64,
}

impl FollowedLog {
    /// Opens a log near its end; also gives the time of its last change. `None`: it cannot be read, or is not a regular file.
    pub(super) fn open(path: PathBuf) -> Option<(Self, SystemTime)> {
        let (file, meta) = open_regular(&path).ok()?;
        let mut opened = Self { path, file, inode: inode(&meta), at: meta.len().saturating_sub(FIRST_BYTES) };
        // Do not start in the middle of a character.
        let mut first = [0; 3];
        let read = if opened.at > 0 { opened.file.read_at(&mut first, opened.at).ok()? } else { 0 };
        let rest = tail::continued(first.get(..read).unwrap_or_default());
        opened.at = opened.at.saturating_add(u64::try_from(rest).unwrap_or(0));
        Some((opened, meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    /// The next piece of what was appended; empty if there is nothing new.
    // Differs from Supervisor: bytes written before a rotation are still sent; a truncated file is sent from its start (there the
    // connection breaks); and no piece ends within a character, which Supervisor's client could not decode.
    pub(super) fn next_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE_BYTES];
        let read = self.file.read_at(&mut piece, self.at)?;
        piece.truncate(read);
        piece.truncate(read.saturating_sub(tail::unfinished(&piece)));
        self.at = self.at.saturating_add(u64::try_from(piece.len()).unwrap_or(0));
        if piece.is_empty() && self.file.metadata()?.len() < self.at {
            self.at = 0;
            return Ok(CUT.to_vec());
        }
        if piece.is_empty()
            && fs::metadata(&self.path).is_ok_and(|meta| inode(&meta) != self.inode)
            && let Ok((file, meta)) = open_regular(&self.path)
        {
            (self.file, self.inode, self.at) = (file, inode(&meta), 0);
            return self.next_piece();
        }
        Ok(piece)
    }
}

/// Opens a regular file, without waiting.
fn open_regular(path: &PathBuf) -> io::Result<(File, fs::Metadata)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    Ok((file, meta))
}

fn inode(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn rest(follow: &mut FollowedLog) -> String {
        let mut all = Vec::new();
        loop {
            match follow.next_piece().unwrap() {
                piece if piece.is_empty() => return String::from_utf8(all).unwrap(),
                piece => all.extend(piece),
            }
        }
    }

    #[test]
    fn a_log_is_followed_across_rotation_clearing_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(FollowedLog::open(path.clone()).is_none());
        assert!(FollowedLog::open(folder.path().into()).is_none());
        let append =
            |text: &str| File::options().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes());
        append(&format!("{}ä{}\n", "x".repeat(500), "y".repeat(1022))).unwrap();
        let (mut follow, _) = FollowedLog::open(path.clone()).unwrap();
        assert_eq!(rest(&mut follow), format!("{}\n", "y".repeat(1022)), "starts at a character");
        assert_eq!(rest(&mut follow), "");
        append("one\n").unwrap();
        assert_eq!(rest(&mut follow), "one\n");
        // Rotated while some bytes were not sent yet.
        append("last\n").unwrap();
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        assert_eq!(rest(&mut follow), "last\n");
        append("new\n").unwrap();
        assert_eq!(rest(&mut follow), "new\n");
        // Cleared: a new file of the same name.
        fs::remove_file(&path).unwrap();
        append("after\n").unwrap();
        assert_eq!(rest(&mut follow), "after\n");
        // Truncated by another program.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        append("cut\n").unwrap();
        assert_eq!(rest(&mut follow), "==> File truncated <==\ncut\n");
        // More than one piece, with characters across the boundaries.
        append(&"€".repeat(20_000)).unwrap();
        assert_eq!(rest(&mut follow), "€".repeat(20_000));
        File::options().append(true).open(&path).unwrap().write_all(&"€".as_bytes()[..2]).unwrap();
        assert_eq!(rest(&mut follow), "");
        File::options().append(true).open(&path).unwrap().write_all(&"€".as_bytes()[2..]).unwrap();
        assert_eq!(rest(&mut follow), "€");
    }
}
