//! One run of the client: its server, its input and output, and its exit code.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::client::{CommandError, RpcClient};
use super::format::{self, TerminalFilter, state, text};
use super::interrupts::{InterruptHold, Interrupts};
use super::suggest;
use crate::fault::FaultCode;
use crate::json::json;
use crate::protocol::State;
use crate::stdout;
use crate::sys::errno;
use crate::text;
use crate::wire::xmlrpc::Value;

/// The longest wait for the list of processes that is shown as progress.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// Buffered output for stdout. It is written before each wait for the server and at the end, so usually once.
pub struct CommandOutput {
    /// The name that the client was called by, for its error messages.
    program: String,
    pending: Vec<u8>,
    is_terminal: bool,
    json: Json,
    /// A write to stdout has failed, or its reader has closed the pipe: nothing more can be shown.
    pub is_closed: bool,
    /// A write to stdout has failed for another reason than a closed pipe.
    pub failed: bool,
}

/// The JSON output of a command.
enum Json {
    /// The output is text, not JSON.
    Off,
    /// The items of an array, so far.
    Items(Vec<Value>),
    /// The complete output.
    Whole(Value),
    /// The output has already been printed.
    Done,
}

impl CommandOutput {
    fn stdout(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            pending: Vec::new(),
            is_terminal: io::stdout().is_terminal(),
            json: Json::Off,
            is_closed: false,
            failed: false,
        }
    }

    /// Prints a line of text, without control characters if stdout is a terminal. If stdout is JSON, prints it on stderr.
    pub fn line(&mut self, line: &str) {
        if self.is_json() {
            return stdout::report(&format!("{}\n", format::sanitized(line)));
        }
        let line = if self.is_terminal { format::sanitized(line) } else { line.into() };
        self.pending.extend_from_slice(&text::encode(&line));
        self.pending.push(b'\n');
    }

    /// Prints a line, or adds an object with `members` to the JSON output.
    pub fn item(&mut self, line: &str, members: &[(&str, Value)]) {
        if let Json::Items(items) = &mut self.json { items.push(object(members)) } else { self.line(line) }
    }

    /// Prints lines, if there are any, or makes `value` the whole JSON output.
    pub fn whole(&mut self, lines: &str, value: Value) {
        match self.json {
            Json::Off if lines.is_empty() => {}
            Json::Off => self.line(lines),
            _ => self.json = Json::Whole(value),
        }
    }

    /// Prints a piece of a log unchanged; if stdout is a terminal, without control characters except colours.
    pub fn log(&mut self, piece: &[u8], filter: &mut TerminalFilter) {
        if self.is_terminal { self.pending.extend(filter.feed(piece).bytes()) } else { self.pending.extend(piece) }
    }

    /// Whether stdout is JSON.
    pub fn is_json(&self) -> bool {
        !matches!(self.json, Json::Off)
    }

    /// Prints a JSON document immediately.
    pub fn document(&mut self, value: &Value) {
        self.pending.extend_from_slice(json(value).as_bytes());
        self.pending.push(b'\n');
        self.flush();
    }

    /// Starts the output of a command. `json`: as JSON.
    pub fn begin_command(&mut self, json: bool) {
        self.json = if json { Json::Items(Vec::new()) } else { Json::Off };
    }

    /// Ends the output of a command: prints the JSON. A command that failed without output prints no empty array.
    pub fn end_command(&mut self, succeeded: bool) {
        match &mut self.json {
            Json::Items(items) if succeeded || !items.is_empty() => {
                let all = Value::Array(std::mem::take(items));
                self.document(&all);
            }
            Json::Whole(value) => {
                let all = value.clone();
                self.document(&all);
            }
            _ => {}
        }
    }

    /// Marks the JSON output as complete, so that nothing more is printed, not even an empty array.
    pub fn done(&mut self) {
        if self.is_json() {
            self.json = Json::Done;
        }
    }

    /// Writes what is pending.
    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            // Only the first failure is reported. A reader that closes the pipe (`| head`) is not an error.
            if let Err(why) = stdout::write_all(io::stdout(), &self.pending) {
                if why != Errno::EPIPE && !self.is_closed {
                    let (program, name) = (&self.program, errno::ErrnoName(why as i32));
                    stdout::report(&format!("{program}: cannot write to stdout: {name}\n"));
                }
                self.is_closed = true;
                self.failed |= why != Errno::EPIPE;
            }
            self.pending.clear();
        }
    }
}

