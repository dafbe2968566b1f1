//! Checks claims of the documents: every named test and file exists, Supervisor's whole surface is listed, links have a target, and the
//! commands and examples work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods
)]

#[path = "harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: impl AsRef<Path>) -> String {
    let path = root().join(file);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn every_named_test_exists() {
    let both = text("docs/compat.md") + &text("docs/security.md");
    let named: Vec<(&str, &str)> = both.split('`').filter_map(|word| word.split_once(".rs::")).collect();
    assert!(named.len() > 100, "{}", named.len());
    let missing = named.iter().filter(|(file, test)| {
        let source = text(format!("{file}.rs"));
        let is_function = source.match_indices(&format!("fn {test}(")).next().is_some();
        let is_in_list = source.contains(&format!("    {test},\n"));
        !is_function && !is_in_list
    });
    let missing: Vec<String> = missing.map(|(file, test)| format!("{file}.rs::{test}")).collect();
    assert!(missing.is_empty(), "a document names tests that do not exist:\n{}", missing.join("\n"));
}

/// The names in backquotes in the first cell of each row below a heading of the list of the whole surface.
fn listed(heading: &str) -> BTreeSet<String> {
    let compat = text("docs/compat.md");
    let surface = compat.split("## The whole surface, row by row").nth(1).unwrap().split("\n## ").next().unwrap();
    let table = surface.split(&format!("\n### {heading}\n")).nth(1).expect(heading).split("\n### ").next().unwrap();
    let table = table.replace("\\|", "\u{1}");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect()))
        .skip(1)
        .collect();
    assert!(rows.len() > 7, "{heading}: {rows:?}");
    for row in &rows {
        let [_, here, tests] = row[..] else { panic!("{row:?}") };
        assert!(tests.contains(".rs::") || here.starts_with("left out: "), "{row:?} has no test");
        assert!(["same", "better: ", "left out: "].iter().any(|word| here.starts_with(word)), "{row:?}");
    }
    let names = rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2));
    names.map(|name| name.replace('\u{1}', "|")).collect()
}

