//! What is accepted but hardly meant: unknown keys and sections, with the nearest known name.
#![forbid(unsafe_code)]

use super::dialect::{At, Sections};
use super::options::{self, Opt};
use super::{Problem, Severity};
use std::path::Path;

/// `; did you mean x?`, or nothing.
pub(super) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The known name that differs from `name` by the fewest letters, if that is near enough.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = name.chars().count().div_ceil(4).min(3);
    let near = known.into_iter().map(|word| (distance(name, word), word)).filter(|(far, _)| *far <= allowed);
    near.min_by_key(|(far, _)| *far).map(|(_, word)| word)
}

/// How many letters must be changed, added or removed (Levenshtein), case aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.to_lowercase().chars().enumerate() {
        let mut left = i.saturating_add(1);
        let mut diagonal = i;
        let mut next = vec![left];
        for (cb, above) in b.iter().zip(row.iter().skip(1)) {
            let changed = diagonal.saturating_add(usize::from(ca != *cb));
            left = changed.min(left.saturating_add(1)).min(above.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn keys<T>(rows: &[Opt<T>]) -> Vec<&'static str> {
    rows.iter().map(|row| row.key).collect()
}

/// The keys that a section may have; `None`: not a section that anybody reads. An empty list: any key.
fn known_keys(section: &str) -> Option<Vec<&'static str>> {
    let program = || keys(options::PROGRAM);
    Some(match section.split_once(':').map_or(section, |(kind, _)| kind) {
        "supervisord" if section == "supervisord" => keys(options::SERVER),
        "supervisorctl" if section == "supervisorctl" => keys(options::CLIENT),
        "include" if section == "include" => vec!["files"],
        _ if section.starts_with("unix_http_server") => keys(options::UNIX_SERVER),
        _ if section.starts_with("inet_http_server") => keys(options::INET_SERVER),
        _ if !section.contains(':') => return None,
        "program" => program(),
        "group" => keys(options::GROUP),
        "eventlistener" => [program(), keys(options::LISTENER)].concat(),
        "fcgi-program" => [program(), keys(options::FCGI)].concat(),
        "rpcinterface" | "ctlplugin" => vec![],
        _ => return None,
    })
}

const SECTIONS: [&str; 11] = [
    "supervisord",
    "supervisorctl",
    "include",
    "unix_http_server",
    "inet_http_server",
    "program:x",
    "group:x",
    "eventlistener:x",
    "fcgi-program:x",
    "rpcinterface:x",
    "ctlplugin:x",
];

/// Warns of every key and section that nobody reads.
pub(super) fn unknown(sections: &Sections, problems: &mut Vec<Problem>) {
    let mut warn = |at: At, section: &str, key: &str, message: String| {
        let file = sections.files.get(at.file).map_or(Path::new(""), |file| file);
        problems.push(Problem::new(Severity::Warning, file, at.line, section, key, message));
    };
    for section in &sections.list {
        let name = &section.name;
        let Some(known) = known_keys(name) else {
            warn(section.at, name, "", format!("this section is not known and is ignored{}", meant(name)));
            continue;
        };
        if name.starts_with("ctlplugin:") {
            warn(section.at, name, "", "Python plug-ins of supervisorctl cannot be loaded: it is ignored".into());
        }
        for entry in section.entries.iter().filter(|e| !known.is_empty() && !known.contains(&e.key.as_str())) {
            let inherited = sections.defaults.entries.iter().any(|d| d.key == entry.key && d.at == entry.at);
            if !inherited {
                let hint = hint(&entry.key, known.iter().copied());
                warn(entry.at, name, &entry.key, format!("this key is not known and is ignored{hint}"));
            }
        }
    }
}

/// `; write [x]` for a section whose name is nearly right.
fn meant(name: &str) -> String {
    let (kind, rest) = name.split_once(':').map_or((name.trim(), "x"), |(kind, rest)| (kind.trim(), rest.trim()));
    let stem = |known: &'static str| known.split(':').next().unwrap_or(known);
    let near = nearest(kind, SECTIONS.map(stem));
    let near = SECTIONS.iter().find(|known| near == Some(stem(known)));
    near.map(|near| format!("; write [{}]", near.replace(":x", &format!(":{rest}")))).unwrap_or_default()
}
