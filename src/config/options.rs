//! The table of options: one row for each option, with all facts about it and the function that stores its value.
//!
//! The parser, the suggestions for unknown keys, `rsup check --dump`, the sample and the documentation use these rows. A new
//! option also needs a field in `model`; the compiler then asks for its comparison (`compare`) and its JSON (`check`).
//! Source: supervisor-behaviour.md §3.
#![forbid(unsafe_code)]

use super::Machine;
use super::model::{
    ClientSection, DEFAULT_URL, ExitCodeFrom, HealthAction, HttpServerConfig, LogFormat, LogPlace, MainLog, Owner,
    Probe, ProcessConfig, Readiness, RestartLimit, ServerConfig, ServerUrl, SocketAddress, StopSignal, User,
};
use super::values::{self as v, is_space};
use crate::text;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;

/// The names that `%(…)s` may use in the value of an option. `%(ENV_x)s` is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only `ENV_*`.
    Env,
    /// `here`.
    Here,
    /// `here`, `host_node_name`.
    Include,
    /// `here`, `program_name`.
    Socket,
    /// `here`, `host_node_name`, `program_name`, `group_name`.
    Program,
    /// The names of `Program`, `process_num` and `numprocs`. The value is expanded for each process.
    Process,
    /// The names of `Process`; here `ENV_*` includes the variables of the program's own `environment`.
    Own,
}

type Str = &'static str;
type Set<T> = fn(&mut T, &str, &dyn Machine) -> Result<(), String>;

/// What must happen before a changed option takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeEffect {
    /// Nothing: it could be applied to a running process or supervisor. `update` does not use this column yet: as in Supervisor,
    /// it replaces each group that has changed.
    Live,
    /// A start of the process. It need not be restarted for that.
    NextStart,
    /// The process must be restarted.
    Restart,
    /// The supervisor must be reloaded (SIGHUP), which stops all processes.
    Reload,
    /// The supervisor must be ended and started again: only a start uses the option.
    Start,
    /// The supervisor does not use the option: a client reads it, or only the loader of the files.
    Elsewhere,
}

/// One option, as users see it.
#[derive(Debug, Clone, Copy)]
pub struct OptionRow {
    /// The name in the file, in lower case.
    pub key: Str,
    /// The form of a value, for error messages and the documentation.
    pub wanted: Str,
    /// The value if the file has none; empty: no default.
    pub default: Str,
    /// A value that is valid on any system.
    pub example: Str,
    /// The names that the value may use.
    pub scope: Scope,
    /// What must happen before a change takes effect.
    pub effect: ChangeEffect,
    /// The purpose of the option, in one line for users.
    pub help: Str,
    /// The first version of Supervisor that has the option; `None`: Supervisor ignores it.
    pub since: Option<Str>,
    /// Another name that is read too: that of the same option in ochinchina/supervisord, in lower case.
    pub also: Option<Str>,
    /// The letter on the server's command line; a blank: only the long form exists.
    pub flag: Option<char>,
}

/// An option with the function that stores its value in a `T`.
pub struct Opt<T: 'static> {
    row: OptionRow,
    pub(super) set: Set<T>,
}

impl<T> Deref for Opt<T> {
    type Target = OptionRow;

    fn deref(&self) -> &OptionRow {
        &self.row
    }
}

const fn opt<T>(row: OptionRow, set: Set<T>) -> Opt<T> {
    Opt { row, set }
}

/// The columns that a row leaves out: no default, no letter, and known to Supervisor since 3.0.
const ROW: OptionRow = OptionRow {
    key: "",
    wanted: "",
    default: "",
    example: "",
    scope: Here,
    effect: Restart,
    help: "",
    since: Some("3.0"),
    also: None,
    flag: None,
};

impl OptionRow {
    /// Whether only rsup knows the option. Supervisor ignores it.
    #[must_use]
    pub fn is_rsup_only(&self) -> bool {
        self.since.is_none()
    }

    /// The message for a configuration file with the invalid value `text`. `why` is Supervisor's message, which the command
    /// line prints unchanged. If it is a message of Python about a type, a description of the type replaces it.
    pub(super) fn refusal(&self, text: &str, why: &str) -> String {
        if TYPES.contains(&self.wanted) {
            return format!("{} must be {}, not `{}`", self.key, self.wanted, text.replace('\n', "\\n"));
        }
        let hint = if why.contains(';') { String::new() } else { format!("; write {}", self.wanted) };
        format!("{}{hint}", why.trim_end())
    }
}

/// A kind of section.
pub struct SectionKind {
    /// The name without brackets; `x` stands for any name.
    pub title: Str,
    /// The purpose of the section, in one line for users.
    pub help: Str,
    /// The options.
    pub rows: fn() -> Vec<&'static OptionRow>,
}

/// Every kind of section.
#[rustfmt::skip] // one row a kind
pub const SECTION_KINDS: &[SectionKind] = &[
    SectionKind { title: "supervisord", help: "The supervisor itself", rows: || rows(SERVER) },
    SectionKind { title: "program:x", help: "A program, run as one or more processes", rows: || rows(PROGRAM) },
    SectionKind { title: "group:x", help: "Programs that are started and stopped together", rows: || rows(GROUP) },
    SectionKind { title: "eventlistener:x", help: "A program that receives events; takes all options of [program:x] and these", rows: || [rows(PROGRAM), rows(LISTENER)].concat() },
    SectionKind { title: "fcgi-program:x", help: "FastCGI processes that share a socket; takes all options of [program:x] and these", rows: || [rows(PROGRAM), rows(FCGI)].concat() },
    SectionKind { title: "unix_http_server", help: "Unix socket on which clients such as rsupctl control the supervisor", rows: || rows(UNIX_SERVER) },
    SectionKind { title: "inet_http_server", help: "TCP port on which clients and browsers control the supervisor", rows: || rows(INET_SERVER) },
    SectionKind { title: "supervisorctl", help: "Settings of the clients rsupctl and supervisorctl", rows: || rows(CLIENT) },
    SectionKind { title: "include", help: "Additional configuration files", rows: || rows(INCLUDE) },
    SectionKind { title: "rpcinterface:x", help: "XML-RPC methods that clients may call; all other keys belong to the plug-in", rows: || rows(PLUG_IN) },
    SectionKind { title: "ctlplugin:x", help: "Python plug-in of supervisorctl; not supported", rows: Vec::new },
];

