//! Time zones: interprets TZ, TZDIR and zone files by tzset(3) and tzfile(5), in the same way as glibc.
//!
//! A static binary would use musl's localtime_r. That interprets TZ as a POSIX string before it tries a zone file, applies summer time
//! without a rule to the whole year, and ignores TZDIR. Here a zone file comes first. As in glibc, the part of a POSIX string before
//! the first mistake counts. Differs from glibc: the file `posixrules`, which newer systems do not have, is not read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;
const MINUTE: i64 = 60;

/// A time zone: how far local time is from UTC at each moment. The default is UTC.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zone {
    /// Seconds east of UTC before the first transition.
    before: i64,
    /// The times at which the offset changes, ascending, each with the new offset.
    transitions: Vec<(i64, i64)>,
    /// The rules after the last transition; `None`: its offset stays.
    rules: Option<Rules>,
    /// The times of leap seconds, ascending, each with the sum so far. Only the zones in `right/` have them.
    leaps: Vec<(i64, i64)>,
}

/// How local time differs from UTC at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offset {
    /// Seconds to add to UTC.
    pub seconds: i64,
    /// 1 while a leap second is inserted: the second to show is one more, usually 60.
    pub leap: u8,
}

/// A POSIX TZ string: the offsets of standard time and daylight saving time, and when daylight saving time starts and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rules {
    standard: i64,
    daylight: i64,
    starts: Change,
    ends: Change,
}

/// A day of each year, and seconds since its midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    day: Day,
    seconds: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// `Jn`, 1 to 365: February 29 is never counted.
    Julian(i64),
    /// `n`, 0 to 365: February 29 is counted.
    Zero(i64),
    /// `Mm.w.d`: weekday `d` (0 is Sunday) of week `w` (5 is the last) of month `m`.
    Weekday { month: usize, week: i64, day: i64 },
}

/// The default start and end of daylight saving time: the rule of the United States.
const DEFAULT_START: Day = Day::Weekday { month: 3, week: 2, day: 0 };
const DEFAULT_END: Day = Day::Weekday { month: 11, week: 1, day: 0 };
/// The default time of day of a change: 2 o'clock.
const DEFAULT_HOUR: i64 = 2;

impl Default for Change {
    fn default() -> Self {
        Self { day: Day::Zero(0), seconds: 0 }
    }
}

impl Zone {
    /// The zone for these values of TZ and TZDIR. `read` returns the bytes of a zone file. A file or string that is not valid
    /// gives UTC.
    pub fn of(tz: Option<&OsStr>, tzdir: Option<&OsStr>, read: impl Fn(&Path) -> Option<Vec<u8>>) -> Self {
        let from_file = |path: &Path| Self::parse(&read(path)?);
        let Some(tz) = tz else { return from_file(Path::new("/etc/localtime")).unwrap_or_default() };
        let tz = if tz.is_empty() { b"Universal" } else { tz.as_bytes() };
        let name = tz.strip_prefix(b":").unwrap_or(tz);
        if name.is_empty() {
            return Self::default();
        }
        let folder = tzdir.filter(|folder| !folder.is_empty()).unwrap_or(OsStr::new("/usr/share/zoneinfo"));
        // `join` ignores the directory if the name is absolute.
        let path = Path::new(folder).join(OsStr::from_bytes(name));
        from_file(&path).unwrap_or_else(|| Self { rules: Some(Rules::parse(name)), ..Self::default() })
    }

    /// Parses a zone file (RFC 9636); `None`: it is not one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let first = Header::take(&mut rest)?;
        if first.version == 0 {
            return first.zone(&mut rest, 4);
        }
        take(&mut rest, first.body_bytes(4))?;
        let mut zone = Header::take(&mut rest)?.zone(&mut rest, 8)?;
        // Like glibc: a file without a footer is refused, and the last byte is taken for the newline.
        let (_, footer) = rest.split_last().filter(|(_, footer)| !footer.is_empty())?;
        zone.rules = footer.strip_prefix(b"\n").filter(|text| !text.is_empty()).map(Rules::parse);
        // Like glibc: if a file has no transitions, its rules are ignored.
        zone.rules = zone.rules.filter(|_| !zone.transitions.is_empty());
        Some(zone)
    }

    /// The difference between local time and UTC at `secs`, in seconds since 1970, which is in `year` (of UTC).
    pub fn at(&self, secs: i64, year: i64) -> Offset {
        let past = self.transitions.partition_point(|&(from, _)| from <= secs);
        let latest = past.checked_sub(1).and_then(|at| self.transitions.get(at));
        let offset = match &self.rules {
            Some(rules) if past == self.transitions.len() => rules.at(secs, year),
            _ => latest.map_or(self.before, |&(_, offset)| offset),
        };
        let leaps = self.leaps.partition_point(|&(from, _)| from <= secs);
        let leap = leaps.checked_sub(1).and_then(|at| self.leaps.get(at)).copied();
        let (from, sum) = leap.unwrap_or((i64::MIN, 0));
        let earlier = leaps.checked_sub(2).and_then(|at| self.leaps.get(at)).map_or(0, |&(_, sum)| sum);
        Offset { seconds: offset.saturating_sub(sum), leap: u8::from(from == secs && sum > earlier) }
    }
}

