//! Turns state changes and output into events, and carries out the [`ListenerAction`]s of [`crate::events`].

use super::Daemon;
use super::pipes::{ChildOutput, OutputKind};
use super::token::ChildId;
use crate::config::model::{GroupConfig, GroupKind, LogLevel};
use crate::config::options::STDOUT_HANDLER;
use crate::config::values::repr;
use crate::events::{ListenerAction, ResultHandler, python_bytes, text_of};
use crate::supervision::process::State;
use crate::supervision::{Input, ProcId, StateChange, SupervisorState};
use crate::sys::errno;

impl Daemon {
    /// Reports that a group was added. A group of listeners is a pool.
    pub(super) fn notify_group_added(&mut self, group: &GroupConfig) {
        if let GroupKind::Listeners(pool) = &group.kind {
            let names = group.processes.iter().map(|process| process.name.clone());
            let members = names.filter_map(|name| Some((self.supervision.find(&group.name, &name)?, name))).collect();
            let handler =
                if pool.result_handler == STDOUT_HANDLER { ResultHandler::Stdout } else { ResultHandler::Default };
            self.events.add_pool(&group.name, &pool.events, pool.buffer_size, handler, members);
        }
        self.events.notify("PROCESS_GROUP_ADDED", &|_| group.name.clone(), b"");
    }

    /// Reports that a group was removed.
    pub(super) fn notify_group_removed(&mut self, group: &GroupConfig) {
        self.events.remove_pool(&group.name);
        self.events.notify("PROCESS_GROUP_REMOVED", &|_| group.name.clone(), b"");
    }

    /// Reports the new state of the supervisor.
    pub(super) fn notify_supervisor_state(&mut self, state: SupervisorState) {
        let is_up = state == SupervisorState::Running;
        let name = if is_up { "SUPERVISOR_STATE_CHANGE_RUNNING" } else { "SUPERVISOR_STATE_CHANGE_STOPPING" };
        self.events.notify(name, &|_| String::new(), b"");
    }

    /// Reports the new state of a process.
    pub(super) fn notify_process_state(&mut self, id: ProcId, change: StateChange) {
        if self.events.is_idle() {
            return;
        }
        let Some(process) = self.supervision.process(id) else { return };
        let value = |field: &str| match field {
            "processname" => process.config.name.clone(),
            "groupname" => process.group.name.clone(),
            "from_state" => change.from.name().into(),
            "expected" => u8::from(change.expected).to_string(),
            "tries" => change.tries.to_string(),
            _ => change.pid.to_string(),
        };
        self.events.notify(&format!("PROCESS_STATE_{}", change.to.name()), &value, b"");
        self.events.set_running(id, change.to == State::Running);
    }

    /// Reports an event that a client sent by `sendRemoteCommEvent`.
    pub(super) fn notify_remote(&mut self, kind: &str, data: &str) {
        self.events.notify("REMOTE_COMMUNICATION", &|_| kind.to_owned(), data.as_bytes());
    }

    /// Passes the output of programs to listeners and to the debug log.
    pub(super) fn handle_output(&mut self) {
        let observed = &mut self.children.pipes.observed;
        let (outputs, warnings) = (std::mem::take(&mut observed.outputs), std::mem::take(&mut observed.warnings));
        for output in outputs {
            self.pass_on(&output);
        }
        for line in warnings {
            self.log(LogLevel::Warn, &line);
        }
        for id in std::mem::take(&mut self.children.pipes.observed.ready) {
            self.children.stop_matching(id);
            self.supervision.handle(Input::Ready(id), self.now);
        }
    }

    fn pass_on(&mut self, ChildOutput { id, pid, channel, kind, bytes }: &ChildOutput) {
        let Some(process) = self.supervision.process(*id) else { return };
        let (name, group) = (process.config.name.clone(), process.group.name.clone());
        let channel_name = channel.name();
        if self.children.pipes.observed.copying {
            // supervisor-behaviour.md §6.2: the protocol of a listener is logged as Python prints bytes.
            let line = match kind {
                OutputKind::Output { .. } => format!("{} {channel_name} output:\n{}", repr(&name), text_of(bytes)),
                OutputKind::Protocol => format!("{} {channel_name} output:\n{}", repr(&name), python_bytes(bytes)),
                OutputKind::Communication => format!("{} {channel_name} emitted a comm event", repr(&name)),
            };
            self.log(LogLevel::Debug, &line);
        }
        let value = |field: &str| match field {
            "processname" => name.clone(),
            "groupname" => group.clone(),
            "channel" => channel_name.into(),
            _ => pid.to_string(),
        };
        let event = match kind {
            OutputKind::Protocol => return self.events.receive(*id, bytes),
            OutputKind::Output { has_events: false } => return,
            OutputKind::Output { .. } => "PROCESS_LOG",
            OutputKind::Communication => "PROCESS_COMMUNICATION",
        };
        self.events.notify(&format!("{event}_{}", channel_name.to_uppercase()), &value, bytes);
    }

    /// Carries out the actions of the pools.
    pub(super) fn serve_listeners(&mut self) {
        while let Some(action) = self.events.next_action() {
            match action {
                ListenerAction::Send(id, event) => {
                    if self.children.send(ChildId::program(id), &event, &self.poll, self.now).is_err() {
                        self.events.refused(id);
                    }
                }
                ListenerAction::Print(output) => {
                    let label = format!("{} {}", output.process, output.channel);
                    if let Err(errno) = self.labelled.write(&label, &output.bytes, &mut self.sinks, self.now) {
                        let name = errno::ErrnoName(errno as i32);
                        let line = format!("cannot print output of '{}' on stdout: {name}", output.process);
                        self.log(LogLevel::Warn, &line);
                    }
                }
                ListenerAction::Debug(line) => self.log(LogLevel::Debug, &line),
                ListenerAction::Warn(line) => self.log(LogLevel::Warn, &line),
                ListenerAction::Error(line) => self.log(LogLevel::Error, &line),
            }
        }
    }
}
