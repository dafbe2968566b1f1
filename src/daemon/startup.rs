//! Starts the supervisor, from the command line to the first turn of the loop, and ends it with its exit code.

use super::environment::ChildDefaults;
use super::token::Token;
use super::{Children, Daemon, Ended, Events, Server, io};
use crate::config::command_line::{self, CommandLine, Options};
use crate::config::model::{Config, ExitCodeFrom, LogLevel, LogPlace, MainLog, ServerConfig, User};
use crate::config::{self, Loaded, Severity};
use crate::logs::{Journal, RotationLimits, Sinks, auto};
use crate::machine::{self, Real};
use crate::rpc::SUPERVISOR_VERSION;
use crate::stdout;
use crate::supervision::Supervision;
use crate::sys::background::{self, Foreground, Side};
use crate::sys::fds::{self, Limit};
use crate::sys::poll::{Interest, Poll};
use crate::sys::signals::{Ignored, Signals, end_as_pid1, ignore_broken_pipes};
use crate::sys::{clock, errno, memory, output, pid1};
use crate::text;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Settings of the command line and the environment. They stay the same through every reload.
#[derive(Debug)]
pub(super) struct Settings {
    /// The name by which rsup was called, for messages.
    pub(super) name: String,
    /// Absolute, so that a later chdir does not matter.
    pub(super) config_file: PathBuf,
    /// Called `supervisord`, so the default log and pid files are made.
    pub(super) as_supervisord: bool,
    /// rsup is PID 1.
    pub(super) is_pid1: bool,
    /// Options that override the file.
    pub(super) options: Options,
    /// The directory of AUTO logs without `childlogdir`. Absolute, as `config_file` is.
    temporary_directory: PathBuf,
}

impl Settings {
    fn of(name: &str, options: Options) -> Result<Self, String> {
        let as_supervisord = is_supervisord(name);
        let found = match &options.configuration {
            Some(path) => path.clone(),
            None => machine::search(name).map_err(|missing| missing.to_string())?,
        };
        let config_file = std::path::absolute(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        let temporary_directory = std::env::temp_dir();
        let temporary_directory = std::path::absolute(&temporary_directory).unwrap_or(temporary_directory);
        let is_pid1 = pid1::is_pid1();
        Ok(Self { name: name.into(), config_file, as_supervisord, is_pid1, options, temporary_directory })
    }

    /// Whether to go to the background: never as PID 1, and under the name rsup only with `nodaemon=false`.
    fn daemonizes(&self, config: &Config) -> bool {
        !self.is_pid1 && !config.server.nodaemon.unwrap_or(!self.as_supervisord)
    }

    /// A file that Supervisor makes in its current directory if the configuration names none.
    fn default_file(&self, name: &str) -> Option<PathBuf> {
        (self.as_supervisord && !self.is_pid1).then(|| name.into())
    }

    /// Reads the configuration. The error lists every mistake, one on each line.
    pub(super) fn load(&self) -> Result<Loaded, String> {
        let mut loaded = config::load(&self.config_file, &Real);
        let mut errors: Vec<String> = loaded.errors().map(ToString::to_string).collect();
        errors.extend(self.options.apply(&mut loaded.config.server, &Real).err());
        loaded.config.server.childlogdir.get_or_insert_with(|| self.temporary_directory.clone());
        if errors.is_empty() { Ok(loaded) } else { Err(errors.join("\n")) }
    }

    /// Reads the configuration again while programs run with `in_use`. Refuses a file that is not regular, because reading it could
    /// block, and one that has lost its `[supervisord]`, because it was probably emptied, unmounted or badly generated.
    pub(super) fn reload(&self, in_use: &Config) -> Result<Loaded, String> {
        let file = self.config_file.display();
        if fs::metadata(&self.config_file).is_ok_and(|found| !found.is_file()) {
            return Err(format!("{file}: only a regular file can be read again"));
        }
        let loaded = self.load()?;
        if in_use.has_server_section && !loaded.config.has_server_section {
            return Err(format!("{file}: .ini file does not include supervisord section, which it had before"));
        }
        Ok(loaded)
    }
}

/// The socket of syslog.
pub(super) const SYSLOG: &str = "/dev/log";

/// Lines to log.
type LogLines = Vec<(LogLevel, String)>;

/// Runs as a supervisor until it ends. Returns the exit code. `args` are the arguments without the program's name.
pub fn main(name: &str, args: &[OsString]) -> u8 {
    // From here on no signal is lost, and only SIGKILL can end rsup.
    let signals = match Signals::take_over(Ignored::Reset) {
        Ok(signals) => signals,
        Err(error) => return fail(name, &format!("cannot take over signals: {error}")),
    };
    let options = match command_line::parse(args, &Real) {
        Ok(CommandLine::Run(options)) => options,
        Ok(CommandLine::Help) => {
            act_as_client(&signals);
            return stdout::print(name, &command_line::usage(), 0);
        }
        Ok(CommandLine::Version) => {
            act_as_client(&signals);
            return print_version(name);
        }
        Err(why) => return fail(name, &why),
    };
    fds::open_null_for_closed();
    let (settings, loaded) = match Settings::of(name, options).and_then(|settings| Ok((settings.load()?, settings))) {
        Ok((loaded, settings)) => (settings, loaded),
        Err(why) => return fail(name, &why),
    };
    // Early, so that the daemon itself makes everything that follows. The parent waits for its outcome.
    let foreground = match settings.daemonizes(&loaded.config).then(background::split).transpose() {
        Ok(Some(Side::Parent(code))) => return code,
        Ok(Some(Side::Child(foreground))) => Some(foreground),
        Ok(None) => None,
        Err(error) => return fail(name, &format!("cannot go to the background: {error}")),
    };
    match Daemon::start(settings, loaded, signals, foreground) {
        Ok(mut daemon) => {
            // Everything that must fit is allocated. From here on, waiting for memory is better than ending.
            memory::wait_for_memory();
            daemon.run_configurations()
        }
        Err(why) => fail(name, &why),
    }
}

/// Restores the default signals for a command that only prints, so that SIGTERM ends it even while it writes to a full stdout.
fn act_as_client(signals: &Signals) {
    ignore_broken_pipes();
    end_as_pid1();
    signals.unblock();
}

/// Prints rsup's version and the compatible version of Supervisor. Returns the exit code. Called `supervisord`, it prints
/// only Supervisor's version, since scripts compare it.
#[must_use]
pub fn print_version(name: &str) -> u8 {
    if is_supervisord(name) {
        return stdout::print(name, &format!("{SUPERVISOR_VERSION}\n"), 0);
    }
    let own = env!("CARGO_PKG_VERSION");
    stdout::print(name, &format!("rsup {own} (compatible with Supervisor {SUPERVISOR_VERSION})\n"), 0)
}

/// Whether rsup was called by Supervisor's name.
fn is_supervisord(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|name| name == "supervisord")
}

