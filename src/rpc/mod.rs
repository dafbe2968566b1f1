//! What clients can call: from the text of a request to the text of its answer.
//!
//! `methods` is the table, one row a method; `info` writes the structs that describe processes. Answers are written
//! straight as XML text: no tree of values is made of a thousand processes. A call that waits leaves a [`Pending`], which
//! goes on when the brain has replied; so does `system.multicall`, which also pauses so that it holds nobody up.
#![forbid(unsafe_code)]

mod info;
mod methods;
pub use methods::SUPERVISOR_VERSION;

pub use info::description;

use crate::config::model::{LogLevel, ProcessConfig};
use crate::logs::tail::{LogSource, Part};
use crate::supervision::{Command, Fault, FaultCode, GroupChanges, ProcId, Reply, Supervision, Ticket};
use crate::time::Now;
use crate::wire::xmlrpc::{self, BadXml, RESPONSE_CLOSE, RESPONSE_OPEN, Value};
use std::rc::Rc;

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
    /// Writes a line to the main log.
    fn say(&mut self, level: LogLevel, line: &str);
    /// Makes the processes of a program of these options, or says what is wrong with them.
    fn processes(&self, program: &str, group: &str, options: &Pairs) -> Result<Vec<Rc<ProcessConfig>>, String>;
    /// Reads the configuration again: names added, changed, removed; or why it is bad (`reloadConfig`).
    fn reread(&mut self) -> Result<GroupChanges, String>;
    /// Checks the configuration and begins a restart (`restart`), or says why it is bad and changes nothing.
    fn restart(&mut self) -> Result<(), String>;
    /// The main log's file, if it has one.
    fn main_log(&self) -> Option<LogSource>;
    /// Empties the main log.
    fn clear_main_log(&mut self) -> Result<(), Fault>;
    /// The file that this output goes to; `None`: nothing to read.
    fn process_log(&self, id: ProcId, channel: Channel) -> Option<LogSource>;
    /// Empties both logs of a process.
    fn clear_process_logs(&mut self, id: ProcId) -> Result<(), Fault>;
    /// Queues bytes for a program's stdin.
    fn write_stdin(&mut self, id: ProcId, bytes: &[u8]) -> Result<(), Fault>;
    /// Tells the listeners of REMOTE_COMMUNICATION.
    fn send_remote_event(&mut self, kind: &str, data: &str);
}

/// Calls of one multicall that are made in one turn of the loop, unless their answers are long.
const CALLS_A_TURN: usize = 16;
/// The next call waits for the next turn when those of this one gave more than this, in bytes.
const BYTES_A_TURN: usize = 256 * 1024;
/// A multicall whose answer is longer than this, in bytes, calls no more.
const ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Keys and values.
pub type Pairs = [(String, String)];

/// Which methods exist beside `system.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// `supervisor.*`, as with `[rpcinterface:supervisor]` in the file.
    pub supervisor: bool,
    /// `twiddler.*`, as with `[rpcinterface:twiddler]`.
    pub twiddler: bool,
}

/// How far a request has got; its answer so far is in `out`.
#[derive(Debug)]
pub enum Progress {
    /// The answer is whole.
    Done,
    /// The brain will reply: [`Pending::resume`].
    Waiting(Pending),
    /// It had its share of this turn: [`Pending::go_on`].
    Paused(Pending),
}

/// The rest of a request.
#[derive(Debug)]
pub struct Pending {
    /// What is left of a multicall; `None`: a single call.
    calls: Option<std::vec::IntoIter<Value>>,
    served: Served,
    /// What of a log is still to be read into the answer.
    part: Option<Part>,
}

/// Begins to answer the request `document`, in `out`, which must be empty.
pub fn call(
    document: &[u8],
    served: Served,
    host: &mut dyn Host,
    ticket: Ticket,
    out: &mut String,
) -> Result<Progress, BadXml> {
    let xmlrpc::Call { method, mut params } = xmlrpc::parse_call(document)?;
    if method == methods::MULTICALL
        && let [Value::Array(calls)] = params.as_mut_slice()
    {
        return Ok(multicall(std::mem::take(calls), served, host, ticket, out));
    }
    out.push_str(RESPONSE_OPEN);
    let mut pending = Pending { calls: None, served, part: None };
    Ok(match methods::invoke(&method, &params, served, host, ticket, out, &mut pending.part) {
        Ok(true) => pending.go_on(host, ticket, out),
        Ok(false) => Progress::Waiting(pending),
        Err(fault) => {
            write_fault(&fault, out);
            Progress::Done
        }
    })
}

