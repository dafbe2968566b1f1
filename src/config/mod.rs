//! The configuration: bytes of files → [`model::Config`] plus every problem found, each with file and line.
//!
//! Pure but for the [`Machine`] that it is handed (files, users, directories, environment), so that tests give a map.

pub mod model;

use std::path::{Path, PathBuf};

/// What reading a configuration may ask of the machine. The real one is `crate::machine::Real`; tests have a map.
pub trait Machine {
    /// The bytes of a file.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    /// Paths that match an absolute shell pattern (Python's `glob`: `*`, `?`, `[..]`; dot files only when named), sorted.
    fn glob(&self, pattern: &str) -> Vec<PathBuf>;
    /// Whether `path` is an existing directory (symbolic links followed).
    fn is_dir(&self, path: &Path) -> bool;
    /// Whether anything exists at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// A user of /etc/passwd by name.
    fn user_by_name(&self, name: &str) -> Option<model::User>;
    /// A user of /etc/passwd by number.
    fn user_by_uid(&self, uid: u32) -> Option<model::User>;
    /// A group's number from /etc/group by name.
    fn group_by_name(&self, name: &str) -> Option<u32>;
    /// Our own real user number.
    fn uid(&self) -> u32;
    /// The environment that we were started with, in order, lossily as text.
    fn environment(&self) -> Vec<(String, String)>;
    /// `uname -n`.
    fn host_node_name(&self) -> String;
    /// Our working directory.
    fn current_dir(&self) -> PathBuf;
}
