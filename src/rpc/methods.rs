//! The table of methods: names, parameters, help and what it does, one row each (census §7.5).
#![forbid(unsafe_code)]

use super::info;
use super::{Channel, Host, Served};
use crate::config::model::LogLevel;
use crate::config::values;
use crate::logs::tail::{LogSource, Part, ReadError};
use crate::protocol::API_VERSION;
use crate::supervision::process::State;
use crate::supervision::{Command, Fault, FaultCode, ProcId, Process, SupervisorState, Target, Ticket, split_namespec};
use crate::wire::xmlrpc::{Value, write_text, write_value};

/// The method that calls others.
pub(super) const MULTICALL: &str = "system.multicall";
/// The one method of Supervisor's that is served while the supervisor is stopping.
const ALWAYS_SERVED: &str = "supervisor.sendRemoteCommEvent";
/// The Supervisor that rsup is compatible with.
pub const SUPERVISOR_VERSION: &str = "4.3.0";

/// One method.
struct Method {
    /// Its name, and older ones.
    names: &'static [&'static str],
    params: &'static [Param],
    returns: Kind,
    help: &'static str,
    run: fn(&mut Invocation<'_>) -> Outcome,
}

/// A parameter. `wait` and `level` may be left out.
struct Param {
    kind: Kind,
    name: &'static str,
    help: &'static str,
}

/// Types as `system.methodSignature` names them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Bool,
    Struct,
    Array,
    /// Of twiddler's: a level's name or number.
    Level,
}

/// `true`: the value is written; `false`: the brain will reply.
type Outcome = Result<bool, Fault>;

/// One call of a method.
struct Invocation<'a> {
    params: &'a [Value],
    method: &'static Method,
    served: Served,
    host: &'a mut dyn Host,
    ticket: Ticket,
    out: &'a mut String,
    /// The part of a log that follows what is written, if there is one.
    part: &'a mut Option<Part>,
}

const fn param(kind: Kind, name: &'static str, help: &'static str) -> Param {
    Param { kind, name, help }
}

const NAME: Param = param(Kind::Text, "name", "process name, or 'group:name'");
const NAMES: Param = param(Kind::Text, "name", "process name, 'group:name', or 'group:*' for a whole group");
const GROUP: Param = param(Kind::Text, "name", "group name");
const METHOD: Param = param(Kind::Text, "name", "method name");
const WAIT: Param = param(Kind::Bool, "wait", "answer when it is done; true if left out");
const SIGNAL: Param = param(Kind::Text, "signal", "a name (HUP, SIGHUP) or a number");
const OFFSET: Param = param(Kind::Int, "offset", "the first byte; negative, with length 0: that many last bytes");
const LENGTH: Param = param(Kind::Int, "length", "how many bytes; 0: all that follow");
const END: Param = param(Kind::Int, "offset", "the offset of the last answer");
const MOST: Param = param(Kind::Int, "length", "how many bytes at most");
const CHARS: Param = param(Kind::Text, "chars", "what to write, sent as UTF-8");
const KIND: Param = param(Kind::Text, "type", "what listeners are to see as its type");
const DATA: Param = param(Kind::Text, "data", "the event's body");
const PROGRAM: Param = param(Kind::Text, "program", "name of the new program");
const OPTIONS: Param = param(Kind::Struct, "options", "what would stand in its section");
const MESSAGE: Param = param(Kind::Text, "message", "the line");
const LEVEL: Param = param(Kind::Level, "level", "a name (WARN) or a number (30); INFO if left out");
const CALLS: Param = param(Kind::Array, "calls", "structs with methodName and params");

macro_rules! row {
    ($names:expr, [$($param:expr),*] -> $returns:ident, $help:expr, $run:expr) => {
        Method { names: &$names, params: &[$($param),*], returns: Kind::$returns, help: $help, run: $run }
    };
}

/// The help of methods for many processes.
macro_rules! each {
    ($what:literal) => {
        concat!(
            $what,
            "\n\nFor each process the result has a struct: name, group, status (80 or a fault code), description."
        )
    };
}

