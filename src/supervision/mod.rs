//! The brain.
#![forbid(unsafe_code)]

pub mod process;
