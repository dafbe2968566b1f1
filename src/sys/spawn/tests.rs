//! Tests with real children. Each test waits for its own pid, since tests share one process.

use super::*;
use crate::sys::fds::pipe_from_child;
use crate::sys::reap::{Exit, peek, reap};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd};

/// Waits until the child has ended, without reaping it.
fn until_ended(pid: Pid) -> Exit {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        if let Some(exit) = peek(pid) {
            return exit;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("child {pid} did not end");
}

/// Reads up to the end of file. Blocks, since another test's child may have the other end open until its exec.
fn read_all(fd: std::os::fd::OwnedFd) -> String {
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// Runs a plan with stdout and stderr on one pipe; returns the output of the child and how it ended.
fn run(change: impl FnOnce(&mut SpawnPlan<'_>), program: &CStr, argv: &[&str]) -> (String, Exit) {
    let (argv, env) = (CStringList::of(argv).unwrap(), CStringList::of(["PATH=/bin:/usr/bin", "A=b"]).unwrap());
    let pipe = pipe_from_child().unwrap();
    let programs = [program.to_owned()];
    let mut plan = SpawnPlan::new(&programs, &argv, &env, SignalSet::EMPTY);
    plan.stdio = [None, Some(pipe.childs.as_fd()), Some(pipe.childs.as_fd())];
    change(&mut plan);
    let Spawned { pid, failure } = spawn(&plan).unwrap();
    if let Some(failure) = failure {
        nix::unistd::write(&pipe.childs, failure.reason().as_bytes()).unwrap();
    }
    drop(pipe.childs);
    let exit = until_ended(pid);
    assert_eq!(reap(pid), Some(exit));
    assert_eq!(reap(pid), None);
    (read_all(pipe.ours), exit)
}

fn sh(change: impl FnOnce(&mut SpawnPlan<'_>), script: &str) -> (String, Exit) {
    run(change, c"/bin/sh", &["sh", "-c", script])
}

#[test]
fn the_child_gets_arguments_and_environment() {
    let (text, exit) = run(|_| (), c"/bin/sh", &["sh", "-c", "echo $0 $1 $A; exit 3", "x", "y z"]);
    assert_eq!((text.as_str(), exit), ("x y z b\n", Exit::Code(3)));
    assert_eq!(exit.to_string(), "exit status 3");
}

#[test]
fn a_child_that_a_signal_ended_is_reported_with_the_signal() {
    for (signal, words) in
        [(9, "terminated by SIGKILL"), (15, "terminated by SIGTERM"), (40, "terminated by signal 40")]
    {
        let (_, exit) = sh(|_| (), &format!("kill -{signal} $$"));
        assert_eq!(exit, Exit::Signal { number: signal, core: false });
        assert_eq!(exit.to_string(), words);
        assert_eq!(i32::from(exit.shell_status()), 128 + signal);
    }
}

#[test]
fn the_child_leads_a_process_group_in_the_session_of_rsup() {
    let (text, _) = sh(|_| (), "echo $$; cut -d' ' -f5,6 /proc/$$/stat");
    let numbers: Vec<i32> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(numbers[2], nix::unistd::getsid(None).unwrap().as_raw());
    let (text, _) = sh(|plan| plan.own_group = false, "cut -d' ' -f5 /proc/$$/stat");
    assert_eq!(text.trim().parse::<i32>().unwrap(), nix::unistd::getpgrp().as_raw());
}

#[test]
fn directory_umask_limits_and_mask_are_set() {
    const LIMITS: &[(Resource, Limit)] = &[(Resource::RLIMIT_NOFILE, Limit { soft: 77, hard: 99 })];
    let (text, exit) = sh(
        |plan| {
            plan.directory = Some(c"/usr");
            plan.umask = Some(0o027);
            plan.limits = LIMITS;
        },
        "pwd; umask; ulimit -Sn; ulimit -Hn",
    );
    assert_eq!(text, "/usr\n0027\n77\n99\n");
    assert_eq!(exit, Exit::Code(0));
    assert_ne!(std::env::current_dir().unwrap(), std::path::Path::new("/usr"));
}

#[test]
fn the_child_has_the_signal_mask_of_the_plan() {
    let mask = SignalSet::EMPTY.with(libc::SIGUSR1).with(34);
    let (text, _) = run(|plan| plan.mask = mask, c"/bin/grep", &["grep", "SigBlk", "/proc/self/status"]);
    assert_eq!(text, "SigBlk:\t0000000200000200\n");
    assert_ne!(change_mask(libc::SIG_BLOCK, SignalSet::EMPTY).unwrap(), SignalSet::ALL);
}

#[test]
fn descriptors_without_close_on_exec_are_closed_on_request() {
    let leak = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty()).unwrap();
    let script = format!("[ -e /proc/$$/fd/{} ] && echo open || echo closed", leak.as_raw_fd());
    assert_eq!(sh(|_| (), &script).0, "closed\n");
    assert_eq!(sh(|plan| plan.close_others = false, &script).0, "open\n");
}

#[test]
fn stdio_may_be_swapped() {
    let (a, b) = (pipe_from_child().unwrap(), pipe_from_child().unwrap());
    let script = "echo to-one; echo to-two >&2";
    let programs = [c"/bin/sh".to_owned()];
    let (argv, env) = (CStringList::of(["sh", "-c", script]).unwrap(), CStringList::default());
    for crossed in [false, true] {
        let mut plan = SpawnPlan::new(&programs, &argv, &env, SignalSet::EMPTY);
        plan.stdio = [None, Some(a.childs.as_fd()), Some(b.childs.as_fd())];
        if crossed {
            plan.stdio.swap(1, 2);
        }
        let pid = spawn(&plan).unwrap().pid;
        until_ended(pid);
        reap(pid);
        let mut got = [[0; 16]; 2];
        let one = nix::unistd::read(&a.ours, &mut got[0]).unwrap();
        let two = nix::unistd::read(&b.ours, &mut got[1]).unwrap();
        let texts = (&got[0][..one], &got[1][..two]);
        let (first, second): (&[u8], &[u8]) = (b"to-one\n", b"to-two\n");
        assert_eq!(texts, if crossed { (second, first) } else { (first, second) });
    }
    // The test's own 0, 1 and 2 in another order. The child answers on a descriptor that is left open deliberately.
    // SAFETY: 0, 1 and 2 are open in any Rust program.
    let own = |number| unsafe { BorrowedFd::borrow_raw(number) };
    let answer = pipe_from_child().unwrap();
    nix::fcntl::fcntl(&answer.childs, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let out = answer.childs.as_raw_fd();
    let script = format!(
        "links=$(/bin/readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo \"$links\" >/proc/self/fd/{out}"
    );
    let argv = CStringList::of(["sh", "-c", &script]).unwrap();
    let mut plan = SpawnPlan::new(&programs, &argv, &env, SignalSet::EMPTY);
    plan.stdio = [Some(own(2)), Some(own(0)), Some(own(1))];
    plan.close_others = false;
    let pid = spawn(&plan).unwrap().pid;
    until_ended(pid);
    reap(pid);
    drop(answer.childs);
    let seen = read_all(answer.ours);
    let ours = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display().to_string();
    assert_eq!(seen, format!("{}\n{}\n{}\n", ours(2), ours(0), ours(1)));
}

/// With high descriptors the child gets only the low part of the table. No descriptor of rsup may be closed or stay open in the child.
#[test]
fn high_descriptors_make_a_small_table_for_the_child() {
    let high = |fd: &std::os::fd::OwnedFd| {
        let number = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(400)).unwrap();
        // SAFETY: the descriptor is new; nothing else owns it.
        unsafe { std::os::fd::OwnedFd::from_raw_fd(number) }
    };
    for _ in 0..20 {
        let (input, output) = (crate::sys::fds::pipe_to_child().unwrap(), pipe_from_child().unwrap());
        let (child_in, child_out) = (high(&input.childs), high(&output.childs));
        drop((input.childs, output.childs));
        let programs = [c"/bin/sh".to_owned()];
        let argv = CStringList::of(["sh", "-c", "cat; ls /proc/$$/fd; sleep 0 >&2"]).unwrap();
        let env = CStringList::of(["PATH=/bin:/usr/bin"]).unwrap();
        let mut plan = SpawnPlan::new(&programs, &argv, &env, SignalSet::EMPTY);
        plan.stdio = [Some(child_in.as_fd()), Some(child_out.as_fd()), Some(child_out.as_fd())];
        let pid = spawn(&plan).unwrap().pid;
        drop((child_in, child_out));
        assert_eq!(nix::unistd::write(&input.ours, b"through\n").unwrap(), 8);
        // Both pipes must end: `cat` ends when its input is closed, and the output ends with the child.
        drop(input.ours);
        assert_eq!(read_all(output.ours), "through\n0\n1\n2\n");
        assert_eq!(until_ended(pid), Exit::Code(0));
        assert!(reap(pid).is_some());
    }
}

/// Creates an executable file.
fn file(folder: &std::path::Path, name: &str, text: &str) -> CString {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    CString::new(path.to_str().unwrap()).unwrap()
}

#[test]
fn every_failure_is_reported_with_its_step_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let gone = file(folder.path(), "gone", "#! /opt/gone/interpreter -x\n");
    let bad = file(folder.path(), "bad", "#!/etc/passwd\n");
    let plain = file(folder.path(), "plain", "echo \"$1\"; exit 5\n");
    for (program, text) in [
        (c"/nonexistent/x", "exec /nonexistent/x: ENOENT".to_owned()),
        (c"/etc/passwd", "exec /etc/passwd: EACCES".to_owned()),
        (&gone, format!("exec {dir}/gone: ENOENT (its interpreter /opt/gone/interpreter is missing)")),
        (&bad, format!("exec {dir}/bad: EACCES (it, or its interpreter /etc/passwd, may not be executed)")),
        (&plain, format!("exec {dir}/plain: ENOEXEC (neither a program for this machine nor a script with #!)")),
    ] {
        assert_eq!(run(|_| (), program, &["x", "y"]), (text, Exit::Code(127)));
    }
    let (text, exit) = sh(|plan| plan.directory = Some(c"/nonexistent"), "echo no");
    assert_eq!((text, exit), ("chdir to /nonexistent: ENOENT".into(), Exit::Code(127)));
    const LIMITS: &[(Resource, Limit)] = &[(Resource::RLIMIT_NOFILE, Limit { soft: 99, hard: 77 })];
    let (text, exit) = sh(|plan| plan.limits = LIMITS, "echo no");
    assert_eq!((text, exit), ("set the limits of /bin/sh: EINVAL".into(), Exit::Code(127)));
}

#[test]
fn supervisors_message_has_the_first_argument() {
    let (argv, env, programs) =
        (CStringList::of(["./x"]).unwrap(), CStringList::default(), [c"/nonexistent/x".to_owned()]);
    let started = spawn(&SpawnPlan::new(&programs, &argv, &env, SignalSet::EMPTY)).unwrap();
    assert_eq!(started.failure.unwrap().to_string(), "exec ./x: ENOENT");
    until_ended(started.pid);
    reap(started.pid);
}

#[test]
fn the_first_program_that_can_be_executed_is() {
    let folder = tempfile::tempdir().unwrap();
    let gone = file(folder.path(), "gone", "#!/opt/gone/interpreter\n");
    let bad = file(folder.path(), "bad", "#!/etc/passwd\n");
    let plain = file(folder.path(), "plain", "echo \"$1\"; exit 5\n");
    let (argv, env) = (CStringList::of(["script", "a b"]).unwrap(), CStringList::default());
    let attempt = |programs: &[CString]| {
        let pipe = pipe_from_child().unwrap();
        let plan = SpawnPlan {
            unrecognized: Unrecognized::RunsInShell,
            stdio: [None, Some(pipe.childs.as_fd()), None],
            ..SpawnPlan::new(programs, &argv, &env, SignalSet::EMPTY)
        };
        let started = spawn(&plan).unwrap();
        drop(pipe.childs);
        let exit = until_ended(started.pid);
        reap(started.pid);
        (started.failure.map(|failure| (failure.program, failure.errno)), exit, read_all(pipe.ours))
    };
    let missing = c"/nonexistent/x".to_owned();
    let ran = (None, Exit::Code(5), "a b\n".to_owned());
    assert_eq!(attempt(&[missing.clone(), gone.clone(), bad.clone(), plain.clone()]), ran);
    assert_eq!(attempt(&[plain, gone.clone()]), ran);
    // EACCES has precedence over ENOENT.
    let failed = |file: &CString, errno| (Some((file.clone(), errno)), Exit::Code(127), String::new());
    assert_eq!(attempt(&[gone.clone(), missing]), failed(&gone, libc::ENOENT));
    assert_eq!(attempt(&[gone, bad.clone()]), failed(&bad, libc::EACCES));
}

#[test]
fn a_variable_has_the_childs_process_id() {
    let (argv, env) =
        (CStringList::of(["sh", "-c", "echo $$ $LISTEN_PID"]).unwrap(), CStringList::of(["A=b"]).unwrap());
    let programs = [c"/bin/sh".to_owned()];
    let variables = [PidVariable::named(b"LISTEN_PID").unwrap()];
    let pipe = pipe_from_child().unwrap();
    let plan = SpawnPlan {
        pid_variables: &variables,
        stdio: [None, Some(pipe.childs.as_fd()), None],
        ..SpawnPlan::new(&programs, &argv, &env, SignalSet::EMPTY)
    };
    let pid = spawn(&plan).unwrap().pid;
    drop(pipe.childs);
    assert_eq!(read_all(pipe.ours), format!("{pid} {pid}\n"));
    until_ended(pid);
    reap(pid);
    for pid in [1, 9, 10, 12_345, Pid::MAX] {
        let variable = PidVariable::named(b"X").unwrap();
        variable.set(pid);
        let bytes: Vec<u8> = variable.0.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        assert_eq!(bytes.split(|&byte| byte == 0).next().unwrap(), format!("X={pid}").as_bytes());
        assert_eq!(bytes.last(), Some(&0));
    }
}

#[test]
fn signals_are_ignored_on_request() {
    let ignored = SignalSet::EMPTY.with(libc::SIGCHLD).with(64);
    let (text, _) = run(|plan| plan.ignored = ignored, c"/bin/grep", &["grep", "SigIgn", "/proc/self/status"]);
    let mask = u64::from_str_radix(text.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & (1 << 63 | 1 << 16), 1 << 63 | 1 << 16);
}

#[test]
fn the_child_changes_its_user_and_rsup_stays_dumpable() {
    let root = nix::unistd::getuid().is_root();
    const GROUPS: &[u32] = &[65533, 12345];
    let become_nobody = |plan: &mut SpawnPlan<'_>| {
        plan.credentials = Some(Credentials { uid: 65534, gid: 65533, groups: GROUPS });
    };
    let (text, exit) = sh(become_nobody, "id -u; id -g; id -G");
    if root {
        assert_eq!((text.as_str(), exit), ("65534\n65533\n65533 12345\n", Exit::Code(0)));
    } else {
        assert_eq!(text, "setuid to 65534: Can't drop privilege as nonroot user");
        assert_eq!(exit, Exit::Code(127));
    }
    assert!(prctl::get_dumpable().unwrap());
    // The same user changes nothing, not even the groups.
    let own = nix::unistd::getuid().as_raw();
    let keep = |plan: &mut SpawnPlan<'_>| plan.credentials = Some(Credentials { uid: own, gid: 1, groups: &[] });
    let (text, _) = sh(keep, "id -u; id -g");
    assert_eq!(text, format!("{own}\n{}\n", nix::unistd::getgid()));
}

#[test]
fn a_list_contains_the_strings_that_were_added() {
    let mut words = CStringList::of(["", "a b"]).unwrap();
    words.push(&[b"A", b"=", b"x"]).unwrap();
    assert!(words.push(&[b"A", b"=", b"x\0y"]).is_err());
    assert_eq!(words.iter().collect::<Vec<_>>(), [b"".as_slice(), b"a b", b"A=x"]);
}
