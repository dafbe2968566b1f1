//! /etc/passwd and /etc/group, read as text: no name service of the C library, so that a static binary works in scratch images.
#![forbid(unsafe_code)]

/// A line of /etc/passwd (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswdEntry {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// A line of /etc/group (group(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Group name.
    pub name: String,
    /// Group number.
    pub gid: u32,
    /// Names of its members (those whose primary group it is are not listed).
    pub members: Vec<String>,
}

/// The entries of a passwd file, in order; lines that are no entry (comments, NIS marks) are skipped.
pub fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let home = fields.nth(1)?.to_owned();
        entry_name(name)
            .and_then(|name| Some(PasswdEntry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home }))
    })
}

/// The entries of a group file, in order; lines that are no entry are skipped.
pub fn groups(text: &str) -> impl Iterator<Item = GroupEntry> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, gid) = (fields.next()?, fields.nth(1)?);
        let members =
            fields.next().unwrap_or_default().split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
        entry_name(name).and_then(|name| Some(GroupEntry { name, gid: gid.parse().ok()?, members }))
    })
}

fn entry_name(name: &str) -> Option<String> {
    (!name.is_empty() && !name.starts_with(['#', '+', '-'])).then(|| name.to_owned())
}

/// What setgroups(2) is to be given for a user: the primary group, then every group that lists the name.
#[must_use]
pub fn groups_of(name: &str, gid: u32, group_file: &str) -> Vec<u32> {
    let mut all = vec![gid];
    all.extend(
        groups(group_file).filter(|group| group.gid != gid && group.members.iter().any(|m| m == name)).map(|g| g.gid),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "# local\nroot:x:0:0:root:/root:/bin/sh\nbad\n+nis:::::\nw:x:33:44::/var/www:\nx:x:n:1:::\nshort:x:1:2\n";
    const GROUP: &str = "root:x:0:\nwww:x:44:w\nlog:x:4:syslog,w\nempty:x:9\n:x:5:w\nadm:x:7:ww\n";

    #[test]
    fn lines_that_are_no_entry_are_skipped() {
        let names: Vec<_> = passwd(PASSWD).map(|entry| (entry.name, entry.uid, entry.gid, entry.home)).collect();
        assert_eq!(names, [("root".into(), 0, 0, "/root".into()), ("w".into(), 33, 44, "/var/www".to_owned())]);
        assert_eq!(groups(GROUP).map(|g| g.gid).collect::<Vec<_>>(), [0, 44, 4, 9, 7]);
    }

    #[test]
    fn groups_of_a_user_are_the_primary_one_and_those_that_list_the_whole_name() {
        assert_eq!(groups_of("w", 44, GROUP), [44, 4]);
        assert_eq!(groups_of("nobody", 65534, GROUP), [65534]);
    }
}
