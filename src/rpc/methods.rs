//! The table of methods: one row each with names, parameters, help and implementation (supervisor-behaviour.md §7.5).
#![forbid(unsafe_code)]

use super::info;
use super::{Answer, Channel, Host, LogText, Namespaces};
use crate::config::model::LogLevel;
use crate::config::values;
use crate::logs::tail::{self, ReadError};
use crate::protocol::API_VERSION;
use crate::supervision::process::State;
use crate::supervision::{Command, Fault, FaultCode, ProcId, Process, SupervisorState, Target, Ticket, split_namespec};
use crate::wire::xmlrpc::{Append, Value, write_text, write_value};
use std::path::PathBuf;

/// The method that calls others.
pub(super) const MULTICALL: &str = "system.multicall";
/// The only method of the supervisor namespace that is served while the supervisor is stopping.
const ALWAYS_SERVED: &str = "supervisor.sendRemoteCommEvent";
/// The version of Supervisor that rsup is compatible with.
pub const SUPERVISOR_VERSION: &str = "4.3.0";

/// The XML after the text of a string.
const STRING_END: &str = "</string></value>\n";

/// One method.
struct RpcMethod {
    /// Its name, followed by its aliases.
    names: &'static [&'static str],
    params: &'static [Param],
    returns: ParamType,
    help: &'static str,
    run: fn(&mut Invocation<'_>) -> InvokeResult,
}

/// A parameter. Only `wait` and `level` are optional.
struct Param {
    kind: ParamType,
    name: &'static str,
    help: &'static str,
}

/// The types of parameters and results.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ParamType {
    Text,
    Int,
    Bool,
    Struct,
    Array,
    /// For twiddler: name or number of a log level.
    Level,
}

/// What a method that succeeded has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invoked {
    /// Written its result.
    Answered,
    /// Passed a command to the core, whose reply is the result.
    Waiting,
}

pub(super) type InvokeResult = Result<Invoked, Fault>;

/// One call of a method.
struct Invocation<'a> {
    params: &'a [Value],
    method: &'static RpcMethod,
    namespaces: Namespaces,
    host: &'a mut dyn Host,
    ticket: Ticket,
    out: &'a mut Answer,
    /// Set by a method that reads a log: the text that must follow.
    log: &'a mut Option<LogText>,
}

const fn param(kind: ParamType, name: &'static str, help: &'static str) -> Param {
    Param { kind, name, help }
}

const NAME: Param = param(ParamType::Text, "name", "process name, or 'group:name'");
const NAMES: Param = param(ParamType::Text, "name", "process name, 'group:name', or 'group:*' for a whole group");
const GROUP: Param = param(ParamType::Text, "name", "group name");
const METHOD: Param = param(ParamType::Text, "name", "method name");
const WAIT: Param =
    param(ParamType::Bool, "wait", "if true (the default), the call returns when the process has started or stopped");
const SIGNAL: Param = param(ParamType::Text, "signal", "signal name (HUP, SIGHUP) or number");
const OFFSET: Param = param(
    ParamType::Int,
    "offset",
    "first byte to read; if negative, length must be 0, and that many bytes at the end are read",
);
const LENGTH: Param = param(ParamType::Int, "length", "number of bytes to read; 0 for all up to the end");
const END: Param = param(ParamType::Int, "offset", "offset that the previous call returned, or 0");
const MOST: Param = param(ParamType::Int, "length", "maximum number of bytes to return");
const CHARS: Param = param(ParamType::Text, "chars", "text to write, encoded as UTF-8");
const KIND: Param = param(ParamType::Text, "type", "type of the event, which listeners receive in its header line");
const DATA: Param = param(ParamType::Text, "data", "data of the event");
const PROGRAM: Param = param(ParamType::Text, "program", "name of the new program");
const OPTIONS: Param = param(ParamType::Struct, "options", "options as in a [program:x] section");
const MESSAGE: Param = param(ParamType::Text, "message", "text to log");
const LEVEL: Param = param(ParamType::Level, "level", "name (WARN) or number (30) of a log level; INFO by default");
const LIVE: Param = param(
    ParamType::Bool,
    "live",
    "if true, only essential programs count that are FATAL or unhealthy; else all that should run",
);
const CALLS: Param = param(ParamType::Array, "calls", "array of structs with methodName and params");

