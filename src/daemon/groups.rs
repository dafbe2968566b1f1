//! Dead leaders of process groups that still have members (`sweep`).
//!
//! With `sweep`, a dead leader is examined before it is reaped. As long as other members of its process group live, it is *held*: it
//! stays a zombie, so that the number of the group cannot be given to another process.

use crate::posix::Exit;
use crate::sys::{Pid, reap};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Dead leaders that are not reaped yet, and the last scan of /proc.
#[derive(Debug, Default)]
pub struct ProcessGroups {
    /// Dead leaders that are not reaped yet, because other members of their group live.
    held: BTreeSet<Pid>,
    /// While a leader is held: zombies found in /proc that `next_zombie` has not returned yet.
    found: Vec<Pid>,
    /// The scan of /proc in this turn of the loop. One scan serves all processes that end together.
    stats: Option<Vec<ProcessStat>>,
}

impl ProcessGroups {
    /// Whether a dead leader is held.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Forgets all held leaders. They stay zombies until they are reaped as orphans.
    pub fn clear(&mut self) {
        self.held.clear();
        self.found.clear();
    }

    /// Drops the scan of /proc because it is old. Call it before checking for deaths or groups.
    pub fn expire(&mut self) {
        self.stats = None;
    }

    /// The next zombie that is not held; it is not reaped. waitid(2) would return a held zombie again and again, so while one is held,
    /// one scan of /proc finds all. A later death raises SIGCHLD, which starts the next scan.
    pub fn next_zombie(&mut self) -> Option<(Pid, Exit)> {
        if self.held.is_empty() {
            self.found.clear();
            return reap::peek_any();
        }
        if self.found.is_empty() {
            let ours = nix::unistd::getpid().as_raw();
            let all = self.stats.get_or_insert_with(|| stats().collect());
            self.found = all.iter().filter(|stat| stat.ppid == ours && stat.is_dead).map(|stat| stat.pid).collect();
        }
        while let Some(pid) = self.found.pop() {
            if !self.held.contains(&pid)
                && let Some(exit) = reap::peek(pid)
            {
                return Some((pid, exit));
            }
        }
        None
    }

    /// Holds a dead leader if /proc has living members of its group. Returns whether it does.
    pub fn hold_if_alive(&mut self, leader: Pid) -> bool {
        let alive = self.is_alive(leader);
        if alive {
            self.held.insert(leader);
        }
        alive
    }

    fn is_alive(&mut self, leader: Pid) -> bool {
        // A scan from before its death may lack processes that it forked later.
        let was_dead = |all: &Vec<ProcessStat>| all.iter().any(|stat| stat.pid == leader && stat.is_dead);
        let stats = self.stats.take().filter(was_dead).unwrap_or_else(|| stats().collect());
        self.stats.insert(stats).iter().any(|stat| stat.pgrp == leader && !stat.is_dead)
    }

    /// Releases a dead leader if its group is empty by now. Returns whether it is.
    pub fn release_if_empty(&mut self, leader: Pid) -> bool {
        if !self.held.contains(&leader) {
            return true;
        }
        let empty = !self.is_alive(leader);
        if empty {
            self.release(leader);
        }
        empty
    }

    /// Reaps a held leader. From now on the number of its group may be given to any process.
    pub fn release(&mut self, leader: Pid) {
        if self.held.remove(&leader) {
            reap::reap(leader);
        }
    }
}

/// Fields of /proc/PID/stat (proc(5)).
#[derive(Debug)]
struct ProcessStat {
    pid: Pid,
    is_dead: bool,
    ppid: Pid,
    pgrp: Pid,
}

fn stats() -> impl Iterator<Item = ProcessStat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: Pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(PathBuf::from("/proc").join(pid.to_string()).join("stat")).ok()?;
        parse_stat(pid, &line)
    })
}

/// `pid (name) state ppid pgrp …`; the name may hold blanks and parentheses.
fn parse_stat(pid: Pid, line: &[u8]) -> Option<ProcessStat> {
    let rest = line.get(memchr::memrchr(b')', line)?.checked_add(2)?..)?;
    let mut fields = std::str::from_utf8(rest).ok()?.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X");
    Some(ProcessStat { pid, is_dead, ppid: fields.next()?.parse().ok()?, pgrp: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_parsed_with_any_name() {
        let stat = parse_stat(7, b"7 (a) Z (b) S 1 42 42 0 -1").unwrap();
        assert_eq!((stat.ppid, stat.pgrp, stat.is_dead), (1, 42, false));
        assert!(parse_stat(7, b"7 (x) Z 1 7 7").unwrap().is_dead);
        assert!(parse_stat(7, b"7 (x").is_none());
        assert!(parse_stat(7, b"").is_none());
    }
}
