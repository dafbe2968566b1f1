//! Every option of every section: one row says its key, type, default, names, meaning, and how its value enters the model.
//!
//! Parsing, suggestions for unknown keys, `rsup check --dump` and the documentation all come from these rows. Census §3.
#![forbid(unsafe_code)]

use super::Machine;
use super::dialect::is_space;
use super::model::{
    ChildLog, ExitCodeFrom, HttpServerConfig, LogFormat, MainLog, Owner, ProcessConfig, ServerConfig, ServerUrl,
    SocketAddress, User,
};
use super::values as v;
use std::cell::RefCell;
use std::collections::BTreeMap;
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

/// One option of a section whose values go to a `T`.
pub struct Opt<T: 'static> {
    /// As written, lower case.
    pub key: Str,
    /// What a value looks like, for error messages and the documentation.
    pub wanted: Str,
    /// What holds when it is not written; empty: nothing.
    pub default: Str,
    /// Which names it may use.
    pub scope: Scope,
    /// What it is for.
    pub help: Str,
    /// Not known to Supervisor, which ignores it.
    pub rsup: bool,
    pub(super) set: Set<T>,
}

const fn opt<T>(key: Str, wanted: Str, default: Str, scope: Scope, help: Str, set: Set<T>) -> Opt<T> {
    Opt { key, wanted, default, scope, help, rsup: false, set }
}