fn rows<T>(table: &'static [Opt<T>]) -> Vec<&'static OptionRow> {
    table.iter().map(|opt| &opt.row).collect()
}

impl SectionKind {
    /// The options that `[program:x]` does not have.
    pub fn own(&self) -> impl Iterator<Item = &'static OptionRow> {
        let all = (self.rows)();
        let shared = if all.len() > PROGRAM.len() { PROGRAM.len() } else { 0 };
        all.into_iter().skip(shared)
    }
}

/// The kind of the section with this name; `None`: unknown, and ignored. Supervisor recognises a server section by the
/// beginning of its name.
#[must_use]
pub fn section_kind(section: &str) -> Option<&'static SectionKind> {
    SECTION_KINDS.iter().find(|kind| match kind.title.strip_suffix('x').filter(|prefix| prefix.ends_with(':')) {
        Some(prefix) => section.starts_with(prefix),
        None if kind.title.ends_with("_server") => section.starts_with(kind.title),
        None => section == kind.title,
    })
}

/// A function that parses a value and stores it in a field. `?`: the field is an `Option`. `@`: it is, and the parser also
/// needs the `Machine`.
macro_rules! set {
    ($($field:ident).+, $parse:expr) => { |to, text, _| { to.$($field).+ = $parse(text)?; Ok(()) } };
    (? $($field:ident).+, $parse:expr) => { |to, text, _| { to.$($field).+ = Some($parse(text)?); Ok(()) } };
    (@ $($field:ident).+, $parse:expr) => { |to, text, m| { to.$($field).+ = Some($parse(text, m)?); Ok(()) } };
}

const TEXT: Str = "text";
const NAMES: Str = "names of programs, of groups or group:process, separated by commas";
const READY: Str = "tcp:PORT, unix:/path, http://HOST/path, file:/path, exec:COMMAND, notify, fd:N or line:REGEX";
const PROBE: Str = "tcp:PORT, unix:/path, http://HOST/path, file:/path or exec:COMMAND";
const ACTION: Str = "restart, stop or none";
const COUNT: Str = "a whole number from 1 on";
const SEQUENCE: Str = "SIGNAL:seconds, separated by commas, such as TERM:10,INT:5";
const INT: Str = "a whole number";
const SECONDS: Str = "a whole number of seconds";
const SIZE: Str = "a number of bytes, such as 1024, 64KB or 50MB";
/// The form of a switch, which takes no argument on the command line.
pub(super) const BOOL: Str = "true or false";
const OCTAL: Str = "an octal number such as 0700";
const PATH: Str = "a path in a directory that exists";
const DIR: Str = "a directory that exists";
const USER: Str = "a user name or number";
const OWNER: Str = "user or user:group, both known to /etc/passwd and /etc/group";
const LOG: Str = "a path in a directory that exists, AUTO or NONE";
const LIST: Str = "names separated by commas";
const PAIRS: Str = "KEY=\"value\",KEY2=\"value\"";
const FORMAT: Str = "raw or prefix";
const LEVEL: Str = "critical, error, warn, info, debug, trace or blather";
const EXIT_CODE: Str = "a program's name, first_failure or essential";

const CODES: Str = "codes from 0 to 255, separated by commas";
const SIGNAL: Str = "a signal such as TERM, INT or QUIT";
const AUTORESTART: Str = "true, false or unexpected";
const DURATION: Str = "a number of seconds, such as 8 or 9.5";
const PERIOD: Str = "a number of seconds greater than 0, such as 8 or 9.5";
const FACTOR: Str = "a number from 1 to 1000, such as 2 or 1.5";
const PART: Str = "a number from 0 to 1, such as 0.1";
const LIMIT: Str = "restarts/seconds, such as 5/60";
const BACKLOG: Str = "a whole number from 1 to 65535";
const ADDRESS: Str = "an address such as 9001, 127.0.0.1:9001 or *:9001";
const ALL_DONE: Str = "all_done";

/// The forms that explain completely why a value is invalid.
const TYPES: [Str; 21] = [
    PERIOD,
    ACTION,
    COUNT,
    SEQUENCE,
    FACTOR,
    PART,
    LIMIT,
    INT,
    SECONDS,
    SIZE,
    BOOL,
    OCTAL,
    FORMAT,
    LEVEL,
    CODES,
    SIGNAL,
    AUTORESTART,
    DURATION,
    BACKLOG,
    ADDRESS,
    ALL_DONE,
];

use ChangeEffect::{Elsewhere, Live, NextStart, Reload, Restart, Start};
use Scope::{Env, Here, Include, Own, Process, Program, Socket};