macro_rules! row {
    ($names:expr, [$($param:expr),*] -> $returns:ident, $help:expr, $run:expr) => {
        RpcMethod { names: &$names, params: &[$($param),*], returns: ParamType::$returns, help: $help, run: $run }
    };
}

/// The help of a method for several processes.
macro_rules! each {
    ($what:literal) => {
        concat!(
            $what,
            "\n\nReturns an array with a struct for each process: name, group, status (80 for success, or a fault code), description."
        )
    };
}

#[rustfmt::skip]
static TABLE: &[RpcMethod] = &[
    // ---- the supervisor
    row!(["supervisor.getAPIVersion", "supervisor.getVersion"], [] -> Text, "Returns the version of this API.",
        |call| call.text(API_VERSION)),
    row!(["supervisor.getSupervisorVersion"], [] -> Text, "Returns the version of Supervisor that this server is compatible with.",
        |call| call.text(SUPERVISOR_VERSION)),
    row!(["supervisor.getIdentification"], [] -> Text, "Returns the identifier from the configuration.",
        |call| { let identifier = call.host.identifier().to_owned(); call.text(&identifier) }),
    row!(["supervisor.getState"], [] -> Struct, "Returns the state of the supervisor: statecode and statename.", get_state),
    row!(["supervisor.getPID"], [] -> Int, "Returns the process ID of the supervisor.",
        |call| call.value(&Value::Int(std::process::id().into()))),
    row!(["supervisor.readLog", "supervisor.readMainLog"], [OFFSET, LENGTH] -> Text, "Reads from the main log.",
        |call| { let log = call.host.main_log(); call.read_log(log, 0) }),
    row!(["supervisor.clearLog"], [] -> Bool, "Clears the main log.",
        |call| { call.host.clear_main_log()?; call.value(&Value::Bool(true)) }),
    row!(["supervisor.shutdown"], [] -> Bool, "Stops all processes in order of priority, and then the supervisor.",
        |call| call.submit(Command::Shutdown)),
    row!(["supervisor.restart"], [] -> Bool, "Stops all processes in order of priority, reads the configuration again, and starts.",
        restart),
    row!(["supervisor.reloadConfig"], [] -> Array,
        "Reads the configuration again and returns which groups have changed. Does not start or stop any process.\n\n\
         Returns [[added, changed, removed]]: three arrays of group names.", reload_config),
    row!(["supervisor.addProcessGroup"], [GROUP] -> Bool, "Adds a group of the configuration to the active groups.",
        |call| { let name = call.arg_text(0)?.to_owned(); call.submit(Command::AddGroup(name)) }),
    row!(["supervisor.removeProcessGroup"], [GROUP] -> Bool, "Removes a group from the active groups. All its processes must be stopped.",
        |call| { let name = call.arg_text(0)?.to_owned(); call.submit(Command::RemoveGroup(name)) }),
    // ---- processes
    row!(["supervisor.startProcess"], [NAMES, WAIT] -> Bool, "Starts a process.",
        |call| { let target = Target::Name(call.arg_text(0)?.into()); call.start(target, 1) }),
    row!(["supervisor.startProcessGroup"], [GROUP, WAIT] -> Array, each!("Starts the processes of a group."),
        |call| { let target = Target::Group(call.arg_text(0)?.into()); call.start(target, 1) }),
    row!(["supervisor.startAllProcesses"], [WAIT] -> Array, each!("Starts all processes."),
        |call| call.start(Target::All, 0)),
    row!(["supervisor.stopProcess"], [NAMES, WAIT] -> Bool, "Stops a process.",
        |call| { let target = Target::Name(call.arg_text(0)?.into()); call.stop(target, 1) }),
    row!(["supervisor.stopProcessGroup"], [GROUP, WAIT] -> Array, each!("Stops the processes of a group."),
        |call| { let target = Target::Group(call.arg_text(0)?.into()); call.stop(target, 1) }),
    row!(["supervisor.stopAllProcesses"], [WAIT] -> Array, each!("Stops all processes."),
        |call| call.stop(Target::All, 0)),
    row!(["supervisor.signalProcess"], [NAMES, SIGNAL] -> Bool, "Sends a signal to a process.",
        |call| { let target = Target::Name(call.arg_text(0)?.into()); call.signal(target, 1) }),
    row!(["supervisor.signalProcessGroup"], [GROUP, SIGNAL] -> Array, each!("Sends a signal to the processes of a group."),
        |call| { let target = Target::Group(call.arg_text(0)?.into()); call.signal(target, 1) }),
    row!(["supervisor.signalAllProcesses"], [SIGNAL] -> Array, each!("Sends a signal to all processes."),
        |call| call.signal(Target::All, 0)),
    row!(["supervisor.getProcessInfo"], [NAME] -> Struct, "Returns state, pid, times and log files of a process.", |call| {
        let id = call.process(0)?;
        info::write_process(call.host, id, call.out);
        Ok(Invoked::Answered)
    }),
    row!(["supervisor.getAllProcessInfo"], [] -> Array, "Returns the same as getProcessInfo for every process, as an array.",
        |call| { info::write_all_processes(call.host, call.out); Ok(Invoked::Answered) }),
    row!(["supervisor.getAllConfigInfo"], [] -> Array, "Returns the options of every process of the configuration, in active groups or not.",
        |call| { info::write_all_configs(call.host, call.out); Ok(Invoked::Answered) }),
    row!(["supervisor.sendProcessStdin"], [NAME, CHARS] -> Bool, "Writes to the stdin of a process.", send_stdin),
    row!([ALWAYS_SERVED], [KIND, DATA] -> Bool, "Sends a REMOTE_COMMUNICATION event to the listeners that subscribe to it.",
        send_remote_event),
    // ---- their logs
    row!(["supervisor.readProcessStdoutLog", "supervisor.readProcessLog"], [NAME, OFFSET, LENGTH] -> Text,
        "Reads from the stdout log of a process.", |call| call.read_process_log(Channel::Stdout)),
    row!(["supervisor.readProcessStderrLog"], [NAME, OFFSET, LENGTH] -> Text,
        "Reads from the stderr log of a process.", |call| call.read_process_log(Channel::Stderr)),
    row!(["supervisor.tailProcessStdoutLog", "supervisor.tailProcessLog"], [NAME, END, MOST] -> Array,
        "Reads the end of the stdout log of a process.\n\nReturns [text, offset for the next call, whether text was left out].",
        |call| call.tail_process_log(Channel::Stdout)),
    row!(["supervisor.tailProcessStderrLog"], [NAME, END, MOST] -> Array,
        "Reads the end of the stderr log of a process.\n\nReturns [text, offset for the next call, whether text was left out].",
        |call| call.tail_process_log(Channel::Stderr)),
    row!(["supervisor.clearProcessLogs", "supervisor.clearProcessLog"], [NAME] -> Bool, "Clears the stdout and stderr logs of a process.",
        |call| { let id = call.process(0)?; call.host.clear_process_logs(id)?; call.value(&Value::Bool(true)) }),
    row!(["supervisor.clearAllProcessLogs"], [] -> Array, each!("Clears the logs of all processes."), clear_all_logs),
    // ---- the methods of supervisor_twiddler 1.0
    row!(["twiddler.getAPIVersion"], [] -> Int, "Returns the version of twiddler's API.", |call| call.text("1.0")),
    row!(["twiddler.getGroupNames"], [] -> Array, "Returns the names of the active groups.", |call| {
        let names = call.host.supervision().group_names();
        let names = Value::Array(names.into_iter().map(Value::from).collect());
        call.value(&names)
    }),
    row!(["twiddler.log"], [MESSAGE, LEVEL] -> Bool, "Writes a message to the main log.", log),
    row!(["twiddler.addProgramToGroup"], [GROUP, PROGRAM, OPTIONS] -> Bool, "Adds the processes of a new program to a group.",
        add_program),
    row!(["twiddler.removeProcessFromGroup"], [GROUP, NAME] -> Bool, "Removes a stopped process from its group.",
        |call| { let names = [call.arg_text(0)?.to_owned(), call.arg_text(1)?.to_owned()];
            let [group, name] = names; call.submit(Command::RemoveProcess(group, name)) }),
    // ---- what Supervisor does not have
    row!(["rsup.getHealth"], [LIVE] -> Array, "Returns a struct with name, group and problem for each process that is not healthy.",
        |call| { let health = info::health(call.host, call.arg_truth(0)); call.value(&health) }),
    row!(["rsup.reloadProcess"], [NAME] -> Bool, "Sends a running process its reload_signal, or runs its reload_command and waits for its end.", reload_process),
    // ---- the API itself
    row!(["system.listMethods"], [] -> Array, "Returns the names of all methods.", list_methods),
    row!(["system.methodHelp"], [METHOD] -> Text, "Returns the description of a method.",
        |call| { let help = call.described()?.documentation(); call.text(&help) }),
    row!(["system.methodSignature"], [METHOD] -> Array, "Returns the type of a method's result, followed by the types of its parameters.", |call| {
        let method = call.described()?;
        let params = method.params.iter().map(|param| param.kind);
        let types = std::iter::once(method.returns).chain(params);
        call.value(&Value::Array(types.map(|param_type| param_type.name().into()).collect()))
    }),
    row!([MULTICALL], [CALLS] -> Array,
        "Makes several calls, one after the other.\n\n\
         Returns an array with the result of each call, or a struct with faultCode and faultString.",
        |_| Err(Fault::new(FaultCode::IncorrectParameters, "calls must be an array"))),
];

