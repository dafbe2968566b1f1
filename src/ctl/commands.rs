//! The commands of `rsupctl`, a table row each, with supervisorctl's output and exit codes (census §1.4 and §8).
use std::io::{IsTerminal as _, Write as _};

use super::client::{Client, Trouble};
use super::format::{self, number, text};
use crate::wire::json::json;
use crate::wire::xmlrpc::{Fault, Value};

/// A command.
struct Command {
    name: &'static str,
    /// What may follow, for the help.
    arguments: &'static str,
    /// How many words may follow.
    words: Words,
    /// Whether the server is asked for its version first, so that trouble has its own messages and exit codes.
    checks_up: bool,
    help: &'static str,
    run: Run,
}

/// How many words a command takes, and what to say otherwise.
struct Words {
    least: usize,
    most: usize,
    too_few: &'static str,
    exit: u8,
}

const fn words(least: usize, most: usize, too_few: &'static str) -> Words {
    Words { least, most, too_few, exit: exit::FAILED }
}

const ANY: Words = words(0, usize::MAX, "");
const NONE: Words = words(0, 0, "");

type Run = fn(&mut Session, &[&str]) -> Result<(), Trouble>;

const fn direct(name: &'static str, arguments: &'static str, words: Words, run: Run, help: &'static str) -> Command {
    Command { name, arguments, words, checks_up: false, help, run }
}

const fn checked(name: &'static str, arguments: &'static str, words: Words, run: Run, help: &'static str) -> Command {
    Command { checks_up: true, ..direct(name, arguments, words, run, help) }
}

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    direct("add", "<group>...", ANY, add, "Activate groups that the configuration has gained"),
    direct("avail", "", NONE, avail, "List what is configured, in use or not"),
    checked("clear", "<name>... | all", words(1, usize::MAX, "clear requires a process name"),
        |s, names| s.each(&CLEAR, &[], names), "Empty the logs of processes"),
    direct("exit", "", ANY, quit, "Leave the shell"),
    checked("fg", "<name>", ANY, |s, _| s.unsupported("fg"), "Connect to a process: see its output, type its input"),
    checked("maintail", "[-f | -<bytes>]", words(0, 1, ""), maintail,
        "Show the end of the supervisor's own log (1600 bytes)"),
    direct("open", "<url>", ANY, open, "Show the status of another server (http:// or unix://)"),
    checked("pid", "[<name>... | all]", ANY, pid, "Show the pid of the supervisor, or of processes"),
    direct("quit", "", ANY, quit, "Leave the shell"),
    direct("reload", "", NONE, reload, "Restart the supervisor: stop all, read the configuration, start again"),
    direct("remove", "<group>...", ANY, remove, "Take stopped groups out of use"),
    direct("reread", "", NONE, reread, "Read the configuration and say what has changed, without acting on it"),
    checked("restart", "<name>... | <group>:*... | all", words(1, usize::MAX, "restart requires a process name"),
        restart, "Stop, then start; the configuration is not read again (see reread and update)"),
    direct("shutdown", "", NONE, shutdown, "Stop all processes and end the supervisor"),
    checked("signal", "<signal> <name>... | <group>:*... | all",
        words(2, usize::MAX, "signal requires a signal name and a process name"), signal, "Send a signal to processes"),
    checked("start", "<name>... | <group>:*... | all",
        Words { exit: exit::INVALID_ARGUMENTS, ..words(1, usize::MAX, "start requires a process name") },
        |s, names| s.each(&START, &[], names), "Start processes"),
    checked("status", "[<name>... | <group>:*... | all]", ANY, status, "Show states, pids and uptimes"),
    checked("stop", "<name>... | <group>:*... | all", words(1, usize::MAX, "stop requires a process name"),
        |s, names| s.each(&STOP, &[], names), "Stop processes"),
    checked("tail", "[-f | -<bytes>] <name> [stdout | stderr]", words(1, 3, "too few arguments"), tail,
        "Show the end of a process's log (1600 bytes)"),
    direct("update", "[<group>... | all]", ANY, update,
        "Read the configuration and act on what has changed; changed programs restart"),
    checked("version", "", NONE, version, "Show the supervisor's version"),
];

