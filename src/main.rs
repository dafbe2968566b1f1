//! One executable, several names: acts by the name it is called by, or by its first word.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let program = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let name = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
    let code = match (name.as_deref(), args.split_first()) {
        (Some("rsupctl" | "supervisorctl"), _) => rsup::ctl::main(&program, &args),
        (_, Some((first, rest))) if first == "ctl" => rsup::ctl::main(&format!("{program} ctl"), rest),
        (_, Some((first, rest))) if first == "health" => rsup::ctl::health::main(&format!("{program} health"), rest),
        _ => rsup::daemon::main(&program, &args),
    };
    ExitCode::from(code)
}