#[test]
fn the_whole_surface_is_listed() {
    let missing = |heading: &str, wanted: &[String]| {
        let names = listed(heading);
        let missing: Vec<_> = wanted.iter().filter(|name| !names.contains(*name)).collect();
        assert!(missing.is_empty() && wanted.len() > 10, "docs/compat.md, {heading}, lacks {missing:#?}");
        names
    };
    let kinds = rsup::config::options::SECTION_KINDS.iter();
    let options: Vec<String> = kinds
        .flat_map(|kind| {
            kind.own().filter(|row| !row.is_rsup_only()).map(|row| format!("[{}] {}", kind.title, row.key))
        })
        .collect();
    missing("Options", &options);
    let types: Vec<String> = rsup::events::names().into_iter().map(str::to_owned).collect();
    missing("Events and listeners", &types);
    let source = text("src/fault.rs");
    let variants = source.split("enum FaultCode {").nth(1).unwrap().split("\n}").next().unwrap();
    let faults = variants.lines().filter_map(|line| line.trim().split_once(" = ")).map(|(name, _)| {
        let letter = |c: char| if c.is_uppercase() { format!("_{c}") } else { c.to_uppercase().to_string() };
        name.chars().map(letter).collect::<String>().trim_start_matches('_').to_owned()
    });
    missing("Faults", &faults.collect::<Vec<_>>());
    let help = Command::new(env!("CARGO_BIN_EXE_rsup")).args(["ctl", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let actions = help.split("\nActions:\n").nth(1).unwrap().lines();
    let forms = actions.filter_map(|line| Some(line.strip_prefix("  ")?.split("  ").next()?.to_owned()));
    missing("The client's commands", &forms.collect::<Vec<_>>());
    let twiddler = "[rpcinterface:twiddler]\n\
        supervisor.rpcinterface_factory=supervisor_twiddler.rpcinterface:make_twiddler_rpcinterface\n";
    let mut sandbox = harness::Sandbox::new(harness::Subject::Rsup, twiddler);
    sandbox.start();
    let methods = sandbox.rpc("system.listMethods", serde_json::json!([])).unwrap();
    let methods: Vec<String> =
        methods.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let listed_methods = missing("XML-RPC methods", &methods);
    assert_eq!(listed_methods.len(), methods.len(), "a listed method does not exist");
    listed("HTTP");
    listed("Command lines and signals");
}

#[test]
fn every_line_of_the_threat_model_has_its_test() {
    let security = text("docs/security.md");
    let rows = security.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| test |"));
    let without: Vec<&str> = rows.clone().filter(|row| !row.contains(".rs::")).collect();
    assert!(rows.count() > 25 && without.is_empty(), "{without:#?}");
}

#[test]
fn every_surprise_of_supervisor_has_its_line() {
    let compat = text("docs/compat.md");
    let list = compat.split("## Supervisor's surprises").nth(1).unwrap();
    let mut numbers = Vec::new();
    for first in list.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()) {
        for part in first.split(", ") {
            match part.split_once('–') {
                Some((from, to)) => numbers.extend(from.parse::<u32>().unwrap()..=to.parse().unwrap()),
                None => numbers.extend(part.parse::<u32>()),
            }
        }
    }
    assert_eq!(numbers, (1..=69).collect::<Vec<_>>());
}

#[test]
fn every_link_has_a_target() {
    let mut seen = 0;
    for (file, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            seen += 1;
            let path = root().join(&file).parent().unwrap().join(target);
            assert!(path.exists(), "{}: {link} has no target", file.display());
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn every_option_of_the_start_graph_is_in_a_guide() {
    let guides: String = files_below(&["docs/guide"], &["md"]).into_iter().map(|(_, text)| text).collect();
    let program = rsup::config::options::SECTION_KINDS.iter().find(|kind| kind.title == "program:x").unwrap();
    let rows = (program.rows)();
    let keys = rows.iter().filter(|row| row.is_rsup_only() && !row.key.ends_with("_format")).map(|row| row.key);
    let missing: Vec<_> = keys.filter(|key| !guides.contains(key)).collect();
    assert!(rows.len() > 50 && missing.is_empty(), "docs/guide does not explain {missing:?}");
}

#[test]
fn every_guide_is_linked_from_the_readme_and_run_by_a_test() {
    let (readme, tests) = (text("README.md"), files_below(&["tests"], &["rs"]));
    let pages = files_below(&["docs/guide"], &["md"]);
    assert!(pages.len() > 10, "{pages:?}");
    for (page, _) in pages {
        let page = page.to_str().unwrap().to_owned();
        assert!(readme.contains(&format!("]({page})")), "README.md has no link to {page}");
        assert!(tests.iter().any(|(_, test)| test.contains(&page)), "no test runs the recipe of {page}");
    }
}

#[test]
fn the_readmes_commands_exist() {
    // The commands of the first block are run by tests/docker/guide.rs.
    let commands = harness::block("README.md", "sh", 1);
    let rsup = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_rsup")).args(args).output().unwrap();
    assert!(commands.lines().count() > 5, "{commands}");
    for line in commands.lines() {
        let mut words = line.split_whitespace();
        match (words.next().unwrap(), words.next()) {
            ("rsup", Some("--")) => assert_eq!(rsup(&["--", "true"]).status.code(), Some(0)),
            ("rsup", Some("-c")) => assert_eq!(rsup(&["--help"]).status.code(), Some(0)),
            ("rsup", Some(word)) => {
                let help = rsup(&[word, "--help"]);
                let text = String::from_utf8_lossy(&help.stdout).into_owned();
                assert!(help.status.success() && text.contains(&format!("rsup {word}")), "{line}: {help:?}");
            }
            ("rsupctl", Some(_)) => {
                let help = rsup(&["ctl", "-s", "http://127.0.0.1:1", "help"]).stdout;
                let help = String::from_utf8_lossy(&help).into_owned();
                let commands = line.split("# and ").nth(1).unwrap_or_default().split(", ").filter(|word| *word != "…");
                for word in commands.chain(["status"]) {
                    assert!(help.split_whitespace().any(|known| known == word), "{word}: {help}");
                }
            }
            ("pidproxy", _) => assert_eq!(rsup(&["pidproxy"]).status.code(), Some(1)),
            other => panic!("{other:?} is no command of rsup"),
        }
    }
}

/// Runs rsup with a configuration from a document, until it exits or `until` is in its output. Returns output and exit code.
fn run_shown(conf: &str, files: &[(&str, String)], until: &str) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let output = fs::File::create(dir.path().join("output")).unwrap();
    let conf = format!("[unix_http_server]\nfile={here}/s\n[supervisord]\nchildlogdir={here}\n{conf}")
        .replace("/app/", &format!("{here}/"));
    fs::write(dir.path().join("x.conf"), conf).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsup"));
    command.arg("-c").arg(dir.path().join("x.conf")).current_dir(here);
    command.stdin(std::process::Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut rsup = command.spawn().unwrap();
    let read = || fs::read_to_string(dir.path().join("output")).unwrap();
    let mut code = None;
    harness::wait_for(until, || {
        code = rsup.try_wait().unwrap();
        (code.is_some() || read().contains(until)).then_some(())
    });
    let _ =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(rsup.id().try_into().unwrap()), nix::sys::signal::SIGTERM);
    rsup.wait().unwrap();
    (read(), code.and_then(|status| status.code()))
}

#[test]
fn the_guide_to_exit_codes_is_right() {
    let page = "docs/guide/exit-code.md";
    let (output, code) = run_shown(&harness::block(page, "ini", 0), &[], "no such text");
    assert_eq!(code, Some(7), "{output}");
    let last = harness::block(page, "text", 0);
    assert!(output.lines().any(|line| line == last.trim()), "{output}");
    assert!(text("README.md").contains("autorestart=false\nessential=true\n"));
    // Without autorestart=false it keeps running, as the page says.
    let restarts = harness::block(page, "ini", 0).replacen("autorestart=false\n", "", 1);
    let (output, code) = run_shown(&restarts.replace("sleep 1; ", "sleep 1.2; "), &[], "exited: app");
    assert!(code.is_none(), "{output}");
}

#[test]
fn the_guide_to_starts_that_fail_is_right() {
    let page = "docs/guide/does-not-start.md";
    let conf = harness::block(page, "ini", 0);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("app.conf"), &conf).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_rsup"))
        .args(["check", "-c"])
        .arg(dir.path().join("app.conf"))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
    let shown = harness::block(page, "text", 0);
    assert!(output.contains(&format!(":4: {}", shown.trim())), "{output}");
    let (output, _) = run_shown(&conf, &[], "FATAL");
    assert!(output.contains("can't find command '/no/such/program'"), "{output}");
}

#[test]
fn the_guide_to_event_listeners_is_right() {
    let page = "docs/guide/event-listener.md";
    let files = [("notify", harness::block(page, "sh", 0))];
    let (output, _) = run_shown(&harness::block(page, "ini", 0), &files, "event: processname:app");
    assert!(output.contains("event: processname:app groupname:app from_state:RUNNING expected:0"), "{output}");
}

#[test]
fn every_extra_key_is_in_the_readme_and_in_the_list() {
    let rows = rsup::config::options::SECTION_KINDS.iter().flat_map(|kind| (kind.rows)());
    let keys: Vec<&str> = rows.filter(|row| row.is_rsup_only()).map(|row| row.key).collect();
    assert!(keys.contains(&"essential") && keys.contains(&"stop_budget"), "{keys:?}");
    for file in ["README.md", "docs/compat.md"] {
        for key in &keys {
            assert!(text(file).contains(key), "{file} lacks {key}");
        }
    }
}

/// The Rust, Python and Markdown files below these directories, with their text.
fn files_below(dirs: &[&str], extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = dirs.iter().map(|dir| root().join(dir)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
                let relative = path.strip_prefix(root()).unwrap().to_owned();
                found.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The sections of docs/supervisor-behaviour.md: number → text.
fn behaviour_sections() -> BTreeMap<String, String> {
    let page = text("docs/supervisor-behaviour.md");
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            current = heading.split([' ', ':']).next().unwrap().trim_end_matches('.').to_owned();
            let anchor = format!("<a id=\"s{}\"></a>", current.replace('.', "-"));
            let numbered = current.starts_with(|c: char| c.is_ascii_digit());
            assert!(!numbered || page.contains(&anchor), "§{current} has no anchor {anchor}");
        }
        let section = sections.entry(current.clone()).or_default();
        section.push_str(line);
        section.push('\n');
    }
    sections
}

/// The citations of docs/supervisor-behaviour.md in a text, e.g. `4.5/6`: every number that directly follows the name of the page,
/// and further ones that are joined by a comma or "and".
fn citations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let folded = text.replace("\n//! ", " ").replace("\n/// ", " ").replace("Census", "census");
    for name in ["supervisor-behaviour.md §", "census §", "census "] {
        for (at, _) in folded.match_indices(name) {
            let mut rest = &folded[at + name.len()..];
            loop {
                let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || ".,/".contains(*c)).collect();
                rest = &rest[number.len()..];
                let number = number.trim_end_matches(['.', ',', '/']);
                if number.is_empty() {
                    break;
                }
                // `§12, 8` is item 8 of section 12, which is one list.
                let item = rest.strip_prefix(' ').unwrap_or_default();
                let item: String = item.chars().take_while(char::is_ascii_digit).collect();
                let listed = number == "12" && !item.is_empty();
                found.push(if listed { format!("12/{item}") } else { number.to_owned() });
                let Some(next) = [" §", " and §", ", §"].iter().find_map(|joint| rest.strip_prefix(joint)) else {
                    break;
                };
                rest = next;
            }
        }
    }
    found
}

