//! Automatic restarts and their limits (`restart_limit`): of one program, which is FATAL beyond it, and of all programs
//! together, beyond which rsup stops them and exits. And the random part of the waits before retries (`backoff_jitter`).
#![forbid(unsafe_code)]

use super::{ProcId, Supervision, SupervisorState, report};
use crate::config::model::RestartLimit;
use crate::time::{Mono, Now};
use std::num::NonZeroU64;

/// The times of the last automatic restarts, no more than a limit needs; empty without a limit.
#[derive(Debug, Default)]
pub(super) struct RestartHistory(Vec<Mono>);

impl RestartHistory {
    /// Whether one more restart at `now` is within the limit.
    pub(super) fn has_room(&self, limit: Option<RestartLimit>, now: Mono) -> bool {
        let Some(limit) = limit else { return true };
        let recent = self.0.iter().filter(|at| now.since(**at) < limit.within()).count();
        u32::try_from(recent).is_ok_and(|recent| recent < limit.restarts)
    }

    fn add(&mut self, limit: Option<RestartLimit>, now: Mono) {
        let Some(limit) = limit else { return };
        self.0.retain(|at| now.since(*at) < limit.within());
        self.0.push(now);
    }
}

/// A random deviation of up to `jitter` thousandths in either direction; `state` is that of the random numbers.
pub(super) fn deviation(state: &mut u64, jitter: u32) -> i32 {
    let Some(range) = NonZeroU64::new(u64::from(jitter).saturating_mul(2)) else { return 0 };
    // SplitMix64 (Steele, Lea and Flood, 2014): good enough to spread retries, and repeatable from one seed.
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let drawn = i64::try_from(mixed % range).unwrap_or_default().saturating_sub(i64::from(jitter));
    i32::try_from(drawn).unwrap_or_default()
}

impl Supervision {
    /// Counts an automatic restart of this process. Begins the shutdown if it exceeds the limit of all programs together.
    pub(super) fn restarted(&mut self, id: ProcId, now: Now) {
        let Some(process) = self.process_mut(id) else { return };
        process.restarts.add(process.config.lifecycle.restart_limit, now.mono);
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
