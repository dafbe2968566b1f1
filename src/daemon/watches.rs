//! Watches starts and health: tries the probes of `ready` and `healthcheck`, reads `fd:N` and NOTIFY_SOCKET, and passes what it
//! finds to the core. Nothing here waits; a command is a child with a role.

use super::Daemon;
use super::token::{ChildId, Role, Token};
use crate::config::model::{LogLevel, Probe, ProcessConfig, Readiness};
use crate::posix::Exit;
use crate::probes::{Attempt, FileWatch, Message, NotifySocket, ProbeFailure, Schedule, Verdict, is_descendant};
use crate::supervision::process::State;
use crate::supervision::{Input, ProcId, StateChange};
use crate::sys::errno::ErrnoName;
use crate::sys::poll::Interest;
use crate::sys::tty;
use crate::time::Mono;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task;
use std::time::Duration;

/// The most messages of one program that are read at once.
const MESSAGES_PER_TURN: usize = 16;

/// Names and values for the environment of a child.
type Variables = Vec<(&'static str, String)>;

/// One probe, or one descriptor that shows readiness.
#[derive(Debug)]
struct Watch {
    config: Rc<ProcessConfig>,
    schedule: Schedule,
    step: Step,
    /// When the next try begins, or when this one has taken too long.
    due: Option<Mono>,
}

#[derive(Debug)]
enum Step {
    /// For the next try.
    Pausing,
    Socket(Attempt),
    /// A child with the role of the watch runs, or waits for its fork.
    Command,
    File(FileWatch),
    /// The reading end of `fd:N`.
    Fd(OwnedFd),
}

/// NOTIFY_SOCKET of a program.
#[derive(Debug)]
struct Notified {
    socket: NotifySocket,
    /// The watchdog: its limit in microseconds, and when it expires.
    limit_usec: u64,
    expires: Option<Mono>,
}

/// All watches.
#[derive(Debug, Default)]
pub struct Watches {
    by_id: BTreeMap<ChildId, Watch>,
    notified: BTreeMap<ProcId, Notified>,
}

impl Watches {
    /// When something is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        let due = self.by_id.values().filter_map(|watch| watch.due);
        due.chain(self.notified.values().filter_map(|notified| notified.expires)).min()
    }
}

impl Watch {
    /// The probe to try; `None`: the watch is no probe.
    fn probe(&self) -> Option<&Probe> {
        match (&self.schedule, &self.config.lifecycle.ready) {
            (Schedule::Health { check, .. }, _) => Some(&check.probe),
            (Schedule::Ready { .. }, Some(Readiness::Probe(probe))) => Some(probe),
            (Schedule::Ready { .. } | Schedule::Once(_), _) => None,
        }
    }
}

impl Daemon {
    /// The variables of a program with `ready=notify`: NOTIFY_SOCKET, for which this opens the socket, and WATCHDOG_USEC.
    pub(super) fn notify_variables(&mut self, id: ProcId, config: &ProcessConfig) -> Result<Variables, String> {
        if config.lifecycle.ready != Some(Readiness::Notify) {
            return Ok(Vec::new());
        }
        let socket =
            NotifySocket::bind().map_err(|errno| format!("cannot make NOTIFY_SOCKET: {}", ErrnoName(errno as i32)))?;
        let added = self.poll.add(&socket.socket, Token::Notify(id).encode(), Interest::Read);
        added.map_err(|error| format!("cannot watch NOTIFY_SOCKET: {error}"))?;
        let mut variables = vec![("NOTIFY_SOCKET", socket.address.clone())];
        let limit_usec = u64::from(config.lifecycle.watchdog_ms.unwrap_or(0)).saturating_mul(1000);
        if limit_usec > 0 {
            variables.push(("WATCHDOG_USEC", limit_usec.to_string()));
        }
        self.watches.notified.insert(id, Notified { socket, limit_usec, expires: None });
        Ok(variables)
    }

