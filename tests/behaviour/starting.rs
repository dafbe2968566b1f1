//! Programs that cannot be executed: the reason is in rsup's log with the program's name, in `spawnerr` and in `status`.

use crate::harness::{Sandbox, Subject, executable, skip};
use std::os::unix::fs::PermissionsExt;

/// Files that cannot be executed: name, text, and the reason, in which `{dir}` is the sandbox's directory.
const FILES: [(&str, &[u8], &str); 3] = [
    (
        "gone",
        b"#!/opt/gone/interpreter -x\n",
        "couldn't exec {dir}/gone: ENOENT (its interpreter /opt/gone/interpreter is missing)",
    ),
    (
        "denied",
        b"#!/etc/passwd\n",
        "couldn't exec {dir}/denied: EACCES (it, or its interpreter /etc/passwd, may not be executed)",
    ),
    ("text", b"echo\n", "couldn't exec {dir}/text: ENOEXEC (neither a program for this machine nor a script with #!)"),
];

/// Waits until a process is FATAL, and checks that the reason is in each place.
fn assert_reported(sandbox: &Sandbox, name: &str, why: &str) {
    sandbox.until(name, "FATAL");
    let why = sandbox.fill(why);
    let process = name.rsplit(':').next().unwrap();
    let info = sandbox.info(name);
    assert_eq!((info["spawnerr"].as_str(), info["description"].as_str()), (Some(&*why), Some(&*why)));
    sandbox.until_log(&format!(" WARN {process}: {why}\n"), 1);
    // As in Supervisor: the exit status.
    sandbox.until_log(&format!("exited: {process} (exit status 127; not expected)"), 1);
    assert!(sandbox.ctl(&["status", name]).out.contains(&why));
}

#[test]
fn a_file_that_cannot_be_executed_is_reported() {
    let rows = FILES.map(|(name, ..)| {
        format!("[program:{name}]\ncommand={{dir}}/{name} x\nstartretries=0\nstderr_logfile={{dir}}/{name}.err\n")
    });
    let mut sandbox = Sandbox::new(Subject::Rsup, &rows.concat());
    FILES.iter().for_each(|(name, text, _)| executable(&sandbox.dir.join(name), text));
    sandbox.start();
    for (name, _, why) in FILES {
        assert_reported(&sandbox, name, why);
        let errno = why.split_once(": ").unwrap().1.split(' ').next().unwrap();
        let text =
            format!("supervisor: couldn't exec {{dir}}/{name}: {errno}\nsupervisor: child process was not spawned\n");
        sandbox.until_file(&format!("{name}.err"), &sandbox.fill(&text));
    }
}

#[test]
fn a_missing_directory_is_reported_for_every_kind_of_program() {
    let common = "directory={dir}/nowhere\nstartretries=0\n";
    let mut sandbox = Sandbox::new(
        Subject::Rsup,
        &format!(
            "[program:p]\ncommand=/bin/cat\n{common}redirect_stderr=true\nstdout_logfile={{dir}}/p.out\n\
             [fcgi-program:f]\ncommand=/bin/cat\nsocket=unix://{{dir}}/f.sock\n{common}\
             [eventlistener:l]\ncommand=/bin/cat\nevents=TICK_5\n{common}"
        ),
    );
    sandbox.start();
    for name in ["p", "f", "l"] {
        assert_reported(&sandbox, name, "couldn't chdir to {dir}/nowhere: ENOENT");
    }
    sandbox.until_file("p.out", &sandbox.fill("supervisor: couldn't chdir to {dir}/nowhere: ENOENT\n"));
}

#[test]
fn a_user_without_execute_permission_is_reported() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to become another user");
    }
    let mut sandbox =
        Sandbox::new(Subject::Rsup, "[program:p]\ncommand={dir}/private/p\nuser=nobody\nstartretries=0\n");
    std::fs::create_dir(sandbox.dir.join("private")).unwrap();
    executable(&sandbox.dir.join("private/p"), b"#!/bin/sh\n");
    std::fs::set_permissions(sandbox.dir.join("private"), PermissionsExt::from_mode(0o700)).unwrap();
    sandbox.start();
    sandbox.until("p", "FATAL");
    assert!(
        sandbox.info("p")["spawnerr"]
            .as_str()
            .unwrap()
            .starts_with(&sandbox.fill("couldn't exec {dir}/private/p: EACCES"))
    );
}

#[test]
fn the_reason_of_a_failed_start_stays_until_the_next_start() {
    let mut sandbox = Sandbox::new(
        Subject::Rsup,
        "[program:p]\ncommand=sh -c 'exit 127'\nstartsecs=0\nautorestart=false\ndirectory={dir}/later\n",
    );
    sandbox.start();
    sandbox.until("p", "EXITED");
    let why = sandbox.fill("couldn't chdir to {dir}/later: ENOENT");
    assert_eq!(sandbox.info("p")["spawnerr"], why);
    assert!(sandbox.ctl(&["status"]).out.ends_with(&format!(" ({why})\n")));
    // A program that exits with the same code by itself has Supervisor's text.
    std::fs::create_dir(sandbox.dir.join("later")).unwrap();
    sandbox.ctl(&["start", "p"]);
    sandbox.until_log("exited: p (exit status 127; not expected)", 2);
    assert_eq!(sandbox.info("p")["spawnerr"], "Bad exit code 127");
    assert!(!sandbox.ctl(&["status"]).out.contains("couldn't"));
}
