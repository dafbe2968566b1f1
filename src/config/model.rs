//! The configuration as typed data. Every value is complete and valid.
//!
//! Options and defaults are those of Supervisor 4.3.0 (supervisor-behaviour.md §3). Additions of rsup are marked `rsup:`.
#![forbid(unsafe_code)]

use super::Problem;
use crate::text;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Defines structs with the default of each field beside it.
macro_rules! with_defaults {
    ($($(#[$about:meta])* struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)+ })+) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }
    )+};
}

/// The whole configuration: the main file and its includes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `[supervisord]`.
    pub server: ServerConfig,
    /// Whether the file has a `[supervisord]` section. A reread that no longer finds it is an error.
    pub has_server_section: bool,
    /// All groups, sorted by (priority, name): each `[group:x]`, and one for each program, listener and fcgi-program that no
    /// `[group:x]` lists.
    pub groups: Vec<Rc<GroupConfig>>,
    /// `[unix_http_server]` and `[inet_http_server]` sections, in file order.
    pub http: Vec<HttpServerConfig>,
    /// `[rpcinterface:x]`: (namespace, factory).
    pub rpc_interfaces: Vec<(String, String)>,
    /// `[rpcinterface:twiddler]`: the whitelist of methods; empty: all methods; `None`: twiddler is not served.
    pub twiddler: Option<Vec<String>>,
}

impl Config {
    /// The value of `serverurl=AUTO`: the first Unix server, else the first TCP server (supervisor-behaviour.md §3.3).
    #[must_use]
    pub fn automatic_server_url(&self) -> Option<String> {
        let unix = self.http.iter().find_map(|server| match &server.address {
            SocketAddress::Unix(path) => Some(format!("unix://{}", text::of_os(path))),
            SocketAddress::Tcp(..) => None,
        });
        let tcp = || {
            self.http.iter().find_map(|server| match &server.address {
                SocketAddress::Tcp(host, port) if host.is_empty() => Some(format!("http://localhost:{port}")),
                SocketAddress::Tcp(host, port) => Some(format!("http://{host}:{port}")),
                SocketAddress::Unix(_) => None,
            })
        };
        unix.or_else(tcp)
    }
}

with_defaults! {
    /// `[supervisord]`.
    struct ServerConfig {
        /// Where the main log goes; `None`: not in the file (the default depends on whether rsup is PID 1).
        logfile: Option<MainLog> = None,
        /// Rotate the main log at this size in bytes; 0 or negative: never.
        logfile_maxbytes: i64 = 50 * 1024 * 1024,
        /// Number of rotated main logs to keep; 0 or negative: none.
        logfile_backups: i64 = 10,
        /// The least severe level that the main log records.
        loglevel: LogLevel = LogLevel::Info,
        /// `None`: not in the file.
        pidfile: Option<PathBuf> = None,
        /// Used only when rsup runs in the background.
        umask: u32 = 0o022,
        /// `None`: not in the file.
        nodaemon: Option<bool> = None,
        /// Do not copy the main log to stdout.
        silent: bool = false,
        /// Minimum soft limit of descriptors for children.
        minfds: u64 = 1024,
        /// Minimum soft limit of processes for children.
        minprocs: u64 = 200,
        /// Keep AUTO logs of earlier runs.
        nocleanup: bool = false,
        /// Directory of AUTO logs; `None`: the temporary directory.
        childlogdir: Option<PathBuf> = None,
        /// User to switch to at start.
        user: Option<User> = None,
        /// Working directory, used only when rsup runs in the background.
        directory: Option<PathBuf> = None,
        /// Remove terminal escape sequences from child logs.
        strip_ansi: bool = false,
        /// Variables for all programs; a program's own `environment` replaces them.
        environment: Vec<(String, String)> = Vec::new(),
        /// The supervisor's name in event headers, AUTO log names and getIdentification.
        identifier: String = "supervisor".into(),
        /// rsup: which exit code rsup exits with.
        exit_code_from: ExitCodeFrom = ExitCodeFrom::Zero,
        /// rsup: exit when every program has ended by itself.
        exit_when_all_done: bool = false,
        /// rsup: time limit for the whole shutdown, in milliseconds.
        stop_budget_ms: Option<u64> = None,
        /// rsup: after more automatic restarts of all programs together than this, stop all programs and exit.
        restart_limit: Option<RestartLimit> = None,
    }
}

