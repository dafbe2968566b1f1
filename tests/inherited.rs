//! `/dev/stdout` as rsup finds it in a container: somebody else's pipe, terminal, socket or file, shared with others and
//! perhaps another user's, full because nobody reads. Never blocked, never changed for those who share it, nothing lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

mod harness;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// Another user than the one who runs the tests as root.
const NOBODY: u32 = 65_534;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pipe,
    Fifo,
    Socket,
    Terminal,
    /// The terminal is the writer's controlling one.
    OwnTerminal,
}

/// The reading end, and the end that the writer inherits. Both block, and nobody else inherits them.
fn pair(kind: Kind, folder: &Path) -> (OwnedFd, OwnedFd) {
    match kind {
        Kind::Pipe => nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap(),
        Kind::Fifo => {
            let path = folder.join("fifo");
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
            let open = |flags| nix::fcntl::open(&path, flags | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
            let reader = open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
            (reader, open(OFlag::O_WRONLY))
        }
        Kind::Socket => socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap(),
        Kind::Terminal | Kind::OwnTerminal => {
            let pty = openpty(None, None).unwrap();
            for fd in [&pty.master, &pty.slave] {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
            }
            (pty.master, pty.slave)
        }
    }
}

fn flags(fd: &OwnedFd) -> OFlag {
    OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap())
}

/// The example `logpipe` (the log path alone, without a daemon), where any user can run it.
fn logpipe(folder: &Path) -> PathBuf {
    let built = std::env::current_exe().unwrap().parent().unwrap().join("../examples/logpipe");
    let copy = folder.join("logpipe");
    // By another process: a program that we have open for writing, or that a fork of ours has, could not be run.
    let copied = harness::run(Command::new("cp").arg(&built).arg(&copy));
    assert_eq!(copied.code, 0, "a whole `cargo test` builds it; else `cargo build --examples`: {}", copied.err);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|nth| format!("{nth:06} {}\n", "x".repeat(nth % 180)).into_bytes()).collect()
}

/// Runs the writer against a reader that at first does not read. With `leave` it never does, but goes away.
fn try_it(kind: Kind, uid: Option<u32>, leave: bool) {
    let folder = tempfile::tempdir().unwrap();
    let program = logpipe(folder.path());
    let sent = lines(4_000);
    fs::write(folder.path().join("input"), &sent).unwrap();
    let (reader, writer) = pair(kind, folder.path());
    let shared = writer.try_clone().unwrap();
    let before = flags(&shared);
    assert!(!before.contains(OFlag::O_NONBLOCK));

    // The end of a controlling terminal comes with a SIGHUP, which rsup does not die of.
    let script = "trap '' HUP; exec \"$0\" /dev/stdout <\"$1\"";
    let mut command = Command::new(if kind == Kind::OwnTerminal { "setsid" } else { "sh" });
    if kind == Kind::OwnTerminal {
        // setsid -c makes its stdin the controlling terminal.
        command.args(["-c", "sh"]).stdin(writer.try_clone().unwrap());
    } else {
        command.stdin(Stdio::null());
    }
    command.args(["-c", script]).arg(&program).arg(folder.path().join("input"));
    command.stdout(writer).stderr(Stdio::piped());
    uid.map(|uid| command.uid(uid).gid(uid));
    let mut child = command.spawn().unwrap();
    drop(command);

    // It says `blocked` when its queue is full, and can only say so when no write has blocked it.
    let (said, hear) = mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let listener = std::thread::spawn(move || stderr.lines().for_each(|line| drop(said.send(line.unwrap()))));
    let word = hear.recv_timeout(harness::PATIENCE);
    if word.as_deref() != Ok("blocked") {
        child.kill().unwrap();
        panic!("{kind:?} as {uid:?}: it was blocked, or failed: {word:?}");
    }
    assert_eq!(flags(&shared), before, "{kind:?} as {uid:?}: nothing changes for those who share it");

    if leave {
        drop(reader);
        let gone = hear.recv_timeout(harness::PATIENCE).unwrap();
        let lost = hear.recv_timeout(harness::PATIENCE).unwrap();
        let words =
            if kind == Kind::Fifo { "cannot write to stdout: Broken pipe" } else { "stdout has no reader any more" };
        assert!(gone.starts_with(words), "{gone}");
        assert!(lost.ends_with("bytes of output to stdout were discarded"), "{lost}");
    } else {
        let mut reader = File::from(reader);
        let (mut got, mut buffer) = (Vec::<u8>::new(), [0; 4_096]);
        while got.len() < sent.len() {
            let count = reader.read(&mut buffer).unwrap();
            assert!(count > 0, "{kind:?} as {uid:?}: the end after {} bytes", got.len());
            got.extend(buffer[..count].iter().filter(|byte| **byte != b'\r'));
        }
        assert!(got == sent, "{kind:?} as {uid:?}: the same bytes in the same order");
    }
    assert!(child.wait().unwrap().success());
    listener.join().unwrap();
    assert_eq!(hear.try_iter().collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(flags(&shared), before);
}

const KINDS: [Kind; 5] = [Kind::Pipe, Kind::Fifo, Kind::Socket, Kind::Terminal, Kind::OwnTerminal];

#[test]
fn a_full_stdout_of_the_same_user() {
    for kind in KINDS {
        try_it(kind, None, false);
        try_it(kind, None, true);
    }
}

#[test]
fn a_full_stdout_of_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return harness::skip("needs root, to run a program as another user");
    }
    for kind in KINDS {
        try_it(kind, Some(NOBODY), false);
        try_it(kind, Some(NOBODY), true);
    }
}

#[test]
fn inherited_files_are_written_at_their_offset() {
    let folder = tempfile::tempdir().unwrap();
    let program = logpipe(folder.path());
    let path = folder.path().join("file");
    fs::write(&path, "before\n").unwrap();
    let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let input = folder.path().join("input");
    fs::write(&input, "hello\n".repeat(1_000)).unwrap();
    // Rotation is asked for, and silently off.
    let mut command = Command::new(&program);
    command.args(["/dev/stdout", "100", "3"]).stdin(File::open(&input).unwrap()).stdout(file);
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("before\n{}", "hello\n".repeat(1_000)));
    assert!(!folder.path().join("file.1").exists());
}

#[test]
fn a_descriptor_that_was_not_inherited_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let ran = harness::run(Command::new(logpipe(folder.path())).arg("/dev/fd/63"));
    assert_eq!((ran.code, ran.err.trim()), (1, "Error: EBADF"));
}

#[test]
fn proc_1_fd_1_is_the_inherited_stdout_when_rsup_is_pid_1() {
    let unshare = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).args(args);
        harness::run(&mut command)
    };
    if unshare(&["true"]).code != 0 {
        return harness::skip("no PID namespace can be made here");
    }
    let folder = tempfile::tempdir().unwrap();
    let program = logpipe(folder.path());
    let input = folder.path().join("input");
    fs::write(&input, "hello\n").unwrap();
    // An inherited file is not rotated; one that was opened by its name would be.
    let script = "printf 'before ' && exec \"$0\" /proc/1/fd/1 1 1 <\"$1\"";
    let path = folder.path().join("file");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]).arg(program).arg(input);
    assert!(command.stdout(File::create(&path).unwrap()).status().unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "before hello\n");
    assert!(!folder.path().join("file.1").exists());
}
