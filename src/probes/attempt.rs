//! One try of a probe without waiting: TCP and Unix sockets, HTTP, and whether a file exists.

use crate::config::model::Probe;
use crate::config::probe::authority;
use crate::sys::poll::Interest;
use crate::sys::{hosts, sockets};
use crate::wire::http;
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, UnixAddr};
use nix::sys::stat::stat;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};

/// How much of the answer to an HTTP probe is read, in bytes.
const ANSWER_MAX_BYTES: usize = 8 * 1024;

/// A try that needs a TCP connection.
#[derive(Debug)]
pub struct Attempt {
    /// What to poll. Dropping the attempt closes it.
    pub socket: OwnedFd,
    /// What to poll it for: to write until the connection exists and the request is sent, then to read.
    pub interest: Interest,
    /// The addresses that are tried if the current one fails.
    others: std::vec::IntoIter<SocketAddr>,
    /// The part of the HTTP request that is not sent yet; empty for TCP.
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Why a try has not succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// `connection refused`, `503`.
    pub why: String,
    /// rsup lacks descriptors, memory or processes for the try, which says nothing about the program.
    pub is_own: bool,
}

impl<T: Into<String>> From<T> for ProbeFailure {
    fn from(why: T) -> Self {
        Self { why: why.into(), is_own: false }
    }
}

impl Attempt {
    /// Begins a try. `None`: it has succeeded already.
    ///
    /// # Errors
    /// Why the probe has failed already. A command always fails: its caller starts it.
    pub fn begin(probe: &Probe) -> Result<Option<Self>, ProbeFailure> {
        let (host, port, request) = match probe {
            Probe::Tcp(host, port) => (host, *port, Vec::new()),
            Probe::Http(host, port, path) => {
                (host, *port, http::request("GET", path, &authority(host, *port, 80), "Connection: close\r\n", ""))
            }
            Probe::Unix(path) => {
                let connected = UnixAddr::new(&**path).and_then(|address| sockets::begin_connect(&address));
                return connected.map(|_| None).map_err(failure);
            }
            Probe::File(path) => return stat(&**path).map(|_| None).map_err(failure),
            Probe::Exec(_) => return Err("a command has no socket".into()),
        };
        let addresses: Vec<_> = hosts::addresses(host).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let mut others = addresses.into_iter();
        let socket =
            connect_next(&mut others, format!("{host} is neither an address nor a name in /etc/hosts").into())?;
        Ok(Some(Self { socket, interest: Interest::Write, others, request, answer: Vec::new() }))
    }

    /// Goes on as far as possible without waiting. Remove the socket from the poll first: the next address of a host gets a new one.
    ///
    /// # Errors
    /// Why the probe has failed.
    pub fn advance(&mut self) -> Poll<Result<(), ProbeFailure>> {
        if self.interest == Interest::Write {
            match sockets::is_connected(&self.socket) {
                Ok(true) if self.request.is_empty() => return Poll::Ready(Ok(())),
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(errno) => {
                    self.socket = connect_next(&mut self.others, failure(errno))?;
                    return Poll::Pending;
                }
            }
            let sent = ready!(moved(sockets::transmit(&self.socket, &self.request)))?;
            self.request.drain(..sent.min(self.request.len()));
            self.interest = if self.request.is_empty() { Interest::Read } else { Interest::Write };
        }
        let mut bytes = [0; 2048];
        let received = ready!(moved(sockets::receive(&self.socket, &mut bytes)))?;
        self.answer.extend_from_slice(bytes.get(..received).unwrap_or_default());
        Poll::Ready(match http::reply_status(&self.answer) {
            Ok(Some(200..400)) => Ok(()),
            Ok(Some(status)) => Err(status.to_string().into()),
            Ok(None) if received > 0 && self.answer.len() < ANSWER_MAX_BYTES => return Poll::Pending,
            Ok(None) if received > 0 => Err("the head of the answer is too long".into()),
            Ok(None) | Err(_) => Err("not an HTTP answer".into()),
        })
    }
}

/// Begins a connection to the first address that allows it; `reason`: why there is none before them.
fn connect_next(
    addresses: &mut impl Iterator<Item = SocketAddr>,
    mut reason: ProbeFailure,
) -> Result<OwnedFd, ProbeFailure> {
    for address in addresses {
        match sockets::begin_connect(&SockaddrStorage::from(address)) {
            Ok(socket) => return Ok(socket),
            Err(errno) => reason = failure(errno),
        }
    }
    Err(reason)
}

