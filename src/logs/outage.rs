//! Outages of a sink: counts lost bytes, and decides when to report the start and the end of an outage.

use crate::time::Mono;

/// Whether a sink fails at present, and how many bytes were lost.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Bytes lost and not yet reported.
    lost: u64,
    /// The start is reported, the end is not.
    is_reported: bool,
    /// The next outage is not reported before this time.
    quiet_until: Mono,
}

/// Outages of one sink are reported at most this often, in milliseconds.
const REPORT_MS: u64 = 10_000;

impl Outage {
    /// A write has failed, and `bytes` bytes are lost. Returns whether to report it.
    pub(super) fn lose(&mut self, bytes: usize, now: Mono) -> bool {
        self.lost = self.lost.saturating_add(bytes as u64);
        if self.is_reported || now < self.quiet_until {
            return false;
        }
        self.is_reported = true;
        self.quiet_until = now.after_ms(REPORT_MS);
        true
    }

    /// A write has succeeded. Returns the number of bytes lost before, if it is time to report it.
    pub(super) fn end(&mut self, now: Mono) -> Option<u64> {
        let is_due = std::mem::take(&mut self.is_reported) || now >= self.quiet_until;
        if is_due { self.take_lost() } else { None }
    }

    /// Takes the number of bytes that are lost and not yet reported.
    pub(super) fn take_lost(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.lost)).filter(|&lost| lost > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_reported_when_it_begins_and_when_it_ends() {
        let mut outage = Outage::default();
        assert_eq!(outage.end(Mono(0)), None);
        assert!(outage.lose(3, Mono(0)));
        assert!(!outage.lose(4, Mono(0)));
        assert_eq!(outage.end(Mono(0)), Some(7));
        assert_eq!(outage.end(Mono(0)), None);
    }

    #[test]
    fn the_next_outage_is_reported_later_and_all_bytes_are_counted() {
        let mut outage = Outage::default();
        let at = |ms| Mono(0).after_ms(ms);
        assert!(outage.lose(1, at(0)));
        assert_eq!(outage.end(at(1)), Some(1));
        assert!(!outage.lose(2, at(2)));
        assert_eq!(outage.end(at(3)), None);
        assert_eq!(outage.end(at(REPORT_MS)), Some(2));
        assert!(outage.lose(5, at(REPORT_MS)));
        assert_eq!(outage.take_lost(), Some(5));
        assert_eq!(outage.take_lost(), None);
    }
}
