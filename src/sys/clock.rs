//! Reads the monotonic clock, for deadlines, and the wall clock and local time, for texts. No other module reads a clock.

use super::fds::read_regular;
use crate::time::zone::Zone;
pub use crate::time::{Mono, Now, Wall};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

/// Bytes of a zone file after this size are not read. It has a few kilobytes.
const ZONE_FILE_MAX_BYTES: u64 = 1 << 20;

/// A wall time as a calendar date and time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Local {
    /// The year, 1970 and so on.
    pub year: i64,
    /// 1..=12.
    pub month: u8,
    /// 1..=31.
    pub day: u8,
    /// 0..=23.
    pub hour: u8,
    /// 0..=59.
    pub minute: u8,
    /// 0..=60 (a leap second).
    pub second: u8,
    /// 0..=6, from Sunday.
    pub weekday: u8,
}

impl Local {
    /// `Jan` to `Dec`.
    pub fn month_name(&self) -> &'static str {
        const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        NAMES.get(usize::from(self.month.saturating_sub(1))).copied().unwrap_or_default()
    }

    /// `Sun` to `Sat`.
    pub fn weekday_name(&self) -> &'static str {
        const NAMES: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        NAMES.get(usize::from(self.weekday)).copied().unwrap_or_default()
    }
}

/// Reads both clocks.
pub fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}

/// Reads CLOCK_MONOTONIC.
pub fn mono() -> Mono {
    let (secs, nanos) = read(libc::CLOCK_MONOTONIC);
    Mono(u64::try_from(secs).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::from(nanos)))
}

/// Reads CLOCK_REALTIME.
pub fn wall() -> Wall {
    let (secs, nanos) = read(libc::CLOCK_REALTIME);
    Wall { secs, nanos }
}

fn read(clock: libc::clockid_t) -> (i64, u32) {
    let mut spec = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the kernel fills the timespec that it is given; zero is a valid one should it fail (it cannot: both
    // clocks exist on every Linux).
    let spec = unsafe {
        libc::clock_gettime(clock, spec.as_mut_ptr());
        spec.assume_init()
    };
    (spec.tv_sec, u32::try_from(spec.tv_nsec).unwrap_or(0))
}

/// Converts `wall` to local time in the time zone of rsup's environment, which is read once.
pub fn local(wall: Wall) -> Local {
    static ZONE: LazyLock<Zone> =
        LazyLock::new(|| zone(std::env::var_os("TZ").as_deref(), std::env::var_os("TZDIR").as_deref()));
    local_in(&ZONE, wall.secs)
}

/// The time zone for these values of TZ and TZDIR. Never blocks, whatever kind of file the zone file is.
pub fn zone(tz: Option<&OsStr>, tzdir: Option<&OsStr>) -> Zone {
    Zone::of(tz, tzdir, |path| read_regular(path, ZONE_FILE_MAX_BYTES).ok())
}

/// Converts `secs`, in seconds since 1970 (UTC), to local time in `zone`.
pub fn local_in(zone: &Zone, secs: i64) -> Local {
    let offset = zone.at(secs, utc(secs).year);
    let mut local = utc(secs.saturating_add(offset.seconds));
    local.second = local.second.saturating_add(offset.leap);
    local
}

/// Converts `secs`, in seconds since 1970, to UTC (gmtime_r(3)).
fn utc(secs: i64) -> Local {
    let mut broken = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values of the right type; gmtime_r writes the second or leaves it zeroed,
    // which is a valid tm.
    let tm = unsafe {
        libc::gmtime_r(&secs, broken.as_mut_ptr());
        broken.assume_init()
    };
    let small = |field: libc::c_int| u8::try_from(field).unwrap_or(0);
    Local {
        year: i64::from(tm.tm_year).saturating_add(1900),
        month: small(tm.tm_mon).saturating_add(1),
        day: small(tm.tm_mday),
        hour: small(tm.tm_hour),
        minute: small(tm.tm_min),
        second: small(tm.tm_sec),
        weekday: small(tm.tm_wday),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut last = mono();
        for _ in 0..10_000 {
            let next = mono();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn the_wall_clock_agrees_with_std() {
        let std = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(wall().secs.abs_diff(std as i64) <= 2);
    }

    #[test]
    fn local_time_is_the_same_as_from_date() {
        for secs in [0_i64, 951_782_400, 1_700_000_000, 1_711_846_800, 1_793_232_000, -1, 4_102_444_800] {
            let asked =
                std::process::Command::new("date").args(["-d", &format!("@{secs}"), "+%Y-%m-%d %H:%M:%S"]).output();
            let asked = String::from_utf8(asked.unwrap().stdout).unwrap();
            let l = local(Wall { secs, nanos: 0 });
            let ours =
                format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", l.year, l.month, l.day, l.hour, l.minute, l.second);
            assert_eq!(ours, asked.trim());
        }
    }
}
