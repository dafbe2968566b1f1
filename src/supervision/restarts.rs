//! Automatic restarts and their limits (`restart_limit`): of one program, which is FATAL beyond it, and of all programs
//! together, beyond which rsup stops them and exits.
#![forbid(unsafe_code)]

use super::{ProcId, Supervision, SupervisorState, report};
use crate::config::model::RestartLimit;
use crate::time::{Mono, Now};
use std::time::Duration;

/// The times of the last automatic restarts, no more than a limit needs; empty without a limit.
#[derive(Debug, Default)]
pub(super) struct RestartHistory(Vec<Mono>);

impl RestartHistory {
    /// Whether one more restart at `now` is within the limit.
    pub(super) fn has_room(&self, limit: Option<RestartLimit>, now: Mono) -> bool {
        let Some(limit) = limit else { return true };
        let within = Duration::from_millis(limit.within_ms.into());
        let recent = self.0.iter().filter(|at| now.since(**at) < within).count();
        u32::try_from(recent).is_ok_and(|recent| recent < limit.restarts)
    }

    fn add(&mut self, limit: Option<RestartLimit>, now: Mono) {
        let Some(limit) = limit else { return };
        let within = Duration::from_millis(limit.within_ms.into());
        self.0.retain(|at| now.since(*at) < within);
        self.0.push(now);
    }
}

impl Supervision {
    /// Counts an automatic restart of this process. Begins the shutdown if it exceeds the limit of all programs together.
    pub(super) fn restarted(&mut self, id: ProcId, now: Now) {
        let Some(process) = self.process_mut(id) else { return };
        process.restarts.add(process.config.restart_limit, now.mono);
        let name = process.namespec();
        let limit = self.server.restart_limit;
        let has_room = self.restarts.has_room(limit, now.mono);
        self.restarts.add(limit, now.mono);
        if let (false, Some(limit)) = (has_room, limit) {
            self.contract.is_over_limit = true;
            let reason = format!("{}: the last of {name}", report::limit(limit));
            self.begin_shutdown(SupervisorState::ShuttingDown, reason, now);
        }
    }
}