/// Reports a usage or configuration error: two lines and exit code 2, as Supervisor does (supervisor-behaviour.md §1.1).
fn fail(name: &str, why: &str) -> u8 {
    let (name, why) = (text::shown(name), text::shown(why));
    output::to_termination_log(&why);
    let _ = output::to_stderr(&format!("Error: {why}\nFor help, use {name} -h\n"));
    2
}

impl Daemon {
    fn start(
        settings: Settings,
        loaded: Loaded,
        signals: Signals,
        foreground: Option<Foreground>,
    ) -> Result<Self, String> {
        let now = clock::now();
        let mut lines = Vec::new();
        if !settings.is_pid1
            && let Err(error) = pid1::become_subreaper()
        {
            lines.push((LogLevel::Warn, format!("cannot adopt orphans: {error}")));
        }
        if let Some(user) = &loaded.config.server.user {
            lines.extend(drop_privileges(user)?);
        }
        let limits = raise_limits(&loaded.config, &mut lines)?;
        let mut sinks = Sinks::new();
        let _ = fds::close_on_exec_from_3();
        let poll = new_poll(&signals)?;
        let defaults = ChildDefaults {
            environment: machine::environment(),
            server_url: None,
            limits,
            mask: signals.original_mask(),
        };
        sinks.set_ident(&Path::new(&settings.name).file_name().unwrap_or_default().to_string_lossy());
        let mut daemon = Daemon {
            supervision: Supervision::new(Config::default()),
            children: Children::default(),
            events: Events::default(),
            defaults,
            server: None,
            serving: None,
            poll: std::rc::Rc::new(poll),
            signals,
            sinks,
            labelled: crate::logs::LabelledStdout::default(),
            journal: Journal::new(loaded.config.server.loglevel),
            watched: std::collections::BTreeSet::new(),
            orphans: super::Orphans::default(),
            settings,
            auto_logs: std::collections::BTreeMap::new(),
            reported_no_auto_logs: false,
            pidfile: None,
            next_config: None,
            finish: None,
            forks: super::ForkQueue::default(),
            watches: super::watches::Watches::default(),
            server_calls: std::collections::VecDeque::new(),
            is_server_busy: false,
            failing: super::Failing::default(),
            foreground,
            now,
        };
        // The other descriptors are for clients and for the pipes of running programs.
        let max_orphaned = fds::nofile().ok().and_then(|limit| usize::try_from(limit.soft / 4).ok());
        daemon.children.pipes.max_orphaned = max_orphaned.unwrap_or(256);
        daemon.use_configuration(loaded, lines)?;
        Ok(daemon)
    }

