//! AUTO logs (supervisor-behaviour.md §6.4): creates them, and removes those of an earlier run.

use super::errno;
use crate::text;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// Makes an empty file of a new name in `folder`, mode 0600, and returns its path.
pub fn create(folder: &Path, process: &str, channel: &str, identifier: &str) -> Result<PathBuf, Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    loop {
        let path = folder.join(text::to_os(&format!("{process}-{channel}---{identifier}-{}.log", random())));
        match open(&path, flags, Mode::from_bits_truncate(0o600)) {
            Ok(_) => return Ok(path),
            Err(Errno::EEXIST) => {}
            Err(why) => return Err(why),
        }
    }
}

/// Eight random characters of `a-z0-9_`. The keys of std's hashes come from the kernel; a collision only costs another try.
pub(super) fn random() -> String {
    const LETTERS: &[u8; 37] = b"abcdefghijklmnopqrstuvwxyz0123456789_";
    let mut bits = RandomState::new().hash_one(0);
    let letter = |_| {
        let letter = LETTERS.get(usize::try_from(bits % 37).unwrap_or(0)).copied().unwrap_or(b'_');
        bits /= 37;
        char::from(letter)
    };
    (0..8).map(letter).collect()
}

/// Removes every AUTO log of `identifier` in `folder`, rotated ones too. Returns those that could not be removed.
pub fn clean(folder: &Path, identifier: &str) -> Result<Vec<PathBuf>, Errno> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| errno(&error))?.flatten() {
        if is_auto(&text::of_os(entry.file_name()), identifier) && fs::remove_file(entry.path()).is_err() {
            left.push(entry.path());
        }
    }
    Ok(left)
}

/// Whether the start of a name matches Supervisor's `.+?---<identifier>-\S+\.log\.{0,1}\d{0,4}`.
fn is_auto(name: &str, identifier: &str) -> bool {
    let mark = format!("---{identifier}-");
    name.match_indices(&mark).any(|(at, _)| {
        let rest = name.get(at.saturating_add(mark.len())..).unwrap_or_default();
        let word = rest.split(char::is_whitespace).next().unwrap_or_default();
        at > 0 && word.rfind(".log").is_some_and(|end| end > 0)
    })
}
