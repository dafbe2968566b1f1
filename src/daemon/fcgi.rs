//! The sockets of `[fcgi-program:x]`: one for each group, open as long as a process of the group lives (supervisor-behaviour.md §10).

use crate::config::model::{FastCgiConfig, GroupConfig, GroupKind, SocketAddress};
use crate::sys::errno;
use crate::sys::sockets::{self, Access, ListenError};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Every open socket, by group.
#[derive(Debug, Default)]
pub struct FastCgiSockets(BTreeMap<String, (Rc<OwnedFd>, String)>);

impl FastCgiSockets {
    /// Opens the socket of a FastCGI group if it is not open. Returns the line to log.
    ///
    /// # Errors
    /// The socket cannot be made. The text is for the log and for clients.
    pub fn open(&mut self, group: &GroupConfig) -> Result<Option<String>, String> {
        let GroupKind::FastCgi(config) = &group.kind else { return Ok(None) };
        if self.0.contains_key(&group.name) {
            return Ok(None);
        }
        let url = match &config.socket {
            SocketAddress::Unix(path) => format!("unix://{}", path.display()),
            SocketAddress::Tcp(host, port) => format!("tcp://{host}:{port}"),
        };
        let socket = listen(config).map_err(|error| {
            let why = match error {
                ListenError::Failed(errno) | ListenError::NotChowned(errno) => {
                    errno::ErrnoName(errno as i32).to_string()
                }
                ListenError::UnknownHost => "unknown host".into(),
            };
            format!("Could not create FastCGI socket {url}: {why}")
        })?;
        let line = format!("Creating socket {url}");
        self.0.insert(group.name.clone(), (Rc::new(socket), url));
        Ok(Some(line))
    }

    /// The socket of a group, for one of its processes to keep until it has ended.
    pub fn of(&self, group: &GroupConfig) -> Option<Rc<OwnedFd>> {
        self.0.get(&group.name).map(|(socket, _)| Rc::clone(socket))
    }

    /// Closes the sockets that no process has. Returns the lines to log. The file of a Unix socket stays, as under Supervisor.
    pub fn close_unused(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|_, (socket, url)| {
            let used = Rc::strong_count(socket) > 1;
            if !used {
                lines.push(format!("Closing socket {url}"));
            }
            used
        });
        lines
    }
}

fn listen(config: &FastCgiConfig) -> Result<OwnedFd, ListenError> {
    match &config.socket {
        SocketAddress::Unix(path) => {
            let owner = config.owner.map(|owner| (owner.uid, owner.gid));
            sockets::share_unix(path, Access { mode: config.mode, owner }, config.backlog)
        }
        SocketAddress::Tcp(host, port) => sockets::share_tcp(host, *port, config.backlog),
    }
}
