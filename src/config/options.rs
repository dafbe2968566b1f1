//! Every option of every section: one row says its key, type, default, names, meaning, and how its value enters the model.
//!
//! Parsing, suggestions for unknown keys, `rsup check --dump` and the documentation all come from these rows. Census §3.
#![forbid(unsafe_code)]

use super::Machine;
use super::model::{
    self, ChannelConfig, ChildLog, ExitCodeFrom, HttpServerConfig, LogFormat, MainLog, Owner, ProcessConfig,
    ServerConfig, ServerUrl, SocketAddress,
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

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Any text.
    Text,
    /// A whole number.
    Int,
    /// A whole number with KB, MB or GB.
    Size,
    /// true or false.
    Bool,
    /// An octal number.
    Octal,
    /// A path whose directory exists.
    Path,
    /// An existing directory.
    Dir,
    /// A user's name or number.
    User,
    /// user or user:group.
    Owner,
    /// A path, AUTO or NONE.
    Log,
    /// Comma-separated.
    List,
    /// KEY="value",KEY2="value".
    Pairs,
    /// Seconds.
    Seconds,
    /// One of these.
    OneOf(&'static str),
}

impl Type {
    /// What to write, for error messages and the documentation.
    #[must_use]
    pub fn wanted(self) -> &'static str {
        match self {
            Type::Text => "a text",
            Type::Int => "a whole number",
            Type::Size => "a whole number, or one with KB, MB or GB",
            Type::Bool => "true or false",
            Type::Octal => "an octal number such as 0700",
            Type::Path => "a path in a directory that exists",
            Type::Dir => "a directory that exists",
            Type::User => "a user's name, or a number",
            Type::Owner => "user or user:group, both known to /etc/passwd and /etc/group",
            Type::Log => "a path in a directory that exists, AUTO or NONE",
            Type::List => "names between commas",
            Type::Pairs => "KEY=\"value\",KEY2=\"value\"",
            Type::Seconds => "seconds, such as 8 or 9.5",
            Type::OneOf(words) => words,
        }
    }
}

/// One option of a section whose values go to a `T`.
pub struct Opt<T: 'static> {
    /// As written, lower case.
    pub key: &'static str,
    /// What a value looks like.
    pub kind: Type,
    /// What holds when it is not written; empty: nothing.
    pub default: &'static str,
    /// Which names it may use.
    pub scope: Scope,
    /// What it is for.
    pub help: &'static str,
    /// Not known to Supervisor, which ignores it.
    pub rsup: bool,
    pub(super) set: fn(&mut T, &str, &dyn Machine) -> Result<(), String>,
}

type Set<T> = fn(&mut T, &str, &dyn Machine) -> Result<(), String>;

const fn opt<T>(
    key: &'static str,
    kind: Type,
    default: &'static str,
    scope: Scope,
    help: &'static str,
    set: Set<T>,
) -> Opt<T> {
    Opt { key, kind, default, scope, help, rsup: false, set }
}

const fn new<T>(
    key: &'static str,
    kind: Type,
    default: &'static str,
    scope: Scope,
    help: &'static str,
    set: Set<T>,
) -> Opt<T> {
    Opt { key, kind, default, scope, help, rsup: true, set }
}

/// A closure that stores a parsed value; `?` where the field is an `Option`, `@` where the parser asks the machine.
macro_rules! set {
    ($($field:ident).+, $parse:expr) => { |to, text, _| { to.$($field).+ = $parse(text)?; Ok(()) } };
    (? $($field:ident).+, $parse:expr) => { |to, text, _| { to.$($field).+ = Some($parse(text)?); Ok(()) } };
    (@ $($field:ident).+, $parse:expr) => { |to, text, m| { to.$($field).+ = Some($parse(text, m)?); Ok(()) } };
}

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

use Scope::{Env, Here, Own, Process, Program, Socket};
use Type::{Bool, Dir, Int, List, Log, Octal, OneOf, Pairs, Path, Seconds, Size, Text, User};