/// Exit codes (census §1.4).
pub mod exit {
    /// All went well.
    pub const OK: u8 = 0;
    /// Something failed.
    pub const FAILED: u8 = 1;
    /// Bad command line or configuration; no such group.
    pub const INVALID_ARGUMENTS: u8 = 2;
    /// The server has no `supervisor` namespace; of `status`: a process is stopped.
    pub const NOT_THERE: u8 = 3;
    /// Connection refused; of `status`: the server or a name is unknown.
    pub const UNKNOWN: u8 = 4;
    /// The server speaks another version of the interface.
    pub const OTHER_VERSION: u8 = 5;
    /// The process is not running, or the server's socket is missing.
    pub const NOT_RUNNING: u8 = 7;
}

/// Fault codes that mean something to a command (census §7.4).
pub mod fault {
    pub const UNKNOWN_METHOD: i64 = 1;
    pub const SHUTDOWN_STATE: i64 = 6;
    pub const BAD_NAME: i64 = 10;
    pub const BAD_SIGNAL: i64 = 11;
    pub const NO_FILE: i64 = 20;
    pub const NOT_EXECUTABLE: i64 = 21;
    pub const FAILED: i64 = 30;
    pub const ABNORMAL_TERMINATION: i64 = 40;
    pub const SPAWN_ERROR: i64 = 50;
    pub const ALREADY_STARTED: i64 = 60;
    pub const NOT_RUNNING: i64 = 70;
    pub const SUCCESS: i64 = 80;
    pub const ALREADY_ADDED: i64 = 90;
    pub const STILL_RUNNING: i64 = 91;
    pub const CANT_REREAD: i64 = 92;
}

/// The interface that we speak (getVersion).
const API_VERSION: &str = "3.0";
/// How much of a log `tail` shows, in bytes.
const TAIL_BYTES: i64 = 1600;

/// What is to be written to stdout; written before each wait for the server and at the end, so mostly once.
pub struct Output {
    pending: String,
    is_terminal: bool,
    failed: bool,
}

impl Output {
    /// Our own stdout.
    #[must_use]
    pub fn stdout() -> Self {
        Self { pending: String::new(), is_terminal: std::io::stdout().is_terminal(), failed: false }
    }

    /// A line, harmless to a terminal.
    pub fn line(&mut self, line: &str) {
        self.pending.push_str(&if self.is_terminal { format::harmless(line) } else { line.into() });
        self.pending.push('\n');
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(self.pending.as_bytes()).and_then(|()| stdout.flush());
            self.failed |= written.is_err();
            self.pending.clear();
        }
    }
}

/// One use of the client.
pub struct Session {
    /// The server.
    pub client: Client,
    /// stdout.
    pub out: Output,
    /// What to exit with; a later success does not reset it.
    pub exit: u8,
    /// Ask before what ends everything.
    pub interactive: bool,
    /// `status` as JSON.
    pub json: bool,
}

impl Session {
    /// Runs one command line and gives the exit code.
    pub fn run(mut self, line: &str) -> u8 {
        self.one(line.trim());
        self.out.flush();
        if self.out.failed && self.exit == exit::OK { exit::FAILED } else { self.exit }
    }

    /// Answers a command line without an action.
    pub fn without_action(mut self) -> u8 {
        self.fail("Error: this version of rsupctl has no interactive shell; give an action:");
        self.help("");
        self.out.flush();
        self.exit
    }

