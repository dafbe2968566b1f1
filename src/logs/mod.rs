//! Where log bytes go: from a program's pipe to files and streams, and rsup's own journal.
//!
//! ```text
//! ChildLog (a channel: strip_ansi, prefix) ─┐
//! ChildLog ─────────────────────────────────┼─► Sinks: whole lines where a sink is shared ─► LogFile (rotation)
//! Journal (rsup's own lines) ───────────────┘                                            └► Stream (queue, never blocks)
//! ```
//!
//! Without options and shared sinks, the bytes of one read(2) go out by one write(2), uncopied and unexamined. Two channels that
//! name the same file or stream share one sink, found by its inode. Nothing here waits or reads a clock, except `Sinks::finish`
//! at rsup's end: time is an argument.
#![forbid(unsafe_code)]

pub mod auto;
pub mod tail;

pub(crate) mod ansi;
mod child;
mod file;
mod framing;
mod journal;
mod labelled;
mod outage;
mod sinks;
mod stamp;
mod stream;

pub use child::{ChildLog, Flow, LineFormat, LogSpec};
pub use file::RotationLimits;
pub use journal::Journal;
pub use labelled::LabelledStdout;
pub use nix::errno::Errno;
pub use sinks::{SinkId, Sinks};

use std::fmt;

/// A failure or recovery of a sink, to be logged as a warning. Sinks have their names in messages: `stdout`,
/// `log file '/var/log/x'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkError {
    /// The sink takes no bytes at present.
    Unwritable(String, Errno),
    /// The sink takes bytes again, after this many were lost.
    Writable(String, u64),
    /// A file could not be rotated. Rotation is tried again.
    Unrotated(String, Errno),
    /// A file could be rotated after `Unrotated`.
    Rotated(String),
    /// A file could be opened after its reopening had failed.
    Reopened(String),
    /// A stream has lost its reader for good. Bytes written to it are discarded.
    Closed(String, Errno),
    /// This many bytes were discarded, because the sink did not take them in time or had failed.
    Dropped(String, u64),
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritable(name, why) => write!(f, "cannot write to {name}: {}; output is being lost", why.desc()),
            Self::Writable(name, lost) => write!(f, "{name} can be written again; {lost} bytes of output were lost"),
            Self::Unrotated(name, why) => write!(f, "cannot rotate {name}: {}; it keeps growing", why.desc()),
            Self::Rotated(name) => write!(f, "{name} can be rotated again"),
            Self::Reopened(name) => write!(f, "{name} has been reopened"),
            Self::Closed(name, why) => {
                write!(f, "{name} has no reader any more ({}): output to it is discarded", why.desc())
            }
            Self::Dropped(name, bytes) => write!(f, "{bytes} bytes of output to {name} were discarded"),
        }
    }
}

/// The errno of an error of std's file functions.
fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