/// Calls a method and appends its result to `out`, unless it waits for the core. A fault leaves `out` unchanged.
/// If the method sets `log`, `out` ends within a string, which the caller must complete with that text.
pub(super) fn invoke(
    name: &str,
    params: &[Value],
    namespaces: Namespaces,
    host: &mut dyn Host,
    ticket: Ticket,
    out: &mut Answer,
    log: &mut Option<LogText>,
) -> InvokeResult {
    let method = find(name, namespaces).ok_or_else(|| Fault::new(FaultCode::UnknownMethod, ""))?;
    let needed = method.params.len().saturating_sub(usize::from(method.params.last().is_some_and(Param::is_optional)));
    if params.len() < needed || params.len() > method.params.len() {
        return Err(Fault::new(FaultCode::IncorrectParameters, ""));
    }
    let state = host.supervision().state();
    let is_served = match namespace(name) {
        "supervisor" => name == ALWAYS_SERVED || state == SupervisorState::Running,
        "twiddler" => state != SupervisorState::ShuttingDown,
        _ => true,
    };
    if !is_served {
        return Err(Fault::new(FaultCode::ShutdownState, ""));
    }
    if namespace(name) == "twiddler"
        && let Some(listed) = host.supervision().twiddler().filter(|listed| !listed.is_empty())
        && let Some((_, short)) = name.split_once('.').filter(|(_, short)| !listed.iter().any(|own| own == short))
    {
        return Err(Fault::new(FaultCode::Unknown, short));
    }
    (method.run)(&mut Invocation { params, method, namespaces, host, ticket, out, log })
}

