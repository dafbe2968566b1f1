//! /etc/passwd and /etc/group, read as text: no name service of the C library, so that a static binary works in scratch images.
#![forbid(unsafe_code)]

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
    /// Names of its members between commas (those whose primary group it is are not listed).
    pub members: &'a str,
}

/// The entries of a passwd file, in order; lines that are no entry (comments, NIS marks) are skipped.
pub fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter(is_entry).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(PasswdEntry { name, uid, gid, home: fields.nth(1)? })
    })
}

/// The entries of a group file, in order; lines that are no entry are skipped.
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

/// What setgroups(2) is to be given for a user: the primary group, then every group that lists the name.
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
    fn lines_that_are_no_entry_are_skipped() {
        let names: Vec<_> = passwd(PASSWD).map(|entry| (entry.name, entry.uid, entry.gid, entry.home)).collect();
        assert_eq!(names, [("root", 0, 0, "/root"), ("w", 33, 44, "/var/www")]);
        assert_eq!(groups(GROUP).map(|g| g.gid).collect::<Vec<_>>(), [0, 44, 4, 9, 7]);
    }

    #[test]
    fn groups_of_a_user_are_the_primary_one_and_those_that_list_the_whole_name() {
        assert_eq!(groups_of("w", 44, GROUP), [44, 4]);
        assert_eq!(groups_of("nobody", 65534, GROUP), [65534]);
    }
}
