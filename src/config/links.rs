//! Checks the options of the start graph: names in `depends_on`, `after` and `restart_with`, circles, and options that
//! contradict each other.
#![forbid(unsafe_code)]

use super::dialect::Section;
use super::load::ConfigReader;
use super::model::{GroupConfig, GroupKind, Lifecycle, ProcessConfig, Readiness};
use super::{nearest, values};
use crate::protocol::namespec;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The lists of names, with their keys.
fn lists(lifecycle: &Lifecycle) -> [(&'static str, &[String]); 3] {
    [("depends_on", &lifecycle.depends_on), ("after", &lifecycle.after), ("restart_with", &lifecycle.restart_with)]
}

/// A process with its group.
type Member<'a> = (&'a GroupConfig, &'a ProcessConfig);

/// All processes, and what each name means.
struct Table<'a> {
    members: Vec<Member<'a>>,
    named: BTreeMap<String, Vec<usize>>,
}

impl<'a> Table<'a> {
    fn new(groups: &'a [Rc<GroupConfig>]) -> Self {
        let of_group = |group: &'a Rc<GroupConfig>| group.processes.iter().map(|process| (&**group, &**process));
        let members: Vec<Member> = groups.iter().flat_map(of_group).collect();
        let mut named: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut programs: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, (group, process)) in members.iter().enumerate() {
            named.entry(group.name.clone()).or_default().push(place);
            named.entry(format!("{}:{}", group.name, process.name)).or_default().push(place);
            programs.entry((*process.program).to_owned()).or_default().push(place);
        }
        // A group has precedence over a program of the same name.
        programs.into_iter().for_each(|(name, places)| {
            named.entry(name).or_insert(places);
        });
        Self { members, named }
    }

    fn targets(&self, name: &str) -> &[usize] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// Why the process in this place cannot have a link to this name.
    fn problem(&self, place: usize, name: &str) -> Option<String> {
        if name.is_empty() {
            return Some("there is a comma without a name; remove the comma".into());
        }
        let targets = self.targets(name);
        let mut groups = targets.iter().filter_map(|target| Some(self.members.get(*target)?.0));
        if targets.is_empty() {
            let hint = nearest::hint(name, self.named.keys().map(String::as_str));
            let forms = if hint.is_empty() { "; write a program, a group or group:process" } else { "" };
            return Some(format!("no program or group is called {name}{hint}{forms}"));
        }
        if targets.contains(&place) {
            return Some(format!(
                "{name} is or contains this program, which cannot wait for itself; name other programs"
            ));
        }
        let is_pool = groups.any(|group| matches!(group.kind, GroupKind::Listeners(_)));
        is_pool.then(|| format!("{name} is a pool of event listeners, which no program can wait for; name a program"))
    }

    /// The processes of a circle of links, in order.
    fn circle(&self) -> Option<Vec<usize>> {
        let linked = |place: usize| {
            let (_, process) = self.members.get(place).copied().unzip();
            let lists = process.map(|process| lists(&process.lifecycle)).into_iter().flatten();
            lists.flat_map(|(_, names)| names).flat_map(|name| self.targets(name)).copied()
        };
        // Takes away, again and again, every process that has no link to one that is left.
        let mut open: Vec<BTreeSet<usize>> = (0..self.members.len()).map(|place| linked(place).collect()).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); open.len()];
        for (place, links) in open.iter().enumerate() {
            links.iter().for_each(|link| users.get_mut(*link).into_iter().for_each(|users| users.push(place)));
        }
        let mut free: Vec<usize> =
            (0..open.len()).filter(|place| open.get(*place).is_some_and(BTreeSet::is_empty)).collect();
        while let Some(place) = free.pop() {
            for user in users.get(place).into_iter().flatten() {
                if let Some(links) = open.get_mut(*user)
                    && links.remove(&place)
                    && links.is_empty()
                {
                    free.push(*user);
                }
            }
        }
        // What is left has a link to something that is left: any path along them ends in a circle.
        let mut path = vec![open.iter().position(|links| !links.is_empty())?];
        loop {
            let next = *path.last().and_then(|last| open.get(*last)?.first())?;
            if let Some(start) = path.iter().position(|place| *place == next) {
                path.push(next);
                return Some(path.split_off(start));
            }
            path.push(next);
        }
    }
}

