//! Tries whether something works, and receives the signs of readiness: what the options `ready`, `healthcheck` and `watchdog` need,
//! apart from commands, which are children of the daemon.
//!
//! Nothing here waits, and no time limit is kept: the caller polls the descriptors and has the clock. Which outcome means what
//! is decided by `supervision`.

pub mod attempt;
pub mod file;
pub mod line;
pub mod notify;
