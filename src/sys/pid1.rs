//! Being PID 1, or standing in for it.

use std::io;

/// Whether we are the init of our PID namespace: orphans come to us, and the kernel spares us signals without a handler.
#[must_use]
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// Makes orphans among our descendants come to us instead of PID 1. Children do not inherit it.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}
