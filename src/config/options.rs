//! Every option of every section: one row says its key, type, default, names, meaning, and how its value enters the model.
//!
//! Parsing, suggestions for unknown keys, `rsup check --dump` and the documentation all come from these rows. Census §3.
#![forbid(unsafe_code)]

use super::Machine;
use super::model::{
    ChildLog, ClientSection, DEFAULT_URL, ExitCodeFrom, HttpServerConfig, LogFormat, MainLog, Owner, ProcessConfig,
    ServerConfig, ServerUrl, SocketAddress, User,
};
use super::values::{self as v, is_space};
use crate::text;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;

/// The names that `%(…)s` may use in an option, besides `ENV_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// None.
    Env,
    /// `here`.
    Here,
    /// `here`, `host_node_name`.
    Include,
    /// `here`, `program_name`.
    Socket,
    /// `here`, `host_node_name`, `program_name`, `group_name`.
    Program,
    /// Those, `process_num` and `numprocs`; evaluated for each process.
    Process,
    /// Those, and `ENV_*` of the program's own environment.
    Own,
}

type Str = &'static str;
type Set<T> = fn(&mut T, &str, &dyn Machine) -> Result<(), String>;

/// What is told about one option.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As written, lower case.
    pub key: Str,
    /// What a value looks like, for error messages and the documentation.
    pub wanted: Str,
    /// What holds when it is not written; empty: nothing.
    pub default: Str,
    /// A value that works on any machine.
    pub example: Str,
    /// Which names it may use.
    pub scope: Scope,
    /// What it is for.
    pub help: Str,
    /// Not known to Supervisor, which ignores it.
    pub rsup: bool,
    /// Its letter on the server's command line; a blank: the long form only.
    pub flag: Option<char>,
}

/// One option of a section whose values go to a `T`.
pub struct Opt<T: 'static> {
    row: Row,
    pub(super) set: Set<T>,
}

impl<T> Deref for Opt<T> {
    type Target = Row;

    fn deref(&self) -> &Row {
        &self.row
    }
}

const fn opt<T>(key: Str, wanted: Str, default: Str, example: Str, scope: Scope, help: Str, set: Set<T>) -> Opt<T> {
    Opt { row: Row { key, wanted, default, example, scope, help, rsup: false, flag: None }, set }
}

/// An option that Supervisor does not have.
const fn new<T>(key: Str, wanted: Str, default: Str, example: Str, scope: Scope, help: Str, set: Set<T>) -> Opt<T> {
    Opt { row: Row { key, wanted, default, example, scope, help, rsup: true, flag: None }, set }
}

type Server = ServerConfig;

/// An option that the command line has too, by this letter.
const fn flag(at: char, key: Str, wanted: Str, default: Str, example: Str, help: Str, set: Set<Server>) -> Opt<Server> {
    Opt { row: Row { key, wanted, default, example, scope: Here, help, rsup: false, flag: Some(at) }, set }
}

/// What Supervisor has had for less long than the others.
const LATER: [(Str, Str); 9] = [
    ("history_file", "3.0a5"),
    ("stdout_events_enabled", "3.0a7"),
    ("stderr_events_enabled", "3.0a7"),
    ("killasgroup", "3.0a11"),
    ("stopasgroup", "3.0b1"),
    ("socket_backlog", "3.4.0"),
    ("stdout_syslog", "4.0.0"),
    ("stderr_syslog", "4.0.0"),
    ("silent", "4.2.0"),
];

impl Row {
    /// Since which version Supervisor has it; `None`: it does not.
    #[must_use]
    pub fn since(&self) -> Option<Str> {
        let later = LATER.iter().find(|(key, _)| *key == self.key).map_or("3.0", |(_, version)| version);
        Some(later).filter(|_| !self.rsup)
    }
}

/// A kind of section.
pub struct Kind {
    /// Its name without brackets; `x` stands for any name.
    pub title: Str,
    /// What it is for.
    pub help: Str,
    /// Its options.
    pub rows: fn() -> Vec<&'static Row>,
}

