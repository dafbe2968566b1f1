//! The table of the commands of `rsupctl`. Dispatch, help, usage and completion are derived from it. Output and exit codes are
//! supervisorctl's (supervisor-behaviour.md §1.4 and §8).
use super::client::CommandError;
use super::follow;
use super::format::{self, TerminalFilter, namespec_of, number, state, text};
use super::session::{KnownFault, Session, Wording, exit, object};
use super::suggest;
use crate::fault::FaultCode;
use crate::protocol::{API_VERSION, SUCCESS, State, namespec, split_namespec};
use crate::wire::xmlrpc::Value;

/// A command.
pub struct Command {
    /// Its name on the command line.
    pub name: &'static str,
    /// Whether the version of the server is checked first; that check has its own messages and exit codes.
    pub checks_up: bool,
    /// The kind of its arguments, for completion.
    #[cfg_attr(not(feature = "shell"), allow(dead_code))]
    pub takes: Takes,
    /// How many arguments it takes.
    pub words: WordCount,
    /// Runs it.
    pub run: fn(&mut Session, &[&str]) -> Result<(), CommandError>,
    /// For each way to call it, the arguments and the help.
    forms: &'static [(&'static str, &'static str)],
}

/// The kind of arguments of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Arguments that cannot be completed.
    Other,
    /// Names of commands.
    Commands,
    /// Names of groups.
    Groups,
    /// Names of processes, and `group:*`.
    Processes,
    /// A signal, then names of processes.
    SignalAndProcesses,
}

/// How many arguments a command takes.
pub struct WordCount {
    /// The smallest number.
    pub least: usize,
    /// The largest number.
    pub most: usize,
    /// The error message for fewer.
    pub too_few: &'static str,
    /// The exit code for a wrong number.
    exit: u8,
}

const fn at_least(least: usize, too_few: &'static str) -> WordCount {
    WordCount { least, most: usize::MAX, too_few, exit: exit::FAILED }
}

const ANY: WordCount = at_least(0, "");
const NONE: WordCount = WordCount { most: 0, ..ANY };

type Run = fn(&mut Session, &[&str]) -> Result<(), CommandError>;
type Forms = &'static [(&'static str, &'static str)];

/// A command that checks the version of the server first.
const fn checked(name: &'static str, takes: Takes, words: WordCount, run: Run, forms: Forms) -> Command {
    Command { name, checks_up: true, takes, words, run, forms }
}

/// A command that does not check the version of the server.
const fn direct(name: &'static str, takes: Takes, words: WordCount, run: Run, forms: Forms) -> Command {
    Command { checks_up: false, ..checked(name, takes, words, run, forms) }
}