/// rsup: `restart_limit`: the number of automatic restarts that is accepted in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartLimit {
    /// The number of restarts.
    pub restarts: u32,
    /// The time, in milliseconds.
    pub within_ms: u32,
}

impl RestartLimit {
    /// The time in which the restarts are counted.
    #[must_use]
    pub fn within(self) -> Duration {
        Duration::from_millis(self.within_ms.into())
    }
}

/// rsup: `[supervisord] exit_code_from`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ExitCodeFrom {
    /// Always 0, as with Supervisor.
    #[default]
    Zero,
    /// The exit code of this program (process name, or `group:name`).
    Program(String),
    /// The exit code of the first program that failed.
    FirstFailure,
    /// The exit code of the essential program whose end stopped rsup.
    Essential,
}

/// Target of the main log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainLog {
    /// A file, absolute.
    File(PathBuf),
    /// syslog(3).
    Syslog,
}

/// Levels of the main log, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// `CRIT`
    Critical,
    /// `ERRO`
    Error,
    /// `WARN`
    Warn,
    /// `INFO`
    #[default]
    Info,
    /// `DEBG`
    Debug,
    /// `TRAC`
    Trace,
    /// `BLAT`
    Blather,
}

impl LogLevel {
    /// The code of the level in the log.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Critical => "CRIT",
            Self::Error => "ERRO",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBG",
            Self::Trace => "TRAC",
            Self::Blather => "BLAT",
        }
    }
}

/// A group and its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// Group name.
    pub name: String,
    /// Lower values start first and stop last.
    pub priority: i32,
    /// The kind of section that defines the group.
    pub kind: GroupKind,
    /// Its processes, in configuration order.
    pub processes: Vec<Rc<ProcessConfig>>,
}

/// The kind of section that defines a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupKind {
    /// `[program:x]` or `[group:x]`.
    Programs,
    /// `[eventlistener:x]`.
    Listeners(Box<ListenerConfig>),
    /// `[fcgi-program:x]`.
    FastCgi(Box<FastCgiConfig>),
}

/// The extra options of `[eventlistener:x]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Names of event types in upper case. All are known.
    pub events: Vec<String>,
    /// Number of events to keep while no listener is ready; at least 1.
    pub buffer_size: u32,
    /// Python entry point. If it is not built in, the loader warns and the default is used.
    pub result_handler: String,
}

/// The extra options of `[fcgi-program:x]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastCgiConfig {
    /// Address to listen on.
    pub socket: SocketAddress,
    /// Backlog of listen(2); `None`: SOMAXCONN.
    pub backlog: Option<u32>,
    /// Owner of a Unix socket.
    pub owner: Option<Owner>,
    /// Mode of a Unix socket.
    pub mode: u32,
}

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// Path of a Unix socket, absolute.
    Unix(PathBuf),
    /// Host (empty: all IPv4 addresses) and port.
    Tcp(String, u16),
}

/// Owner of a socket file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number; `None`: the group is not changed.
    pub gid: Option<u32>,
}