/// `[supervisord]`. Every section that is read later can use its `environment` as `%(ENV_x)s`.
#[rustfmt::skip] // one row an option
pub const SERVER: &[Opt<ServerConfig>] = &[
    opt(OptionRow { key: "logfile", wanted: PATH, default: "supervisord.log", example: "/tmp/supervisord.log", scope: Here, effect: Reload, help: "Main log of the supervisor; `syslog` sends it to syslog", flag: Some('l'), ..ROW }, set!(@logfile, main_log)),
    opt(OptionRow { key: "logfile_maxbytes", wanted: SIZE, default: "50MB", example: "10MB", scope: Here, effect: Live, help: "Rotate the main log at this size; 0: never", flag: Some('y'), ..ROW }, set!(logfile_maxbytes, v::size)),
    opt(OptionRow { key: "logfile_backups", wanted: INT, default: "10", example: "3", scope: Here, effect: Live, help: "Number of rotated main logs to keep", flag: Some('z'), ..ROW }, set!(logfile_backups, v::int)),
    opt(OptionRow { key: "loglevel", wanted: LEVEL, default: "info", example: "warn", scope: Here, effect: Live, help: "Record messages of this level and more severe ones in the main log", flag: Some('e'), ..ROW }, set!(loglevel, v::log_level)),
    opt(OptionRow { key: "pidfile", wanted: PATH, default: "supervisord.pid", example: "/tmp/supervisord.pid", scope: Here, effect: Reload, help: "File that holds the process id of the supervisor", flag: Some('j'), ..ROW }, set!(@pidfile, absolute)),
    opt(OptionRow { key: "umask", wanted: OCTAL, default: "022", example: "027", scope: Here, effect: Start, help: "umask of the supervisor when it runs in the background", flag: Some('m'), ..ROW }, set!(umask, v::octal)),
    opt(OptionRow { key: "nodaemon", wanted: BOOL, default: "false", example: "true", scope: Here, effect: Start, help: "Stay in the foreground", flag: Some('n'), ..ROW }, set!(?nodaemon, v::boolean)),
    opt(OptionRow { key: "silent", wanted: BOOL, default: "false", example: "true", scope: Here, effect: Reload, help: "Do not copy the main log to stdout", flag: Some('s'), since: Some("4.2.0"), ..ROW }, set!(silent, v::boolean)),
    opt(OptionRow { key: "minfds", wanted: INT, default: "1024", example: "256", scope: Here, effect: Start, help: "Minimum limit on open files for programs; the start fails if it cannot be set", flag: Some('a'), ..ROW }, set!(minfds, limit)),
    opt(OptionRow { key: "minprocs", wanted: INT, default: "200", example: "50", scope: Here, effect: Start, help: "Minimum limit on processes; the start fails if it cannot be set", flag: Some(' '), ..ROW }, set!(minprocs, limit)),
    opt(OptionRow { key: "nocleanup", wanted: BOOL, default: "false", example: "true", scope: Here, effect: Reload, help: "Do not remove AUTO logs of earlier runs at start", flag: Some('k'), ..ROW }, set!(nocleanup, v::boolean)),
    opt(OptionRow { key: "childlogdir", wanted: DIR, example: "/tmp", scope: Here, effect: Reload, help: "Directory for AUTO logs; the temporary directory if unset", flag: Some('q'), ..ROW }, set!(@childlogdir, directory)),
    opt(OptionRow { key: "user", wanted: USER, example: "root", scope: Here, effect: Start, help: "Switch to this user at start", flag: Some('u'), ..ROW }, set!(@user, v::user)),
    opt(OptionRow { key: "directory", wanted: DIR, example: "/", scope: Here, effect: Start, help: "Working directory of the supervisor when it runs in the background", flag: Some('d'), ..ROW }, set!(@directory, directory)),
    opt(OptionRow { key: "strip_ansi", wanted: BOOL, default: "false", example: "true", scope: Here, effect: Reload, help: "Remove terminal escape sequences from program logs", flag: Some('t'), ..ROW }, set!(strip_ansi, v::boolean)),
    opt(OptionRow { key: "environment", wanted: PAIRS, example: "LANG=\"C.UTF-8\",STAGE=\"test\"", scope: Here, effect: Live, help: "Environment variables for all programs; usable as `%(ENV_x)s` in the file", ..ROW }, set!(environment, v::environment)),
    opt(OptionRow { key: "identifier", wanted: TEXT, default: "supervisor", example: "shop", scope: Here, effect: Reload, help: "Name of this supervisor in events and in names of AUTO logs", flag: Some('i'), ..ROW }, set!(identifier, text)),
    opt(OptionRow { key: "exit_code_from", wanted: EXIT_CODE, example: "first_failure", scope: Here, effect: Live, help: "Exit with the code of this program, of the first one that failed, or of the essential one", since: None, ..ROW }, set!(exit_code_from, exit_code_from)),
    opt(OptionRow { key: "exit_when", wanted: ALL_DONE, example: "all_done", scope: Here, effect: Live, help: "Exit when every program has ended by itself", since: None, ..ROW }, set!(exit_when_all_done, all_done)),
    opt(OptionRow { key: "stop_budget", wanted: DURATION, example: "9.5", scope: Here, effect: Live, help: "Time limit for the whole shutdown; SIGKILL is sent earlier if needed", since: None, ..ROW }, set!(?stop_budget_ms, seconds)),
    opt(OptionRow { key: "restart_limit", wanted: LIMIT, example: "20/60", scope: Here, effect: Live, help: "If all programs together restart automatically more than N times in T seconds (N/T), stop them and exit with 1", since: None, ..ROW }, set!(?restart_limit, restart_limit)),
];

/// The options of a `[program:x]`, `[eventlistener:x]`, `[fcgi-program:x]` or `[group:x]`, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub process: ProcessConfig,
    pub process_name: Option<String>,
    /// The signals of a `stopsignal` that has several.
    pub stop_signals: Vec<i32>,
    pub numprocs: Option<i64>,
    pub numprocs_start: i64,
    pub killasgroup: Option<bool>,
    /// `None` inside: the deprecated `syslog`.
    pub stdout_logfile: Option<Option<LogPlace>>,
    pub stderr_logfile: Option<Option<LogPlace>>,
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

/// The users that `user=` has named so far. A thousand programs with one user look it up once.
pub(super) type Users = Rc<RefCell<BTreeMap<String, Rc<User>>>>;

fn known_user(draft: &mut Draft, text: &str, machine: &dyn Machine) -> Result<(), String> {
    let known = draft.users.borrow().get(text).cloned();
    let user = known.map_or_else(|| v::user(text, machine).map(Rc::new), Ok)?;
    draft.users.borrow_mut().insert(text.into(), Rc::clone(&user));
    draft.process.user = Some(user);
    Ok(())
}

