//! Every kind of stream with every write method: full, drained, and without its reader.

use super::*;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::fcntl::{OFlag, open};
use nix::pty::openpty;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{pipe2, read};
use std::sync::mpsc;
use std::time::Duration;

/// A pair. The second end is like one that rsup inherits: blocking, and shared with the test.
fn pair(kind: &str) -> (OwnedFd, OwnedFd) {
    match kind {
        "pipe" => pipe2(OFlag::O_CLOEXEC).unwrap(),
        "terminal" | "raw terminal" => {
            let pty = openpty(None, None).unwrap();
            for fd in [&pty.master, &pty.slave] {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
            }
            if kind == "raw terminal" {
                let mut raw = tcgetattr(&pty.slave).unwrap();
                cfmakeraw(&mut raw);
                tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).unwrap();
            }
            (pty.master, pty.slave)
        }
        "socket" => socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap(),
        _ => panic!("{kind}"),
    }
}

/// Time does not matter to these tests.
const NOW: Mono = Mono(0);

/// The method that the test forces on a `Stream`; `None`: the one that it chooses.
type Force = Option<fn() -> StreamMethod>;

fn stream(ours: &OwnedFd, force: Force) -> Stream {
    let stat = fstat(ours).unwrap();
    let mut stream = Stream::new(ours.try_clone().unwrap(), "it".to_owned(), &stat, true);
    if let Some(force) = force {
        stream.fd = ours.try_clone().unwrap();
        stream.how = force();
    }
    stream
}

fn through_a_pipe() -> StreamMethod {
    let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    StreamMethod::Descriptor(WriteMethod::Splice(out, into))
}

const WAYS: [(&str, &str, Force); 7] = [
    ("pipe", "Write", None),
    ("pipe", "Splice", Some(through_a_pipe)),
    ("pipe", "Pipe", Some(|| StreamMethod::Descriptor(WriteMethod::Pipe))),
    ("terminal", "Write", None),
    ("terminal", "Terminal", Some(|| StreamMethod::Descriptor(WriteMethod::Terminal))),
    ("raw terminal", "Terminal", Some(|| StreamMethod::Descriptor(WriteMethod::Terminal))),
    ("socket", "Socket", None),
];

/// Runs `body` for each way, and fails if one of them blocks.
fn each_way(body: fn(&str, Force)) {
    for (kind, way, force) in WAYS {
        let (done, wait) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (_reader, ours) = pair(kind);
            let how = format!("{:?}", stream(&ours, force).how);
            assert!(how.contains(&format!("({way}")), "{kind}: {way} is what it uses, not {how}");
            body(kind, force);
            done.send(()).unwrap();
        });
        match wait.recv_timeout(Duration::from_secs(60)) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{kind} by {way} blocks"),
            _ => thread.join().unwrap_or_else(|_| panic!("{kind} by {way}")),
        }
    }
}