/// A JSON object.
pub fn object(members: &[(&str, Value)]) -> Value {
    Value::Struct(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// Reads stdin line by line. All reads go through here, because bytes after a line are kept in the buffer.
#[derive(Default)]
pub struct StdinLines {
    buffer: Vec<u8>,
    /// Set if Ctrl-C must not end the client.
    interrupts: Option<Rc<Interrupts>>,
}

/// The result of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its newline.
    Text(String),
    /// Ctrl-C was pressed.
    Interrupted,
    /// End of input.
    End,
}

impl StdinLines {
    /// Waits for a line.
    pub fn line(&mut self) -> Line {
        loop {
            if let Some(line) = self.buffered(false) {
                return Line::Text(line);
            }
            if !self.wait(io::stdin().as_fd()) {
                return Line::Interrupted;
            }
            if !self.fill() {
                return self.buffered(true).map_or(Line::End, Line::Text);
            }
        }
    }

    /// Waits until there is something to read; `false`: Ctrl-C was pressed.
    fn wait(&self, source: BorrowedFd<'_>) -> bool {
        let Some(interrupts) = &self.interrupts else { return true };
        loop {
            let mut watched =
                [PollFd::new(interrupts.as_fd(), PollFlags::POLLIN), PollFd::new(source, PollFlags::POLLIN)];
            let woken = poll(&mut watched, PollTimeout::NONE);
            if interrupts.take() {
                return false;
            }
            if woken != Err(Errno::EINTR) {
                return true;
            }
        }
    }

    /// A line from the buffer; `at_end`: also one without a newline.
    pub fn buffered(&mut self, at_end: bool) -> Option<String> {
        let newline = self.buffer.iter().position(|byte| *byte == b'\n');
        let length = newline.or(Some(self.buffer.len()).filter(|&length| at_end && length > 0))?;
        let line: Vec<u8> = self.buffer.drain(..length).collect();
        self.buffer.drain(..usize::from(newline.is_some()));
        Some(text::decode(&line))
    }

    /// Reads once, and waits if necessary; `false`: end of input.
    pub fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        match nix::unistd::read(io::stdin(), &mut piece) {
            Err(Errno::EINTR) => true,
            Err(_) | Ok(0) => false,
            Ok(bytes) => {
                self.buffer.extend_from_slice(piece.get(..bytes).unwrap_or_default());
                true
            }
        }
    }
}

/// Exit codes (supervisor-behaviour.md §1.4).
pub mod exit {
    /// Success.
    pub const OK: u8 = 0;
    /// Something failed.
    pub const FAILED: u8 = 1;
    /// Invalid command line or configuration, or an unknown group.
    pub const INVALID_ARGUMENTS: u8 = 2;
    /// The server has no `supervisor` namespace; for `status`: a process is stopped.
    pub const NOT_THERE: u8 = 3;
    /// Connection refused; for `status`: an unknown name, or no answer.
    pub const UNKNOWN: u8 = 4;
    /// The server has another version of the API.
    pub const OTHER_VERSION: u8 = 5;
    /// The process is not running, or the server's socket does not exist.
    pub const NOT_RUNNING: u8 = 7;
}

/// Which messages are printed where rsupctl's differ from supervisorctl's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// Exactly Supervisor's: the client was called as `supervisorctl`.
    Supervisor,
    /// rsupctl's, with suggestions for unknown words.
    Rsup,
}

impl Wording {
    /// The wording for a client that was called by this name.
    #[must_use]
    pub fn of(program: &str) -> Self {
        if program.ends_with("supervisorctl") { Self::Supervisor } else { Self::Rsup }
    }
}

/// A fault that a command expects.
#[derive(Clone, Copy)]
pub struct KnownFault {
    code: FaultCode,
    /// The message for it; `{name}` and `{text}` stand for the name that was given and the text of the fault.
    message: &'static str,
    fails: bool,
}

impl KnownFault {
    /// A fault that makes the command fail.
    pub const fn error(code: FaultCode, message: &'static str) -> Self {
        Self { code, message, fails: true }
    }

    /// A fault that leaves the exit code unchanged.
    pub const fn note(code: FaultCode, message: &'static str) -> Self {
        Self { code, message, fails: false }
    }
}

