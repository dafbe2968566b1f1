//! Points in time as plain data. Pure code takes them as arguments; only `sys::clock` reads the clocks.
#![forbid(unsafe_code)]

pub mod zone;

use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since boot. Steps of the wall clock do not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The point `wait` later, saturating.
    #[must_use]
    pub fn after(self, wait: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The point `millis` milliseconds later, saturating.
    #[must_use]
    pub fn after_ms(self, millis: u64) -> Mono {
        self.after(Duration::from_millis(millis))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The wall clock: seconds since 1970 (UTC) and nanoseconds below 1,000,000,000. It may step in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Wall {
    /// Seconds since the epoch; negative before 1970.
    pub secs: i64,
    /// The rest, 0..=999,999,999.
    pub nanos: u32,
}

/// Both clocks. The loop reads them once in each turn and passes them on as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The time for deadlines.
    pub mono: Mono,
    /// The time for texts.
    pub wall: Wall,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Mono(5).after_ms(2), Mono(2_000_005));
        assert_eq!(Mono(u64::MAX).after_ms(1), Mono(u64::MAX));
        assert_eq!(Mono(5).after(Duration::MAX), Mono(u64::MAX));
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
    }
}