#[rustfmt::skip]
static TABLE: &[Method] = &[
    // ---- the supervisor
    row!(["supervisor.getAPIVersion", "supervisor.getVersion"], [] -> Text, "The version of this interface.",
        |call| call.text(API_VERSION)),
    row!(["supervisor.getSupervisorVersion"], [] -> Text, "The version of Supervisor that this server stands in for.",
        |call| call.text(SUPERVISOR_VERSION)),
    row!(["supervisor.getIdentification"], [] -> Text, "The identifier from the configuration.",
        |call| { let identifier = call.host.identifier().to_owned(); call.text(&identifier) }),
    row!(["supervisor.getState"], [] -> Struct, "What the supervisor is doing: statecode and statename.", get_state),
    row!(["supervisor.getPID"], [] -> Int, "The supervisor's process id.",
        |call| call.value(&Value::Int(std::process::id().into()))),
    row!(["supervisor.readLog", "supervisor.readMainLog"], [OFFSET, LENGTH] -> Text, "Bytes of the main log.",
        |call| { let log = call.host.main_log(); call.read_log(log, 0) }),
    row!(["supervisor.clearLog"], [] -> Bool, "Empties the main log.",
        |call| { call.host.clear_main_log()?; call.value(&Value::Bool(true)) }),
    row!(["supervisor.shutdown"], [] -> Bool, "Stops all processes in order and ends the supervisor.",
        |call| call.submit(Command::Shutdown)),
    row!(["supervisor.restart"], [] -> Bool, "Stops all processes in order, reads the configuration again and starts from it.",
        restart),
    row!(["supervisor.reloadConfig"], [] -> Array,
        "Reads the configuration again and returns how its groups differ from those in use; nothing starts or stops.\n\n\
         The result is [[added, changed, removed]]: three arrays of group names.", reload_config),
    row!(["supervisor.addProcessGroup"], [GROUP] -> Bool, "Puts a group of the configuration into use.",
        |call| { let name = call.arg_text(0)?.to_owned(); call.submit(Command::AddGroup(name)) }),
    row!(["supervisor.removeProcessGroup"], [GROUP] -> Bool, "Takes a group out of use whose processes are all stopped.",
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
    row!(["supervisor.getProcessInfo"], [NAME] -> Struct, "What is known of a process.", |call| {
        let id = call.process(0)?;
        info::write_process(call.host, id, call.out);
        Ok(true)
    }),
    row!(["supervisor.getAllProcessInfo"], [] -> Array, "What is known of every process, as getProcessInfo has it.",
        |call| { info::write_all_processes(call.host, call.out); Ok(true) }),
    row!(["supervisor.getAllConfigInfo"], [] -> Array, "The options of every process in the configuration, in use or not.",
        |call| { info::write_all_configs(call.host, call.out); Ok(true) }),
    row!(["supervisor.sendProcessStdin"], [NAME, CHARS] -> Bool, "Writes to the stdin of a process.", send_stdin),
    row!([ALWAYS_SERVED], [KIND, DATA] -> Bool, "Sends an event to the listeners that subscribe to REMOTE_COMMUNICATION.",
        send_remote_event),
    // ---- their logs
    row!(["supervisor.readProcessStdoutLog", "supervisor.readProcessLog"], [NAME, OFFSET, LENGTH] -> Text,
        "Bytes of a process's stdout log.", |call| call.read_process_log(Channel::Stdout)),
    row!(["supervisor.readProcessStderrLog"], [NAME, OFFSET, LENGTH] -> Text,
        "Bytes of a process's stderr log.", |call| call.read_process_log(Channel::Stderr)),
    row!(["supervisor.tailProcessStdoutLog", "supervisor.tailProcessLog"], [NAME, END, MOST] -> Array,
        "The end of a process's stdout log: [bytes, offset to ask from next, whether bytes were left out].",
        |call| call.tail_process_log(Channel::Stdout)),
    row!(["supervisor.tailProcessStderrLog"], [NAME, END, MOST] -> Array,
        "The end of a process's stderr log: [bytes, offset to ask from next, whether bytes were left out].",
        |call| call.tail_process_log(Channel::Stderr)),
    row!(["supervisor.clearProcessLogs", "supervisor.clearProcessLog"], [NAME] -> Bool, "Empties both logs of a process.",
        |call| { let id = call.process(0)?; call.host.clear_process_logs(id)?; call.value(&Value::Bool(true)) }),
    row!(["supervisor.clearAllProcessLogs"], [] -> Array, each!("Empties the logs of all processes."), clear_all_logs),
    // ---- what supervisor_twiddler 1.0 adds
    row!(["twiddler.getAPIVersion"], [] -> Int, "The version of twiddler's interface.", |call| call.text("1.0")),
    row!(["twiddler.getGroupNames"], [] -> Array, "The names of the groups in use.", |call| {
        let names = call.host.supervision().group_names();
        let names = Value::Array(names.into_iter().map(Value::from).collect());
        call.value(&names)
    }),
    row!(["twiddler.log"], [MESSAGE, LEVEL] -> Bool, "Writes a line to the main log.", log),
    row!(["twiddler.addProgramToGroup"], [GROUP, PROGRAM, OPTIONS] -> Bool, "Adds the processes of a new program to a group.",
        add_program),
    row!(["twiddler.removeProcessFromGroup"], [GROUP, NAME] -> Bool, "Takes a stopped process out of its group.",
        |call| { let names = [call.arg_text(0)?.to_owned(), call.arg_text(1)?.to_owned()];
            let [group, name] = names; call.submit(Command::RemoveProcess(group, name)) }),
    // ---- the interface itself
    row!(["system.listMethods"], [] -> Array, "The names of all methods.", list_methods),
    row!(["system.methodHelp"], [METHOD] -> Text, "What a method does.",
        |call| { let help = call.described()?.documentation(); call.text(&help) }),
    row!(["system.methodSignature"], [METHOD] -> Array, "The types of a method's result and parameters.", |call| {
        let method = call.described()?;
        let params = method.params.iter().map(|param| param.kind);
        let kinds = std::iter::once(method.returns).chain(params);
        call.value(&Value::Array(kinds.map(|kind| kind.name().into()).collect()))
    }),
    row!([MULTICALL], [CALLS] -> Array,
        "Makes several calls, one after the other.\n\n\
         For each call the result has its value, or a struct with faultCode and faultString.",
        |_| Err(Fault::new(FaultCode::IncorrectParameters, "calls must be an array"))),
];

/// Calls a method: its value is appended to `out` (`true`), or the brain will reply (`false`). A fault leaves `out` as it was.
/// Where a `part` of a log comes out, `out` ends inside a string that this belongs into.
pub(super) fn invoke(
    name: &str,
    params: &[Value],
    served: Served,
    host: &mut dyn Host,
    ticket: Ticket,
    out: &mut String,
    part: &mut Option<Part>,
) -> Outcome {
    let method = find(name, served).ok_or_else(|| Fault::new(FaultCode::UnknownMethod, ""))?;
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
    (method.run)(&mut Invocation { params, method, served, host, ticket, out, part })
}

fn find(name: &str, served: Served) -> Option<&'static Method> {
    TABLE.iter().find(|method| method.names.contains(&name)).filter(|_| served.has(name))
}

