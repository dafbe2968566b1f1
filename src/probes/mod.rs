//! Tries whether something works, and receives the signs of readiness: what the options `ready`, `healthcheck` and `watchdog` need,
//! apart from commands, which are children of the daemon.
//!
//! Nothing here waits, and no time limit is kept: the caller polls the descriptors and has the clock. Which outcome means what
//! is decided by `supervision`.

mod attempt;
mod file;
mod line;
pub mod notify;
mod schedule;

pub use attempt::{Attempt, ProbeFailure};
pub use file::FileWatch;
pub use line::LineMatcher;
pub use notify::{Message, NotifySocket, is_descendant};
pub use schedule::{Schedule, Verdict};
