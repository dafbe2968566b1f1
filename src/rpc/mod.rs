//! XML-RPC: from the document of a request to the document of its answer.
//!
//! `methods` is the table of methods, one row each; `info` writes the structs that describe processes; `answer` is the text that they
//! write. Answers are written directly as XML text, without a tree of values. A call that has to wait becomes a [`PendingRequest`], which continues with the
//! reply of the core. Long answers also pause, so that other clients get their turn.
#![forbid(unsafe_code)]

mod answer;
mod info;
mod methods;
pub use answer::Answer;
pub use info::description;
pub use methods::SUPERVISOR_VERSION;

use crate::config::model::{LogLevel, ProcessConfig};
use crate::logs::tail::LogPart;
use crate::supervision::{Command, Fault, FaultCode, GroupChanges, ProcId, Reply, Supervision, Ticket};
use crate::sys::{errno, memory};
use crate::time::Now;
use crate::wire::xmlrpc::{self, Append, BadXml, RESPONSE_CLOSE, RESPONSE_OPEN, Value};
use methods::{InvokeResult, Invoked};
use std::io::ErrorKind;
use std::path::PathBuf;
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
    pub fn name(self) -> &'static str {
        match self {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
        }
    }
}

/// What methods need from the daemon.
pub trait Host {
    /// The core, to read from.
    fn supervision(&self) -> &Supervision;
    /// The time of this turn of the loop.
    fn now(&self) -> Now;
    /// `[supervisord] identifier`.
    fn identifier(&self) -> &str;
    /// Passes a command to the core. The reply comes through `Server::reply` with this ticket, possibly in the same turn, but
    /// never before this returns.
    fn submit(&mut self, ticket: Ticket, command: Command);
    /// Cancels the command of this ticket: its client has disconnected.
    fn cancel(&mut self, ticket: Ticket);
    /// Writes a line to the main log.
    fn log_line(&mut self, level: LogLevel, line: &str);
    /// The processes of a program with these options; the error says which option is invalid, and why.
    fn processes(&self, program: &str, group: &str, options: &Pairs) -> Result<Vec<Rc<ProcessConfig>>, String>;
    /// Reads the configuration again and returns the changed groups (`reloadConfig`). The error says what is invalid.
    fn reread(&mut self) -> Result<GroupChanges, String>;
    /// Reads the configuration again and starts a restart (`restart`). If it is invalid, the error says why, and nothing changes.
    fn restart(&mut self) -> Result<(), String>;
    /// The main log, if it can be read.
    fn main_log(&self) -> Option<PathBuf>;
    /// Empties the main log.
    fn clear_main_log(&mut self) -> Result<(), Fault>;
    /// The log of one output of a process, if it can be read.
    fn process_log(&self, id: ProcId, channel: Channel) -> Option<PathBuf>;
    /// Empties both logs of a process.
    fn clear_process_logs(&mut self, id: ProcId) -> Result<(), Fault>;
    /// Queues bytes for a program's stdin.
    fn write_stdin(&mut self, id: ProcId, bytes: &[u8]) -> Result<(), Fault>;
    /// Sends a REMOTE_COMMUNICATION event.
    fn send_remote_event(&mut self, kind: &str, data: &str);
}

/// Largest number of calls of one multicall in one turn of the loop.
const CALLS_A_TURN: usize = 16;
/// When the answer has grown by more than this in one turn, in bytes, it continues in the next turn.
const BYTES_A_TURN: usize = 256 * 1024;
/// The most memory that the values of a request, and the copies that methods make of them, use for each byte of the document.
const PARSED_FACTOR: usize = 16;
/// When the answer of a multicall is longer than this, in bytes, its remaining calls fail.
const ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Keys and values.
pub type Pairs = [(String, String)];

/// The namespaces that are served, besides `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// `supervisor.*`: the configuration has `[rpcinterface:supervisor]`.
    pub supervisor: bool,
    /// `twiddler.*`: the configuration has `[rpcinterface:twiddler]`.
    pub twiddler: bool,
}

/// The state of a request whose answer so far is in `out`.
#[derive(Debug)]
pub enum RequestProgress {
    /// The answer is complete.
    Done,
    /// The core will reply; then call [`PendingRequest::resume`].
    Waiting(PendingRequest),
    /// It has used up its share of this turn; in the next one, call [`PendingRequest::continue_answer`].
    Paused(PendingRequest),
}

/// A string of the answer that is read from a log, piece by piece. The answer ends within this string.
#[derive(Debug)]
struct LogText {
    part: LogPart,
    /// The XML that follows the string's text.
    end: String,
}

/// The unanswered rest of a request.
#[derive(Debug)]
pub struct PendingRequest {
    /// The remaining calls of a multicall; `None`: a single call.
    calls: Option<std::vec::IntoIter<Value>>,
    /// The memory of all calls of a multicall, in bytes.
    calls_bytes: usize,
    namespaces: Namespaces,
    /// The text that is still to be read into the answer.
    log: Option<LogText>,
}

