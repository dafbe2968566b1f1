//! A `Machine` for tests: a map from paths to files, and fixed users.

use crate::config::Machine;
use crate::config::model::{User, UserGroups};
use crate::machine::glob::Pattern;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files by absolute path, whose directories exist; the users root, www (33) and nobody (65534); home directories in /home.
#[derive(Debug, Clone, Default)]
pub struct FakeMachine {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub environment: Vec<(String, String)>,
    /// Directories that cannot be listed and included files that cannot be read, with the error number.
    pub unreadable: BTreeMap<PathBuf, i32>,
}

impl FakeMachine {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
        Self {
            files,
            environment: vec![("HOME".into(), "/home/me".into()), ("X".into(), "x y".into())],
            ..Self::default()
        }
    }

    fn at(&self, path: &Path) -> PathBuf {
        Path::new("/work").join(path)
    }
}

/// Names and numbers of the users; each has a group of the same name and number.
const USERS: [(&str, u32); 3] = [("root", 0), ("www", 33), ("nobody", 65534)];

fn user(&(name, uid): &(&str, u32)) -> User {
    User { name: name.into(), uid }
}

impl Machine for FakeMachine {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.files.get(&self.at(path)).cloned().ok_or_else(|| std::io::ErrorKind::IsADirectory.into())
    }
    fn read_regular(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match self.unreadable.get(path) {
            Some(errno) => Err(std::io::Error::from_raw_os_error(*errno)),
            None => self.read(path),
        }
    }
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let of_pattern = |(path, _): &(&PathBuf, &i32)| Path::new(pattern).parent() == Some(path.as_path());
        if let Some((path, errno)) = self.unreadable.iter().find(of_pattern) {
            let why = std::io::Error::from_raw_os_error(*errno);
            return Err(format!("cannot read the directory {}: {why}", path.display()));
        }
        let parts: Vec<Pattern> = pattern.split('/').map(Pattern::new).collect();
        let fits = |path: &&PathBuf| {
            let path = path.to_str().unwrap();
            path.split('/').count() == parts.len() && path.split('/').zip(&parts).all(|(name, part)| part.finds(name))
        };
        Ok(self.files.keys().filter(fits).cloned().collect())
    }
    fn is_dir(&self, path: &Path) -> std::io::Result<bool> {
        let path = self.at(path);
        if path == Path::new("/broken") {
            return Err(std::io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(["/", "/tmp", "/work", "/home/me"].iter().any(|dir| Path::new(dir) == path)
            || self.files.keys().any(|file| file.ancestors().skip(1).any(|dir| dir == path)))
    }
    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(&self.at(path)) || self.is_dir(path).unwrap()
    }
    fn has_room(&self, _: usize) -> bool {
        true
    }
    fn user_by_name(&self, name: &str) -> Result<Option<User>, String> {
        Ok(USERS.iter().find(|user| user.0 == name).map(user))
    }
    fn user_by_uid(&self, uid: u32) -> Result<Option<User>, String> {
        Ok(USERS.iter().find(|user| user.1 == uid).map(user))
    }
    fn groups_of(&self, user: &User) -> Result<UserGroups, String> {
        Ok(UserGroups { primary: user.uid, all: vec![user.uid] })
    }
    fn group_by_name(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(USERS.iter().find(|user| user.0 == name).map(|user| user.1))
    }
    fn has_gid(&self, gid: u32) -> Result<bool, String> {
        Ok(USERS.iter().any(|user| user.1 == gid))
    }
    fn home(&self, user: &str) -> Option<String> {
        match user {
            "" => Some("/home/me".into()),
            name => USERS.iter().find(|user| user.0 == name).map(|_| format!("/home/{name}")),
        }
    }
    fn uid(&self) -> u32 {
        0
    }
    fn gid(&self) -> u32 {
        0
    }
    fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }
    fn host_node_name(&self) -> String {
        "node".into()
    }
    fn current_dir(&self) -> PathBuf {
        "/work".into()
    }
}