    /// Puts a configuration in force: at the start, and again at each reload.
    fn use_configuration(&mut self, loaded: Loaded, lines: LogLines) -> Result<(), String> {
        let Loaded { mut config, problems } = loaded;
        self.now = clock::now();
        self.journal.set_level(config.server.loglevel);
        self.children.pipes.observed.copying = self.journal.keeps(LogLevel::Debug);
        let is_first = self.serving.is_none();
        let journal = self.open_journal(&config);
        for problem in problems {
            let level = if problem.severity == Severity::Info { LogLevel::Info } else { LogLevel::Warn };
            self.log(level, &problem.to_string());
        }
        for (level, line) in lines {
            self.log(level, &line);
        }
        match journal {
            Err(why) if is_first => return Err(why),
            Err(why) => self.log(LogLevel::Critical, &format!("{why}; the log stays where it was before")),
            Ok(()) => {}
        }
        let (server, log_lines) = self.open_server(&mut config)?;
        self.defaults.server_url = config.automatic_server_url();
        for (level, line) in log_lines {
            self.log(level, &line);
        }
        if self.defaults.server_url.is_none() {
            self.defaults.server_url = server.as_ref().and_then(Server::default_url);
        }
        self.server = server;
        self.clean_auto_logs(&config);
        self.auto_logs.clear();
        self.reported_no_auto_logs = false;
        self.children.forget_processes(&mut io!(self));
        self.watches = super::watches::Watches::default();
        self.forks = super::ForkQueue::default();
        self.go_to_background(&config);
        self.labelled.close(&mut self.sinks, self.now);
        self.events.begin(&config.server.identifier, self.now);
        self.write_pidfile(&config);
        self.warn_of_settings_without_effect(&config);
        self.log_where_output_goes(&config);
        self.log(LogLevel::Info, &format!("supervisord started with pid {}", std::process::id()));
        self.supervision = Supervision::new(config);
        self.supervision.seed(self.now.mono.0 ^ u64::from(std::process::id()));
        self.settle();
        Ok(())
    }

    /// Opens the control sockets. If that fails at a reload, opens those of the previous configuration; at the start it is an error.
    fn open_server(&mut self, config: &mut Config) -> Result<(Option<Server>, LogLines), String> {
        let tokens = [Token::Listener(0).encode(), Token::Connection(0).encode()];
        let open = |config: &Config| {
            let opened = Server::open(config, std::rc::Rc::clone(&self.poll), tokens);
            opened.map(|(server, log_lines)| (Some(server), log_lines)).map_err(|errors| errors.join("\n"))
        };
        let opened = match (open(config), self.serving.take()) {
            (Ok(opened), _) => opened,
            (Err(why), None) => return Err(why),
            (Err(why), Some(before)) => {
                // Differs from Supervisor, which stops everything and exits with 2.
                config.http = before;
                let (server, mut log_lines) =
                    open(config).unwrap_or_else(|why| (None, vec![(LogLevel::Critical, why)]));
                let line = format!("{why}; the control sockets stay as they were before the reload");
                log_lines.push((LogLevel::Critical, line));
                (server, log_lines)
            }
        };
        self.serving = Some(config.http.clone());
        Ok(opened)
    }

    fn go_to_background(&mut self, config: &Config) {
        let Some(foreground) = self.foreground.take() else { return };
        let server = &config.server;
        self.log(LogLevel::Info, "daemonizing the supervisord process");
        let (level, line) = match (foreground.detach(server.directory.as_deref(), server.umask), &server.directory) {
            (_, None) => return,
            (Ok(()), Some(path)) => (LogLevel::Info, format!("set current directory: {}", repr(path))),
            (Err(why), Some(path)) => (LogLevel::Critical, format!("can't chdir into {}: {why}", repr(path))),
        };
        self.log(level, &line);
    }

    /// Runs with one configuration after the other. Returns the exit code.
    fn run_configurations(&mut self) -> u8 {
        loop {
            let ended = self.run();
            if let Some(server) = self.server.take() {
                server.close_all();
            }
            self.remove_pidfile();
            match ended {
                Ended::Exit(code, reason) => {
                    self.finish_sinks();
                    self.report_end(code, &reason);
                    return code;
                }
                Ended::Reload(loaded) => {
                    if let Err(why) = self.use_configuration(*loaded, Vec::new()) {
                        self.finish_sinks();
                        return fail(&self.settings.name, &why);
                    }
                }
            }
        }
    }