/// `[program:x]`; `[eventlistener:x]` and `[fcgi-program:x]` have these options too.
#[rustfmt::skip] // one row an option
pub(super) const PROGRAM: &[Opt<Draft>] = &[
    opt(OptionRow { key: "command", wanted: TEXT, example: "/bin/cat", scope: Own, effect: Restart, help: "Program and arguments to run, without a shell; required", ..ROW }, set!(process.command, text)),
    opt(OptionRow { key: "process_name", wanted: TEXT, default: "%(program_name)s", example: "%(program_name)s_%(process_num)02d", scope: Own, effect: Restart, help: "Name of the process; needs `%(process_num)` if numprocs is above 1", ..ROW }, set!(?process_name, text)),
    opt(OptionRow { key: "numprocs", wanted: INT, default: "1", example: "2", scope: Program, effect: Live, help: "Number of processes to run", ..ROW }, set!(?numprocs, v::int)),
    opt(OptionRow { key: "numprocs_start", wanted: INT, default: "0", example: "1", scope: Program, effect: Live, help: "`process_num` of the first process", ..ROW }, set!(numprocs_start, v::int)),
    opt(OptionRow { key: "priority", wanted: INT, default: "999", example: "10", scope: Program, effect: Live, help: "Lower values start first and stop last", ..ROW }, set!(process.priority, small)),
    opt(OptionRow { key: "autostart", wanted: BOOL, default: "true", example: "false", scope: Program, effect: Live, help: "Start the program when the supervisor starts", ..ROW }, set!(process.autostart, v::boolean)),
    opt(OptionRow { key: "autorestart", wanted: AUTORESTART, default: "unexpected", example: "true", scope: Program, effect: Live, help: "Restart a process that exits; unexpected: unless its exit code is in exitcodes", ..ROW }, set!(process.autorestart, v::auto_restart)),
    opt(OptionRow { key: "startsecs", wanted: SECONDS, default: "1", example: "5", scope: Program, effect: Live, help: "Time that a process must stay up to count as started (RUNNING)", ..ROW }, set!(process.startsecs, v::int)),
    opt(OptionRow { key: "startretries", wanted: INT, default: "3", example: "10", scope: Program, effect: Live, help: "Number of retries after a failed start before rsup gives up (FATAL)", ..ROW }, set!(process.startretries, v::int)),
    opt(OptionRow { key: "backoff_delay", wanted: DURATION, default: "1", example: "0.5", scope: Program, effect: Live, help: "Wait after the first failed start; after the n-th it is n times as long, or grows by backoff_factor if that is set", since: None, ..ROW }, set!(process.lifecycle.backoff_delay_ms, wait)),
    opt(OptionRow { key: "backoff_factor", wanted: FACTOR, example: "2", scope: Program, effect: Live, help: "Multiply the wait by this number after each further failed start", since: None, ..ROW }, set!(?process.lifecycle.backoff_factor_milli, factor)),
    opt(OptionRow { key: "backoff_limit", wanted: DURATION, example: "60", scope: Program, effect: Live, help: "Longest time to wait after a failed start", since: None, ..ROW }, set!(?process.lifecycle.backoff_limit_ms, wait)),
    opt(OptionRow { key: "backoff_jitter", wanted: PART, default: "0", example: "0.1", scope: Program, effect: Live, help: "Vary each wait after a failed start at random, by at most this fraction of it (0.1: 10 % more or less)", since: None, ..ROW }, set!(process.lifecycle.backoff_jitter_milli, part)),
    opt(OptionRow { key: "restart_delay", wanted: DURATION, default: "0", example: "5", scope: Program, effect: Live, help: "Time to wait between an exit and the automatic restart", also: Some("restartpause"), since: None, ..ROW }, set!(process.lifecycle.restart_delay_ms, wait)),
    opt(OptionRow { key: "restart_limit", wanted: LIMIT, example: "5/60", scope: Program, effect: Live, help: "If the process restarts automatically more than N times in T seconds (N/T), give up (FATAL)", since: None, ..ROW }, set!(?process.lifecycle.restart_limit, restart_limit)),
    opt(OptionRow { key: "ready", wanted: READY, example: "tcp:8080", scope: Process, effect: NextStart, help: "How to see that the process is ready; it stays STARTING until then", since: None, ..ROW }, set!(?process.lifecycle.ready, Readiness::parse)),
    opt(OptionRow { key: "ready_timeout", wanted: DURATION, default: "60", example: "300", scope: Program, effect: NextStart, help: "Time in which the process must be ready, or the start has failed; 0: no limit", since: None, ..ROW }, set!(process.lifecycle.ready_timeout_ms, wait)),
    opt(OptionRow { key: "depends_on", wanted: NAMES, example: "db", scope: Process, effect: NextStart, help: "Start only after all of these are RUNNING, and start them if they are stopped; one-shots must be done", since: None, ..ROW }, set!(process.lifecycle.depends_on, list)),
    opt(OptionRow { key: "after", wanted: NAMES, example: "db", scope: Process, effect: NextStart, help: "Start after those of these that are starting; does not start them", since: None, ..ROW }, set!(process.lifecycle.after, list)),
    opt(OptionRow { key: "restart_with", wanted: NAMES, example: "db", scope: Process, effect: NextStart, help: "Restart the process whenever one of these has restarted, and stop it before one of these is stopped", since: None, ..ROW }, set!(process.lifecycle.restart_with, list)),
    opt(OptionRow { key: "oneshot", wanted: BOOL, default: "false", example: "true", scope: Program, effect: NextStart, help: "The program is to end: it is done (EXITED) when its exit code is in exitcodes, and any other end is a failed start", since: None, ..ROW }, set!(process.lifecycle.oneshot, v::boolean)),
    opt(OptionRow { key: "healthcheck", wanted: PROBE, example: "tcp:8080", scope: Process, effect: Live, help: "What to try again and again while the process is RUNNING", also: Some("liveness_check_script"), since: None, ..ROW }, set!(?process.lifecycle.healthcheck, Probe::parse)),
    opt(OptionRow { key: "healthcheck_interval", wanted: PERIOD, default: "30", example: "10", scope: Program, effect: Live, help: "Time from the end of one health check to the start of the next, and before the first", also: Some("liveness_check_period"), since: None, ..ROW }, set!(process.lifecycle.healthcheck_interval_ms, pause)),
    opt(OptionRow { key: "healthcheck_timeout", wanted: PERIOD, default: "5", example: "2", scope: Program, effect: Live, help: "A health check that takes longer has failed", also: Some("liveness_check_timeout"), since: None, ..ROW }, set!(process.lifecycle.healthcheck_timeout_ms, pause)),
    opt(OptionRow { key: "healthcheck_retries", wanted: COUNT, default: "3", example: "5", scope: Program, effect: Live, help: "After this many failures in a row the process is unhealthy", also: Some("liveness_check_failure_threshold"), since: None, ..ROW }, set!(process.lifecycle.healthcheck_retries, count)),
    opt(OptionRow { key: "healthcheck_start_period", wanted: DURATION, default: "0", example: "60", scope: Program, effect: Live, help: "Time after RUNNING in which failures do not count, up to the first success", also: Some("liveness_check_initial_delay"), since: None, ..ROW }, set!(process.lifecycle.healthcheck_start_period_ms, wait)),
    opt(OptionRow { key: "healthcheck_action", wanted: ACTION, default: "restart", example: "none", scope: Program, effect: Live, help: "What happens to an unhealthy process; none: it is only shown", also: Some("liveness_check_failure_action"), since: None, ..ROW }, set!(process.lifecycle.healthcheck_action, HealthAction::parse)),
    opt(OptionRow { key: "watchdog", wanted: PERIOD, example: "30", scope: Program, effect: NextStart, help: "With ready=notify: if the process does not report WATCHDOG=1 for this time, it is ended with SIGABRT, as after a crash", since: None, ..ROW }, set!(?process.lifecycle.watchdog_ms, pause)),
    opt(OptionRow { key: "pre_start", wanted: TEXT, example: "/bin/true", scope: Own, effect: Live, help: "Command to run before each start of the process; if it fails, the start has failed", also: Some("pre_start_hook"), since: None, ..ROW }, set!(?process.lifecycle.pre_start, text)),
    opt(OptionRow { key: "pre_stop", wanted: TEXT, example: "/bin/true", scope: Own, effect: Live, help: "Command to run before the stop signal, within stopwaitsecs", also: Some("pre_stop_hook"), since: None, ..ROW }, set!(?process.lifecycle.pre_stop, text)),
    opt(OptionRow { key: "post_stop", wanted: TEXT, example: "/bin/true", scope: Own, effect: Live, help: "Command to run after each end of the process, with EXIT_CODE or EXIT_SIGNAL in its environment", since: None, ..ROW }, set!(?process.lifecycle.post_stop, text)),
    opt(OptionRow { key: "hook_timeout", wanted: PERIOD, default: "30", example: "5", scope: Program, effect: Live, help: "Time after which pre_start, pre_stop, post_stop and stop_command are killed and have failed", since: None, ..ROW }, set!(process.lifecycle.hook_timeout_ms, pause)),
    opt(OptionRow { key: "stop_command", wanted: TEXT, example: "/bin/true", scope: Own, effect: Live, help: "Command that stops the process, instead of the stop signal; if it fails, the signal is sent", since: None, ..ROW }, set!(?process.lifecycle.stop_command, text)),
    opt(OptionRow { key: "stop_sequence", wanted: SEQUENCE, example: "TERM:10,INT:5", scope: Program, effect: Live, help: "Signals that stop the process, each with the time to wait after it, instead of stopsignal and stopwaitsecs; then SIGKILL", since: None, ..ROW }, set!(process.lifecycle.stop_sequence, stop_sequence)),
    opt(OptionRow { key: "reload_signal", wanted: SIGNAL, example: "HUP", scope: Program, effect: Live, help: "Signal that `rsupctl reload NAME` sends to the process", since: None, ..ROW }, set!(?process.lifecycle.reload_signal, v::signal)),
    opt(OptionRow { key: "reload_command", wanted: TEXT, example: "/bin/true", scope: Own, effect: Live, help: "Command that `rsupctl reload NAME` runs", since: None, ..ROW }, set!(?process.lifecycle.reload_command, text)),
    opt(OptionRow { key: "sweep_wait", wanted: DURATION, default: "2", example: "5", scope: Program, effect: Live, help: "With sweep, after an unexpected end: time from SIGTERM to SIGKILL for what is left, at most stopwaitsecs", since: None, ..ROW }, set!(process.lifecycle.sweep_wait_ms, wait)),
    opt(OptionRow { key: "stopsignal", wanted: SIGNAL, default: "TERM", example: "QUIT", scope: Program, effect: Live, help: "Signal to send to stop the process; several, separated by spaces, are sent one after another, stopwaitsecs apart (rsup only)", ..ROW }, stop_signals),
    opt(OptionRow { key: "stopwaitsecs", wanted: SECONDS, default: "10", example: "30", scope: Program, effect: Live, help: "Time to wait after the stop signal before sending SIGKILL", ..ROW }, set!(process.stopwaitsecs, v::int)),
    opt(OptionRow { key: "stopasgroup", wanted: BOOL, default: "false", example: "true", scope: Program, effect: Live, help: "Send the stop signal to the whole process group", since: Some("3.0b1"), ..ROW }, set!(process.stopasgroup, v::boolean)),
    opt(OptionRow { key: "killasgroup", wanted: BOOL, example: "true", scope: Program, effect: Live, help: "Send SIGKILL to the whole process group; same as stopasgroup if unset", since: Some("3.0a11"), ..ROW }, set!(?killasgroup, v::boolean)),
    opt(OptionRow { key: "exitcodes", wanted: CODES, default: "0", example: "0,2", scope: Program, effect: Live, help: "Exit codes that are expected: autorestart=unexpected does not restart after them", ..ROW }, set!(process.exitcodes, v::exit_codes)),
    opt(OptionRow { key: "user", wanted: USER, example: "root", scope: Program, effect: Restart, help: "Run the process as this user", ..ROW }, known_user),
    opt(OptionRow { key: "redirect_stderr", wanted: BOOL, default: "false", example: "true", scope: Program, effect: Restart, help: "Send stderr to the same place as stdout", ..ROW }, set!(process.redirect_stderr, v::boolean)),
    opt(OptionRow { key: "stdout_logfile", wanted: LOG, default: "AUTO", example: "/dev/stdout", scope: Own, effect: Restart, help: "Where stdout goes: a file, AUTO for a new file in childlogdir, or NONE to discard it", ..ROW }, set!(@stdout_logfile, v::child_log)),
    opt(OptionRow { key: "stdout_logfile_maxbytes", wanted: SIZE, default: "50MB", example: "1MB", scope: Own, effect: Live, help: "Rotate the log at this size; 0: never", ..ROW }, set!(process.stdout.maxbytes, v::size)),
    opt(OptionRow { key: "stdout_logfile_backups", wanted: INT, default: "10", example: "5", scope: Own, effect: Live, help: "Number of rotated logs to keep", ..ROW }, set!(process.stdout.backups, v::int)),
    opt(OptionRow { key: "stdout_capture_maxbytes", wanted: SIZE, default: "0", example: "64KB", scope: Program, effect: Live, help: "Size of the buffer for PROCESS_COMMUNICATION events; 0: capture mode is off", ..ROW }, set!(process.stdout.capture_maxbytes, v::size)),
    opt(OptionRow { key: "stdout_events_enabled", wanted: BOOL, default: "false", example: "true", scope: Program, effect: Live, help: "Send everything on stdout as PROCESS_LOG_STDOUT events too", since: Some("3.0a7"), ..ROW }, set!(process.stdout.events_enabled, v::boolean)),
    opt(OptionRow { key: "stdout_syslog", wanted: BOOL, default: "false", example: "true", scope: Own, effect: Restart, help: "Send stdout to syslog too", since: Some("4.0.0"), ..ROW }, set!(process.stdout.syslog, v::boolean)),
    opt(OptionRow { key: "stdout_format", wanted: FORMAT, default: "raw", example: "prefix", scope: Program, effect: Live, help: "Format of the log of stdout; prefix puts the time, the program and the stream before each line", since: None, ..ROW }, set!(process.stdout.format, format)),
    opt(OptionRow { key: "stderr_logfile", wanted: LOG, default: "AUTO", example: "/dev/stderr", scope: Own, effect: Restart, help: "Where stderr goes: a file, AUTO for a new file in childlogdir, or NONE to discard it", ..ROW }, set!(@stderr_logfile, v::child_log)),
    opt(OptionRow { key: "stderr_logfile_maxbytes", wanted: SIZE, default: "50MB", example: "1MB", scope: Own, effect: Live, help: "Rotate the log at this size; 0: never", ..ROW }, set!(process.stderr.maxbytes, v::size)),
    opt(OptionRow { key: "stderr_logfile_backups", wanted: INT, default: "10", example: "5", scope: Own, effect: Live, help: "Number of rotated logs to keep", ..ROW }, set!(process.stderr.backups, v::int)),
    opt(OptionRow { key: "stderr_capture_maxbytes", wanted: SIZE, default: "0", example: "64KB", scope: Program, effect: Live, help: "Size of the buffer for PROCESS_COMMUNICATION events; 0: capture mode is off", ..ROW }, set!(process.stderr.capture_maxbytes, v::size)),
    opt(OptionRow { key: "stderr_events_enabled", wanted: BOOL, default: "false", example: "true", scope: Program, effect: Live, help: "Send everything on stderr as PROCESS_LOG_STDERR events too", since: Some("3.0a7"), ..ROW }, set!(process.stderr.events_enabled, v::boolean)),
    opt(OptionRow { key: "stderr_syslog", wanted: BOOL, default: "false", example: "true", scope: Own, effect: Restart, help: "Send stderr to syslog too", since: Some("4.0.0"), ..ROW }, set!(process.stderr.syslog, v::boolean)),
    opt(OptionRow { key: "stderr_format", wanted: FORMAT, default: "raw", example: "prefix", scope: Program, effect: Live, help: "Format of the log of stderr; prefix puts the time, the program and the stream before each line", since: None, ..ROW }, set!(process.stderr.format, format)),
    opt(OptionRow { key: "environment", wanted: PAIRS, example: "PORT=\"80%(process_num)02d\"", scope: Process, effect: Restart, help: "Environment variables for this program", ..ROW }, set!(process.environment, v::environment)),
    opt(OptionRow { key: "directory", wanted: TEXT, example: "/tmp", scope: Own, effect: Restart, help: "Working directory of the process; inherited if unset", ..ROW }, set!(?process.directory, path)),
    opt(OptionRow { key: "umask", wanted: OCTAL, example: "022", scope: Program, effect: Restart, help: "umask of the process; inherited if unset", ..ROW }, set!(?process.umask, v::octal)),
    opt(OptionRow { key: "serverurl", wanted: TEXT, default: "AUTO", example: "http://localhost:9001", scope: Program, effect: Restart, help: "Value of SUPERVISOR_SERVER_URL for the process; AUTO: the address of the supervisor", ..ROW }, set!(process.serverurl, server_url)),
    opt(OptionRow { key: "essential", wanted: BOOL, default: "false", example: "true", scope: Program, effect: Live, help: "When the process ends for good, stop all programs and exit", since: None, ..ROW }, set!(process.essential, v::boolean)),
    opt(OptionRow { key: "sweep", wanted: BOOL, default: "false", example: "true", scope: Program, effect: Live, help: "When the process ends, stop the processes that remain in its process group", since: None, ..ROW }, set!(process.sweep, v::boolean)),
];

