//! One executable, several names: acts by the name it is called by, or by its first word.
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().map_or(OsStr::new("rsup"), OsString::as_os_str);
    let arguments = words.get(1..).unwrap_or_default();
    let program = called.to_string_lossy();
    let text: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let name = Path::new(called).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let rest = text.get(1..).unwrap_or_default();
    let code = match (name, text.first().map(String::as_str)) {
        ("pidproxy", _) => rsup::pidproxy::main(called, arguments),
        ("rsupctl" | "supervisorctl", _) => rsup::ctl::main(&program, &text),
        (_, Some("--")) => rsup::init::main(arguments.get(1..).unwrap_or_default()),
        (_, Some("pidproxy")) => rsup::pidproxy::main(OsStr::new("pidproxy"), arguments.get(1..).unwrap_or_default()),
        (_, Some("ctl")) => rsup::ctl::main(&format!("{program} ctl"), rest),
        (_, Some("check")) => rsup::check::main(&format!("{program} check"), rest),
        (_, Some("health")) => rsup::ctl::health::main(&format!("{program} health"), rest),
        _ => rsup::daemon::main(&program, &text),
    };
    ExitCode::from(code)
}