const fn new<T>(key: Str, wanted: Str, default: Str, scope: Scope, help: Str, set: Set<T>) -> Opt<T> {
    Opt { key, wanted, default, scope, help, rsup: true, set }
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
const BOOL: Str = "true or false";
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

use Scope::{Env, Here, Own, Process, Program, Socket};

/// `[supervisord]`. Its environment makes names for everything that is read after it.
#[rustfmt::skip] // one row an option
pub const SERVER: &[Opt<ServerConfig>] = &[
    opt("logfile", PATH, "supervisord.log", Here, "The main log; `syslog` is special", set!(@logfile, main_log)),
    opt("logfile_maxbytes", SIZE, "50MB", Here, "Rotate the main log at this size; 0: never", set!(logfile_maxbytes, v::size)),
    opt("logfile_backups", INT, "10", Here, "How many rotated main logs are kept", set!(logfile_backups, v::int)),
    opt("loglevel", LEVEL, "info", Here, "What the main log holds", set!(loglevel, v::log_level)),
    opt("pidfile", PATH, "supervisord.pid", Here, "Where the process id is written", set!(@pidfile, absolute)),
    opt("umask", OCTAL, "022", Here, "Of the daemon, when it goes to the background", set!(umask, v::octal)),
    opt("nodaemon", BOOL, "false", Here, "Stay in the foreground", set!(?nodaemon, v::boolean)),
    opt("silent", BOOL, "false", Here, "No copy of the main log on stdout", set!(silent, v::boolean)),
    opt("minfds", INT, "1024", Here, "Descriptors that must be available", set!(minfds, limit)),
    opt("minprocs", INT, "200", Here, "Processes that must be available", set!(minprocs, limit)),
    opt("nocleanup", BOOL, "false", Here, "Keep AUTO logs of an earlier run", set!(nocleanup, v::boolean)),
    opt("childlogdir", DIR, "", Here, "Where AUTO logs are made; unset: the temporary directory", set!(@childlogdir, v::existing_dir)),
    opt("user", USER, "", Here, "Drop to this user at start", set!(@user, v::user)),
    opt("directory", DIR, "", Here, "Change to it when going to the background", set!(@directory, v::existing_dir)),
    opt("strip_ansi", BOOL, "false", Here, "Remove terminal escapes from child logs", set!(strip_ansi, v::boolean)),
    opt("environment", PAIRS, "", Here, "For every program, and for `%(ENV_x)s`", set!(environment, v::environment)),
    opt("identifier", TEXT, "supervisor", Here, "Name of this supervisor in events and AUTO logs", set!(identifier, text)),
    new("exit_code_from", EXIT_CODE, "", Here, "Whose exit code becomes ours", set!(exit_code_from, exit_code_from)),
    new("exit_when", "all_done", "", Here, "End when every program has ended by itself", set!(exit_when_all_done, all_done)),
    new("stop_budget", "seconds, such as 8 or 9.5", "", Here, "Time for the whole ordered shutdown", set!(?stop_budget_ms, seconds)),
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
    opt("command", TEXT, "", Own, "What to run; required", set!(process.command, text)),
    opt("process_name", TEXT, "%(program_name)s", Own, "Name of each process", set!(?process_name, text)),
    opt("numprocs", INT, "1", Program, "How many processes", set!(?numprocs, v::int)),
    opt("numprocs_start", INT, "0", Program, "The first process_num", set!(numprocs_start, v::int)),
    opt("priority", INT, "999", Program, "Low starts first and stops last", set!(process.priority, small)),
    opt("autostart", BOOL, "true", Program, "Start with the supervisor", set!(process.autostart, v::boolean)),
    opt("autorestart", "true, false or unexpected", "unexpected", Program, "Start again after an exit", set!(process.autorestart, v::auto_restart)),
    opt("startsecs", INT, "1", Program, "Seconds to stay up to count as RUNNING", set!(process.startsecs, v::int)),
    opt("startretries", INT, "3", Program, "Failed starts before FATAL, after the first", set!(process.startretries, v::int)),
    opt("stopsignal", "a signal such as TERM, INT or QUIT", "TERM", Program, "What stops it", set!(process.stopsignal, v::signal)),
    opt("stopwaitsecs", INT, "10", Program, "Seconds from the stop signal to KILL", set!(process.stopwaitsecs, v::int)),
    opt("stopasgroup", BOOL, "false", Program, "The stop signal goes to its process group", set!(process.stopasgroup, v::boolean)),
    opt("killasgroup", BOOL, "", Program, "KILL goes to its process group; unset: as stopasgroup", set!(?killasgroup, v::boolean)),
    opt("exitcodes", "codes 0 to 255 between commas", "0", Program, "Which exit codes are expected", set!(process.exitcodes, v::exit_codes)),
    opt("user", USER, "", Program, "Run as this user", known_user),
    opt("redirect_stderr", BOOL, "false", Program, "stderr goes where stdout goes", set!(process.redirect_stderr, v::boolean)),
    opt("stdout_logfile", LOG, "AUTO", Own, "Where stdout goes", set!(@stdout_logfile, v::child_log)),
    opt("stdout_logfile_maxbytes", SIZE, "50MB", Own, "Rotate at this size; 0: never", set!(process.stdout.maxbytes, v::size)),
    opt("stdout_logfile_backups", INT, "10", Own, "How many rotated files are kept", set!(process.stdout.backups, v::int)),
    opt("stdout_capture_maxbytes", SIZE, "0", Program, "Buffer of capture mode; 0: off", set!(process.stdout.capture_maxbytes, v::size)),
    opt("stdout_events_enabled", BOOL, "false", Program, "PROCESS_LOG_STDOUT events", set!(process.stdout.events_enabled, v::boolean)),
    opt("stdout_syslog", BOOL, "false", Own, "stdout goes to syslog too", set!(process.stdout.syslog, v::boolean)),
    new("stdout_format", FORMAT, "raw", Program, "How lines of stdout look in its log", set!(process.stdout.format, format)),
    opt("stderr_logfile", LOG, "AUTO", Own, "Where stderr goes", set!(@stderr_logfile, v::child_log)),
    opt("stderr_logfile_maxbytes", SIZE, "50MB", Own, "Rotate at this size; 0: never", set!(process.stderr.maxbytes, v::size)),
    opt("stderr_logfile_backups", INT, "10", Own, "How many rotated files are kept", set!(process.stderr.backups, v::int)),
    opt("stderr_capture_maxbytes", SIZE, "0", Program, "Buffer of capture mode; 0: off", set!(process.stderr.capture_maxbytes, v::size)),
    opt("stderr_events_enabled", BOOL, "false", Program, "PROCESS_LOG_STDERR events", set!(process.stderr.events_enabled, v::boolean)),
    opt("stderr_syslog", BOOL, "false", Own, "stderr goes to syslog too", set!(process.stderr.syslog, v::boolean)),
    new("stderr_format", FORMAT, "raw", Program, "How lines of stderr look in its log", set!(process.stderr.format, format)),
    opt("environment", PAIRS, "", Process, "Its own variables", set!(process.environment, v::environment)),
    opt("directory", TEXT, "", Own, "Change to it before the start", set!(?process.directory, path)),
    opt("umask", OCTAL, "", Program, "Of the process; unset: ours", set!(?process.umask, v::octal)),
    opt("serverurl", TEXT, "AUTO", Program, "SUPERVISOR_SERVER_URL for the process", set!(process.serverurl, server_url)),
    new("essential", BOOL, "false", Program, "When it ends for good, all is stopped and rsup exits", set!(process.essential, v::boolean)),
    new("sweep", BOOL, "false", Program, "End what it left in its process group when it dies", set!(process.sweep, v::boolean)),
];

/// `[group:x]`.
#[rustfmt::skip] // one row an option
pub(super) const GROUP: &[Opt<Draft>] = &[
    opt("programs", LIST, "", Here, "Its programs and fcgi-programs", set!(programs, list)),
    opt("priority", INT, "999", Here, "Low starts first and stops last", set!(?priority, small)),
];

/// What `[eventlistener:x]` has more than `[program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const LISTENER: &[Opt<Draft>] = &[
    opt("priority", INT, "-1", Here, "Low starts first and stops last", set!(?priority, small)),
    opt("buffer_size", INT, "10", Here, "Events kept while no process is ready", set!(?buffer_size, v::int)),
    opt("events", LIST, "", Here, "Event types that it hears; required", set!(events, |t: &str| list(&t.to_uppercase()))),
    opt("result_handler", TEXT, DEFAULT_HANDLER, Here, "Python plug-in; only the default", set!(?result_handler, text)),
];