fn find(name: &str, namespaces: Namespaces) -> Option<&'static RpcMethod> {
    TABLE.iter().find(|method| method.names.contains(&name)).filter(|_| namespaces.has(name))
}

fn namespace(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

impl Namespaces {
    fn has(self, name: &str) -> bool {
        match namespace(name) {
            "supervisor" => self.supervisor,
            "twiddler" => self.twiddler,
            _ => true,
        }
    }
}

impl ParamType {
    fn name(self) -> &'static str {
        match self {
            ParamType::Text => "string",
            ParamType::Int => "int",
            ParamType::Bool => "boolean",
            ParamType::Struct => "struct",
            ParamType::Array => "array",
            ParamType::Level => "string|int",
        }
    }
}

impl Param {
    /// Only `wait` and `level` have a default.
    fn is_optional(&self) -> bool {
        matches!(self.kind, ParamType::Bool | ParamType::Level)
    }
}

impl RpcMethod {
    /// The description in the format of Supervisor's, from which clients read the types.
    fn documentation(&self) -> String {
        let mut text = format!("{}\n\n", self.help);
        for Param { kind, name, help } in self.params {
            text += &format!("@param {} {name} {help}\n", kind.name());
        }
        text + "@return " + self.returns.name() + " result\n"
    }
}

