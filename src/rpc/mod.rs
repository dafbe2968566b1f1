//! What clients can call: the table of XML-RPC methods, and what its methods may ask of the daemon.
#![forbid(unsafe_code)]

use crate::supervision::{Command, Fault, ProcId, Supervision, Ticket};
use crate::time::Now;
use std::path::PathBuf;

/// One of a program's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Channel {
    /// `stdout` or `stderr`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
        }
    }
}

/// What a method may ask of the daemon.
pub trait Host {
    /// The brain, to read from.
    fn supervision(&self) -> &Supervision;
    /// The time of this turn of the loop.
    fn now(&self) -> Now;
    /// `[supervisord] identifier`.
    fn identifier(&self) -> &str;
    /// Hands a command to the brain; the answer comes later, by `Server::reply(ticket, reply)`, possibly within the same
    /// turn, never before this returns.
    fn submit(&mut self, ticket: Ticket, command: Command);
    /// The client of this ticket has gone: nobody waits for the answer any more.
    fn forget(&mut self, ticket: Ticket);
    /// Reads the configuration anew: names added, changed, removed; or why it is bad (`reloadConfig`).
    fn reread(&mut self) -> Result<[Vec<String>; 3], String>;
    /// Checks the configuration and begins a restart (`restart`), or says why it is bad and changes nothing.
    fn restart(&mut self) -> Result<(), String>;
    /// The main log's file, if it has one.
    fn main_log(&self) -> Option<PathBuf>;
    /// Empties the main log.
    fn clear_main_log(&mut self) -> Result<(), Fault>;
    /// The file that this output goes to; `None`: nothing to read.
    fn process_log(&self, id: ProcId, channel: Channel) -> Option<PathBuf>;
    /// Empties both logs of a process.
    fn clear_process_logs(&mut self, id: ProcId) -> Result<(), Fault>;
    /// Queues bytes for a program's stdin.
    fn write_stdin(&mut self, id: ProcId, bytes: &[u8]) -> Result<(), Fault>;
}