/// `[supervisord]`. Its `environment` is expanded twice and enters by hand, since it makes names for everything after it.
#[rustfmt::skip] // one row an option
pub const SERVER: &[Opt<ServerConfig>] = &[
    opt("logfile", Path, "supervisord.log", Here, "The main log; `syslog` is special", |s, text, machine| {
        let path = v::path_in_existing_dir(text, machine)?;
        s.logfile = Some(match text {
            "syslog" => MainLog::Syslog,
            _ => MainLog::File(v::absolute(&path.to_string_lossy(), machine).into()),
        });
        Ok(())
    }),
    opt("logfile_maxbytes", Size, "50MB", Here, "Rotate the main log at this size; 0: never", set!(logfile_maxbytes, v::size)),
    opt("logfile_backups", Int, "10", Here, "How many rotated main logs are kept", set!(logfile_backups, v::int)),
    opt(
        "loglevel", OneOf("critical, error, warn, info, debug, trace or blather"), "info", Here,
        "What the main log holds", set!(loglevel, v::log_level),
    ),
    opt("pidfile", Path, "supervisord.pid", Here, "Where the process id is written", |s, text, machine| {
        let path = v::path_in_existing_dir(text, machine)?;
        s.pidfile = Some(v::absolute(&path.to_string_lossy(), machine).into());
        Ok(())
    }),
    opt("umask", Octal, "022", Here, "Of the daemon, when it goes to the background", set!(umask, v::octal)),
    opt("nodaemon", Bool, "false", Here, "Stay in the foreground", set!(?nodaemon, v::boolean)),
    opt("silent", Bool, "false", Here, "No copy of the main log on stdout", set!(silent, v::boolean)),
    opt("minfds", Int, "1024", Here, "Descriptors that must be available", set!(minfds, limit)),
    opt("minprocs", Int, "200", Here, "Processes that must be available", set!(minprocs, limit)),
    opt("nocleanup", Bool, "false", Here, "Keep AUTO logs of an earlier run", set!(nocleanup, v::boolean)),
    opt("childlogdir", Dir, "", Here, "Where AUTO logs are made; the temporary directory when unset", set!(@childlogdir, v::existing_dir)),
    opt("user", User, "", Here, "Drop to this user at start", set!(@user, v::user)),
    opt("directory", Dir, "", Here, "Change to it when going to the background", set!(@directory, v::existing_dir)),
    opt("strip_ansi", Bool, "false", Here, "Remove terminal escapes from child logs", set!(strip_ansi, v::boolean)),
    opt("environment", Pairs, "", Here, "For every program, and for `%(ENV_x)s`", set!(environment, v::environment)),
    opt("identifier", Text, "supervisor", Here, "Name of this supervisor in events and AUTO logs", set!(identifier, text)),
    new(
        "exit_code_from", OneOf("a program's name, first_failure or essential"), "", Here,
        "Whose exit code becomes ours", |s, text, _| {
            s.exit_code_from = match text {
                "" => ExitCodeFrom::Zero,
                "first_failure" => ExitCodeFrom::FirstFailure,
                "essential" => ExitCodeFrom::Essential,
                program => ExitCodeFrom::Program(program.into()),
            };
            Ok(())
        },
    ),
    new("exit_when", OneOf("all_done"), "", Here, "End when every program has ended by itself", |s, text, _| {
        s.exit_when_all_done = match text {
            "" => false,
            "all_done" => true,
            _ => return Err(format!("not a condition to end on: {}", v::repr(text))),
        };
        Ok(())
    }),
    new("stop_budget", Seconds, "", Here, "Time for the whole ordered shutdown", |s, text, _| {
        s.stop_budget_ms = Some(seconds(text)?);
        Ok(())
    }),
];

/// Seconds with an optional fraction → milliseconds.
fn seconds(text: &str) -> Result<u64, String> {
    let shape = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = text.parse::<f64>().ok().filter(|s| shape && *s < 1e9);
    let seconds = seconds.ok_or_else(|| format!("not a number of seconds: {}", v::repr(text)))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above: 0 ≤ seconds < 1e9")]
    Ok((seconds * 1000.0).round() as u64)
}