use Takes::{Commands, Groups, Other, Processes, SignalAndProcesses};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    direct("add", Groups, ANY, add, &[("<group>...", "Activate groups that were added to the configuration")]),
    direct("avail", Other, NONE, avail, &[("", "List all configured processes, active or not")]),
    checked("clear", Processes, at_least(1, "Error: clear requires a process name"), |s, names| s.for_each_name(&CLEAR, &[], names),
        &[("<name>...", "Clear the logs of processes"), ("all", "Clear the logs of all processes")]),
    direct("exit", Other, ANY, quit, &[("", "Leave the shell")]),
    checked("fg", Processes, at_least(1, "ERROR: no process name supplied"), fg,
        &[("<name>", "Show the output of a process and send your input to it; Ctrl-C exits, and the process keeps running")]),
    direct("help", Commands, ANY, help, &[("", "List the commands"), ("<command>", "Explain a command")]),
    checked("maintail", Other, WordCount { most: 1, ..ANY }, maintail,
        &[("", "Show the last 1600 bytes of the supervisor's own log"), ("-<bytes>", "Show the last <bytes> bytes"),
          ("-f", "Follow it, until Ctrl-C")]),
    direct("open", Other, ANY, open, &[("<url>", "Use another server from now on: http://host:port or unix:///path")]),
    checked("pid", Processes, ANY, pid,
        &[("", "Show the pid of the supervisor"), ("<name>...", "Show the pids of processes"),
          ("all", "Show the pids of all processes")]),
    direct("quit", Other, ANY, quit, &[("", "Leave the shell")]),
    direct("reload", Processes, ANY, reload,
        &[("", "Restart the supervisor: stop all processes, read the configuration, start again"),
          ("<name>...", "Make running programs reload, by their reload_signal or reload_command"),
          ("<group>:*...", "The same for all processes of groups")]),
    direct("remove", Groups, ANY, remove, &[("<group>...", "Deactivate stopped groups")]),
    direct("reread", Other, NONE, reread, &[("", "Read the configuration and show what has changed, without applying it")]),
    checked("restart", Processes, at_least(1, "Error: restart requires a process name"), restart,
        &[("<name>...", "Stop processes, then start them; does not read the configuration again (see update)"),
          ("<group>:*...", "The same for all processes of groups"), ("all", "The same for all processes"),
          ("--rolling <name>...", "Restart one process after another, each when the one before is RUNNING")]),
    direct("shutdown", Other, NONE, shutdown, &[("", "Stop all processes and the supervisor")]),
    checked("signal", SignalAndProcesses, at_least(2, "Error: signal requires a signal name and a process name"), signal,
        &[("<signal> <name>...", "Send a signal to processes"), ("<signal> <group>:*...", "Send it to all processes of groups"),
          ("<signal> all", "Send it to all processes")]),
    checked("start", Processes, WordCount { exit: exit::INVALID_ARGUMENTS, ..at_least(1, "Error: start requires a process name") },
        |s, names| s.for_each_name(&START, &[], names),
        &[("<name>...", "Start processes"), ("<group>:*...", "Start all processes of groups"), ("all", "Start all processes")]),
    checked("status", Processes, ANY, status,
        &[("", "Show states, pids and uptimes of all processes"), ("<name>...", "The same for some processes"),
          ("<group>:*...", "The same for all processes of groups")]),
    checked("stop", Processes, at_least(1, "Error: stop requires a process name"), |s, names| s.for_each_name(&STOP, &[], names),
        &[("<name>...", "Stop processes"), ("<group>:*...", "Stop all processes of groups"), ("all", "Stop all processes")]),
    checked("tail", Processes, WordCount { most: 3, ..at_least(1, "Error: too few arguments") }, tail,
        &[("<name> [stdout|stderr]", "Show the last 1600 bytes of a process's log, stdout by default"),
          ("-<bytes> <name> [stdout|stderr]", "Show the last <bytes> bytes"),
          ("-f <name> [stdout|stderr]", "Follow the log, until Ctrl-C")]),
    direct("update", Groups, ANY, update,
        &[("", "Read the configuration and apply what has changed; changed groups restart"), ("all", "The same"),
          ("<group>...", "Apply the changes of these groups only")]),
    checked("version", Other, NONE, version, &[("", "Show the version of the supervisor")]),
];

/// The names of all commands.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

/// The command with this name.
#[must_use]
pub fn find_command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// All commands with their forms, for `-h`.
#[must_use]
pub fn usage() -> String {
    COMMANDS.iter().flat_map(|command| command.help_lines(45)).map(|line| format!("  {line}\n")).collect()
}

impl Command {
    /// The error for wrong arguments: a message, followed by the help of the command.
    pub fn misused(&self, complaint: &str) -> CommandError {
        CommandError::Exit(format!("{complaint}\n{}", self.help_text()), self.words.exit)
    }

    fn help_text(&self) -> String {
        let longest = self.forms.iter().map(|(words, _)| words.len()).fold(0, usize::max);
        self.help_lines(longest.saturating_add(self.name.len()).saturating_add(3)).join("\n")
    }

    fn help_lines(&self, width: usize) -> Vec<String> {
        let form = |(words, help): &(&str, &str)| format!("{:<width$}{help}", format!("{} {words}", self.name));
        self.forms.iter().map(form).collect()
    }
}

/// The start of the spawn error of a program that was started and exited too soon.
const ENDED_TOO_SOON: &str = "Exited too quickly";

/// The message for a server that does not have the methods of the client.
pub fn no_namespace(url: &str) -> String {
    format!("{url} does not serve rsupctl: add a section [rpcinterface:supervisor] to its configuration")
}

/// How much of a log `tail` shows by default, in bytes.
const TAIL_BYTES: i64 = 1600;

impl Session {
    /// Runs one command line and returns the exit code.
    pub fn run(mut self, line: &str) -> u8 {
        self.run_line(line);
        if self.out.failed && self.exit == exit::OK { exit::FAILED } else { self.exit }
    }

    /// Runs a line; `true`: it leaves the shell.
    pub fn run_line(&mut self, line: &str) -> bool {
        let line = line.trim();
        let line = line.strip_prefix('?').map_or_else(|| line.to_owned(), |topic| format!("help {topic}"));
        if line.is_empty() {
            return false;
        }
        let name_ends = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
        let (name, arguments) = line.split_at(name_ends);
        // Differs from Supervisor: --json is accepted after the command.
        let (json_options, arguments): (Vec<&str>, Vec<&str>) =
            arguments.split_whitespace().partition(|word| *word == "--json");
        self.out.begin_command(self.json || !json_options.is_empty());
        let is_end = matches!(name, "exit" | "quit" | "EOF");
        match find_command(if is_end { "quit" } else { name }) {
            Some(command) => self.run_and_report(command, &arguments),
            None if self.wording == Wording::Supervisor => self.fail(&format!("*** Unknown syntax: {line}")),
            None => {
                let word = line.split_whitespace().next().unwrap_or(&line);
                let hint = suggest::did_you_mean(&suggest::nearest(word, names()));
                let hint = hint.unwrap_or_else(|| "type help for a list of commands".into());
                self.fail(&format!("unknown command '{word}'; {hint}"));
            }
        }
        self.out.flush();
        is_end
    }

