//! Compares logs with Supervisor's own functions, called in its Python: rotation byte for byte and name by name, the arithmetic
//! of reads, terminal escapes, which files are removed as AUTO logs of an earlier run, and time zones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

mod harness;

use rsup::logs::{ChildLog, LineFormat, LogSpec, RotationLimits, Sinks, auto, tail};
use rsup::sys::clock;
use rsup::time::Now;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One step of a case.
#[derive(Debug)]
enum Step {
    Write(usize),
    Reopen,
    Clear,
    /// Another process renames the file.
    Move,
    /// Another process removes the file.
    Remove,
}

#[derive(Debug)]
struct Case {
    maxbytes: i64,
    backups: i64,
    /// The files that exist before, by suffix, with their lengths.
    before: Vec<(String, usize)>,
    steps: Vec<Step>,
}

/// A small generator of random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn case(dice: &mut Dice) -> Case {
    let maxbytes = [0, -1, 1, 10, 100, 100, 100, 1_000, 5_000][dice.below(9) as usize];
    let backups = [0, -1, 1, 2, 3, 3, 10, 20][dice.below(8) as usize];
    let names = ["", ".1", ".2", ".3", ".4", ".10", ".11", ".x"];
    let before = names.iter().filter(|_| dice.below(3) == 0).map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let before = before.into_iter().map(|name| (name, dice.below(150) as usize)).collect();
    let step = |dice: &mut Dice| match dice.below(16) {
        0 => Step::Reopen,
        1 => Step::Clear,
        // Supervisor removes the only backup before it notices that there is no file to replace it; rsup keeps the backup.
        2 if backups != 1 => Step::Move,
        3 if backups != 1 => Step::Remove,
        _ => Step::Write([1, 7, 50, 99, 100, 101, 2_500][dice.below(7) as usize]),
    };
    let count = dice.below(30);
    Case { maxbytes, backups, before, steps: (0..count).map(|_| step(dice)).collect() }
}

/// The n-th chunk of a case: every byte depends on both its chunk and its place.
fn chunk(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| b'!' + ((number * 31 + at * 7) % 90) as u8).collect()
}

fn prepare(folder: &Path, case: &Case) {
    fs::create_dir_all(folder).unwrap();
    for (suffix, length) in &case.before {
        fs::write(folder.join(format!("log{suffix}")), vec![b'='; *length]).unwrap();
    }
}

fn ours(folder: &Path, case: &Case) {
    prepare(folder, case);
    let path = folder.join("log");
    let mut sinks = Sinks::new();
    let limits = RotationLimits { maxbytes: case.maxbytes, backups: case.backups, private: false };
    let spec =
        LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: LineFormat::Raw, label: "" };
    let mut log = ChildLog::open(&spec, &mut sinks).unwrap();
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Write(length) => {
                log.write(&chunk(number, *length), &mut sinks, Now::default());
            }
            Step::Reopen => log.reopen(&mut sinks).unwrap(),
            Step::Clear => log.clear(&mut sinks).unwrap(),
            Step::Move => drop(fs::rename(&path, folder.join("moved"))),
            Step::Remove => drop(fs::remove_file(&path)),
        }
    }
    log.close(&mut sinks, Now::default());
    assert_eq!(sinks.take_errors(), []);
}

/// Reads cases from its input: `case FOLDER MAXBYTES BACKUPS`, then a line a step.
const ROTATION: &str = r#"
import os, sys
from supervisor.loggers import RotatingFileHandler, LogRecord, LevelsByName
handler = None
for line in sys.stdin:
    word, *rest = line.split()
    if word == "case":
        if handler: handler.close()
        path = os.path.join(rest[0], "log")
        handler = RotatingFileHandler(path, "ab", int(rest[1]), int(rest[2]))
        handler.setFormat("%(message)s")
    elif word == "write":
        handler.emit(LogRecord(LevelsByName.INFO, bytes.fromhex(rest[0])))
    elif word == "reopen":
        handler.reopen()
    elif word == "clear":
        handler.remove()
        handler.reopen()
    elif word == "move":
        if os.path.exists(path): os.rename(path, os.path.join(os.path.dirname(path), "moved"))
    elif word == "remove":
        if os.path.exists(path): os.remove(path)
