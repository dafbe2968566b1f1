//! Thin safe wrappers over the kernel, without policy and logging. The only module that may contain `unsafe`.
//!
//! The wrappers exist for what nix lacks: real-time signals (nix's `Signal` does not have them, and its `waitpid` fails for a child
//! that one of them ended), values queued with signals, and a spawn that shares memory with its child.
#![allow(unsafe_code)]

pub mod background;
pub mod clock;
pub mod entry;
pub mod errno;
pub mod fds;
pub mod hosts;
pub mod memory;
pub mod output;
pub mod pid1;
pub mod poll;
pub mod program;
pub mod reap;
pub mod signals;
pub mod sockets;
pub mod spawn;
pub mod stream;
pub mod tty;

/// A process id.
pub type Pid = libc::pid_t;
