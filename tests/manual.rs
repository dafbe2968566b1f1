//! Generates the man pages and docs/options.md from the tables of the program, and fails if the files differ.
//! `RSUP_WRITE=1 cargo test --test manual` writes the files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods
)]

use rsup::config::options::{OptionRow, SECTION_KINDS, SectionKind};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Escapes a text for roff.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// The lists in the help of a command: title, and lines of (what to type, what it does).
fn help(args: &[&str]) -> Vec<(String, Vec<(String, String)>)> {
    let output = Command::new(env!("CARGO_BIN_EXE_rsup")).args(args).output().unwrap();
    let mut lists = vec![(String::new(), Vec::new())];
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(title) = line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            lists.push((title.to_lowercase(), Vec::new()));
        } else if let Some((typed, does)) = line.strip_prefix("  ").and_then(|line| line.trim_start().split_once("  "))
        {
            lists.last_mut().unwrap().1.push((typed.to_owned(), does.trim().to_owned()));
        }
    }
    lists
}

fn list_of(lists: &[(String, Vec<(String, String)>)], title: &str) -> String {
    let list = lists.iter().find(|(name, _)| name == title).unwrap_or_else(|| panic!("no {title} in {lists:?}"));
    assert!(list.1.len() > 3, "{list:?}");
    list.1.iter().map(|(typed, does)| format!(".TP\n.B {}\n{}\n", roff(typed), roff(does))).collect()
}

fn page(name: &str, section: u8, summary: &str, body: &str) -> String {
    format!(
        ".\\\" Made by tests/manual.rs from the program's tables: change those.\n\
         .TH {} {section} \"\" \"rsup\" \"rsup\"\n.SH NAME\n{name} \\- {summary}\n{}\n",
        name.to_uppercase(),
        body.trim_end()
    )
}

