//! Thin safe wrappers over the kernel: no policy, no logging. The only place where `unsafe` may be written.
//!
//! The wrappers are for what nix lacks: real-time signals (nix's `Signal` has none, and its `waitpid` fails on
//! a child that one of them killed), queued values, a spawn that shares memory with its child.
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

/// A process number as the kernel has it.
pub type Pid = libc::pid_t;
