//! Binds the listening sockets of the configuration; errors are in Supervisor's words (supervisor-behaviour.md §7.1).

use super::LogLines;
use crate::config::model::{HttpServerConfig, LogLevel, SocketAddress};
use crate::protocol::DEFAULT_SOCKETS;
use crate::sys::errno;
use crate::sys::sockets::{self, Access, ListenError, ListeningSocket};
use nix::errno::Errno;
use std::path::Path;

/// Binds the socket of one section. The error is in Supervisor's words, followed by the section and the address.
pub(super) fn listen(section: &HttpServerConfig) -> Result<ListeningSocket, String> {
    let (listener, place) = match &section.address {
        SocketAddress::Unix(path) => {
            let owner = section.chown.map(|owner| (owner.uid, owner.gid));
            (sockets::listen_unix(path, Access { mode: section.chmod, owner }), path.display().to_string())
        }
        SocketAddress::Tcp(host, port) => (sockets::listen_tcp(host, *port), format!("{host}:{port}")),
    };
    listener.map_err(|error| {
        let what = match error {
            ListenError::Failed(Errno::EADDRINUSE) => {
                "Another program is already listening on a port that one of our HTTP servers is configured to use.  \
                 Shut this program down first before starting supervisord."
                    .to_owned()
            }
            ListenError::NotChowned(Errno::EPERM) => {
                let (uid, gid) = section.chown.map_or((0, None), |owner| (owner.uid, owner.gid));
                let gid = gid.map_or_else(|| "-1".to_owned(), |gid| gid.to_string());
                format!(
                    "Not permitted to chown {place} to uid/gid ({uid}, {gid}); choose an owner that user {} can give it to",
                    nix::unistd::geteuid()
                )
            }
            error => format!("Cannot open an HTTP server: socket.error reported {}", name_of(error)),
        };
        format!("{what} [{}]: {place}", section.section)
    })
}

/// Binds the first default socket that can be bound. If none can, that is a warning and not an error, since the configuration
/// did not ask for a socket.
pub(super) fn listen_on_default(log_lines: &mut LogLines) -> Option<ListeningSocket> {
    let mut reasons = Vec::new();
    for path in DEFAULT_SOCKETS {
        match sockets::listen_unix(Path::new(path), Access { mode: 0o600, owner: None }) {
            Ok(listener) => return Some(listener),
            Err(error) => reasons.push(format!("{path}: {}", name_of(error))),
        }
    }
    log_lines.push((
        LogLevel::Warn,
        format!("cannot create a control socket, so rsupctl cannot be used: {}", reasons.join(", ")),
    ));
    None
}

fn name_of(error: ListenError) -> String {
    match error {
        ListenError::Failed(errno) | ListenError::NotChowned(errno) => {
            format!("errno.{} ({})", errno::ErrnoName(errno as i32), errno as i32)
        }
        ListenError::UnknownHost => "-2".into(),
    }
}

/// Adds the log lines for a socket that has been bound.
pub(super) fn announce(
    section: &HttpServerConfig,
    listener: &ListeningSocket,
    interfaces: &[(String, String)],
    log_lines: &mut LogLines,
) {
    if listener.was_stale
        && let SocketAddress::Unix(path) = &section.address
    {
        log_lines.push((LogLevel::Info, format!("Unlinking stale socket {}", path.display())));
    }
    log_lines
        .extend(interfaces.iter().map(|(name, _)| (LogLevel::Info, format!("RPC interface '{name}' initialized"))));
    let unguarded = format!("Server '{}' running without any HTTP authentication checking", section.section);
    match &section.address {
        _ if section.credentials.is_some() => {}
        SocketAddress::Tcp(_, port) if section.is_open_to_others() => {
            let line =
                format!("{unguarded}: anyone who can reach port {port} can run arbitrary commands; set a password");
            log_lines.push((LogLevel::Critical, line));
        }
        // Differs from Supervisor: no warning in a container, where the mode of the socket file is protection enough.
        SocketAddress::Unix(_) if std::process::id() == 1 => {}
        _ => log_lines.push((LogLevel::Critical, unguarded)),
    }
}