/// The header of one half of a zone file: its version, and the number of entries in each table.
struct Header {
    version: u8,
    universal: usize,
    standard: usize,
    leaps: usize,
    transitions: usize,
    types: usize,
    letters: usize,
}

impl Header {
    fn take(rest: &mut &[u8]) -> Option<Self> {
        let head = take(rest, 20)?.strip_prefix(b"TZif")?;
        let mut count = || usize::try_from(number(take(rest, 4)?)?).ok();
        let (universal, standard, leaps) = (count()?, count()?, count()?);
        let (transitions, types, letters) = (count()?, count()?, count()?);
        Some(Self { version: *head.first()?, universal, standard, leaps, transitions, types, letters })
    }

    /// The length of the tables after the header; a time has `width` bytes.
    fn body_bytes(&self, width: usize) -> usize {
        let per_transition = self.transitions.saturating_mul(width.saturating_add(1));
        let per_leap = self.leaps.saturating_mul(width.saturating_add(4));
        [self.types.saturating_mul(6), self.letters, per_leap, self.standard, self.universal]
            .into_iter()
            .fold(per_transition, usize::saturating_add)
    }

    fn zone(&self, rest: &mut &[u8], width: usize) -> Option<Zone> {
        let moments = take(rest, self.transitions.saturating_mul(width))?;
        let indices = take(rest, self.transitions)?;
        let types = take(rest, self.types.saturating_mul(6))?;
        take(rest, self.letters)?;
        let leaps = take(rest, self.leaps.saturating_mul(width.saturating_add(4)))?;
        take(rest, self.standard.saturating_add(self.universal))?;
        let types: Vec<(i64, bool)> =
            types.chunks_exact(6).filter_map(|each| Some((number(each.get(..4)?)?, *each.get(4)? != 0))).collect();
        let standard = types.iter().find(|(_, is_daylight)| !is_daylight).or(types.first())?;
        let transition = |(moment, index): (&[u8], &u8)| Some((number(moment)?, types.get(usize::from(*index))?.0));
        let transitions = moments.chunks_exact(width).zip(indices).map(transition).collect::<Option<_>>()?;
        let leap = |each: &[u8]| Some((number(each.get(..width)?)?, number(each.get(width..)?)?));
        let leaps = leaps.chunks_exact(width.saturating_add(4)).map(leap).collect::<Option<_>>()?;
        Some(Zone { before: standard.0, transitions, rules: None, leaps })
    }
}

/// Takes the first `count` bytes from `rest`.
fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

/// A signed big-endian number of 4 or 8 bytes.
fn number(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

impl Rules {
    /// Parses a POSIX TZ string, such as `CET-1CEST,M3.5.0,M10.5.0/3`, up to the first mistake.
    fn parse(text: &[u8]) -> Self {
        let mut rules = Self::default();
        let mut rest = text;
        if name(&mut rest).is_none() || !rest.first().is_some_and(|byte| byte.is_ascii_digit() || b"+-".contains(byte))
        {
            return rules;
        }
        let Some(standard) = offset(&mut rest) else { return rules };
        (rules.standard, rules.daylight) = (standard, standard);
        if rest.is_empty() {
            return rules;
        }
        // Daylight saving time without a name: glibc uses UTC for it.
        rules.daylight = match name(&mut rest) {
            Some(()) => offset(&mut rest).unwrap_or(standard.saturating_add(HOUR)),
            None => 0,
        };
        if change(&mut rest, DEFAULT_START, &mut rules.starts).is_some() {
            change(&mut rest, DEFAULT_END, &mut rules.ends);
        }
        rules
    }

    /// The offset at `secs`, which is in `year` (of UTC).
    fn at(&self, secs: i64, year: i64) -> i64 {
        let starts = self.starts.in_year(year).saturating_sub(self.standard);
        let ends = self.ends.in_year(year).saturating_sub(self.daylight);
        let is_daylight = if starts > ends { secs < ends || secs >= starts } else { secs >= starts && secs < ends };
        if is_daylight { self.daylight } else { self.standard }
    }
}

impl Change {
    /// The time of the change in `year`, in seconds since 1970, as if local time were UTC.
    fn in_year(&self, year: i64) -> i64 {
        let is_leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
        let day = match self.day {
            Day::Zero(day) => day,
            Day::Julian(day) => day.saturating_sub(i64::from(day < 60 || !is_leap)),
            Day::Weekday { month, week, day } => {
                let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let before: i64 = lengths.iter().take(month.saturating_sub(1)).sum();
                let length: i64 = lengths.get(month.saturating_sub(1)).copied().unwrap_or(0);
                // January 1, 1970 was a Thursday.
                let weekday = new_year(year).saturating_add(before).saturating_add(4).rem_euclid(7);
                let first = day.saturating_sub(weekday);
                let first = if first < 0 { first.saturating_add(7) } else { first };
                let weeks = (1..week.min(6)).rev().find(|weeks| first.saturating_add(weeks.saturating_mul(7)) < length);
                before.saturating_add(first).saturating_add(weeks.unwrap_or(0).saturating_mul(7))
            }
        };
        new_year(year).saturating_add(day).saturating_mul(DAY).saturating_add(self.seconds)
    }
}

/// January 1 of `year`, in days since 1970.
fn new_year(year: i64) -> i64 {
    let past = year.saturating_sub(1);
    let leap_days = past.div_euclid(4).saturating_sub(past.div_euclid(100)).saturating_add(past.div_euclid(400));
    past.saturating_mul(365).saturating_add(leap_days).saturating_sub(719_162)
}

/// Parses the name of a time: at least three letters, or letters, digits and signs in angle brackets.
fn name(rest: &mut &[u8]) -> Option<()> {
    let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if letters >= 3 {
        return take(rest, letters).map(drop);
    }
    let quoted = rest.strip_prefix(b"<")?;
    let length = quoted.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(byte)).count();
    *rest = quoted.get(length..).filter(|_| length >= 3)?.strip_prefix(b">")?;
    Some(())
}