/// `[group:x]`.
#[rustfmt::skip] // one row an option
pub(super) const GROUP: &[Opt<Draft>] = &[
    opt(OptionRow { key: "programs", wanted: LIST, example: "web,worker", scope: Here, effect: Live, help: "Programs and fcgi-programs in the group", ..ROW }, set!(programs, list)),
    opt(OptionRow { key: "priority", wanted: INT, default: "999", example: "10", scope: Here, effect: Live, help: "Lower values start first and stop last", ..ROW }, set!(?priority, small)),
    opt(OptionRow { key: "depends_on", wanted: NAMES, example: "db", scope: Here, effect: NextStart, help: "Start each member only after all of these are RUNNING, and start them if they are stopped", since: None, ..ROW }, set!(process.lifecycle.depends_on, list)),
    opt(OptionRow { key: "after", wanted: NAMES, example: "db", scope: Here, effect: NextStart, help: "Start each member after those of these that are starting; does not start them", since: None, ..ROW }, set!(process.lifecycle.after, list)),
];

/// The options of `[eventlistener:x]` that `[program:x]` does not have.
#[rustfmt::skip] // one row an option
pub(super) const LISTENER: &[Opt<Draft>] = &[
    opt(OptionRow { key: "priority", wanted: INT, default: "-1", example: "10", scope: Here, effect: Live, help: "Lower values start first and stop last", ..ROW }, set!(?priority, small)),
    opt(OptionRow { key: "buffer_size", wanted: INT, default: "10", example: "100", scope: Here, effect: Live, help: "Number of events to keep while no process of the listener is ready", ..ROW }, set!(?buffer_size, v::int)),
    opt(OptionRow { key: "events", wanted: LIST, example: "PROCESS_STATE,TICK_60", scope: Here, effect: Live, help: "Event types to receive; required", ..ROW }, set!(events, |t: &str| list(&t.to_uppercase()))),
    opt(OptionRow { key: "result_handler", wanted: TEXT, default: DEFAULT_HANDLER, example: DEFAULT_HANDLER, scope: Here, effect: Restart, help: "How to interpret a listener's result: the default, or `supervisor_stdout:event_handler`", ..ROW }, set!(?result_handler, text)),
];

