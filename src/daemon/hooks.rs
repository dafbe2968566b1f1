//! Hooks: starts the commands that run beside a process (`pre_start`, `pre_stop`, `stop_command`, `post_stop`), and passes their
//! ends to the core.

use super::token::ChildId;
use super::{Daemon, children};
use crate::posix::{Exit, SignalName};
use crate::probes::ProbeFailure;
use crate::supervision::{Hook, Input, Process};

impl Daemon {
    /// Starts a hook. Returns the inputs for the core if it cannot be started.
    pub(super) fn run_hook(&mut self, id: ChildId, hook: Hook) -> Vec<Input> {
        let failed = |why| Input::HookEnded(id.process, hook, Err(format!("{} failed: {why}", hook.option())));
        self.start_hook(id, hook).err().map(failed).into_iter().collect()
    }

    fn start_hook(&mut self, id: ChildId, hook: Hook) -> Result<(), String> {
        let process = self.supervision.process(id.process).ok_or("no such process")?;
        let command = hook.command(&process.config.lifecycle).unwrap_or_default().to_owned();
        let exit = process.last_exit.filter(|_| hook == Hook::PostStop).map(|exit| match exit {
            Exit::Code(code) => ("EXIT_CODE", code.to_string()),
            Exit::Signal { number, .. } => {
                ("EXIT_SIGNAL", SignalName(number).to_string().trim_start_matches("SIG").into())
            }
        });
        let pid = process.pid().map(|pid| ("SUPERVISOR_PROCESS_PID", pid.to_string()));
        let more: Vec<_> = exit.into_iter().chain(pid).collect();
        self.start_beside(id, &command, &more).map_err(|failure| failure.why)
    }

    /// Starts a command beside a process.
    pub(super) fn start_beside(
        &mut self,
        id: ChildId,
        command: &str,
        more: &[(&str, String)],
    ) -> Result<(), ProbeFailure> {
        let find = |process: &Process| children::find_command(&process.config, command, &self.defaults).is_ok();
        let is_own = self.supervision.process(id.process).is_some_and(find);
        let started = self.start_command(id, command, more).map_err(|why| ProbeFailure { why, is_own })?;
        if let Some(why) = started.failure {
            self.children.kill(id, &mut super::io!(self));
            return Err(why.into());
        }
        Ok(())
    }

    /// A hook has ended by itself.
    pub(super) fn hook_ended(&mut self, id: ChildId, exit: Exit) {
        let Some(hook) = id.role.hook() else { return };
        let result = match exit {
            Exit::Code(0) => Ok(()),
            exit => Err(format!("{} failed ({exit})", hook.option())),
        };
        self.supervision.handle(Input::HookEnded(id.process, hook, result), self.now);
        self.settle();
    }
}
