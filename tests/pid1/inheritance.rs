//! What a program inherits through an init, and unusual environments: closed descriptors, ignored and blocked signals, no capabilities,
//! a read-only root.

use crate::harness::{Ran, Sandbox, Subject, run, wait_for};
use crate::init::{Init, Running, python, rsup, words};
use rsup::sys::signals::send;

for_each_init!(
    closed_stdin_stdout_and_stderr,
    other_descriptors_are_inherited_by_the_program,
    sigchld_ignored_at_entry,
    signals_blocked_at_entry,
    any_user_without_capabilities_on_a_read_only_root,
    signals_that_the_parent_ignores_stay_ignored,
    the_environment_is_passed_on_byte_for_byte,
);

fn closed_stdin_stdout_and_stderr(init: Init) {
    // tini fails if tcsetpgrp fails for a reason other than a missing terminal.
    let code = if init == Init::Tini { 1 } else { 9 };
    let script = format!("exec {} sh -c 'exit 9' <&- >&- 2>&-", init.words().join(" "));
    assert_eq!(run(std::process::Command::new("sh").args(["-c", &script])).code, code);
}

fn other_descriptors_are_inherited_by_the_program(init: Init) {
    let script = format!("exec 7</etc/hostname; exec {} sh -c 'read -r x <&7'", init.words().join(" "));
    assert_eq!(run(std::process::Command::new("sh").args(["-c", &script])).code, 0);
}

fn sigchld_ignored_at_entry(init: Init) {
    // If SIGCHLD is ignored, the kernel reaps the children itself: tini and catatonit then wait for ever.
    if matches!(init, Init::Tini | Init::Catatonit) {
        return;
    }
    let before = [python("with_signals"), vec!["ignored".to_owned()]].concat();
    let Some(mut command) = init.as_pid1_by(&words(&before), &["sh", "-c", "exit 8"]) else { return };
    assert_eq!(run(&mut command).code, 8);
}

fn signals_blocked_at_entry(init: Init) {
    let before = [python("with_signals"), vec!["blocked".to_owned()]].concat();
    let Some(mut command) = init.as_pid1_by(&words(&before), &["grep", "SigBlk", "/proc/self/status"]) else { return };
    let own = 1_u64 << 14 | 1 << 9 | 1 << 39;
    let mask = match init {
        Init::Rsup | Init::Tini => own,
        // dumb-init unblocks everything.
        Init::DumbInit => 0,
        // catatonit 0.1.7 leaves the terminal's signals (20, 21, 22) blocked in its program.
        Init::Catatonit => own | 7 << 19,
    };
    assert_eq!(run(&mut command).out, format!("SigBlk:\t{mask:016x}\n"));
    let Some(command) = init.as_pid1_by(&words(&before), &words(&python("watch"))) else { return };
    let mut running = Running::start(command);
    running.line("ready", |line| line.starts_with("ready"));
    send(running.child(), libc::SIGTERM).unwrap();
    assert_eq!(running.end(), 42);
}

fn any_user_without_capabilities_on_a_read_only_root(init: Init) {
    if !nix::unistd::geteuid().is_root() {
        return crate::harness::skip("needs root to become another user");
    }
    let binary = tempfile::tempdir().unwrap();
    // On some machines other users cannot access the build directory.
    let words = init.words();
    let program = crate::init::which(&words[0]).unwrap_or_else(|| words[0].clone().into());
    let copy = binary.path().join("init");
    crate::harness::executable(&copy, &std::fs::read(program).unwrap());
    std::fs::set_permissions(binary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = format!(
        "mount -o remount,bind,ro / && exec setpriv --reuid 54321 --regid 54321 --clear-groups --bounding-set=-all --inh-caps=-all \
         --no-new-privs {} {} sh -c 'id -u; grep CapEff /proc/self/status; touch /var/x 2>&1 && exit 1; exit 11'",
        copy.display(),
        words[1..].join(" ")
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]);
    let ran = run(&mut command);
    assert_eq!(
        (ran.code, ran.out.lines().take(2).collect::<Vec<_>>()),
        (11, vec!["54321", "CapEff:\t0000000000000000"]),
        "{ran:?}"
    );
}

/// Runs a script in a mount namespace with an empty /dev. If that is not possible, lists the test as skipped and returns `None`.
fn without_dev(script: &str) -> Option<Ran> {
    if !nix::unistd::geteuid().is_root() {
        crate::harness::skip("needs root for a mount namespace");
        return None;
    }
    let script = format!("mount -t tmpfs none /dev && {script}");
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]);
    Some(run(&mut command))
}

#[test]
fn it_starts_with_closed_descriptors_and_without_dev() {
    let rsup = rsup();
    let rsup = rsup.display();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"] {
        for (dev, exec) in [
            (":", "exec"),
            (":", ""),
            ("mknod -m 600 /dev/null c 1 3", "exec"),
            ("mkdir /dev/null", ""),
            ("echo text >/dev/null", "exec"),
        ] {
            let script = format!("{dev}; {exec} {rsup} -- /bin/sh -c 'exit 9' {closed}; exit $?");
            let Some(ran) = without_dev(&script) else { return };
            assert_eq!(ran.code, 9, "{script}: {ran:?}");
        }
    }
}

