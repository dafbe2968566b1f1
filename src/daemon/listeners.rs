//! Event listeners: turns state changes and output into events, and carries out what [`crate::events`] decides.

use super::Daemon;
use super::pipes::{ChildOutput, OutputKind};
use super::token::ChildId;
use crate::config::model::{GroupConfig, GroupKind, LogLevel};
use crate::config::options::STDOUT_HANDLER;
use crate::config::values::repr;
use crate::events::{ListenerAction, ResultHandler, python_bytes, text_of};
use crate::rpc::Channel;
use crate::supervision::process::State;
use crate::supervision::{ProcId, StateChange, SupervisorState};
use crate::sys::errno;

impl Daemon {
    /// Reports that a group was added or removed; a group of listeners is a pool.
    pub(super) fn notify_group(&mut self, group: &GroupConfig, is_added: bool) {
        if let (GroupKind::Listeners(pool), true) = (&group.kind, is_added) {
            let names = group.processes.iter().map(|process| process.name.clone());
            let members = names.filter_map(|name| Some((self.supervision.find(&group.name, &name)?, name))).collect();
            let handler = result_handler(&pool.result_handler);
            self.events.add_pool(&group.name, &pool.events, pool.buffer_size, handler, members);
        } else if !is_added {
            self.events.remove_pool(&group.name);
        }
        let name = if is_added { "PROCESS_GROUP_ADDED" } else { "PROCESS_GROUP_REMOVED" };
        self.events.notify(name, &|_| group.name.clone(), b"");
    }

    /// Reports the supervisor's new state.
    pub(super) fn notify_supervisor_state(&mut self, state: SupervisorState) {
        let is_up = state == SupervisorState::Running;
        let name = if is_up { "SUPERVISOR_STATE_CHANGE_RUNNING" } else { "SUPERVISOR_STATE_CHANGE_STOPPING" };
        self.events.notify(name, &|_| String::new(), b"");
    }

    /// Reports a process's new state.
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

    /// Reports a `sendRemoteCommEvent` of a client.
    pub(super) fn notify_remote(&mut self, kind: &str, data: &str) {
        self.events.notify("REMOTE_COMMUNICATION", &|_| kind.to_owned(), data.as_bytes());
    }

    /// Hands what programs have written to listeners and to the debug log.
    pub(super) fn handle_output(&mut self) {
        let observed = &mut self.children.pipes.observed;
        let (all, warnings) = (std::mem::take(&mut observed.outputs), std::mem::take(&mut observed.warnings));
        for output in all {
            self.handle_one(&output);
        }
        for line in warnings {
            self.log(LogLevel::Warn, &line);
        }
    }

    fn handle_one(&mut self, ChildOutput { id, pid, channel, kind, bytes }: &ChildOutput) {
        let Some(process) = self.supervision.process(*id) else { return };
        let (name, group) = (process.config.name.clone(), process.group.name.clone());
        let channel_name = channel.name();
        if self.children.pipes.observed.copying {
            // Census §6.2; a listener's words are shown as Python shows bytes.
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
        let event = match (kind, channel) {
            (OutputKind::Protocol, _) => return self.events.receive(*id, bytes),
            (OutputKind::Output { has_events: false }, _) => return,
            (OutputKind::Output { .. }, Channel::Stdout) => "PROCESS_LOG_STDOUT",
            (OutputKind::Output { .. }, Channel::Stderr) => "PROCESS_LOG_STDERR",
            (OutputKind::Communication, Channel::Stdout) => "PROCESS_COMMUNICATION_STDOUT",
            (OutputKind::Communication, Channel::Stderr) => "PROCESS_COMMUNICATION_STDERR",
        };
        self.events.notify(event, &value, bytes);
    }

    /// Carries out what the pools have decided.
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
                    let printed = self.labelled.write(&label, &output.bytes, &mut self.sinks, self.now);
                    if let Err(errno) = printed {
                        let name = errno::ErrnoName(errno as i32);
                        self.log(
                            LogLevel::Warn,
                            &format!("cannot print output of '{}' on stdout: {name}", output.process),
                        );
                    }
                }
                ListenerAction::Debug(line) => self.log(LogLevel::Debug, &line),
                ListenerAction::Warn(line) => self.log(LogLevel::Warn, &line),
                ListenerAction::Error(line) => self.log(LogLevel::Error, &line),
            }
        }
    }
}

fn result_handler(name: &str) -> ResultHandler {
    if name == STDOUT_HANDLER { ResultHandler::Stdout } else { ResultHandler::Default }
}