/// Starts to answer the request `document`, in `out`, which must be empty.
pub fn call(
    document: &[u8],
    namespaces: Namespaces,
    host: &mut dyn Host,
    ticket: Ticket,
    out: &mut Answer,
) -> Result<RequestProgress, BadXml> {
    if !memory::has_room(document.len().saturating_mul(PARSED_FACTOR)) {
        out.replace_with(&answer::out_of_memory("request"));
        return Ok(RequestProgress::Done);
    }
    let xmlrpc::MethodCall { method, mut params } = xmlrpc::parse_call(document)?;
    if method == methods::MULTICALL
        && let [Value::Array(calls)] = params.as_mut_slice()
    {
        return Ok(multicall(std::mem::take(calls), namespaces, host, ticket, out));
    }
    out.push_str(RESPONSE_OPEN);
    let mut pending = PendingRequest { calls: None, calls_bytes: 0, namespaces, log: None };
    Ok(match methods::invoke(&method, &params, namespaces, host, ticket, out, &mut pending.log) {
        Ok(Invoked::Answered) => pending.continue_answer(host, ticket, out),
        Ok(Invoked::Waiting) => RequestProgress::Waiting(pending),
        Err(fault) => {
            out.replace_with(&fault);
            RequestProgress::Done
        }
    })
}

/// Starts to answer several calls, each made by [`multicall_entry`], in `out`, which must be empty.
pub fn multicall(
    calls: Vec<Value>,
    namespaces: Namespaces,
    host: &mut dyn Host,
    ticket: Ticket,
    out: &mut Answer,
) -> RequestProgress {
    out.push_str(RESPONSE_OPEN);
    out.push_str("<value><array><data>\n");
    let own_bytes = calls.capacity().saturating_mul(size_of::<Value>());
    let calls_bytes = calls.iter().map(Value::heap_bytes).fold(own_bytes, usize::saturating_add);
    PendingRequest { calls: Some(calls.into_iter()), calls_bytes, namespaces, log: None }
        .continue_answer(host, ticket, out)
}

/// A call in the form that `system.multicall` takes.
pub fn multicall_entry(method: &str, params: Vec<Value>) -> Value {
    let members = [("methodName", method.into()), ("params", Value::Array(params))];
    Value::Struct(members.map(|(name, value)| (name.into(), value)).into())
}

impl PendingRequest {
    /// The memory that it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.calls_bytes
    }

    /// Continues with the core's reply to the call that waited for it.
    pub fn resume(self, reply: Reply, host: &mut dyn Host, ticket: Ticket, out: &mut Answer) -> RequestProgress {
        match (reply, &self.calls) {
            (Reply::Fault(fault), Some(_)) => write_fault_struct(&fault, out),
            (Reply::Fault(fault), None) => {
                out.replace_with(&fault);
                return RequestProgress::Done;
            }
            (Reply::True, _) => out.push_str("<value><boolean>1</boolean></value>\n"),
            (Reply::Statuses(statuses), _) => info::write_statuses(&statuses, out),
        }
        self.continue_answer(host, ticket, out)
    }

    /// Reads the next pieces of a log, and makes the next calls of a multicall.
    // Like Supervisor, and unlike other servers, does not wrap each result of a multicall in an array.
    pub fn continue_answer(self, host: &mut dyn Host, ticket: Ticket, out: &mut Answer) -> RequestProgress {
        let progress = self.write_more(host, ticket, out);
        let Some(fault) = out.failure().cloned() else { return progress };
        if matches!(progress, RequestProgress::Waiting(_)) {
            host.cancel(ticket);
        }
        if !out.replace_with(&fault) {
            host.log_line(
                LogLevel::Error,
                &format!("closed a client: its answer cannot be completed: {}", fault.text()),
            );
        }
        RequestProgress::Done
    }

    fn write_more(mut self, host: &mut dyn Host, ticket: Ticket, out: &mut Answer) -> RequestProgress {
        let pause_at = out.len().saturating_add(BYTES_A_TURN);
        for _ in 0..CALLS_A_TURN {
            if out.failure().is_some() || out.len() > pause_at || !self.read_log(out) {
                break;
            }
            let Some(calls) = self.calls.as_mut() else {
                out.push_str(RESPONSE_CLOSE);
                return RequestProgress::Done;
            };
            let Some(call) = calls.next() else {
                out.push_str("</data></array></value>\n");
                out.push_str(RESPONSE_CLOSE);
                return RequestProgress::Done;
            };
            match self.invoke_one(&call, host, ticket, out) {
                Ok(Invoked::Answered) => {}
                Ok(Invoked::Waiting) => return RequestProgress::Waiting(self),
                Err(fault) => write_fault_struct(&fault, out),
            }
        }
        RequestProgress::Paused(self)
    }

    /// Reads the next piece of a log into the answer; `false`: there is more.
    fn read_log(&mut self, out: &mut Answer) -> bool {
        let Some(log) = &mut self.log else { return true };
        match log.part.next(BYTES_A_TURN as u64, &mut |text| xmlrpc::write_text(text, out)) {
            Ok(true) => return false,
            Ok(false) => out.push_str(&log.end),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => out.fail(answer::out_of_memory("answer")),
            Err(error) => {
                let why = format!("cannot read the log: {}", errno::name(&error));
                out.fail(Fault::new(FaultCode::Failed, why));
            }
        }
        self.log = None;
        true
    }

    fn invoke_one(&mut self, call: &Value, host: &mut dyn Host, ticket: Ticket, out: &mut Answer) -> InvokeResult {
        if out.total() > ANSWER_MAX_BYTES {
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
        methods::invoke(method, params, self.namespaces, host, ticket, out, &mut self.log)
    }
}

/// Appends a fault as one result of a multicall.
fn write_fault_struct(fault: &Fault, out: &mut Answer) {
    let members = [("faultCode", Value::from(fault.code as i32)), ("faultString", fault.text().into())]
        .map(|(k, v)| (k.into(), v));
    xmlrpc::write_value(&Value::Struct(members.into()), out);
}

#[cfg(test)]
pub(crate) mod tests;