#[test]
fn every_subcommand_starts_without_descriptors_and_dev() {
    let sandbox = Sandbox::new(
        Subject::Rsup,
        "[program:a]\ncommand=/bin/sh -c 'exit 4'\nstartsecs=0\nautorestart=false\nessential=true\n",
    );
    let (bin, conf) = (sandbox.dir.join("bin"), sandbox.dir.join("supervisord.conf"));
    let (bin, conf) = (bin.display(), conf.display());
    for (words, code) in [
        (format!("rsup -c {conf}"), 4),
        (format!("rsup check -c {conf}"), 0),
        (format!("rsup health -c {conf}"), 2),
        (format!("rsupctl -c {conf} status"), 4),
        ("pidproxy /nonexistent /bin/sh -c 'exit 4'".into(), 4),
        ("rsup pidproxy /nonexistent /bin/sh -c 'exit 4'".into(), 4),
    ] {
        for closed in ["<&-", "<&- >&- 2>&-"] {
            let Some(ran) = without_dev(&format!("exec {bin}/{words} {closed}")) else { return };
            // Output that cannot be printed is a failure too.
            let unprinted = closed.len() > 3 && code == 0;
            assert!(ran.code == code || unprinted && ran.code == 1, "{words} {closed}: {ran:?}");
        }
    }
}

#[test]
fn closed_descriptors_are_not_reused() {
    // The program finds the descriptors closed, and no file that rsup opens gets one of their numbers.
    let script = "for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && exit 1; done; exit 9";
    for role in [&["--"][..], &["pidproxy", "/nonexistent"]] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(rsup()).args(role).args(["bash", "-c", script]);
        assert_eq!(run(&mut command).code, 9, "{role:?}");
    }
    let mut sandbox = Sandbox::new(Subject::Rsup, "[program:a]\ncommand=sleep 1000\nstdout_logfile={dir}/out\n");
    let mut command = sandbox.command_of("sh".as_ref());
    command.args(["-c", &sandbox.fill("exec {dir}/bin/rsup -c {dir}/supervisord.conf <&- >&- 2>&-")]);
    sandbox.launch_as(command);
    wait_for("a RUNNING", || (sandbox.state("a") == "RUNNING").then_some(()));
    for fd in 0..3 {
        let target = std::fs::read_link(format!("/proc/{}/fd/{fd}", sandbox.pid())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "{fd}");
    }
}

fn signals_that_the_parent_ignores_stay_ignored(init: Init) {
    // dumb-init resets all signals. tini and catatonit wait for ever if SIGCHLD is ignored (see above).
    let (ignored, expected) = match init {
        Init::Rsup => ("PIPE,CHLD,ALRM,TSTP,WINCH,HUP", 1_u64 << 12 | 1 << 16 | 1 << 13 | 1 << 19 | 1 << 27 | 1),
        Init::DumbInit => return,
        Init::Tini | Init::Catatonit => ("PIPE,ALRM", 1 << 12 | 1 << 13),
    };
    let option = format!("--ignore-signal={ignored}");
    let words = init.words();
    let before = ["env", "--default-signal", &option].into_iter().chain(words.iter().map(String::as_str));
    let script: Vec<&str> = before.chain(["grep", "SigIgn", "/proc/self/status"]).collect();
    let ran = run(std::process::Command::new(script[0]).args(&script[1..]));
    let mask = u64::from_str_radix(ran.out.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & ((1 << 31) - 1), expected, "{ran:?}");
}

fn the_environment_is_passed_on_byte_for_byte(init: Init) {
    let script = "import os, sys
os.execve(sys.argv[1], sys.argv[1:], {b'A': b'\\xe9', b'=noname': b'x', b'B': b'1'})";
    let words = init.words();
    let program = crate::init::which(&words[0]).unwrap_or_else(|| words[0].clone().into());
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script]).arg(program).args(&words[1..]).args(["/bin/cat", "/proc/self/environ"]);
    let ran = run(&mut command);
    assert_eq!(ran.out, "A=\u{fffd}\0=noname=x\0B=1\0", "{ran:?}");
}

