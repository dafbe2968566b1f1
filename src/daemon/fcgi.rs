//! The sockets of `[fcgi-program:x]`: one a group, there as long as one of its processes lives (census §10).

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
    /// Makes the socket of a group that is to have one and has none; what to log.
    ///
    /// # Errors
    /// It cannot be made: why, for the log and for clients.
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
        let said = format!("Creating socket {url}");
        self.0.insert(group.name.clone(), (Rc::new(socket), url));
        Ok(Some(said))
    }

    /// The socket of a group, for one of its processes; to be kept until that has ended.
    pub fn of(&self, group: &GroupConfig) -> Option<Rc<OwnedFd>> {
        self.0.get(&group.name).map(|(socket, _)| Rc::clone(socket))
    }

    /// Closes what no process has any more; what to log. The file of a Unix socket stays, as under Supervisor.
    pub fn close_unused(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        self.0.retain(|_, (socket, url)| {
            let used = Rc::strong_count(socket) > 1;
            said.extend((!used).then(|| format!("Closing socket {url}")));
            used
        });
        said
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
