//! Loads the configuration: turns files into a [`model::Config`] and a list of problems, each with its file and line.
//!
//! Pure: files, users and the environment are read through the [`Machine`] that the caller passes. Tests pass a map.
#![forbid(unsafe_code)]

mod client;
pub mod command_line;
pub mod compare;
mod dialect;
mod dump;
mod expand;
mod links;
mod lint;
mod load;
pub mod model;
mod nearest;
pub mod options;
pub mod policy;
pub mod probe;
mod search;
#[cfg(test)]
pub(crate) mod tests;
pub mod values;

pub use client::load_client;
pub use dump::dump;
pub use load::{load, processes};
pub use search::{NotFound, search};

use crate::text;
use std::fmt;
use std::path::{Path, PathBuf};

/// The parts of the system that a configuration depends on. `crate::machine::Real` is the real system; tests use a map.
pub trait Machine {
    /// The bytes of a file, which may be a pipe or a device. A file longer than [`FILE_MAX_BYTES`] is an error.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    /// The same for a regular file; anything else is an error. Never blocks.
    fn read_regular(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    /// The paths that match an absolute pattern (as text, see [`crate::text`]) by the rules of Python's `glob.glob`, sorted.
    ///
    /// # Errors
    /// A directory that exists could not be read; the text has its path and the reason.
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;
    /// Whether `path` is a directory. Follows symbolic links. It is an error if that cannot be found out.
    fn is_dir(&self, path: &Path) -> std::io::Result<bool>;
    /// Whether anything exists at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Whether so much memory can be allocated.
    fn has_room(&self, bytes: usize) -> bool;
    /// A user of /etc/passwd by name; the error is the reason why that file cannot be read.
    fn user_by_name(&self, name: &str) -> Result<Option<model::User>, String>;
    /// A user of /etc/passwd by number; errors as for [`Machine::user_by_name`].
    fn user_by_uid(&self, uid: u32) -> Result<Option<model::User>, String>;
    /// The groups that a user has now, from /etc/passwd and /etc/group. A number that /etc/passwd does not have gets rsup's own
    /// group. The error has the file that cannot be read, and the reason.
    fn groups_of(&self, user: &model::User) -> Result<model::UserGroups, String>;
    /// A group's number from /etc/group by name; the error is the reason why that file cannot be read.
    fn group_by_name(&self, name: &str) -> Result<Option<u32>, String>;
    /// Whether /etc/group has a group of this number; errors as for [`Machine::group_by_name`].
    fn has_gid(&self, gid: u32) -> Result<bool, String>;
    /// The home directory of a user of /etc/passwd; empty `user`: $HOME, else that of rsup's own user.
    fn home(&self, user: &str) -> Option<String>;
    /// The real user number of this process.
    fn uid(&self) -> u32;
    /// The real group number of this process.
    fn gid(&self) -> u32;
    /// The environment that rsup was started with, in order, each name once; as text (see [`crate::text`]).
    fn environment(&self) -> Vec<(String, String)>;
    /// The host name, as `uname -n` prints it.
    fn host_node_name(&self) -> String;
    /// The working directory of this process.
    fn current_dir(&self) -> PathBuf;
}

/// The size limit of a configuration file: a device such as /dev/zero has no end.
pub const FILE_MAX_BYTES: u64 = 16 << 20;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A note for the main log.
    Info,
    /// The configuration is accepted, but this is probably a mistake.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// An error, warning or note about a place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file as given with `-c` or found by `[include]`.
    pub file: PathBuf,
    /// The line, counted from 1; 0: the file as a whole.
    pub line: u32,
    /// The section without brackets; empty: none.
    pub section: String,
    /// The key; empty: the section as a whole.
    pub key: String,
    /// The mistake, and what to write instead.
    pub message: String,
}

impl Problem {
    fn new(severity: Severity, file: &Path, line: u32, section: &str, key: &str, message: impl Into<String>) -> Self {
        Self { severity, file: file.into(), line, section: section.into(), key: key.into(), message: message.into() }
    }
}

/// `file:line: [section] key: message`, without the parts that are unknown and without a key that the message repeats. `{:#}`
/// adds the severity after the line.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if f.alternate() {
            write!(f, " {}:", self.severity)?;
        }
        if !self.section.is_empty() {
            write!(f, " [{}]", text::shown(&self.section))?;
        }
        let begins_with_key = self.message.strip_prefix(&*self.key).is_some_and(|rest| rest.starts_with(' '));
        if !self.key.is_empty() && !begins_with_key {
            write!(f, " {}:", text::shown(&self.key))?;
        }
        write!(f, " {}", text::shown(&self.message))
    }
}

/// A loaded configuration and its problems.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Complete only when no problem is an error.
    pub config: model::Config,
    /// All problems, sorted by file and line.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// The problems for which the configuration cannot be used.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }
}
