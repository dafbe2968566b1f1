//! What a configuration means: plain data, complete and typed; nothing in it can be impossible.
//!
//! Options and defaults are those of Supervisor 4.3.0 (census §3); what rsup adds is marked `rsup:`.
#![forbid(unsafe_code)]

use super::Problem;
use std::path::PathBuf;
use std::rc::Rc;

/// Structs whose fields have their defaults beside them.
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

/// Everything that one load of the file (and its includes) says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `[supervisord]`.
    pub server: ServerConfig,
    /// Whether the file has a `[supervisord]`. A file that lost it while it was in use is broken.
    pub has_server_section: bool,
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

with_defaults! {
    /// `[supervisord]`.
    struct ServerConfig {
        /// Where the main log goes; `None` when the file does not say (the default depends on being PID 1).
        logfile: Option<MainLog> = None,
        /// Rotate the main log at this size in bytes; 0 or negative: never.
        logfile_maxbytes: i64 = 50 * 1024 * 1024,
        /// How many rotated main logs are kept; 0 or negative: none.
        logfile_backups: i64 = 10,
        /// What the main log holds.
        loglevel: LogLevel = LogLevel::Info,
        /// `None` when the file does not say.
        pidfile: Option<PathBuf> = None,
        /// Used when daemonizing only.
        umask: u32 = 0o022,
        /// `None` when the file does not say.
        nodaemon: Option<bool> = None,
        /// No echo of the main log on stdout.
        silent: bool = false,
        /// Wanted soft limit of descriptors; children get it.
        minfds: u64 = 1024,
        /// Wanted soft limit of processes; children get it.
        minprocs: u64 = 200,
        /// Keep AUTO logs of an earlier run.
        nocleanup: bool = false,
        /// Where AUTO logs are made; `None`: the temp directory.
        childlogdir: Option<PathBuf> = None,
        /// Drop to this user at start.
        user: Option<User> = None,
        /// Used when daemonizing only.
        directory: Option<PathBuf> = None,
        /// Remove terminal escapes from child logs.
        strip_ansi: bool = false,
        /// Merged under each program's own.
        environment: Vec<(String, String)> = Vec::new(),
        /// In event headers, AUTO log names, getIdentification.
        identifier: String = "supervisor".into(),
        /// rsup: whose exit code becomes ours.
        exit_code_from: ExitCodeFrom = ExitCodeFrom::Zero,
        /// rsup: end when every program has ended by itself.
        exit_when_all_done: bool = false,
        /// rsup: time for the whole ordered shutdown, in milliseconds.
        stop_budget_ms: Option<u64> = None,
    }
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
    /// Python entry point; one that is not built in is warned of, and the default is used.
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

with_defaults! {
    /// One process: all options of `[program:x]` after expansion (with numprocs, one for each). Name and command have no default.
    struct ProcessConfig {
        /// Expanded process_name.
        name: String = String::new(),
        /// As written, after expansion; split at spawn by `config::values::split_command`.
        command: String = String::new(),
        /// chdir in the child.
        directory: Option<PathBuf> = None,
        /// umask in the child; `None`: inherited.
        umask: Option<u32> = None,
        /// Process priority.
        priority: i32 = 999,
        /// Start when added.
        autostart: bool = true,
        /// When to start again after an exit.
        autorestart: AutoRestart = AutoRestart::Unexpected,
        /// Seconds to stay up to count as RUNNING; ≤ 0: at once.
        startsecs: i64 = 1,
        /// Retries after the first attempt; negative: none.
        startretries: i64 = 3,
        /// Expected exit codes.
        exitcodes: ExitCodes = ExitCodes::from_iter([0]),
        /// Signal number of an ordinary stop.
        stopsignal: i32 = 15,
        /// Seconds from the stop signal to KILL.
        stopwaitsecs: i64 = 10,
        /// Send the stop signal to the process group.
        stopasgroup: bool = false,
        /// Send KILL to the process group.
        killasgroup: bool = false,
        /// Run as this user.
        user: Option<Rc<User>> = None,
        /// File descriptor 2 is the stdout pipe.
        redirect_stderr: bool = false,
        /// stdout's log.
        stdout: ChannelConfig = ChannelConfig::default(),
        /// stderr's log.
        stderr: ChannelConfig = ChannelConfig::default(),
        /// Its own `environment`, in file order.
        environment: Vec<(String, String)> = Vec::new(),
        /// `[supervisord] environment` of the file that the process was read from; its own variables replace these.
        server_environment: Rc<Vec<(String, String)>> = Rc::default(),
        /// SUPERVISOR_SERVER_URL.
        serverurl: ServerUrl = ServerUrl::Auto,
        /// rsup: when this ends for good, all is stopped and rsup exits.
        essential: bool = false,
        /// rsup: end what the dead program left in its process group.
        sweep: bool = false,
    }
}

impl ProcessConfig {
    /// The variables that the file gives the process; of two with one name the later one counts.
    pub fn variables(&self) -> impl DoubleEndedIterator<Item = &(String, String)> {
        self.server_environment.iter().chain(&self.environment)
    }
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

with_defaults! {
    /// Log options of stdout or stderr.
    struct ChannelConfig {
        /// Where it goes.
        logfile: LogPlace = LogPlace::Auto,
        /// Rotate at this size in bytes; 0 or negative: never.
        maxbytes: i64 = 50 * 1024 * 1024,
        /// Kept rotated files; 0 or negative: none.
        backups: i64 = 10,
        /// Capture mode's buffer in bytes; 0: off.
        capture_maxbytes: i64 = 0,
        /// PROCESS_LOG events.
        events_enabled: bool = false,
        /// Also to syslog.
        syslog: bool = false,
        /// rsup: how lines look.
        format: LogFormat = LogFormat::Raw,
    }
}

/// `stdout_logfile=`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogPlace {
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

/// A resolved user. The groups are not part of it: they are looked up at each spawn, as by Supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name, or the number as text where passwd does not have it.
    pub name: String,
    /// User number.
    pub uid: u32,
}

/// The groups of a user at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroups {
    /// Primary group, for setgid(2).
    pub primary: u32,
    /// The primary group, then those that list the user, for setgroups(2).
    pub all: Vec<u32>,
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

/// What the file says to a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientConfig {
    /// `[supervisorctl]`, of the main file alone (as under Supervisor, `[include]` does not count here).
    pub section: Option<ClientSection>,
    /// All servers, of included files too, in file order.
    pub servers: Vec<HttpServerConfig>,
    /// What keeps these sections from being read; other sections' mistakes are not a client's business.
    pub problems: Vec<Problem>,
}

with_defaults! {
    /// `[supervisorctl]`.
    struct ClientSection {
        /// `http://host:port`, or `unix://` and an absolute path.
        serverurl: String = DEFAULT_URL.into(),
        /// Sent when there is a password too.
        username: Option<String> = None,
        /// Sent when there is a user name too.
        password: Option<String> = None,
        /// Of the interactive shell.
        prompt: String = "supervisor".into(),
        /// Absolute.
        history_file: Option<PathBuf> = None,
    }
}

/// The address of the server that a client uses if the configuration names none: Supervisor's default.
pub const DEFAULT_URL: &str = "http://localhost:9001";
