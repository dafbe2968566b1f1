//! Thin safe wrappers over the kernel: no policy, no logging. The only place where `unsafe` may be written.
#![allow(unsafe_code)]

pub mod clock;
pub mod poll;