/// The options of `[fcgi-program:x]` that `[program:x]` does not have.
#[rustfmt::skip] // one row an option
pub(super) const FCGI: &[Opt<Draft>] = &[
    opt(OptionRow { key: "priority", wanted: INT, default: "999", example: "10", scope: Here, effect: Live, help: "Lower values start first and stop last", ..ROW }, set!(?priority, small)),
    opt(OptionRow { key: "socket_backlog", wanted: BACKLOG, example: "128", scope: Here, effect: Restart, help: "Number of connections that may wait to be accepted", since: Some("3.4.0"), ..ROW }, set!(?backlog, backlog)),
    opt(OptionRow { key: "socket_owner", wanted: OWNER, example: "root", scope: Here, effect: Restart, help: "Owner of a Unix socket", ..ROW }, set!(@owner, |t, m| v::owner(t, "socket_owner", m))),
    opt(OptionRow { key: "socket_mode", wanted: OCTAL, default: "0700", example: "0770", scope: Here, effect: Restart, help: "Permissions of a Unix socket", ..ROW }, set!(?mode, |t| mode(t, "socket_mode"))),
    opt(OptionRow { key: "socket", wanted: "unix:///path or tcp://host:port", example: "unix:///tmp/%(program_name)s.sock", scope: Socket, effect: Restart, help: "Address to listen on; required", ..ROW }, set!(@socket, v::fcgi_socket)),
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
    opt(OptionRow { key: "file", wanted: PATH, example: "/tmp/supervisor.sock", scope: Here, effect: Reload, help: "Path of the socket; required", ..ROW }, set!(@address, unix_address)),
    opt(OptionRow { key: "chmod", wanted: OCTAL, default: "0700", example: "0770", scope: Env, effect: Reload, help: "Permissions of the socket", ..ROW }, set!(?chmod, |t| mode(t, "chmod"))),
    opt(OptionRow { key: "chown", wanted: OWNER, example: "root:root", scope: Env, effect: Reload, help: "Owner of the socket", ..ROW }, set!(@chown, |t, m| v::owner(t, "sockchown", m))),
    opt(OptionRow { key: "username", wanted: TEXT, example: "admin", scope: Env, effect: Reload, help: "User name that clients must send; set a password too", ..ROW }, set!(?username, text)),
    opt(OptionRow { key: "password", wanted: TEXT, example: "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d", scope: Env, effect: Reload, help: "Password that clients must send: plain text, or {SHA} and its SHA-1 hash in lower-case hex", ..ROW }, set!(?password, text)),
];