    fn one(&mut self, line: &str) {
        let line = line.strip_prefix('?').map_or_else(|| line.to_owned(), |topic| format!("help {topic}"));
        let name_ends = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
        let (name, arguments) = line.split_at(name_ends);
        if name == "help" {
            return self.help(arguments.trim());
        }
        let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
            return self.fail(&format!("*** Unknown syntax: {line}"));
        };
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        if self.json && name != "status" {
            return self.fail("Error: --json is for status only");
        }
        if let Err(trouble) = self.command(command, &arguments) {
            let what = match trouble {
                Trouble::Unauthorized => trouble.to_string(),
                Trouble::Refused | Trouble::NoFile => format!("error: {} {trouble}", self.client.url),
                // Differs from Supervisor: it prints the class of a Python exception and a line of its source.
                Trouble::Fault(_) | Trouble::Other(_) => format!("error: {trouble}"),
            };
            self.fail(&what);
        }
    }

    fn command(&mut self, command: &Command, arguments: &[&str]) -> Result<(), Trouble> {
        let Words { least, most, too_few, exit } = command.words;
        if most == 0 && !arguments.is_empty() {
            self.misused(command, &format!("{} accepts no arguments", command.name), exit);
            return Ok(());
        }
        if command.checks_up && !self.is_up()? {
            if command.name == "status" {
                self.exit = exit::UNKNOWN;
            }
            return Ok(());
        }
        if arguments.len() < least || arguments.len() > most {
            let complaint = if arguments.len() < least { too_few } else { "too many arguments" };
            self.misused(command, complaint, exit);
            return Ok(());
        }
        (command.run)(self, arguments)
    }

    fn misused(&mut self, command: &Command, complaint: &str, exit: u8) {
        self.out.line(&format!("Error: {complaint}"));
        self.out.line(&command.help_text());
        self.exit = exit;
    }

    fn fail(&mut self, line: &str) {
        self.out.line(line);
        self.exit = exit::FAILED;
    }

    /// Shows a log, if there is one. Not made harmless: colours are wanted, and XML carries few control characters.
    fn log(&mut self, log: Option<Value>) -> Result<(), Trouble> {
        if let Some(log) = log {
            self.out.pending.push_str(log.as_str().unwrap_or_default());
            self.out.pending.push('\n');
        }
        Ok(())
    }

    fn unsupported(&mut self, what: &str) -> Result<(), Trouble> {
        self.fail(&format!("Error: {what} is not supported by this version of rsupctl"));
        Ok(())
    }

    fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Trouble> {
        self.out.flush();
        self.client.call(method, params)
    }

    /// Calls a method; a fault that is known is answered with its line, and gives `None`.
    fn ask(&mut self, method: &str, params: &[Value], name: &str, known: &[Known]) -> Result<Option<Value>, Trouble> {
        match self.call(method, params) {
            Err(Trouble::Fault(fault)) => {
                let Some((_, line, fails)) = known.iter().find(|(code, ..)| *code == fault.code) else {
                    return Err(Trouble::Fault(fault));
                };
                self.out.line(&line.replace("{name}", name).replace("{text}", &fault.text));
                self.exit = if *fails { exit::FAILED } else { self.exit };
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// Asks the server for its version.
    fn is_up(&mut self) -> Result<bool, Trouble> {
        let url = self.client.url.clone();
        let (why, exit) = match self.call("getVersion", &[]) {
            Ok(version) if version.as_str() == Some(API_VERSION) => return Ok(true),
            Ok(version) => {
                let theirs = version.as_str().unwrap_or("unknown").to_owned();
                (format!("{url} speaks API version {theirs}, rsupctl {API_VERSION}"), exit::OTHER_VERSION)
            }
            Err(Trouble::Fault(Fault { code: fault::UNKNOWN_METHOD, .. })) => (no_namespace(&url), exit::NOT_THERE),
            Err(Trouble::Refused) => (format!("{url} refused connection"), exit::UNKNOWN),
            Err(Trouble::NoFile) => (format!("{url} no such file"), exit::NOT_RUNNING),
            Err(other) => return Err(other),
        };
        self.out.line(&why);
        self.exit = exit;
        Ok(false)
    }

    fn help(&mut self, topic: &str) {
        if topic.is_empty() {
            let header = "default commands (type help <topic>):";
            let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
            let list = format!("\n{header}\n{}\n{}\n", "=".repeat(header.len()), format::columns(&names));
            return self.out.line(&list);
        }
        match COMMANDS.iter().find(|command| command.name == topic) {
            Some(command) => self.out.line(&command.help_text()),
            None if topic == "help" => self.out.line("help [<command>]\tList the commands, or explain one"),
            None => self.out.line(&format!("*** No help on {topic}")),
        }
    }

    /// `start`, `stop`, `signal`, `clear`: the same for each name.
    fn each(&mut self, verb: &Verb, extra: &[Value], names: &[&str]) -> Result<(), Trouble> {
        if names.contains(&"all") {
            let results = self.call(verb.all, extra)?;
            return self.results(verb, &results);
        }
        for name in names {
            let with = |first: &str| [&[Value::from(first)], extra].concat();
            match (format::split_namespec(name), verb.group) {
                ((group, None), Some(method)) => match self.call(method, &with(group)) {
                    Ok(results) => self.results(verb, &results)?,
                    Err(Trouble::Fault(Fault { code: fault::BAD_NAME, .. })) => {
                        self.out.line(&format!("{group}: ERROR (no such group)"));
                        self.exit = verb.no_group_exit;
                    }
                    Err(other) => return Err(other),
                },
                ((group, process), _) => {
                    let spec = process.map_or_else(|| (*name).to_owned(), |process| format::namespec(group, process));
                    match self.call(verb.one, &with(name)) {
                        Ok(_) => self.result(verb, &spec, fault::SUCCESS, "")?,
                        Err(Trouble::Fault(fault)) => self.result(verb, &spec, fault.code, &fault.text)?,
                        Err(other) => return Err(other),
                    }
                }
            }
        }
        Ok(())
    }

    fn results(&mut self, verb: &Verb, results: &Value) -> Result<(), Trouble> {
        for result in results.as_array().unwrap_or_default() {
            let spec = format::namespec_of(result);
            self.result(verb, &spec, number(result, "status"), text(result, "description"))?;
        }
        Ok(())
    }

    fn result(&mut self, verb: &Verb, spec: &str, code: i64, description: &str) -> Result<(), Trouble> {
        if code == fault::SUCCESS {
            self.out.line(&format!("{spec}: {}", verb.done));
            return Ok(());
        }
        match verb.faults.iter().find(|(known, _)| *known == code) {
            Some((_, "")) => self.out.line(description),
            Some((_, why)) => self.out.line(&format!("{spec}: ERROR ({why})")),
            None => return Err(Trouble::Other(format!("{spec}: {description}"))),
        }
        match code {
            _ if Some(code) == verb.tolerated => {}
            fault::SPAWN_ERROR | fault::ABNORMAL_TERMINATION | fault::NOT_RUNNING => self.exit = exit::NOT_RUNNING,
            _ => self.exit = exit::FAILED,
        }
        Ok(())
    }

    /// `add` and `remove`.
    fn each_group(&mut self, method: &str, names: &[&str], done: &str, known: &[Known]) -> Result<(), Trouble> {
        for name in names {
            if self.ask(method, &[Value::from(*name)], name, known)?.is_some() {
                self.out.line(&format!("{name}: {done} process group"));
            }
        }
        Ok(())
    }

    /// `shutdown` and `reload`: asks on the terminal first, where `-i` was given; anything but a yes is a no.
    fn end(&mut self, method: &str, question: &str, known: Known, done: &str) -> Result<(), Trouble> {
        if self.interactive {
            self.out.pending.push_str(question);
            self.out.flush();
            let mut answer = String::new();
            match std::io::stdin().read_line(&mut answer) {
                Ok(0) => return Err(Trouble::Other("no answer".into())),
                Ok(_) if answer.starts_with(['y', 'Y']) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(Trouble::Other(error.to_string())),
            }
        }
        if self.ask(method, &[], "", &[known])?.is_some() {
            self.out.line(done);
        }
        Ok(())
    }
}

impl Command {
    fn help_text(&self) -> String {
        let gap = if self.arguments.is_empty() { "" } else { " " };
        format!("{}{gap}{}\t{}", self.name, self.arguments, self.help)
    }
}

/// A fault that a command knows: its code, the line that answers it, whether it fails the command.
type Known = (i64, &'static str, bool);

/// How `start` and its like differ.
struct Verb {
    all: &'static str,
    /// Where it is missing, a group is sent as if it were a process.
    group: Option<&'static str>,
    one: &'static str,
    done: &'static str,
    no_group_exit: u8,
    /// A fault that leaves the exit code alone.
    tolerated: Option<i64>,
    /// What faults are called; an empty text stands for the server's own.
    faults: &'static [(i64, &'static str)],
}

const START: Verb = Verb {
    all: "startAllProcesses",
    group: Some("startProcessGroup"),
    one: "startProcess",
    done: "started",
    no_group_exit: exit::INVALID_ARGUMENTS,
    tolerated: Some(fault::ALREADY_STARTED),
    faults: &[
        (fault::BAD_NAME, "no such process"),
        (fault::NO_FILE, "no such file"),
        (fault::NOT_EXECUTABLE, "file is not executable"),
        (fault::ALREADY_STARTED, "already started"),
        (fault::SPAWN_ERROR, "spawn error"),
        (fault::ABNORMAL_TERMINATION, "abnormal termination"),
    ],
};

const SIGNAL: Verb = Verb {
    all: "signalAllProcesses",
    group: Some("signalProcessGroup"),
    one: "signalProcess",
    done: "signalled",
    no_group_exit: exit::FAILED,
    tolerated: None,
    faults: &[
        (fault::BAD_NAME, "no such process"),
        (fault::BAD_SIGNAL, "bad signal name"),
        (fault::NOT_RUNNING, "not running"),
        (fault::FAILED, ""),
    ],
};

const STOP: Verb = Verb {
    all: "stopAllProcesses",
    group: Some("stopProcessGroup"),
    one: "stopProcess",
    done: "stopped",
    tolerated: Some(fault::NOT_RUNNING),
    ..SIGNAL
};

const CLEAR: Verb = Verb {
    all: "clearAllProcessLogs",
    group: None,
    one: "clearProcessLogs",
    done: "cleared",
    tolerated: None,
    faults: &[(fault::BAD_NAME, "no such process"), (fault::FAILED, "failed")],
    ..SIGNAL
};

fn signal(session: &mut Session, words: &[&str]) -> Result<(), Trouble> {
    let Some((signal, names)) = words.split_first() else { return Ok(()) };
    session.each(&SIGNAL, &[Value::from(*signal)], names)
}

fn restart(session: &mut Session, names: &[&str]) -> Result<(), Trouble> {
    session.each(&STOP, &[], names)?;
    session.each(&START, &[], names)
}

/// What to say to a server that lacks the methods that we use.
pub fn no_namespace(url: &str) -> String {
    format!("{url} does not know the supervisor methods: has it a section [rpcinterface:supervisor]?")
}

/// Whether a process is in a state that Supervisor counts as stopped: STOPPED, EXITED, FATAL, UNKNOWN.
fn is_stopped(info: &Value) -> bool {
    matches!(number(info, "state"), 0 | 100 | 200 | 1000)
}

/// The infos that `names` mean, in their order, and the names that mean none.
pub fn matching<'a, 'n>(infos: &'a [Value], names: &[&'n str]) -> (Vec<&'a Value>, Vec<&'n str>) {
    if names.is_empty() || names.contains(&"all") {
        return (infos.iter().collect(), Vec::new());
    }
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        let (group, process) = format::split_namespec(name);
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

/// What `status` and `rsup health` say of a name that means nothing.
#[must_use]
pub fn unknown_name(name: &str) -> String {
    match format::split_namespec(name) {
        (group, None) => format!("{group}: ERROR (no such group)"),
        _ => format!("{name}: ERROR (no such process)"),
    }
}

fn status(session: &mut Session, names: &[&str]) -> Result<(), Trouble> {
    // Differs from Supervisor: --json is a word of ours, also behind the command.
    session.json |= names.contains(&"--json");
    let names: Vec<&str> = names.iter().copied().filter(|name| *name != "--json").collect();
    let all = session.call("getAllProcessInfo", &[])?;
    let (infos, unknown) = matching(all.as_array().unwrap_or_default(), &names);
    if session.json {
        unknown.iter().for_each(|name| eprintln!("{}", unknown_name(name)));
        session.out.line(&json(&Value::Array(infos.iter().map(|info| (*info).clone()).collect())));
    } else {
        unknown.iter().for_each(|name| session.out.line(&unknown_name(name)));
        if !infos.is_empty() {
            session.out.line(&format::status_table(&infos));
        }
    }
    if !unknown.is_empty() {
        session.exit = exit::UNKNOWN;
    }
    if infos.iter().any(|info| is_stopped(info)) {
        session.exit = exit::NOT_THERE;
    }
    Ok(())
}

fn open(session: &mut Session, words: &[&str]) -> Result<(), Trouble> {
    let url = words.join(" ");
    if !url.starts_with("unix:") && !url.starts_with("http:") {
        return failed(session, "ERROR: url must be http:// or unix://");
    }
    let before = session.exit;
    session.client = session.client.at(url);
    session.one("status");
    session.exit = before;
    Ok(())
}

fn pid(session: &mut Session, names: &[&str]) -> Result<(), Trouble> {
    if names.is_empty() {
        let pid = session.call("getPID", &[])?.as_int().unwrap_or_default();
        session.out.line(&pid.to_string());
    } else if names.contains(&"all") {
        for info in session.call("getAllProcessInfo", &[])?.as_array().unwrap_or_default() {
            session.out.line(&number(info, "pid").to_string());
        }
    } else {
        for name in names {
            let known = [(fault::BAD_NAME, "No such process {name}", true)];
            let Some(info) = session.ask("getProcessInfo", &[Value::from(*name)], name, &known)? else { continue };
            let pid = number(&info, "pid");
            session.out.line(&pid.to_string());
            session.exit = if pid == 0 { exit::NOT_RUNNING } else { session.exit };
        }
    }
    Ok(())
}

fn tail(session: &mut Session, words: &[&str]) -> Result<(), Trouble> {
    let (modifier, words) = match words {
        [first, rest @ ..] if first.starts_with('-') => (Some(*first), rest),
        _ => (None, words),
    };
    let (name, method) = match words {
        [] => return failed(session, "Error: tail requires process name"),
        [name] => (*name, "readProcessStdoutLog"),
        [name, .., channel] => match channel.to_lowercase().as_str() {
            "stdout" => (*name, "readProcessStdoutLog"),
            "stderr" => (*name, "readProcessStderrLog"),
            other => return failed(session, &format!("Error: bad channel '{other}'")),
        },
    };
    let Some(bytes) = tail_bytes(session, modifier)? else { return Ok(()) };
    let known = [NO_LOG, UNREADABLE_LOG, (fault::BAD_NAME, "{name}: ERROR (no such process name)", true)];
    let log = session.ask(method, &[name.into(), bytes.into(), 0.into()], name, &known)?;
    session.log(log)
}

const NO_LOG: Known = (fault::NO_FILE, "{name}: ERROR (no log file)", true);
const UNREADABLE_LOG: Known = (fault::FAILED, "{name}: ERROR (unknown error reading log)", true);

fn maintail(session: &mut Session, words: &[&str]) -> Result<(), Trouble> {
    let Some(bytes) = tail_bytes(session, words.first().copied())? else { return Ok(()) };
    let log = session.ask("readLog", &[bytes.into(), 0.into()], "supervisord", &[NO_LOG, UNREADABLE_LOG])?;
    session.log(log)
}

/// The offset that `-<bytes>` stands for; `None`: it has been answered.
fn tail_bytes(session: &mut Session, modifier: Option<&str>) -> Result<Option<i64>, Trouble> {
    let Some(modifier) = modifier else { return Ok(Some(TAIL_BYTES.wrapping_neg())) };
    match modifier.strip_prefix('-').map(|what| (what, what.parse::<i64>().map(i64::checked_neg))) {
        Some(("f", _)) => session.unsupported("-f")?,
        Some((_, Ok(Some(offset)))) => return Ok(Some(offset)),
        _ => session.fail(&format!("Error: bad argument {modifier}")),
    }
    Ok(None)
}

fn failed(session: &mut Session, line: &str) -> Result<(), Trouble> {
    session.fail(line);
    Ok(())
}

fn shutdown(session: &mut Session, _: &[&str]) -> Result<(), Trouble> {
    let known = (fault::SHUTDOWN_STATE, "ERROR: already shutting down", false);
    match session.end("shutdown", "Really shut the remote supervisord process down y/N? ", known, "Shut down") {
        Err(gone @ (Trouble::Refused | Trouble::NoFile)) => {
            session.fail(&format!("ERROR: {} {gone} (already shut down?)", session.client.url));
            Ok(())
        }
        answer => answer,
    }
}

fn reload(session: &mut Session, _: &[&str]) -> Result<(), Trouble> {
    let known = (fault::SHUTDOWN_STATE, "ERROR: already shutting down", true);
    session.end("restart", "Really restart the remote supervisord process y/N? ", known, "Restarted supervisord")
}

fn avail(session: &mut Session, _: &[&str]) -> Result<(), Trouble> {
    let known = [(fault::SHUTDOWN_STATE, "ERROR: supervisor shutting down", true)];
    let infos = session.ask("getAllConfigInfo", &[], "", &known)?;
    for info in infos.as_ref().and_then(Value::as_array).unwrap_or_default() {
        session.out.line(&format::avail_line(info));
    }
    Ok(())
}

/// Calls reloadConfig: groups added, changed and removed.
fn changes(session: &mut Session, known: &[Known]) -> Result<Option<[Vec<String>; 3]>, Trouble> {
    let Some(answer) = session.ask("reloadConfig", &[], "", known)? else { return Ok(None) };
    let names = |list: &Value| {
        list.as_array().unwrap_or_default().iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()
    };
    match answer.as_array().and_then(|outer| outer.first()?.as_array()) {
        Some([added, changed, removed]) => Ok(Some([names(added), names(changed), names(removed)])),
        _ => Err(Trouble::Other("the server's answer to reloadConfig is not understood".into())),
    }
}

fn reread(session: &mut Session, _: &[&str]) -> Result<(), Trouble> {
    let known =
        [(fault::SHUTDOWN_STATE, "ERROR: supervisor shutting down", true), (fault::CANT_REREAD, "ERROR: {text}", true)];
    let Some([added, changed, removed]) = changes(session, &known)? else { return Ok(()) };
    let labelled = [(added, "available"), (changed, "changed"), (removed, "disappeared")];
    let mut all: Vec<(String, &str)> =
        labelled.into_iter().flat_map(|(names, label)| names.into_iter().map(move |name| (name, label))).collect();
    all.sort();
    all.iter().for_each(|(name, label)| session.out.line(&format!("{name}: {label}")));
    if all.is_empty() {
        session.out.line("No config updates to processes");
    }
    Ok(())
}

const NO_SUCH_GROUP: Known = (fault::BAD_NAME, "ERROR: no such process/group: {name}", true);

fn add(session: &mut Session, names: &[&str]) -> Result<(), Trouble> {
    let known = [
        NO_SUCH_GROUP,
        (fault::SHUTDOWN_STATE, "ERROR: shutting down", true),
        (fault::ALREADY_ADDED, "ERROR: process group already active", false),
    ];
    session.each_group("addProcessGroup", names, "added", &known)
}

fn remove(session: &mut Session, names: &[&str]) -> Result<(), Trouble> {
    let known = [NO_SUCH_GROUP, (fault::STILL_RUNNING, "ERROR: process/group still running: {name}", true)];
    session.each_group("removeProcessGroup", names, "removed", &known)
}

/// Census §8.5.
fn update(session: &mut Session, names: &[&str]) -> Result<(), Trouble> {
    let known = [(fault::SHUTDOWN_STATE, "ERROR: already shutting down", true)];
    let Some([added, changed, removed]) = changes(session, &known)? else { return Ok(()) };
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
            }
        }
    }
    let chosen = |group: &&String| only.is_empty() || only.contains(&group.as_str());
    for group in removed.iter().filter(chosen) {
        let results = stop_group(session, group)?;
        let failed = |result: &Value| number(result, "status") == fault::FAILED;
        if results.as_array().unwrap_or_default().iter().any(failed) {
            session.fail(&format!("{group}: has problems; not removing"));
            continue;
        }
        session.each_group("removeProcessGroup", &[group], "removed", &[])?;
    }
    for group in changed.iter().filter(chosen) {
        stop_group(session, group)?;
        session.call("removeProcessGroup", &[group.as_str().into()])?;
        session.each_group("addProcessGroup", &[group], "updated", &[])?;
    }
    for group in added.iter().filter(chosen) {
        session.each_group("addProcessGroup", &[group], "added", &[])?;
    }
    Ok(())
}

fn stop_group(session: &mut Session, group: &str) -> Result<Value, Trouble> {
    let results = session.call("stopProcessGroup", &[group.into()])?;
    session.out.line(&format!("{group}: stopped"));
    Ok(results)
}

fn version(session: &mut Session, _: &[&str]) -> Result<(), Trouble> {
    let version = session.call("getSupervisorVersion", &[])?;
    session.out.line(version.as_str().unwrap_or_default());
    Ok(())
}

fn quit(session: &mut Session, _: &[&str]) -> Result<(), Trouble> {
    session.out.line("");
    Ok(())
}