#[test]
fn environment_strings_without_an_equals_sign_are_passed_on() {
    let script = "import ctypes, sys
c = ctypes.CDLL(None)
strings = lambda words: (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
c.execve(sys.argv[1].encode(), strings(sys.argv[1:]), strings(['NOEQUALS', '', '=noname', 'A=b', 'A=c']))";
    for role in [&["--"][..], &["pidproxy", "/nonexistent"]] {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", script]).arg(rsup()).args(role).args(["/bin/cat", "/proc/self/environ"]);
        assert_eq!(run(&mut command).out, "NOEQUALS\0\0=noname\0A=b\0A=c\0");
    }
}

#[test]
fn variables_with_the_pid_of_rsup_get_the_pid_of_the_program() {
    let script = "echo $$ $LISTEN_PID $WATCHDOG_PID $SYSTEMD_EXEC_PID ${LISTEN_PIDFDID-none} $OTHER";
    let ours = "export LISTEN_PID=$$ WATCHDOG_PID=$$ SYSTEMD_EXEC_PID=$$ LISTEN_PIDFDID=5 OTHER=$$; exec \"$@\"";
    let others = "export LISTEN_PID=77$$ WATCHDOG_PID=x SYSTEMD_EXEC_PID= LISTEN_PIDFDID=5 OTHER=1; exec \"$@\"";
    for role in [&["--"][..], &["pidproxy", "/nonexistent"]] {
        let ran = |before: &str| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", before, "sh"]).arg(rsup()).args(role).args(["sh", "-c", script]);
            run(&mut command).out
        };
        let out = ran(ours);
        let words: Vec<&str> = out.split_whitespace().collect();
        assert_eq!(words[1..4], [words[0]; 3], "{out}");
        assert!(words[4] == "none" && words[5] != words[0], "{out}");
        let out = ran(others);
        let words: Vec<&str> = out.split_whitespace().collect();
        assert!(words[1].starts_with("77") && words[2..] == ["x", "5", "1"], "{out}");
    }
    let before = ["env", "LISTEN_PID=1", "LISTEN_FDS=1"];
    let Some(mut command) = Init::Rsup.as_pid1_by(&before, &["sh", "-c", "echo $$ $LISTEN_PID"]) else { return };
    assert_eq!(run(&mut command).out, "2 2\n");
}

#[test]
fn only_the_program_keeps_inherited_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (lock, pipe, given) = (file("lock"), file("pipe"), file("given"));
    nix::unistd::mkfifo(pipe.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for role in ["--", "pidproxy /nonexistent"] {
        // When the program closes a lock and a pipe, the lock is free and the pipe's reader reads end of file.
        let script = format!(
            "exec 9>{lock}; flock 9; exec 7<>{pipe} 8>{pipe} 7<&-; exec {} {role} bash -c 'echo to the end >&8; exec 8>&- 9>&-; echo >{given}; exec sleep 1000'",
            rsup().display()
        );
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script]);
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe).unwrap()
        });
        let running = Running::start(command);
        wait_for("the program", || std::fs::metadata(&given).ok());
        let mut free = std::process::Command::new("flock");
        assert_eq!(run(free.args(["--timeout", "20", &lock, "true"])).code, 0, "{role}");
        assert_eq!(reader.join().unwrap(), "to the end\n");
        drop(running);
        std::fs::remove_file(&given).unwrap();
    }
}

#[test]
fn a_signal_that_may_not_be_passed_on_is_reported_once() {
    if !nix::unistd::geteuid().is_root() {
        return crate::harness::skip("needs root to become another user");
    }
    let before = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"];
    let program = ["setpriv", "--reuid", "1234", "--clear-groups", "sh", "-c", "echo ready; exec sleep 1000"];
    let Some(command) = Init::Rsup.as_pid1_by(&before, &program) else { return };
    let running = Running::start(command);
    running.line("ready", |line| line == "ready");
    wait_for("the other user", || (crate::init::children(running.child()).len() == 1).then_some(()));
    for signal in [libc::SIGTERM, libc::SIGTERM, libc::SIGUSR1] {
        send(running.child(), signal).unwrap();
        running.line("the report", |line| line.starts_with("rsup: cannot send ") && line.ends_with(": EPERM"));
    }
    running.line("the last report", |line| line.starts_with("rsup: cannot send SIGUSR1 to pid "));
    assert_eq!(running.text().matches("cannot send SIGTERM").count(), 1, "{}", running.text());
}

#[test]
fn an_unread_message_does_not_delay_exits_or_signals() {
    // stdout and stderr are a full pipe that is not read. A command that cannot start still ends rsup. TERM reaches the command of pidproxy,
    // whose pid file does not exist.
    let fill = "import os, sys, fcntl
os.set_blocking(1, False)
try:
    while True: os.write(1, b'x' * 4096)
except BlockingIOError: pass
os.set_blocking(1, True)
os.dup2(1, 2)
os.execvp(sys.argv[1], sys.argv[1:])";
    let (reader, writer) = std::io::pipe().unwrap();
    let start = |words: &[&str]| {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", fill]).arg(rsup()).args(words).stdin(std::process::Stdio::null());
        command.stdout(writer.try_clone().unwrap()).spawn().unwrap()
    };
    let code =
        |child: &mut std::process::Child| crate::harness::code_of(wait_for("the exit", || child.try_wait().unwrap()));
    for (words, expected) in [
        (&["--", "/nonexistent"][..], 127),
        (&["--", "/etc/passwd"], 126),
        (&["--"], 2),
        (&["pidproxy", "/nonexistent", "/etc/passwd"], 126),
    ] {
        assert_eq!(code(&mut start(words)), expected, "{words:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let script = format!("echo >{}; exec sleep 1000", ready.display());
    let mut proxy = start(&["pidproxy", "/nonexistent", "sh", "-c", &script]);
    wait_for("the command", || std::fs::metadata(&ready).ok());
    send(i32::try_from(proxy.id()).unwrap(), libc::SIGTERM).unwrap();
    assert_eq!(code(&mut proxy), 143);
    drop(reader);
}