/// Whom `user=` named before: a thousand programs have one user, looked up once.
pub(super) type Users = Rc<RefCell<BTreeMap<String, Rc<model::User>>>>;

/// What the options of a `[program:x]`, `[eventlistener:x]`, `[fcgi-program:x]` or `[group:x]` say.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub process: ProcessConfig,
    pub process_name: Option<String>,
    pub numprocs: Option<i64>,
    pub numprocs_start: i64,
    pub killasgroup: Option<bool>,
    pub command: Option<String>,
    /// Channels whose log file was the deprecated `syslog`.
    pub syslog_as_file: Vec<&'static str>,
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

fn child_log(to: &mut ChannelConfig, text: &str, machine: &dyn Machine) -> Result<bool, String> {
    let log = v::child_log(text, machine)?;
    let deprecated = log.is_none();
    to.logfile = log.unwrap_or(ChildLog::None);
    Ok(deprecated)
}

fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "raw" => Ok(LogFormat::Raw),
        "prefix" => Ok(LogFormat::Prefix),
        _ => Err(format!("not a log format: {}", v::repr(text))),
    }
}

/// `[program:x]`, and the same of `[eventlistener:x]` and `[fcgi-program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const PROGRAM: &[Opt<Draft>] = &[
    opt("command", Text, "", Own, "What to run; required", set!(?command, text)),
    opt("process_name", Text, "%(program_name)s", Own, "Name of each process", set!(?process_name, text)),
    opt("numprocs", Int, "1", Program, "How many processes", set!(?numprocs, v::int)),
    opt("numprocs_start", Int, "0", Program, "The first process_num", set!(numprocs_start, v::int)),
    opt("priority", Int, "999", Program, "Low starts first and stops last", set!(process.priority, small)),
    opt("autostart", Bool, "true", Program, "Start with the supervisor", set!(process.autostart, v::boolean)),
    opt(
        "autorestart", OneOf("true, false or unexpected"), "unexpected", Program,
        "Start again after an exit", set!(process.autorestart, v::auto_restart),
    ),
    opt("startsecs", Int, "1", Program, "Seconds to stay up to count as RUNNING", set!(process.startsecs, v::int)),
    opt("startretries", Int, "3", Program, "Failed starts before FATAL, after the first", set!(process.startretries, v::int)),
    opt(
        "stopsignal", OneOf("a signal such as TERM, INT or QUIT"), "TERM", Program,
        "What stops it", set!(process.stopsignal, v::signal),
    ),
    opt("stopwaitsecs", Int, "10", Program, "Seconds from the stop signal to KILL", set!(process.stopwaitsecs, v::int)),
    opt("stopasgroup", Bool, "false", Program, "The stop signal goes to its process group", set!(process.stopasgroup, v::boolean)),
    opt("killasgroup", Bool, "", Program, "KILL goes to its process group; as stopasgroup when unset", set!(?killasgroup, v::boolean)),
    opt("exitcodes", OneOf("codes 0 to 255 between commas"), "0", Program, "Which exit codes are expected", set!(process.exitcodes, v::exit_codes)),
    opt("user", User, "", Program, "Run as this user", |d, text, machine| {
        let known = d.users.borrow().get(text).cloned();
        let user = known.map_or_else(|| v::user(text, machine).map(Rc::new), Ok)?;
        d.users.borrow_mut().insert(text.into(), Rc::clone(&user));
        d.process.user = Some(user);
        Ok(())
    }),
    opt("redirect_stderr", Bool, "false", Program, "stderr goes where stdout goes", set!(process.redirect_stderr, v::boolean)),
    opt("stdout_logfile", Log, "AUTO", Own, "Where stdout goes", |d, text, machine| {
        if child_log(&mut d.process.stdout, text, machine)? {
            d.syslog_as_file.push("stdout");
        }
        Ok(())
    }),
    opt("stdout_logfile_maxbytes", Size, "50MB", Own, "Rotate at this size; 0: never", set!(process.stdout.maxbytes, v::size)),
    opt("stdout_logfile_backups", Int, "10", Own, "How many rotated files are kept", set!(process.stdout.backups, v::int)),
    opt("stdout_capture_maxbytes", Size, "0", Program, "Buffer of capture mode; 0: off", set!(process.stdout.capture_maxbytes, v::size)),
    opt("stdout_events_enabled", Bool, "false", Program, "PROCESS_LOG_STDOUT events", set!(process.stdout.events_enabled, v::boolean)),
    opt("stdout_syslog", Bool, "false", Own, "stdout goes to syslog too", set!(process.stdout.syslog, v::boolean)),
    new("stdout_format", OneOf("raw or prefix"), "raw", Program, "How lines of stdout look in its log", set!(process.stdout.format, format)),
    opt("stderr_logfile", Log, "AUTO", Own, "Where stderr goes", |d, text, machine| {
        if child_log(&mut d.process.stderr, text, machine)? {
            d.syslog_as_file.push("stderr");
        }
        Ok(())
    }),
    opt("stderr_logfile_maxbytes", Size, "50MB", Own, "Rotate at this size; 0: never", set!(process.stderr.maxbytes, v::size)),
    opt("stderr_logfile_backups", Int, "10", Own, "How many rotated files are kept", set!(process.stderr.backups, v::int)),
    opt("stderr_capture_maxbytes", Size, "0", Program, "Buffer of capture mode; 0: off", set!(process.stderr.capture_maxbytes, v::size)),
    opt("stderr_events_enabled", Bool, "false", Program, "PROCESS_LOG_STDERR events", set!(process.stderr.events_enabled, v::boolean)),
    opt("stderr_syslog", Bool, "false", Own, "stderr goes to syslog too", set!(process.stderr.syslog, v::boolean)),
    new("stderr_format", OneOf("raw or prefix"), "raw", Program, "How lines of stderr look in its log", set!(process.stderr.format, format)),
    opt("environment", Pairs, "", Process, "Its own variables", set!(process.environment, v::environment)),
    opt("directory", Text, "", Own, "Change to it before the start", set!(?process.directory, path)),
    opt("umask", Octal, "", Program, "Of the process; ours when unset", set!(?process.umask, v::octal)),
    opt("serverurl", Text, "AUTO", Program, "SUPERVISOR_SERVER_URL for the process", |d, text, _| {
        d.process.serverurl = match text.trim_matches(super::dialect::is_space) {
            _ if text.is_empty() => ServerUrl::Unset,
            auto if auto.eq_ignore_ascii_case("auto") => ServerUrl::Auto,
            _ => ServerUrl::Fixed(text.into()),
        };
        Ok(())
    }),
    new("essential", Bool, "false", Program, "When it ends for good, all is stopped and rsup exits", set!(process.essential, v::boolean)),
    new("sweep", Bool, "false", Program, "End what it left in its process group when it dies", set!(process.sweep, v::boolean)),
];

