//! Listening sockets and connections: binds, accepts, and moves bytes without waiting.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::{Pid, hosts};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, accept4,
    bind, connect, getpeername, getsockname, getsockopt, listen, recv, send, setsockopt, shutdown, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};

/// How many connections may wait to be accepted: as many as the kernel allows (net.core.somaxconn). nix refuses a number above libc's
/// SOMAXCONN, which is 128 for musl.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;
/// How often a stale socket file is removed. If it still exists then, another process keeps creating it.
const TRIES: u32 = 4;

/// A socket that clients connect to. Dropping it closes it; [`ListeningSocket::unlink`] removes its file.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: OwnedFd,
    /// Path, device and inode of a Unix socket's file.
    file: Option<(PathBuf, u64, u64)>,
    /// Whether a stale socket file, on which no process listened, was removed first.
    pub was_stale: bool,
    /// The port of a TCP socket.
    pub port: Option<u16>,
}

/// Why there is no listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenError {
    /// A system call failed; EADDRINUSE: another process listens there.
    Failed(Errno),
    /// The owner of the socket file could not be changed.
    NotChowned(Errno),
    /// The host is neither an IPv4 address nor a name in /etc/hosts.
    UnknownHost,
}

impl From<io::Error> for ListenError {
    fn from(error: io::Error) -> Self {
        Self::Failed(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl From<Errno> for ListenError {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// The permissions of a Unix socket's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The mode, which the file has from its creation on.
    pub mode: u32,
    /// The user, and the group if it is to change.
    pub owner: Option<(u32, Option<u32>)>,
}

/// Listens on a Unix socket. An existing file at `path` is replaced if no process listens on it.
///
/// The file gets its name when the socket is ready: like Supervisor, it is bound under another name and then linked.
pub fn listen_unix(path: &Path, access: Access) -> Result<ListeningSocket, ListenError> {
    let mut was_stale = false;
    for _ in 0..TRIES {
        match publish(path, access) {
            Ok(socket) => {
                let file = fs::symlink_metadata(path).ok().map(|meta| (path.to_owned(), meta.dev(), meta.ino()));
                return Ok(ListeningSocket { socket, file, was_stale, port: None });
            }
            Err(ListenError::Failed(Errno::EEXIST | Errno::EADDRINUSE)) => {
                if is_answered(path) {
                    break;
                }
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    _ => was_stale = true,
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(ListenError::Failed(Errno::EADDRINUSE))
}

/// Binds the socket to a temporary name beside `path` and links it to `path`. Binds directly to `path` if the temporary name is too long
/// for an address.
fn publish(path: &Path, access: Access) -> Result<OwnedFd, ListenError> {
    let mut beside = OsString::from(path);
    beside.push(format!(".{}", std::process::id()));
    let beside = Path::new(&beside);
    if UnixAddr::new(beside).is_err() {
        return bind_unix(path, access);
    }
    let _ = fs::remove_file(beside); // Left by an earlier process with the same id.
    let bound = bind_unix(beside, access).and_then(|socket| match fs::hard_link(beside, path) {
        Ok(()) => Ok(socket),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error.into()),
        // Some file systems do not support links.
        Err(_) if fs::symlink_metadata(path).is_err() => Ok(fs::rename(beside, path).map(|()| socket)?),
        Err(_) => Err(ListenError::Failed(Errno::EEXIST)),
    });
    let _ = fs::remove_file(beside);
    bound
}

fn bind_unix(path: &Path, Access { mode, owner }: Access) -> Result<OwnedFd, ListenError> {
    let socket = new_unix_socket()?;
    // The file gets the mode of the socket, reduced by the umask (unix_bind in the kernel), so it never has more permissions.
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let made = owner.map_or(Ok(()), |(user, group)| lchown(path, Some(user), group));
    let made = made.map_err(|error| match ListenError::from(error) {
        ListenError::Failed(errno) => ListenError::NotChowned(errno),
        other => other,
    });
    let made = made.and_then(|()| Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?));
    let made = made.and_then(|()| Ok(listen(&socket, BACKLOG)?));
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made.map(|()| socket)
}

fn new_unix_socket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

/// Whether a process listens at `path`. Never waits: a connection to a Unix socket succeeds at once, or its queue is full.
fn is_answered(path: &Path) -> bool {
    match UnixAddr::new(path).and_then(|address| begin_connect(&address)) {
        Ok(_) | Err(Errno::EAGAIN) => true,
        // ECONNREFUSED: no process has the socket open, or the file is not a socket.
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => false,
        Err(_) => fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket()),
    }
}

/// Begins a connection. When the socket is writable, [`is_connected`] has the outcome. A connection to a Unix socket is complete at
/// once; EAGAIN: its queue is full.
pub fn begin_connect(address: &dyn SockaddrLike) -> Result<OwnedFd, Errno> {
    let family = address.family().ok_or(Errno::EAFNOSUPPORT)?;
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    let connected = connect(socket.as_raw_fd(), address);
    if connected == Err(Errno::EINPROGRESS) { Ok(socket) } else { connected.map(|()| socket) }
}

/// Whether a connection that was begun exists now; an error: it failed.
pub fn is_connected(socket: &OwnedFd) -> Result<bool, Errno> {
    let error = Some(getsockopt(socket, sockopt::SocketError)?).filter(|error| *error != 0);
    error.map_or(Ok(()), |error| Err(Errno::from_raw(error)))?;
    let peer: SockaddrStorage = match getpeername(socket.as_raw_fd()) {
        Err(Errno::ENOTCONN) => return Ok(false),
        peer => peer?,
    };
    // Without a listener, the kernel may choose the port itself as the source: TCP then connects the socket to itself. A reset leaves
    // the port free for the listener.
    if getsockname::<SockaddrStorage>(socket.as_raw_fd())? == peer {
        setsockopt(socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        return Err(Errno::ECONNREFUSED);
    }
    Ok(true)
}

/// Creates a blocking Unix socket for programs that inherit it and accept connections themselves. Like Supervisor, replaces any file
/// at `path`.
pub fn share_unix(path: &Path, access: Access, backlog: Option<u32>) -> Result<OwnedFd, ListenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    shared(bind_unix(path, access)?, backlog)
}

/// The same for TCP.
pub fn share_tcp(host: &str, port: u16, backlog: Option<u32>) -> Result<OwnedFd, ListenError> {
    shared(bind_tcp(host, port)?.into(), backlog)
}

fn shared(socket: OwnedFd, backlog: Option<u32>) -> Result<OwnedFd, ListenError> {
    let backlog = backlog.and_then(|backlog| Backlog::new(i32::try_from(backlog).ok()?).ok()).unwrap_or(BACKLOG);
    listen(&socket, backlog)?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_RDWR))?;
    Ok(socket)
}

/// Listens on the first IPv4 address of `host` (empty: on all), with SO_REUSEADDR.
pub fn listen_tcp(host: &str, port: u16) -> Result<ListeningSocket, ListenError> {
    let socket = bind_tcp(host, port)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit this: the last bytes of an answer do not wait until the earlier ones are acknowledged.
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    let port = Some(socket.local_addr()?.port());
    Ok(ListeningSocket { socket: socket.into(), file: None, was_stale: false, port })
}

fn bind_tcp(host: &str, port: u16) -> Result<TcpListener, ListenError> {
    let address =
        if host.is_empty() { Ipv4Addr::UNSPECIFIED } else { ipv4_of(host).ok_or(ListenError::UnknownHost)? };
    Ok(TcpListener::bind((address, port))?)
}

/// The first IPv4 address of a host. Asks no name server: that could take long, and only local addresses can be bound.
fn ipv4_of(host: &str) -> Option<Ipv4Addr> {
    hosts::addresses(host).into_iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

impl ListeningSocket {
    /// Accepts the next connection. EAGAIN: there is none.
    pub fn accept(&self) -> Result<OwnedFd, Errno> {
        let fd = accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        // SAFETY: the kernel has just returned this descriptor; nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, ..)| path.as_path())
    }

    /// Removes the socket's file, unless another file has taken its place.
    pub fn unlink(&self) {
        if let Some((path, device, inode)) = &self.file
            && fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (*device, *inode))
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an error of accept4(2) concerns only the connection that was next, and not the listening socket. For TCP these include the
/// network errors in its man page.
pub fn is_of_one_client(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET
            | Errno::EOPNOTSUPP
    )
}

/// The user of the process at the other end of a Unix socket, at the time when it connected.
pub fn peer_uid(socket: &OwnedFd) -> Result<u32, Errno> {
    Ok(getsockopt(socket, sockopt::PeerCredentials)?.uid())
}

/// Reads the available bytes; 0: the other side has closed its output. EAGAIN: there are none.
pub fn receive(socket: &OwnedFd, into: &mut [u8]) -> Result<usize, Errno> {
    recv(socket.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT)
}

/// Writes as many bytes as there is room for. A closed connection is an error, never a SIGPIPE.
pub fn transmit(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
}

/// Reads a datagram from a Unix socket that has SO_PASSCRED. Returns its length, which is greater than that of `into` if it was cut, and
/// the process that sent it; 0: one outside this PID namespace. Descriptors that come with it are closed. EAGAIN: there is none.
pub fn receive_datagram(socket: &OwnedFd, into: &mut [u8]) -> Result<(usize, Pid), Errno> {
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // Room for the credentials alone, which come first: the kernel then closes the descriptors instead of installing them.
    let mut control = [0_u64; 4];
    // SAFETY: zero is a valid value of each field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    // SAFETY: the header has the addresses and lengths of two buffers that outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
    let length = Errno::result(length)?;
    // SAFETY: the kernel has set the length of the control messages, which are in `control`; a header is aligned as u64 at most.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let first = first.filter(|first| (first.cmsg_level, first.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS));
    // SAFETY: the credentials follow their header, and the buffer has room for all of them.
    let sender = first.map_or(0, |of| unsafe { libc::CMSG_DATA(of).cast::<libc::ucred>().read_unaligned() }.pid);
    Ok((length.try_into().unwrap_or_default(), sender))
}

/// Closes the output; the other side may still send.
pub fn end_output(socket: &OwnedFd) {
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
}

/// Waits until there is room to write, at most `millis` milliseconds.
pub fn wait_for_room(socket: &OwnedFd, millis: u16) {
    let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(millis));
}

/// A descriptor in reserve, which is closed to free a number when no more can be opened. Opening it never blocks.
pub fn spare() -> Option<OwnedFd> {
    open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn access(mode: u32) -> Access {
        Access { mode, owner: None }
    }

    #[test]
    fn a_socket_file_has_its_mode_and_only_its_owner_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for mode in [0o600, 0o700, 0o777] {
            let listener = listen_unix(&path, access(mode)).unwrap();
            assert!(!listener.was_stale);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            assert_eq!(listener.accept().unwrap_err(), Errno::EAGAIN);
            let mut client = UnixStream::connect(&path).unwrap();
            let accepted = listener.accept().unwrap();
            assert_eq!(peer_uid(&accepted).unwrap(), nix::unistd::getuid().as_raw());
            assert_eq!(receive(&accepted, &mut [0; 8]).unwrap_err(), Errno::EAGAIN);
            assert_eq!(transmit(&accepted, b"hi").unwrap(), 2);
            drop(accepted);
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hi");
            listener.unlink();
            assert!(!path.exists());
        }
        let ours = listen_unix(&path, access(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = listen_unix(&path, access(0o600)).unwrap();
        ours.unlink();
        assert!(path.exists());
        theirs.unlink();
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_in_use_is_kept_and_any_other_file_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = listen_unix(&path, access(0o600)).unwrap();
        let in_use = Some(ListenError::Failed(Errno::EADDRINUSE));
        assert_eq!(listen_unix(&path, access(0o600)).err(), in_use);
        drop(first);
        // A child that another test starts may hold the socket until its exec.
        while UnixStream::connect(&path).is_ok() {
            std::thread::yield_now();
        }
        assert!(listen_unix(&path, access(0o600)).unwrap().was_stale);
        fs::remove_file(&path).unwrap();
        // An empty file at the path is replaced too.
        fs::write(&path, "").unwrap();
        assert!(listen_unix(&path, access(0o600)).unwrap().was_stale);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(listen_unix(&path, access(0o600)).unwrap().was_stale);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(listen_unix(&path, access(0o600)).is_err());
        let missing = listen_unix(&dir.path().join("no/s"), access(0o600)).err();
        assert_eq!(missing, Some(ListenError::Failed(Errno::ENOENT)));
    }

    #[test]
    fn a_path_that_is_too_long_for_a_temporary_name_is_bound_directly() {
        let dir = tempfile::tempdir().unwrap();
        let room = 107_usize.checked_sub(dir.path().as_os_str().len() + 1).unwrap();
        let path = dir.path().join("x".repeat(room));
        let listener = listen_unix(&path, access(0o640)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(listen_unix(&path, access(0o640)).err(), Some(ListenError::Failed(Errno::EADDRINUSE)));
        drop(listener);
        assert!(listen_unix(&path, access(0o640)).unwrap().was_stale);
    }

    #[test]
    fn tcp_listens_on_the_given_address() {
        let listener = listen_tcp("127.0.0.1", 0).unwrap();
        let port = listener.port.unwrap();
        assert_eq!(listen_tcp("127.0.0.1", port).err(), Some(ListenError::Failed(Errno::EADDRINUSE)));
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(getsockopt(&listener.accept().unwrap(), sockopt::TcpNoDelay).unwrap());
        for host in ["", "localhost", "LocalHost", "127.1"] {
            assert!(listen_tcp(host, 0).is_ok(), "{host}");
        }
        assert_eq!(listen_tcp("::1", 0).err(), Some(ListenError::UnknownHost));
    }

    #[test]
    fn a_tcp_socket_that_is_connected_to_itself_is_refused() {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(any)).unwrap();
        let own: SockaddrStorage = getsockname(socket.as_raw_fd()).unwrap();
        let _ = connect(socket.as_raw_fd(), &own);
        let outcome = loop {
            match is_connected(&socket) {
                Ok(false) => {}
                outcome => break outcome,
            }
        };
        assert_eq!(outcome, Err(Errno::ECONNREFUSED));
    }
}