    /// Opens the main log. In the foreground it goes to stdout too. Only `supervisord` has a default log file.
    fn open_journal(&mut self, config: &Config) -> Result<(), String> {
        let server = &config.server;
        let path = match &server.logfile {
            Some(MainLog::File(path)) => Some(path.clone()),
            Some(MainLog::Syslog) => Some(PathBuf::from(SYSLOG)),
            None => self.settings.default_file("supervisord.log"),
        };
        let path = path.map(|path| std::path::absolute(&path).unwrap_or(path));
        let limits =
            RotationLimits { maxbytes: server.logfile_maxbytes, backups: server.logfile_backups, private: false };
        let opened = match server.logfile {
            Some(MainLog::Syslog) => self.journal.set_syslog(Path::new(SYSLOG), &mut self.sinks, self.now),
            _ => self.journal.set_file(path.as_deref(), limits, &mut self.sinks, self.now),
        };
        if let Err(errno) = opened {
            let path = path.unwrap_or_default();
            let line = format!("cannot open the log file {}: {}", path.display(), errno::ErrnoName(errno as i32));
            if !self.journal.is_open() {
                return Err(line);
            }
            // At a reload: keep the previous log.
            self.log(LogLevel::Error, &format!("{line}; the log from before the reload stays in use"));
        }
        let is_background = self.settings.daemonizes(config);
        let echo = self.journal.set_echo(!server.silent && !is_background, &mut self.sinks, self.now);
        if let Err(errno) = echo {
            self.log(LogLevel::Warn, &format!("cannot log to stdout: {}", errno::ErrnoName(errno as i32)));
        }
        Ok(())
    }

    fn clean_auto_logs(&mut self, config: &Config) {
        if config.server.nocleanup {
            return;
        }
        match auto::clean(&auto_log_dir(&config.server), &config.server.identifier) {
            Ok(left) => {
                for path in left {
                    self.log(LogLevel::Warn, &format!("Failed to clean up '{}'", path.display()));
                }
            }
            Err(_) => self.log(LogLevel::Debug, "Could not clear childlog dir"),
        }
    }

    fn write_pidfile(&mut self, config: &Config) {
        let path = config.server.pidfile.clone().or_else(|| self.settings.default_file("supervisord.pid"));
        let Some(path) = path else { return };
        if fs::write(&path, format!("{}\n", std::process::id())).is_err() {
            return self.log(LogLevel::Critical, &format!("could not write pidfile {}", path.display()));
        }
        // Absolute, so that it is found after a chdir.
        self.pidfile = Some(std::path::absolute(&path).unwrap_or(path));
    }

    fn remove_pidfile(&mut self) {
        let Some(path) = self.pidfile.take() else { return };
        // Leave the pid file of another supervisor.
        let ours = format!("{}\n", std::process::id());
        if fds::read_regular(&path, 64).is_ok_and(|text| text == ours.as_bytes()) {
            let _ = fs::remove_file(&path);
        }
    }

    /// Warns of each setting that has no effect here.
    fn warn_of_settings_without_effect(&mut self, config: &Config) {
        if config.server.nodaemon == Some(false) && self.settings.is_pid1 {
            let line = "nodaemon=false has no effect: PID 1 stays in the foreground, or the container would end";
            self.log(LogLevel::Warn, line);
        }
        let sweeps = config.groups.iter().flat_map(|group| &group.processes).any(|process| process.sweep);
        if sweeps && !Path::new("/proc/self/stat").exists() {
            self.log(LogLevel::Warn, "sweep=true has no effect: /proc is not mounted");
        }
    }

    /// Logs where the output of programs is, if rsup is PID 1 and no program logs to the container's stdout.
    fn log_where_output_goes(&mut self, config: &Config) {
        let processes = || config.groups.iter().flat_map(|group| &group.processes);
        let to_container = |place: &LogPlace| matches!(place, LogPlace::File(path) if path.starts_with("/dev") || path.starts_with("/proc"));
        let any = processes().any(|p| to_container(&p.stdout.logfile) || to_container(&p.stderr.logfile));
        if !self.settings.is_pid1 || any || processes().next().is_none() {
            return;
        }
        let line = format!(
            "no program logs to the container's stdout: output goes to the programs' log files (AUTO: {}); \
             for `docker logs` set stdout_logfile=/dev/stdout",
            auto_log_dir(&config.server).display()
        );
        self.log(LogLevel::Info, &line);
    }