#[test]
fn every_cited_section_of_supervisors_behaviour_exists() {
    assert_eq!(citations("(census §4.5/6, §12, 8); Census §2.4 and §2.5."), ["4.5/6", "12/8", "2.4", "2.5"]);
    let sections = behaviour_sections();
    let mut seen = 0;
    let mut missing = Vec::new();
    for (path, text) in files_below(&["src", "tests", "docs", "fuzz/checks", "fuzz/fuzz_targets"], &["rs", "py", "md"])
    {
        if path.ends_with("tests/docs.rs") || path.ends_with("STYLE.md") || path.ends_with("supervisor-behaviour.md") {
            continue;
        }
        for cited in citations(&text) {
            seen += 1;
            let (section, item) = cited.split_once('/').unwrap_or((&cited, ""));
            let there = sections
                .get(section)
                .is_some_and(|text| item.is_empty() || text.lines().any(|line| line.starts_with(&format!("{item}. "))));
            if !there {
                missing.push(format!("{}: §{cited}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "docs/supervisor-behaviour.md has no such section:\n{}", missing.join("\n"));
    assert!(seen > 40, "only {seen} citations were found");
}

/// The words of a text in backquotes, outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Every document, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = files_below(&["docs"], &["md"]);
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"] {
        if root().join(name).exists() {
            found.push((name.into(), text(name)));
        }
    }
    found
}

/// "`file.rs` (`f`, `g`)" and "`f` in `file.rs`": the functions and types that the architecture places in a file.
#[test]
fn the_architecture_places_functions_where_they_are() {
    let page = text("docs/ARCHITECTURE.md");
    let places = [
        r"`([\w/]+\.rs)` \(((?:`[\w:]+`(?:, | and )?)+)\)",
        r"`([\w/]+\.rs)`: ((?:`\w+::\w+`(?:, | and )?)+)",
        r"((?:`(?:\w+::)?\w+`(?:, | and ))*`(?:\w+::)?\w+`) in `([\w/]+\.rs)`",
    ];
    let mut seen = 0;
    for (form, pattern) in places.iter().enumerate() {
        for found in regex_lite::Regex::new(pattern).unwrap().captures_iter(&page) {
            let (file, names) = if form == 2 { (&found[2], &found[1]) } else { (&found[1], &found[2]) };
            let code =
                text(&if root().join("src").join(file).exists() { format!("src/{file}") } else { file.to_owned() });
            for name in quoted(names).iter().filter(|name| *name != "scope") {
                let last = name.rsplit("::").next().unwrap();
                let is_there = ["fn", "struct", "enum", "const", "trait", "mod"]
                    .iter()
                    .any(|kind| code.contains(&format!("{kind} {last}")));
                // The variants of an enum have no keyword.
                let is_variant = code.contains(&format!("    {last}(")) || code.contains(&format!("    {last} {{"));
                assert!(is_there || is_variant, "{file} has no {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn the_architecture_names_every_source_file() {
    let page = text("docs/ARCHITECTURE.md");
    let list = page.split("\n## Every file\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: BTreeSet<String> =
        list.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect();
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    let there: BTreeSet<String> = files_below(&["src"], &["rs"])
        .into_iter()
        .map(|(path, _)| path.strip_prefix("src").unwrap().to_str().unwrap().to_owned())
        .filter(|path| !is_test(path))
        .collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(there.len() > 80 && missing.is_empty(), "\"Every file\" in docs/ARCHITECTURE.md lacks {missing:?}");
    assert!(gone.is_empty(), "\"Every file\" in docs/ARCHITECTURE.md names files that do not exist: {gone:?}");
}

#[test]
fn every_path_that_a_document_names_exists() {
    let tops = ["src/", "tests/", "docs/", "docker/", "benches/", "fuzz/", "examples/", ".ci/", ".cargo/"];
    // Directories that a build or a fuzzer creates.
    let made = ["build/", "fuzz/corpus/TARGET", "fuzz/artifacts"];
    let mut seen = 0;
    let mut missing = Vec::new();
    for (document, text) in documents() {
        let in_src = document.ends_with("ARCHITECTURE.md");
        for word in quoted(&text) {
            let path = word.split("::").next().unwrap().split(' ').next().unwrap();
            let is_path = tops.iter().any(|top| path.starts_with(top)) || path.ends_with(".rs") && path.contains('/');
            if !is_path || made.iter().any(|made| path.starts_with(made)) || path.contains(['*', '{']) {
                continue;
            }
            seen += 1;
            let mut bases = vec![root().to_owned(), root().join(document.parent().unwrap())];
            bases.extend(in_src.then(|| root().join("src")));
            // `tests/x.rs::f` in docs/compat.md, and `src/x::f` in older rows, may leave out the extension.
            let exists = |base: PathBuf| base.join(path).exists() || base.join(format!("{path}.rs")).exists();
            if !bases.into_iter().any(exists) {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "a document names what does not exist:\n{}", missing.join("\n"));
    assert!(seen > 400, "{seen}");
}

#[test]
fn the_oldest_supported_rust_is_stated_once() {
    let value = |file: &str, key: &str| {
        let text = text(file);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \""))).expect(key);
        line.trim_end_matches('"').to_owned()
    };
    let oldest = value("Cargo.toml", "rust-version");
    let pinned = value("rust-toolchain.toml", "channel");
    assert!(pinned.starts_with(&format!("{oldest}.")), "rust-version {oldest}, but CI builds with {pinned}");
    assert!(
        text("README.md").contains(&format!("Rust {oldest}")),
        "README.md does not say that it needs Rust {oldest}"
    );
}

#[test]
fn the_changelog_has_the_version_and_what_is_unreleased() {
    let changelog = text("CHANGELOG.md");
    let headings: Vec<&str> = changelog.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings.first(), Some(&"Unreleased"));
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        headings.iter().any(|heading| heading.starts_with(&format!("{version} - "))),
        "no {version} in {headings:?}"
    );
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    for kind in changelog.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(kinds.contains(&kind), "{kind} is not a heading of Keep a Changelog");
    }
}

#[test]
fn the_tests_readme_names_every_test() {
    let listed: BTreeSet<String> =
        quoted(&text("tests/README.md")).into_iter().map(|name| name.trim_end_matches('/').to_owned()).collect();
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("tests")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !["README.md", "run"].contains(&name.as_str()) && !listed.contains(&name) {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "tests/README.md does not name {missing:?}");
}
