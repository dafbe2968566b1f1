//! Finds the file of a program: by Supervisor's rules, or by those of execvp(3).

use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, stat};
use nix::unistd::{AccessFlags, access};

/// Why a program cannot be started. `Display` is Supervisor's message (supervisor-behaviour.md §4.5, step 4), with the path quoted as
/// by Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    /// The file does not exist.
    Missing(String),
    /// The file is a directory.
    Directory(String),
    /// The file has no execute bit.
    NotExecutable(String),
    /// The file has an execute bit, but rsup may not execute it.
    NoPermission(String),
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, path, after) = match self {
            Self::Missing(path) => ("can't find command ", path, ""),
            Self::Directory(path) => ("command at ", path, " is a directory"),
            Self::NotExecutable(path) => ("command at ", path, " is not executable"),
            Self::NoPermission(path) => ("no permission to run command ", path, ""),
        };
        let quote = if path.contains('\'') && !path.contains('"') { '"' } else { '\'' };
        write!(f, "{before}{quote}{path}{quote}{after}")
    }
}

/// Supervisor's default for PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin:/usr/local/bin";

/// Finds `name` as Supervisor does (supervisor-behaviour.md §4.5, step 3). A name with a `/` is a path, relative to the working
/// directory of rsup. Else the first existing file in `path` counts, even if it cannot be executed. `path` is `None` if PATH is unset:
/// then the default is searched.
pub fn find_program(name: &OsStr, path: Option<&OsStr>) -> Result<CString, FindError> {
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let found = candidates(name, path).find_map(|candidate| {
        let mode = stat(candidate.as_c_str()).ok()?.st_mode;
        Some((candidate, mode))
    });
    let Some((candidate, mode)) = found else {
        return Err(FindError::Missing(name.to_string_lossy().into_owned()));
    };
    let shown = || candidate.to_string_lossy().into_owned();
    if mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
        Err(FindError::Directory(shown()))
    } else if !Mode::from_bits_truncate(mode).intersects(Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IXOTH) {
        Err(FindError::NotExecutable(shown()))
    } else if access(candidate.as_c_str(), AccessFlags::X_OK).is_err() {
        Err(FindError::NoPermission(shown()))
    } else {
        Ok(candidate)
    }
}

/// The files that execvp(3) would try for `name`, in its order, without those that do not exist. A file is included if stat(2) fails
/// for another reason.
#[must_use]
pub fn executables(name: &OsStr, path: Option<&OsStr>) -> Vec<CString> {
    let may_exist = |candidate: &CString| !matches!(stat(candidate.as_c_str()), Err(Errno::ENOENT | Errno::ENOTDIR));
    candidates(name, path.unwrap_or(OsStr::new(DEFAULT_PATH))).filter(may_exist).collect()
}

/// The file that execvp(3) would execute for `name`, decided by the kind and the mode of each file.
#[must_use]
pub fn find_executable(name: &OsStr, path: Option<&OsStr>) -> Option<CString> {
    let is_file = |file: &CString| {
        stat(file.as_c_str()).is_ok_and(|found| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits())
    };
    executables(name, path).into_iter().find(|file| is_file(file) && access(file.as_c_str(), AccessFlags::X_OK).is_ok())
}

/// The paths where `name` may be. An empty entry of `path` is the working directory. A name with a NUL has no paths.
fn candidates<'a>(name: &'a OsStr, path: &'a OsStr) -> impl Iterator<Item = CString> + 'a {
    let direct = name.as_bytes().contains(&b'/');
    let folders = path.as_bytes().split(|&byte| byte == b':');
    let folders = folders.take(if direct { 1 } else { usize::MAX });
    folders.filter(|_| !name.is_empty()).filter_map(move |folder| {
        let mut whole = Vec::new();
        if !direct && !folder.is_empty() {
            whole.extend_from_slice(folder);
            whole.extend((!folder.ends_with(b"/")).then_some(b'/'));
        }
        whole.extend_from_slice(name.as_bytes());
        CString::new(whole).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn text(result: Result<CString, FindError>) -> String {
        result.map_or_else(|error| error.to_string(), |path| path.into_string().unwrap())
    }

    #[test]
    fn the_first_existing_entry_wins_even_when_not_executable() {
        let base = tempfile::tempdir().unwrap();
        for (folder, mode) in [("a", 0o644), ("b", 0o755)] {
            fs::create_dir(base.path().join(folder)).unwrap();
            let file = base.path().join(folder).join("prog");
            fs::write(&file, "#!/bin/true\n").unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        }
        fs::create_dir(base.path().join("b/sub")).unwrap();
        let (a, b) = (base.path().join("a"), base.path().join("b"));
        let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
        let find = |name: &str, path: &str| text(find_program(OsStr::new(name), Some(OsStr::new(path))));
        assert_eq!(find("prog", &format!("/nowhere:{b}:{a}")), format!("{b}/prog"));
        assert_eq!(find("prog", &format!("{a}:{b}")), format!("command at '{a}/prog' is not executable"));
        assert_eq!(find("sub", b), format!("command at '{b}/sub' is a directory"));
        assert_eq!(find("no'ne", b), "can't find command \"no'ne\"");
        assert_eq!(find(&format!("{a}/gone"), b), format!("can't find command '{a}/gone'"));
        assert_eq!(find(&format!("{b}/prog"), ""), format!("{b}/prog"));
        assert_eq!(find("", b), "can't find command ''");
        assert_eq!(find("a\0b", b), "can't find command 'a\0b'");
        let all = |name: &str, path: &str| {
            let found = executables(OsStr::new(name), Some(OsStr::new(path)));
            found.into_iter().map(|file| file.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all("prog", &format!("{a}:/nowhere:{a}/prog:{b}")), [format!("{a}/prog"), format!("{b}/prog")]);
        assert_eq!(all("sub", b), [format!("{b}/sub")]);
        assert_eq!(all(&format!("{b}/prog"), a), [format!("{b}/prog")]);
        assert!(all("none", b).is_empty() && all("", b).is_empty());
    }

    #[test]
    fn without_path_the_default_is_searched() {
        assert_eq!(text(find_program(OsStr::new("sh"), None)), "/bin/sh");
        assert_eq!(executables(OsStr::new("sh"), None).first().unwrap().to_str().unwrap(), "/bin/sh");
    }
}
