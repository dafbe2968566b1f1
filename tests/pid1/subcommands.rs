//! The output of every subcommand: a closed pipe ends it quietly, a full or closed stdout is reported. Also which version `--version` names.

use crate::harness::{Ran, Sandbox, Subject, run};
use std::process::{Command, Stdio};

/// Every subcommand that prints: its words after the sandbox's `bin/` (`CONF` stands for a configuration with a warning), and its exit
/// code if the output can be written.
const VERBS: [(&[&str], i32); 18] = [
    (&["rsup", "--help"], 0),
    (&["rsup", "--version"], 0),
    (&["rsup", "version"], 0),
    (&["supervisord", "-v"], 0),
    (&["rsup", "sample-config"], 0),
    (&["rsup", "check", "-h"], 0),
    (&["rsup", "check", "-c", "CONF"], 1),
    (&["rsup", "check", "-c", "CONF", "--json"], 1),
    (&["rsup", "check", "-c", "supervisord.conf", "--dump"], 0),
    (&["rsup", "check", "-c", "supervisord.conf", "--dump", "--json"], 0),
    (&["rsup", "health", "-h"], 0),
    (&["rsup", "health", "-c", "supervisord.conf"], 1),
    (&["rsup", "ctl", "-h"], 0),
    (&["rsupctl", "--version"], 0),
    (&["rsupctl", "-c", "supervisord.conf", "help"], 0),
    (&["rsupctl", "-c", "supervisord.conf", "status"], 3),
    (&["rsupctl", "-c", "supervisord.conf", "--json", "status"], 3),
    (&["pidproxy"], 1),
];

/// Runs each subcommand with `redirection`, and passes its normal exit code and its result to `judge`.
fn each(redirection: &str, judge: fn(&[&str], i32, Ran)) {
    let mut sandbox = Sandbox::new(Subject::Rsup, "[program:down]\ncommand=/nonexistent\nstartretries=0\n");
    sandbox.write("CONF", "[supervisord]\n[program:x]\ncommand=sleep 1\nnosuchkey=1\n");
    nix::unistd::mkfifo(&sandbox.dir.join("gone"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    sandbox.start();
    sandbox.until("down", "FATAL");
    for (words, code) in VERBS {
        let script = format!("exec \"$@\" {redirection}");
        let mut command = sandbox.command_of("sh".as_ref());
        command.args(["-c", &script, "sh"]).arg(sandbox.dir.join("bin").join(words[0])).args(&words[1..]);
        judge(words, code, run(&mut command));
    }
}

#[test]
fn all_output_is_printed() {
    each("", |words, code, ran| assert!(ran.code == code && !ran.out.is_empty(), "{words:?}: {ran:?}"));
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    // The reader closes before anything is written: the shell opens the FIFO and then closes its reading end.
    each("4<>gone 5>gone 4<&- >&5", |words, _, ran| {
        assert!(ran.err.is_empty() && ran.code < 126, "{words:?}: {ran:?}")
    });
}

#[test]
fn a_full_stdout_is_reported() {
    each(">/dev/full", |words, _, ran| assert_reported(words, &ran, "ENOSPC"));
}

#[test]
fn a_closed_stdout_is_reported() {
    each(">&-", |words, _, ran| assert_reported(words, &ran, "EBADF"));
}

fn assert_reported(words: &[&str], ran: &Ran, why: &str) {
    assert!(ran.code != 0 && ran.code < 126, "{words:?}: {ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{words:?}: {ran:?}");
    assert!(ran.err.ends_with(&format!("cannot write to stdout: {why}\n")), "{words:?}: {ran:?}");
}

#[test]
fn the_version_is_rsups_or_supervisors_alone() {
    let sandbox = Sandbox::bare(Subject::Rsup);
    let ours = format!("rsup {} (compatible with Supervisor 4.3.0)\n", env!("CARGO_PKG_VERSION"));
    let questions: [(&[&str], &str); 9] = [
        (&["rsup", "--version"], &ours),
        (&["rsup", "-v"], &ours),
        (&["rsup", "-n", "-v"], &ours),
        (&["rsup", "version"], &ours),
        (&["rsup", "ctl", "--version"], &ours),
        (&["rsup", "check", "--version"], &ours),
        (&["rsup", "health", "--version"], &ours),
        (&["rsupctl", "--version"], &ours),
        (&["supervisord", "--version"], "4.3.0\n"),
    ];
    for (words, answer) in questions {
        let mut command = Command::new(sandbox.dir.join("bin").join(words[0]));
        let ran = run(command.args(&words[1..]).stdin(Stdio::null()));
        assert_eq!((ran.code, &*ran.out, &*ran.err), (0, answer, ""), "{words:?}");
    }
}
