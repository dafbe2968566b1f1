//! Time stamps in Supervisor's form, `YYYY-MM-DD HH:MM:SS,mmm` in local time. The date is computed once a second.

use crate::sys::clock;
use crate::time::Wall;

/// The last stamp made.
#[derive(Debug)]
pub(super) struct Stamp {
    secs: Option<i64>,
    text: [u8; LENGTH],
}

pub(super) const LENGTH: usize = 23;

impl Default for Stamp {
    fn default() -> Self {
        Self { secs: None, text: *b"0000-00-00 00:00:00,000" }
    }
}

impl Stamp {
    /// The stamp of `wall`.
    pub(super) fn text(&mut self, wall: Wall) -> &[u8; LENGTH] {
        if self.secs != Some(wall.secs) {
            self.secs = Some(wall.secs);
            let local = clock::local(wall);
            let century = u8::try_from(local.year.div_euclid(100).rem_euclid(100)).unwrap_or(0);
            let year = u8::try_from(local.year.rem_euclid(100)).unwrap_or(0);
            let fields = [century, year, local.month, local.day, local.hour, local.minute, local.second];
            for (at, value) in [0_usize, 2, 5, 8, 11, 14, 17].into_iter().zip(fields) {
                self.digits(at, [value / 10, value % 10]);
            }
        }
        let millis = wall.nanos / 1_000_000;
        self.digits(20, [millis / 100, millis / 10 % 10, millis % 10].map(|digit| u8::try_from(digit).unwrap_or(0)));
        &self.text
    }

    /// The start of a message of syslog(3): priority (LOG_USER, LOG_INFO), month, day, time.
    pub(super) fn syslog(&mut self, wall: Wall) -> String {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let local = clock::local(wall);
        let month = MONTHS.get(usize::from(local.month).saturating_sub(1)).unwrap_or(&"Jan");
        format!("<14>{month} {:2} {:02}:{:02}:{:02} ", local.day, local.hour, local.minute, local.second)
    }

    fn digits<const N: usize>(&mut self, at: usize, values: [u8; N]) {
        for (place, value) in self.text.iter_mut().skip(at).zip(values) {
            *place = b'0'.saturating_add(value % 10);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_supervisors_form_and_follow_the_clock_both_ways() {
        let mut stamp = Stamp::default();
        for (secs, nanos) in
            [(1_795_256_142, 123_999_999), (1_795_256_142, 5_000_000), (1_795_256_100, 0), (0, 999_000_000)]
        {
            let l = clock::local(Wall { secs, nanos });
            let wanted = format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
                l.year,
                l.month,
                l.day,
                l.hour,
                l.minute,
                l.second,
                nanos / 1_000_000
            );
            assert_eq!(stamp.text(Wall { secs, nanos }), wanted.as_bytes());
        }
    }
}
