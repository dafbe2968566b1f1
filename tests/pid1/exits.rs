//! Exit codes: that of the program, 128 + n for a signal, and those for a program that could not be started.

use crate::harness::{executable, run};
use crate::init::Init;

for_each_init!(
    every_exit_code_is_passed_on,
    as_pid1_too,
    a_death_by_signal_is_128_plus_its_number,
    a_failed_start_is_reported,
    the_search_continues_past_files_that_cannot_be_executed,
);

fn every_exit_code_is_passed_on(init: Init) {
    for code in 0..=255 {
        assert_eq!(run(&mut init.here(&["sh", "-c", &format!("exit {code}")])).code, code);
    }
}

fn as_pid1_too(init: Init) {
    for code in [0, 1, 2, 126, 127, 128, 143, 255] {
        let Some(mut command) = init.as_pid1(&["sh", "-c", &format!("exit {code}")]) else { return };
        assert_eq!(run(&mut command).code, code);
    }
}

fn a_death_by_signal_is_128_plus_its_number(init: Init) {
    // Signals that do not kill: their default is to do nothing or to stop, or (32 and 33) libc reserves them.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28, 32, 33];
    // The parent of the tests may ignore a signal (nohup does), and that is inherited.
    let kills_itself = ["env", "--default-signal", "sh", "-c"];
    for signal in (1..=64).filter(|signal| !harmless.contains(signal)) {
        let script = format!("ulimit -c 0; kill -{signal} $$; sleep 100");
        assert_eq!(
            run(&mut init.here(&[&kills_itself[..], &[&script]].concat())).code,
            128 + signal,
            "signal {signal}"
        );
    }
    for signal in [6, 9, 15, 40] {
        let script = format!("ulimit -c 0; kill -{signal} $$; sleep 100");
        let Some(mut command) = init.as_pid1(&[&kills_itself[..], &[&script]].concat()) else { return };
        assert_eq!(run(&mut command).code, 128 + signal, "signal {signal}");
    }
}

fn a_failed_start_is_reported(init: Init) {
    let (missing, denied) = match init {
        Init::Rsup | Init::Tini => (127, 126),
        Init::DumbInit => (2, 2),
        Init::Catatonit => (1, 1),
    };
    let ran = run(&mut init.here(&["/nonexistent/program"]));
    assert_eq!(ran.code, missing);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    let ran = run(&mut init.here(&["/etc/passwd"]));
    assert_eq!(ran.code, denied);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    // A script without #! is run by /bin/sh, as by execvp.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    executable(&script, b"exit $1\n");
    assert_eq!(run(&mut init.here(&[script.to_str().unwrap(), "12"])).code, 12);
}

#[test]
fn rsup_prints_why_a_command_cannot_start() {
    let err = |command: &[&str]| run(&mut Init::Rsup.here(command)).err;
    assert_eq!(err(&["/nonexistent/program"]), "rsup: can't find command '/nonexistent/program'\n");
    assert!(err(&["no-such-program"]).starts_with("rsup: can't find command 'no-such-program' (PATH is /"));
    assert_eq!(err(&["/etc/passwd"]), "rsup: can't execute command '/etc/passwd': EACCES\n");
    assert_eq!(err(&[]), "rsup: a command must follow: rsup -- COMMAND [ARGUMENT…]\n");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    executable(&script, b"#!/nonexistent/interpreter\n");
    let ran = run(&mut Init::Rsup.here(&[script.to_str().unwrap()]));
    assert_eq!(ran.code, 127);
    let why = "ENOENT (its interpreter /nonexistent/interpreter is missing)";
    assert_eq!(ran.err, format!("rsup: can't execute command '{}': {why}\n", script.display()));
}

/// A directory with the directories `a` and `b`, each with an executable file `prog`; and a PATH of both.
fn two_programs(a: &[u8], b: &[u8]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a", a), ("b", b)] {
        let file = folder.path().join(name).join("prog");
        std::fs::create_dir(folder.path().join(name)).unwrap();
        executable(&file, text);
    }
    let path = format!("{0}/a:{0}/b", folder.path().display());
    (folder, path)
}

/// The program `true`, with a loader that does not exist.
fn without_loader() -> Vec<u8> {
    let mut bytes = std::fs::read("/bin/true").unwrap();
    let at = bytes.windows(5).position(|part| part == b"/lib6" || part == b"/lib/").unwrap();
    bytes[at + 1] = b'X';
    bytes
}

fn the_search_continues_past_files_that_cannot_be_executed(init: Init) {
    for bad in [b"#!/opt/gone/python\n".to_vec(), b"#!/etc/passwd\n".to_vec(), without_loader()] {
        let (_folder, path) = two_programs(&bad, b"#!/bin/sh\nexit 7\n");
        let mut command = init.here(&["prog"]);
        let own = crate::init::which(&init.words()[0]).unwrap_or_else(|| init.words()[0].clone().into());
        let mut words = std::process::Command::new(own);
        words.args(command.get_args()).env("PATH", path);
        std::mem::swap(&mut command, &mut words);
        assert_eq!(run(&mut command).code, 7, "{:?}", String::from_utf8_lossy(&bad[..10]));
    }
}

#[test]
fn if_no_file_can_be_executed_one_is_named() {
    let gone: &[u8] = b"#!/opt/gone/python\n";
    let denied: &[u8] = b"#!/etc/passwd\n";
    for (a, b, code, file, why) in [
        (gone, gone, 127, "a", "ENOENT (its interpreter /opt/gone/python is missing)"),
        (gone, denied, 126, "b", "EACCES (it, or its interpreter /etc/passwd, may not be executed)"),
        (&without_loader(), gone, 127, "a", "ENOENT (its ELF loader is missing)"),
    ] {
        let (folder, path) = two_programs(a, b);
        let message = format!("can't execute command '{}/{file}/prog': {why}\n", folder.path().display());
        for role in [&["--", "prog", "x"][..], &["pidproxy", "/nonexistent", "prog"]] {
            let mut command = std::process::Command::new(crate::init::rsup());
            let ran = run(command.args(role).env("PATH", &path));
            assert_eq!(ran.code, code, "{ran:?}");
            assert_eq!(ran.err.split_once(": ").unwrap().1, message);
        }
    }
}
