//! One use of the client: its server, what it prints and in which form, what it reads, and how it ends.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::client::{Client, Trouble};
use super::commands::{Command, exit, fault, find_command};
use super::follow::Interrupts;
use super::format::{self, Harmless, number, text};
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

    /// A question, which the answer will follow on its line.
    pub fn question(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
        self.flush();
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

    /// At the end of a command that went well or not: all that it said, where that is JSON.
    fn close(&mut self, went_well: bool) {
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
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(&self.pending).and_then(|()| stdout.flush());
            self.failed |= written.is_err();
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

/// A fault that a command knows: its code, the line that answers it, whether it fails the command.
pub type Known = (i64, &'static str, bool);

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

    /// Runs one command line and gives the exit code.
    pub fn run(mut self, line: &str) -> u8 {
        self.one(line);
        if self.out.failed && self.exit == exit::OK { exit::FAILED } else { self.exit }
    }

    /// Runs a line; whether it was one that leaves the shell.
    pub fn one(&mut self, line: &str) -> bool {
        let line = line.trim();
        let line = line.strip_prefix('?').map_or_else(|| line.to_owned(), |topic| format!("help {topic}"));
        if line.is_empty() {
            return false;
        }
        let name_ends = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
        let (name, arguments) = line.split_at(name_ends);
        // Differs from Supervisor: --json is a word of ours, also behind the command.
        let (ours, arguments): (Vec<&str>, Vec<&str>) =
            arguments.split_whitespace().partition(|word| *word == "--json");
        self.out.json = if self.json || !ours.is_empty() { Json::Items(Vec::new()) } else { Json::Off };
        let is_end = matches!(name, "exit" | "quit" | "EOF");
        match find_command(if is_end { "quit" } else { name }) {
            Some(command) => self.told(command, &arguments),
            None => self.fail(&format!("*** Unknown syntax: {line}")),
        }
        self.out.flush();
        is_end
    }

    /// Runs a command, and says what went wrong.
    fn told(&mut self, command: &Command, arguments: &[&str]) {
        loop {
            let trouble = self.command(command, arguments).err();
            self.out.close(trouble.is_none());
            let (line, exit) = match trouble {
                None => return,
                Some(Trouble::Unauthorized) if self.interactive => match self.log_in() {
                    true => continue,
                    false => ("error: nobody answers".into(), exit::FAILED),
                },
                Some(Trouble::Unauthorized) => (Trouble::Unauthorized.to_string(), exit::FAILED),
                Some(Trouble::Said(line, exit)) => (line, exit),
                Some(gone @ (Trouble::Refused | Trouble::NoFile)) => {
                    (format!("error: {} {gone}", self.client.url), exit::FAILED)
                }
                // Differs from Supervisor: it prints the class of a Python exception and a line of its source.
                Some(trouble) => (format!("error: {trouble}"), exit::FAILED),
            };
            self.out.line(&line);
            self.exit = exit;
            return;
        }
    }

    fn command(&mut self, command: &Command, arguments: &[&str]) -> Result<(), Trouble> {
        let words = &command.words;
        if words.most == 0 && !arguments.is_empty() {
            return Err(command.misused(&format!("Error: {} accepts no arguments", command.name)));
        }
        if command.checks_up {
            // Whatever keeps `status` from its answer, the state is not known.
            self.is_up().map_err(|trouble| match trouble {
                Trouble::Said(line, _) if command.name == "status" => Trouble::Said(line, exit::UNKNOWN),
                trouble => trouble,
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

    /// Asks the server for its version.
    fn is_up(&mut self) -> Result<(), Trouble> {
        let answer = self.call("getVersion", &[]);
        let url = &self.client.url;
        let (line, exit) = match answer {
            Ok(version) if version.as_str() == Some(API_VERSION) => return Ok(()),
            Ok(version) => {
                let theirs = version.as_str().unwrap_or("unknown");
                (format!("{url} speaks API version {theirs}, rsupctl {API_VERSION}"), exit::OTHER_VERSION)
            }
            Err(Trouble::Fault(fault)) if fault.code == fault::UNKNOWN_METHOD => (no_namespace(url), exit::NOT_THERE),
            Err(Trouble::Refused) => (format!("{url} refused connection"), exit::UNKNOWN),
            Err(Trouble::NoFile) => (format!("{url} no such file"), exit::NOT_RUNNING),
            Err(other) => return Err(other),
        };
        Err(Trouble::Said(line, exit))
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
                let Some((_, line, fails)) = known.iter().find(|(code, ..)| *code == fault.code) else {
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

    /// Asks whether to go on, where somebody is there to be asked; anything but a yes is a no.
    pub fn confirmed(&mut self, question: &str) -> Result<bool, Trouble> {
        if !self.interactive {
            return Ok(true);
        }
        self.out.question(question);
        let answer = self.input.line().ok_or_else(|| Trouble::Other("no answer".into()))?;
        Ok(answer.starts_with(['y', 'Y']))
    }

    /// Asks for a user and a password; `false`: nobody answers.
    fn log_in(&mut self) -> bool {
        self.out.line(&Trouble::Unauthorized.to_string());
        self.out.question("Username:");
        let Some((user, password)) = self.input.line().and_then(|user| Some((user, self.password()?))) else {
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

/// The interface that we speak (getVersion).
const API_VERSION: &str = "3.0";

/// What to say to a server that lacks the methods that we use.
pub fn no_namespace(url: &str) -> String {
    format!("{url} does not know the supervisor methods: has it a section [rpcinterface:supervisor]?")
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
