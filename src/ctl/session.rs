//! One use of the client: its server, what it prints and in which form, what it reads, and how it ends.
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
use crate::protocol::State;
use crate::stdout;
use crate::sys::errno;
use crate::text;
use crate::wire::json::json;
use crate::wire::xmlrpc::Value;

/// How long the server may take to say which processes a caller waits for.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// What is to be written to stdout; written before each wait for the server and at the end, so mostly once.
pub struct CommandOutput {
    pending: Vec<u8>,
    is_terminal: bool,
    json: Json,
    /// stdout has refused something.
    pub failed: bool,
}

/// What a command has said so far, for programs.
enum Json {
    /// It speaks to a person.
    Off,
    /// An array's items.
    Items(Vec<Value>),
    /// All of it.
    Whole(Value),
    /// All has been printed.
    Done,
}

impl CommandOutput {
    fn stdout() -> Self {
        Self { pending: Vec::new(), is_terminal: io::stdout().is_terminal(), json: Json::Off, failed: false }
    }

    /// A line for a person, harmless to a terminal; on stderr where stdout is JSON.
    pub fn line(&mut self, line: &str) {
        if self.is_json() {
            return to_stderr(&format!("{}\n", format::sanitized(line)));
        }
        let line = if self.is_terminal { format::sanitized(line) } else { line.into() };
        self.pending.extend_from_slice(&text::encode(&line));
        self.pending.push(b'\n');
    }

    /// A line, and what it says as members of a JSON object.
    pub fn item(&mut self, line: &str, members: &[(&str, Value)]) {
        if let Json::Items(items) = &mut self.json { items.push(object(members)) } else { self.line(line) }
    }

    /// A line or more, if not empty, and the JSON that stands for all that the command says.
    pub fn whole(&mut self, lines: &str, value: Value) {
        match self.json {
            Json::Off if lines.is_empty() => {}
            Json::Off => self.line(lines),
            _ => self.json = Json::Whole(value),
        }
    }

    /// A piece of a log as it is; on a terminal only colours remain of what could steer it.
    pub fn log(&mut self, piece: &[u8], filter: &mut TerminalFilter) {
        if self.is_terminal { self.pending.extend(filter.feed(piece).bytes()) } else { self.pending.extend(piece) }
    }

    /// Whether stdout is JSON.
    pub fn is_json(&self) -> bool {
        !matches!(self.json, Json::Off)
    }

    /// A document that stands for itself, now.
    pub fn document(&mut self, value: &Value) {
        self.pending.extend_from_slice(json(value).as_bytes());
        self.pending.push(b'\n');
        self.flush();
    }

    /// At the beginning of a command: whether it speaks JSON.
    pub fn begin_command(&mut self, json: bool) {
        self.json = if json { Json::Items(Vec::new()) } else { Json::Off };
    }

