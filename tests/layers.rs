//! Keeps the map of `src/lib.rs` true: who may use whom, where `unsafe` may stand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module → modules that it may use; `main` is the executable.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["check", "ctl", "daemon", "init", "pidproxy", "sys"]),
    (
        "daemon",
        &["config", "events", "logs", "machine", "stdout", "posix", "rpc", "server", "supervision", "sys", "time"],
    ),
    ("server", &["config", "logs", "rpc", "supervision", "sys", "time", "web", "wire"]),
    ("rpc", &["config", "logs", "posix", "supervision", "sys", "time", "wire"]),
    ("supervision", &["config", "fault", "posix", "time"]),
    ("logs", &["sys", "time"]),
    ("ctl", &["config", "fault", "getopt", "machine", "stdout", "sys", "wire"]),
    ("check", &["config", "getopt", "machine", "stdout", "wire"]),
    ("machine", &["config", "sys"]),
    ("init", &["launch", "posix", "sys"]),
    ("pidproxy", &["launch", "stdout", "posix", "sys"]),
    ("launch", &["sys"]),
    ("fault", &[]),
    ("sys", &["posix", "time"]),
    ("events", &["time"]),
    ("getopt", &[]),
    ("stdout", &["sys"]),
    ("posix", &[]),
    ("config", &["events", "getopt", "posix"]),
    ("web", &["rpc", "supervision", "sys", "time", "wire"]),
    ("wire", &[]),
    ("time", &[]),
];

/// Of a module that is not pure, the only parts that a purer one may use.
const ONLY: &[(&str, &str, &[&str])] = &[
    ("supervision", "config", &["model"]),
    ("server", "config", &["model"]),
    ("check", "wire", &["json", "xmlrpc"]),
    ("server", "logs", &["tail"]),
    ("rpc", "config", &["model", "values"]),
    ("rpc", "logs", &["tail"]),
    ("rpc", "sys", &["clock", "signals"]),
    ("web", "sys", &["clock"]),
];

/// Modules that say `#![forbid(unsafe_code)]` in each of their files, or in the one at their top.
const PURE: &[&str] = &["supervision", "config", "wire", "rpc", "time", "fault", "web", "events"];

#[test]
fn modules_use_only_what_the_map_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (module, path, code) in sources() {
        let may =
            allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not on the map: say what it may use"));
        for path_used in crate_paths(&code) {
            let (target, part) = path_used.split_once("::").unwrap_or((&path_used, ""));
            if target == module {
                continue;
            }
            used.insert((module.clone(), target.to_owned()));
            let part = part.split("::").next().unwrap_or_default();
            let only = ONLY.iter().find(|(of, whom, _)| *of == module && *whom == target);
            if !may.contains(&target) || only.is_some_and(|(_, _, parts)| !part.is_empty() && !parts.contains(&part)) {
                wrong.push(format!("{}: {module} may not use {path_used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A check that sees nothing proves nothing.
    assert!(used.contains(&("daemon".into(), "supervision".into())), "{used:?}");
}

#[test]
fn unsafe_stands_in_sys_only() {
    for (module, path, code) in sources() {
        let says = code.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        });
        assert!(module == "sys" || !says, "{} says unsafe", path.display());
        let top = path.ends_with("mod.rs") || path.parent().is_some_and(|dir| dir.ends_with("src"));
        assert!(
            !(PURE.contains(&module.as_str()) && top) || code.contains("#![forbid(unsafe_code)]"),
            "{} is pure: #![forbid(unsafe_code)]",
            path.display()
        );
    }
}

/// Every file below src without its tests: top module, path, text.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

fn walk(dir: &Path, found: &mut Vec<(String, PathBuf, String)>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
            continue;
        }
        let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // A file that is wholly for tests is declared so by its parent.
        let for_tests = relative.ends_with("tests.rs") || relative.iter().any(|part| part == "tests");
        if path.extension().is_none_or(|ext| ext != "rs") || for_tests || relative == Path::new("lib.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        found.push((module, path, code));
    }
}

/// What follows `crate::` (or `rsup::` in the executable), with nested `{…}` groups of one level spelled out.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in code.replace("\n    ", " ").lines() {
        let line = line.split("//").next().unwrap_or_default();
        for prefix in ["crate::", "rsup::"] {
            for (at, _) in line.match_indices(prefix) {
                let rest = &line[at + prefix.len()..];
                if let Some(group) = rest.strip_prefix('{') {
                    let inner = group.split('}').next().unwrap_or_default();
                    found.extend(inner.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()));
                } else {
                    let path: String =
                        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
                    found.push(path.trim_end_matches(':').to_owned());
                }
            }
        }
    }
    found
}