fn namespace(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

impl Served {
    fn has(self, name: &str) -> bool {
        match namespace(name) {
            "supervisor" => self.supervisor,
            "twiddler" => self.twiddler,
            _ => true,
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Int => "int",
            Kind::Bool => "boolean",
            Kind::Struct => "struct",
            Kind::Array => "array",
            Kind::Level => "string|int",
        }
    }
}

impl Param {
    /// Only `wait` and `level` have a default.
    fn is_optional(&self) -> bool {
        matches!(self.kind, Kind::Bool | Kind::Level)
    }
}

impl Method {
    /// In the shape that Supervisor's documentation has, from which its clients read types.
    fn documentation(&self) -> String {
        let mut text = format!("{}\n\n", self.help);
        for Param { kind, name, help } in self.params {
            text += &format!("@param {} {name} {help}\n", kind.name());
        }
        text + "@return " + self.returns.name() + " result\n"
    }
}

// Differs from Supervisor: a parameter of the wrong type is a fault; there most are an HTTP 500 and a traceback in the log.
impl Invocation<'_> {
    fn wrong(&self, n: usize, wanted: &str) -> Fault {
        let name = self.method.params.get(n).map_or("", |param| param.name);
        Fault::new(FaultCode::IncorrectParameters, format!("{name} must be {wanted}"))
    }

    fn arg_text(&self, n: usize) -> Result<&str, Fault> {
        self.params.get(n).and_then(Value::as_str).ok_or_else(|| self.wrong(n, "a string"))
    }

    /// A number, or what Python makes one of.
    fn arg_int(&self, n: usize) -> Result<i64, Fault> {
        let number = self.params.get(n).and_then(|value| match value {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some(i64::from(*truth)),
            Value::Double(number) => format!("{:.0}", number.trunc()).parse().ok(),
            text => text.as_str()?.trim().parse().ok(),
        });
        number.ok_or_else(|| self.wrong(n, "an integer"))
    }

    /// As Python sees the truth of things; `true` if it is left out.
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

    /// The method that a question is about.
    fn described(&self) -> Result<&'static Method, Fault> {
        let name = self.params.first().and_then(Value::as_str);
        let method = name.and_then(|name| find(name, self.served));
        method.ok_or_else(|| Fault::new(FaultCode::SignatureUnsupported, ""))
    }

    fn value(&mut self, value: &Value) -> Outcome {
        write_value(value, self.out);
        Ok(true)
    }

    /// Answers without a copy of the text, which may be a whole log.
    fn text(&mut self, text: &str) -> Outcome {
        self.out.push_str("<value><string>");
        write_text(text, self.out);
        self.out.push_str("</string></value>\n");
        Ok(true)
    }

    fn submit(&mut self, command: Command) -> Outcome {
        self.host.submit(self.ticket, command);
        Ok(false)
    }

    fn start(&mut self, target: Target, wait: usize) -> Outcome {
        let wait = self.arg_truth(wait);
        self.submit(Command::Start { target, wait })
    }

    fn stop(&mut self, target: Target, wait: usize) -> Outcome {
        let wait = self.arg_truth(wait);
        self.submit(Command::Stop { target, wait })
    }

    fn signal(&mut self, target: Target, n: usize) -> Outcome {
        let given = match self.arg_text(n) {
            Ok(text) => text.to_owned(),
            Err(_) => self.arg_int(n).map_err(|_| self.wrong(n, "a name or a number"))?.to_string(),
        };
        let number = values::signal(&given).ok();
        self.submit(Command::Signal { target, signal: (given, number) })
    }

    /// Offset and length stand from the `first` parameter on.
    fn read_log(&mut self, log: Option<LogSource>, first: usize) -> Outcome {
        let (offset, length) = (self.arg_int(first)?, self.arg_int(first.saturating_add(1))?);
        let log = log.ok_or_else(|| Fault::new(FaultCode::NoFile, ""))?;
        let part = log.read(offset, length).map_err(|error| match error {
            ReadError::NoFile => Fault::new(FaultCode::NoFile, log.name()),
            ReadError::BadArguments => Fault::new(FaultCode::BadArguments, ""),
            ReadError::Failed => Fault::new(FaultCode::Failed, ""),
        })?;
        self.out.push_str("<value><string>");
        *self.part = Some(part);
        Ok(true)
    }

    fn read_process_log(&mut self, channel: Channel) -> Outcome {
        let log = self.host.process_log(self.process(0)?, channel);
        self.read_log(log, 1)
    }

    fn tail_process_log(&mut self, channel: Channel) -> Outcome {
        let log = self.host.process_log(self.process(0)?, channel);
        let (offset, length) = (self.arg_int(1)?, self.arg_int(2)?);
        let read = log.map(|log| log.tail(offset, length));
        let (text, offset, overflow) = read.map_or_else(Default::default, |t| (t.text, t.offset, t.overflow));
        self.value(&Value::Array(vec![text.into(), offset.into(), overflow.into()]))
    }
}

