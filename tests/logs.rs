//! Logs against Supervisor's own functions, called in its Python: rotation byte for byte and name by name, the arithmetic
//! of reading, terminal escapes, and which files are removed as AUTO logs of an earlier run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

mod harness;

use rsup::logs::{ChildLog, Format, Limits, Sinks, Spec, auto, tail};
use rsup::time::Now;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is done to a log, one after the other.
#[derive(Debug)]
enum Step {
    Write(usize),
    Reopen,
    Clear,
    /// Somebody else renames the file.
    Move,
    /// Somebody else removes the file.
    Remove,
}

#[derive(Debug)]
struct Case {
    maxbytes: i64,
    backups: i64,
    /// Files that are there before, by suffix, with their lengths.
    before: Vec<(String, usize)>,
    steps: Vec<Step>,
}

/// A small generator of numbers, the same on each run.
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
        // With one backup Supervisor removes it before it finds out that there is no file to take its place: we keep it.
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
    let limits = Limits { maxbytes: case.maxbytes, backups: case.backups, private: false };
    let spec = Spec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: Format::Raw, label: "" };
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
    assert_eq!(sinks.take_troubles(), []);
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

/// What a Python program with Supervisor's modules answers to `input`.
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

/// Reads `PATH OFFSET LENGTH` a line, answers with what readLog and tailLog give.
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
fn reading_has_supervisors_arithmetic() {
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
        let overflow = if got.overflow { "True" } else { "False" };
        let ours = format!("{read} ['{}', {}, {overflow}]", got.text, got.offset);
        assert_eq!(ours, theirs, "{} {offset} {length}", path.display());
    }
    harness::compared(questions.len());
}

/// A part of a log, in the smallest pieces.
fn read(path: &Path, offset: i64, length: i64) -> Result<String, tail::ReadError> {
    let mut part = tail::read(path, offset, length)?;
    Ok(std::iter::repeat_with(|| part.next(8).unwrap()).take_while(|piece| !piece.is_empty()).collect())
}

/// Reads hexadecimal texts, a line each, answers with what is left of each.
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
        let limits = Limits::default();
        let spec = Spec { path: Some(&path), syslog: None, limits, strip_ansi: true, format: Format::Raw, label: "" };
        let mut log = ChildLog::open(&spec, &mut sinks).unwrap();
        log.write(text, &mut sinks, Now::default());
        log.close(&mut sinks, Now::default());
        assert_eq!(hex(&fs::read(&path).unwrap()), theirs, "{:?}", String::from_utf8_lossy(text));
    }
    harness::compared(texts.len());
}

/// Reads an identifier, then names, a line each; answers with those that are AUTO logs.
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
        assert!(text.ends_with(&tail::tail(&path, 0, start).text));
    }
    fs::write(&path, b"a\xffb\xc3(c").unwrap();
    assert_eq!(read(&path, 0, 0).unwrap(), "a\u{fffd}b\u{fffd}(c");
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for path in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/dev/stdout")] {
        if path == Path::new("/dev/stdout") && fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        assert_eq!(read(path, 0, 0), Err(tail::ReadError::Failed), "{path:?}");
        assert_eq!(tail::tail(path, 3, 10), tail::Tail { text: String::new(), offset: 3, overflow: false });
    }
}
