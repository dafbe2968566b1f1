//! Checks the map of `src/lib.rs`: which module may use which other, which modules are pure, and where `unsafe` may occur.
//! Also checks the ceilings: how much code there is, and how long a function may be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A row of the map in `src/lib.rs`.
struct Module {
    is_pure: bool,
    /// Modules, or parts of modules (`config::model`), that it may use.
    may_use: BTreeSet<String>,
}

/// Module → its row of the map in `src/lib.rs`. `main` is the executable.
fn map() -> BTreeMap<String, Module> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let modules = rows.map(|row| {
        let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let [name, job, may_use] = cells[..] else { panic!("not three columns: {row}") };
        assert!(!job.is_empty(), "{name} has no job");
        let (name, pure) = name.split_once('`').unwrap();
        let may_use = may_use.split(", ").filter(|used| !used.is_empty()).map(str::to_owned).collect();
        (name.to_owned(), Module { is_pure: pure.trim() == "(pure)", may_use })
    });
    modules.collect()
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let map = map();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (module, path, code) in sources() {
        let row = map.get(&module).unwrap_or_else(|| panic!("the map in src/lib.rs has no row for {module}"));
        seen.insert(module.clone());
        for path_used in crate_paths(&code) {
            let target = path_used.split("::").next().unwrap();
            if target == module {
                continue;
            }
            let within = |entry: &&String| path_used == **entry || path_used.starts_with(&format!("{entry}::"));
            match row.may_use.iter().find(within) {
                Some(entry) => drop(used.insert((module.clone(), entry.clone()))),
                None => wrong.push(format!("{}: {module} may not use {path_used}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The check must find modules, and the map must not allow uses that do not occur.
    let allowed = map.iter().flat_map(|(name, row)| row.may_use.iter().map(|used| (name.clone(), used.clone())));
    let unused: Vec<_> = allowed.filter(|pair| !used.contains(pair)).collect();
    assert!(unused.is_empty(), "the map in src/lib.rs allows what no code uses: {unused:?}");
    let rows: BTreeSet<String> = map.into_keys().collect();
    assert_eq!(rows, seen, "the map in src/lib.rs (left) and the modules below src (right)");
}

#[test]
fn pure_modules_do_not_reach_the_operating_system() {
    let map = map();
    let mut wrong = Vec::new();
    let pure = |name: &str| map.get(name).is_some_and(|row| row.is_pure);
    for (name, row) in map.iter().filter(|(_, row)| row.is_pure) {
        let impure = row.may_use.iter().filter(|used| !pure(used.split("::").next().unwrap()));
        wrong.extend(impure.map(|used| format!("{name} is pure, {used} is not")));
    }
    for (module, path, code) in sources().into_iter().filter(|(module, ..)| pure(module)) {
        let is_top = path.ends_with("mod.rs") || path.parent().is_some_and(|dir| dir.ends_with("src"));
        if is_top && !code.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{}: {module} is pure: #![forbid(unsafe_code)]", path.display()));
        }
        for line in code.lines().map(|line| line.split("//").next().unwrap_or_default()) {
            let reaches =
                ["nix::", "std::fs", "std::env", "std::net::Tcp", "std::net::Udp", "std::process", "std::thread"];
            let line = line.replace("std::os::unix::", "");
            let calls_libc = line.split("libc::").skip(1).any(|rest| rest.starts_with(|c: char| c.is_lowercase()));
            if calls_libc || reaches.iter().any(|path| line.contains(path)) {
                wrong.push(format!("{}: {module} is pure, but: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_occurs_in_sys_only() {
    let mut in_sys = 0;
    for (module, path, code) in sources() {
        let has_unsafe = code.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        });
        assert!(module == "sys" || !has_unsafe, "{} contains unsafe", path.display());
        in_sys += usize::from(has_unsafe);
    }
    assert!(in_sys > 3, "{in_sys}");
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
        // The parent declares a file that is only for tests.
        let for_tests = relative.ends_with("tests.rs") || relative.iter().any(|part| part == "tests");
        if path.extension().is_none_or(|ext| ext != "rs") || for_tests || relative == Path::new("lib.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        found.push((module, path, code));
    }
}

/// The paths that follow `crate::` (or `rsup::` in the executable), with nested groups `{…}` spelled out.
fn crate_paths(code: &str) -> Vec<String> {
    let without_comments = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = without_comments.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for prefix in ["crate::", "rsup::"] {
        for (at, _) in code.match_indices(prefix) {
            let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
            if !is_word {
                spell_out("", &code[at + prefix.len()..], &mut found);
            }
        }
    }
    found
}

/// Adds the paths of one tree (`a::{b, c::{self, d}}`) below `prefix` to `found`. Returns the text after the tree.
fn spell_out<'a>(prefix: &str, tree: &'a str, found: &mut Vec<String>) -> &'a str {
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(tree.len());
    let (path, rest) = tree.split_at(end);
    let Some(mut rest) = rest.strip_prefix('{') else {
        let path = path.trim_end_matches(':');
        let whole = if path == "self" { prefix.trim_end_matches("::").to_owned() } else { format!("{prefix}{path}") };
        found.extend((!whole.is_empty()).then_some(whole));
        return rest;
    };
    let prefix = format!("{prefix}{path}");
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return rest;
        }
        rest = spell_out(&prefix, rest, found).trim_start();
        // Text that is not a path (the pattern of a macro) ends the tree.
        match rest.chars().next() {
            Some(',') => rest = &rest[1..],
            Some('}') => {}
            _ => return rest,
        }
    }
}

#[test]
fn use_trees_are_spelled_out() {
    let code = "use crate::config::{self, model::{A, B}, load};\nuse crate::sys::clock; // crate::no\nlet x = crate::time::Mono(1);";
    let paths = ["config", "config::model::A", "config::model::B", "config::load", "sys::clock", "time::Mono"];
    assert_eq!(crate_paths(code), paths);
}

/// The goal: the most lines of code (no blank lines, no comments, no tests) that run as PID 1: everything but the client, `check`,
/// `pidproxy` and what only these use.
const PID1_LINES: usize = 16_000;
/// The goal: the most lines of code in supervision, daemon and sys.
const CORE_LINES: usize = 6_500;
/// By how much each goal is missed since dependencies, readiness, hooks and health checks came. These only ever get smaller.
const EXCESS: (usize, usize) = (1_580, 880);
/// Files in modules that run as PID 1, which only the client or `check` uses.
const CLIENT_FILES: [&str; 2] = ["config/client.rs", "config/dump.rs"];
/// The most lines of code in a function.
const FUNCTION_LINES: usize = 60;

/// Functions that may be longer: file, function, why. An entry that is not needed fails the test.
const LONG_FUNCTIONS: &[(&str, &str, &str)] =
    &[("supervision/process.rs", "decide", "the one big match: every phase with every event")];

/// The lines of code of a text: neither blank nor a comment.
fn code_lines(code: &str) -> Vec<&str> {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    code.lines().filter(is_code).collect()
}

/// Each function of a formatted file, with its number of lines of code from `fn` to its closing brace.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines = code_lines(code);
    let starts = lines.iter().enumerate().filter_map(|(at, line)| {
        let (before, after) = line.split_once("fn ")?;
        let words = ["pub", "pub(super)", "pub(crate)", "const", "unsafe", "extern", "\"C\""];
        let is_item = before.split_whitespace().all(|word| words.contains(&word));
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        (is_item && !name.is_empty() && !line.ends_with(';')).then_some((at, name))
    });
    let length = |(at, name): (usize, String)| {
        let indent = lines[at].len() - lines[at].trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let rest = lines[at..].iter().position(|line| *line == closing).unwrap_or(0);
        (name, if lines[at].ends_with('}') { 1 } else { rest + 1 })
    };
    starts.map(length).collect()
}

#[test]
fn the_code_stays_below_its_ceilings() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_client = CLIENT_FILES.to_vec();
    for (module, path, code) in sources() {
        match of_client.iter().position(|file| path.ends_with(file)) {
            Some(place) => drop(of_client.remove(place)),
            None => *lines.entry(module).or_default() += code_lines(&code).len(),
        }
    }
    assert!(of_client.is_empty(), "no such file: {of_client:?}");
    let sum = |of: &dyn Fn(&str) -> bool| lines.iter().filter(|(module, _)| of(module)).map(|(_, n)| n).sum::<usize>();
    let pid1 = sum(&|module| !["ctl", "check", "pidproxy", "json"].contains(&module));
    let core = sum(&|module| ["supervision", "daemon", "sys"].contains(&module));
    println!("{pid1} lines run as PID 1, {core} of them in supervision, daemon and sys");
    let (pid1_most, core_most) = (PID1_LINES + EXCESS.0, CORE_LINES + EXCESS.1);
    assert!(pid1 > 5_000 && pid1 <= pid1_most, "{pid1} lines run as PID 1, {pid1_most} are allowed");
    assert!(
        core > 2_000 && core <= core_most,
        "supervision, daemon and sys have {core} lines, {core_most} are allowed"
    );
    // What was saved is not spent again.
    assert!(pid1 + 100 > pid1_most && core + 100 > core_most, "lower EXCESS: {pid1} and {core} lines");
}

#[test]
fn no_function_is_too_long() {
    let mut too_long = Vec::new();
    let mut needed = BTreeSet::new();
    let mut seen = 0;
    for (_, path, code) in sources() {
        for (name, length) in functions(&code) {
            seen += 1;
            if length <= FUNCTION_LINES {
                continue;
            }
            match LONG_FUNCTIONS.iter().find(|(file, function, _)| path.ends_with(file) && name == *function) {
                Some((file, ..)) => drop(needed.insert((*file, name))),
                None => too_long.push(format!("{}: {name} has {length} lines", path.display())),
            }
        }
    }
    assert!(seen > 800, "only {seen} functions were found");
    assert!(too_long.is_empty(), "split these, {FUNCTION_LINES} lines are allowed:\n{}", too_long.join("\n"));
    let listed = LONG_FUNCTIONS.iter().map(|(file, function, _)| (*file, (*function).to_owned()));
    let unneeded: Vec<_> = listed.filter(|entry| !needed.contains(entry)).collect();
    assert!(unneeded.is_empty(), "remove these entries of LONG_FUNCTIONS in tests/layers.rs: {unneeded:?}");
}