// Differs from Supervisor: a parameter of the wrong type is a fault; there it is mostly HTTP 500 and a traceback in the log.
impl Invocation<'_> {
    fn wrong(&self, n: usize, wanted: &str) -> Fault {
        let name = self.method.params.get(n).map_or("", |param| param.name);
        Fault::new(FaultCode::IncorrectParameters, format!("{name} must be {wanted}"))
    }

    fn arg_text(&self, n: usize) -> Result<&str, Fault> {
        self.params.get(n).and_then(Value::as_str).ok_or_else(|| self.wrong(n, "a string"))
    }

    /// An integer, or a value that Python's int() accepts.
    fn arg_int(&self, n: usize) -> Result<i64, Fault> {
        let number = self.params.get(n).and_then(|value| match value {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some(i64::from(*truth)),
            Value::Double(number) => format!("{:.0}", number.trunc()).parse().ok(),
            text => text.as_str()?.trim().parse().ok(),
        });
        number.ok_or_else(|| self.wrong(n, "an integer"))
    }

    /// The truth of a value by Python's rules; `true` if the parameter is missing.
    fn arg_truth(&self, n: usize) -> bool {
        self.params.get(n).is_none_or(|value| match value {
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            Value::Double(number) => *number != 0.0,
            Value::String(text) | Value::DateTime(text) => !text.is_empty(),
            Value::Base64(bytes) => !bytes.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Struct(members) => !members.is_empty(),
            Value::Nil => false,
        })
    }

    /// The one process that the n-th parameter names.
    fn process(&self, n: usize) -> Result<ProcId, Fault> {
        let namespec = self.arg_text(n)?;
        let (group, name) = split_namespec(namespec);
        let found = name.and_then(|name| self.host.supervision().find(group, name));
        found.ok_or_else(|| Fault::new(FaultCode::BadName, namespec))
    }

    /// The method that the first parameter names.
    fn described(&self) -> Result<&'static RpcMethod, Fault> {
        let name = self.params.first().and_then(Value::as_str);
        let method = name.and_then(|name| find(name, self.namespaces));
        method.ok_or_else(|| Fault::new(FaultCode::SignatureUnsupported, ""))
    }

    fn value(&mut self, value: &Value) -> InvokeResult {
        write_value(value, self.out);
        Ok(Invoked::Answered)
    }

    /// Answers with a string.
    fn text(&mut self, text: &str) -> InvokeResult {
        self.out.push_str("<value><string>");
        write_text(text, self.out);
        self.out.push_str(STRING_END);
        Ok(Invoked::Answered)
    }

    fn submit(&mut self, command: Command) -> InvokeResult {
        self.host.submit(self.ticket, command);
        Ok(Invoked::Waiting)
    }

    fn start(&mut self, target: Target, wait: usize) -> InvokeResult {
        let wait = self.arg_truth(wait);
        self.submit(Command::Start { target, wait })
    }

    fn stop(&mut self, target: Target, wait: usize) -> InvokeResult {
        let wait = self.arg_truth(wait);
        self.submit(Command::Stop { target, wait })
    }

    fn signal(&mut self, target: Target, n: usize) -> InvokeResult {
        let given = match self.arg_text(n) {
            Ok(text) => text.to_owned(),
            Err(_) => self.arg_int(n).map_err(|_| self.wrong(n, "a name or a number"))?.to_string(),
        };
        let number = values::signal(&given).ok();
        self.submit(Command::Signal { target, signal: (given, number) })
    }

    /// Parameter `first` is the offset, the one after it the length.
    fn read_log(&mut self, log: Option<PathBuf>, first: usize) -> InvokeResult {
        let (offset, length) = (self.arg_int(first)?, self.arg_int(first.saturating_add(1))?);
        let log = log.ok_or_else(|| Fault::new(FaultCode::NoFile, ""))?;
        let part = tail::read(&log, offset, length).map_err(|error| match error {
            ReadError::NoFile => Fault::new(FaultCode::NoFile, log.to_string_lossy()),
            ReadError::BadArguments => Fault::new(FaultCode::BadArguments, ""),
            ReadError::Failed => Fault::new(FaultCode::Failed, ""),
        })?;
        self.out.push_str("<value><string>");
        *self.log = Some(LogText { part, end: STRING_END.into() });
        Ok(Invoked::Answered)
    }

    fn read_process_log(&mut self, channel: Channel) -> InvokeResult {
        let log = self.host.process_log(self.process(0)?, channel);
        self.read_log(log, 1)
    }

    fn tail_process_log(&mut self, channel: Channel) -> InvokeResult {
        let log = self.host.process_log(self.process(0)?, channel);
        let (offset, length) = (self.arg_int(1)?, self.arg_int(2)?);
        let tail = log.map(|log| tail::tail(&log, offset, length));
        let (part, offset, overflow) =
            tail.map_or_else(Default::default, |tail| (tail.part, tail.offset, tail.overflow));
        let mut end = STRING_END.to_owned();
        write_value(&offset.into(), &mut end);
        write_value(&overflow.into(), &mut end);
        end.push_str("</data></array></value>\n");
        self.out.push_str("<value><array><data>\n<value><string>");
        match part {
            Some(part) => *self.log = Some(LogText { part, end }),
            None => self.out.push_str(&end),
        }
        Ok(Invoked::Answered)
    }
}