fn get_state(call: &mut Invocation<'_>) -> Outcome {
    let (code, name) = match call.host.supervision().state() {
        SupervisorState::Running => (1, "RUNNING"),
        SupervisorState::Restarting => (0, "RESTARTING"),
        SupervisorState::ShuttingDown => (-1, "SHUTDOWN"),
    };
    call.value(&Value::Struct(vec![("statecode".into(), code.into()), ("statename".into(), name.into())]))
}

// Differs from Supervisor: a bad configuration is found before anything is stopped, and says what is wrong with it.
fn restart(call: &mut Invocation<'_>) -> Outcome {
    call.host.restart().map_err(|why| Fault::new(FaultCode::CantReread, why))?;
    call.value(&Value::Bool(true))
}

fn reload_config(call: &mut Invocation<'_>) -> Outcome {
    let changes = call.host.reread().map_err(|why| Fault::new(FaultCode::CantReread, why))?;
    let names = |names: Vec<String>| Value::Array(names.into_iter().map(Value::from).collect());
    let changes = [changes.added, changes.changed, changes.removed].map(names);
    call.value(&Value::Array(vec![Value::Array(changes.into())]))
}

fn send_stdin(call: &mut Invocation<'_>) -> Outcome {
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

fn log(call: &mut Invocation<'_>) -> Outcome {
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
    let is_meant = |name: &str, number| {
        wanted.as_int() == Some(number) || wanted.as_str().is_some_and(|text| text.eq_ignore_ascii_case(name))
    };
    let level = levels.into_iter().find(|(name, number, _)| is_meant(name, *number));
    let (.., level) = level.ok_or_else(|| Fault::new(FaultCode::IncorrectParameters, ""))?;
    let message = call.arg_text(0)?.to_owned();
    call.host.say(level, &message);
    call.value(&Value::Bool(true))
}

fn add_program(call: &mut Invocation<'_>) -> Outcome {
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

fn send_remote_event(call: &mut Invocation<'_>) -> Outcome {
    // Supervisor takes any value, and writes it as Python does.
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

fn clear_all_logs(call: &mut Invocation<'_>) -> Outcome {
    let mut statuses = Vec::new();
    for id in call.host.supervision().in_order() {
        let fault = call.host.clear_process_logs(id).err();
        statuses.extend(call.host.supervision().status(id, fault));
    }
    info::write_statuses(&statuses, call.out);
    Ok(true)
}

fn list_methods(call: &mut Invocation<'_>) -> Outcome {
    let all = TABLE.iter().flat_map(|method| method.names);
    let mut names: Vec<&str> = all.copied().filter(|name| call.served.has(name)).collect();
    names.sort_unstable();
    call.value(&Value::Array(names.into_iter().map(Value::from).collect()))
}
