//! One use of the client: its server, what it prints and in which form, what it reads, and how it ends.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use nix::errno::Errno;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::client::{Client, Trouble};
use super::format::{self, Harmless, number, text};
use super::interrupts::Interrupts;
use crate::fault::FaultCode;
use crate::stdout;
use crate::sys::errno;
use crate::wire::json::json;
use crate::wire::xmlrpc::Value;

/// What is to be written to stdout; written before each wait for the server and at the end, so mostly once.
pub struct Output {
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

impl Output {
    fn stdout() -> Self {
        Self { pending: Vec::new(), is_terminal: io::stdout().is_terminal(), json: Json::Off, failed: false }
    }

    /// A line for a person, harmless to a terminal; on stderr where stdout is JSON.
    pub fn line(&mut self, line: &str) {
        if self.is_json() {
            return eprintln!("{}", format::harmless(line));
        }
        let line = if self.is_terminal { format::harmless(line) } else { line.into() };
        self.pending.extend_from_slice(line.as_bytes());
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
    pub fn log(&mut self, piece: &[u8], filter: &mut Harmless) {
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
    pub fn open(&mut self, json: bool) {
        self.json = if json { Json::Items(Vec::new()) } else { Json::Off };
    }

    /// At the end of a command that went well or not: all that it said, where that is JSON.
    pub fn close(&mut self, went_well: bool) {
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
                    let _ = writeln!(io::stderr(), "rsupctl: cannot write to stdout: {}", errno::Name(why as i32));
                }
                self.failed = true;
            }
            self.pending.clear();
        }
    }
}