/// `[group:x]`.
#[rustfmt::skip] // one row an option
pub(super) const GROUP: &[Opt<Draft>] = &[
    opt("programs", List, "", Here, "Its programs and fcgi-programs", set!(programs, list)),
    opt("priority", Int, "999", Here, "Low starts first and stops last", set!(?priority, small)),
];

/// What `[eventlistener:x]` has more than `[program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const LISTENER: &[Opt<Draft>] = &[
    opt("priority", Int, "-1", Here, "Low starts first and stops last", set!(?priority, small)),
    opt("buffer_size", Int, "10", Here, "Events kept while no process is ready", set!(?buffer_size, v::int)),
    opt("events", List, "", Here, "Event types that it hears; required", set!(events, |t: &str| list(&t.to_uppercase()))),
    opt("result_handler", Text, DEFAULT_HANDLER, Here, "Python plug-in; only the default", set!(?result_handler, text)),
];

/// The only `result_handler` that needs no Python.
pub(super) const DEFAULT_HANDLER: &str = "supervisor.dispatchers:default_handler";

/// What `[fcgi-program:x]` has more than `[program:x]`.
#[rustfmt::skip] // one row an option
pub(super) const FCGI: &[Opt<Draft>] = &[
    opt("priority", Int, "999", Here, "Low starts first and stops last", set!(?priority, small)),
    opt("socket_backlog", Int, "", Here, "Length of the queue of connections", |d, text, _| {
        let backlog = v::int(text)?;
        let known = u16::try_from(backlog).ok().filter(|&n| n > 0);
        d.backlog = Some(known.ok_or_else(|| format!("Invalid socket_backlog value {backlog}"))?.into());
        Ok(())
    }),
    opt("socket_owner", Type::Owner, "", Here, "Owner of a Unix socket", |d, text, machine| {
        d.owner = Some(v::owner(text, "socket_owner", machine)?);
        Ok(())
    }),
    opt("socket_mode", Octal, "0700", Here, "Mode of a Unix socket", |d, text, _| {
        d.mode = Some(v::octal(text).map_err(|_| format!("Invalid socket_mode value {text}"))?);
        Ok(())
    }),
    opt("socket", OneOf("unix:///path or tcp://host:port"), "", Socket, "Where it listens; required", |d, text, machine| {
        d.socket = if text.is_empty() { None } else { Some(v::fcgi_socket(text, machine)?) };
        Ok(())
    }),
];