fn get_state(call: &mut Invocation<'_>) -> InvokeResult {
    let (code, name) = match call.host.supervision().state() {
        SupervisorState::Running => (1, "RUNNING"),
        SupervisorState::Restarting => (0, "RESTARTING"),
        SupervisorState::ShuttingDown => (-1, "SHUTDOWN"),
    };
    call.value(&Value::Struct(vec![("statecode".into(), code.into()), ("statename".into(), name.into())]))
}

// Differs from Supervisor: an invalid configuration is reported before any process is stopped.
fn restart(call: &mut Invocation<'_>) -> InvokeResult {
    call.host.restart().map_err(|why| Fault::new(FaultCode::CantReread, why))?;
    call.value(&Value::Bool(true))
}

fn reload_config(call: &mut Invocation<'_>) -> InvokeResult {
    let changes = call.host.reread().map_err(|why| Fault::new(FaultCode::CantReread, why))?;
    let names = |names: Vec<String>| Value::Array(names.into_iter().map(Value::from).collect());
    let changes = [changes.added, changes.changed, changes.removed].map(names);
    call.value(&Value::Array(vec![Value::Array(changes.into())]))
}

fn reload_process(call: &mut Invocation<'_>) -> InvokeResult {
    let id = call.process(0)?;
    let name = call.arg_text(0)?.to_owned();
    let Some(process) = call.host.supervision().process(id) else { return Err(Fault::new(FaultCode::BadName, name)) };
    let lifecycle = &process.config.lifecycle;
    match (process.state(), lifecycle.reload_signal, &lifecycle.reload_command) {
        (State::Running, Some(signal), _) => {
            let signal = (signal.to_string(), Some(signal));
            call.submit(Command::Signal { target: Target::Name(name), signal })
        }
        (State::Running, None, Some(_)) => call.submit(Command::Reload(id, name)),
        (State::Running, None, None) => {
            Err(Fault::new(FaultCode::Failed, format!("{name} has neither reload_signal nor reload_command")))
        }
        _ => Err(Fault::new(FaultCode::NotRunning, name)),
    }
}

fn send_stdin(call: &mut Invocation<'_>) -> InvokeResult {
    let bytes = call.arg_text(1)?.as_bytes().to_vec();
    let id = call.process(0)?;
    let takes = |process: &Process| process.pid().is_some() && process.state() != State::Stopping;
    if !call.host.supervision().process(id).is_some_and(takes) {
        return Err(Fault::new(FaultCode::NotRunning, call.arg_text(0)?));
    }
    if let Err(mut fault) = call.host.write_stdin(id, &bytes) {
        if fault.code == FaultCode::NoFile {
            fault = Fault::new(fault.code, call.arg_text(0)?);
        }
        return Err(fault);
    }
    call.value(&Value::Bool(true))
}