/// `[inet_http_server]`.
#[rustfmt::skip] // one row an option
pub(super) const INET_SERVER: &[Opt<HttpDraft>] = &[
    opt(OptionRow { key: "port", wanted: ADDRESS, example: "127.0.0.1:9001", scope: Env, effect: Reload, help: "Address to listen on; required", ..ROW }, set!(?address, v::inet_address)),
    opt(OptionRow { key: "username", wanted: TEXT, example: "admin", scope: Env, effect: Reload, help: "User name that clients must send; set a password too", ..ROW }, set!(?username, text)),
    opt(OptionRow { key: "password", wanted: TEXT, example: "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d", scope: Env, effect: Reload, help: "Password that clients must send: plain text, or {SHA} and its SHA-1 hash in lower-case hex", ..ROW }, set!(?password, text)),
    opt(OptionRow { key: "require_password", wanted: BOOL, default: "false", example: "true", scope: Env, effect: Reload, help: "Refuse to start without username and password", since: None, ..ROW }, set!(require_password, v::boolean)),
    opt(OptionRow { key: "allowed_hosts", wanted: LIST, example: "sup.example.com", scope: Env, effect: Reload, help: "Additional host names under which browsers may reach the server; * allows any", since: None, ..ROW }, set!(allowed_hosts, list)),
    opt(OptionRow { key: "allowed_origins", wanted: LIST, example: "https://dash.example.com", scope: Env, effect: Reload, help: "Web sites whose pages may send requests to the server; * allows any", since: None, ..ROW }, set!(allowed_origins, list)),
];

