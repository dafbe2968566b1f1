//! Implements [`Host`] for the RPC methods, and opens, reopens and clears the logs of processes.

use super::token::ChildId;
use super::{Daemon, startup};
use crate::config;
use crate::config::model::{ChannelConfig, LogFormat, LogLevel, LogPlace, ProcessConfig};
use crate::logs::{ChildLog, LineFormat, LogSpec, RotationLimits, auto};
use crate::machine::Real;
use crate::rpc::{Channel, Host, Pairs};
use crate::server::Server;
use crate::supervision::{Command, Fault, FaultCode, GroupChanges, Input, ProcId, Supervision, Ticket};
use crate::sys::errno;
use crate::text;
use crate::time::Now;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A call on the server that waits for the present one to return.
pub(super) type ServerCall = Box<dyn FnOnce(&mut Server, &mut Daemon)>;

impl Host for Daemon {
    fn supervision(&self) -> &Supervision {
        &self.supervision
    }

    fn now(&self) -> Now {
        self.now
    }

    fn identifier(&self) -> &str {
        &self.supervision.server().identifier
    }

    fn submit(&mut self, ticket: Ticket, command: Command) {
        self.supervision.handle(Input::Command(ticket, command), self.now);
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.supervision.handle(Input::CancelRequest(ticket), self.now);
    }

    fn log_line(&mut self, level: LogLevel, line: &str) {
        self.log(level, line);
    }

    fn processes(&self, program: &str, group: &str, options: &Pairs) -> Result<Vec<Rc<ProcessConfig>>, String> {
        let environment = &self.supervision.last_read().server.environment;
        config::processes(program, group, options, environment, &self.settings.config_file, &Real)
    }

    fn reread(&mut self) -> Result<GroupChanges, String> {
        let loaded = self.settings.reload(self.supervision.last_read())?;
        // As at the start: a skipped file, for one, removes its programs at the next update.
        for problem in loaded.problems.iter().filter(|problem| problem.severity == config::Severity::Warning) {
            self.log(LogLevel::Warn, &problem.to_string());
        }
        Ok(self.supervision.reread(loaded.config))
    }

    fn restart(&mut self) -> Result<(), String> {
        let loaded = self.settings.reload(self.supervision.last_read())?;
        self.next_config = Some(Box::new(loaded));
        self.supervision.handle(Input::Reload, self.now);
        Ok(())
    }

    fn main_log(&self) -> Option<PathBuf> {
        self.journal.source(&self.sinks)
    }

    fn clear_main_log(&mut self) -> Result<(), Fault> {
        if !self.journal.can_be_cleared(&self.sinks) {
            return Err(Fault::new(FaultCode::NoFile, ""));
        }
        self.log(LogLevel::Info, "reopening log file");
        self.journal
            .clear(&mut self.sinks)
            .map_err(|errno| Fault::new(FaultCode::Failed, format!("clearLog: {}", errno::ErrnoName(errno as i32))))
    }

    fn process_log(&self, id: ProcId, channel: Channel) -> Option<PathBuf> {
        self.log_path(id, channel).map(Path::to_path_buf)
    }