    /// A program with `ready` was started; `fd`: the reading end of `fd:N`.
    pub(super) fn watch_start(&mut self, id: ProcId, config: &Rc<ProcessConfig>, fd: Option<OwnedFd>) {
        let is_probe = matches!(config.lifecycle.ready, Some(Readiness::Probe(_)));
        if fd.is_none() && !is_probe {
            return;
        }
        let id = ChildId { process: id, role: Role::Ready };
        let (mut step, mut due) = (Step::Pausing, Some(self.now.mono));
        if let Some(fd) = fd {
            if let Err(why) = self.poll.add(&fd, Token::Watch(id).encode(), Interest::Read) {
                return self.supervision.handle(Input::NotReady(id.process, why.to_string()), self.now);
            }
            (step, due) = (Step::Fd(fd), None);
        }
        let watch = Watch { config: Rc::clone(config), schedule: Schedule::ready(), step, due };
        self.watches.by_id.insert(id, watch);
    }

    /// Runs `reload_command` of a process that lives.
    pub(super) fn reload_process(&mut self, id: ProcId) {
        let Some(process) = self.supervision.process(id) else { return };
        let config = Rc::clone(&process.config);
        let limit = Duration::from_millis(config.lifecycle.hook_timeout_ms.into());
        let id = ChildId { process: id, role: Role::Reload };
        // One at a time: the one that runs has perhaps read the configuration before its last change.
        self.stop_watch(id);
        let due = Some(self.now.mono.after(limit));
        let watch = Watch { config, schedule: Schedule::Once(limit), step: Step::Command, due };
        self.watches.by_id.insert(id, watch);
        self.forks.push(id);
    }

    /// Begins and ends watches as the state of a process says.
    pub(super) fn watch_state(&mut self, id: ProcId, change: StateChange) {
        if change.from == State::Starting {
            self.stop_watch(ChildId { process: id, role: Role::Ready });
        }
        if change.from == State::Running {
            self.stop_watch(ChildId { process: id, role: Role::Health });
        }
        let Some(process) = self.supervision.process(id) else { return };
        let config = Rc::clone(&process.config);
        if process.pid().is_none() {
            self.watches.notified.remove(&id);
            self.stop_watch(ChildId { process: id, role: Role::Reload });
        }
        if change.to != State::Running {
            return;
        }
        if let Some(check) = config.lifecycle.health_check() {
            let schedule = Schedule::health(&check, self.now.mono);
            let due = Some(schedule.first(self.now.mono));
            let watch = Watch { config: Rc::clone(&config), schedule, step: Step::Pausing, due };
            self.watches.by_id.insert(ChildId { process: id, role: Role::Health }, watch);
        }
        self.watches.notified.get_mut(&id).into_iter().for_each(|notified| notified.feed(self.now.mono));
    }

    fn stop_watch(&mut self, id: ChildId) {
        let watch = self.watches.by_id.remove(&id);
        watch.into_iter().for_each(|watch| self.end_try(id, watch.step));
    }

    fn end_try(&mut self, id: ChildId, step: Step) {
        if let Step::Command = step {
            self.forks.remove(id);
            self.children.kill(id, &mut super::io!(self));
        }
    }

    /// Begins the tries that are due, and ends those that take too long.
    pub(super) fn watch_on_time(&mut self) {
        let now = self.now.mono;
        let is_due = |due: Option<Mono>| due.is_some_and(|at| at <= now);
        let due: Vec<ChildId> =
            self.watches.by_id.iter().filter(|(_, watch)| is_due(watch.due)).map(|(id, _)| *id).collect();
        for id in due {
            let Some(watch) = self.watches.by_id.get_mut(&id) else { continue };
            if let Step::Pausing = watch.step {
                self.try_probe(id);
                continue;
            }
            let step = std::mem::replace(&mut watch.step, Step::Pausing);
            self.end_try(id, step);
            self.judge(id, Err("timed out".into()));
        }
        let mut expired = Vec::new();
        for (id, notified) in &mut self.watches.notified {
            if notified.expires.take_if(|at| *at <= now).is_some() {
                let limit = Duration::from_micros(notified.limit_usec).as_secs_f64();
                expired.push(Input::WatchdogExpired(*id, format!("has not reported within {limit} s")));
            }
        }
        expired.into_iter().for_each(|input| self.supervision.handle(input, self.now));
    }

