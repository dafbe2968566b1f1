//! Where log bytes go: from a program's pipe to files and streams, and rsup's own journal.
//!
//! ```text
//! ChildLog (a channel: strip_ansi, prefix) ─┐
//! ChildLog ─────────────────────────────────┼─► Sinks: whole lines where a sink is shared ─► LogFile (rotation)
//! Journal (rsup's own lines) ───────────────┘                                            └► Stream (queue, never blocks)
//! ```
//!
//! The shortest way is one write(2) for what one read(2) gave: nothing is copied or looked at unless an option or a
//! shared sink asks for it. Two channels that name the same file or stream share one sink, found by its inode.
//! Nothing here waits, and nothing here reads a clock: time is an argument.
#![forbid(unsafe_code)]

pub mod auto;
pub mod tail;

mod ansi;
mod child;
mod file;
mod journal;
mod sinks;
mod stamp;
mod stream;

pub use child::{ChildLog, Flow, Format, Spec};
pub use file::Limits;
pub use journal::{Journal, Level};
pub use nix::errno::Errno;
pub use sinks::{SinkId, Sinks};

use std::fmt;
use std::path::PathBuf;

/// What went wrong with a sink, to be logged as a warning. Output goes on; what could not be written is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A file takes no bytes: said once until it does again.
    Unwritable(PathBuf, Errno),
    /// A file takes bytes again, after so many were lost.
    Writable(PathBuf, u64),
    /// A file could not be rotated, and grows on.
    Unrotated(PathBuf, Errno),
    /// A stream's reader has gone for good: from now on what is written to it is discarded.
    Gone(String, Errno),
    /// So many bytes were discarded for a stream, because its reader had gone or did not read in time.
    Dropped(String, u64),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritable(path, why) => {
                write!(f, "cannot write to log file '{}': {}; output is being lost", path.display(), why.desc())
            }
            Self::Writable(path, lost) => {
                write!(f, "log file '{}' can be written again; {lost} bytes of output were lost", path.display())
            }
            Self::Unrotated(path, why) => {
                write!(f, "cannot rotate log file '{}': {}; it grows on", path.display(), why.desc())
            }
            Self::Gone(name, why) => {
                write!(f, "nobody reads {name} any more ({}): output to it is discarded", why.desc())
            }
            Self::Dropped(name, bytes) => write!(f, "{bytes} bytes of output to {name} were discarded"),
        }
    }
}

/// The errno of an error out of std's file functions.
fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
