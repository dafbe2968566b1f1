//! What all spawns share: the stack that children run on until they execute their program, and three low descriptors.
//!
//! Why low descriptors: a new process copies the whole table of descriptors and closes them one by one at exec, which with 3,000 of them
//! takes far longer than all the rest (measured: 370 µs a spawn, against 105). So the child's ends of its pipes are put at three low numbers,
//! the table is shared at first (CLONE_FILES), and the child cuts itself a copy of the low part only (close_range with CLOSE_RANGE_UNSHARE).

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Mutex;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Locked for the whole of a spawn: one child at a time is on its way to exec, since we are suspended meanwhile.
pub(super) static ARENA: Mutex<SpawnArena> = Mutex::new(SpawnArena { stack: None, low: Low::Unmade });

pub(super) struct SpawnArena {
    /// Where the mapping of the stack begins.
    stack: Option<usize>,
    low: Low,
}

enum Low {
    Unmade,
    /// Placeholders, so that nothing else gets these numbers: three for children, and the one that they are copies of.
    Made([OwnedFd; 3], OwnedFd),
    /// The kernel will not cut tables, or there is no low number left.
    Useless,
}

/// Ample: the deepest call formats an error's name.
const STACK_BYTES: usize = 64 * 1024;
/// Larger than any page in use: below the stack, so that an overflow is a fault.
const GUARD_BYTES: usize = 64 * 1024;
/// A table up to here is copied as fast as it is cut.
const SMALL_TABLE: RawFd = 128;

impl SpawnArena {
    /// The upper end of the stack; made at the first use.
    pub(super) fn stack_top(&mut self) -> io::Result<*mut c_void> {
        let base = match self.stack {
            Some(base) => base,
            None => *self.stack.insert(map_stack()?),
        };
        Ok(ptr::with_exposed_provenance_mut(base.wrapping_add(GUARD_BYTES).wrapping_add(STACK_BYTES)))
    }

    /// Puts copies of these descriptors (-1: none) at the low numbers, if the table is large; then all that is below the second number
    /// is all that the child needs. To be followed by [`SpawnArena::take_back`].
    pub(super) fn put_low(&mut self, stdio: [RawFd; 3]) -> Option<([RawFd; 3], RawFd)> {
        if matches!(self.low, Low::Unmade) {
            self.low = make_low().map_or(Low::Useless, |(low, anchor)| Low::Made(low, anchor));
        }
        let Low::Made(low, _) = &self.low else { return None };
        if stdio.iter().all(|&fd| fd < SMALL_TABLE) {
            return None;
        }
        let mut placed = [-1; 3];
        for ((place, at), &source) in placed.iter_mut().zip(low).zip(&stdio) {
            if source >= 0 {
                if !copy_to(source, at) {
                    self.take_back();
                    return None;
                }
                *place = at.as_raw_fd();
            }
        }
        Some((placed, low.iter().map(AsRawFd::as_raw_fd).max()?.saturating_add(1)))
    }

    /// Closes what was put at the low numbers, so that the end of a pipe is seen when the child has closed it.
    pub(super) fn take_back(&self) {
        if let Low::Made(low, anchor) = &self.low {
            for at in low {
                copy_to(anchor.as_raw_fd(), at);
            }
        }
    }

    /// The kernel has refused: never tried again.
    pub(super) fn give_up(&mut self) {
        self.low = Low::Useless;
    }
}

/// Something harmless that needs no /dev: a mere name of the root directory.
fn make_low() -> Option<([OwnedFd; 3], OwnedFd)> {
    let anchor = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let copy = || anchor.try_clone().ok();
    let low = [copy()?, copy()?, copy()?];
    low.iter().all(|fd| fd.as_raw_fd() < SMALL_TABLE).then_some((low, anchor))
}

/// dup3(2) to a number that is ours, close-on-exec.
fn copy_to(source: RawFd, at: &OwnedFd) -> bool {
    // SAFETY: no memory is involved, and the number that is overwritten is owned by a placeholder.
    unsafe { libc::dup3(source, at.as_raw_fd(), libc::O_CLOEXEC) >= 0 }
}

fn map_stack() -> io::Result<usize> {
    let whole = GUARD_BYTES.wrapping_add(STACK_BYTES);
    let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place that the kernel chooses.
    let base = unsafe { libc::mmap(ptr::null_mut(), whole, rights, flags | libc::MAP_STACK, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the first part of the mapping just made; nothing is in it yet.
    unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) };
    Ok(base.expose_provenance())
}