fn is_blocking(fd: &OwnedFd) -> bool {
    !OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

#[test]
fn a_full_stream_queues_and_then_all_comes_in_order_and_no_flag_leaks() {
    each_way(|kind, force| {
        let (reader, ours) = pair(kind);
        let mut stream = stream(&ours, force);
        let mut errors = Vec::new();
        let mut sent = Vec::new();
        for length in (1..).map(|nth: usize| nth * 37 % 3_000) {
            // Single newlines and rows of them: a terminal makes two bytes of each.
            let byte = |at: usize| {
                if (at / 500).is_multiple_of(3) || at.is_multiple_of(7) { b'\n' } else { b'a' + (at % 23) as u8 }
            };
            let chunk: Vec<u8> = (sent.len()..sent.len() + length).map(byte).collect();
            stream.write(&chunk, NOW, &mut errors);
            sent.extend(chunk);
            assert!(is_blocking(&ours), "the shared description stays as it was");
            if stream.is_full() {
                break;
            }
        }
        assert!(stream.wants_write().is_some());
        let mut got: Vec<u8> = Vec::new();
        let mut buffer = [0; 3_001];
        while got.len() < sent.len() {
            let mut ready = vec![PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            ready.extend(stream.wants_write().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
            assert!(poll(&mut ready, PollTimeout::from(20_000_u16)).unwrap() > 0, "something can always be done");
            if ready[0].any() == Some(true) {
                let count = read(&reader, &mut buffer).unwrap();
                got.extend(buffer[..count].iter().filter(|byte| **byte != b'\r'));
            }
            stream.flush(NOW, &mut errors);
        }
        assert!(got == sent);
        assert!(stream.wants_write().is_none());
        assert!(stream.flush(NOW, &mut errors));
        assert!(is_blocking(&ours));
        assert_eq!(errors, []);
    });
}

/// Repeats `attempt` until there is an error: a child that another test starts may hold the reading end for a moment.
fn until_gone(errors: &mut Vec<SinkError>, mut attempt: impl FnMut(&mut Vec<SinkError>)) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while errors.is_empty() {
        assert!(std::time::Instant::now() < deadline);
        attempt(errors);
    }
}

#[test]
fn a_stream_without_a_reader_discards_reports_it_once_and_counts() {
    each_way(|kind, force| {
        let (reader, ours) = pair(kind);
        let mut stream = stream(&ours, force);
        let mut errors = Vec::new();
        stream.write(b"hello", NOW, &mut errors);
        assert_eq!(errors, []);
        drop(reader);
        until_gone(&mut errors, |errors| stream.write(b"x", NOW, errors));
        assert!(stream.outage.take_lost().is_some());
        for _ in 0..100_000 {
            stream.write(b"1234567890", NOW, &mut errors);
        }
        assert!(!stream.is_full() && stream.wants_write().is_none());
        let why = if kind.ends_with("terminal") { Errno::EIO } else { Errno::EPIPE };
        assert_eq!(errors, [SinkError::Closed("it".to_owned(), why)]);
        assert_eq!(stream.give_up(), Some(SinkError::Dropped("it".to_owned(), 1_000_000)));
        assert_eq!(stream.give_up(), None);
    });
}

#[test]
fn a_stream_that_loses_its_reader_drops_its_queue() {
    each_way(|kind, force| {
        let (reader, ours) = pair(kind);
        let mut stream = stream(&ours, force);
        let mut errors = Vec::new();
        while !stream.is_full() {
            stream.write(&[b'x'; 1_000], NOW, &mut errors);
        }
        drop(reader);
        let mut room = false;
        until_gone(&mut errors, |errors| room = stream.flush(NOW, errors));
        assert!(room, "writers that wait for it may go on");
        assert!(stream.wants_write().is_none());
        assert!(matches!(&errors[..], [SinkError::Closed(..)]), "{errors:?}");
        assert!(matches!(stream.give_up(), Some(SinkError::Dropped(_, 1..))));
    });
}

#[test]
fn a_pipe_that_is_full_before_is_full_for_each_way() {
    for force in
        [None, Some(through_a_pipe as fn() -> StreamMethod), Some(|| StreamMethod::Descriptor(WriteMethod::Pipe))]
    {
        let (reader, ours) = pipe2(OFlag::O_CLOEXEC).unwrap();
        for _ in 0..16 {
            write(&ours, &[b'.'; 4_096]).unwrap();
        }
        let mut stream = stream(&ours, force);
        let mut errors = Vec::new();
        stream.write(b"late", NOW, &mut errors);
        assert_eq!(stream.queue.len(), 4);
        let mut buffer = [0; 65_536];
        assert_eq!(read(&reader, &mut buffer), Ok(65_536));
        assert!(stream.flush(NOW, &mut errors));
        assert_eq!(read(&reader, &mut buffer), Ok(4));
        assert_eq!(&buffer[..4], b"late");
        assert_eq!(errors, []);
    }
}

#[test]
fn a_fifos_reader_may_be_replaced_by_another() {
    let folder = tempfile::tempdir().unwrap();
    for (nth, force) in
        [None, Some(through_a_pipe as fn() -> StreamMethod), Some(|| StreamMethod::Descriptor(WriteMethod::Pipe))]
            .into_iter()
            .enumerate()
    {
        let path = folder.path().join(nth.to_string());
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let reader = || open(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        let first = reader();
        let ours = open(&path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        let mut stream = stream(&ours, force);
        let mut errors = Vec::new();
        while !stream.is_full() {
            stream.write(&[b'x'; 1_000], NOW, &mut errors);
        }
        drop(first);
        until_gone(&mut errors, |errors| _ = stream.flush(NOW, errors));
        assert!(stream.wants_write().is_none(), "nothing to wait for: an idle rsup uses no CPU");
        stream.write(b"lost", NOW, &mut errors);
        assert_eq!(errors, [SinkError::Unwritable("it".to_owned(), Errno::EPIPE)], "reported once");
        let next = reader();
        stream.write(b"next", NOW, &mut errors);
        // Bytes that the first reader left in the FIFO come first.
        let (mut got, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(count @ 1..) = read(&next, &mut buffer) {
            got.extend_from_slice(&buffer[..count]);
            stream.flush(NOW, &mut errors);
        }
        assert!(got.ends_with(b"next"), "{nth}: {:?}", String::from_utf8_lossy(&got));
        let [_, SinkError::Writable(name, lost)] = &errors[..] else { panic!("{errors:?}") };
        assert!(name == "it" && *lost > 4, "{errors:?}");
        assert!(!stream.is_stale());
    }
}

#[test]
fn a_pty_master_is_not_opened_again() {
    let pty = openpty(None, None).unwrap();
    assert!(matches!(stream(&pty.master, None).how, StreamMethod::Descriptor(WriteMethod::Terminal)));
}

#[test]
fn paths_that_mean_an_inherited_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let link = |name: &str, target: &str| {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        folder.path().join(name)
    };
    let fd = |path: &str| inherited_fd(Path::new(path));
    assert_eq!(fd("/dev/stdin"), Some(0));
    assert_eq!(fd("/dev/stdout"), Some(1));
    assert_eq!(fd("/dev/stderr"), Some(2));
    assert_eq!(fd("/dev/fd/7"), Some(7));
    assert_eq!(fd("/proc/self/fd/1"), Some(1));
    assert_eq!(fd("/proc/thread-self/fd/1"), Some(1));
    assert_eq!(fd(&format!("/proc/{}/fd/2", getpid())), Some(2));
    assert_eq!(fd("/proc/1/fd/2"), None, "another process's, unless rsup is PID 1");
    assert_eq!(fd("/dev/fd/x"), None);
    assert_eq!(fd("/dev/null"), None);
    assert_eq!(fd("/no/such/file"), None);
    assert_eq!(inherited_fd(&link("a", "/dev/stdout")), Some(1));
    assert_eq!(inherited_fd(&link("b", "a")), Some(1));
    assert_eq!(inherited_fd(&link("c", "/tmp")), None);
    assert_eq!(inherited_fd(&link("loop", "loop")), None);
}