/// A JSON object.
pub fn object(members: &[(&str, Value)]) -> Value {
    Value::Struct(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// stdin, in lines. Everybody reads it here: what a line leaves in the buffer is for the next.
#[derive(Default)]
pub struct Input(Vec<u8>);

impl Input {
    /// Waits for a line and gives it without its newline; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.buffered(false) {
                return Some(line);
            }
            if !self.fill() {
                return self.buffered(true);
            }
        }
    }

    /// A line that is here already; `at_end`: also one that has no newline.
    pub fn buffered(&mut self, at_end: bool) -> Option<String> {
        let newline = self.0.iter().position(|byte| *byte == b'\n');
        let length = newline.or(Some(self.0.len()).filter(|&length| at_end && length > 0))?;
        let line: Vec<u8> = self.0.drain(..length).collect();
        self.0.drain(..usize::from(newline.is_some()));
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads once, waiting if it must; `false`: no more will come.
    pub fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        match nix::unistd::read(io::stdin(), &mut piece) {
            Err(nix::Error::EINTR) => true,
            Err(_) | Ok(0) => false,
            Ok(bytes) => {
                self.0.extend_from_slice(piece.get(..bytes).unwrap_or_default());
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

/// A fault that a command knows: its code, the line that answers it, whether it fails the command.
pub type Known = (FaultCode, &'static str, bool);

/// One use of the client.
pub struct Session {
    /// The server.
    pub client: Client,
    /// stdout.
    pub out: Output,
    /// stdin.
    pub input: Input,
    /// What to exit with; a later success does not reset it.
    pub exit: u8,
    /// Somebody is there to be asked: before what ends everything, and for a password.
    pub interactive: bool,
    /// Everything as JSON.
    pub json: bool,
    /// Ctrl-C, once something has wanted to be interrupted.
    pub interrupts: Option<Interrupts>,
}

impl Session {
    /// A session with `client`.
    #[must_use]
    pub fn new(client: Client, interactive: bool, json: bool) -> Self {
        let (out, input) = (Output::stdout(), Input::default());
        Self { client, out, input, exit: exit::OK, interactive, json, interrupts: None }
    }

    /// Says why something was not done.
    pub fn fail(&mut self, line: &str) {
        self.out.line(line);
        self.exit = exit::FAILED;
    }

    /// Calls a method. Where a person waits longer than a moment, stderr shows for what.
    pub fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Trouble> {
        self.out.flush();
        if !self.out.is_terminal || !io::stderr().is_terminal() {
            return self.client.call(method, params);
        }
        let mut beside = self.client.at(&self.client.url, Some(std::time::Duration::from_secs(1)));
        let mut shown = false;
        let mut idle = || {
            if let Ok(infos) = beside.call("getAllProcessInfo", &[]) {
                shown = true;
                eprint!("\r\x1b[K{}", waiting_for(infos.as_array().unwrap_or_default()));
            }
        };
        let answer = self.client.call_while(method, params, Some(&mut idle));
        if shown {
            eprint!("\r\x1b[K");
        }
        answer
    }

    /// Calls a method; a fault that is known is answered with its line, and gives `None`.
    pub fn ask(
        &mut self,
        method: &str,
        params: &[Value],
        name: &str,
        known: &[Known],
    ) -> Result<Option<Value>, Trouble> {
        match self.call(method, params) {
            Err(Trouble::Fault(fault)) => {
                let Some((_, line, fails)) = known.iter().find(|(code, ..)| fault.code == *code as i64) else {
                    return Err(Trouble::Fault(fault));
                };
                let line = line.replace("{name}", name).replace("{text}", &fault.text);
                self.out.item(&line, &[("name", name.into()), ("error", line.as_str().into())]);
                self.exit = if *fails { exit::FAILED } else { self.exit };
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// Asks a question, and gives the line that follows it; `None`: there is none.
    pub fn answer_to(&mut self, question: &str) -> Option<String> {
        self.out.pending.extend_from_slice(question.as_bytes());
        self.out.flush();
        self.input.line()
    }

    /// Asks whether to go on, where somebody is there to be asked; anything but a yes is a no.
    pub fn confirmed(&mut self, question: &str) -> Result<bool, Trouble> {
        if !self.interactive {
            return Ok(true);
        }
        let answer = self.answer_to(question).ok_or_else(|| Trouble::Other("no answer".into()))?;
        Ok(answer.starts_with(['y', 'Y']))
    }

    /// Asks for a user and a password; `false`: nobody answers.
    pub fn log_in(&mut self) -> bool {
        self.out.line(&Trouble::Unauthorized.to_string());
        let Some((user, password)) = self.answer_to("Username:").and_then(|user| Some((user, self.password()?))) else {
            return false;
        };
        self.out.line("");
        self.client = self.client.at(&self.client.url, None);
        self.client.credentials = Some((user, password));
        true
    }

    /// Asks on the terminal itself, without showing what is typed; without a terminal, on stderr and stdin.
    fn password(&mut self) -> Option<String> {
        let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else {
            eprint!("Password:");
            return self.input.line();
        };
        let before = tcgetattr(&terminal).ok()?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).ok()?;
        let _ = terminal.write_all(b"Password:");
        let mut typed = [0; 1024];
        let read = terminal.read(&mut typed);
        let _ = tcsetattr(&terminal, SetArg::TCSAFLUSH, &before);
        let _ = terminal.write_all(b"\n");
        let line = String::from_utf8_lossy(typed.get(..read.ok()?)?).into_owned();
        Some(line.trim_end_matches('\n').to_owned()).filter(|_| !line.is_empty())
    }
}

/// A line on the processes that are on their way, for a terminal; empty if none is.
fn waiting_for(infos: &[Value]) -> String {
    // STARTING, BACKOFF, STOPPING (census §4.1).
    let moving = infos.iter().filter(|info| matches!(number(info, "state"), 10 | 30 | 40));
    let mut states: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    moving.for_each(|info| states.entry(text(info, "statename")).or_default().push(format::namespec_of(info)));
    let states = states.iter().map(|(state, names)| format!("{} {state} ({})", names.len(), names.join(" ")));
    let line = states.collect::<Vec<_>>().join(", ");
    let lead = if line.is_empty() { "" } else { "waiting: " };
    format::harmless(&format!("{lead}{line}")).chars().take(79).collect()
}
