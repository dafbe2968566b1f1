//! A log file: appends, rotates by size with Supervisor's file names (supervisor-behaviour.md §6.3), and reports every lost byte.

use super::outage::Outage;
use super::{SinkError, auto, errno};
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

/// When a file is rotated, and how it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RotationLimits {
    /// Rotate after a write that made the file at least this long, in bytes; 0 or negative: never.
    pub maxbytes: i64,
    /// How many rotated files are kept; 0 or negative: the file is emptied instead.
    pub backups: i64,
    /// Create it with mode 0600 (AUTO logs) instead of 0666 less the umask.
    pub private: bool,
}

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) fd: OwnedFd,
    pub(super) path: Box<Path>,
    pub(super) inode: Inode,
    limits: RotationLimits,
    /// The last known length in bytes; other programs may write to the file or truncate it.
    length: u64,
    /// A write at this time or later asks the kernel for the length.
    stale_at: Mono,
    outage: Outage,
    /// After a failed rotation: a write at this time or later tries again.
    rotate_at: Option<Mono>,
    /// After a failed reopening: a write at this time or later tries again.
    reopen_at: Option<Mono>,
}

/// Device and inode number: equal if two descriptors are of the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(u64, u64);

impl Inode {
    #[allow(clippy::useless_conversion, reason = "the width of these fields differs between architectures")]
    pub(super) fn of(stat: &FileStat) -> Self {
        Self(stat.st_dev.into(), stat.st_ino.into())
    }
}

/// The most that the known length may be out of date, in milliseconds, when a write decides whether to rotate. So the writes of
/// other programs count, without a system call for each line.
const LENGTH_MS: u64 = 10;
/// After this time, in milliseconds, the next write tries again an operation that failed.
const RETRY_MS: u64 = 1_000;

/// Opens `path` for appending, and never waits. A FIFO is opened for reading too, so that it needs no reader: its bytes wait in the
/// pipe.
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
    /// Takes over `fd`, which is from `open_append(path)` and is of a regular file with this `stat`.
    pub(super) fn new(fd: OwnedFd, path: &Path, stat: &FileStat, limits: RotationLimits) -> Self {
        Self {
            fd,
            path: path.into(),
            inode: Inode::of(stat),
            limits,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            stale_at: Mono(0),
            outage: Outage::default(),
            rotate_at: None,
            reopen_at: None,
        }
    }

    /// Adds the limits of another channel that shares the file: the smaller limit counts.
    pub(super) fn join(&mut self, limits: RotationLimits) {
        if threshold(limits) < threshold(self.limits) {
            self.limits = limits;
        }
    }

    /// The name of the file in messages.
    fn name(&self) -> String {
        format!("log file '{}'", self.path.display())
    }

    /// Writes all of `bytes`, then rotates if the file is long enough. Bytes that the file does not take are lost, counted and
    /// reported.
    pub(super) fn write(&mut self, mut bytes: &[u8], now: Mono, errors: &mut Vec<SinkError>) {
        if self.reopen_at.is_some_and(|at| at <= now) {
            match self.reopen() {
                Ok(()) => errors.push(SinkError::Reopened(self.name())),
                Err(_) => self.reopen_at = Some(now.after_ms(RETRY_MS)),
            }
        }
        while !bytes.is_empty() {
            match write(&self.fd, bytes).and_then(|taken| if taken == 0 { Err(Errno::EIO) } else { Ok(taken) }) {
                Ok(taken) => {
                    self.length = self.length.saturating_add(taken as u64);
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(why) => {
                    if self.outage.lose(bytes.len(), now) {
                        errors.push(SinkError::Unwritable(self.name(), why));
                    }
                    return;
                }
            }
        }
        if let Some(lost) = self.outage.end(now) {
            errors.push(SinkError::Writable(self.name(), lost));
        }
        self.rotate_if_long(now, errors);
    }

    fn rotate_if_long(&mut self, now: Mono, errors: &mut Vec<SinkError>) {
        let limit = threshold(self.limits);
        if limit == u64::MAX || self.rotate_at.is_some_and(|at| at > now) {
            return;
        }
        if self.length < limit && now < self.stale_at {
            return;
        }
        // The known length may be too small (another program wrote to the file) or too large (logrotate's copytruncate).
        if let Ok(stat) = fstat(&self.fd) {
            self.length = u64::try_from(stat.st_size).unwrap_or(0);
            self.stale_at = now.after_ms(LENGTH_MS);
        }
        if self.length < limit {
            return;
        }
        let has_failed = self.rotate_at.is_some();
        match self.rotate(has_failed) {
            Ok(()) => {
                self.rotate_at = None;
                errors.extend(has_failed.then(|| SinkError::Rotated(self.name())));
            }
            Err(why) => {
                self.rotate_at = Some(now.after_ms(RETRY_MS));
                errors.extend((!has_failed).then(|| SinkError::Unrotated(self.name(), why)));
            }
        }
    }

    /// Creates the new file before it renames the old one, so that an error leaves the log in place.
    fn rotate(&mut self, has_failed: bool) -> Result<(), Errno> {
        let backups = u64::try_from(self.limits.backups).unwrap_or(0);
        if backups == 0 {
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
            let fd = open(&*self.path, flags | OFlag::O_NOCTTY | OFlag::O_NONBLOCK, mode(self.limits.private))?;
            return self.replace(fd);
        }
        let fd = put_empty(&self.path, self.limits.private, || shift(&self.path, backups, has_failed))?;
        self.replace(fd)
    }

    /// Opens the file again by its name (supervisor-behaviour.md §6.8), because another program may have moved it away. After an error the
    /// old file stays in use, and the next write tries again.
    pub(super) fn reopen(&mut self) -> Result<(), Errno> {
        let reopened = open_append(&self.path, self.limits.private).and_then(|fd| self.replace(fd));
        self.reopen_at = reopened.is_err().then_some(Mono(0));
        reopened
    }

    /// Replaces the file by an empty one; rotated files stay (supervisor-behaviour.md §6.8). After an error the old file stays.
    pub(super) fn clear(&mut self) -> Result<(), Errno> {
        let fd = clear(&self.path, self.limits.private)?;
        self.replace(fd)
    }

    fn replace(&mut self, fd: OwnedFd) -> Result<(), Errno> {
        let stat = fstat(&fd)?;
        self.fd = fd;
        self.inode = Inode::of(&stat);
        self.length = u64::try_from(stat.st_size).unwrap_or(0);
        self.reopen_at = None;
        Ok(())
    }

    /// Bytes lost and not yet reported.
    pub(super) fn unreported(&mut self) -> Option<SinkError> {
        self.outage.take_lost().map(|lost| SinkError::Dropped(self.name(), lost))
    }
}

