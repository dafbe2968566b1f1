//! One try of a probe without blocking: TCP and Unix sockets, HTTP, and whether a file exists.

use crate::config::probe::{Probe, authority};
use crate::sys::poll::Interest;
use crate::sys::{hosts, sockets};
use crate::wire::http::{self, BadMessage};
use nix::errno::Errno;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much of the answer to an HTTP probe is read, in bytes.
const ANSWER_MAX_BYTES: usize = 8 * 1024;
const NOT_HTTP: &str = "not an HTTP answer";

/// How far a try has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Wait until the descriptor is ready.
    Pending,
    /// The probe has succeeded.
    Succeeded,
    /// The probe has failed, for this reason: `connection refused`, `503`.
    Failed(String),
}

/// A try that needs a socket. Dropping it closes the socket.
#[derive(Debug)]
pub struct Attempt {
    socket: OwnedFd,
    stage: Stage,
    /// The addresses that are tried if the current one fails.
    others: std::vec::IntoIter<SocketAddr>,
    /// The part of the HTTP request that is not sent yet; empty for TCP.
    request: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Sending,
    Receiving,
}

impl Attempt {
    /// Begins a try. `None`: it has succeeded already. A try of a TCP or HTTP probe is never finished here.
    ///
    /// # Errors
    /// Why the probe has failed already. A command always fails: its caller starts it.
    pub fn begin(probe: &Probe) -> Result<Option<Self>, String> {
        let (host, port, request) = match probe {
            Probe::Tcp { host, port } => (host, *port, Vec::new()),
            Probe::Http { host, port, path } => (host, *port, http::last_get_request(path, &authority(host, *port))),
            Probe::Unix(path) => {
                return match sockets::connect_unix(path) {
                    Ok(_) => Ok(None),
                    Err(Errno::EAGAIN) => Err("its queue of connections is full".into()),
                    Err(errno) => Err(words(errno)),
                };
            }
            Probe::File(path) => {
                let found = std::fs::metadata(path).map(|_| None);
                return found.map_err(|error| words(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))));
            }
            Probe::Exec(_) => return Err("a command has no socket".into()),
        };
        let addresses: Vec<_> = hosts::addresses(host).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            return Err(format!("{host} is neither an address nor a name in /etc/hosts"));
        }
        Self::over(addresses, request).map(Some)
    }

    fn over(addresses: Vec<SocketAddr>, request: Vec<u8>) -> Result<Self, String> {
        let mut others = addresses.into_iter();
        let socket = connect_next(&mut others, String::new())?;
        Ok(Self { socket, stage: Stage::Connecting, others, request, answer: Vec::new() })
    }

    /// What to wait for.
    #[must_use]
    pub fn interest(&self) -> Interest {
        if self.stage == Stage::Receiving { Interest::Read } else { Interest::Write }
    }

    /// Goes on as far as possible without waiting. Remove the descriptor from the poll first: the next address of a host gets a new
    /// one. Call it no more after another result than [`Progress::Pending`].
    pub fn advance(&mut self) -> Progress {
        self.try_to_advance().unwrap_or_else(Progress::Failed)
    }

    fn try_to_advance(&mut self) -> Result<Progress, String> {
        if self.stage == Stage::Connecting {
            match sockets::is_connected(&self.socket) {
                Ok(true) if self.request.is_empty() => return Ok(Progress::Succeeded),
                Ok(true) => self.stage = Stage::Sending,
                Ok(false) => return Ok(Progress::Pending),
                Err(errno) => {
                    self.socket = connect_next(&mut self.others, words(errno))?;
                    return Ok(Progress::Pending);
                }
            }
        }
        if self.stage == Stage::Sending {
            let sent = or_nothing(sockets::transmit(&self.socket, &self.request))?.unwrap_or(0);
            self.request.drain(..sent.min(self.request.len()));
            if !self.request.is_empty() {
                return Ok(Progress::Pending);
            }
            self.stage = Stage::Receiving;
        }
        let mut bytes = [0; 2048];
        let Some(received) = or_nothing(sockets::receive(&self.socket, &mut bytes))? else {
            return Ok(Progress::Pending);
        };
        self.answer.extend_from_slice(bytes.get(..received).unwrap_or_default());
        match http::reply_status(&self.answer) {
            Ok(Some(200..400)) => Ok(Progress::Succeeded),
            Ok(Some(status)) => Err(status.to_string()),
            Ok(None) if received == 0 && self.answer.is_empty() => Err("closed without an answer".into()),
            Ok(None) if received == 0 => Err(NOT_HTTP.into()),
            Ok(None) if self.answer.len() < ANSWER_MAX_BYTES => Ok(Progress::Pending),
            Ok(None) | Err(BadMessage::HeadTooLarge) => Err("the head of the answer is too long".into()),
            Err(_) => Err(NOT_HTTP.into()),
        }
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Begins a connection to the first address that allows it; `reason`: why there is none before them.
fn connect_next(addresses: &mut impl Iterator<Item = SocketAddr>, mut reason: String) -> Result<OwnedFd, String> {
    for address in addresses {
        match sockets::begin_connect(address) {
            Ok(socket) => return Ok(socket),
            Err(errno) => reason = words(errno),
        }
    }
    Err(reason)
}

/// `None`: nothing could be moved now.
fn or_nothing(moved: Result<usize, Errno>) -> Result<Option<usize>, String> {
    match moved {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(words(errno)),
    }
}

/// An error in the words of libc, in lower case.
fn words(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    /// Serves the attempt as the daemon does, until it is finished. Panics after ten seconds without an event.
    fn finish(mut attempt: Attempt) -> Progress {
        loop {
            let wanted = match attempt.interest() {
                Interest::Read => PollFlags::POLLIN,
                _ => PollFlags::POLLOUT,
            };
            let mut polled = [PollFd::new(attempt.as_fd(), wanted)];
            assert_eq!(poll(&mut polled, PollTimeout::from(10_000_u16)), Ok(1), "no event for {attempt:?}");
            match attempt.advance() {
                Progress::Pending => {}
                finished => return finished,
            }
        }
    }

    fn probed(text: &str) -> Progress {
        match Attempt::begin(&Probe::parse(text).unwrap()) {
            Ok(Some(attempt)) => finish(attempt),
            Ok(None) => Progress::Succeeded,
            Err(reason) => Progress::Failed(reason),
        }
    }

    fn failed(reason: &str) -> Progress {
        Progress::Failed(reason.into())
    }

    /// A server on a free port of 127.0.0.1 that passes its first connection to `serve`.
    fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || serve(listener.accept().unwrap().0));
        port
    }

    /// Reads a request up to its end.
    fn request(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the request ends early");
            text.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8(text).unwrap()
    }

    /// The outcome of an HTTP probe of a server that sends `answer` in pieces of `piece` bytes, and closes.
    fn answered(answer: &str, piece: usize) -> Progress {
        let answer = answer.to_owned();
        let port = server(move |mut stream| {
            stream.set_nodelay(true).unwrap();
            request(&mut stream);
            for piece in answer.as_bytes().chunks(piece) {
                // The probe closes when it has read enough.
                if stream.write_all(piece).is_err() {
                    break;
                }
            }
        });
        probed(&format!("http://127.0.0.1:{port}/"))
    }

    #[test]
    fn a_tcp_connection_is_accepted_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["", "127.0.0.1:", "localhost:", "127.1:"] {
            assert_eq!(probed(&format!("tcp:{host}{port}")), Progress::Succeeded, "{host}");
        }
        drop(listener);
        // A child that another test starts may hold the listener until its exec.
        while probed(&format!("tcp:{port}")) == Progress::Succeeded {}
        assert_eq!(probed(&format!("tcp:localhost:{port}")), failed("connection refused"));
        let unknown = failed("no-such-host is neither an address nor a name in /etc/hosts");
        assert_eq!(probed("tcp:no-such-host:80"), unknown);
        assert_eq!(probed("http://no-such-host/"), unknown);
    }

    #[test]
    fn every_address_of_a_host_is_tried_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = |ip: &str| SocketAddr::new(ip.parse().unwrap(), open.port());
        let addresses = vec![closed("::1"), closed("127.0.0.2"), open];
        assert_eq!(finish(Attempt::over(addresses, Vec::new()).unwrap()), Progress::Succeeded);
        let attempt = Attempt::over(vec![closed("127.0.0.2"), closed("127.0.0.3")], Vec::new());
        assert_eq!(finish(attempt.unwrap()), failed("connection refused"));
    }

    #[test]
    fn a_unix_socket_accepts_or_has_a_full_queue_or_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let probe = format!("unix:{}", path.display());
        assert_eq!(probed(&probe), failed("no such file or directory"));
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        assert_eq!(probed(&probe), Progress::Succeeded);
        let mut held = Vec::new();
        while let Ok(socket) = sockets::connect_unix(&path) {
            held.push(socket);
        }
        assert_eq!(probed(&probe), failed("its queue of connections is full"));
        drop(listener);
        while probed(&probe) == failed("its queue of connections is full") {}
        assert_eq!(probed(&probe), failed("connection refused"));
    }

    #[test]
    fn a_file_exists_or_not_and_a_command_is_not_for_here() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probed(&format!("file:{}", dir.path().display())), Progress::Succeeded);
        assert_eq!(probed(&format!("file:{}/x", dir.path().display())), failed("no such file or directory"));
        assert_eq!(probed("exec:true"), failed("a command has no socket"));
    }

    #[test]
    fn the_status_decides_however_the_answer_is_cut() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Progress::Succeeded),
            ("HTTP/1.0 302 Found\nLocation: /x\n\n", Progress::Succeeded),
            ("HTTP/1.1 399\r\n\r\nbody", Progress::Succeeded),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Progress::Succeeded),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", failed("400")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", failed("503")),
            ("", failed("closed without an answer")),
            ("HTTP/1.1 200 OK\r\nServer: x\r\n", failed(NOT_HTTP)),
            ("220 mail.example ESMTP\r\n", failed(NOT_HTTP)),
            ("\x15\x03\x01\0\x02\x02\x46", failed(NOT_HTTP)),
        ] {
            for piece in [1, 7, 4096] {
                assert_eq!(answered(answer, piece), wanted, "{answer:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_answer_without_an_end_of_its_head_fails() {
        let long = failed("the head of the answer is too long");
        assert_eq!(answered(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000)), 4096), long);
        assert_eq!(answered(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(100)), 4096), long);
        assert_eq!(answered(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), 4096), long);
    }

    #[test]
    fn the_request_is_complete_even_if_it_is_sent_in_parts() {
        let path = format!("/{}?q", "x".repeat(16 << 20));
        let (sender, receiver) = std::sync::mpsc::channel();
        let port = server(move |mut stream| {
            sender.send(request(&mut stream)).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        assert_eq!(probed(&format!("http://localhost:{port}{path}")), Progress::Succeeded);
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: rsup/");
        let sent = receiver.recv().unwrap();
        assert!(sent.starts_with(&head) && sent.ends_with("\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_connection_that_is_reset_fails_without_a_signal() {
        let port = server(|stream| {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        });
        let outcome = probed(&format!("http://127.0.0.1:{port}/"));
        assert!(outcome == failed("connection reset by peer") || outcome == failed("broken pipe"), "{outcome:?}");
    }

    #[test]
    fn an_event_too_many_changes_nothing() {
        let port = server(|mut stream| {
            request(&mut stream);
            let mut byte = [0];
            let _ = stream.read(&mut byte);
        });
        let probe = Probe::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let mut attempt = Attempt::begin(&probe).unwrap().unwrap();
        while attempt.interest() == Interest::Write {
            assert_eq!(attempt.advance(), Progress::Pending);
        }
        for _ in 0..3 {
            assert_eq!(attempt.advance(), Progress::Pending);
        }
    }
}
