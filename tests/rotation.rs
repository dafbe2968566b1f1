//! Log files under rotation, reopening and clearing, byte for byte against Supervisor's own file class: both are given
//! the same chunks and operations, then the two folders are compared, names and contents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

mod harness;

use rsup::logs::{ChildLog, Format, Limits, Sinks, Spec};
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
    let spec = Spec { path: Some(&path), limits, strip_ansi: false, format: Format::Raw, label: "" };
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
const THEIRS: &str = r#"
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

fn theirs(python: &Path, cases: &[(PathBuf, &Case)]) {
    let mut script = String::new();
    for (folder, case) in cases {
        prepare(folder, case);
        writeln!(script, "case {} {} {}", folder.display(), case.maxbytes, case.backups).unwrap();
        for (number, step) in case.steps.iter().enumerate() {
            match step {
                Step::Write(length) => {
                    let hex = chunk(number, *length).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    writeln!(script, "write {hex}").unwrap();
                }
                Step::Reopen => script.push_str("reopen\n"),
                Step::Clear => script.push_str("clear\n"),
                Step::Move => script.push_str("move\n"),
                Step::Remove => script.push_str("remove\n"),
            }
        }
    }
    let mut child = Command::new(python)
        .args(["-c", THEIRS])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
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
    theirs(&venv.join("bin/python"), &numbered);
    for (number, case) in cases.iter().enumerate() {
        ours(&at("ours", number), case);
        let (ours, theirs) = (picture(&at("ours", number)), picture(&at("theirs", number)));
        assert!(ours == theirs, "{case:?}\nours {:?}\ntheirs {:?}", lengths(&ours), lengths(&theirs));
    }
    assert!(cases.iter().any(|case| case.steps.len() > 20 && case.maxbytes == 100), "the dice are good enough");
}
