//! Adopts orphans: as PID 1, or as a child subreaper.

use std::io;

/// Whether this process is the init of its PID namespace: it adopts orphans, and the kernel discards signals for it that have no
/// handler.
#[must_use]
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// Makes this process the parent of orphans among its descendants, instead of PID 1. Children do not inherit this.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}
