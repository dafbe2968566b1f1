//! What an init is started with: closed descriptors, strange signals, no rights, a read-only root.

use crate::harness::run;
use crate::init::{Init, Running, python, words};
use rsup::sys::signals::send;

for_each_init!(
    closed_stdin_stdout_and_stderr,
    other_descriptors_are_the_programs,
    sigchld_ignored_at_entry,
    signals_blocked_at_entry,
    any_user_without_capabilities_on_a_read_only_root,
);

fn closed_stdin_stdout_and_stderr(init: Init) {
    // tini gives up where it cannot hand over a terminal for another reason than there being none.
    let code = if init == Init::Tini { 1 } else { 9 };
    let script = format!("exec {} sh -c 'exit 9' <&- >&- 2>&-", init.words().join(" "));
    assert_eq!(run(std::process::Command::new("sh").args(["-c", &script])).code, code);
}

fn other_descriptors_are_the_programs(init: Init) {
    let script = format!("exec 7</etc/hostname; exec {} sh -c 'read -r x <&7'", init.words().join(" "));
    assert_eq!(run(std::process::Command::new("sh").args(["-c", &script])).code, 0);
}

fn sigchld_ignored_at_entry(init: Init) {
    // With it ignored the kernel reaps by itself: tini and catatonit then wait for ever.
    if matches!(init, Init::Tini | Init::Catatonit) {
        return;
    }
    let before = [python("surrounded"), vec!["ignored".to_owned()]].concat();
    let Some(mut command) = init.as_pid1_by(&words(&before), &["sh", "-c", "exit 8"]) else { return };
    assert_eq!(run(&mut command).code, 8);
}

fn signals_blocked_at_entry(init: Init) {
    let before = [python("surrounded"), vec!["blocked".to_owned()]].concat();
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
    // Other users cannot reach the build folder everywhere.
    let words = init.words();
    let program = crate::init::which(&words[0]).unwrap_or_else(|| words[0].clone().into());
    let copy = binary.path().join("init");
    std::fs::copy(program, &copy).unwrap();
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
