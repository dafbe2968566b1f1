//! Warns about unknown sections and keys, with the nearest known name, and about sections that have no effect.
#![forbid(unsafe_code)]

use super::dialect::{At, Sections};
use super::nearest::{hint, nearest};
use super::{Problem, Severity, options};
use std::path::Path;

/// Warns about every unknown section and key.
pub(super) fn unknown(sections: &Sections, problems: &mut Vec<Problem>) {
    let mut warn = |at: At, section: &str, key: &str, message: String| {
        let file = sections.files.get(at.file).map_or(Path::new(""), |file| file);
        problems.push(Problem::new(Severity::Warning, file, at.line, section, key, message));
    };
    for section in &sections.list {
        let name = &section.name;
        let Some(kind) = options::section_kind(name) else {
            warn(section.at, name, "", format!("this section is not known and is ignored{}", meant(name)));
            continue;
        };
        match kind.title {
            "ctlplugin:x" => {
                let why = "Python plug-ins of supervisorctl cannot be loaded: it is ignored";
                warn(section.at, name, "", why.into());
                continue;
            }
            // The other keys belong to the plug-in.
            "rpcinterface:x" => continue,
            _ => {}
        }
        let url = section.entries.iter().find(|entry| kind.title == "supervisorctl" && entry.key == "serverurl");
        if let Some(entry) =
            url.filter(|entry| !["http://", "unix://", "%"].iter().any(|own| entry.value.starts_with(own)))
        {
            warn(entry.at, name, "serverurl", "no client can use this; write http://host:port or unix:///path".into());
        }
        let known: Vec<&str> = (kind.rows)().iter().flat_map(|row| [Some(row.key), row.also]).flatten().collect();
        for entry in section.entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
            let inherited = sections.defaults.entries.iter().any(|d| d.key == entry.key && d.at == entry.at);
            if !inherited {
                let hint = hint(&entry.key, known.iter().copied());
                warn(entry.at, name, &entry.key, format!("this key is not known and is ignored{hint}"));
            }
        }
    }
}

/// `; write [x]` for a section whose name is nearly that of a known one.
fn meant(name: &str) -> String {
    let (kind, rest) = name.split_once(':').map_or((name.trim(), "x"), |(kind, rest)| (kind.trim(), rest.trim()));
    let titles = || options::SECTION_KINDS.iter().map(|kind| kind.title);
    let stem = |title: &'static str| title.split(':').next().unwrap_or(title);
    let near = nearest(kind, titles().map(stem)).and_then(|near| titles().find(|title| stem(title) == near));
    near.map(|near| format!("; write [{}]", near.replace(":x", &format!(":{rest}")))).unwrap_or_default()
}