/// One run of the client.
pub struct Session {
    /// The server.
    pub client: RpcClient,
    /// stdout.
    pub out: CommandOutput,
    /// stdin.
    pub input: StdinLines,
    /// The exit code. A later success does not reset it.
    pub exit: u8,
    /// Whether to ask the user for confirmation and for a password.
    pub interactive: bool,
    /// Whether all output is JSON.
    pub json: bool,
    /// Which messages are printed.
    pub wording: Wording,
    /// Receives Ctrl-C; set when it is first needed.
    interrupts: Option<Rc<Interrupts>>,
}

impl Session {
    /// A session with `client`, for a client that was called by the name `program`.
    #[must_use]
    pub fn new(program: &str, client: RpcClient, interactive: bool, json: bool) -> Self {
        let (out, input) = (CommandOutput::stdout(program), StdinLines::default());
        let (exit, wording) = (exit::OK, Wording::of(program));
        Self { client, out, input, exit, interactive, json, wording, interrupts: None }
    }

    /// Makes Ctrl-C only recorded, instead of ending the client, until the [`InterruptHold`] is dropped.
    pub fn hold_interrupts(&mut self) -> Result<(Rc<Interrupts>, InterruptHold), CommandError> {
        let interrupts = match &self.interrupts {
            Some(interrupts) => interrupts.clone(),
            None => {
                let cannot = |error: io::Error| CommandError::Other(format!("cannot wait for Ctrl-C: {error}"));
                self.interrupts.insert(Rc::new(Interrupts::new().map_err(cannot)?)).clone()
            }
        };
        let hold = interrupts.hold();
        Ok((interrupts, hold))
    }

    /// Makes Ctrl-C end only the current wait, with [`CommandError::Interrupted`], instead of the client.
    pub fn survive_interrupts(&mut self) -> Result<InterruptHold, CommandError> {
        let (interrupts, hold) = self.hold_interrupts()?;
        self.input.interrupts = Some(interrupts.clone());
        self.client.interrupt_by(interrupts);
        Ok(hold)
    }

    /// Discards a Ctrl-C that was pressed when nothing waited.
    pub fn forget_interrupts(&self) {
        if let Some(interrupts) = &self.interrupts {
            interrupts.take();
        }
    }

    /// Prints an error and makes the command fail.
    pub fn fail(&mut self, line: &str) {
        self.out.line(line);
        self.exit = exit::FAILED;
    }

    /// Calls a method. On a terminal, stderr shows which processes a long call waits for.
    pub fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, CommandError> {
        self.out.flush();
        if !self.out.is_terminal || !io::stderr().is_terminal() {
            return self.client.call(method, params);
        }
        let mut second = self.client.with_timeout(PROGRESS_TIMEOUT);
        let mut shown = false;
        let mut idle = || {
            if let Ok(infos) = second.call("getAllProcessInfo", &[]) {
                shown = true;
                stdout::report(&format!("\r\x1b[K{}", waiting_for(infos.as_array().unwrap_or_default())));
            }
        };
        let answer = self.client.call_while(method, params, Some(&mut idle));
        if shown {
            stdout::report("\r\x1b[K");
        }
        answer
    }