fn log(call: &mut Invocation<'_>) -> InvokeResult {
    use LogLevel::{Blather, Critical, Debug, Error, Info, Trace, Warn};
    let levels = [
        ("CRIT", 50, Critical),
        ("ERRO", 40, Error),
        ("WARN", 30, Warn),
        ("INFO", 20, Info),
        ("DEBG", 10, Debug),
        ("TRAC", 5, Trace),
        ("BLAT", 3, Blather),
    ];
    let wanted = call.params.get(1).unwrap_or(&Value::Int(20)).clone();
    let matches = |name: &str, number| {
        wanted.as_int() == Some(number) || wanted.as_str().is_some_and(|text| text.eq_ignore_ascii_case(name))
    };
    let level = levels.into_iter().find(|(name, number, _)| matches(name, *number));
    let (.., level) = level.ok_or_else(|| Fault::new(FaultCode::IncorrectParameters, ""))?;
    let message = call.arg_text(0)?.to_owned();
    call.host.log_line(level, &message);
    call.value(&Value::Bool(true))
}

fn add_program(call: &mut Invocation<'_>) -> InvokeResult {
    let (group, program) = (call.arg_text(0)?.to_owned(), call.arg_text(1)?);
    if !call.host.supervision().has_group(&group) {
        return Err(Fault::new(FaultCode::BadName, format!("group: {group}")));
    }
    let incorrect = |why: String| Fault::new(FaultCode::IncorrectParameters, why);
    let Some(Value::Struct(members)) = call.params.get(2) else { return Err(incorrect(String::new())) };
    let option = |(key, value): &(String, Value)| match value {
        Value::Int(number) => Some((key.clone(), number.to_string())),
        Value::Bool(truth) => Some((key.clone(), truth.to_string())),
        text => text.as_str().map(|text| (key.clone(), text.to_owned())),
    };
    let options: Option<Vec<_>> = members.iter().map(option).collect();
    let options = options.ok_or_else(|| incorrect(String::new()))?;
    let new = call.host.processes(program, &group, &options).map_err(incorrect)?;
    call.submit(Command::AddPrograms(group, new))
}

fn send_remote_event(call: &mut Invocation<'_>) -> InvokeResult {
    // Supervisor accepts any value, and converts it to text as Python does.
    let text = |value: Option<&Value>| match value {
        Some(Value::DateTime(text)) => Some(text.clone()),
        Some(Value::Int(number)) => Some(number.to_string()),
        Some(Value::Double(number)) => Some(format!("{number:?}")),
        Some(Value::Bool(truth)) => Some(if *truth { "True" } else { "False" }.into()),
        value => value?.as_str().map(str::to_owned),
    };
    let kind = text(call.params.first()).ok_or_else(|| call.wrong(0, "a string"))?;
    let data = text(call.params.get(1)).ok_or_else(|| call.wrong(1, "a string"))?;
    call.host.send_remote_event(&kind, &data);
    call.value(&Value::Bool(true))
}

fn clear_all_logs(call: &mut Invocation<'_>) -> InvokeResult {
    let mut statuses = Vec::new();
    for id in call.host.supervision().in_order() {
        let fault = call.host.clear_process_logs(id).err();
        statuses.extend(call.host.supervision().status(id, fault));
    }
    info::write_statuses(&statuses, call.out);
    Ok(Invoked::Answered)
}

fn list_methods(call: &mut Invocation<'_>) -> InvokeResult {
    // Clients of Supervisor see its methods only.
    let all = TABLE.iter().flat_map(|method| method.names).filter(|name| namespace(name) != "rsup");
    let mut names: Vec<&str> = all.copied().filter(|name| call.namespaces.has(name)).collect();
    names.sort_unstable();
    call.value(&Value::Array(names.into_iter().map(Value::from).collect()))
}