with_defaults! {
    /// One process: all options of its `[program:x]` after expansion. With numprocs there is one of these for each process. Name
    /// and command have no default.
    struct ProcessConfig {
        /// `process_name` after expansion.
        name: String = String::new(),
        /// The name of its section, without `program:`.
        program: Rc<str> = "".into(),
        /// `command` after expansion; split at spawn by `config::values::split_command`.
        command: String = String::new(),
        /// Working directory of the process; `None`: inherited.
        directory: Option<PathBuf> = None,
        /// umask of the process; `None`: inherited.
        umask: Option<u32> = None,
        /// Lower values start first and stop last.
        priority: i32 = 999,
        /// Start the process when it is added.
        autostart: bool = true,
        /// When to restart the process after an exit.
        autorestart: AutoRestart = AutoRestart::Unexpected,
        /// Seconds that the process must stay up to be RUNNING; 0 or negative: it is RUNNING at once.
        startsecs: i64 = 1,
        /// Number of retries after the first attempt to start; negative: none.
        startretries: i64 = 3,
        /// Expected exit codes.
        exitcodes: ExitCodes = ExitCodes::from_iter([0]),
        /// Number of the signal that stops the process.
        stopsignal: i32 = 15,
        /// Seconds from the stop signal to SIGKILL.
        stopwaitsecs: i64 = 10,
        /// Send the stop signal to the process group.
        stopasgroup: bool = false,
        /// Send SIGKILL to the process group.
        killasgroup: bool = false,
        /// User of the process.
        user: Option<Rc<User>> = None,
        /// Connect stderr to the pipe of stdout.
        redirect_stderr: bool = false,
        /// Log of stdout.
        stdout: ChannelConfig = ChannelConfig::default(),
        /// Log of stderr.
        stderr: ChannelConfig = ChannelConfig::default(),
        /// The program's own `environment`, in file order.
        environment: Vec<(String, String)> = Vec::new(),
        /// `[supervisord] environment` of the file that the process was read from; `environment` replaces its variables.
        server_environment: Rc<Vec<(String, String)>> = Rc::default(),
        /// Value of SUPERVISOR_SERVER_URL.
        serverurl: ServerUrl = ServerUrl::Auto,
        /// rsup: when this process ends for good, stop all programs and exit.
        essential: bool = false,
        /// rsup: when this process ends, stop the processes that remain in its process group.
        sweep: bool = false,
        /// rsup: the options of starts, restarts and stops that Supervisor does not have.
        lifecycle: Shared<Lifecycle> = Shared::default(),
    }

    /// rsup: the options of starts, restarts and stops that Supervisor does not have.
    struct Lifecycle {
        /// Names that must be RUNNING before a start.
        depends_on: Vec<String> = Vec::new(),
        /// Names to wait for while they are starting.
        after: Vec<String> = Vec::new(),
        /// Names after whose restart this process is restarted.
        restart_with: Vec<String> = Vec::new(),
        /// The process is to end.
        oneshot: bool = false,
        /// When a process is ready; `None`: when it was started.
        ready: Option<Readiness> = None,
        /// Milliseconds until it must be ready; 0: no limit.
        ready_timeout_ms: u32 = 60_000,
        /// Signals that stop the process, one after another; empty: `stopsignal` and `stopwaitsecs`.
        stop_sequence: Vec<StopSignal> = Vec::new(),
        /// Command that stops the process instead of a signal.
        stop_command: Option<String> = None,
        /// Command to run before each fork.
        pre_start: Option<String> = None,
        /// Command to run before a stop.
        pre_stop: Option<String> = None,
        /// Command to run after each end.
        post_stop: Option<String> = None,
        /// Number of the signal that makes the process read its configuration again.
        reload_signal: Option<i32> = None,
        /// Command that makes the process read its configuration again.
        reload_command: Option<String> = None,
        /// Milliseconds that each of these commands may take.
        hook_timeout_ms: u32 = 30_000,
        /// Milliseconds from TERM to KILL for what a crashed process left in its group.
        sweep_wait_ms: u32 = 2_000,
        /// What is tried again and again while a process is RUNNING.
        healthcheck: Option<Probe> = None,
        /// Milliseconds from the end of one try to the start of the next.
        healthcheck_interval_ms: u32 = 30_000,
        /// Milliseconds that a try may take.
        healthcheck_timeout_ms: u32 = 5_000,
        /// After this many failures in a row the process is unhealthy.
        healthcheck_retries: u32 = 3,
        /// Milliseconds after RUNNING in which failures do not count, up to the first success.
        healthcheck_start_period_ms: u32 = 0,
        /// What happens to an unhealthy process.
        healthcheck_action: HealthAction = HealthAction::Restart,
        /// Milliseconds in which a process with `ready=notify` must report that it is alive.
        watchdog_ms: Option<u32> = None,
        /// rsup: milliseconds to wait after the first failed start.
        backoff_delay_ms: u32 = 1000,
        /// rsup: each wait is this many thousandths of the one before; `None`: the n-th wait is n times the first.
        backoff_factor_milli: Option<u32> = None,
        /// rsup: no wait after a failed start is longer than this; `None`: no limit.
        backoff_limit_ms: Option<u32> = None,
        /// rsup: each wait is longer or shorter by a random part of up to this many thousandths.
        backoff_jitter_milli: u32 = 0,
        /// rsup: milliseconds from an exit to the automatic restart.
        restart_delay_ms: u32 = 0,
        /// rsup: after more automatic restarts than this the process is FATAL; `None`: no limit.
        restart_limit: Option<RestartLimit> = None,
    }
}

/// A value that all processes share which do not change it. Few programs set any of its options, and most memory of a
/// supervisor is that of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared<T>(Rc<T>);

impl Default for Shared<Lifecycle> {
    fn default() -> Self {
        thread_local!(static DEFAULT: Rc<Lifecycle> = Rc::default());
        Shared(DEFAULT.with(Rc::clone))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Rc::make_mut(&mut self.0)
    }
}

