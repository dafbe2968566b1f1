//! Reads users and groups from /etc/passwd and /etc/group. Does not use libc's name service: a static binary has none.
#![forbid(unsafe_code)]

use crate::config::model::{User, UserGroups};
use crate::sys::fds::read_regular;
use crate::sys::{errno, memory};
use crate::text;
use std::path::Path;

/// Bytes after this size are not read. No passwd or group file is so long.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// The files in which users and groups are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// passwd(5).
    pub passwd: &'a str,
    /// group(5).
    pub group: &'a str,
}

impl Files<'_> {
    /// The first user that `wanted` accepts.
    pub fn user(&self, wanted: impl Fn(&PasswdEntry) -> bool) -> Result<Option<User>, String> {
        let text = self.passwd_text()?;
        Ok(passwd(&text).find(wanted).map(|entry| User { name: entry.name.into(), uid: entry.uid }))
    }

    /// The groups of `user`: of the entry with its name and number, else of the first entry with its number. Without such an entry,
    /// the only group is `own_gid`.
    pub fn groups_of(&self, user: &User, own_gid: u32) -> Result<UserGroups, String> {
        let text = self.passwd_text()?;
        let of_uid = || passwd(&text).filter(|entry| entry.uid == user.uid);
        let Some(entry) = of_uid().find(|entry| entry.name == user.name).or_else(|| of_uid().next()) else {
            return Ok(UserGroups { primary: own_gid, all: vec![own_gid] });
        };
        Ok(UserGroups { primary: entry.gid, all: groups_of(entry.name, entry.gid, &self.group_text()?) })
    }

    /// The text of the passwd file; empty if it does not exist, as in many scratch images.
    pub fn passwd_text(&self) -> Result<String, String> {
        text_of(self.passwd)
    }

    /// The text of the group file; empty if it does not exist.
    pub fn group_text(&self) -> Result<String, String> {
        text_of(self.group)
    }
}

/// Reads a regular file. Anything else could block the running supervisor, and is an error.
fn text_of(path: &str) -> Result<String, String> {
    match read_regular(Path::new(path), FILE_MAX_BYTES) {
        // For the text, and the copies of its parts.
        Ok(bytes) if !memory::has_room(bytes.len().saturating_mul(4)) => {
            Err(format!("cannot read {path}: out of memory"))
        }
        Ok(bytes) => Ok(text::decode(&bytes)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(String::new()),
        Err(error) => Err(format!("cannot read {path}: {}", errno::name(&error))),
    }
}

/// A line of /etc/passwd (passwd(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswdEntry<'a> {
    /// Login name.
    pub name: &'a str,
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: &'a str,
}

/// A line of /etc/group (group(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEntry<'a> {
    /// Group name.
    pub name: &'a str,
    /// Group number.
    pub gid: u32,
    /// Names of the members, separated by commas. Users whose primary group it is are not listed.
    pub members: &'a str,
}

/// The entries of a passwd file, in order. Other lines (comments, NIS marks) are skipped.
pub fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter(is_entry).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(PasswdEntry { name, uid, gid, home: fields.nth(1)? })
    })
}

/// The entries of a group file, in order. Other lines are skipped.
pub fn groups(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter(is_entry).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn is_entry(line: &&str) -> bool {
    !line.is_empty() && !line.starts_with(['#', '+', '-', ':'])
}

/// The groups of a user for setgroups(2): the primary group, then every group that lists the name.
#[must_use]
pub fn groups_of(name: &str, gid: u32, group_file: &str) -> Vec<u32> {
    let lists_it = |group: &GroupEntry| group.gid != gid && group.members.split(',').any(|member| member == name);
    std::iter::once(gid).chain(groups(group_file).filter(lists_it).map(|group| group.gid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "# local\nroot:x:0:0:root:/root:/bin/sh\nbad\n+nis:::::\nw:x:33:44::/var/www:\nx:x:n:1:::\nshort:x:1:2\n";
    const GROUP: &str = "root:x:0:\nwww:x:44:w\nlog:x:4:syslog,w\nempty:x:9\n:x:5:w\nadm:x:7:ww\n";

    #[test]
    fn lines_that_are_not_entries_are_skipped() {
        let names: Vec<_> = passwd(PASSWD).map(|entry| (entry.name, entry.uid, entry.gid, entry.home)).collect();
        assert_eq!(names, [("root", 0, 0, "/root"), ("w", 33, 44, "/var/www")]);
        assert_eq!(groups(GROUP).map(|g| g.gid).collect::<Vec<_>>(), [0, 44, 4, 9, 7]);
    }

    fn files(passwd: &str, group: &str) -> (tempfile::TempDir, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (passwd_file, group_file) = (at("passwd"), at("group"));
        std::fs::write(&passwd_file, passwd).unwrap();
        std::fs::write(&group_file, group).unwrap();
        (dir, passwd_file, group_file)
    }

    #[test]
    fn each_lookup_reads_the_files_and_uses_the_name_in_the_configuration() {
        let (_dir, passwd, group) = files("a:x:7:70::/:\nb:x:7:71::/:\n", "g:x:5:b\n");
        let files = Files { passwd: &passwd, group: &group };
        let of = |name: &str, uid| files.groups_of(&User { name: name.into(), uid }, 99).unwrap().all;
        assert_eq!((of("a", 7), of("b", 7), of("8", 8)), (vec![70], vec![71, 5], vec![99]));
        // An entry with the name but another number is another user.
        assert_eq!((of("gone", 7), of("b", 9)), (vec![70], vec![99]));
        std::fs::write(&group, "g:x:5:a\nh:x:6:b,a\n").unwrap();
        std::fs::write(&passwd, "a:x:7:72::/:\n").unwrap();
        assert_eq!((of("a", 7), of("b", 7)), (vec![72, 5, 6], vec![72, 5, 6]));
    }

    #[test]
    fn a_missing_file_counts_as_empty_and_an_unreadable_one_is_an_error() {
        let (dir, passwd, _group) = files(PASSWD, "");
        let folder = dir.path().to_str().unwrap();
        let user = User { name: "w".into(), uid: 33 };
        let of = |group: &str| Files { passwd: &passwd, group }.groups_of(&user, 0);
        assert_eq!(of(&format!("{folder}/none")), Ok(UserGroups { primary: 44, all: vec![44] }));
        assert_eq!(of(&format!("{passwd}/none")), Ok(UserGroups { primary: 44, all: vec![44] }));
        assert_eq!(of(folder), Err(format!("cannot read {folder}: it is not a regular file")));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fifo = fifo.to_str().unwrap();
        assert_eq!(of(fifo), Err(format!("cannot read {fifo}: it is not a regular file")));
        let looped = dir.path().join("loop");
        std::os::unix::fs::symlink(&looped, &looped).unwrap();
        let looped = looped.to_str().unwrap();
        assert_eq!(of(looped), Err(format!("cannot read {looped}: ELOOP")));
        assert!(Files { passwd: looped, group: "" }.user(|_| true).is_err());
    }

    #[test]
    fn groups_of_a_user_are_the_primary_group_and_those_that_list_the_whole_name() {
        assert_eq!(groups_of("w", 44, GROUP), [44, 4]);
        assert_eq!(groups_of("nobody", 65534, GROUP), [65534]);
    }
}