    /// Calls a method. A known fault is reported with its message, and the result is `None`.
    pub fn call_or_report(
        &mut self,
        method: &str,
        params: &[Value],
        name: &str,
        known: &[KnownFault],
    ) -> Result<Option<Value>, CommandError> {
        match self.call(method, params) {
            Err(CommandError::Fault(fault)) => {
                let Some(known) = known.iter().find(|known| fault.code == known.code as i64) else {
                    return Err(CommandError::Fault(fault));
                };
                let line = known.message.replace("{name}", name).replace("{text}", &fault.text);
                self.out.item(&line, &[("name", name.into()), ("error", line.as_str().into())]);
                self.exit = if known.fails { exit::FAILED } else { self.exit };
                if fault.code == FaultCode::BadName as i64 {
                    // The methods that take groups have this suffix.
                    if method.ends_with("ProcessGroup") {
                        self.suggest_group(name)?
                    } else {
                        self.suggest_process(name)?
                    };
                }
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// Suggests names for one that is not the name of a process or group of the server.
    pub fn suggest_process(&mut self, name: &str) -> Result<(), CommandError> {
        self.suggest("getAllProcessInfo", |infos| suggest::for_process(name, infos))
    }

    /// Suggests names for one that is not the name of a group of the configuration.
    pub fn suggest_group(&mut self, name: &str) -> Result<(), CommandError> {
        self.suggest("getAllConfigInfo", |infos| suggest::for_group(name, infos.iter().map(|info| text(info, "group"))))
    }

    fn suggest(&mut self, method: &str, meant: impl FnOnce(&[Value]) -> Option<String>) -> Result<(), CommandError> {
        if self.wording == Wording::Supervisor || self.out.is_json() {
            return Ok(());
        }
        match self.call(method, &[]) {
            Ok(infos) => {
                if let Some(line) = meant(infos.as_array().unwrap_or_default()) {
                    self.out.line(&line);
                }
                Ok(())
            }
            Err(CommandError::Fault(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Prints a question, and returns the line that the user answers.
    pub fn ask_user(&mut self, question: &str) -> Line {
        self.out.pending.extend_from_slice(question.as_bytes());
        self.out.flush();
        self.input.line()
    }

    /// In an interactive session, asks the user for confirmation. Every answer that does not begin with `y` means no.
    pub fn confirmed(&mut self, question: &str) -> Result<bool, CommandError> {
        if !self.interactive {
            return Ok(true);
        }
        match self.ask_user(question) {
            Line::Text(answer) => Ok(answer.starts_with(['y', 'Y'])),
            Line::Interrupted => Err(CommandError::Interrupted),
            Line::End => Err(CommandError::Other("end of input instead of an answer".into())),
        }
    }

    /// Asks for user name and password, and uses them from then on.
    pub fn log_in(&mut self) -> Result<(), CommandError> {
        self.out.line(&CommandError::Unauthorized.to_string());
        let given = |line| match line {
            Line::Text(text) => Ok(text),
            Line::Interrupted => Err(CommandError::Interrupted),
            Line::End => Err(CommandError::Other("no user name or password was given".into())),
        };
        let user = given(self.ask_user("Username:"))?;
        let password = given(self.password()?)?;
        self.out.line("");
        self.client = self.client.with_url(&self.client.url);
        self.client.credentials = Some((user, password));
        Ok(())
    }

    /// Asks for the password on the terminal, with echo turned off; without a terminal, on stderr and stdin.
    fn password(&mut self) -> Result<Line, CommandError> {
        let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
            stdout::report("Password:");
            return Ok(self.input.line());
        };
        // Ctrl-C must not leave the terminal with echo turned off.
        let (interrupts, hold) = self.hold_interrupts()?;
        let typed = silent_line(terminal, interrupts);
        drop(hold);
        if typed == Line::Interrupted && self.input.interrupts.is_none() {
            let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
        }
        Ok(typed)
    }
}

/// Asks for a password on a terminal with echo turned off.
fn silent_line(mut terminal: File, interrupts: Rc<Interrupts>) -> Line {
    let Ok(before) = tcgetattr(&terminal) else { return Line::End };
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    if tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).is_err() {
        return Line::End;
    }
    let _ = terminal.write_all(b"Password:");
    let input = StdinLines { buffer: Vec::new(), interrupts: Some(interrupts) };
    let mut typed = [0; 1024];
    let read = if input.wait(terminal.as_fd()) { Some(terminal.read(&mut typed)) } else { None };
    let _ = tcsetattr(&terminal, SetArg::TCSAFLUSH, &before);
    let _ = terminal.write_all(b"\n");
    let Some(read) = read else { return Line::Interrupted };
    match typed.get(..read.unwrap_or(0)) {
        None | Some([]) => Line::End,
        Some(line) => Line::Text(text::decode(line).trim_end_matches('\n').to_owned()),
    }
}

/// A line for a terminal about the processes that are starting or stopping; empty if there are none.
fn waiting_for(infos: &[Value]) -> String {
    let is_changing = |info: &&Value| matches!(state(info), Some(State::Starting | State::Backoff | State::Stopping));
    let changing = infos.iter().filter(is_changing);
    let mut states: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    changing.for_each(|info| states.entry(text(info, "statename")).or_default().push(format::namespec_of(info)));
    let states = states.iter().map(|(state, names)| format!("{} {state} ({})", names.len(), names.join(" ")));
    let line = states.collect::<Vec<_>>().join(", ");
    let lead = if line.is_empty() { "" } else { "waiting: " };
    format::sanitized(&format!("{lead}{line}")).chars().take(79).collect()
}