/// `[unix_http_server]` and `[inet_http_server]`, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct HttpDraft {
    pub address: Option<SocketAddress>,
    pub chmod: Option<u32>,
    pub chown: Option<Owner>,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// `[unix_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const UNIX_SERVER: &[Opt<HttpDraft>] = &[
    opt("file", Path, "", Here, "The socket; required", |h, text, machine| {
        let path = v::normalize(text.trim_matches(super::dialect::is_space), machine);
        h.address = Some(SocketAddress::Unix(path.into()));
        Ok(())
    }),
    opt("chmod", Octal, "0700", Env, "Mode of the socket", |h, text, _| {
        h.chmod = Some(v::octal(text).map_err(|_| format!("Invalid chmod value {text}"))?);
        Ok(())
    }),
    opt("chown", Type::Owner, "", Env, "Owner of the socket", |h, text, machine| {
        h.chown = Some(v::owner(text, "sockchown", machine)?);
        Ok(())
    }),
    opt("username", Text, "", Env, "Who may use it; needs password", set!(?username, text)),
    opt("password", Text, "", Env, "Plain, or {SHA} and the hash in hex", set!(?password, text)),
];

/// `[inet_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const INET_SERVER: &[Opt<HttpDraft>] = &[
    opt("port", OneOf("port, host:port or *:port"), "", Env, "Where it listens; required", set!(?address, v::inet_address)),
    opt("username", Text, "", Env, "Who may use it; needs password", set!(?username, text)),
    opt("password", Text, "", Env, "Plain, or {SHA} and the hash in hex", set!(?password, text)),
];

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

/// `[supervisorctl]`, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClientDraft {
    pub serverurl: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub prompt: Option<String>,
    pub history_file: Option<PathBuf>,
}

/// `[supervisorctl]`.
#[rustfmt::skip] // one row an option
pub(super) const CLIENT: &[Opt<ClientDraft>] = &[
    opt("serverurl", OneOf("http://host:port or unix:///path"), "http://localhost:9001", Here, "The server", |c, text, machine| {
        c.serverurl = Some(match text.strip_prefix("unix://") {
            Some(path) => format!("unix://{}", v::normalize(path, machine)),
            None => text.into(),
        });
        Ok(())
    }),
    opt("username", Text, "", Env, "As in the server's section", set!(?username, text)),
    opt("password", Text, "", Env, "As in the server's section", set!(?password, text)),
    opt("prompt", Text, "supervisor", Env, "Of the interactive shell", set!(?prompt, text)),
    opt("history_file", Path, "", Here, "Where the shell keeps its history", |c, text, machine| {
        c.history_file = Some(text).filter(|t| !t.is_empty()).map(|t| v::normalize(t, machine).into());
        Ok(())
    }),
];
