//! A log that a client follows (`tail -f`; census §7.3): its end, then whatever comes, through rotation and clearing.
//!
//! The file itself is the buffer: a piece is read when the one before is written, so a slow reader holds one piece.

use crate::logs::tail::{self, LogSource};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

/// So much of what is there already is sent, in bytes.
const BEGIN_BYTES: u64 = 1024;
/// Sent at once, in bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// Supervisor's words for a file that has become shorter.
const CUT: &[u8] = b"==> File truncated <==\n";

/// A log file and how far it has been sent.
#[derive(Debug)]
pub(super) struct Follow {
    path: PathBuf,
    file: File,
    inode: (u64, u64),
    at: u64,
}

impl Follow {
    /// Begins near the end of a regular file, and when that was last written; `None`: there is none to follow.
    pub(super) fn begin(log: LogSource) -> Option<(Self, SystemTime)> {
        let LogSource::File(path) = log;
        let (file, meta) = open(&path).ok()?;
        let mut begun = Self { path, file, inode: inode(&meta), at: meta.len().saturating_sub(BEGIN_BYTES) };
        // Not with the rest of a character.
        let mut first = [0; 3];
        let read = if begun.at > 0 { begun.file.read_at(&mut first, begun.at).ok()? } else { 0 };
        let rest = tail::continued(first.get(..read).unwrap_or_default());
        begun.at = begun.at.saturating_add(u64::try_from(rest).unwrap_or(0));
        Some((begun, meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    /// What has come since the last call, at most a piece of it; empty: nothing.
    // Differs from Supervisor: what was written before a rotation is still sent, a file that somebody has cut is sent
    // from its start (there the connection breaks), and a character is not torn, which its client cannot decode.
    pub(super) fn more(&mut self) -> io::Result<Vec<u8>> {
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
            && let Ok((file, meta)) = open(&self.path)
        {
            (self.file, self.inode, self.at) = (file, inode(&meta), 0);
            return self.more();
        }
        Ok(piece)
    }
}

/// Without waiting, and only what can be read from any place.
fn open(path: &PathBuf) -> io::Result<(File, fs::Metadata)> {
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

    fn rest(follow: &mut Follow) -> String {
        let mut all = Vec::new();
        loop {
            match follow.more().unwrap() {
                piece if piece.is_empty() => return String::from_utf8(all).unwrap(),
                piece => all.extend(piece),
            }
        }
    }

    #[test]
    fn a_log_is_followed_through_all_that_happens_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(Follow::begin(LogSource::File(path.clone())).is_none());
        assert!(Follow::begin(LogSource::File(folder.path().into())).is_none());
        let append =
            |text: &str| File::options().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes());
        append(&format!("{}ä{}\n", "x".repeat(500), "y".repeat(1022))).unwrap();
        let (mut follow, _) = Follow::begin(LogSource::File(path.clone())).unwrap();
        assert_eq!(rest(&mut follow), format!("{}\n", "y".repeat(1022)), "not with the rest of a character");
        assert_eq!(rest(&mut follow), "");
        append("one\n").unwrap();
        assert_eq!(rest(&mut follow), "one\n");
        // Rotated, with something not yet sent.
        append("last\n").unwrap();
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        assert_eq!(rest(&mut follow), "last\n");
        append("new\n").unwrap();
        assert_eq!(rest(&mut follow), "new\n");
        // Cleared: another file of that name.
        fs::remove_file(&path).unwrap();
        append("after\n").unwrap();
        assert_eq!(rest(&mut follow), "after\n");
        // Cut by somebody.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        append("cut\n").unwrap();
        assert_eq!(rest(&mut follow), "==> File truncated <==\ncut\n");
        // More than a piece, with characters across its ends.
        append(&"€".repeat(20_000)).unwrap();
        assert_eq!(rest(&mut follow), "€".repeat(20_000));
        File::options().append(true).open(&path).unwrap().write_all(&"€".as_bytes()[..2]).unwrap();
        assert_eq!(rest(&mut follow), "");
        File::options().append(true).open(&path).unwrap().write_all(&"€".as_bytes()[2..]).unwrap();
        assert_eq!(rest(&mut follow), "€");
    }
}