    /// Begins one try.
    fn try_probe(&mut self, id: ChildId) {
        let Some(watch) = self.watches.by_id.get_mut(&id) else { return };
        watch.due = Some(self.now.mono.after(watch.schedule.time_limit()));
        let Some(probe) = watch.probe() else { return };
        if let Probe::Exec(_) = probe {
            watch.step = Step::Command;
            return self.forks.push(id);
        }
        // Without inotify only trying again is left.
        if let (Probe::File(path), Role::Ready) = (probe, id.role)
            && let Ok(file) = FileWatch::begin(path)
            && self.poll.add(&file.inotify, Token::Watch(id).encode(), Interest::Read).is_ok()
        {
            (watch.step, watch.due) = (Step::File(file), None);
            return self.serve_watch(id);
        }
        let outcome = match Attempt::begin(probe) {
            Ok(Some(attempt)) => self.wait_for_socket(id, attempt),
            Ok(None) => Some(Ok(())),
            Err(why) => Some(Err(why)),
        };
        if let Some(outcome) = outcome {
            self.judge(id, outcome);
        }
    }

    /// Watches the socket of a try; `Some`: the try has failed.
    fn wait_for_socket(&mut self, id: ChildId, attempt: Attempt) -> Option<Result<(), ProbeFailure>> {
        let added = self.poll.add(&attempt.socket, Token::Watch(id).encode(), attempt.interest);
        self.watches.by_id.get_mut(&id)?.step = Step::Socket(attempt);
        added
            .err()
            .map(|error| Err(ProbeFailure { why: format!("its socket cannot be watched: {error}"), is_own: true }))
    }

