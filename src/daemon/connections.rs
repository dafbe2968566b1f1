//! Listeners and clients. For now nobody can connect: the HTTP server comes with the next commits.

use crate::config::model::{Config, LogLevel};
use crate::rpc::Host;
use crate::supervision::{Reply, Ticket};
use crate::sys::poll::{Poll, Ready};
use crate::time::Now;

/// Every listening socket and connection.
#[derive(Debug, Default)]
pub struct Server {
    url: Option<String>,
}

/// Lines for the log.
type Said = Vec<(LogLevel, String)>;

#[allow(missing_docs)]
impl Server {
    pub fn open(_config: &Config, _poll: &Poll) -> Result<(Self, Said), Vec<String>> {
        Ok((Server::default(), Vec::new()))
    }
    pub fn default_url(&self) -> Option<String> {
        self.url.clone()
    }
    pub fn accept(&mut self, _n: u32, _poll: &Poll, _now: Now) {}
    pub fn serve(&mut self, _n: u32, _ready: Ready, _host: &mut dyn Host, _poll: &Poll) {}
    pub fn reply(&mut self, _ticket: Ticket, _reply: Reply, _host: &mut dyn Host, _poll: &Poll) {}
    pub fn flush_before_exit(&mut self, _poll: &Poll, _now: Now) {}
    pub fn close_all(&mut self, _poll: &Poll) {}
}
