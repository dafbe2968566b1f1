//! `/dev/stdout` in a container: a pipe, terminal, socket or file that other processes share, perhaps of another user, and full because no
//! process reads it. rsup must not block on it, not change its flags, and lose no output.
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

/// A user without rights.
const NOBODY: u32 = 65_534;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Pipe,
    Fifo,
    Socket,
    Terminal,
    /// The controlling terminal of the writer.
    OwnTerminal,
}

/// The reading end, and the end that the writer inherits. Both are blocking and close-on-exec.
fn pair(kind: Stdout, folder: &Path) -> (OwnedFd, OwnedFd) {
    match kind {
        Stdout::Pipe => nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap(),
        Stdout::Fifo => {
            let path = folder.join("fifo");
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
            let open = |flags| nix::fcntl::open(&path, flags | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
            let reader = open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
            (reader, open(OFlag::O_WRONLY))
        }
        Stdout::Socket => socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap(),
        Stdout::Terminal | Stdout::OwnTerminal => {
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

/// A copy of the example `logpipe` (the log code without the daemon) that any user can run.
fn logpipe(folder: &Path) -> PathBuf {
    let built = std::env::current_exe().unwrap().parent().unwrap().join("../examples/logpipe");
    let copy = folder.join("logpipe");
    // Copied by another process: a file that this process or a fork of it has open for writing cannot be executed.
    let copied = harness::run(Command::new("cp").arg(&built).arg(&copy));
    assert_eq!(copied.code, 0, "`cargo test` or `cargo build --examples` builds it: {}", copied.err);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|nth| format!("{nth:06} {}\n", "x".repeat(nth % 180)).into_bytes()).collect()
}

/// Runs the writer with a reader that does not read at first. With `leave` the reader never reads, but closes its end.
fn check_full_stdout(kind: Stdout, uid: Option<u32>, leave: bool) {
    let folder = tempfile::tempdir().unwrap();
    let program = logpipe(folder.path());
    let sent = lines(4_000);
    fs::write(folder.path().join("input"), &sent).unwrap();
    let (reader, writer) = pair(kind, folder.path());
    let shared = writer.try_clone().unwrap();
    let before = flags(&shared);
    assert!(!before.contains(OFlag::O_NONBLOCK));

    // When its controlling terminal closes, the writer gets SIGHUP, which must not kill it.
    let script = "trap '' HUP; exec \"$0\" /dev/stdout <\"$1\"";
    let mut command = Command::new(if kind == Stdout::OwnTerminal { "setsid" } else { "sh" });
    if kind == Stdout::OwnTerminal {
        // setsid -c makes stdin the controlling terminal.
        command.args(["-c", "sh"]).stdin(writer.try_clone().unwrap());
    } else {
        command.stdin(Stdio::null());
    }
    command.args(["-c", script]).arg(&program).arg(folder.path().join("input"));
    command.stdout(writer).stderr(Stdio::piped());
    uid.map(|uid| command.uid(uid).gid(uid));
    let mut child = command.spawn().unwrap();
    drop(command);

    // The writer prints `blocked` when its queue is full. It could not if a write had blocked it.
    let (sender, receiver) = mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let listener = std::thread::spawn(move || stderr.lines().for_each(|line| drop(sender.send(line.unwrap()))));
    let word = receiver.recv_timeout(harness::TIMEOUT);
    if word.as_deref() != Ok("blocked") {
        child.kill().unwrap();
        panic!("{kind:?} as {uid:?}: it blocked or failed: {word:?}");
    }
    assert_eq!(flags(&shared), before, "{kind:?} as {uid:?}: the flags of the shared descriptor must not change");

    if leave {
        drop(reader);
        let gone = receiver.recv_timeout(harness::TIMEOUT).unwrap();
        let lost = receiver.recv_timeout(harness::TIMEOUT).unwrap();
        let words =
            if kind == Stdout::Fifo { "cannot write to stdout: Broken pipe" } else { "stdout has no reader any more" };
        assert!(gone.starts_with(words), "{gone}");
        assert!(lost.ends_with("bytes of output to stdout were discarded"), "{lost}");
    } else {
        let mut reader = File::from(reader);
        let (mut got, mut buffer) = (Vec::<u8>::new(), [0; 4_096]);
        while got.len() < sent.len() {
            let count = reader.read(&mut buffer).unwrap();
            assert!(count > 0, "{kind:?} as {uid:?}: end of file after {} bytes", got.len());
            got.extend(buffer[..count].iter().filter(|byte| **byte != b'\r'));
        }
        assert!(got == sent, "{kind:?} as {uid:?}: the bytes or their order differ");
    }
    assert!(child.wait().unwrap().success());
    listener.join().unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(flags(&shared), before);
}

const KINDS: [Stdout; 5] = [Stdout::Pipe, Stdout::Fifo, Stdout::Socket, Stdout::Terminal, Stdout::OwnTerminal];

#[test]
fn a_full_stdout_of_the_same_user() {
    for kind in KINDS {
        check_full_stdout(kind, None, false);
        check_full_stdout(kind, None, true);
    }
}

#[test]
fn a_full_stdout_of_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return harness::skip("needs root, to run a program as another user");
    }
    for kind in KINDS {
        check_full_stdout(kind, Some(NOBODY), false);
        check_full_stdout(kind, Some(NOBODY), true);
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
    // Rotation is requested, and silently off.
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