/// Every kind of section.
#[rustfmt::skip] // one row a kind
pub const KINDS: &[Kind] = &[
    Kind { title: "supervisord", help: "The supervisor itself", rows: || rows(SERVER) },
    Kind { title: "program:x", help: "A program, or several of one kind", rows: || rows(PROGRAM) },
    Kind { title: "group:x", help: "Programs that are started and stopped together", rows: || rows(GROUP) },
    Kind { title: "eventlistener:x", help: "A program that is told of events; all of [program:x] and", rows: || [rows(PROGRAM), rows(LISTENER)].concat() },
    Kind { title: "fcgi-program:x", help: "FastCGI programs that share a socket; all of [program:x] and", rows: || [rows(PROGRAM), rows(FCGI)].concat() },
    Kind { title: "unix_http_server", help: "Control over a Unix socket", rows: || rows(UNIX_SERVER) },
    Kind { title: "inet_http_server", help: "Control over TCP", rows: || rows(INET_SERVER) },
    Kind { title: "supervisorctl", help: "What rsupctl and supervisorctl need to know", rows: || rows(CLIENT) },
    Kind { title: "include", help: "More files, read as if they stood here", rows: || rows(INCLUDE) },
    Kind { title: "rpcinterface:x", help: "Methods that clients may call; other keys are the plug-in's own", rows: || rows(PLUG_IN) },
    Kind { title: "ctlplugin:x", help: "Python plug-in of supervisorctl; it cannot be loaded", rows: Vec::new },
];

fn rows<T>(table: &'static [Opt<T>]) -> Vec<&'static Row> {
    table.iter().map(|opt| &opt.row).collect()
}

impl Kind {
    /// Its options without those that it shares with `[program:x]`.
    pub fn own(&self) -> impl Iterator<Item = &'static Row> {
        let all = (self.rows)();
        let shared = if all.len() > PROGRAM.len() { PROGRAM.len() } else { 0 };
        all.into_iter().skip(shared)
    }
}

/// The kind of the section of this name; `None`: nobody reads it. Servers go by the beginning of their names, as under Supervisor.
#[must_use]
pub fn kind(section: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| match kind.title.strip_suffix('x').filter(|prefix| prefix.ends_with(':')) {
        Some(prefix) => section.starts_with(prefix),
        None if kind.title.ends_with("_server") => section.starts_with(kind.title),
        None => section == kind.title,
    })
}

/// A closure that stores a parsed value; `?` where the field is an `Option`, `@` where the parser asks the machine as well.
macro_rules! set {
    ($($field:ident).+, $parse:expr) => { |to, text, _| { to.$($field).+ = $parse(text)?; Ok(()) } };
    (? $($field:ident).+, $parse:expr) => { |to, text, _| { to.$($field).+ = Some($parse(text)?); Ok(()) } };
    (@ $($field:ident).+, $parse:expr) => { |to, text, m| { to.$($field).+ = Some($parse(text, m)?); Ok(()) } };
}

const TEXT: Str = "a text";
const INT: Str = "a whole number";
const SIZE: Str = "a whole number, or one with KB, MB or GB";
/// Of a switch.
pub(super) const BOOL: Str = "true or false";
const OCTAL: Str = "an octal number such as 0700";
const PATH: Str = "a path in a directory that exists";
const DIR: Str = "a directory that exists";
const USER: Str = "a user's name, or a number";
const OWNER: Str = "user or user:group, both known to /etc/passwd and /etc/group";
const LOG: Str = "a path in a directory that exists, AUTO or NONE";
const LIST: Str = "names between commas";
const PAIRS: Str = "KEY=\"value\",KEY2=\"value\"";
const FORMAT: Str = "raw or prefix";
const LEVEL: Str = "critical, error, warn, info, debug, trace or blather";
const EXIT_CODE: Str = "a program's name, first_failure or essential";

use Scope::{Env, Here, Include, Own, Process, Program, Socket};