fn server_page() -> String {
    let options = list_of(&help(&["--help"]), "options");
    page(
        "rsup",
        8,
        "PID 1 of a container, and the supervisor of everything in it",
        &format!(
            ".SH SYNOPSIS
.B rsup
[options]
.br
.B rsup \\-\\-
.I command
[argument ...]
.br
.B rsup check
[\\-c file] [\\-\\-dump] [\\-\\-json] [\\-\\-secrets]
.br
.B rsup sample\\-config
[\\-\\-all]
.br
.B rsup ctl
[options] [action ...]
.br
.B rsup health
[name ...]
.br
.B rsup pidproxy
.I pidfile command
[argument ...]
.SH DESCRIPTION
Runs the programs of a supervisord.conf as Supervisor 4.3.0 does, see
.BR rsup.conf (5),
and is made to be process number 1 of a container: it reaps orphans and never ends but by its contract.
.PP
After
.B \\-\\-
it runs one program without a configuration: signals are forwarded, orphans reaped, and its exit code is ours.
.B check
reports every mistake in a configuration, with file and line.
.B sample\\-config
prints a configuration that runs in any image; with \\-\\-all it lists every option.
.B ctl
is
.BR rsupctl (1).
.B health
exits with 0 when all that should run runs.
.B pidproxy
forwards signals to the process of a pid file.
.PP
Called supervisord, supervisorctl, rsupctl, pidproxy or echo_supervisord_conf it acts as that program.
.PP
As process number 1 it never goes to the background. Otherwise it does so where the file says nodaemon=false, and, called
supervisord, unless the file says nodaemon=true.
.SH OPTIONS
Each wins over the same key of [supervisord].
{options}.SH SIGNALS
.TP
.B TERM, INT, QUIT
Stop all programs in the order of their priorities, and end. A second one kills what is left.
.TP
.B HUP
Stop all, read the configuration again, and start anew. A configuration with mistakes changes nothing.
.TP
.B USR2
Open all log files again.
.SH EXIT STATUS
0 after an orderly end, unless exit_code_from or essential say otherwise; 2 for mistakes on the command line, in the
configuration, and for control sockets that cannot be opened.
.SH FILES
.TP
.B rsup.conf, supervisord.conf
Searched for in ../etc and .. of the program\\(aqs directory, the current one, etc, /etc and /etc/supervisor.
.TP
.B /run/rsup.sock
The control socket where the configuration names none (else below /tmp or /dev/shm).
.TP
.B /dev/termination\\-log
Gets the reason of the end, where it is there.
.SH SEE ALSO
.BR rsupctl (1),
.BR rsup.conf (5)"
        ),
    )
}

fn client_page() -> String {
    let lists = help(&["ctl", "--help"]);
    page(
        "rsupctl",
        1,
        "control a running rsup or supervisord",
        &format!(
            ".SH SYNOPSIS
.B rsupctl
[options] [action [argument ...]]
.SH DESCRIPTION
Does one action, or asks for actions line by line. It takes the place of supervisorctl: same actions, same exit codes.
Without \\-s and without a configuration that names a server it asks the one that process number 1 was started with, or the
one that listens on /run/rsup.sock.
.PP
A name is that of a process, group:process, or group:* for all of a group.
.SH OPTIONS
{}.SH ACTIONS
{}.SH EXIT STATUS
.TP
.B 0
All went well.
.TP
.B 1
Something failed; the message says what.
.TP
.B 2
A mistake on the command line or in the configuration.
.TP
.B 3
status: a process does not run.
.TP
.B 4
The server cannot be reached, or status: there is no such process.
.TP
.B 7
The process is not running, or could not be started.
.SH SEE ALSO
.BR rsup (8),
.BR rsup.conf (5)",
            list_of(&lists, "options"),
            list_of(&lists, "actions"),
        ),
    )
}

/// Type, default, and since which version, in one line.
fn facts(row: &OptionRow) -> Vec<String> {
    let mut facts = vec![row.wanted.to_owned()];
    facts.extend((!row.default.is_empty()).then(|| format!("default {}", row.default)));
    facts.push(row.since.map_or("rsup only".into(), |version| format!("since Supervisor {version}")));
    facts
}

fn configuration_page() -> String {
    let mut body = String::from(
        ".SH DESCRIPTION
The configuration of
.BR rsup (8)
is that of Supervisor: sections in brackets, key=value below them. A ; or # at the beginning of a line, or behind a blank,
begins a comment. A line that is indented deeper than its key goes on with its value. In a value %(ENV_x)s is the variable
x, %(here)s the directory of the file, %% a percent sign; programs know %(program_name)s, %(group_name)s,
%(host_node_name)s, and mostly %(process_num)d and %(numprocs)d too.
.PP
Supervisor ignores what is marked as of rsup only.
",
    );
    for kind in SECTION_KINDS {
        write!(body, ".SH [{}]\n{}.\n", kind.title.to_uppercase(), roff(kind.help)).unwrap();
        for row in kind.own() {
            let facts = facts(row).join("; ");
            write!(
                body,
                ".TP\n.B {}\n{}.\n.br\n{}.\n.br\nExample: {}={}\n",
                roff(row.key),
                roff(row.help),
                roff(&facts),
                roff(row.key),
                roff(row.example)
            )
            .unwrap();
        }
    }
    body.push_str(".SH SEE ALSO\n.BR rsup (8),\n.BR rsupctl (1)\n");
    page("rsup.conf", 5, "configuration of rsup", &body)
}

/// The column `here` of an option's row in docs/compat.md.
fn here(kind: &SectionKind, row: &OptionRow) -> String {
    if row.is_rsup_only() {
        return "new".into();
    }
    let compat = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compat.md")).unwrap();
    let begin = format!("| `[{}] {}` | ", kind.title, row.key);
    let said = compat.lines().find_map(|line| line.strip_prefix(&begin)?.split(" | ").next());
    said.unwrap_or_else(|| panic!("docs/compat.md has no row that begins with {begin}")).to_owned()
}

fn table(kind: &SectionKind) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) };
    let mut out = format!("\n## [{}]\n\n{}.\n\n", kind.title, kind.help);
    let mut rows = kind.own().peekable();
    if rows.peek().is_some() {
        out.push_str("| option | value | default | since | example | | here |\n|---|---|---|---|---|---|---|\n");
    }
    for row in rows {
        let since = row.since.map_or("rsup only".to_owned(), |version| format!("Supervisor {version}"));
        writeln!(
            out,
            "| `{}` | {} | {} | {since} | {} | {} | {} |",
            row.key,
            cell(row.wanted),
            code(row.default),
            code(&format!("{}={}", row.key, row.example)),
            cell(row.help),
            here(kind, row)
        )
        .unwrap();
    }
    out
}

fn options_page() -> String {
    let mut out = String::from(
        "# Every option\n\nMade by `tests/manual.rs` from the parser's own table (`src/config/options.rs`): change that. What differs from Supervisor\n\
         in an option's meaning, and the test that compares it, stand in [compat.md](compat.md); each example is read by both in\n\
         `tests/config.rs::every_options_example_is_accepted_by_both`.\n",
    );
    out.extend(SECTION_KINDS.iter().map(table));
    out
}

#[test]
fn the_generated_documents_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, text) in [
        ("man/rsup.8", server_page()),
        ("man/rsupctl.1", client_page()),
        ("man/rsup.conf.5", configuration_page()),
        ("options.md", options_page()),
    ] {
        let path = docs.join(name);
        if std::env::var_os("RSUP_WRITE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let is = fs::read_to_string(&path).unwrap_or_default();
        let differs = is.lines().zip(text.lines()).find(|(is, should)| is != should);
        assert!(is == text, "docs/{name} is old; RSUP_WRITE=1 cargo test --test manual writes it. {differs:?}");
    }
}

#[test]
fn the_man_pages_are_valid_roff() {
    for name in ["rsup.8", "rsupctl.1", "rsup.conf.5"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man").join(name);
        // Without groff, only the other test checks the pages.
        let Ok(ran) = Command::new("groff").args(["-man", "-ww", "-Tascii", "-z"]).arg(path).output() else { return };
        assert!(ran.status.success() && ran.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}