if handler: handler.close()
"#;

fn theirs(venv: &Path, cases: &[(PathBuf, &Case)]) {
    let mut script = String::new();
    for (folder, case) in cases {
        prepare(folder, case);
        writeln!(script, "case {} {} {}", folder.display(), case.maxbytes, case.backups).unwrap();
        for (number, step) in case.steps.iter().enumerate() {
            match step {
                Step::Write(length) => writeln!(script, "write {}", hex(&chunk(number, *length))).unwrap(),
                Step::Reopen => script.push_str("reopen\n"),
                Step::Clear => script.push_str("clear\n"),
                Step::Move => script.push_str("move\n"),
                Step::Remove => script.push_str("remove\n"),
            }
        }
    }
    assert_eq!(ask(venv, ROTATION, &script), "");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a Python program with Supervisor's modules. Returns its answer to `input`.
fn ask(venv: &Path, program: &str, input: &str) -> String {
    let mut command = Command::new(venv.join("bin/python"));
    command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn picture(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn lengths(picture: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, usize)> {
    picture.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect()
}

#[test]
fn rotated_files_are_supervisors_byte_for_byte() {
    let Some(venv) = harness::oracle() else { return harness::skip("no Supervisor to compare with") };
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(4_711);
    let cases: Vec<Case> = (0..400).map(|_| case(&mut dice)).collect();
    let at = |who: &str, number: usize| folder.path().join(who).join(number.to_string());
    let numbered: Vec<_> = cases.iter().enumerate().map(|(number, case)| (at("theirs", number), case)).collect();
    theirs(&venv, &numbered);
    for (number, case) in cases.iter().enumerate() {
        ours(&at("ours", number), case);
        let (ours, theirs) = (picture(&at("ours", number)), picture(&at("theirs", number)));
        assert!(ours == theirs, "{case:?}\nours {:?}\ntheirs {:?}", lengths(&ours), lengths(&theirs));
    }
    harness::compared(cases.len());
    assert!(cases.iter().any(|case| case.steps.len() > 20 && case.maxbytes == 100), "the dice are good enough");
}

/// Reads lines `PATH OFFSET LENGTH`; prints the results of readLog and tailLog.
const READING: &str = r#"
import os, sys
from supervisor.options import readFile, tailFile
from supervisor.compat import as_string
for line in sys.stdin:
    path, offset, length = line.split()
    offset, length = int(offset), int(length)
    if not os.path.exists(path):
        print("NO_FILE", ["", 0, False])
        continue
    try:
        text = repr(as_string(readFile(path, offset, length)))
    except ValueError as why:
        text = why.args[0]
    print(text, tailFile(path, offset, length))
"#;

#[test]
fn reads_use_supervisors_arithmetic() {
    let Some(venv) = harness::oracle() else { return harness::skip("no Supervisor to compare with") };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ten"), "0123456789").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::create_dir(path("folder")).unwrap();
    let far = i64::from(i32::MAX);
    let numbers: Vec<i64> = (-12..=12).chain([-far, far]).collect();
    let mut questions = Vec::new();
    for name in ["ten", "empty", "folder", "missing"] {
        numbers.iter().for_each(|offset| questions.extend(numbers.iter().map(|length| (path(name), *offset, *length))));
    }
    let asked: String =
        questions.iter().map(|(path, offset, length)| format!("{} {offset} {length}\n", path.display())).collect();
    let theirs = ask(&venv, READING, &asked);
    for ((path, offset, length), theirs) in questions.iter().zip(theirs.lines()) {
        let read = match read(path, *offset, *length) {
            Ok(text) => format!("'{text}'"),
            Err(tail::ReadError::BadArguments) => "BAD_ARGUMENTS".to_owned(),
            Err(tail::ReadError::NoFile) => "NO_FILE".to_owned(),
            Err(tail::ReadError::Failed) => "FAILED".to_owned(),
        };
        let got = tail::tail(path, *offset, *length);
        let text = got.part.map(whole).unwrap_or_default();
        let overflow = if got.overflow { "True" } else { "False" };
        let ours = format!("{read} ['{}', {}, {overflow}]", text, got.offset);
        assert_eq!(ours, theirs, "{} {offset} {length}", path.display());
    }
    harness::compared(questions.len());
}

/// Reads a part of a log in the smallest pieces.
fn read(path: &Path, offset: i64, length: i64) -> Result<String, tail::ReadError> {
    tail::read(path, offset, length).map(whole)
}

fn whole(mut part: tail::LogPart) -> String {
    let mut text = String::new();
    while part.next(8, &mut |piece| text.push_str(piece)).unwrap() {}
    text
}

/// Reads hexadecimal texts, one in each line; prints each without escapes.
const STRIPPING: &str = r#"
import sys
from supervisor.dispatchers import stripEscapes
for line in sys.stdin:
    print(stripEscapes(bytes.fromhex(line)).hex())
"#;

#[test]
fn escapes_that_supervisor_knows_are_stripped_as_it_does() {
    let Some(venv) = harness::oracle() else { return harness::skip("no Supervisor to compare with") };
    let mut dice = Dice(42);
    let piece = |dice: &mut Dice| -> Vec<u8> {
        let finals = b"HfABCDRsuJKhlpm";
        match dice.below(5) {
            0 => b"text H m \n".to_vec(),
            1 => b"\x1b]0;title\x07\x1b(B\x1b".to_vec(),
            2 => vec![0xc3, 0xa4, 0x9b, 0, 0xff],
            _ => {
                let params = ["", "0", "1;31", "?25", "38;5;200"][dice.below(5) as usize];
                format!("\x1b[{params}{}", char::from(finals[dice.below(finals.len() as u64) as usize])).into_bytes()
            }
        }
    };
    let texts: Vec<Vec<u8>> = (0..500).map(|_| (0..dice.below(12)).flat_map(|_| piece(&mut dice)).collect()).collect();
    let theirs = ask(&venv, STRIPPING, &texts.iter().map(|text| hex(text) + "\n").collect::<String>());
    let folder = tempfile::tempdir().unwrap();
    for (nth, (text, theirs)) in texts.iter().zip(theirs.lines()).enumerate() {
        let path = folder.path().join(nth.to_string());
        let mut sinks = Sinks::new();
        let limits = RotationLimits::default();
        let spec =
            LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: true, format: LineFormat::Raw, label: "" };
        let mut log = ChildLog::open(&spec, &mut sinks).unwrap();
        log.write(text, &mut sinks, Now::default());
        log.close(&mut sinks, Now::default());
        assert_eq!(hex(&fs::read(&path).unwrap()), theirs, "{:?}", String::from_utf8_lossy(text));
    }
    harness::compared(texts.len());
}

/// Reads an identifier, then names, one in each line; prints those that are AUTO logs.
const CLEANING: &str = r#"
import re, sys
identifier, *names = sys.stdin.read().splitlines()
fnre = re.compile(r'.+?---%s-\S+\.log\.{0,1}\d{0,4}' % identifier)
for name in names:
    if fnre.match(name): print(name)
"#;

#[test]
fn auto_logs_of_an_earlier_run_are_removed_and_nothing_else() {
    let Some(venv) = harness::oracle() else { return harness::skip("no Supervisor to compare with") };
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(7);
    let parts: [&[&str]; 5] = [
        &["", "web-stdout", "-", "a b", "---super-", ".log"],
        &["---super-", "---super-", "---super-", "---", "super", "---super-x---super-"],
        &["", "abc_9xyz", "x", "a b", "\u{a0}", ".log"],
        &[".log", ".log", ".log", "log", ".LOG", " .log"],
        &["", ".1", ".10", ".12345", ".gz", "x", " "],
    ];
    let mut names: Vec<String> =
        (0..1_000).map(|_| parts.iter().map(|part| part[dice.below(part.len() as u64) as usize]).collect()).collect();
    names.push("web-stdout---super-abc_9xyz.log.10".to_owned());
    for name in &names {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let theirs = ask(&venv, CLEANING, &format!("super\n{}\n", names.join("\n")));
    assert!((100..900).contains(&theirs.lines().count()));
    assert_eq!(auto::clean(folder.path(), "super"), Ok(vec![]));
    for name in &names {
        let kept = folder.path().join(name).exists();
        assert_eq!(kept, !theirs.lines().any(|line| line == name), "{name:?}");
    }
}

#[test]
fn auto_logs_have_supervisors_names_and_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> =
        (0..50).map(|_| auto::create(folder.path(), "web", "stderr", "supervisor").unwrap()).collect();
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let random = name.strip_prefix("web-stderr---supervisor-").unwrap().strip_suffix(".log").unwrap();
        assert_eq!(random.len(), 8, "{name}");
        assert!(random.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 50);
    assert_eq!(auto::clean(folder.path(), "supervisor"), Ok(vec![]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(auto::create(&folder.path().join("missing"), "web", "stderr", "supervisor").is_err());
}

#[test]
fn a_slice_that_cuts_a_character_is_trimmed_and_other_bytes_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("utf8");
    let text = "aä€😀z";
    fs::write(&path, text).unwrap();
    let length = text.len() as i64;
    for start in 0..=length {
        for count in 1..=length {
            let got = read(&path, start, count).unwrap();
            assert!(text.contains(&got), "{start} {count} {got:?}");
            assert!(got.len() as i64 >= count.min(length - start) - 6, "{start} {count} {got:?}");
        }
        assert!(text.ends_with(&whole(tail::tail(&path, 0, start).part.unwrap())));
    }
    fs::write(&path, b"a\xffb\xc3(c").unwrap();
    assert_eq!(read(&path, 0, 0).unwrap(), "a\u{fffd}b\u{fffd}(c");
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for path in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/dev/stdout")] {
        if path == Path::new("/dev/stdout") && fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        assert_eq!(read(path, 0, 0), Err(tail::ReadError::Failed), "{path:?}");
        let tail::TailAnswer { part, offset, overflow } = tail::tail(path, 3, 10);
        assert!((part.is_none(), offset, overflow) == (true, 3, false), "{path:?}");
    }
}

/// Reads moments in the first line, then lines `TZ TZDIR`, each in hexadecimal or `-` for unset; prints the local times.
const LOCAL_TIMES: &str = r#"
import os, sys, time
moments = [int(word) for word in sys.stdin.readline().split()]
def put(name, word):
    os.environ.pop(name, None)
    if word != "-": os.environ[name] = os.fsdecode(bytes.fromhex(word[1:]))
for line in sys.stdin:
    # glibc reads a zone again only when TZ has changed.
    os.environ["TZ"] = "other"; time.tzset()
    tz, tzdir = line.split()
    put("TZ", tz); put("TZDIR", tzdir); time.tzset()
    print(" ".join("%d-%d-%dT%d:%d:%d" % time.localtime(moment)[:6] for moment in moments))
"#;

/// Asserts that the local times of `moments` are Python's under each pair of TZ and TZDIR.
fn same_times(venv: &Path, zones: &[(Option<&str>, Option<&str>)], moments: &[i64]) {
    let word = |value: &Option<&str>| value.map_or("-".to_owned(), |value| format!("x{}", hex(value.as_bytes())));
    let mut asked = moments.iter().map(i64::to_string).collect::<Vec<_>>().join(" ") + "\n";
    zones.iter().for_each(|(tz, folder)| writeln!(asked, "{} {}", word(tz), word(folder)).unwrap());
    let theirs = ask(venv, LOCAL_TIMES, &asked);
    assert_eq!(theirs.lines().count(), zones.len());
    for ((tz, folder), theirs) in zones.iter().zip(theirs.lines()) {
        let zone = clock::zone(tz.map(OsStr::new), folder.map(OsStr::new));
        for (&moment, theirs) in moments.iter().zip(theirs.split(' ')) {
            let l = clock::local_in(&zone, moment);
            let ours = format!("{}-{}-{}T{}:{}:{}", l.year, l.month, l.day, l.hour, l.minute, l.second);
            assert_eq!(ours, theirs, "TZ={tz:?} TZDIR={folder:?} at {moment}");
        }
    }
    harness::compared(zones.len() * moments.len());
}

/// Every six hours of two years, the first and last moments of some other years, and the moments around each change in 2026.
fn moments() -> Vec<i64> {
    let year = 31_556_952;
    let two_years = (1_767_225_600..1_830_297_600).step_by(21_600);
    let edges = (-40..200).flat_map(|nth| [nth * year, nth * year + 2_678_400 * 3, nth * year + 2_678_400 * 7]);
    let changes = [1_772_953_200_i64, 1_774_746_000, 1_792_886_400, 1_793_512_800, 1_775_318_400, 1_791_043_200];
    let about =
        changes.into_iter().flat_map(|at| (-14..=14).flat_map(move |hour| [-1, 0, 1].map(|s| at + hour * 3_600 + s)));
    two_years.chain(edges).chain(about).collect()
}

#[test]
fn a_tz_string_means_what_it_means_to_glibc() {
    let Some(venv) = harness::oracle() else { return harness::skip("no Supervisor to compare with") };
    let strings = [
        "EST5EDT",
        "CST6CDT",
        "MST7MDT",
        "PST8PDT",
        "CET-1CEST",
        "GMT0BST",
        "AEST-10AEDT",
        "EST5EDT4",
        "W-SU",
        "UTC",
        "UTC0",
        "EST5",
        "EST+5",
        "EST-5",
        "UTC-5:30",
        "UTC+03:30:15",
        "<+0330>-3:30",
        "<-03>3",
        "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "AEST-10AEDT,M10.1.0,M4.1.0/3",
        "NZST-12NZDT,M9.5.0,M4.1.0/3",
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        "EST5EDT,J60,J300",
        "EST5EDT,59,300",
        "EST5EDT,0/0,J365/25",
        "EST5EDT,J1/0,J365/23",
        "XXX3YYY2,M1.1.0/0,M12.5.6/23:59:59",
        "XXX3YYY,M3.5.0/100,M10.5.0/-100",
        "XXX3YYY,M2.5.1,M2.5.5",
        "EST5EDT,",
        "EST5EDT,M3.2.0",
        "EST5EDT,M3.2.0/",
        "EST5EDT,M3.2.0/3",
        "EST5EDT,M3.2.0,",
        "EST5EDT,M3.2.0,M11.1.0/",
        "EST5EDT,M3.2.0x,M11.1.0",
        "EST5EDT,366,1",
        "EST5EDT,M13.1.0,M11.1.0",
        "EST5EDT,M3.2.0,M13.1.0",
        "EST5EDT,M3.6.0,M11.1.0",
        "EST5EDT,M3.0.0,M11.1.0",
        "EST5EDT,M3.2.7,M11.1.0",
        "EST5EDT,M3.2,M11.1.0",
        "EST5EDT,M3,M11.1.0",
        "EST5EDT,M3.2.0,M11.1",
        "EST5EDT,J366,J300",
        "EST5EDT,J60,J366",
        "EST5EDT,J0,J300",
        "EST5EDT,J,J300",
        "EST5EDT,J60,J0",
        "EST5EDT,59,366",
        "EST5EDT,M+3. 2.0,M11.1.0",
        "EST--5",
        "EST+-5",
        "EST-+5",
        "EST- 5",
        "EST65541",
        "EST-5:+30",
        "EST5EDT 4",
        "EST5EDT--1,M3.2.0,M11.1.0",
        "EST5EDT,M3.2.0/+3,M11.1.0/--1",
        "EST5EDTxyz",
        "EST5EDT4:30",
        "EST5EDT-1,M3.2.0,M11.1.0",
        "EST5EDT+,M3.2.0,M11.1.0",
        "EST5,M3.2.0,M11.1.0",
        "EST5 EDT",
        "EST5:",
        "EST5:x",
        "EST5:30:",
        "EST5EDTM3.2.0,M11.1.0",
        "ES5",
        "EST",
        "EST+",
        "",
        ":",
        ":EST5EDT",
        "::EST5EDT",
        "5",
        "<ES>5",
        "<EST5",
        "<E$T>5",
        "EST25",
        "EST24:60:61",
        "EST167",
        "foo",
        "Nowhere/Town",
        "Europe",
        "/etc/hostname",
        "EST5\u{e4}",
        ":/nonexistent/x",
    ];
    let zones: Vec<_> = strings.iter().map(|tz| (Some(*tz), Some("/nonexistent"))).collect();
    // For years before 1970 glibc uses the changes of 1970.
    let moments: Vec<i64> = moments().into_iter().filter(|moment| *moment >= 86_400).collect();
    same_times(&venv, &zones, &moments);
}

#[test]
fn a_zone_file_means_what_it_means_to_glibc() {
    let Some(venv) = harness::oracle() else { return harness::skip("no Supervisor to compare with") };
    let root = Path::new("/usr/share/zoneinfo");
    let mut names = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                // `posix` has the same zones again.
                path if path.ends_with("posix") => {}
                path if path.is_dir() => folders.push(path),
                path => names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    if names.len() < 300 {
        return harness::skip("no zone files below /usr/share/zoneinfo");
    }
    names.sort();
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().to_str().unwrap();
    fs::create_dir(copy.path().join("folder")).unwrap();
    for (name, length) in [("whole", usize::MAX), ("cut", 200), ("short", 10), ("empty", 0)] {
        let bytes = fs::read(root.join("Europe/Berlin")).unwrap();
        fs::write(copy.path().join(name), &bytes[..length.min(bytes.len())]).unwrap();
    }
    // The footer of a file of version 2 has the rules for the years after the last transition.
    let bytes = fs::read(root.join("America/New_York")).unwrap();
    let tables = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    let footers: [&[u8]; 8] =
        [b"", b"\n", b"\n\n", b"x", b"xx", b"\nfoo\n", b"EST5EDT,M3.2.0,M11.1.0\n", &bytes[tables..bytes.len() - 1]];
    let footers: Vec<String> = (0..)
        .zip(footers)
        .map(|(n, footer)| {
            fs::write(copy.path().join(format!("footer{n}")), [&bytes[..tables], footer].concat()).unwrap();
            format!("footer{n}")
        })
        .collect();
    let footers: Vec<_> = footers.iter().map(|name| (Some(name.as_str()), Some(copied))).collect();
    let century: Vec<i64> = (0..500).map(|nth| nth * 10_000_019).collect();
    same_times(&venv, &footers, &century);
    let universal = tempfile::tempdir().unwrap();
    fs::write(universal.path().join("Universal"), &bytes).unwrap();
    let folder = Some(universal.path().to_str().unwrap());
    same_times(&venv, &[(Some(""), folder), (Some(":"), folder), (Some("::"), folder)], &century);
    let absolute = copy.path().join("whole");
    let absolute = absolute.to_str().unwrap();
    let with_colon = format!(":{absolute}");
    let others = [
        (None, None),
        (None, Some(copied)),
        (Some(""), Some(copied)),
        (Some("whole"), Some(copied)),
        (Some(":whole"), Some(copied)),
        (Some("cut"), Some(copied)),
        (Some("short"), Some(copied)),
        (Some("empty"), Some(copied)),
        (Some("folder"), Some(copied)),
        (Some("Europe/Berlin"), Some(copied)),
        (Some("Europe/Berlin"), Some("")),
        (Some("W-SU"), None),
        (Some("EST5EDT"), None),
        (Some(absolute), None),
        (Some(absolute), Some("/nonexistent")),
        (Some(&with_colon), None),
    ];
    same_times(&venv, &others, &moments());
    let all: Vec<_> = names.iter().map(|name| (Some(name.as_str()), None)).collect();
    // Moments of the last century and the next, seconds that are leap seconds below `right/`, and the middle of each month.
    let leaps = [78_796_800, 78_796_799, 1_483_228_826, 1_483_228_827, 1_483_228_825, 1_483_228_800];
    let moments: Vec<i64> = (-150..500).map(|nth| nth * 21_600_001 + 7).chain(leaps).collect();
    same_times(&venv, &all, &moments);
}