/// `[supervisord]`. Its environment makes names for everything that is read after it.
#[rustfmt::skip] // one row an option
pub const SERVER: &[Opt<ServerConfig>] = &[
    flag('l', "logfile", PATH, "supervisord.log", "/tmp/supervisord.log", "The main log; `syslog` is special", set!(@logfile, main_log)),
    flag('y', "logfile_maxbytes", SIZE, "50MB", "10MB", "Rotate the main log at this size; 0: never", set!(logfile_maxbytes, v::size)),
    flag('z', "logfile_backups", INT, "10", "3", "How many rotated main logs are kept", set!(logfile_backups, v::int)),
    flag('e', "loglevel", LEVEL, "info", "warn", "What the main log holds", set!(loglevel, v::log_level)),
    flag('j', "pidfile", PATH, "supervisord.pid", "/tmp/supervisord.pid", "Where the process id is written", set!(@pidfile, absolute)),
    flag('m', "umask", OCTAL, "022", "027", "Of the daemon, when it goes to the background", set!(umask, v::octal)),
    flag('n', "nodaemon", BOOL, "false", "true", "Stay in the foreground", set!(?nodaemon, v::boolean)),
    flag('s', "silent", BOOL, "false", "true", "No copy of the main log on stdout", set!(silent, v::boolean)),
    flag('a', "minfds", INT, "1024", "256", "Descriptors that must be available", set!(minfds, limit)),
    flag(' ', "minprocs", INT, "200", "50", "Processes that must be available", set!(minprocs, limit)),
    flag('k', "nocleanup", BOOL, "false", "true", "Keep AUTO logs of an earlier run", set!(nocleanup, v::boolean)),
    flag('q', "childlogdir", DIR, "", "/tmp", "Where AUTO logs are made; unset: the temporary directory", set!(@childlogdir, directory)),
    flag('u', "user", USER, "", "root", "Drop to this user at start", set!(@user, v::user)),
    flag('d', "directory", DIR, "", "/", "Change to it when going to the background", set!(@directory, directory)),
    flag('t', "strip_ansi", BOOL, "false", "true", "Remove terminal escapes from child logs", set!(strip_ansi, v::boolean)),
    opt("environment", PAIRS, "", "LANG=\"C.UTF-8\",STAGE=\"test\"", Here, "For every program, and for `%(ENV_x)s`", set!(environment, v::environment)),
    flag('i', "identifier", TEXT, "supervisor", "shop", "Name of this supervisor in events and AUTO logs", set!(identifier, text)),
    new("exit_code_from", EXIT_CODE, "", "first_failure", Here, "Whose exit code becomes ours", set!(exit_code_from, exit_code_from)),
    new("exit_when", "all_done", "", "all_done", Here, "End when every program has ended by itself", set!(exit_when_all_done, all_done)),
    new("stop_budget", "seconds, such as 8 or 9.5", "", "9.5", Here, "Time for the whole ordered shutdown", set!(?stop_budget_ms, seconds)),
];

/// What the options of a `[program:x]`, `[eventlistener:x]`, `[fcgi-program:x]` or `[group:x]` say.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub process: ProcessConfig,
    pub process_name: Option<String>,
    pub numprocs: Option<i64>,
    pub numprocs_start: i64,
    pub killasgroup: Option<bool>,
    /// `None` inside: the deprecated `syslog`.
    pub stdout_logfile: Option<Option<ChildLog>>,
    pub stderr_logfile: Option<Option<ChildLog>>,
    pub priority: Option<i32>,
    pub programs: Vec<String>,
    pub events: Vec<String>,
    pub buffer_size: Option<i64>,
    pub result_handler: Option<String>,
    pub socket: Option<SocketAddress>,
    pub backlog: Option<u32>,
    pub owner: Option<Owner>,
    pub mode: Option<u32>,
    pub users: Users,
}

/// Whom `user=` named before: a thousand programs have one user, looked up once.
pub(super) type Users = Rc<RefCell<BTreeMap<String, Rc<User>>>>;