/// Parses `[+-]hh[:mm[:ss]]`, which counts west of UTC. Returns seconds east of UTC.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let is_east = eat(rest, b'-');
    if !is_east {
        eat(rest, b'+');
    }
    let [hours, minutes, seconds] = clock_time(rest)?;
    let west = sum_of([hours.min(24), minutes.min(59), seconds.min(59)]);
    Some(if is_east { west } else { west.saturating_neg() })
}

/// Parses `[,]DAY[/TIME]`, with `default` at the end of the string. `None` at a mistake; the part before it is stored in `change`.
fn change(rest: &mut &[u8], default: Day, change: &mut Change) -> Option<()> {
    eat(rest, b',');
    day(rest, default, &mut change.day)?;
    let seconds = match rest.first() {
        None | Some(b',') => DEFAULT_HOUR.saturating_mul(HOUR),
        Some(b'/') => {
            eat(rest, b'/');
            rest.first()?;
            let is_before = eat(rest, b'-');
            let seconds = sum_of(clock_time(rest).unwrap_or([DEFAULT_HOUR, 0, 0]));
            if is_before { seconds.saturating_neg() } else { seconds }
        }
        Some(_) => return None,
    };
    change.seconds = seconds;
    Some(())
}

/// Parses `Jn`, `n` or `Mm.w.d`, with `default` at the end of the string. `None` at a mistake. Like glibc, stores what it has read even
/// so: `M13.1.0` is a day of the next year, and `J366` the day before the year.
fn day(rest: &mut &[u8], default: Day, day: &mut Day) -> Option<()> {
    if rest.is_empty() {
        *day = default;
    } else if eat(rest, b'J') {
        *day = Day::Julian(0);
        *day = Day::Julian(digits(rest).filter(|day| (1..=365).contains(day))?);
    } else if eat(rest, b'M') {
        let mut fields = [0; 3];
        let mut is_whole = true;
        for (nth, field) in fields.iter_mut().enumerate() {
            let number = if is_whole && (nth == 0 || eat(rest, b'.')) { short(rest) } else { None };
            (is_whole, *field) = (number.is_some(), number.unwrap_or(0));
        }
        let [month, week, weekday] = fields;
        *day = Day::Weekday { month: usize::try_from(month).ok()?, week, day: weekday };
        let is_valid = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday <= 6;
        return (is_whole && is_valid).then_some(());
    } else {
        *day = Day::Zero(digits(rest).filter(|day| *day <= 365)?);
    }
    Some(())
}

/// Parses `hh[:mm[:ss]]`.
fn clock_time(rest: &mut &[u8]) -> Option<[i64; 3]> {
    let mut fields = [short(rest)?, 0, 0];
    for field in fields.iter_mut().skip(1) {
        let mut after = *rest;
        if !eat(&mut after, b':') {
            break;
        }
        let Some(value) = short(&mut after) else { break };
        (*field, *rest) = (value, after);
    }
    Some(fields)
}

fn sum_of([hours, minutes, seconds]: [i64; 3]) -> i64 {
    hours.saturating_mul(HOUR).saturating_add(minutes.saturating_mul(MINUTE)).saturating_add(seconds)
}

/// Parses a number like `%hu` of scanf(3): white space and a sign may come first, and the result is modulo 65,536.
fn short(rest: &mut &[u8]) -> Option<i64> {
    let mut after = rest.trim_ascii_start();
    let is_negative = eat(&mut after, b'-');
    let _ = is_negative || eat(&mut after, b'+');
    let number = digits(&mut after)?;
    *rest = after;
    Some(if is_negative { number.saturating_neg() } else { number }.rem_euclid(65_536))
}

fn digits(rest: &mut &[u8]) -> Option<i64> {
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = take(rest, count).filter(|digits| !digits.is_empty())?;
    Some(digits.iter().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit & 0x0f))))
}

fn eat(rest: &mut &[u8], byte: u8) -> bool {
    match rest.split_first() {
        Some((&first, after)) if first == byte => {
            *rest = after;
            true
        }
        _ => false,
    }
}