/// A check that succeeds or fails. [`std::fmt::Display`] writes the form that [`Probe::parse`] reads, complete with the host.
///
/// A host is an address (IPv6 without brackets) or a name, which is resolved at each try, without a name server (`sys::hosts`). A
/// port is 1 or more; a path begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection to this host and port is accepted.
    Tcp(Box<str>, u16),
    /// A connection to the Unix socket at this path is accepted.
    Unix(Box<Path>),
    /// The answer of this host and port to a GET of this path, with its query, has a status from 200 to 399.
    Http(Box<str>, u16, Box<str>),
    /// Something exists at this path.
    File(Box<Path>),
    /// This command line, which `values::split_command` can split, ends with exit code 0.
    Exec(Box<str>),
}

/// `ready`: the sign that a process is ready. [`std::fmt::Display`] writes the form that [`Readiness::parse`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The probe succeeds.
    Probe(Probe),
    /// The process, or one of its descendants, sends `READY=1` to NOTIFY_SOCKET (sd_notify(3)).
    Notify,
    /// The process writes a newline to this descriptor, 3 or more.
    Fd(i32),
    /// A line of its output matches this regular expression, which [`super::probe::line_regex`] compiles.
    Line(Box<str>),
}

/// `healthcheck` and the options that belong to it. Box it: most processes have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// From the end of one try to the start of the next, in milliseconds.
    pub interval_ms: u32,
    /// A try that takes longer has failed.
    pub timeout_ms: u32,
    /// After this many failures in a row the process is unhealthy; 1 or more.
    pub retries: u32,
    /// Failures do not count this long after RUNNING, up to the first success.
    pub start_period_ms: u32,
    /// What happens to an unhealthy process.
    pub action: HealthAction,
}

impl HealthCheck {
    /// A check with the default of each other option.
    pub fn new(probe: Probe) -> Self {
        let action = HealthAction::Restart;
        Self { probe, interval_ms: 30_000, timeout_ms: 5_000, retries: 3, start_period_ms: 0, action }
    }
}

/// `healthcheck_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthAction {
    /// Restart the process.
    Restart,
    /// Stop the process.
    Stop,
    /// Only show it.
    None,
}

/// One signal of `stop_sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal {
    /// Its number.
    pub signal: i32,
    /// Milliseconds to wait for the exit after it.
    pub wait_ms: u32,
}

impl Lifecycle {
    /// The health check, if there is one.
    #[must_use]
    pub fn health_check(&self) -> Option<HealthCheck> {
        Some(HealthCheck {
            probe: self.healthcheck.clone()?,
            interval_ms: self.healthcheck_interval_ms,
            timeout_ms: self.healthcheck_timeout_ms,
            retries: self.healthcheck_retries,
            start_period_ms: self.healthcheck_start_period_ms,
            action: self.healthcheck_action,
        })
    }

    /// Whether a start may have to wait for other processes.
    #[must_use]
    pub fn has_dependencies(&self) -> bool {
        !(self.depends_on.is_empty() && self.after.is_empty())
    }
}

impl ProcessConfig {
    /// The time from the first stop signal to SIGKILL.
    #[must_use]
    pub fn stop_time(&self) -> Duration {
        let sequence = self.lifecycle.stop_sequence.iter().map(|signal| Duration::from_millis(signal.wait_ms.into()));
        match self.lifecycle.stop_sequence.is_empty() {
            true => Duration::from_secs(u64::try_from(self.stopwaitsecs).unwrap_or(0)),
            false => sequence.fold(Duration::ZERO, Duration::saturating_add),
        }
    }

    /// The variables that the configuration sets for the process; of two with one name the later one counts.
    pub fn variables(&self) -> impl DoubleEndedIterator<Item = &(String, String)> {
        self.server_environment.iter().chain(&self.environment)
    }
}

/// `serverurl=` of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerUrl {
    /// The first Unix server, else the first TCP server, else unset.
    #[default]
    Auto,
    /// Empty: the variable is not set.
    Unset,
    /// This address.
    Fixed(String),
}

/// `autorestart=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoRestart {
    /// `false`
    Never,
    /// `unexpected`
    #[default]
    Unexpected,
    /// `true`
    Always,
}

/// A set of exit codes 0..=255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitCodes([u64; 4]);

impl ExitCodes {
    /// Adds a code.
    pub fn insert(&mut self, code: u8) {
        if let Some(word) = self.0.get_mut(usize::from(code >> 6)) {
            *word |= 1_u64 << (code & 63);
        }
    }