fn known_user(draft: &mut Draft, text: &str, machine: &dyn Machine) -> Result<(), String> {
    let known = draft.users.borrow().get(text).cloned();
    let user = known.map_or_else(|| v::user(text, machine).map(Rc::new), Ok)?;
    draft.users.borrow_mut().insert(text.into(), Rc::clone(&user));
    draft.process.user = Some(user);
    Ok(())
}

/// `[program:x]`, and the same of `[eventlistener:x]` and `[fcgi-program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const PROGRAM: &[Opt<Draft>] = &[
    opt("command", TEXT, "", "/bin/cat", Own, "What to run; required", set!(process.command, text)),
    opt("process_name", TEXT, "%(program_name)s", "%(program_name)s_%(process_num)02d", Own, "Name of each process", set!(?process_name, text)),
    opt("numprocs", INT, "1", "2", Program, "How many processes", set!(?numprocs, v::int)),
    opt("numprocs_start", INT, "0", "1", Program, "The first process_num", set!(numprocs_start, v::int)),
    opt("priority", INT, "999", "10", Program, "Low starts first and stops last", set!(process.priority, small)),
    opt("autostart", BOOL, "true", "false", Program, "Start with the supervisor", set!(process.autostart, v::boolean)),
    opt("autorestart", "true, false or unexpected", "unexpected", "true", Program, "Start again after an exit", set!(process.autorestart, v::auto_restart)),
    opt("startsecs", INT, "1", "5", Program, "Seconds to stay up to count as RUNNING", set!(process.startsecs, v::int)),
    opt("startretries", INT, "3", "10", Program, "Failed starts before FATAL, after the first", set!(process.startretries, v::int)),
    opt("stopsignal", "a signal such as TERM, INT or QUIT", "TERM", "QUIT", Program, "What stops it", set!(process.stopsignal, v::signal)),
    opt("stopwaitsecs", INT, "10", "30", Program, "Seconds from the stop signal to KILL", set!(process.stopwaitsecs, v::int)),
    opt("stopasgroup", BOOL, "false", "true", Program, "The stop signal goes to its process group", set!(process.stopasgroup, v::boolean)),
    opt("killasgroup", BOOL, "", "true", Program, "KILL goes to its process group; unset: as stopasgroup", set!(?killasgroup, v::boolean)),
    opt("exitcodes", "codes 0 to 255 between commas", "0", "0,2", Program, "Which exit codes are expected", set!(process.exitcodes, v::exit_codes)),
    opt("user", USER, "", "root", Program, "Run as this user", known_user),
    opt("redirect_stderr", BOOL, "false", "true", Program, "stderr goes where stdout goes", set!(process.redirect_stderr, v::boolean)),
    opt("stdout_logfile", LOG, "AUTO", "/dev/stdout", Own, "Where stdout goes", set!(@stdout_logfile, v::child_log)),
    opt("stdout_logfile_maxbytes", SIZE, "50MB", "1MB", Own, "Rotate at this size; 0: never", set!(process.stdout.maxbytes, v::size)),
    opt("stdout_logfile_backups", INT, "10", "5", Own, "How many rotated files are kept", set!(process.stdout.backups, v::int)),
    opt("stdout_capture_maxbytes", SIZE, "0", "64KB", Program, "Buffer of capture mode; 0: off", set!(process.stdout.capture_maxbytes, v::size)),
    opt("stdout_events_enabled", BOOL, "false", "true", Program, "PROCESS_LOG_STDOUT events", set!(process.stdout.events_enabled, v::boolean)),
    opt("stdout_syslog", BOOL, "false", "true", Own, "stdout goes to syslog too", set!(process.stdout.syslog, v::boolean)),
    new("stdout_format", FORMAT, "raw", "prefix", Program, "How lines of stdout look in its log", set!(process.stdout.format, format)),
    opt("stderr_logfile", LOG, "AUTO", "/dev/stderr", Own, "Where stderr goes", set!(@stderr_logfile, v::child_log)),
    opt("stderr_logfile_maxbytes", SIZE, "50MB", "1MB", Own, "Rotate at this size; 0: never", set!(process.stderr.maxbytes, v::size)),
    opt("stderr_logfile_backups", INT, "10", "5", Own, "How many rotated files are kept", set!(process.stderr.backups, v::int)),
    opt("stderr_capture_maxbytes", SIZE, "0", "64KB", Program, "Buffer of capture mode; 0: off", set!(process.stderr.capture_maxbytes, v::size)),
    opt("stderr_events_enabled", BOOL, "false", "true", Program, "PROCESS_LOG_STDERR events", set!(process.stderr.events_enabled, v::boolean)),
    opt("stderr_syslog", BOOL, "false", "true", Own, "stderr goes to syslog too", set!(process.stderr.syslog, v::boolean)),
    new("stderr_format", FORMAT, "raw", "prefix", Program, "How lines of stderr look in its log", set!(process.stderr.format, format)),
    opt("environment", PAIRS, "", "PORT=\"80%(process_num)02d\"", Process, "Its own variables", set!(process.environment, v::environment)),
    opt("directory", TEXT, "", "/tmp", Own, "Change to it before the start", set!(?process.directory, path)),
    opt("umask", OCTAL, "", "022", Program, "Of the process; unset: ours", set!(?process.umask, v::octal)),
    opt("serverurl", TEXT, "AUTO", "http://localhost:9001", Program, "SUPERVISOR_SERVER_URL for the process", set!(process.serverurl, server_url)),
    new("essential", BOOL, "false", "true", Program, "When it ends for good, all is stopped and rsup exits", set!(process.essential, v::boolean)),
    new("sweep", BOOL, "false", "true", Program, "End what it left in its process group when it dies", set!(process.sweep, v::boolean)),
];

