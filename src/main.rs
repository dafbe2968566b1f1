//! The executable: chooses the command by the name that it was started with, or by the first word.
#![cfg_attr(not(test), no_main)]

use std::ffi::{OsStr, OsString};
use std::path::Path;

#[cfg(not(test))]
rsup::entry_point!(run);

/// The commands: first words that are not options.
const VERBS: [&str; 7] = ["check", "ctl", "health", "help", "pidproxy", "sample-config", "version"];

/// Runs the command in these words, of which the first is the program's name; returns the exit code.
#[cfg_attr(test, allow(dead_code))]
fn run(words: &[OsString]) -> u8 {
    let called = words.first().map_or(OsStr::new("rsup"), OsString::as_os_str);
    let (all, rest) = (words.get(1..).unwrap_or_default(), words.get(2..).unwrap_or_default());
    let name = Path::new(called).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let verb = all.first().and_then(|word| word.to_str());
    // These two start a command and must not change what it inherits, such as ignored signals.
    match (name, verb) {
        ("pidproxy", _) => return rsup::pidproxy::main(called, all),
        ("rsupctl" | "supervisorctl" | "echo_supervisord_conf", _) => {}
        (_, Some("--")) => return rsup::init::main(rest),
        (_, Some("pidproxy")) => return rsup::pidproxy::main(OsStr::new("pidproxy"), rest),
        _ => {}
    }
    rsup::sys::signals::ignore_broken_pipes();
    let is_supervisor = match name {
        "rsupctl" | "supervisorctl" | "echo_supervisord_conf" => false,
        "supervisord" => true,
        _ => verb.is_none_or(|verb| verb.starts_with('-')),
    };
    if !is_supervisor {
        rsup::sys::signals::end_as_pid1();
    }
    let program = rsup::text::of_os(called);
    match (name, verb) {
        ("rsupctl", Some("--version")) => rsup::daemon::print_version(&program),
        ("rsupctl" | "supervisorctl", _) => rsup::ctl::main(&program, all),
        ("echo_supervisord_conf", _) => rsup::check::echo_supervisord_conf(),
        (_, Some("sample-config")) => rsup::check::sample(rest),
        (_, Some("version")) => rsup::daemon::print_version(&program),
        (_, Some("ctl" | "check" | "health")) if is_version(rest) => rsup::daemon::print_version(&program),
        (_, Some("ctl")) => rsup::ctl::main(&format!("{program} ctl"), rest),
        (_, Some("check")) => rsup::check::main(&format!("{program} check"), rest),
        (_, Some("health")) => rsup::ctl::health::main(&format!("{program} health"), rest),
        ("supervisord", _) => rsup::daemon::main(&program, all),
        (_, Some("help")) => rsup::daemon::main(&program, &["-h".into()]),
        (_, Some(word)) if !word.starts_with('-') => rsup::ctl::unknown_verb(&program, word, &VERBS),
        _ => rsup::daemon::main(&program, all),
    }
}

/// Whether the first of these words is `--version`.
fn is_version(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == "--version")
}