fn threshold(limits: RotationLimits) -> u64 {
    u64::try_from(limits.maxbytes).ok().filter(|&bytes| bytes > 0).unwrap_or(u64::MAX)
}

/// Replaces `path` by an empty file, and opens that for appending.
// Differs from Supervisor: a file below /dev is emptied, never removed.
pub(super) fn clear(path: &Path, private: bool) -> Result<OwnedFd, Errno> {
    if is_below_dev(path) {
        let fd = open_append(path, private)?;
        ftruncate(&fd, 0)?;
        return Ok(fd);
    }
    put_empty(path, private, || Ok(()))
}

fn is_below_dev(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    path.starts_with("/dev") || folder.is_some_and(|folder| folder.starts_with("/dev"))
}

/// Creates an empty file, calls `make_room`, and renames the file to `path`, so that an error at any step leaves `path` as it is.
fn put_empty(path: &Path, private: bool, make_room: impl FnOnce() -> Result<(), Errno>) -> Result<OwnedFd, Errno> {
    let new = path.with_file_name(format!(".{}.log", auto::random()));
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let fd = open(&new, flags, mode(private))?;
    let put = make_room().and_then(|()| fs::rename(&new, path).map_err(|error| errno(&error)));
    if let Err(why) = put {
        let _ = fs::remove_file(&new);
        return Err(why);
    }
    Ok(fd)
}

fn unless_missing(result: io::Result<()>) -> Result<(), Errno> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(errno(&error)),
        _ => Ok(()),
    }
}

/// Renames `f.(N-1)` to `f.N`, …, `f.1` to `f.2`, `f` to `f.1`, each replacing the file of that name.
// Differs from Supervisor: `f.1` is not removed if there is no `f` to take its place.
fn shift(path: &Path, backups: u64, has_failed: bool) -> Result<(), Errno> {
    // With a huge number of backups, only those without a gap between them are renamed. After a failure too, because the backups
    // above the gap are already renamed.
    let top = if backups <= 1_000 && !has_failed {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_attempt_to_rotate_does_not_remove_the_oldest_backup() {
        for has_failed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            let there = |number| fs::read_to_string(numbered(&path, number)).ok();
            let put = |number, text: &str| fs::write(numbered(&path, number), text).unwrap();
            fs::write(&path, "newest").unwrap();
            for (number, text) in [(1, "one"), (3, "three"), (4, "four")] {
                put(number, text);
            }
            shift(&path, 4, has_failed).unwrap();
            assert_eq!((there(1).as_deref(), there(2).as_deref()), (Some("newest"), Some("one")));
            let oldest = if has_failed { "four" } else { "three" };
            assert_eq!(there(4).as_deref(), Some(oldest));
        }
    }

    #[test]
    fn a_file_below_dev_is_recognized_under_every_name() {
        for path in ["/dev/shm/x", "/dev/x", "/tmp/../dev/x", "//dev/x", "/proc/self/root/dev/x"] {
            assert!(is_below_dev(Path::new(path)), "{path}");
        }
        assert!(!is_below_dev(Path::new("/tmp/dev/x")) && !is_below_dev(Path::new("x")));
    }
}
