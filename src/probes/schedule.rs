//! When a probe is tried next, and what its results mean for a process that is starting or is checked. Pure.
#![forbid(unsafe_code)]

use crate::config::model::HealthCheck;
use crate::time::Mono;
use std::time::Duration;

/// The pauses between tries while a process starts: the first, and the longest.
const PAUSES_MS: (u64, u64) = (10, 1_000);

/// The time limit of a try while a process starts.
const READY_TRY: Duration = Duration::from_secs(5);

/// What a result means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    Same,
    /// The process is ready; no more tries.
    Ready,
    /// It is not ready yet, for this reason.
    NotReady(String),
    /// It was unhealthy, and is not any more.
    Healthy,
    /// It has become unhealthy, or still is, for this reason.
    Unhealthy(String),
    /// The command has ended; why it failed.
    Done(Result<(), String>),
}

/// The tries of one probe.
#[derive(Debug)]
pub enum Schedule {
    /// One try of a command that is no probe, with this time limit.
    Once(Duration),
    /// `ready`.
    Ready {
        /// The next pause.
        pause_ms: u64,
    },
    /// `healthcheck`.
    Health {
        /// Its options.
        check: HealthCheck,
        /// Failures do not count until then, or until the first success.
        grace_until: Mono,
        /// Failures in a row.
        failures: u32,
    },
}

impl Schedule {
    /// The tries for `ready`.
    #[must_use]
    pub fn ready() -> Self {
        Self::Ready { pause_ms: PAUSES_MS.0 }
    }

    /// The tries of a check of a process that is RUNNING from `now` on.
    #[must_use]
    pub fn health(check: &HealthCheck, now: Mono) -> Self {
        let grace_until = now.after_ms(check.start_period_ms.into());
        Self::Health { check: check.clone(), grace_until, failures: 0 }
    }

    /// When the first try begins.
    #[must_use]
    pub fn first(&self, now: Mono) -> Mono {
        match self {
            Self::Ready { .. } | Self::Once(_) => now,
            Self::Health { check, .. } => now.after_ms(check.interval_ms.into()),
        }
    }

    /// How long a try may take.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        match self {
            Self::Ready { .. } => READY_TRY,
            Self::Once(limit) => *limit,
            Self::Health { check, .. } => Duration::from_millis(check.timeout_ms.into()),
        }
    }

    /// Takes the result of a try that ended `now`. Returns what it means, and when the next try begins.
    pub fn judge(&mut self, result: Result<(), String>, now: Mono) -> (Verdict, Mono) {
        match self {
            Self::Once(_) => (Verdict::Done(result), now),
            Self::Ready { pause_ms } => {
                let next = now.after_ms(*pause_ms);
                *pause_ms = pause_ms.saturating_mul(2).min(PAUSES_MS.1);
                (result.map_or_else(Verdict::NotReady, |()| Verdict::Ready), next)
            }
            Self::Health { check, grace_until, failures } => {
                let was_unhealthy = *failures >= check.retries;
                let verdict = match result {
                    Ok(()) => {
                        (*failures, *grace_until) = (0, Mono(0));
                        if was_unhealthy { Verdict::Healthy } else { Verdict::Same }
                    }
                    Err(_) if now < *grace_until => Verdict::Same,
                    Err(why) => {
                        *failures = failures.saturating_add(1);
                        if *failures >= check.retries { Verdict::Unhealthy(why) } else { Verdict::Same }
                    }
                };
                (verdict, now.after_ms(check.interval_ms.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Probe;

    fn failed() -> Result<(), String> {
        Err("503".into())
    }

    #[test]
    fn tries_for_readiness_have_growing_pauses() {
        let mut schedule = Schedule::ready();
        assert_eq!(schedule.first(Mono(7)), Mono(7));
        let pauses: Vec<u64> = (0..9).map(|_| schedule.judge(failed(), Mono(0)).1.0 / 1_000_000).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(schedule.judge(Ok(()), Mono(0)).0, Verdict::Ready);
    }

    #[test]
    fn only_failures_in_a_row_after_the_grace_period_make_a_process_unhealthy() {
        let mut check = HealthCheck::new(Probe::parse("tcp:80").unwrap());
        (check.retries, check.start_period_ms, check.interval_ms) = (2, 1_000, 100);
        let at = |millis| Mono(0).after_ms(millis);
        let mut schedule = Schedule::health(&check, at(0));
        assert_eq!((schedule.first(at(0)), schedule.time_limit()), (at(100), Duration::from_secs(5)));
        for millis in [100, 200, 900] {
            assert_eq!(schedule.judge(failed(), at(millis)), (Verdict::Same, at(millis + 100)), "grace");
        }
        assert_eq!(schedule.judge(failed(), at(1_000)).0, Verdict::Same);
        assert_eq!(schedule.judge(Ok(()), at(1_100)).0, Verdict::Same);
        assert_eq!(schedule.judge(failed(), at(1_200)).0, Verdict::Same);
        assert_eq!(schedule.judge(failed(), at(1_300)).0, Verdict::Unhealthy("503".into()));
        assert_eq!(schedule.judge(failed(), at(1_400)).0, Verdict::Unhealthy("503".into()));
        assert_eq!(schedule.judge(Ok(()), at(1_500)).0, Verdict::Healthy);
        // The first success ends the grace period.
        let mut schedule = Schedule::health(&check, at(0));
        assert_eq!(schedule.judge(Ok(()), at(100)).0, Verdict::Same);
        assert_eq!(schedule.judge(failed(), at(200)).0, Verdict::Same);
        assert_eq!(schedule.judge(failed(), at(300)).0, Verdict::Unhealthy("503".into()));
    }
}