    /// Whether `code` is in the set; -1 (ended by a signal) never is.
    #[must_use]
    pub fn contains(&self, code: i32) -> bool {
        u8::try_from(code)
            .is_ok_and(|code| self.0.get(usize::from(code >> 6)).is_some_and(|word| word >> (code & 63) & 1 == 1))
    }

    /// The codes in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255_u8).filter(|&code| self.contains(i32::from(code)))
    }
}

impl FromIterator<u8> for ExitCodes {
    fn from_iter<I: IntoIterator<Item = u8>>(codes: I) -> Self {
        let mut set = Self::default();
        codes.into_iter().for_each(|code| set.insert(code));
        set
    }
}

with_defaults! {
    /// Log options of stdout or stderr.
    struct ChannelConfig {
        /// Where the log goes.
        logfile: LogPlace = LogPlace::Auto,
        /// Rotate the log at this size in bytes; 0 or negative: never.
        maxbytes: i64 = 50 * 1024 * 1024,
        /// Number of rotated files to keep; 0 or negative: none.
        backups: i64 = 10,
        /// Size of the buffer of capture mode in bytes; 0: capture mode is off.
        capture_maxbytes: i64 = 0,
        /// Send PROCESS_LOG events.
        events_enabled: bool = false,
        /// Send the output to syslog too.
        syslog: bool = false,
        /// rsup: format of the lines.
        format: LogFormat = LogFormat::Raw,
    }
}

/// `stdout_logfile=`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogPlace {
    /// The output is discarded.
    None,
    /// A new file in childlogdir.
    #[default]
    Auto,
    /// A file; a relative path is relative to the working directory of rsup at spawn.
    File(PathBuf),
}

/// rsup: `stdout_format=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// As the program writes them.
    #[default]
    Raw,
    /// With the time, the program and the stream before each line.
    Prefix,
}

/// A user that was looked up. The groups are not part of it: as under Supervisor, they are looked up at each spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name; the number as text if /etc/passwd does not have the user.
    pub name: String,
    /// User number.
    pub uid: u32,
}

/// The groups of a user at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroups {
    /// Primary group, for setgid(2).
    pub primary: u32,
    /// The primary group, then the groups that list the user, for setgroups(2).
    pub all: Vec<u32>,
}

/// `[unix_http_server]` or `[inet_http_server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServerConfig {
    /// The whole name of the section: only its beginning is fixed, so there may be several.
    pub section: String,
    /// Address to listen on.
    pub address: SocketAddress,
    /// Mode of a Unix socket.
    pub chmod: u32,
    /// Owner of a Unix socket.
    pub chown: Option<Owner>,
    /// User name and password (plain text, or `{SHA}` and 40 lower-case hex digits); `None`: no authentication.
    pub credentials: Option<(String, String)>,
    /// rsup: on TCP, additional host names under which browsers may reach the server; `*`: any.
    pub allowed_hosts: Vec<String>,
    /// rsup: on TCP, web sites (`https://name:port`) whose pages may send requests to the server; `*`: any.
    pub allowed_origins: Vec<String>,
}

impl HttpServerConfig {
    /// Whether other hosts can use the server without a password.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        let SocketAddress::Tcp(host, _) = &self.address else { return false };
        let is_loopback =
            host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        self.credentials.is_none() && !is_loopback
    }
}

/// The parts of a configuration that a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientConfig {
    /// `[supervisorctl]` of the main file. As under Supervisor, included files do not count.
    pub section: Option<ClientSection>,
    /// All servers in file order, those of included files too.
    pub servers: Vec<HttpServerConfig>,
    /// The errors in these sections. Errors in other sections do not concern a client.
    pub problems: Vec<Problem>,
}

with_defaults! {
    /// `[supervisorctl]`.
    struct ClientSection {
        /// `http://host:port`, or `unix://` and an absolute path.
        serverurl: String = DEFAULT_URL.into(),
        /// User name to send, if there is a password too.
        username: Option<String> = None,
        /// Password to send, if there is a user name too.
        password: Option<String> = None,
        /// Prompt of the interactive shell.
        prompt: String = "supervisor".into(),
        /// Path of the history file, absolute.
        history_file: Option<PathBuf> = None,
    }
}

/// The address of the server that a client uses if the configuration names none: Supervisor's default.
pub const DEFAULT_URL: &str = "http://localhost:9001";