fn moved(result: Result<usize, Errno>) -> Poll<Result<usize, ProbeFailure>> {
    let must_wait = matches!(result, Err(Errno::EAGAIN | Errno::EINTR));
    if must_wait { Poll::Pending } else { Poll::Ready(result.map_err(failure)) }
}

/// The reason of a failed probe: the error in nix's words, in lower case.
fn failure(errno: Errno) -> ProbeFailure {
    let words = if errno == Errno::EAGAIN { "its queue of connections is full" } else { errno.desc() };
    let is_own = matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM);
    ProbeFailure { why: words.to_lowercase(), is_own }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixListener;

    /// Serves the attempt as the daemon does, until it is finished. Panics after ten seconds without an event.
    fn finish(mut attempt: Attempt) -> Result<(), String> {
        loop {
            let wanted = match attempt.interest {
                Interest::Read => PollFlags::POLLIN,
                _ => PollFlags::POLLOUT,
            };
            let mut polled = [PollFd::new(attempt.socket.as_fd(), wanted)];
            assert_eq!(poll(&mut polled, PollTimeout::from(10_000_u16)), Ok(1), "no event for {attempt:?}");
            if let Poll::Ready(outcome) = attempt.advance() {
                return outcome.map_err(|failure| failure.why);
            }
        }
    }

    fn probed(text: &str) -> Result<(), String> {
        Attempt::begin(&Probe::parse(text).unwrap()).map_err(|failure| failure.why)?.map_or(Ok(()), finish)
    }

    fn failed(reason: &str) -> Result<(), String> {
        Err(reason.into())
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
    fn answered(answer: &str, piece: usize) -> Result<(), String> {
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
            assert_eq!(probed(&format!("tcp:{host}{port}")), Ok(()), "{host}");
        }
        drop(listener);
        // A child that another test starts may hold the listener until its exec.
        while probed(&format!("tcp:{port}")) == Ok(()) {}
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
        let over = |addresses: Vec<SocketAddr>| {
            let mut others = addresses.into_iter();
            let socket = connect_next(&mut others, ProbeFailure::from("")).unwrap();
            finish(Attempt { socket, interest: Interest::Write, others, request: Vec::new(), answer: Vec::new() })
        };
        assert_eq!(over(addresses), Ok(()));
        assert_eq!(over(vec![closed("127.0.0.2"), closed("127.0.0.3")]), failed("connection refused"));
    }

    #[test]
    fn a_unix_socket_accepts_or_has_a_full_queue_or_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let probe = format!("unix:{}", path.display());
        assert_eq!(probed(&probe), failed("no such file or directory"));
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        assert_eq!(probed(&probe), Ok(()));
        let mut held = Vec::new();
        while let Ok(socket) = sockets::begin_connect(&UnixAddr::new(&path).unwrap()) {
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
        assert_eq!(probed(&format!("file:{}", dir.path().display())), Ok(()));
        assert_eq!(probed(&format!("file:{}/x", dir.path().display())), failed("no such file or directory"));
        assert_eq!(probed("exec:true"), failed("a command has no socket"));
    }

    #[test]
    fn the_status_decides_however_the_answer_is_cut() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Ok(())),
            ("HTTP/1.0 302 Found\nLocation: /x\n\n", Ok(())),
            ("HTTP/1.1 399\r\n\r\nbody", Ok(())),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", failed("400")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", failed("503")),
            ("", failed("not an HTTP answer")),
            ("HTTP/1.1 200 OK\r\nServer: x\r\n", failed("not an HTTP answer")),
            ("220 mail.example ESMTP\r\n", failed("not an HTTP answer")),
            ("\x15\x03\x01\0\x02\x02\x46", failed("not an HTTP answer")),
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
        assert_eq!(probed(&format!("http://localhost:{port}{path}")), Ok(()));
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
        while attempt.interest == Interest::Write {
            assert_eq!(attempt.advance(), Poll::Pending);
        }
        for _ in 0..3 {
            assert_eq!(attempt.advance(), Poll::Pending);
        }
    }
}