    /// Runs a command, and prints its error.
    fn run_and_report(&mut self, command: &Command, arguments: &[&str]) {
        loop {
            let error = self.run_command(command, arguments).err();
            self.out.end_command(error.is_none());
            let (line, exit) = match error {
                None => return,
                Some(CommandError::Unauthorized) if self.interactive => match self.log_in() {
                    Ok(()) => continue,
                    Err(CommandError::Interrupted) => (String::new(), exit::FAILED),
                    Err(error) => (format!("error: {error}"), exit::FAILED),
                },
                // The terminal shows `^C`; an empty line puts the prompt on a new line.
                Some(CommandError::Interrupted) => (String::new(), exit::FAILED),
                Some(CommandError::Unauthorized) => (CommandError::Unauthorized.to_string(), exit::FAILED),
                Some(CommandError::Exit(line, exit)) => (line, exit),
                Some(gone @ (CommandError::Refused | CommandError::NoFile)) => {
                    (format!("error: {} {gone}", self.client.url), exit::FAILED)
                }
                // Differs from Supervisor: it prints the class of a Python exception and a line of its source.
                Some(error) => (format!("error: {error}"), exit::FAILED),
            };
            self.out.line(&line);
            self.exit = exit;
            return;
        }
    }

    fn run_command(&mut self, command: &Command, arguments: &[&str]) -> Result<(), CommandError> {
        let words = &command.words;
        if words.most == 0 && !arguments.is_empty() {
            return Err(command.misused(&format!("Error: {} accepts no arguments", command.name)));
        }
        if command.checks_up {
            // For `status`, every failure of this check means that the state is unknown.
            self.check_server().map_err(|error| match error {
                CommandError::Exit(line, _) if command.name == "status" => CommandError::Exit(line, exit::UNKNOWN),
                error => error,
            })?;
        }
        if arguments.len() < words.least {
            return Err(command.misused(words.too_few));
        }
        if arguments.len() > words.most {
            return Err(command.misused("Error: too many arguments"));
        }
        (command.run)(self, arguments)
    }

    /// Checks that the server answers and has the right version.
    fn check_server(&mut self) -> Result<(), CommandError> {
        let answer = self.call("getVersion", &[]);
        let url = &self.client.url;
        let (line, exit) = match answer {
            Ok(version) if version.as_str() == Some(API_VERSION) => return Ok(()),
            Ok(version) => {
                let theirs = version.as_str().unwrap_or("unknown");
                (format!("{url} has API version {theirs}, but rsupctl needs {API_VERSION}"), exit::OTHER_VERSION)
            }
            Err(gone) if gone.is(FaultCode::UnknownMethod) => (no_namespace(url), exit::NOT_THERE),
            Err(CommandError::Refused) => (format!("{url} refused connection"), exit::UNKNOWN),
            Err(CommandError::NoFile) => (format!("{url} no such file"), exit::NOT_RUNNING),
            Err(other) => return Err(other),
        };
        Err(CommandError::Exit(line, exit))
    }