/// `[group:x]`.
#[rustfmt::skip] // one row an option
pub(super) const GROUP: &[Opt<Draft>] = &[
    opt("programs", LIST, "", "web,worker", Here, "Its programs and fcgi-programs", set!(programs, list)),
    opt("priority", INT, "999", "10", Here, "Low starts first and stops last", set!(?priority, small)),
];

/// What `[eventlistener:x]` has more than `[program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const LISTENER: &[Opt<Draft>] = &[
    opt("priority", INT, "-1", "10", Here, "Low starts first and stops last", set!(?priority, small)),
    opt("buffer_size", INT, "10", "100", Here, "Events kept while no process is ready", set!(?buffer_size, v::int)),
    opt("events", LIST, "", "PROCESS_STATE,TICK_60", Here, "Event types that it hears; required", set!(events, |t: &str| list(&t.to_uppercase()))),
    opt("result_handler", TEXT, DEFAULT_HANDLER, DEFAULT_HANDLER, Here, "What reads results: the default, or `supervisor_stdout:event_handler`", set!(?result_handler, text)),
];

/// What `[fcgi-program:x]` has more than `[program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const FCGI: &[Opt<Draft>] = &[
    opt("priority", INT, "999", "10", Here, "Low starts first and stops last", set!(?priority, small)),
    opt("socket_backlog", INT, "", "128", Here, "Length of the queue of connections", set!(?backlog, backlog)),
    opt("socket_owner", OWNER, "", "root", Here, "Owner of a Unix socket", set!(@owner, |t, m| v::owner(t, "socket_owner", m))),
    opt("socket_mode", OCTAL, "0700", "0770", Here, "Mode of a Unix socket", set!(?mode, |t| mode(t, "socket_mode"))),
    opt("socket", "unix:///path or tcp://host:port", "", "unix:///tmp/%(program_name)s.sock", Socket, "Where it listens; required", set!(@socket, v::fcgi_socket)),
];

/// `[unix_http_server]` and `[inet_http_server]`, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct HttpDraft {
    address: Option<SocketAddress>,
    chmod: Option<u32>,
    chown: Option<Owner>,
    username: Option<String>,
    password: Option<String>,
    pub require_password: bool,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
}

impl HttpDraft {
    pub fn finish(self, section: &str) -> Option<HttpServerConfig> {
        Some(HttpServerConfig {
            section: section.into(),
            address: self.address?,
            chmod: self.chmod.unwrap_or(0o700),
            chown: self.chown,
            credentials: self.username.filter(|name| !name.is_empty()).zip(self.password),
            allowed_hosts: self.allowed_hosts,
            allowed_origins: self.allowed_origins,
        })
    }
}