/// Begins to answer several calls, each as [`described_call`] makes it, in `out`, which must be empty.
pub fn multicall(calls: Vec<Value>, served: Served, host: &mut dyn Host, ticket: Ticket, out: &mut String) -> Progress {
    out.push_str(RESPONSE_OPEN);
    out.push_str("<value><array><data>\n");
    Pending { calls: Some(calls.into_iter()), served, part: None }.go_on(host, ticket, out)
}

/// A call as `system.multicall` takes it.
#[must_use]
pub fn described_call(method: &str, params: Vec<Value>) -> Value {
    let members = [("methodName", method.into()), ("params", Value::Array(params))];
    Value::Struct(members.map(|(name, value)| (name.into(), value)).into())
}

impl Pending {
    /// Takes the brain's reply to the call that was waited for.
    pub fn resume(self, reply: Reply, host: &mut dyn Host, ticket: Ticket, out: &mut String) -> Progress {
        match (reply, &self.calls) {
            (Reply::Fault(fault), Some(_)) => write_fault_struct(&fault, out),
            (Reply::Fault(fault), None) => write_fault(&fault, out),
            (Reply::True, _) => out.push_str("<value><boolean>1</boolean></value>\n"),
            (Reply::Statuses(statuses), _) => info::write_statuses(&statuses, out),
        }
        if self.calls.is_some() {
            return self.go_on(host, ticket, out);
        }
        if !out.ends_with("</methodResponse>\n") {
            out.push_str(RESPONSE_CLOSE);
        }
        Progress::Done
    }

    /// Reads on in a log, makes the next calls of a multicall, one after the other.
    // Differs from the convention for multicall, as Supervisor does: results are not boxed in arrays of one.
    pub fn go_on(mut self, host: &mut dyn Host, ticket: Ticket, out: &mut String) -> Progress {
        let enough = out.len().saturating_add(BYTES_A_TURN);
        for _ in 0..CALLS_A_TURN {
            if out.len() > enough || !self.read_on(out) {
                break;
            }
            let Some(calls) = self.calls.as_mut() else {
                out.push_str(RESPONSE_CLOSE);
                return Progress::Done;
            };
            let Some(call) = calls.next() else {
                out.push_str("</data></array></value>\n");
                out.push_str(RESPONSE_CLOSE);
                return Progress::Done;
            };
            match self.invoke_one(&call, host, ticket, out) {
                Ok(true) => {}
                Ok(false) => return Progress::Waiting(self),
                Err(fault) => write_fault_struct(&fault, out),
            }
        }
        Progress::Paused(self)
    }

    /// The next piece of a log; `false`: there is more.
    fn read_on(&mut self, out: &mut String) -> bool {
        let Some(part) = &mut self.part else { return true };
        // What cannot be read ends the log.
        let piece = part.next(BYTES_A_TURN as u64).unwrap_or_default();
        xmlrpc::write_text(&piece, out);
        if piece.is_empty() {
            self.part = None;
            out.push_str("</string></value>\n");
        }
        piece.is_empty()
    }

    fn invoke_one(
        &mut self,
        call: &Value,
        host: &mut dyn Host,
        ticket: Ticket,
        out: &mut String,
    ) -> Result<bool, Fault> {
        if out.len() > ANSWER_MAX_BYTES {
            return Err(Fault::new(FaultCode::Failed, "the answer is too long"));
        }
        let incorrect = |why: &str| Fault::new(FaultCode::IncorrectParameters, why);
        let method = call.member("methodName").ok_or_else(|| incorrect("No methodName"))?;
        let method = method.as_str().ok_or_else(|| incorrect("methodName must be a string"))?;
        let params = match call.member("params") {
            None => &[],
            Some(params) => params.as_array().ok_or_else(|| incorrect(""))?,
        };
        if method == methods::MULTICALL {
            return Err(incorrect("Recursive system.multicall forbidden"));
        }
        methods::invoke(method, params, self.served, host, ticket, out, &mut self.part)
    }
}

/// The answer becomes a fault.
fn write_fault(fault: &Fault, out: &mut String) {
    *out = xmlrpc::write_fault(&xmlrpc::Fault { code: i64::from(fault.code as i32), text: fault.text() });
}

fn write_fault_struct(fault: &Fault, out: &mut String) {
    let members = [("faultCode", Value::from(fault.code as i32)), ("faultString", fault.text().into())]
        .map(|(k, v)| (k.into(), v));
    xmlrpc::write_value(&Value::Struct(members.into()), out);
}

#[cfg(test)]
pub(crate) mod tests;