/// `[supervisorctl]`.
#[rustfmt::skip] // one row an option
pub(super) const CLIENT: &[Opt<ClientSection>] = &[
    opt(OptionRow { key: "serverurl", wanted: "http://host:port or unix:///path", default: DEFAULT_URL, example: "http://localhost:9001", scope: Here, effect: Elsewhere, help: "Address of the server", ..ROW }, |to, text, m| { to.serverurl = client_url(text, m); Ok(()) }),
    opt(OptionRow { key: "username", wanted: TEXT, example: "admin", scope: Env, effect: Elsewhere, help: "User name to send, as in the section of the server", ..ROW }, set!(?username, text)),
    opt(OptionRow { key: "password", wanted: TEXT, example: "thepassword", scope: Env, effect: Elsewhere, help: "Password to send, as in the section of the server", ..ROW }, set!(?password, text)),
    opt(OptionRow { key: "prompt", wanted: TEXT, default: "supervisor", example: "shop", scope: Env, effect: Elsewhere, help: "Prompt of the interactive shell", ..ROW }, set!(prompt, text)),
    opt(OptionRow { key: "history_file", wanted: PATH, example: "~/.rsup_history", scope: Here, effect: Elsewhere, help: "File that keeps the history of the interactive shell", since: Some("3.0a5"), ..ROW }, |to, text, m| { to.history_file = history_file(text, m); Ok(()) }),
];

/// `[include]`. The loader reads it directly, before all other sections.
#[rustfmt::skip] // one row an option
const INCLUDE: &[Opt<()>] = &[
    opt(OptionRow { key: "files", wanted: "patterns separated by blanks", example: "conf.d/*.conf", scope: Include, effect: Elsewhere, help: "Files to include; relative paths start at the directory of the main file", ..ROW }, |_, _, _| Ok(())),
];

/// `[rpcinterface:x]`. The loader reads it directly, since its other keys have any name.
#[rustfmt::skip] // one row an option
const PLUG_IN: &[Opt<()>] = &[
    opt(OptionRow { key: "supervisor.rpcinterface_factory", wanted: "module:function", example: MAIN_RPC_FACTORY, scope: Env, effect: Reload, help: "Plug-in that provides the methods; required. The example provides all `supervisor.*` methods", ..ROW }, |_, _, _| Ok(())),
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

/// A decimal number → thousandths.
fn thousandths(value: &str, range: std::ops::RangeInclusive<f64>) -> Result<u32, String> {
    let shape = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = value.parse::<f64>().ok().filter(|number| shape && range.contains(number));
    let number = number.ok_or_else(|| format!("not a number in the range: {}", v::repr(value)))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above: 0 ≤ number ≤ 1000")]
    Ok((number * 1000.0).round() as u32)
}

fn factor(value: &str) -> Result<u32, String> {
    thousandths(value, 1.0..=1000.0)
}

fn part(value: &str) -> Result<u32, String> {
    thousandths(value, 0.0..=1.0)
}

/// `restarts/seconds`.
fn restart_limit(value: &str) -> Result<RestartLimit, String> {
    let parsed = value.split_once('/').and_then(|(restarts, time)| Some((restarts.parse().ok()?, wait(time).ok()?)));
    match parsed {
        Some((restarts, within_ms)) if within_ms > 0 => Ok(RestartLimit { restarts, within_ms }),
        _ => Err(format!("not a limit of restarts: {}", v::repr(value))),
    }
}

/// `SIGNAL:seconds`, separated by commas.
fn stop_sequence(value: &str) -> Result<Vec<StopSignal>, String> {
    let stop = |item: String| {
        let (signal, time) = item.split_once(':').ok_or("no time")?;
        Ok(StopSignal { signal: v::signal(signal)?, wait_ms: wait(time)? })
    };
    list(value)?.into_iter().map(stop).collect()
}

/// A signal or, as in ochinchina/supervisord, several separated by spaces.
fn stop_signals(to: &mut Draft, value: &str, _: &dyn Machine) -> Result<(), String> {
    let signals = value.split_ascii_whitespace().map(v::signal).collect::<Result<Vec<i32>, String>>();
    match signals.as_deref() {
        Ok([first, _, ..]) => (to.process.stopsignal, to.stop_signals) = (*first, signals?),
        _ => to.process.stopsignal = v::signal(value)?,
    }
    Ok(())
}

/// Seconds with an optional fraction → milliseconds.
fn seconds(value: &str) -> Result<u64, String> {
    let shape = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = value.parse::<f64>().ok().filter(|s| shape && *s < 1e9);
    let seconds = seconds.ok_or_else(|| format!("not a number of seconds: {}", v::repr(value)))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above: 0 ≤ seconds < 1e9")]
    Ok((seconds * 1000.0).round() as u64)
}

/// Like [`seconds`]. Waits of more than 49 days are 49 days, so that each of them takes four bytes in every process.
fn wait(value: &str) -> Result<u32, String> {
    Ok(u32::try_from(seconds(value)?).unwrap_or(u32::MAX))
}

/// Like [`wait`], but not 0.
fn pause(value: &str) -> Result<u32, String> {
    wait(value).and_then(|millis| if millis > 0 { Ok(millis) } else { Err("0 seconds; write more than 0".into()) })
}

fn count(value: &str) -> Result<u32, String> {
    value.parse().ok().filter(|count| *count > 0).ok_or_else(String::new)
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

/// The default `result_handler`.
pub(super) const DEFAULT_HANDLER: Str = "supervisor.dispatchers:default_handler";

/// The `result_handler` of the Python package supervisor-stdout, which is built in.
pub const STDOUT_HANDLER: &str = "supervisor_stdout:event_handler";

/// The factory of the `supervisor.*` methods.
pub const MAIN_RPC_FACTORY: &str = "supervisor.rpcinterface:make_main_rpcinterface";

/// The factory of the `twiddler.*` methods.
pub const TWIDDLER_RPC_FACTORY: &str = "supervisor_twiddler.rpcinterface:make_twiddler_rpcinterface";