    /// Implements `start`, `stop`, `signal` and `clear`: calls a method for each name.
    fn for_each_name(&mut self, verb: &ProcessVerb, extra: &[Value], names: &[&str]) -> Result<(), CommandError> {
        if names.contains(&"all") {
            let results = self.call(verb.all, extra)?;
            return self.results(verb, &results);
        }
        for name in names {
            let (group, process) = split_namespec(name);
            let (method, is_group) = match (process, verb.group) {
                (None, Some(method)) => (method, true),
                _ => (verb.one, false),
            };
            let spec = process.map_or_else(|| (*name).to_owned(), |process| namespec(group, process));
            match self.call(method, &[&[Value::from(if is_group { group } else { name })], extra].concat()) {
                Ok(results) if is_group => self.results(verb, &results)?,
                Ok(_) => self.result(verb, &spec, SUCCESS.into(), "")?,
                Err(error) if is_group && error.is(FaultCode::BadName) => {
                    let line = format!("{group}: ERROR (no such group)");
                    self.out.item(&line, &[("name", (*name).into()), ("error", "no such group".into())]);
                    self.exit = verb.no_group_exit;
                    self.suggest_process(name)?;
                }
                Err(CommandError::Fault(fault)) if !is_group => {
                    self.result(verb, &spec, fault.code, &fault.text)?;
                    if fault.code == FaultCode::BadName as i64 {
                        self.suggest_process(name)?;
                    }
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn results(&mut self, verb: &ProcessVerb, results: &Value) -> Result<(), CommandError> {
        for result in results.as_array().unwrap_or_default() {
            let spec = format::namespec_of(result);
            self.result(verb, &spec, number(result, "status"), text(result, "description"))?;
        }
        Ok(())
    }

    fn result(&mut self, verb: &ProcessVerb, spec: &str, code: i64, description: &str) -> Result<(), CommandError> {
        if code == i64::from(SUCCESS) {
            self.done(spec, verb.done);
            return Ok(());
        }
        let Some((known, why)) = verb.faults.iter().find(|(known, _)| code == *known as i64) else {
            return Err(CommandError::Other(format!("{spec}: {description}")));
        };
        let (why, line) = match *why {
            "" => (description, description.to_owned()),
            why => (why, format!("{spec}: ERROR ({why})")),
        };
        let reason = match known {
            FaultCode::SpawnError | FaultCode::AbnormalTermination => self.spawn_error_of(spec)?,
            _ => None,
        };
        let mut members = vec![("name", spec.into()), ("error", why.into())];
        members.extend(reason.as_deref().map(|reason| ("reason", reason.into())));
        let line = reason.iter().fold(line, |line, reason| format!("{line}\n{spec}: {reason}"));
        self.out.item(&line, &members);
        match known {
            _ if Some(*known) == verb.tolerated => {}
            FaultCode::SpawnError | FaultCode::AbnormalTermination | FaultCode::NotRunning => {
                self.exit = exit::NOT_RUNNING
            }
            _ => self.exit = exit::FAILED,
        }
        Ok(())
    }

    /// Why the last start of a process failed.
    // Differs from Supervisor, which has the reason in its log only.
    fn spawn_error_of(&mut self, spec: &str) -> Result<Option<String>, CommandError> {
        if self.wording == Wording::Supervisor {
            return Ok(None);
        }
        match self.call("getProcessInfo", &[spec.into()]) {
            Ok(info) => Ok(Some(text(&info, "spawnerr").to_owned()).filter(|reason| !reason.is_empty())),
            Err(CommandError::Fault(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Shows which processes of the groups that were just added could not be started, and why. The server does not wait for them,
    /// so processes that fail later are not shown, nor are those that exited too soon.
    fn show_spawn_errors(&mut self, groups: &[&str]) -> Result<(), CommandError> {
        if groups.is_empty() || self.wording == Wording::Supervisor {
            return Ok(());
        }
        let infos = match self.call("getAllProcessInfo", &[]) {
            Ok(infos) => infos,
            Err(CommandError::Fault(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        let added = infos.as_array().unwrap_or_default().iter().filter(|info| groups.contains(&text(info, "group")));
        for info in added {
            let (spec, reason) = (namespec_of(info), text(info, "spawnerr"));
            if !reason.is_empty() && !reason.starts_with(ENDED_TOO_SOON) {
                let members =
                    [("name", spec.as_str().into()), ("error", "spawn error".into()), ("reason", reason.into())];
                self.out.item(&format!("{spec}: ERROR (spawn error)\n{spec}: {reason}"), &members);
            }
        }
        Ok(())
    }

    /// Prints the result for a process or a group.
    fn done(&mut self, name: &str, what: &str) {
        self.out.item(&format!("{name}: {what}"), &[("name", name.into()), ("result", what.into())]);
    }

    /// Implements `add` and `remove`; returns the names for which the call succeeded.
    fn for_each_group<'a>(
        &mut self,
        method: &str,
        names: &[&'a str],
        done: &str,
        known: &[KnownFault],
    ) -> Result<Vec<&'a str>, CommandError> {
        let mut changed = Vec::new();
        for name in names {
            if self.call_or_report(method, &[Value::from(*name)], name, known)?.is_some() {
                self.done(name, &format!("{done} process group"));
                changed.push(*name);
            }
        }
        Ok(changed)
    }

    /// Implements `shutdown` and `reload`.
    fn end(&mut self, method: &str, question: &str, known: KnownFault, done: &str) -> Result<(), CommandError> {
        if self.confirmed(question)? && self.call_or_report(method, &[], "", &[known])?.is_some() {
            self.out.item(done, &[("result", done.into())]);
        }
        Ok(())
    }
}

/// What differs between `start`, `stop`, `signal` and `clear`.
struct ProcessVerb {
    all: &'static str,
    /// The method for a group; `None`: `group:*` is passed to the method for one process.
    group: Option<&'static str>,
    one: &'static str,
    done: &'static str,
    no_group_exit: u8,
    /// A fault that leaves the exit code unchanged.
    tolerated: Option<FaultCode>,
    /// The text for each fault; an empty one stands for the text of the server.
    faults: &'static [(FaultCode, &'static str)],
}

const START: ProcessVerb = ProcessVerb {
    all: "startAllProcesses",
    group: Some("startProcessGroup"),
    one: "startProcess",
    done: "started",
    no_group_exit: exit::INVALID_ARGUMENTS,
    tolerated: Some(FaultCode::AlreadyStarted),
    faults: &[
        (FaultCode::BadName, "no such process"),
        (FaultCode::NoFile, "no such file"),
        (FaultCode::NotExecutable, "file is not executable"),
        (FaultCode::AlreadyStarted, "already started"),
        (FaultCode::SpawnError, "spawn error"),
        (FaultCode::AbnormalTermination, "abnormal termination"),
    ],
};

const SIGNAL: ProcessVerb = ProcessVerb {
    all: "signalAllProcesses",
    group: Some("signalProcessGroup"),
    one: "signalProcess",
    done: "signalled",
    no_group_exit: exit::FAILED,
    tolerated: None,
    faults: &[
        (FaultCode::BadName, "no such process"),
        (FaultCode::BadSignal, "bad signal name"),
        (FaultCode::NotRunning, "not running"),
        (FaultCode::Failed, ""),
    ],
};

const STOP: ProcessVerb = ProcessVerb {
    all: "stopAllProcesses",
    group: Some("stopProcessGroup"),
    one: "stopProcess",
    done: "stopped",
    tolerated: Some(FaultCode::NotRunning),
    ..SIGNAL
};

const CLEAR: ProcessVerb = ProcessVerb {
    all: "clearAllProcessLogs",
    group: None,
    one: "clearProcessLogs",
    done: "cleared",
    tolerated: None,
    faults: &[(FaultCode::BadName, "no such process"), (FaultCode::Failed, "failed")],
    ..SIGNAL
};

fn help(session: &mut Session, words: &[&str]) -> Result<(), CommandError> {
    if session.out.is_json() {
        let form = |command: &Command, (words, help): &(&str, &str)| {
            object(&[("name", command.name.into()), ("arguments", (*words).into()), ("help", (*help).into())])
        };
        let forms = |command: &'static Command| command.forms.iter().map(move |words| form(command, words));
        session.out.whole("", Value::Array(COMMANDS.iter().flat_map(forms).collect()));
    } else if words.is_empty() {
        let header = "default commands (type help <topic>):";
        let listed: Vec<&str> = names().filter(|name| *name != "help").collect();
        let list = format!("\n{header}\n{}\n{}\n", "=".repeat(header.len()), format::columns(&listed));
        session.out.line(&list);
    } else {
        let topic = words.join(" ");
        let text = find_command(&topic).map_or_else(|| format!("*** No help on {topic}"), Command::help_text);
        session.out.line(&text);
        if session.wording == Wording::Rsup
            && find_command(&topic).is_none()
            && let Some(meant) = suggest::did_you_mean(&suggest::nearest(&topic, names()))
        {
            session.out.line(&meant);
        }
    }
    Ok(())
}

fn signal(session: &mut Session, words: &[&str]) -> Result<(), CommandError> {
    let Some((signal, names)) = words.split_first() else { return Ok(()) };
    session.for_each_name(&SIGNAL, &[Value::from(*signal)], names)
}

fn restart(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    if session.wording == Wording::Rsup && names.contains(&"--rolling") {
        let names: Vec<&str> = names.iter().copied().filter(|name| *name != "--rolling").collect();
        return rolling_restart(session, &names);
    }
    session.for_each_name(&STOP, &[], names)?;
    session.for_each_name(&START, &[], names)
}

/// Restarts one process after another. Ends at the first that does not come to RUNNING, and names those that are left.
fn rolling_restart(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    if names.is_empty() {
        let why = "Error: restart --rolling requires a process name";
        return Err(CommandError::Exit(why.into(), exit::INVALID_ARGUMENTS));
    }
    let mut specs = session.specs(names)?;
    while !specs.is_empty() {
        let spec = specs.remove(0);
        session.for_each_name(&STOP, &[], &[&spec])?;
        if session.exit == exit::OK {
            session.for_each_name(&START, &[], &[&spec])?;
        }
        if session.exit != exit::OK {
            session.exit = exit::FAILED;
            if !specs.is_empty() {
                session.out.line(&format!("not restarted: {}", specs.join(", ")));
            }
            break;
        }
    }
    Ok(())
}

impl Session {
    /// The processes that these names mean; an unknown one is an error.
    fn specs(&mut self, names: &[&str]) -> Result<Vec<String>, CommandError> {
        let infos = self.call("getAllProcessInfo", &[])?;
        let (found, unknown) = matching(infos.as_array().unwrap_or_default(), names);
        if let Some(name) = unknown.first() {
            return Err(CommandError::Exit(unknown_name(name), exit::FAILED));
        }
        Ok(found.into_iter().map(format::namespec_of).collect())
    }
}

/// The infos of the processes that match `names`, in the order of `names`, and the names that match none.
pub fn matching<'a, 'n>(infos: &'a [Value], names: &[&'n str]) -> (Vec<&'a Value>, Vec<&'n str>) {
    if names.is_empty() || names.contains(&"all") {
        return (infos.iter().collect(), Vec::new());
    }
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        let (group, process) = split_namespec(name);
        let before = found.len();
        found.extend(infos.iter().filter(|info| {
            text(info, "group") == group && process.is_none_or(|process| text(info, "name") == process)
        }));
        if found.len() == before {
            unknown.push(*name);
        }
    }
    (found, unknown)
}

/// The message of `status` and `rsup health` for an unknown name.
#[must_use]
pub fn unknown_name(name: &str) -> String {
    match split_namespec(name) {
        (group, None) => format!("{group}: ERROR (no such group)"),
        _ => format!("{name}: ERROR (no such process)"),
    }
}

fn status(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    let all = session.call("getAllProcessInfo", &[])?;
    let (infos, unknown) = matching(all.as_array().unwrap_or_default(), names);
    for name in &unknown {
        session.out.line(&unknown_name(name));
        session.suggest_process(name)?;
    }
    let value = Value::Array(infos.iter().map(|info| (*info).clone()).collect());
    session.out.whole(&format::status_table(&infos), value);
    if !unknown.is_empty() {
        session.exit = exit::UNKNOWN;
    }
    if infos.iter().any(|info| state(info).is_some_and(State::is_stopped)) {
        session.exit = exit::NOT_THERE;
    }
    Ok(())
}

fn open(session: &mut Session, words: &[&str]) -> Result<(), CommandError> {
    let url = words.join(" ");
    if !url.starts_with("unix:") && !url.starts_with("http:") {
        return failed("ERROR: url must be http:// or unix://");
    }
    let before = session.exit;
    session.client = session.client.with_url(&url);
    session.run_line(if session.out.is_json() { "status --json" } else { "status" });
    session.out.done();
    session.exit = before;
    Ok(())
}

fn pid(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    if names.is_empty() {
        let pid = session.call("getPID", &[])?.as_int().unwrap_or_default();
        session.out.whole(&pid.to_string(), object(&[("pid", pid.into())]));
        return Ok(());
    }
    let show = |session: &mut Session, info: &Value| {
        let pid = number(info, "pid");
        session.out.item(&pid.to_string(), &[("name", namespec_of(info).into()), ("pid", pid.into())]);
        pid
    };
    if names.contains(&"all") {
        let infos = session.call("getAllProcessInfo", &[])?;
        infos.as_array().unwrap_or_default().iter().for_each(|info| _ = show(session, info));
        return Ok(());
    }
    for name in names {
        let known = [KnownFault::error(FaultCode::BadName, "No such process {name}")];
        let Some(info) = session.call_or_report("getProcessInfo", &[Value::from(*name)], name, &known)? else {
            continue;
        };
        if show(session, &info) == 0 {
            session.exit = exit::NOT_RUNNING;
        }
    }
    Ok(())
}

/// The offset for the argument `-N` (`modifier`) of `tail`, negative to count from the end; `None`: `-f`, follow the log.
fn offset_of(modifier: Option<&str>) -> Result<Option<i64>, CommandError> {
    let Some(modifier) = modifier else { return Ok(Some(TAIL_BYTES.wrapping_neg())) };
    match modifier.strip_prefix('-').map(|what| (what, what.parse::<i64>().map(i64::checked_neg))) {
        Some(("f", _)) => Ok(None),
        Some((_, Ok(Some(offset)))) => Ok(Some(offset)),
        _ => failed(&format!("Error: bad argument {modifier}")),
    }
}

fn tail(session: &mut Session, words: &[&str]) -> Result<(), CommandError> {
    let (modifier, words) = match words {
        [first, rest @ ..] if first.starts_with('-') => (Some(*first), rest),
        _ => (None, words),
    };
    let (name, channel) = match words {
        [] => return failed("Error: tail requires process name"),
        [name] => (*name, "stdout".to_owned()),
        [name, .., channel] => (*name, channel.to_lowercase()),
    };
    let method = match &*channel {
        "stdout" => "readProcessStdoutLog",
        "stderr" => "readProcessStderrLog",
        other => return failed(&format!("Error: bad channel '{other}'")),
    };
    show(session, modifier, name, &follow::log_path(name, &channel), method, &[name.into()])
}

fn maintail(session: &mut Session, words: &[&str]) -> Result<(), CommandError> {
    show(session, words.first().copied(), "supervisord", "/mainlogtail", "readLog", &[])
}

/// Shows the end of the log of `name`, which `method` reads, or follows the log at `path`. `process`: parameters that select the
/// process; empty for the main log.
fn show(
    session: &mut Session,
    modifier: Option<&str>,
    name: &str,
    path: &str,
    method: &str,
    process: &[Value],
) -> Result<(), CommandError> {
    let Some(offset) = offset_of(modifier)? else { return follow::follow_log(session, path) };
    let mut known: Vec<KnownFault> = vec![
        KnownFault::error(FaultCode::NoFile, "{name}: ERROR (no log file)"),
        KnownFault::error(FaultCode::Failed, "{name}: ERROR (unknown error reading log)"),
    ];
    if !process.is_empty() {
        known.push(KnownFault::error(FaultCode::BadName, "{name}: ERROR (no such process name)"));
    }
    let params = [process, &[offset.into(), 0.into()]].concat();
    let Some(log) = session.call_or_report(method, &params, name, &known)? else { return Ok(()) };
    if session.out.is_json() {
        session.out.whole("", object(&[("name", name.into()), ("log", log)]));
    } else {
        let mut filter = TerminalFilter::default();
        session.out.log(log.as_str().unwrap_or_default().as_bytes(), &mut filter);
        session.out.log(b"\n", &mut filter);
    }
    Ok(())
}

fn fg(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    let [name] = names else { return failed("ERROR: too many process names supplied") };
    let known = [KnownFault::error(FaultCode::BadName, "ERROR: bad process name supplied")];
    match session.call_or_report("getProcessInfo", &[Value::from(*name)], name, &known) {
        Ok(Some(info)) if state(&info) == Some(State::Running) => follow::foreground(session, name, &info),
        Ok(Some(_)) => failed("ERROR: process not running"),
        Ok(None) => Ok(()),
        Err(CommandError::Fault(fault)) => {
            session.out.line(&follow::shown(&fault));
            Ok(())
        }
        Err(other) => Err(other),
    }
}

fn failed<T>(line: &str) -> Result<T, CommandError> {
    Err(CommandError::Exit(line.to_owned(), exit::FAILED))
}

fn shutdown(session: &mut Session, _: &[&str]) -> Result<(), CommandError> {
    let known = KnownFault::note(FaultCode::ShutdownState, "ERROR: already shutting down");
    match session.end("shutdown", "Really shut the remote supervisord process down y/N? ", known, "Shut down") {
        Err(gone @ (CommandError::Refused | CommandError::NoFile)) => {
            failed(&format!("ERROR: {} {gone} (already shut down?)", session.client.url))
        }
        answer => answer,
    }
}

fn reload(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    if !names.is_empty() {
        return reload_programs(session, names);
    }
    let known = KnownFault::error(FaultCode::ShutdownState, "ERROR: already shutting down");
    session.end("restart", "Really restart the remote supervisord process y/N? ", known, "Restarted supervisord")
}

fn reload_programs(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    if let (Wording::Supervisor, Some(command)) = (session.wording, find_command("reload")) {
        return Err(command.misused("Error: reload accepts no arguments"));
    }
    for spec in session.specs(names)? {
        match session.call("rsup.reloadProcess", &[spec.as_str().into()]) {
            Ok(_) => session.out.item(&format!("{spec}: reloaded"), &[("name", spec.as_str().into())]),
            Err(CommandError::Fault(fault)) => {
                let error = [("name", spec.as_str().into()), ("error", fault.text.as_str().into())];
                session.out.item(&format!("{spec}: ERROR ({})", fault.text), &error);
                session.exit = exit::FAILED;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn avail(session: &mut Session, _: &[&str]) -> Result<(), CommandError> {
    let known = [KnownFault::error(FaultCode::ShutdownState, "ERROR: supervisor shutting down")];
    let Some(infos) = session.call_or_report("getAllConfigInfo", &[], "", &known)? else { return Ok(()) };
    let lines: Vec<String> = infos.as_array().unwrap_or_default().iter().map(format::avail_line).collect();
    session.out.whole(&lines.join("\n"), infos);
    Ok(())
}

/// The names of groups that differ between the configuration in use and the one that was just read.
struct ChangedGroups {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

/// Makes the server read its configuration again; `None`: the call failed with a known fault, which is reported.
fn reload_config(session: &mut Session, known: &[KnownFault]) -> Result<Option<ChangedGroups>, CommandError> {
    let Some(answer) = session.call_or_report("reloadConfig", &[], "", known)? else { return Ok(None) };
    let names = |list: &Value| {
        list.as_array().unwrap_or_default().iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()
    };
    match answer.as_array().and_then(|outer| outer.first()?.as_array()) {
        Some([added, changed, removed]) => {
            Ok(Some(ChangedGroups { added: names(added), changed: names(changed), removed: names(removed) }))
        }
        _ => Err(CommandError::Other("unexpected answer of the server to reloadConfig".into())),
    }
}

fn reread(session: &mut Session, _: &[&str]) -> Result<(), CommandError> {
    let known = [
        KnownFault::error(FaultCode::ShutdownState, "ERROR: supervisor shutting down"),
        KnownFault::error(FaultCode::CantReread, "ERROR: {text}"),
    ];
    let Some(ChangedGroups { added, changed, removed }) = reload_config(session, &known)? else { return Ok(()) };
    let labelled = [(added, "available"), (changed, "changed"), (removed, "disappeared")];
    let mut all: Vec<(String, &str)> =
        labelled.into_iter().flat_map(|(names, label)| names.into_iter().map(move |name| (name, label))).collect();
    all.sort();
    all.iter().for_each(|(name, label)| session.done(name, label));
    if all.is_empty() && !session.out.is_json() {
        session.out.line("No config updates to processes");
    }
    Ok(())
}

const NO_SUCH_GROUP: KnownFault = KnownFault::error(FaultCode::BadName, "ERROR: no such process/group: {name}");

fn add(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    let known = [
        NO_SUCH_GROUP,
        KnownFault::error(FaultCode::ShutdownState, "ERROR: shutting down"),
        KnownFault::note(FaultCode::AlreadyAdded, "ERROR: process group already active"),
    ];
    let added = session.for_each_group("addProcessGroup", names, "added", &known)?;
    session.show_spawn_errors(&added)
}

fn remove(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    let known =
        [NO_SUCH_GROUP, KnownFault::error(FaultCode::StillRunning, "ERROR: process/group still running: {name}")];
    session.for_each_group("removeProcessGroup", names, "removed", &known).map(drop)
}

/// supervisor-behaviour.md §8.5.
fn update(session: &mut Session, names: &[&str]) -> Result<(), CommandError> {
    let known = [KnownFault::error(FaultCode::ShutdownState, "ERROR: already shutting down")];
    let Some(ChangedGroups { added, changed, removed }) = reload_config(session, &known)? else { return Ok(()) };
    let only = if names.contains(&"all") { &[] } else { names };
    if !only.is_empty() {
        let infos = session.call("getAllProcessInfo", &[])?;
        let infos = infos.as_array().unwrap_or_default();
        for (at, name) in only.iter().enumerate() {
            let known =
                infos.iter().any(|info| text(info, "group") == *name) || added.iter().any(|group| group == name);
            let is_repeated = only.iter().take(at).any(|earlier| earlier == name);
            if !known && !is_repeated {
                session.fail(&format!("ERROR: no such group: {name}"));
                session.suggest_group(name)?;
            }
        }
    }
    let chosen = |group: &&String| only.is_empty() || only.contains(&group.as_str());
    for group in removed.iter().filter(chosen) {
        let results = stop_group(session, group)?;
        let failed = |result: &Value| number(result, "status") == FaultCode::Failed as i64;
        if results.as_array().unwrap_or_default().iter().any(failed) {
            session.fail(&format!("{group}: has problems; not removing"));
            continue;
        }
        session.for_each_group("removeProcessGroup", &[group], "removed", &[])?;
    }
    let mut started: Vec<&str> = Vec::new();
    for group in changed.iter().filter(chosen) {
        stop_group(session, group)?;
        session.call("removeProcessGroup", &[group.as_str().into()])?;
        started.extend(session.for_each_group("addProcessGroup", &[group.as_str()], "updated", &[])?);
    }
    for group in added.iter().filter(chosen) {
        started.extend(session.for_each_group("addProcessGroup", &[group.as_str()], "added", &[])?);
    }
    session.show_spawn_errors(&started)
}

fn stop_group(session: &mut Session, group: &str) -> Result<Value, CommandError> {
    let results = session.call("stopProcessGroup", &[group.into()])?;
    session.done(group, "stopped");
    Ok(results)
}

fn version(session: &mut Session, _: &[&str]) -> Result<(), CommandError> {
    let version = session.call("getSupervisorVersion", &[])?;
    session.out.whole(version.as_str().unwrap_or_default(), object(&[("version", version.clone())]));
    Ok(())
}

fn quit(session: &mut Session, _: &[&str]) -> Result<(), CommandError> {
    session.out.done();
    session.out.line("");
    Ok(())
}