    /// At the end of a command that went well or not: all that it said, where that is JSON.
    pub fn end_command(&mut self, went_well: bool) {
        match &mut self.json {
            Json::Items(items) if went_well || !items.is_empty() => {
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

    /// Nothing more comes as JSON, not even an empty array.
    pub fn done(&mut self) {
        if self.is_json() {
            self.json = Json::Done;
        }
    }

    /// Writes what is pending.
    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            // Only the first failure is reported; a reader that has gone is none.
            if let Err(why) = stdout::write_all(io::stdout(), &self.pending) {
                if why != Errno::EPIPE && !self.failed {
                    let _ = writeln!(io::stderr(), "rsupctl: cannot write to stdout: {}", errno::ErrnoName(why as i32));
                }
                self.failed = true;
            }
            self.pending.clear();
        }
    }
}

/// Writes to stderr, as far as it can be written to.
pub fn to_stderr(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A JSON object.
pub fn object(members: &[(&str, Value)]) -> Value {
    Value::Struct(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// stdin, in lines. All of it is read here: what is left after a line is for the next reader.
#[derive(Default)]
pub struct StdinLines {
    buffer: Vec<u8>,
    /// Ctrl-C, where it does not end the client.
    interrupts: Option<Rc<Interrupts>>,
}

/// What comes from stdin.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its newline.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// No more will come.
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

    /// Waits until there is something to read; `false`: Ctrl-C.
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

    /// A line that is here already; `at_end`: also one that has no newline.
    pub fn buffered(&mut self, at_end: bool) -> Option<String> {
        let newline = self.buffer.iter().position(|byte| *byte == b'\n');
        let length = newline.or(Some(self.buffer.len()).filter(|&length| at_end && length > 0))?;
        let line: Vec<u8> = self.buffer.drain(..length).collect();
        self.buffer.drain(..usize::from(newline.is_some()));
        Some(text::decode(&line))
    }

    /// Reads once, waiting if it must; `false`: no more will come.
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

/// Whose texts a client prints where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// Supervisor's to the letter: called `supervisorctl`.
    Supervisor,
    /// rsupctl's, with what was meant by a word that means nothing.
    Rsup,
}

impl Wording {
    /// That of a client called by this name.
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

/// One use of the client.
pub struct Session {
    /// The server.
    pub client: RpcClient,
    /// stdout.
    pub out: CommandOutput,
    /// stdin.
    pub input: StdinLines,
    /// What to exit with; a later success does not reset it.
    pub exit: u8,
    /// Somebody is there to be asked: before what ends everything, and for a password.
    pub interactive: bool,
    /// Everything as JSON.
    pub json: bool,
    /// Whose texts are printed.
    pub wording: Wording,
    /// Ctrl-C, once something has been started that it is to interrupt.
    interrupts: Option<Rc<Interrupts>>,
}

impl Session {
    /// A session with `client`.
    #[must_use]
    pub fn new(client: RpcClient, interactive: bool, json: bool) -> Self {
        let (out, input) = (CommandOutput::stdout(), StdinLines::default());
        let (exit, wording) = (exit::OK, Wording::Rsup);
        Self { client, out, input, exit, interactive, json, wording, interrupts: None }
    }

    /// Ctrl-C, from now on only noted until the [`InterruptHold`] is dropped.
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

    /// From now on Ctrl-C ends what is waited for, with [`CommandError::Interrupted`], and not the client.
    pub fn survive_interrupts(&mut self) -> Result<InterruptHold, CommandError> {
        let (interrupts, hold) = self.hold_interrupts()?;
        self.input.interrupts = Some(interrupts.clone());
        self.client.interrupt_by(interrupts);
        Ok(hold)
    }

    /// Forgets a Ctrl-C that came when nothing was waited for.
    pub fn forget_interrupts(&self) {
        if let Some(interrupts) = &self.interrupts {
            interrupts.take();
        }
    }

    /// Says why something was not done.
    pub fn fail(&mut self, line: &str) {
        self.out.line(line);
        self.exit = exit::FAILED;
    }

    /// Calls a method. Where a person waits longer than a moment, stderr shows for what.
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
                to_stderr(&format!("\r\x1b[K{}", waiting_for(infos.as_array().unwrap_or_default())));
            }
        };
        let answer = self.client.call_while(method, params, Some(&mut idle));
        if shown {
            to_stderr("\r\x1b[K");
        }
        answer
    }

    /// Calls a method; a fault that is known is answered with its line, and gives `None`.
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
                    // Methods of this name take groups.
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

    /// Says what was meant by the name of a process or group that the server does not know.
    pub fn suggest_process(&mut self, name: &str) -> Result<(), CommandError> {
        self.suggest("getAllProcessInfo", |infos| suggest::for_process(name, infos))
    }

    /// Says what was meant by the name of a group that the configuration does not have.
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

    /// Asks a question, and gives the line that follows it.
    pub fn ask_user(&mut self, question: &str) -> Line {
        self.out.pending.extend_from_slice(question.as_bytes());
        self.out.flush();
        self.input.line()
    }

    /// Asks whether to go on, where the session is interactive; anything but a yes is a no.
    pub fn confirmed(&mut self, question: &str) -> Result<bool, CommandError> {
        if !self.interactive {
            return Ok(true);
        }
        match self.ask_user(question) {
            Line::Text(answer) => Ok(answer.starts_with(['y', 'Y'])),
            Line::Interrupted => Err(CommandError::Interrupted),
            Line::End => Err(CommandError::Other("no answer".into())),
        }
    }

    /// Asks for a user and a password, and uses them from then on.
    pub fn log_in(&mut self) -> Result<(), CommandError> {
        self.out.line(&CommandError::Unauthorized.to_string());
        let given = |line| match line {
            Line::Text(text) => Ok(text),
            Line::Interrupted => Err(CommandError::Interrupted),
            Line::End => Err(CommandError::Other("no user or password was given".into())),
        };
        let user = given(self.ask_user("Username:"))?;
        let password = given(self.password()?)?;
        self.out.line("");
        self.client = self.client.with_url(&self.client.url);
        self.client.credentials = Some((user, password));
        Ok(())
    }

    /// Asks on the terminal itself, without showing what is typed; without a terminal, on stderr and stdin.
    fn password(&mut self) -> Result<Line, CommandError> {
        let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
            to_stderr("Password:");
            return Ok(self.input.line());
        };
        // Ctrl-C must not leave a terminal that shows nothing.
        let (interrupts, hold) = self.hold_interrupts()?;
        let typed = silent_line(terminal, interrupts);
        drop(hold);
        if typed == Line::Interrupted && self.input.interrupts.is_none() {
            let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
        }
        Ok(typed)
    }
}

/// Asks for a password on a terminal.
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

/// A line on the processes that are on their way, for a terminal; empty if none is.
fn waiting_for(infos: &[Value]) -> String {
    let is_moving = |info: &&Value| matches!(state(info), Some(State::Starting | State::Backoff | State::Stopping));
    let moving = infos.iter().filter(is_moving);
    let mut states: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    moving.for_each(|info| states.entry(text(info, "statename")).or_default().push(format::namespec_of(info)));
    let states = states.iter().map(|(state, names)| format!("{} {state} ({})", names.len(), names.join(" ")));
    let line = states.collect::<Vec<_>>().join(", ");
    let lead = if line.is_empty() { "" } else { "waiting: " };
    format::sanitized(&format!("{lead}{line}")).chars().take(79).collect()
}