/// `[unix_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const UNIX_SERVER: &[Opt<HttpDraft>] = &[
    opt("file", PATH, "", "/tmp/supervisor.sock", Here, "The socket; required", set!(@address, unix_address)),
    opt("chmod", OCTAL, "0700", "0770", Env, "Mode of the socket", set!(?chmod, |t| mode(t, "chmod"))),
    opt("chown", OWNER, "", "root:root", Env, "Owner of the socket", set!(@chown, |t, m| v::owner(t, "sockchown", m))),
    opt("username", TEXT, "", "admin", Env, "Who may use it; needs password", set!(?username, text)),
    opt("password", TEXT, "", "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d", Env, "Plain, or {SHA} and the hash in hex", set!(?password, text)),
];

/// `[inet_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const INET_SERVER: &[Opt<HttpDraft>] = &[
    opt("port", "port, host:port or *:port", "", "127.0.0.1:9001", Env, "Where it listens; required", set!(?address, v::inet_address)),
    opt("username", TEXT, "", "admin", Env, "Who may use it; needs password", set!(?username, text)),
    opt("password", TEXT, "", "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d", Env, "Plain, or {SHA} and the hash in hex", set!(?password, text)),
    new("require_password", BOOL, "false", "true", Env, "Without username and password it is an error", set!(require_password, v::boolean)),
    new("allowed_hosts", LIST, "", "sup.example.com", Env, "More names by which browsers may reach it; * for any", set!(allowed_hosts, list)),
    new("allowed_origins", LIST, "", "https://dash.example.com", Env, "Sites whose pages may use it; * for any", set!(allowed_origins, list)),
];

/// `[supervisorctl]`.
#[rustfmt::skip] // one row an option
pub(super) const CLIENT: &[Opt<ClientSection>] = &[
    opt("serverurl", "http://host:port or unix:///path", DEFAULT_URL, "http://localhost:9001", Here, "The server", |to, text, m| { to.serverurl = client_url(text, m); Ok(()) }),
    opt("username", TEXT, "", "admin", Env, "As in the server's section", set!(?username, text)),
    opt("password", TEXT, "", "thepassword", Env, "As in the server's section", set!(?password, text)),
    opt("prompt", TEXT, "supervisor", "shop", Env, "Of the interactive shell", set!(prompt, text)),
    opt("history_file", PATH, "", "~/.rsup_history", Here, "Where the shell keeps its history", |to, text, m| { to.history_file = history_file(text, m); Ok(()) }),
];

/// `[include]`; read by hand, since it comes first.
#[rustfmt::skip] // one row an option
const INCLUDE: &[Opt<()>] = &[
    opt("files", "patterns between blanks", "", "conf.d/*.conf", Include, "The files; relative to this one", |_, _, _| Ok(())),
];

/// `[rpcinterface:x]`; read by hand, since its other keys are free.
#[rustfmt::skip] // one row an option
const PLUG_IN: &[Opt<()>] = &[
    opt("supervisor.rpcinterface_factory", "module:function", "", MAIN_RPC_FACTORY, Env, "Where its methods come from; required. This example gives all of `supervisor.*`", |_, _, _| Ok(())),
];

fn path(value: &str) -> Result<PathBuf, String> {
    Ok(text::to_path(value))
}

fn text<T: for<'a> From<&'a str>>(value: &str) -> Result<T, String> {
    Ok(value.into())
}

fn list(value: &str) -> Result<Vec<String>, String> {
    Ok(v::list(value))
}

fn limit(value: &str) -> Result<u64, String> {
    Ok(u64::try_from(v::int(value)?).unwrap_or(0))
}

fn small(value: &str) -> Result<i32, String> {
    let int = v::int(value)?;
    Ok(i32::try_from(int).unwrap_or(if int < 0 { i32::MIN } else { i32::MAX }))
}