    /// The descriptor of a watch is ready.
    pub(super) fn serve_watch(&mut self, id: ChildId) {
        let Some(watch) = self.watches.by_id.get_mut(&id) else { return };
        let result = match &mut watch.step {
            Step::Socket(_) => {
                let Step::Socket(mut attempt) = std::mem::replace(&mut watch.step, Step::Pausing) else { return };
                // The next address of a host gets another socket.
                let _ = self.poll.remove(&attempt.socket);
                match attempt.advance() {
                    task::Poll::Ready(result) => result,
                    task::Poll::Pending => match self.wait_for_socket(id, attempt) {
                        Some(failed) => failed,
                        None => return,
                    },
                }
            }
            Step::File(file) => match file.exists() {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let why = "it does not exist".to_owned();
                    return self.supervision.handle(Input::NotReadyYet(id.process, why), self.now);
                }
                Err(Errno::ENOENT) => Err("a symbolic link to it has no target".into()),
                Err(errno) => Err(format!("cannot be watched ({})", ErrnoName(errno as i32)).into()),
            },
            Step::Fd(fd) => match reads_newline(fd) {
                None => return,
                Some(true) => Ok(()),
                Some(false) => {
                    self.watches.by_id.remove(&id);
                    let why = "not ready: its descriptor was closed without a newline".to_owned();
                    return self.supervision.handle(Input::NotReady(id.process, why), self.now);
                }
            },
            Step::Pausing | Step::Command => return,
        };
        self.judge(id, result);
    }

    /// A try has ended.
    fn judge(&mut self, id: ChildId, result: Result<(), ProbeFailure>) {
        let Some(watch) = self.watches.by_id.get_mut(&id) else { return };
        if let (Role::Health, Err(ProbeFailure { why, is_own: true })) = (id.role, &result) {
            // A healthy program is not restarted because rsup lacks something.
            (watch.step, watch.due) = (Step::Pausing, Some(watch.schedule.first(self.now.mono)));
            let line = format!("{}: cannot check its health: {why}", watch.config.name);
            return self.log(LogLevel::Warn, &line);
        }
        let (verdict, next) = watch.schedule.judge(result.map_err(|failure| failure.why), self.now.mono);
        (watch.step, watch.due) = (Step::Pausing, Some(next));
        let name = watch.probe().map_or_else(String::new, ToString::to_string);
        let input = match verdict {
            Verdict::Same => return,
            Verdict::Ready => {
                self.watches.by_id.remove(&id);
                Input::Ready(id.process)
            }
            Verdict::NotReady(why) => Input::NotReadyYet(id.process, why),
            Verdict::Healthy => Input::Healthy(id.process),
            Verdict::Done(result) => {
                self.watches.by_id.remove(&id);
                Input::Reloaded(id.process, result.map_err(|why| format!("reload_command failed ({why})")))
            }
            Verdict::Unhealthy(why) => Input::Unhealthy(id.process, format!("{name}: {why}")),
        };
        self.supervision.handle(input, self.now);
    }

    /// Starts the command of a probe, or of a reload.
    pub(super) fn run_probe(&mut self, id: ChildId) {
        let Some(watch) = self.watches.by_id.get(&id) else { return };
        let command = match (watch.probe(), &watch.config.lifecycle.reload_command) {
            (Some(Probe::Exec(command)), _) => command.to_string(),
            (None, Some(command)) => command.clone(),
            _ => return,
        };
        let pid = self.supervision.process(id.process).and_then(|process| process.pid());
        let more: Vec<_> = pid.map(|pid| ("SUPERVISOR_PROCESS_PID", pid.to_string())).into_iter().collect();
        if let Err(why) = self.start_beside(id, &command, &more) {
            self.judge(id, Err(why));
        }
    }

    /// The command of a probe has ended.
    pub(super) fn probe_ended(&mut self, id: ChildId, exit: Exit) {
        self.judge(id, if exit == Exit::Code(0) { Ok(()) } else { Err(exit.to_string().into()) });
        self.settle();
    }

    /// The program has ended: takes the signs of readiness that it gave before.
    pub(super) fn take_last_signs(&mut self, id: ProcId) {
        self.serve_notified(id);
        let id = ChildId { process: id, role: Role::Ready };
        let Some(Watch { step: Step::Fd(fd), .. }) = self.watches.by_id.get(&id) else { return };
        if reads_newline(fd) == Some(true) {
            self.judge(id, Ok(()));
        }
    }

    /// Reads the messages of a program.
    pub(super) fn serve_notified(&mut self, id: ProcId) {
        let Some(pid) = self.supervision.process(id).and_then(|process| process.pid()) else {
            // What it left may still send: nothing reads that.
            self.watches.notified.remove(&id);
            return;
        };
        for _ in 0..MESSAGES_PER_TURN {
            let Some(notified) = self.watches.notified.get_mut(&id) else { return };
            let Ok((sender, messages)) = notified.socket.receive() else { return };
            if !is_descendant(sender, pid, tty::parent_of) {
                continue;
            }
            for message in messages {
                self.take_message(id, message);
            }
        }
    }

    fn take_message(&mut self, id: ProcId, message: Message) {
        let now = self.now.mono;
        let Some(notified) = self.watches.notified.get_mut(&id) else { return };
        let input = match message {
            Message::Ready => Input::Ready(id),
            Message::Status(text) => Input::Status(id, text),
            Message::ExtendTimeoutUsec(usec) => Input::ExtendReady(id, now.after_ms(usec.div_ceil(1000))),
            Message::MainPid(pid) => Input::MainPid(id, pid),
            Message::WatchdogTrigger => Input::WatchdogExpired(id, "has reported that it does not work".into()),
            Message::Watchdog => return notified.feed(now),
            Message::WatchdogUsec(usec) => {
                notified.limit_usec = usec;
                return notified.feed(now);
            }
            Message::Stopping | Message::Reloading | Message::Barrier => return,
        };
        self.supervision.handle(input, self.now);
    }
}

/// Whether a process has written a newline to its `fd:N`; `Some(false)`: it has closed it without one.
fn reads_newline(fd: &OwnedFd) -> Option<bool> {
    let mut bytes = [0; 4096];
    match nix::unistd::read(fd, &mut bytes) {
        Ok(0) => Some(false),
        Ok(count) => bytes.iter().take(count).any(|byte| *byte == b'\n').then_some(true),
        Err(_) => None,
    }
}

impl Notified {
    /// The program has reported that it is alive.
    fn feed(&mut self, now: Mono) {
        self.expires = Some(self.limit_usec).filter(|&limit| limit > 0).map(|limit| now.after_ms(limit.div_ceil(1000)));
    }
}
