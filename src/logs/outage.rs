//! Writes that fail for a time: what is lost meanwhile is counted, and both ends are reported, but not too often.

use crate::time::Mono;

/// Whether a sink takes no bytes at present, and what that has cost.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Bytes lost and not yet reported.
    lost: u64,
    /// Its beginning has been reported, its end not yet.
    is_reported: bool,
    /// The next one is not reported before this.
    quiet_until: Mono,
}

/// Outages of one sink are reported at most this often, in milliseconds.
const REPORT_MS: u64 = 10_000;

impl Outage {
    /// A write has failed and so many bytes are lost. Returns whether to report that.
    pub(super) fn lose(&mut self, bytes: usize, now: Mono) -> bool {
        self.lost = self.lost.saturating_add(bytes as u64);
        if self.is_reported || now < self.quiet_until {
            return false;
        }
        self.is_reported = true;
        self.quiet_until = now.after_ms(REPORT_MS);
        true
    }

    /// A write has succeeded. Returns how many bytes were lost before, if that is to be reported now.
    pub(super) fn end(&mut self, now: Mono) -> Option<u64> {
        let is_due = std::mem::take(&mut self.is_reported) || now >= self.quiet_until;
        if is_due { self.take_lost() } else { None }
    }

    /// Bytes lost and not yet reported.
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
    fn the_next_one_is_reported_later_and_nothing_is_forgotten() {
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