    fn clear_process_logs(&mut self, id: ProcId) -> Result<(), Fault> {
        let failed = |errno| Fault::new(FaultCode::Failed, errno::ErrnoName(errno as i32).to_string());
        let mut open = 0_u32;
        for log in self.children.logs_of(ChildId::program(id)) {
            open = open.saturating_add(1);
            log.clear(&mut self.sinks).map_err(failed)?;
        }
        if open == 0 {
            // Differs from Supervisor: this also clears the logs of a stopped program.
            for channel in [Channel::Stdout, Channel::Stderr] {
                if let Some(path) = self.log_path(id, channel).map(Path::to_path_buf) {
                    let private = self.auto_logs.get(&id).is_some_and(|logs| logs.contains(&Some(path.clone())));
                    self.sinks.clear_path(&path, private).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    fn write_stdin(&mut self, id: ProcId, bytes: &[u8]) -> Result<(), Fault> {
        self.children.write_stdin(ChildId::program(id), bytes, &self.poll, self.now)
    }

    fn send_remote_event(&mut self, kind: &str, data: &str) {
        self.notify_remote(kind, data);
    }
}

impl Daemon {
    /// The configured file for the output of a process.
    fn log_path(&self, id: ProcId, channel: Channel) -> Option<&Path> {
        let process = self.supervision.process(id)?;
        let place = match channel {
            Channel::Stdout => &process.config.stdout.logfile,
            Channel::Stderr if process.config.redirect_stderr => return None,
            Channel::Stderr => &process.config.stderr.logfile,
        };
        match place {
            LogPlace::None => None,
            LogPlace::Auto => self.auto_logs.get(&id)?.get(channel as usize)?.as_deref(),
            LogPlace::File(path) => Some(path),
        }
    }

    /// Takes the server out of the daemon and lets it act on the daemon. A call made meanwhile is carried out afterwards.
    pub(super) fn with_server(&mut self, call: impl FnOnce(&mut Server, &mut Daemon) + 'static) {
        let Some(mut server) = self.server.take() else {
            // Without a server no client waits for this call.
            if self.is_server_busy {
                self.server_calls.push_back(Box::new(call));
            }
            return;
        };
        self.is_server_busy = true;
        call(&mut server, self);
        while let Some(call) = self.server_calls.pop_front() {
            call(&mut server, self);
        }
        self.is_server_busy = false;
        self.server = Some(server);
    }

    /// Handles SIGHUP: restarts if the configuration can be read, and logs an error otherwise.
    pub(super) fn reload_on_signal(&mut self) {
        if !self.is_running() {
            let line = "ignored SIGHUP indicating restart request (shutdown in progress)";
            return self.log(LogLevel::Warn, line);
        }
        self.log(LogLevel::Warn, "received SIGHUP indicating restart request");
        if let Err(why) = self.restart() {
            // Differs from Supervisor, which stops everything and exits with 2.
            self.log(LogLevel::Error, &format!("not restarted, the configuration is bad:\n{why}"));
        }
    }

    /// Reopens the main log and the logs of all programs.
    pub(super) fn reopen_logs(&mut self) {
        self.log(LogLevel::Info, "supervisord logreopen");
        let main = self.journal.reopen(&mut self.sinks).err().map(|errno| ("the main log".to_owned(), errno));
        let mut failed: Vec<_> = main.into_iter().collect();
        for log in self.children.logs_mut() {
            if let Err(errno) = log.reopen(&mut self.sinks) {
                let path = log.path(&self.sinks).unwrap_or(Path::new(""));
                failed.push((format!("the log '{}'", path.display()), errno));
            }
        }
        for (which, errno) in failed {
            self.log(LogLevel::Error, &format!("cannot reopen {which}: {}", errno::ErrnoName(errno as i32)));
        }
    }

    /// Creates the AUTO logs of new processes. A process whose log cannot be created has none; that is logged once.
    pub(super) fn make_auto_logs(&mut self, ids: &[ProcId]) {
        let mut failure = None;
        for &id in ids {
            let Some(process) = self.supervision.process(id) else { continue };
            let config = Rc::clone(&process.config);
            let folder = startup::auto_log_dir(self.supervision.server());
            let identifier = &self.supervision.server().identifier;
            let mut make = |channel: &ChannelConfig, name: &str| {
                if channel.logfile != LogPlace::Auto {
                    return None;
                }
                auto::create(&folder, &config.name, name, identifier).map_err(|errno| failure = Some(errno)).ok()
            };
            let stdout = make(&config.stdout, "stdout");
            let stderr = if config.redirect_stderr { None } else { make(&config.stderr, "stderr") };
            if stdout.is_some() || stderr.is_some() {
                self.auto_logs.insert(id, [stdout, stderr]);
            }
        }
        if let Some(errno) = failure.filter(|_| !std::mem::replace(&mut self.reported_no_auto_logs, true)) {
            let folder = startup::auto_log_dir(self.supervision.server());
            let line = format!(
                "cannot make AUTO logs in {} ({}): output of programs without a logfile of their own is discarded",
                folder.display(),
                errno::ErrnoName(errno as i32)
            );
            self.log(LogLevel::Warn, &line);
        }
    }

    /// Opens the logs of a process before its spawn. The error is Supervisor's message.
    pub(super) fn open_logs(&mut self, id: ProcId) -> Result<[Option<ChildLog>; 2], String> {
        let Some(process) = self.supervision.process(id) else { return Ok([None, None]) };
        let (config, is_listener) = (Rc::clone(&process.config), process.is_listener());
        let strip_ansi = self.supervision.server().strip_ansi;
        let paths = [Channel::Stdout, Channel::Stderr].map(|channel| self.log_path(id, channel).map(Path::to_path_buf));
        let sinks = &mut self.sinks;
        let mut open = |channel: &ChannelConfig, which: Channel, path: &Option<PathBuf>| {
            let label = format!("{} {}", text::shown(&config.name), which.name());
            let limits = RotationLimits {
                maxbytes: channel.maxbytes,
                backups: channel.backups,
                private: channel.logfile == LogPlace::Auto,
            };
            let format = match channel.format {
                LogFormat::Raw => LineFormat::Raw,
                LogFormat::Prefix => LineFormat::Prefix,
            };
            // The protocol of a listener does not go to syslog.
            let has_syslog = channel.syslog && !(is_listener && which == Channel::Stdout);
            let ident = text::shown(&config.name);
            let syslog = has_syslog.then(|| (Path::new(startup::SYSLOG), &*ident));
            let spec = LogSpec { path: path.as_deref(), syslog, limits, strip_ansi, format, label: &label };
            ChildLog::open(&spec, sinks).map_err(|errno| {
                let name = errno::ErrnoName(errno as i32);
                format!("unknown error making dispatchers for '{}': {name}", config.name)
            })
        };
        let [out_path, err_path] = &paths;
        let mut stdout = open(&config.stdout, Channel::Stdout, out_path)?;
        if config.redirect_stderr {
            return Ok([Some(stdout), None]);
        }
        match open(&config.stderr, Channel::Stderr, err_path) {
            Ok(stderr) => Ok([Some(stdout), Some(stderr)]),
            Err(why) => {
                stdout.close(&mut self.sinks, self.now);
                Err(why)
            }
        }
    }
}
