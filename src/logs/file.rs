//! A log file: appended to, rotated by size with Supervisor's names (census 6.3), never silently losing a byte.

use super::{Trouble, errno};
use crate::time::Mono;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{ftruncate, write};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// When a file is rotated and how it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Rotate when a write has made the file at least so long, in bytes; 0 or negative: never.
    pub maxbytes: i64,
    /// How many rotated files are kept; 0 or negative: the file is emptied instead.
    pub backups: i64,
    /// Made with mode 0600 (AUTO logs) instead of 0666 less the umask.
    pub private: bool,
}

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) fd: OwnedFd,
    pub(super) path: Box<Path>,
    pub(super) inode: Inode,
    limits: Limits,
    /// Bytes in the file as far as we know; somebody else may have truncated it.
    position: u64,
    /// The position at which to rotate, `u64::MAX` for never.
    rotate_at: u64,
    /// Bytes lost since the last write that went well.
    lost: u64,
    /// Failures are not reported again before this.
    quiet_until: Mono,
    /// A failure has been reported, its end not yet.
    failing: bool,
}

/// What makes two open descriptors the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(u64, u64);

impl Inode {
    #[allow(clippy::useless_conversion, reason = "the width of these fields differs between architectures")]
    pub(super) fn of(stat: &FileStat) -> Self {
        Self(stat.st_dev.into(), stat.st_ino.into())
    }
}

/// Failures of one file are reported at most this often.
const REPORT_MS: u64 = 10_000;

/// Opens `path` for appending without ever waiting: a FIFO is opened for reading too, so that it needs no reader
/// (its bytes wait for one in the pipe).
pub(super) fn open_append(path: &Path, private: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let with = |access| open(path, access | flags, mode(private));
    match with(OFlag::O_WRONLY) {
        Ok(fd) if SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO => {
            with(OFlag::O_RDWR).or(Ok(fd))
        }
        Err(Errno::ENXIO) => with(OFlag::O_RDWR),
        other => other,
    }
}

fn mode(private: bool) -> Mode {
    if private { Mode::from_bits_truncate(0o600) } else { Mode::from_bits_truncate(0o666) }
}

impl LogFile {
    /// Takes over `fd`, which `open_append` gave for `path` and which is a regular file described by `stat`.
    pub(super) fn new(fd: OwnedFd, path: &Path, stat: &FileStat, limits: Limits) -> Self {
        Self {
            fd,
            path: path.into(),
            inode: Inode::of(stat),
            limits,
            position: u64::try_from(stat.st_size).unwrap_or(0),
            rotate_at: threshold(limits),
            lost: 0,
            quiet_until: Mono(0),
            failing: false,
        }
    }

    /// Another channel shares this file: the smaller limit counts.
    pub(super) fn join(&mut self, limits: Limits) {
        if threshold(limits) < threshold(self.limits) {
            self.limits = limits;
            self.rotate_at = threshold(limits);
        }
    }

    /// Writes all of `bytes`, then rotates if the file has become long enough. What the file does not take is lost,
    /// counted and reported.
    pub(super) fn write(&mut self, mut bytes: &[u8], now: Mono, troubles: &mut Vec<Trouble>) {
        while !bytes.is_empty() {
            match write(&self.fd, bytes).and_then(|taken| if taken == 0 { Err(Errno::EIO) } else { Ok(taken) }) {
                Ok(taken) => {
                    self.position = self.position.saturating_add(taken as u64);
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(why) => {
                    self.lost = self.lost.saturating_add(bytes.len() as u64);
                    if !self.failing && now >= self.quiet_until {
                        self.failing = true;
                        self.quiet_until = now.after_ms(REPORT_MS);
                        troubles.push(Trouble::Unwritable(self.path.to_path_buf(), why));
                    }
                    return;
                }
            }
        }
        if self.failing {
            self.failing = false;
            troubles.push(Trouble::Writable(self.path.to_path_buf(), std::mem::take(&mut self.lost)));
        }
        if self.position >= self.rotate_at
            && let Err(why) = self.rotate()
        {
            // The file grows on, and is tried again after as much again.
            self.rotate_at = self.position.saturating_add(threshold(self.limits));
            if now >= self.quiet_until {
                self.quiet_until = now.after_ms(REPORT_MS);
                troubles.push(Trouble::Unrotated(self.path.to_path_buf(), why));
            }
        }
    }

    fn rotate(&mut self) -> Result<(), Errno> {
        // Our count may be too high: somebody (logrotate's copytruncate) may have cut the file.
        self.position = u64::try_from(fstat(&self.fd)?.st_size).unwrap_or(0);
        if self.position < threshold(self.limits) {
            self.rotate_at = threshold(self.limits);
            return Ok(());
        }
        shift(&self.path, u64::try_from(self.limits.backups).unwrap_or(0))?;
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let fd = open(&*self.path, flags | OFlag::O_NOCTTY | OFlag::O_NONBLOCK, mode(self.limits.private))?;
        self.replace(fd)
    }

    /// Opens the file by its name again (census 6.8), for when something else has moved it away.
    pub(super) fn reopen(&mut self) -> Result<(), Errno> {
        let fd = open_append(&self.path, self.limits.private)?;
        self.replace(fd)
    }

    /// Removes the file and makes an empty one; rotated files stay (census 6.8).
    pub(super) fn clear(&mut self) -> Result<(), Errno> {
        clear(&self.path, self.limits.private)?;
        self.reopen()
    }

    fn replace(&mut self, fd: OwnedFd) -> Result<(), Errno> {
        let stat = fstat(&fd)?;
        self.fd = fd;
        self.inode = Inode::of(&stat);
        self.position = u64::try_from(stat.st_size).unwrap_or(0);
        self.rotate_at = threshold(self.limits);
        Ok(())
    }

    /// Bytes lost and not yet reported.
    pub(super) fn unreported(&mut self) -> Option<Trouble> {
        let lost = std::mem::take(&mut self.lost);
        (lost > 0).then(|| Trouble::Dropped(format!("'{}'", self.path.display()), lost))
    }
}

fn threshold(limits: Limits) -> u64 {
    u64::try_from(limits.maxbytes).ok().filter(|&bytes| bytes > 0).unwrap_or(u64::MAX)
}

/// Puts an empty file in the place of `path`. Differs from Supervisor: what is under /dev is emptied, never removed.
pub(super) fn clear(path: &Path, private: bool) -> Result<(), Errno> {
    if path.starts_with("/dev") {
        return ftruncate(open_append(path, private)?, 0);
    }
    unless_missing(fs::remove_file(path))?;
    open_append(path, private).map(drop)
}

fn unless_missing(result: io::Result<()>) -> Result<(), Errno> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(errno(&error)),
        _ => Ok(()),
    }
}

/// `f.(N-1)` becomes `f.N`, …, `f.1` becomes `f.2`, `f` becomes `f.1`, each replacing what is there.
///
/// Differs from Supervisor: `f.1` is not removed when there is no `f` any more to take its place.
fn shift(path: &Path, backups: u64) -> Result<(), Errno> {
    if backups == 0 {
        return Ok(());
    }
    // With a huge number of backups only those that follow each other are looked for.
    let top = if backups <= 1_000 {
        backups
    } else {
        (1..backups).find(|&number| !numbered(path, number).exists()).unwrap_or(backups)
    };
    for number in (1..top).rev() {
        unless_missing(fs::rename(numbered(path, number), numbered(path, number.saturating_add(1))))?;
    }
    unless_missing(fs::rename(path, numbered(path, 1)))
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}
