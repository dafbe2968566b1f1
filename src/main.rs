//! One executable, several names: acts by the name it is called by, or by its first word.
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// The first words that are no option.
const VERBS: [&str; 7] = ["check", "ctl", "health", "help", "pidproxy", "sample-config", "version"];

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().map_or(OsStr::new("rsup"), OsString::as_os_str);
    let (all, rest) = (words.get(1..).unwrap_or_default(), words.get(2..).unwrap_or_default());
    let program = rsup::text::of_os(called);
    let name = Path::new(called).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let code = match (name, all.first().and_then(|word| word.to_str())) {
        ("pidproxy", _) => rsup::pidproxy::main(called, all),
        ("rsupctl", Some("--version")) => rsup::daemon::print_version(&program),
        ("rsupctl" | "supervisorctl", _) => rsup::ctl::main(&program, all),
        ("echo_supervisord_conf", _) | (_, Some("sample-config")) => rsup::check::sample(),
        (_, Some("--")) => rsup::init::main(rest),
        (_, Some("version")) => rsup::daemon::print_version(&program),
        (_, Some("pidproxy")) => rsup::pidproxy::main(OsStr::new("pidproxy"), rest),
        (_, Some("ctl" | "check" | "health")) if is_version(rest) => rsup::daemon::print_version(&program),
        (_, Some("ctl")) => rsup::ctl::main(&format!("{program} ctl"), rest),
        (_, Some("check")) => rsup::check::main(&format!("{program} check"), rest),
        (_, Some("health")) => rsup::ctl::health::main(&format!("{program} health"), rest),
        ("supervisord", _) => rsup::daemon::main(&program, all),
        (_, Some("help")) => rsup::daemon::main(&program, &["-h".into()]),
        (_, Some(word)) if !word.starts_with('-') => rsup::ctl::unknown_verb(&program, word, &VERBS),
        _ => rsup::daemon::main(&program, all),
    };
    ExitCode::from(code)
}

/// Whether these words ask for our own version.
fn is_version(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == "--version")
}
