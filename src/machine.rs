//! Implements [`config::Machine`] with the real file system, users and environment.

pub mod glob;
mod users;

use crate::config::model::{User, UserGroups};
use crate::config::{self, FILE_MAX_BYTES, Machine, NotFound};
use crate::sys::fds::read_regular;
use crate::sys::memory;
use crate::sys::program::find_executable;
use crate::text;
use nix::unistd;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The real system. It caches nothing: every call reads the current state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

/// Searches for a configuration file. `called` is the command line's first word, which may be followed by a verb. A word without
/// a slash is first looked up in PATH, since some default paths are relative to the executable.
///
/// # Errors
/// There is no configuration file in the default paths.
pub fn search(called: &str) -> Result<PathBuf, NotFound> {
    let called = text::to_os(called);
    let called = called.as_os_str();
    let word = called.as_bytes().split(|byte| *byte == b' ').next().filter(|word| !word.contains(&b'/'));
    let path = std::env::var_os("PATH");
    let found = word.and_then(|word| find_executable(OsStr::from_bytes(word), path.as_deref()));
    let program = found.as_ref().map_or(called, |path| OsStr::from_bytes(path.as_bytes()));
    config::search(Path::new(program), &Real)
}

/// The environment that rsup was started with, in order. Of two variables with one name the first counts, as for getenv(3).
#[must_use]
pub fn environment() -> Vec<(OsString, OsString)> {
    let mut seen = BTreeSet::new();
    std::env::vars_os().filter(|(name, _)| seen.insert(name.clone())).collect()
}

/// The files with users and groups. Each lookup reads them again.
const USERS: users::Files<'static> = users::Files { passwd: "/etc/passwd", group: "/etc/group" };

/// The groups that `user` has now.
///
/// # Errors
/// /etc/passwd or /etc/group exists but cannot be read, or is not a regular file.
pub fn groups_of(user: &User) -> Result<UserGroups, String> {
    USERS.groups_of(user, unistd::getgid().as_raw())
}

/// The most memory that parsing needs for each byte of a configuration file.
const PARSED_FACTOR: usize = 32;

/// One byte more than a configuration file may have.
const READ_MAX_BYTES: u64 = FILE_MAX_BYTES.saturating_add(1);

/// The bytes of a file, if there are at most [`FILE_MAX_BYTES`], and if there is memory to parse them.
fn bounded(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if !memory::has_room(bytes.len().saturating_mul(PARSED_FACTOR)) {
        return Err(std::io::ErrorKind::OutOfMemory.into());
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_MAX_BYTES) {
        return Ok(bytes);
    }
    let why = format!("it is longer than {} MiB, which no configuration is", FILE_MAX_BYTES >> 20);
    Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why))
}

impl Machine for Real {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let (file, mut bytes) = (std::fs::File::open(path)?, Vec::new());
        memory::fallible(|| file.take(READ_MAX_BYTES).read_to_end(&mut bytes))?;
        bounded(bytes)
    }

    fn read_regular(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        bounded(read_regular(path, READ_MAX_BYTES)?)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(glob::glob(pattern)?.iter().map(|path| text::to_path(path)).collect())
    }

    fn is_dir(&self, path: &Path) -> std::io::Result<bool> {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        match std::fs::metadata(path) {
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
            found => found.map(|found| found.is_dir()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn has_room(&self, bytes: usize) -> bool {
        memory::has_room(bytes)
    }

    fn user_by_name(&self, name: &str) -> Result<Option<User>, String> {
        USERS.user(|entry| entry.name == name)
    }

    fn user_by_uid(&self, uid: u32) -> Result<Option<User>, String> {
        USERS.user(|entry| entry.uid == uid)
    }

    fn groups_of(&self, user: &User) -> Result<UserGroups, String> {
        groups_of(user)
    }

    fn group_by_name(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(users::groups(&USERS.group_text()?).find(|group| group.name == name).map(|group| group.gid))
    }

    fn has_gid(&self, gid: u32) -> Result<bool, String> {
        Ok(users::groups(&USERS.group_text()?).any(|group| group.gid == gid))
    }

    fn home(&self, user: &str) -> Option<String> {
        let home = if user.is_empty() { std::env::var_os("HOME").map(text::of_os) } else { None };
        home.or_else(|| {
            let uid = self.uid();
            users::passwd(&USERS.passwd_text().ok()?)
                .find(|entry| if user.is_empty() { entry.uid == uid } else { entry.name == user })
                .map(|entry| entry.home.to_owned())
        })
    }

    fn uid(&self) -> u32 {
        unistd::getuid().as_raw()
    }

    fn gid(&self) -> u32 {
        unistd::getgid().as_raw()
    }

    fn environment(&self) -> Vec<(String, String)> {
        environment().into_iter().map(|(name, value)| (text::of_os(name), text::of_os(value))).collect()
    }

    fn host_node_name(&self) -> String {
        unistd::gethostname().map(text::of_os).unwrap_or_default()
    }

    fn current_dir(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
    }
}
