//! Suggestions for an unknown word: similar names, or the right form of a name of another kind. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::format::text;
use crate::protocol::{namespec, split_namespec};
use crate::wire::xmlrpc::Value;

/// Largest number of names that are suggested.
const NAMES_MAX: usize = 3;

/// The names that are most similar to `word`: those that begin with it, else those with the smallest edit distance, if that is
/// small.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let completions: Vec<&str> =
        names.iter().copied().filter(|name| word.len() > 1 && name.starts_with(word)).collect();
    if (1..=NAMES_MAX).contains(&completions.len()) {
        return completions;
    }
    // A single letter is similar to any other.
    let allowed = match word.chars().count() {
        0 | 1 => 0,
        letters => letters.div_ceil(3).min(3),
    };
    let distances = names.iter().map(|name| (distance(word, name), *name)).filter(|(far, _)| *far <= allowed);
    let distances: Vec<(usize, &str)> = distances.collect();
    let least = distances.iter().map(|(far, _)| *far).min();
    distances.into_iter().filter(|(far, _)| Some(*far) == least).map(|(_, name)| name).take(NAMES_MAX).collect()
}

/// `did you mean a, b or c?`; nothing for no names.
#[must_use]
pub fn did_you_mean(names: &[&str]) -> Option<String> {
    let (last, others) = names.split_last()?;
    let others = others.join(", ");
    let or = if others.is_empty() { "" } else { " or " };
    Some(format!("did you mean {others}{or}{last}?"))
}

/// A suggestion for an unknown name of a process or group. `infos`: all processes.
#[must_use]
pub fn for_process(name: &str, infos: &[Value]) -> Option<String> {
    let (group, process) = split_namespec(name);
    let in_group = |info: &&Value| text(info, "group") == group;
    if process == Some(group)
        && let Some(first) = infos.iter().find(in_group)
    {
        let first = format!("{group}:{}", text(first, "name"));
        return Some(format!(
            "{group} is a group: write {group}:* for all of its processes, or one of them, such as {first}"
        ));
    }
    let full_name = |info: &Value| match process {
        Some(_) => namespec(text(info, "group"), text(info, "name")),
        None => format!("{}:*", text(info, "group")),
    };
    let known: Vec<String> = infos.iter().map(full_name).collect();
    if known.iter().any(|known| known == name) {
        return process.is_none().then(|| "this command takes single processes, or all".into());
    }
    did_you_mean(&nearest(name, known.iter().map(String::as_str)))
}

/// A suggestion for an unknown name of a group. `groups`: all groups.
#[must_use]
pub fn for_group<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let groups: BTreeSet<&str> = groups.into_iter().collect();
    match split_namespec(name) {
        (group, _) if name.contains(':') && groups.contains(group) => Some(format!("write the group alone: {group}")),
        (group, _) => did_you_mean(&nearest(group, groups)),
    }
}

/// The number of letters that must be changed, added, removed or swapped with a neighbour (optimal string alignment distance),
/// ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let at = |row: &[usize], n: usize| row.get(n).copied().unwrap_or(usize::MAX);
    let (mut before, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (j, cb) in b.iter().enumerate() {
            let changed = at(&row, j).saturating_add(usize::from(ca != cb));
            let added = at(&next, j).saturating_add(1);
            let removed = at(&row, j.saturating_add(1)).saturating_add(1);
            let mut least = changed.min(added).min(removed);
            if let (Some(i), Some(j)) = (i.checked_sub(1), j.checked_sub(1))
                && a.get(i) == Some(cb)
                && b.get(j) == Some(ca)
            {
                least = least.min(at(&before, j).saturating_add(1));
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::session::object;

    #[test]
    fn distances_count_letters() {
        for (a, b, wanted) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("sttaus", "status", 1),
            ("STOP", "stop", 0),
            ("ca", "abc", 3),
            ("restrat", "restart", 1),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (wanted, wanted), "{a} {b}");
        }
    }

    #[test]
    fn similar_names_are_suggested_and_no_others() {
        let commands = ["start", "status", "stop", "restart", "reload", "remove", "reread", "tail"];
        for (word, wanted) in [
            ("sttaus", Some("did you mean status?")),
            ("stat", Some("did you mean status?")),
            ("sta", Some("did you mean start or status?")),
            ("st", Some("did you mean start, status or stop?")),
            ("restrat", Some("did you mean restart?")),
            ("Status", Some("did you mean status?")),
            ("re", None),
            ("bogus", None),
            ("x", None),
            ("s", None),
        ] {
            assert_eq!(did_you_mean(&nearest(word, commands)).as_deref(), wanted, "{word}");
        }
    }

    #[test]
    fn the_right_form_is_suggested_for_names_of_another_kind() {
        let info = |group: &str, name: &str| object(&[("group", group.into()), ("name", name.into())]);
        let infos = [info("cat", "cat"), info("web", "one"), info("web", "two")];
        for (name, wanted) in [
            ("web", Some("web is a group: write web:* for all of its processes, or one of them, such as web:one")),
            ("web:ona", Some("did you mean web:one?")),
            ("web:*", Some("this command takes single processes, or all")),
            ("web:one", None),
            ("wbe:*", Some("did you mean web:*?")),
            ("cta", Some("did you mean cat?")),
            ("nothing", None),
        ] {
            assert_eq!(for_process(name, &infos).as_deref(), wanted, "{name}");
        }
        for (name, wanted) in [
            ("web:*", Some("write the group alone: web")),
            ("web:one", Some("write the group alone: web")),
            ("wbe", Some("did you mean web?")),
            ("nothing", None),
        ] {
            assert_eq!(for_group(name, ["cat", "web", "web"]).as_deref(), wanted, "{name}");
        }
    }
}