/// What `[fcgi-program:x]` has more than `[program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const FCGI: &[Opt<Draft>] = &[
    opt("priority", INT, "999", Here, "Low starts first and stops last", set!(?priority, small)),
    opt("socket_backlog", INT, "", Here, "Length of the queue of connections", set!(?backlog, backlog)),
    opt("socket_owner", OWNER, "", Here, "Owner of a Unix socket", set!(@owner, |t, m| v::owner(t, "socket_owner", m))),
    opt("socket_mode", OCTAL, "0700", Here, "Mode of a Unix socket", set!(?mode, |t| mode(t, "socket_mode"))),
    opt("socket", "unix:///path or tcp://host:port", "", Socket, "Where it listens; required", set!(@socket, v::fcgi_socket)),
];

/// `[unix_http_server]` and `[inet_http_server]`, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct HttpDraft {
    address: Option<SocketAddress>,
    chmod: Option<u32>,
    chown: Option<Owner>,
    username: Option<String>,
    password: Option<String>,
}

impl HttpDraft {
    pub fn finish(self, section: &str) -> Option<HttpServerConfig> {
        Some(HttpServerConfig {
            section: section.into(),
            address: self.address?,
            chmod: self.chmod.unwrap_or(0o700),
            chown: self.chown,
            credentials: self.username.filter(|name| !name.is_empty()).zip(self.password),
        })
    }
}

/// `[unix_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const UNIX_SERVER: &[Opt<HttpDraft>] = &[
    opt("file", PATH, "", Here, "The socket; required", set!(@address, unix_address)),
    opt("chmod", OCTAL, "0700", Env, "Mode of the socket", set!(?chmod, |t| mode(t, "chmod"))),
    opt("chown", OWNER, "", Env, "Owner of the socket", set!(@chown, |t, m| v::owner(t, "sockchown", m))),
    opt("username", TEXT, "", Env, "Who may use it; needs password", set!(?username, text)),
    opt("password", TEXT, "", Env, "Plain, or {SHA} and the hash in hex", set!(?password, text)),
];