    /// Reports why rsup ends: in Kubernetes' termination message if there is one, and as the last line on stderr.
    fn report_end(&self, code: u8, reason: &str) {
        let line = format!("rsup: {reason}; exit code {code}");
        output::to_termination_log(&line);
        // Supervisor itself reports nothing, and always exits with 0.
        let server = self.supervision.server();
        let contract = server.exit_when_all_done || server.exit_code_from != ExitCodeFrom::Zero;
        if self.settings.is_pid1 || !self.settings.as_supervisord || code != 0 || contract {
            let _ = output::to_stderr(&format!("{line}\n"));
        }
    }
}

/// A path in quotes, as Python's `repr` prints it.
fn repr(path: &Path) -> String {
    config::values::repr(&text::of_os(path))
}

/// The directory of AUTO logs: `childlogdir`, else the temporary directory.
pub(super) fn auto_log_dir(server: &ServerConfig) -> PathBuf {
    server.childlogdir.clone().unwrap_or_else(std::env::temp_dir)
}

/// A poll that watches only the signals.
fn new_poll(signals: &Signals) -> Result<Poll, String> {
    let poll = Poll::new().map_err(|error| format!("cannot make a readiness set: {error}"))?;
    poll.add(signals.fd(), Token::Signals.encode(), Interest::Read)
        .map_err(|error| format!("cannot watch signals: {error}"))?;
    Ok(poll)
}

fn drop_privileges(user: &User) -> Result<Option<(LogLevel, String)>, String> {
    if Uid::current().as_raw() == user.uid {
        return Ok(None);
    }
    if !Uid::current().is_root() {
        return Err("Can't drop privilege as nonroot user".into());
    }
    let groups = machine::groups_of(user)?;
    let all: Vec<Gid> = groups.all.iter().copied().map(Gid::from_raw).collect();
    setgroups(&all).map_err(|_| "Could not set groups of effective user")?;
    setgid(Gid::from_raw(groups.primary)).map_err(|_| "Could not set group id of effective user")?;
    setuid(Uid::from_raw(user.uid)).map_err(|errno| format!("Could not set user id {}: {errno}", user.uid))?;
    // So that rsupctl, run by the same user, finds the configuration in /proc.
    let _ = nix::sys::prctl::set_dumpable(true);
    Ok(Some((LogLevel::Info, format!("Set uid to user {} succeeded", user.uid))))
}

/// Raises rsup's limit of descriptors as far as allowed. Returns the limits of children by `minfds` and `minprocs`
/// (supervisor-behaviour.md §1.1).
fn raise_limits(config: &Config, lines: &mut LogLines) -> Result<Vec<(Resource, Limit)>, String> {
    let mut child_limits = Vec::new();
    let minfds = config.server.minfds;
    let nofile = fds::nofile().map_err(|error| format!("cannot read the limit of descriptors: {error}"))?;
    let wanted = Limit { soft: nofile.soft.max(minfds), hard: nofile.hard.max(minfds) };
    if setrlimit(Resource::RLIMIT_NOFILE, wanted.hard, wanted.hard).is_err() {
        if nofile.hard < minfds {
            return Err(format!(
                "The minimum number of file descriptors required to run this process is {minfds} as per the \"minfds\" \
                 command-line argument or config file setting. The current environment will only allow you to open {} \
                 file descriptors.  Either raise the number of usable file descriptors in your environment or lower \
                 the minfds setting in the config file to allow the process to start.",
                nofile.hard
            ));
        }
        lines.push((LogLevel::Warn, "cannot raise the limit of descriptors".into()));
    } else {
        if nofile.soft < minfds {
            lines.push((LogLevel::Info, format!("Increased RLIMIT_NOFILE limit to {minfds}")));
        }
        child_limits.push((Resource::RLIMIT_NOFILE, wanted));
    }
    let minprocs = config.server.minprocs;
    let nproc = fds::nproc().map_err(|error| format!("cannot read the limit of processes: {error}"))?;
    if nproc.soft < minprocs {
        if setrlimit(Resource::RLIMIT_NPROC, minprocs, nproc.hard.max(minprocs)).is_err() {
            return Err(format!(
                "The minimum number of available processes required to run this program is {minprocs} as per the \
                 \"minprocs\" command-line argument or config file setting. The current environment will only allow \
                 you to open {} processes.  Either raise the number of usable processes in your environment or lower \
                 the minprocs setting in the config file to allow the program to start.",
                nproc.hard
            ));
        }
        lines.push((LogLevel::Info, format!("Increased RLIMIT_NPROC limit to {minprocs}")));
    }
    Ok(child_limits)
}