fn main_log(value: &str, machine: &dyn Machine) -> Result<MainLog, String> {
    let path = absolute(value, machine)?;
    Ok(if value == "syslog" { MainLog::Syslog } else { MainLog::File(path) })
}

fn absolute(value: &str, machine: &dyn Machine) -> Result<PathBuf, String> {
    let path = v::path_in_existing_dir(value, machine)?;
    Ok(text::to_path(&v::absolute(&text::of_os(path), machine)))
}

/// A directory that exists, absolute, so that a later chdir(2) changes nothing.
fn directory(value: &str, machine: &dyn Machine) -> Result<PathBuf, String> {
    Ok(text::to_path(&v::absolute(&text::of_os(v::existing_dir(value, machine)?), machine)))
}

fn exit_code_from(value: &str) -> Result<ExitCodeFrom, String> {
    Ok(match value {
        "" => ExitCodeFrom::Zero,
        "first_failure" => ExitCodeFrom::FirstFailure,
        "essential" => ExitCodeFrom::Essential,
        program => ExitCodeFrom::Program(program.into()),
    })
}

fn all_done(value: &str) -> Result<bool, String> {
    match value {
        "" => Ok(false),
        "all_done" => Ok(true),
        _ => Err(format!("not a condition to end on: {}", v::repr(value))),
    }
}

/// Seconds with an optional fraction → milliseconds.
fn seconds(value: &str) -> Result<u64, String> {
    let shape = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = value.parse::<f64>().ok().filter(|s| shape && *s < 1e9);
    let seconds = seconds.ok_or_else(|| format!("not a number of seconds: {}", v::repr(value)))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above: 0 ≤ seconds < 1e9")]
    Ok((seconds * 1000.0).round() as u64)
}

fn format(value: &str) -> Result<LogFormat, String> {
    match value {
        "raw" => Ok(LogFormat::Raw),
        "prefix" => Ok(LogFormat::Prefix),
        _ => Err(format!("not a log format: {}", v::repr(value))),
    }
}

fn server_url(value: &str) -> Result<ServerUrl, String> {
    Ok(match value.trim_matches(is_space) {
        _ if value.is_empty() => ServerUrl::Unset,
        auto if auto.eq_ignore_ascii_case("auto") => ServerUrl::Auto,
        _ => ServerUrl::Fixed(value.into()),
    })
}

fn backlog(value: &str) -> Result<u32, String> {
    let backlog = v::int(value)?;
    let known = u16::try_from(backlog).ok().filter(|&n| n > 0).map(u32::from);
    known.ok_or_else(|| format!("Invalid socket_backlog value {backlog}"))
}

fn mode(value: &str, key: &str) -> Result<u32, String> {
    v::octal(value).map_err(|_| format!("Invalid {key} value {value}"))
}

fn unix_address(value: &str, machine: &dyn Machine) -> Result<SocketAddress, String> {
    Ok(SocketAddress::Unix(text::to_path(&v::normalize(value.trim_matches(is_space), machine))))
}

fn client_url(value: &str, machine: &dyn Machine) -> String {
    let unix = value.strip_prefix("unix://").map(|path| format!("unix://{}", v::normalize(path, machine)));
    unix.unwrap_or_else(|| value.into())
}

fn history_file(value: &str, machine: &dyn Machine) -> Option<PathBuf> {
    Some(value).filter(|value| !value.is_empty()).map(|value| text::to_path(&v::normalize(value, machine)))
}

/// The only `result_handler` that needs no Python.
pub(super) const DEFAULT_HANDLER: Str = "supervisor.dispatchers:default_handler";

/// The `result_handler` of the Python package supervisor-stdout, which is built in.
pub const STDOUT_HANDLER: &str = "supervisor_stdout:event_handler";

/// The factory of the `supervisor.*` methods.
pub const MAIN_RPC_FACTORY: &str = "supervisor.rpcinterface:make_main_rpcinterface";

/// The factory of the `twiddler.*` methods.
pub const TWIDDLER_RPC_FACTORY: &str = "supervisor_twiddler.rpcinterface:make_twiddler_rpcinterface";