/// `[inet_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const INET_SERVER: &[Opt<HttpDraft>] = &[
    opt("port", "port, host:port or *:port", "", Env, "Where it listens; required", set!(?address, v::inet_address)),
    opt("username", TEXT, "", Env, "Who may use it; needs password", set!(?username, text)),
    opt("password", TEXT, "", Env, "Plain, or {SHA} and the hash in hex", set!(?password, text)),
];

/// `[supervisorctl]`, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientDraft {
    pub serverurl: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub prompt: Option<String>,
    pub history_file: Option<Option<PathBuf>>,
}

/// `[supervisorctl]`.
#[rustfmt::skip] // one row an option
pub(super) const CLIENT: &[Opt<ClientDraft>] = &[
    opt("serverurl", "http://host:port or unix:///path", DEFAULT_URL, Here, "The server", set!(@serverurl, client_url)),
    opt("username", TEXT, "", Env, "As in the server's section", set!(?username, text)),
    opt("password", TEXT, "", Env, "As in the server's section", set!(?password, text)),
    opt("prompt", TEXT, "supervisor", Env, "Of the interactive shell", set!(?prompt, text)),
    opt("history_file", PATH, "", Here, "Where the shell keeps its history", set!(@history_file, history_file)),
];

fn text(value: &str) -> Result<String, String> {
    Ok(value.into())
}

fn path(value: &str) -> Result<PathBuf, String> {
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
    Ok(v::absolute(&path.to_string_lossy(), machine).into())
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
    Ok(SocketAddress::Unix(v::normalize(value.trim_matches(is_space), machine).into()))
}

fn client_url(value: &str, machine: &dyn Machine) -> Result<String, String> {
    let unix = value.strip_prefix("unix://").map(|path| format!("unix://{}", v::normalize(path, machine)));
    Ok(unix.unwrap_or_else(|| value.into()))
}

fn history_file(value: &str, machine: &dyn Machine) -> Result<Option<PathBuf>, String> {
    Ok(Some(value).filter(|value| !value.is_empty()).map(|value| v::normalize(value, machine).into()))
}

/// Where a client looks when its section does not say.
pub(super) const DEFAULT_URL: Str = "http://localhost:9001";

/// The only `result_handler` that needs no Python.
pub(super) const DEFAULT_HANDLER: Str = "supervisor.dispatchers:default_handler";

/// The factory of the `supervisor.*` methods.
pub const MAIN_RPC_FACTORY: &str = "supervisor.rpcinterface:make_main_rpcinterface";

/// The factory of the `twiddler.*` methods.
pub const TWIDDLER_RPC_FACTORY: &str = "supervisor_twiddler.rpcinterface:make_twiddler_rpcinterface";

/// What `events=` may name (census §9.1); an abstract one means all below it.
pub const EVENT_TYPES: [&str; 27] = [
    "EVENT",
    "PROCESS_STATE",
    "PROCESS_STATE_STOPPED",
    "PROCESS_STATE_EXITED",
    "PROCESS_STATE_STARTING",
    "PROCESS_STATE_STOPPING",
    "PROCESS_STATE_BACKOFF",
    "PROCESS_STATE_FATAL",
    "PROCESS_STATE_RUNNING",
    "PROCESS_STATE_UNKNOWN",
    "PROCESS_COMMUNICATION",
    "PROCESS_COMMUNICATION_STDOUT",
    "PROCESS_COMMUNICATION_STDERR",
    "PROCESS_LOG",
    "PROCESS_LOG_STDOUT",
    "PROCESS_LOG_STDERR",
    "REMOTE_COMMUNICATION",
    "SUPERVISOR_STATE_CHANGE",
    "SUPERVISOR_STATE_CHANGE_RUNNING",
    "SUPERVISOR_STATE_CHANGE_STOPPING",
    "TICK",
    "TICK_5",
    "TICK_60",
    "TICK_3600",
    "PROCESS_GROUP",
    "PROCESS_GROUP_ADDED",
    "PROCESS_GROUP_REMOVED",
];
