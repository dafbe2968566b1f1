//! What a configuration means: plain data, complete and typed; nothing in it can be impossible.
//!
//! Options and defaults are those of Supervisor 4.3.0 (census §3); what rsup adds is marked `rsup:`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::rc::Rc;

/// Everything that one load of the file (and its includes) says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `[supervisord]`.
    pub server: ServerConfig,
    /// Every group, sorted by (priority, name): heterogeneous `[group:x]`, and one for each program, listener and
    /// fcgi-program that is in no group.
    pub groups: Vec<Rc<GroupConfig>>,
    /// `[unix_http_server]` and `[inet_http_server]` sections, in file order.
    pub http: Vec<HttpServerConfig>,
    /// `[rpcinterface:x]`: (namespace, factory).
    pub rpc_interfaces: Vec<(String, String)>,
    /// `[rpcinterface:twiddler]`: the methods that it serves, all if there is none here; `None`: it is not served.
    pub twiddler: Option<Vec<String>>,
}

/// `[supervisord]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where the main log goes; `None` when the file does not say (the default depends on being PID 1).
    pub logfile: Option<MainLog>,
    /// Rotate the main log at this size in bytes; 0 or negative: never.
    pub logfile_maxbytes: i64,
    /// How many rotated main logs are kept; 0 or negative: none.
    pub logfile_backups: i64,
    /// What the main log holds.
    pub loglevel: LogLevel,
    /// `None` when the file does not say.
    pub pidfile: Option<PathBuf>,
    /// Used when daemonizing only.
    pub umask: u32,
    /// `None` when the file does not say.
    pub nodaemon: Option<bool>,
    /// No echo of the main log on stdout.
    pub silent: bool,
    /// Wanted soft limit of descriptors; children get it.
    pub minfds: u64,
    /// Wanted soft limit of processes; children get it.
    pub minprocs: u64,
    /// Keep AUTO logs of an earlier run.
    pub nocleanup: bool,
    /// Where AUTO logs are made; `None`: the temp directory.
    pub childlogdir: Option<PathBuf>,
    /// Drop to this user at start.
    pub user: Option<User>,
    /// Used when daemonizing only.
    pub directory: Option<PathBuf>,
    /// Remove terminal escapes from child logs.
    pub strip_ansi: bool,
    /// Merged under each program's own.
    pub environment: Vec<(String, String)>,
    /// In event headers, AUTO log names, getIdentification.
    pub identifier: String,
    /// rsup: whose exit code becomes ours.
    pub exit_code_from: ExitCodeFrom,
    /// rsup: end when every program has ended by itself.
    pub exit_when_all_done: bool,
    /// rsup: time for the whole ordered shutdown, in milliseconds.
    pub stop_budget_ms: Option<u64>,
}

/// rsup: `[supervisord] exit_code_from`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ExitCodeFrom {
    /// Always 0, as Supervisor.
    #[default]
    Zero,
    /// The named program's (process name, or `group:name`).
    Program(String),
    /// The first program that failed.
    FirstFailure,
    /// The essential program that ended everything.
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

/// Levels of the main log, least urgent last.
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

/// A group and its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// Group name.
    pub name: String,
    /// Low starts first and stops last.
    pub priority: i32,
    /// What kind of group it is.
    pub kind: GroupKind,
    /// Its processes, in configuration order.
    pub processes: Vec<Rc<ProcessConfig>>,
}

/// What made a group.
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
    /// Event type names, upper case, each known.
    pub events: Vec<String>,
    /// How many events are kept while no listener is ready; at least 1.
    pub buffer_size: u32,
    /// Python entry point; anything but the default is warned of and ignored.
    pub result_handler: String,
}

/// The extra options of `[fcgi-program:x]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastCgiConfig {
    /// Where to listen.
    pub socket: SocketAddress,
    /// listen(2) backlog; `None`: SOMAXCONN.
    pub backlog: Option<u32>,
    /// Owner of a Unix socket.
    pub owner: Option<Owner>,
    /// Mode of a Unix socket.
    pub mode: u32,
}

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// Absolute path.
    Unix(PathBuf),
    /// Host (empty: every IPv4 address) and port.
    Tcp(String, u16),
}

/// Whom to chown to; a missing group leaves the group unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: Option<u32>,
}

/// One process: all options of `[program:x]` after expansion (with numprocs, one for each).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Expanded process_name.
    pub name: String,
    /// As written, after expansion; split at spawn by `config::values::split_command`.
    pub command: String,
    /// chdir in the child.
    pub directory: Option<PathBuf>,
    /// umask in the child; `None`: inherited.
    pub umask: Option<u32>,
    /// Process priority.
    pub priority: i32,
    /// Start when added.
    pub autostart: bool,
    /// When to start again after an exit.
    pub autorestart: AutoRestart,
    /// Seconds to stay up to count as RUNNING; ≤ 0: at once.
    pub startsecs: i64,
    /// Retries after the first attempt; negative: none.
    pub startretries: i64,
    /// Expected exit codes.
    pub exitcodes: ExitCodes,
    /// Signal number of an ordinary stop.
    pub stopsignal: i32,
    /// Seconds from the stop signal to KILL.
    pub stopwaitsecs: i64,
    /// Send the stop signal to the process group.
    pub stopasgroup: bool,
    /// Send KILL to the process group.
    pub killasgroup: bool,
    /// Run as this user.
    pub user: Option<Rc<User>>,
    /// File descriptor 2 is the stdout pipe.
    pub redirect_stderr: bool,
    /// stdout's log.
    pub stdout: ChannelConfig,
    /// stderr's log.
    pub stderr: ChannelConfig,
    /// Own environment, in file order; merged over the daemon's and `[supervisord]`'s.
    pub environment: Vec<(String, String)>,
    /// SUPERVISOR_SERVER_URL.
    pub serverurl: ServerUrl,
    /// rsup: when this ends for good, all is stopped and rsup exits.
    pub essential: bool,
    /// rsup: end what the dead program left in its process group.
    pub sweep: bool,
}

