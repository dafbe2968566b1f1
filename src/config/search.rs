//! Searches for a configuration file if there is no `-c`. In each directory rsup.conf comes before supervisord.conf. Source:
//! supervisor-behaviour.md §1.3.
#![forbid(unsafe_code)]

use super::Machine;
use super::values::dirname;
use crate::text;
use std::fmt;
use std::path::{Path, PathBuf};

/// No configuration file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// The paths that were tried, in order.
    pub tried: Vec<PathBuf>,
    /// A file with a similar name that exists.
    pub near: Option<PathBuf>,
}

/// The first configuration file that exists; `argv0` is the name that rsup was started with.
///
/// # Errors
/// No file exists; the error's text is the whole message.
pub fn search(argv0: &Path, machine: &dyn Machine) -> Result<PathBuf, NotFound> {
    let tried = places(argv0, &["rsup.conf", "supervisord.conf"]);
    if let Some(found) = tried.iter().find(|path| machine.exists(path)) {
        return Ok(found.clone());
    }
    let mut near = places(argv0, &["supervisor.conf", "supervisord.ini", "supervisor.ini", "rsup.ini", "rsupd.conf"]);
    near.push("/etc/supervisord/supervisord.conf".into());
    Err(NotFound { near: near.into_iter().find(|path| machine.exists(path)), tried })
}

/// The names in each of the six directories where Supervisor searches.
fn places(argv0: &Path, names: &[&str]) -> Vec<PathBuf> {
    let above = text::to_path(dirname(dirname(&text::of_os(argv0))));
    let dirs = [above.join("etc"), above, "".into(), "etc".into(), "/etc".into(), "/etc/supervisor".into()];
    let mut places: Vec<PathBuf> = Vec::new();
    for path in dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))) {
        if !places.contains(&path) {
            places.push(path);
        }
    }
    places
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: Vec<_> = self.tried.iter().map(|path| path.to_string_lossy()).collect();
        write!(
            f,
            "No config file found at default paths ({}); use the -c option to specify a config file at a different path",
            tried.join(", ")
        )?;
        match &self.near {
            Some(near) => write!(f, ", such as -c {} (which exists, but is not a default path)", near.display()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::fake::FakeMachine;

    #[test]
    fn in_each_directory_rsup_conf_comes_first() {
        let find = |files: &[(&str, &str)]| search(Path::new("/usr/bin/rsup"), &FakeMachine::new(files)).unwrap();
        assert_eq!(find(&[("/work/supervisord.conf", ""), ("/etc/rsup.conf", "")]), Path::new("supervisord.conf"));
        assert_eq!(find(&[("/etc/supervisord.conf", ""), ("/etc/rsup.conf", "")]), Path::new("/etc/rsup.conf"));
        assert_eq!(
            find(&[("/usr/etc/supervisord.conf", ""), ("/work/rsup.conf", "")]),
            Path::new("/usr/etc/supervisord.conf")
        );
    }

    #[test]
    fn the_message_lists_the_default_paths_and_a_file_with_a_similar_name() {
        let error =
            search(Path::new("rsup"), &FakeMachine::new(&[("/etc/supervisor.conf", "")])).unwrap_err().to_string();
        let places = "etc/rsup.conf, etc/supervisord.conf, rsup.conf, supervisord.conf, /etc/rsup.conf, \
                      /etc/supervisord.conf, /etc/supervisor/rsup.conf, /etc/supervisor/supervisord.conf";
        assert!(
            error.starts_with(&format!("No config file found at default paths ({places}); use the -c option")),
            "{error}"
        );
        assert!(
            error.ends_with("such as -c /etc/supervisor.conf (which exists, but is not a default path)"),
            "{error}"
        );
    }
}
