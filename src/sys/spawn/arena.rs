//! Memory and descriptors that all spawns share: the stack on which children run until exec, and three low descriptors.
//!
//! The low descriptors save time: a new process normally copies the whole table of descriptors and closes them one by one at exec. With
//! 3,000 descriptors this takes longer than everything else (measured: 370 µs for a spawn instead of 105). So the child's pipe ends are
//! duplicated to three low numbers, the table is shared at first (CLONE_FILES), and the child copies only the low part of it
//! (close_range with CLOSE_RANGE_UNSHARE).

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Mutex;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Locked during each spawn. Only one child at a time is between clone and exec, since rsup is suspended until then.
pub(super) static ARENA: Mutex<SpawnArena> = Mutex::new(SpawnArena { stack: None, low: Low::Unmade });

pub(super) struct SpawnArena {
    /// The start of the mapping of the stack.
    stack: Option<usize>,
    low: Low,
}

enum Low {
    Unmade,
    /// Placeholders that reserve the numbers: three for children, and the descriptor of which they are duplicates.
    Made([OwnedFd; 3], OwnedFd),
    /// The kernel cannot copy a part of the table, or there is no free low number.
    Useless,
}

/// Enough for the child, which only makes system calls.
const STACK_BYTES: usize = 64 * 1024;
/// A guard below the stack, larger than any page, so that an overflow is a fault.
const GUARD_BYTES: usize = 64 * 1024;
/// Up to this highest number, copying the whole table is as fast.
const SMALL_TABLE: RawFd = 128;

impl SpawnArena {
    /// The upper end of the stack, which is mapped at the first call.
    pub(super) fn stack_top(&mut self) -> io::Result<*mut c_void> {
        let base = match self.stack {
            Some(base) => base,
            None => *self.stack.insert(map_stack()?),
        };
        Ok(ptr::with_exposed_provenance_mut(base.wrapping_add(GUARD_BYTES).wrapping_add(STACK_BYTES)))
    }

    /// If the table is large, duplicates these descriptors (-1: none) to the low numbers. Returns the low numbers, and a number below
    /// which are all descriptors that the child needs. Call [`SpawnArena::take_back`] afterwards.
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

    /// Replaces the duplicates at the low numbers by placeholders, so that a pipe ends when the child closes it.
    pub(super) fn take_back(&self) {
        if let Low::Made(low, anchor) = &self.low {
            for at in low {
                copy_to(anchor.as_raw_fd(), at);
            }
        }
    }

    /// The kernel has refused: no longer uses low descriptors.
    pub(super) fn give_up(&mut self) {
        self.low = Low::Useless;
    }
}

/// Creates the placeholders: O_PATH descriptors of the root directory, which need no /dev.
fn make_low() -> Option<([OwnedFd; 3], OwnedFd)> {
    let anchor = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let copy = || anchor.try_clone().ok();
    let low = [copy()?, copy()?, copy()?];
    low.iter().all(|fd| fd.as_raw_fd() < SMALL_TABLE).then_some((low, anchor))
}

/// dup3(2) to the number of a placeholder, close-on-exec.
fn copy_to(source: RawFd, at: &OwnedFd) -> bool {
    // SAFETY: no memory is involved, and the replaced descriptor is a placeholder.
    unsafe { libc::dup3(source, at.as_raw_fd(), libc::O_CLOEXEC) >= 0 }
}

fn map_stack() -> io::Result<usize> {
    let whole = GUARD_BYTES.wrapping_add(STACK_BYTES);
    let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe { libc::mmap(ptr::null_mut(), whole, rights, flags | libc::MAP_STACK, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the first part of the new mapping, which is not in use yet.
    unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) };
    Ok(base.expose_provenance())
}
