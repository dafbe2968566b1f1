//! NOTIFY_SOCKET (sd_notify(3)): one socket for each program, what its datagrams say, and whether their sender belongs to the program.
//!
//! The address is abstract: it needs no writable directory, and any user of the network namespace can send to it. So only
//! datagrams whose sender [`is_descendant`] of the program may count.

use crate::sys::{Pid, sockets};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, sockopt};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// The longest datagram that is read, in bytes. A longer one is dropped.
const DATAGRAM_MAX_BYTES: usize = 4096;
/// The longest status that is kept, in characters.
const STATUS_MAX_CHARS: usize = 256;
/// How many parents of a sender are checked at most.
const GENERATIONS_MAX: usize = 64;

/// An assignment of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`: the start, or the reload, is finished.
    Ready,
    /// `STOPPING=1`: the process has begun to end.
    Stopping,
    /// `RELOADING=1`: the process reads its configuration again.
    Reloading,
    /// `STATUS=`: a text for users, without control characters, cut to 256 characters.
    Status(String),
    /// `WATCHDOG=1`: the process works.
    Watchdog,
    /// `WATCHDOG=trigger`: the process has found that it does not work.
    WatchdogTrigger,
    /// `WATCHDOG_USEC=`: the time in which the next `WATCHDOG=1` must come, from now on, in microseconds.
    WatchdogUsec(u64),
    /// `EXTEND_TIMEOUT_USEC=`: the start or stop may take at least this much longer from now, in microseconds.
    ExtendTimeoutUsec(u64),
    /// `MAINPID=`: more than 0.
    MainPid(Pid),
    /// `BARRIER=1`. The sender waits until its descriptor is closed, which it is.
    Barrier,
}

/// The assignments of a datagram, in order. Unknown ones, and values without a meaning, are left out.
pub fn parse(datagram: &[u8]) -> Vec<Message> {
    String::from_utf8_lossy(datagram).split('\n').filter_map(Message::parse).collect()
}

impl Message {
    fn parse(line: &str) -> Option<Self> {
        Some(match line.split_once('=')? {
            ("READY", "1") => Self::Ready,
            ("STOPPING", "1") => Self::Stopping,
            ("RELOADING", "1") => Self::Reloading,
            ("STATUS", text) => Self::Status(text.chars().filter(|c| !c.is_control()).take(STATUS_MAX_CHARS).collect()),
            ("WATCHDOG", "1") => Self::Watchdog,
            ("WATCHDOG", "trigger") => Self::WatchdogTrigger,
            ("WATCHDOG_USEC", usec) => Self::WatchdogUsec(usec.trim().parse().ok()?),
            ("EXTEND_TIMEOUT_USEC", usec) => Self::ExtendTimeoutUsec(usec.trim().parse().ok()?),
            ("MAINPID", pid) => Self::MainPid(pid.trim().parse().ok().filter(|pid| *pid > 0)?),
            ("BARRIER", "1") => Self::Barrier,
            _ => return None,
        })
    }
}

/// Whether `pid` is the process `of` or descends from it. `parent` is [`crate::sys::tty::parent_of`]: a sender that has been reaped has
/// no parent any more, and one whose parent has ended has rsup as its parent, so neither is a descendant.
pub fn is_descendant(pid: Pid, of: Pid, parent: impl Fn(Pid) -> Option<Pid>) -> bool {
    let line = std::iter::successors(Some(pid), |pid| parent(*pid));
    line.take_while(|pid| *pid > 0).take(GENERATIONS_MAX).any(|pid| pid == of)
}

/// The socket of one program.
#[derive(Debug)]
pub struct NotifySocket {
    /// What to poll, for reading.
    pub socket: OwnedFd,
    /// The value of NOTIFY_SOCKET.
    pub address: String,
    /// The number of datagrams that were dropped because they were longer than 4096 bytes.
    pub too_long: u64,
}