impl ConfigReader<'_> {
    /// The section and the key that give a process this name in a list: its own, or those of its group.
    fn origin<'s>(&'s self, member: Member, key: &str, name: &str) -> Option<&'s Section> {
        let (group, process) = member;
        let names = ["program", "fcgi-program", "eventlistener"].map(|kind| format!("{kind}:{}", process.program));
        let names = names.into_iter().chain([format!("group:{}", group.name)]);
        let mut sections = names.filter_map(|name| self.sections.section(&name));
        let has = |section: &&Section| {
            self.sections
                .entry(section, key)
                .is_some_and(|entry| entry.value.contains(name) || entry.value.contains('%'))
        };
        sections.find(has)
    }

    /// Reports names of dependencies that mean nothing, and circles.
    pub(super) fn check_links(&self, groups: &[Rc<GroupConfig>]) {
        let linked = |process: &ProcessConfig| lists(&process.lifecycle).iter().any(|(_, names)| !names.is_empty());
        if !groups.iter().flat_map(|group| &group.processes).any(|process| linked(process)) {
            return;
        }
        let table = Table::new(groups);
        let mut reported = BTreeSet::new();
        for (place, &member) in table.members.iter().enumerate() {
            let lists = lists(&member.1.lifecycle).into_iter();
            for (key, name) in lists.flat_map(|(key, names)| names.iter().map(move |name| (key, name))) {
                if let Some(why) = table.problem(place, name)
                    && let Some(section) = self.origin(member, key, name)
                    && reported.insert((&section.name, key, name))
                {
                    self.error(section, key, why);
                }
            }
        }
        let Some(circle) = table.circle().filter(|_| reported.is_empty()) else { return };
        let circle: Vec<Member> = circle.iter().filter_map(|place| table.members.get(*place).copied()).collect();
        let path: Vec<String> = circle.iter().map(|(group, process)| namespec(&group.name, &process.name)).collect();
        let why = format!("these programs wait for each other: {}; remove one of the links", path.join(" → "));
        let keys = lists(&Lifecycle::default()).map(|(key, _)| key);
        let mut origins = circle.iter().flat_map(|&member| keys.map(|key| (key, self.origin(member, key, ""))));
        if let Some((key, Some(section))) = origins.find(|(_, section)| section.is_some()) {
            self.error(section, key, why);
        }
    }

    /// Reports options of the start graph that contradict each other or have no effect.
    pub(super) fn check_lifecycle(&self, section: &Section, process: &ProcessConfig) {
        let lifecycle = &process.lifecycle;
        if section.name.starts_with("eventlistener:") {
            let given = lists(lifecycle).map(|(key, names)| (key, !names.is_empty()));
            let given = given.into_iter().chain([("oneshot", lifecycle.oneshot), ("ready", lifecycle.ready.is_some())]);
            for (key, _) in given.filter(|(_, given)| *given) {
                self.error(section, key, format!("an event listener cannot have {key}; set it for a program"));
            }
        }
        if lifecycle.oneshot {
            let default = ProcessConfig::default();
            let given = [
                ("autorestart", process.autorestart != default.autorestart),
                ("startsecs", process.startsecs != default.startsecs),
                ("healthcheck", lifecycle.healthcheck.is_some()),
            ];
            for (key, _) in given.iter().filter(|(_, given)| *given) {
                self.warn(section, key, format!("{key} has no effect beside oneshot=true; remove it"));
            }
            if lifecycle.ready.is_some() {
                let why = "a one-shot is done when it ends, and is never ready; remove ready or oneshot";
                self.error(section, "ready", why);
            }
        }
        if lifecycle.reload_signal.is_some() && lifecycle.reload_command.is_some() {
            self.error(
                section,
                "reload_command",
                "a reload has a signal or a command; remove reload_signal or reload_command",
            );
        }
        if lifecycle.watchdog_ms.is_some() && lifecycle.ready != Some(Readiness::Notify) {
            self.error(section, "watchdog", "watchdog needs ready=notify: without it the process has no NOTIFY_SOCKET");
        }
        let hooks = [
            ("pre_start", &lifecycle.pre_start),
            ("pre_stop", &lifecycle.pre_stop),
            ("post_stop", &lifecycle.post_stop),
            ("stop_command", &lifecycle.stop_command),
            ("reload_command", &lifecycle.reload_command),
        ];
        for (key, command) in hooks {
            let why = match command.as_ref().map(|command| values::split_command(command)) {
                Some(Err(why)) => format!("{why}; correct its quotes"),
                Some(Ok(words)) if words.is_empty() => format!("it is empty; write a command or remove {key}"),
                _ => continue,
            };
            self.error(section, key, format!("this command cannot be parsed: {why}"));
        }
    }
}