/// `serverurl=` of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerUrl {
    /// First Unix server, else first TCP server, else unset.
    #[default]
    Auto,
    /// Empty: the variable is not set.
    Unset,
    /// As given.
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

    /// Whether `code` is in the set; a death by signal (-1) never is.
    #[must_use]
    pub fn contains(&self, code: i32) -> bool {
        u8::try_from(code)
            .is_ok_and(|code| self.0.get(usize::from(code >> 6)).is_some_and(|word| word >> (code & 63) & 1 == 1))
    }

    /// The codes, ascending.
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

/// Log options of stdout or stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Where it goes.
    pub logfile: ChildLog,
    /// Rotate at this size in bytes; 0 or negative: never.
    pub maxbytes: i64,
    /// Kept rotated files; 0 or negative: none.
    pub backups: i64,
    /// Capture mode's buffer in bytes; 0: off.
    pub capture_maxbytes: i64,
    /// PROCESS_LOG events.
    pub events_enabled: bool,
    /// Also to syslog.
    pub syslog: bool,
    /// rsup: how lines look.
    pub format: LogFormat,
}

/// `stdout_logfile=`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ChildLog {
    /// Discarded.
    None,
    /// A new name in childlogdir.
    #[default]
    Auto,
    /// A path; a relative one is relative to the cwd at spawn.
    File(PathBuf),
}

/// rsup: `stdout_format=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// As written by the program.
    #[default]
    Raw,
    /// Time, program and stream before each line.
    Prefix,
}

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name, or the number as text where passwd does not have it.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Primary group; for a number that passwd lacks, our own.
    pub gid: u32,
    /// Primary group and those that list the user.
    pub groups: Vec<u32>,
}

/// `[unix_http_server]` or `[inet_http_server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServerConfig {
    /// The section's whole name (servers match by prefix, so several may exist).
    pub section: String,
    /// Where it listens.
    pub address: SocketAddress,
    /// Mode of a Unix socket.
    pub chmod: u32,
    /// Owner of a Unix socket.
    pub chown: Option<Owner>,
    /// Name and password (plain, or `{SHA}` + 40 lower-case hex digits); none: no authentication.
    pub credentials: Option<(String, String)>,
    /// rsup: on TCP, further names by which browsers may reach it; `*`: any.
    pub allowed_hosts: Vec<String>,
    /// rsup: on TCP, sites (`https://name:port`) whose pages may use it; `*`: any.
    pub allowed_origins: Vec<String>,
}

impl HttpServerConfig {
    /// Whether other machines can use it without a password.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        let SocketAddress::Tcp(host, _) = &self.address else { return false };
        let is_loopback =
            host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        self.credentials.is_none() && !is_loopback
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            logfile: None,
            logfile_maxbytes: 50 * 1024 * 1024,
            logfile_backups: 10,
            loglevel: LogLevel::Info,
            pidfile: None,
            umask: 0o022,
            nodaemon: None,
            silent: false,
            minfds: 1024,
            minprocs: 200,
            nocleanup: false,
            childlogdir: None,
            user: None,
            directory: None,
            strip_ansi: false,
            environment: Vec::new(),
            identifier: "supervisor".into(),
            exit_code_from: ExitCodeFrom::Zero,
            exit_when_all_done: false,
            stop_budget_ms: None,
        }
    }
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            logfile: ChildLog::Auto,
            maxbytes: 50 * 1024 * 1024,
            backups: 10,
            capture_maxbytes: 0,
            events_enabled: false,
            syslog: false,
            format: LogFormat::Raw,
        }
    }
}

/// The defaults of `[program:x]`, with an empty name and command: for tests and as the base of a load.
impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            command: String::new(),
            directory: None,
            umask: None,
            priority: 999,
            autostart: true,
            autorestart: AutoRestart::Unexpected,
            startsecs: 1,
            startretries: 3,
            exitcodes: ExitCodes::from_iter([0]),
            stopsignal: 15,
            stopwaitsecs: 10,
            stopasgroup: false,
            killasgroup: false,
            user: None,
            redirect_stderr: false,
            stdout: ChannelConfig::default(),
            stderr: ChannelConfig::default(),
            environment: Vec::new(),
            serverurl: ServerUrl::Auto,
            essential: false,
            sweep: false,
        }
    }
}