impl NotifySocket {
    /// Binds a socket to an address that the kernel chooses (unix(7), autobind).
    pub fn bind() -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let name: UnixAddr = getsockname(socket.as_raw_fd())?;
        let address = format!("@{}", String::from_utf8_lossy(name.as_abstract().unwrap_or_default()));
        Ok(Self { socket, address, too_long: 0 })
    }

    /// Reads one datagram: its sender, or 0 for one outside this PID namespace, and its messages. EAGAIN: there is none. Read a few in
    /// each turn of the loop, so that a program that sends without end does not hold up others.
    pub fn receive(&mut self) -> Result<(Pid, Vec<Message>), Errno> {
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        let (bytes, sender) = sockets::receive_datagram(&self.socket, &mut buffer)?;
        let whole = buffer.get(..bytes);
        self.too_long = self.too_long.saturating_add(whole.is_none().into());
        Ok((sender, whole.map(parse).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tty::parent_of;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::io::{IoSlice, Read as _};
    use std::os::fd::AsFd as _;
    use std::process::{Command, Stdio};

    /// Sends a datagram to the socket, as sd_notify(3) does, with descriptors.
    fn send(to: &NotifySocket, bytes: &[u8], fds: &[i32]) -> Result<(), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).unwrap();
        let address = UnixAddr::new_abstract(to.address.strip_prefix('@').unwrap().as_bytes()).unwrap();
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let sent = sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_DONTWAIT, Some(&address));
        sent.map(|sent| assert_eq!(sent, bytes.len()))
    }

    fn own_pid() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn each_assignment_is_a_message_and_all_else_is_left_out() {
        let text = "READY=1\nSTATUS=42 of 50\nWATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=20000000\nMAINPID=7\n\
            STOPPING=1\nRELOADING=1\nEXTEND_TIMEOUT_USEC= 5 \nBARRIER=1\n";
        let wanted = [
            Message::Ready,
            Message::Status("42 of 50".into()),
            Message::Watchdog,
            Message::WatchdogTrigger,
            Message::WatchdogUsec(20_000_000),
            Message::MainPid(7),
            Message::Stopping,
            Message::Reloading,
            Message::ExtendTimeoutUsec(5),
            Message::Barrier,
        ];
        assert_eq!(parse(text.as_bytes()), wanted);
        let nonsense = "READY=0\nREADY\n=1\n READY=1\nready=1\nREADY=1 \nWATCHDOG_USEC=-1\nWATCHDOG_USEC=18446744073709551616\n\
            MAINPID=0\nMAINPID=-4\nMAINPID=x\nEXTEND_TIMEOUT_USEC=\nERRNO=2\nX_RSUP=1\nSTOPPING=yes\n\nREADY=1\0";
        assert_eq!(parse(nonsense.as_bytes()), []);
    }

    #[test]
    fn a_status_has_no_control_characters_and_a_limit() {
        let status = |text: &[u8]| parse(&[b"STATUS=", text].concat());
        assert_eq!(status(b""), [Message::Status(String::new())]);
        assert_eq!(status(b"a\x1b[31m\tb\x07\r\xff\xc2\x9bc=d"), [Message::Status("a[31mb\u{fffd}c=d".into())]);
        assert_eq!(status("ä".repeat(300).as_bytes()), [Message::Status("ä".repeat(256))]);
    }

    #[test]
    fn a_descendant_has_the_process_among_its_ancestors() {
        let parents = BTreeMap::from([(20, 10), (30, 20), (40, 1), (1, 0), (50, 60), (60, 50)]);
        let is_descendant = |pid, of| is_descendant(pid, of, |pid| parents.get(&pid).copied());
        for (pid, of, wanted) in [
            (10, 10, true),
            (20, 10, true),
            (30, 10, true),
            (10, 30, false),
            (40, 10, false),
            (99, 10, false),
            (0, 0, false),
            (0, 10, false),
            (-1, -1, false),
            (50, 60, true),
            (50, 10, false),
        ] {
            assert_eq!(is_descendant(pid, of), wanted, "{pid} of {of}");
        }
        assert!(super::is_descendant(1_000, 950, |pid| Some(pid - 1)));
        assert!(!super::is_descendant(1_000, 900, |pid| Some(pid - 1)));
    }

    #[test]
    fn the_parents_of_a_real_process_lead_to_this_one() {
        let mut shell = Command::new("sh");
        let script = "sh -c 'echo $$; read x'; :";
        let mut child = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut grandchild = String::new();
        let mut stdout = child.stdout.take().unwrap();
        while !grandchild.ends_with('\n') {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            grandchild.push(char::from(byte[0]));
        }
        let (grandchild, pid) = (grandchild.trim().parse().unwrap(), Pid::try_from(child.id()).unwrap());
        assert_ne!(grandchild, pid);
        assert!(is_descendant(grandchild, pid, parent_of) && is_descendant(grandchild, own_pid(), parent_of));
        assert!(!is_descendant(own_pid(), pid, parent_of));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_descendant(grandchild, pid, parent_of), "it no longer exists");
    }

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let mut socket = NotifySocket::bind().unwrap();
        assert!(socket.address.len() > 1 && socket.address != NotifySocket::bind().unwrap().address);
        assert_eq!(socket.receive(), Err(Errno::EAGAIN));
        send(&socket, b"READY=1\nSTATUS=up", &[]).unwrap();
        send(&socket, b"", &[]).unwrap();
        let messages = vec![Message::Ready, Message::Status("up".into())];
        assert_eq!(socket.receive(), Ok((own_pid(), messages)));
        assert_eq!(socket.receive(), Ok((own_pid(), Vec::new())));
        assert_eq!(socket.receive(), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_datagram_that_is_too_long_is_dropped_and_counted() {
        let mut socket = NotifySocket::bind().unwrap();
        let filled = |bytes: usize| [&b"READY=1\n"[..], &vec![b'x'; bytes - 8]].concat();
        send(&socket, &filled(DATAGRAM_MAX_BYTES), &[]).unwrap();
        send(&socket, &filled(DATAGRAM_MAX_BYTES + 1), &[]).unwrap();
        send(&socket, &filled(65_536), &[]).unwrap();
        assert_eq!(socket.receive(), Ok((own_pid(), vec![Message::Ready])));
        for count in [1, 2] {
            assert_eq!(socket.receive(), Ok((own_pid(), Vec::new())));
            assert_eq!(socket.too_long, count);
        }
        assert_eq!(socket.receive(), Err(Errno::EAGAIN));
    }

    #[test]
    fn descriptors_are_closed_at_once() {
        let mut socket = NotifySocket::bind().unwrap();
        for count in [1, 2, 250] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            send(&socket, b"BARRIER=1", &vec![writer.as_raw_fd(); count]).unwrap();
            drop(writer);
            assert_eq!(socket.receive(), Ok((own_pid(), vec![Message::Barrier])));
            // The end of the file: no copy of the writer is left.
            let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, PollTimeout::from(10_000_u16)), Ok(1));
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn a_full_queue_is_the_senders_affair() {
        let mut socket = NotifySocket::bind().unwrap();
        let mut sent = 0;
        while send(&socket, b"WATCHDOG=1", &[]).is_ok() {
            sent += 1;
        }
        assert_eq!(send(&socket, b"WATCHDOG=1", &[]), Err(Errno::EAGAIN));
        for _ in 0..sent {
            assert_eq!(socket.receive(), Ok((own_pid(), vec![Message::Watchdog])));
        }
        assert_eq!(socket.receive(), Err(Errno::EAGAIN));
    }

    proptest! {
        #[test]
        fn lines_are_independent(
            lines in prop::collection::vec("((READY|STATUS|WATCHDOG|WATCHDOG_USEC|MAINPID|BARRIER|X)=)?.{0,8}", 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let whole = [lines.join("\n").as_bytes(), b"\n", &tail].concat();
            let mut each: Vec<Message> = lines.iter().flat_map(|line| parse(line.as_bytes())).collect();
            each.extend(parse(&tail));
            for message in &each {
                if let Message::Status(text) = message {
                    prop_assert!(!text.contains(char::is_control) && text.chars().count() <= STATUS_MAX_CHARS);
                }
            }
            prop_assert_eq!(parse(&whole), each);
        }

        #[test]
        fn ancestors_end_whatever_the_parents(parents in prop::collection::vec(-2_i32..20, 20), pid in -2_i32..22, of in -2_i32..22) {
            let parent = |pid: Pid| parents.get(usize::try_from(pid).ok()?).copied();
            let found = is_descendant(pid, of, parent);
            prop_assert!(!found || of > 0 && pid > 0);
            prop_assert!(found || pid != of || pid <= 0);
        }
    }
}
