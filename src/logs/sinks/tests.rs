//! Lines, held parts, back-pressure and the journal, with real files and FIFOs and a clock that each test sets.

use super::super::{ChildLog, Flow, Journal, LineFormat, LogSpec};
use super::*;
use crate::config::model::LogLevel;
use crate::time::Wall;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, read};
use proptest::prelude::*;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder, a table, and a clock that only `pass` advances.
struct Rig {
    folder: TempDir,
    sinks: Sinks,
    now: Now,
}

impl Rig {
    fn new() -> Self {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall { secs: 1_795_256_142, nanos: 123_456_789 } };
        Self { folder: tempfile::tempdir().unwrap(), sinks: Sinks::default(), now }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A FIFO and its reading end; the sink holds it open for reading too, so that its reader may be late.
    fn fifo(&self, name: &str) -> OwnedFd {
        mkfifo(&self.path(name), Mode::from_bits_truncate(0o600)).unwrap();
        open(&self.path(name), OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    }

    fn log(&mut self, name: &str) -> ChildLog {
        self.log_as(name, LineFormat::Raw, "")
    }

    fn log_as(&mut self, name: &str, format: LineFormat, label: &str) -> ChildLog {
        let path = self.path(name);
        let limits = RotationLimits::default();
        ChildLog::open(
            &LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format, label },
            &mut self.sinks,
        )
        .unwrap()
    }

    fn write(&mut self, log: &mut ChildLog, text: &str) -> Flow {
        log.write(text.as_bytes(), &mut self.sinks, self.now);
        log.flow(&self.sinks)
    }

    fn pass(&mut self, millis: u64) {
        self.now.mono = self.now.mono.after_ms(millis);
        self.sinks.on_deadline(self.now);
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn stamp(&self) -> String {
        String::from_utf8(Stamp::default().text(self.now.wall).to_vec()).unwrap()
    }
}

/// Reads everything that a pipe holds.
fn drain(fd: &OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = read(fd, &mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

/// Splits the text at the given places, each taken modulo the remaining length.
fn chunks(mut bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for cut in cuts {
        let (head, rest) = bytes.split_at(cut % (bytes.len() + 1));
        all.push(head.to_vec());
        bytes = rest;
    }
    all.push(bytes.to_vec());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_of_one_writer_has_its_bytes_however_they_are_split(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000), cuts in prop::collection::vec(0..500_usize, 0..20),
    ) {
        let mut rig = Rig::new();
        let mut log = rig.log("f");
        for chunk in chunks(&bytes, &cuts) {
            log.write(&chunk, &mut rig.sinks, rig.now);
            prop_assert_eq!(rig.sinks.next_deadline(), None, "nothing is held for a single writer");
        }
        prop_assert_eq!(fs::read(rig.path("f")).unwrap(), bytes.clone(), "and it is there before the end");
        log.close(&mut rig.sinks, rig.now);
        prop_assert_eq!(fs::read(rig.path("f")).unwrap(), bytes);
    }

    /// Each line names its writer and its number. However the output is split and interleaved, a shared file has every line once
    /// and whole, and the lines of each writer in their order.
    #[test]
    fn lines_of_many_writers_are_never_torn(
        writers in 2..6_usize,
        lines in prop::collection::vec(0..120_usize, 1..25),
        cuts in prop::collection::vec(0..200_usize, 1..20),
        order in prop::collection::vec(any::<u8>(), 0..200),
        prefix in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        let format = if prefix { LineFormat::Prefix } else { LineFormat::Raw };
        let mut logs: Vec<ChildLog> = (0..writers).map(|writer| rig.log_as("f", format, &format!("p{writer}"))).collect();
        let text = |writer: usize| -> Vec<String> {
            lines.iter().enumerate().map(|(nth, length)| format!("{writer} {nth} {}", "x".repeat(*length))).collect()
        };
        let mut todo: Vec<std::vec::IntoIter<Vec<u8>>> = (0..writers)
            .map(|writer| chunks((text(writer).join("\n") + "\n").as_bytes(), &cuts).into_iter())
            .collect();
        for die in order {
            let writer = die as usize % writers;
            if let Some(chunk) = todo[writer].next() {
                logs[writer].write(&chunk, &mut rig.sinks, rig.now);
            }
        }
        for (log, rest) in logs.iter_mut().zip(todo) {
            rest.for_each(|chunk| { log.write(&chunk, &mut rig.sinks, rig.now); });
        }
        for log in &mut logs {
            log.close(&mut rig.sinks, rig.now);
        }
        let got = rig.text("f");
        for writer in 0..writers {
            let before = if prefix { format!("{} p{writer} | ", rig.stamp()) } else { String::new() };
            let mine = format!("{before}{writer} ");
            let got: Vec<&str> = got.lines().filter(|line| line.starts_with(&mine)).collect();
            let wanted: Vec<String> = text(writer).into_iter().map(|line| before.clone() + &line).collect();
            prop_assert_eq!(got, wanted);
        }
        prop_assert_eq!(got.lines().count(), writers * lines.len());
    }

    #[test]
    fn escapes_are_stripped_however_they_are_split(
        text in "(\x1b\\[[0-9;]{0,4}[A-Za-z]|\x1b[\\](]|[a-z \n\x1b\\[]){0,60}", cuts in prop::collection::vec(0..30_usize, 0..20),
    ) {
        let strip = |name: &str, chunks: Vec<Vec<u8>>| {
            let mut rig = Rig::new();
            let path = rig.path(name);
            let spec = LogSpec { path: Some(&path), syslog: None, limits: RotationLimits::default(), strip_ansi: true, format: LineFormat::Raw, label: "" };
            let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
            for chunk in chunks {
                log.write(&chunk, &mut rig.sinks, rig.now);
            }
            log.close(&mut rig.sinks, rig.now);
            rig.text(name)
        };
        let whole = strip("whole", vec![text.clone().into_bytes()]);
        prop_assert_eq!(strip("cut", chunks(text.as_bytes(), &cuts)), whole);
    }
}

#[test]
fn a_part_of_a_line_is_held_for_its_newline() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.log("f"), rig.log("f"));
    rig.write(&mut a, "one\ntw");
    rig.write(&mut b, "other\n");
    rig.pass(99);
    assert_eq!(rig.text("f"), "one\nother\n");
    rig.write(&mut a, "o\nthree\n");
    assert_eq!(rig.text("f"), "one\nother\ntwo\nthree\n");
    assert_eq!(rig.sinks.next_deadline(), None);
}

#[test]
fn a_part_held_for_100_ms_is_written_and_then_the_next_writer_starts_a_line() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.log("f"), rig.log("f"));
    rig.write(&mut a, "password: ");
    assert_eq!(rig.sinks.next_deadline(), Some(rig.now.mono.after_ms(100)));
    rig.pass(50);
    rig.write(&mut a, "(hidden) ");
    rig.pass(50);
    assert_eq!(rig.text("f"), "password: (hidden) ");
    assert_eq!(rig.sinks.next_deadline(), None);
    rig.write(&mut a, "ok\n");
    assert_eq!(rig.text("f"), "password: (hidden) ok\n");

    rig.write(&mut a, "again: ");
    rig.pass(100);
    rig.write(&mut b, "me\n");
    rig.write(&mut a, "end\n");
    assert_eq!(rig.text("f"), "password: (hidden) ok\nagain: \nme\nend\n");
}

#[test]
fn a_line_of_64_kib_is_held_no_longer() {
    let mut rig = Rig::new();
    let (mut a, _b) = (rig.log("f"), rig.log("f"));
    rig.write(&mut a, &"x".repeat(65_535));
    assert_eq!(rig.text("f").len(), 0);
    rig.write(&mut a, "x");
    assert_eq!(rig.text("f").len(), 65_536);
    assert_eq!(rig.sinks.next_deadline(), None);
}

#[test]
fn the_last_line_needs_no_newline() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.log("f"), rig.log("f"));
    rig.write(&mut a, "last words");
    a.close(&mut rig.sinks, rig.now);
    assert_eq!(rig.text("f"), "last words");
    assert_eq!(rig.write(&mut a, "after the end"), Flow::Open);
    rig.write(&mut b, "next\n");
    assert_eq!(rig.text("f"), "last words\nnext\n");
}

#[test]
fn the_prefix_comes_once_a_line_and_again_after_an_interruption() {
    let mut rig = Rig::new();
    let mut log = rig.log_as("f", LineFormat::Prefix, "web stdout");
    let time = rig.stamp();
    rig.write(&mut log, "a\nb");
    rig.write(&mut log, "c\n\nd");
    assert_eq!(
        rig.text("f"),
        format!("{time} web stdout | a\n{time} web stdout | bc\n{time} web stdout | \n{time} web stdout | d")
    );
    let mut other = rig.log_as("f", LineFormat::Prefix, "db stderr");
    rig.write(&mut other, "x\n");
    rig.write(&mut log, "e\n");
    assert!(rig.text("f").ends_with(&format!(" | d\n{time} db stderr | x\n{time} web stdout | e\n")));
    assert_eq!(time.len(), "2026-11-21 10:15:42,123".len());
}

#[test]
fn two_names_of_one_file_are_one_sink_and_the_smaller_limit_counts() {
    let mut rig = Rig::new();
    fs::write(rig.path("f"), "").unwrap();
    std::os::unix::fs::symlink("f", rig.path("link")).unwrap();
    let limits = |maxbytes| RotationLimits { maxbytes, backups: 2, private: false };
    let open = |rig: &mut Rig, name, maxbytes| {
        let path = rig.path(name);
        let spec = LogSpec {
            path: Some(&path),
            syslog: None,
            limits: limits(maxbytes),
            strip_ansi: false,
            format: LineFormat::Raw,
            label: "",
        };
        ChildLog::open(&spec, &mut rig.sinks).unwrap()
    };
    let (mut a, mut b) = (open(&mut rig, "f", 1_000), open(&mut rig, "link", 20));
    for nth in 0..4 {
        // A writer that comes after a rotation finds the new file.
        let mut late = open(&mut rig, "f", 1_000);
        late.close(&mut rig.sinks, rig.now);
        rig.write(&mut a, &format!("a {nth} 345678\n"));
        rig.write(&mut b, &format!("b {nth} 345678\n"));
    }
    assert_eq!(rig.text("f.1"), "a 3 345678\nb 3 345678\n");
    assert_eq!(rig.text("f.2"), "a 2 345678\nb 2 345678\n");
    assert_eq!(rig.sinks.sinks.len(), 1);
    a.close(&mut rig.sinks, rig.now);
    rig.write(&mut b, "still here\n");
    assert_eq!(rig.text("f"), "still here\n");
    b.close(&mut rig.sinks, rig.now);
    assert!(rig.sinks.sinks.iter().all(Option::is_none) && rig.sinks.inodes.is_empty(), "the last one closes it");
    let mut c = rig.log("f");
    rig.write(&mut c, "again\n");
    assert_eq!((rig.text("f").as_str(), rig.sinks.sinks.len()), ("still here\nagain\n", 1));
}

#[test]
fn no_path_and_dev_null_discard() {
    let mut rig = Rig::new();
    for path in [None, Some(Path::new("/dev/null"))] {
        let spec = LogSpec {
            path,
            syslog: None,
            limits: RotationLimits::default(),
            strip_ansi: true,
            format: LineFormat::Prefix,
            label: "x",
        };
        let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
        assert_eq!(rig.write(&mut log, "gone"), Flow::Open);
        log.reopen(&mut rig.sinks).unwrap();
        log.clear(&mut rig.sinks).unwrap();
        log.close(&mut rig.sinks, rig.now);
    }
    assert!(rig.sinks.sinks.is_empty());
    assert!(fs::symlink_metadata("/dev/null").is_ok());
}

#[test]
fn a_file_that_cannot_be_opened_is_an_errno() {
    let mut rig = Rig::new();
    let path = rig.path("no/such/folder");
    let spec = LogSpec {
        path: Some(&path),
        syslog: None,
        limits: RotationLimits::default(),
        strip_ansi: false,
        format: LineFormat::Raw,
        label: "",
    };
    let why = ChildLog::open(&spec, &mut rig.sinks).unwrap_err();
    assert_eq!(format!("{why:?}"), "ENOENT");
}

/// Reads a slow FIFO to the end as the daemon would. Returns the bytes, and the order in which channels were resumed.
fn serve(rig: &mut Rig, reader: &OwnedFd) -> (Vec<u8>, Vec<u64>) {
    let (mut got, mut resumed) = (drain(reader), Vec::new());
    while let Some((at, _)) = { rig.sinks.wants_write().next() } {
        resumed.extend(rig.sinks.flush(at, rig.now));
        got.extend(drain(reader));
    }
    (got, resumed)
}

#[test]
fn a_stream_that_is_not_read_blocks_its_writers_within_bounds_and_loses_nothing() {
    let mut rig = Rig::new();
    let reader = rig.fifo("slow");
    let (mut a, mut b, mut c) = (rig.log("slow"), rig.log("slow"), rig.log("f"));
    let line = "x".repeat(999) + "\n";
    let chunk = line.repeat(60);
    let mut sent = 0;
    let at = loop {
        sent += chunk.len();
        if let Flow::Blocked(at) = rig.write(&mut a, &chunk) {
            break at;
        }
    };
    assert_eq!(b.flow(&rig.sinks), Flow::Blocked(at), "a writer that shares the stream waits too");
    assert_eq!(rig.write(&mut c, "free\n"), Flow::Open, "a writer of another stream does not");
    assert!(sent <= 65_536 + FULL_AND_A_CHUNK, "bounded: {sent}");
    rig.sinks.park(at, 1);
    rig.sinks.park(at, 2);
    assert_eq!(rig.sinks.flush(at, rig.now).len(), 0, "no room yet");

    // A part that is due while there is no room waits for room, without a timer.
    rig.write(&mut b, "part");
    rig.pass(100);
    assert_eq!(rig.sinks.next_deadline(), None);
    assert_eq!(rig.sinks.parts.len(), 1);

    let (got, resumed) = serve(&mut rig, &reader);
    assert_eq!(resumed, [1, 2], "first come, first served");
    assert_eq!(a.flow(&rig.sinks), Flow::Open);
    assert_eq!(got.len(), sent + 4);
    assert!(got.ends_with(b"x\npart"));
    assert_eq!(rig.sinks.take_errors(), []);
}

const FULL_AND_A_CHUNK: usize = 2 * 65_536;

#[test]
fn the_end_drops_unread_bytes_and_counts_them() {
    let mut rig = Rig::new();
    let reader = rig.fifo("slow");
    let mut a = rig.log("slow");
    let _b = rig.log("slow");
    while rig.write(&mut a, &("x".repeat(4_095) + "\n")) == Flow::Open {}
    rig.write(&mut a, "held");
    let queued = rig.sinks.stream(SinkId(0)).unwrap().wants_write().is_some();
    assert!(queued);
    let errors = rig.sinks.finish(Mono(0));
    let [SinkError::Dropped(name, bytes)] = &errors[..] else { panic!("{errors:?}") };
    assert!(name.ends_with("slow'"), "{name}");
    assert_eq!(*bytes, 65_536 + 4);
    assert_eq!(drain(&reader).len(), 65_536);
}

#[test]
fn the_end_waits_for_a_reader_that_reads() {
    let mut rig = Rig::new();
    let reader = rig.fifo("slow");
    let mut log = rig.log("slow");
    let mut sent = 0;
    while rig.write(&mut log, &"x".repeat(4_096)) == Flow::Open {
        sent += 4_096;
    }
    sent += 4_096;
    let thread = std::thread::spawn(move || {
        let mut got = 0;
        while got < sent {
            got += drain(&reader).len();
            std::thread::yield_now();
        }
        got
    });
    assert_eq!(rig.sinks.finish(clock::mono().after_ms(20_000)), []);
    assert_eq!(thread.join().unwrap(), sent);
}

#[test]
fn the_journal_has_supervisors_form_and_levels() {
    let mut rig = Rig::new();
    let mut journal = Journal::new(LogLevel::Info);
    let path = rig.path("j");
    journal.set_file(Some(&path), RotationLimits::default(), &mut rig.sinks, rig.now).unwrap();
    for level in [
        LogLevel::Critical,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
        LogLevel::Blather,
    ] {
        journal.log(level, format_args!("m{}", 1), &mut rig.sinks, rig.now);
    }
    let time = rig.stamp();
    assert_eq!(rig.text("j"), format!("{time} CRIT m1\n{time} ERRO m1\n{time} WARN m1\n{time} INFO m1\n"));
    journal.set_level(LogLevel::Blather);
    journal.clear(&mut rig.sinks).unwrap();
    for level in [LogLevel::Debug, LogLevel::Trace, LogLevel::Blather] {
        journal.log(level, format_args!("two\nlines"), &mut rig.sinks, rig.now);
    }
    assert_eq!(rig.text("j"), format!("{time} DEBG two\nlines\n{time} TRAC two\nlines\n{time} BLAT two\nlines\n"));
    fs::rename(&path, rig.path("moved")).unwrap();
    journal.reopen(&mut rig.sinks).unwrap();
    journal.log(LogLevel::Info, format_args!("new"), &mut rig.sinks, rig.now);
    assert_eq!(rig.text("j"), format!("{time} INFO new\n"));
}

#[test]
fn a_journal_and_a_program_share_a_file_in_whole_lines() {
    let mut rig = Rig::new();
    let mut log = rig.log("j");
    let mut journal = Journal::new(LogLevel::Info);
    let path = rig.path("j");
    journal.set_file(Some(&path), RotationLimits::default(), &mut rig.sinks, rig.now).unwrap();
    rig.write(&mut log, "hal");
    journal.log(LogLevel::Info, format_args!("whole"), &mut rig.sinks, rig.now);
    rig.write(&mut log, "f\n");
    assert_eq!(rig.text("j"), format!("{} INFO whole\nhalf\n", rig.stamp()));
}

#[test]
fn lines_of_the_journal_without_room_are_counted_and_reported() {
    let mut rig = Rig::new();
    let reader = rig.fifo("slow");
    let mut journal = Journal::new(LogLevel::Info);
    let path = rig.path("slow");
    journal.set_file(Some(&path), RotationLimits::default(), &mut rig.sinks, rig.now).unwrap();
    let count = 300_000 / 100;
    for nth in 0..count {
        journal.log(LogLevel::Info, format_args!("{nth:0100}"), &mut rig.sinks, rig.now);
    }
    let (got, _) = serve(&mut rig, &reader);
    journal.log(LogLevel::Info, format_args!("after"), &mut rig.sinks, rig.now);
    let text = String::from_utf8(got).unwrap() + &String::from_utf8(drain(&reader)).unwrap();
    let kept = text.lines().filter(|line| line.contains(" INFO 0000")).count();
    let report = format!("{} WARN {} lines of this log were lost: the reader was too slow", rig.stamp(), count - kept);
    assert!(kept < count && kept > 1_000, "{kept}");
    let tail: Vec<&str> = text.lines().rev().take(2).collect();
    assert_eq!(tail, [format!("{} INFO after", rig.stamp()), report]);
}

#[test]
fn a_log_of_a_stopped_program_is_cleared_but_no_stream_is_touched() {
    let mut rig = Rig::new();
    let path = rig.path("f");
    fs::write(&path, "old").unwrap();
    rig.sinks.clear_path(&path, false).unwrap();
    assert_eq!(rig.text("f"), "");
    // Another program writes to it.
    let mut log = rig.log("f");
    rig.write(&mut log, "new");
    rig.sinks.clear_path(&path, false).unwrap();
    rig.write(&mut log, "er");
    assert_eq!(rig.text("f"), "er");

    rig.sinks.clear_path(&rig.path("missing"), false).unwrap();
    let _reader = rig.fifo("pipe");
    std::os::unix::fs::symlink("/dev/stdout", rig.path("link")).unwrap();
    for name in ["pipe", "link"] {
        let inode = |path: PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::symlink_metadata(path).unwrap());
        let before = inode(rig.path(name));
        rig.sinks.clear_path(&rig.path(name), false).unwrap();
        assert_eq!(inode(rig.path(name)), before);
    }
}

#[test]
fn a_full_disk_is_reported_once_and_the_lost_bytes_when_it_is_over() {
    let mut rig = Rig::new();
    let mut log = rig.log("f");
    // A full disk or RLIMIT_FSIZE would need a mount or a process of its own. An unwritable descriptor stands for both.
    let path = rig.path("f");
    let read_only = open(&path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    let good = {
        let file = rig.sinks.file_mut(SinkId(0)).unwrap();
        std::mem::replace(&mut file.fd, read_only)
    };
    for _ in 0..3 {
        rig.write(&mut log, "12345");
    }
    assert_eq!(rig.sinks.take_errors(), [SinkError::Unwritable(file_name(&path), Errno::EBADF)]);
    rig.sinks.file_mut(SinkId(0)).unwrap().fd = good;
    rig.write(&mut log, "x");
    assert_eq!(rig.sinks.take_errors(), [SinkError::Writable(file_name(&path), 15)]);
    assert_eq!(rig.text("f"), "x");
}

#[test]
fn a_file_that_cannot_be_rotated_keeps_growing_and_reports_it_once() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.path("f.1").join("in the way")).unwrap();
    let path = rig.path("f");
    let limits = RotationLimits { maxbytes: 10, backups: 1, private: false };
    let spec =
        LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: LineFormat::Raw, label: "" };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    for _ in 0..10 {
        rig.write(&mut log, "12345678");
    }
    assert_eq!(rig.text("f").len(), 80);
    assert_eq!(rig.sinks.take_errors(), [SinkError::Unrotated(file_name(&path), Errno::EISDIR)]);
    rig.pass(RETRY_MS);
    rig.write(&mut log, "12345678");
    assert_eq!(rig.sinks.take_errors(), [], "it is tried again, and the error is not repeated");
    fs::remove_dir_all(rig.path("f.1")).unwrap();
    rig.write(&mut log, "12345678");
    assert_eq!(rig.text("f").len(), 96, "not before its time");
    rig.pass(RETRY_MS);
    rig.write(&mut log, "12345678");
    assert_eq!((rig.text("f.1").len(), rig.text("f").len()), (104, 0));
    assert_eq!(rig.sinks.take_errors(), [SinkError::Rotated(file_name(&path))]);
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 2, "nothing else is left behind");
}

/// The name of the file `path` in messages.
fn file_name(path: &Path) -> String {
    format!("log file '{}'", path.display())
}

/// After this time `LogFile` tries again an operation that failed.
const RETRY_MS: u64 = 1_000;

fn limited(rig: &mut Rig, name: &str, maxbytes: i64, backups: i64) -> ChildLog {
    let path = rig.path(name);
    let limits = RotationLimits { maxbytes, backups, private: false };
    let spec =
        LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: LineFormat::Raw, label: "" };
    ChildLog::open(&spec, &mut rig.sinks).unwrap()
}

#[test]
fn another_programs_bytes_count_for_rotation() {
    let mut rig = Rig::new();
    let mut log = limited(&mut rig, "f", 1_000, 3);
    let other = |rig: &Rig, length: usize| {
        let mut file = fs::OpenOptions::new().append(true).open(rig.path("f")).unwrap();
        std::io::Write::write_all(&mut file, &vec![b'x'; length]).unwrap();
    };
    rig.write(&mut log, "a line of 15 b\n");
    other(&rig, 5_000);
    rig.pass(500);
    rig.write(&mut log, "a line of 15 b\n");
    assert_eq!((rig.text("f.1").len(), rig.text("f").len()), (5_030, 0));
    // A program that goes on writing: each line that comes at least 10 ms after the last check asks for the length.
    for _ in 0..10 {
        other(&rig, 999);
        rig.pass(10);
        rig.write(&mut log, "y\n");
        assert_eq!(rig.text("f").len(), 0);
    }
    // A hole counts too, and truncated bytes do not.
    fs::OpenOptions::new().write(true).open(rig.path("f")).unwrap().set_len(2_000).unwrap();
    rig.pass(10);
    rig.write(&mut log, "z");
    assert_eq!((rig.text("f.1").len(), rig.text("f").len()), (2_001, 0));
}

#[test]
fn a_log_that_cannot_be_reopened_stays_in_use_and_is_tried_again() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("logs")).unwrap();
    let mut log = rig.log("logs/f");
    rig.write(&mut log, "one\n");
    fs::rename(rig.path("logs"), rig.path("moved")).unwrap();
    assert_eq!(log.reopen(&mut rig.sinks), Err(Errno::ENOENT));
    rig.write(&mut log, "two\n");
    rig.pass(RETRY_MS);
    rig.write(&mut log, "three\n");
    assert_eq!(rig.sinks.next_deadline(), None, "no timer for it");
    assert_eq!(rig.text("moved/f"), "one\ntwo\nthree\n");
    assert_eq!(rig.sinks.take_errors(), []);
    fs::create_dir(rig.path("logs")).unwrap();
    rig.pass(RETRY_MS);
    rig.write(&mut log, "four\n");
    assert_eq!(rig.text("logs/f"), "four\n");
    assert_eq!(rig.sinks.take_errors(), [SinkError::Reopened(file_name(&rig.path("logs/f")))]);
    rig.write(&mut log, "five\n");
    assert_eq!((rig.text("logs/f").as_str(), rig.sinks.take_errors()), ("four\nfive\n", vec![]));
}

#[test]
fn a_log_that_cannot_be_cleared_or_rotated_stays_where_it_is() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("logs")).unwrap();
    let mut log = limited(&mut rig, "logs/f", 10, 1);
    rig.write(&mut log, "one\n");
    fs::rename(rig.path("logs"), rig.path("moved")).unwrap();
    assert_eq!(log.clear(&mut rig.sinks), Err(Errno::ENOENT));
    rig.write(&mut log, "twotwotwo\n");
    assert_eq!(rig.text("moved/f"), "one\ntwotwotwo\n");
    assert_eq!(rig.sinks.take_errors(), [SinkError::Unrotated(file_name(&rig.path("logs/f")), Errno::ENOENT)]);
    fs::rename(rig.path("moved"), rig.path("logs")).unwrap();
    log.clear(&mut rig.sinks).unwrap();
    rig.write(&mut log, "three\n");
    assert_eq!(rig.text("logs/f"), "three\n");
    assert_eq!(fs::read_dir(rig.path("logs")).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn a_backup_stays_when_there_is_nothing_to_take_its_place() {
    let mut rig = Rig::new();
    let path = rig.path("f");
    let limits = RotationLimits { maxbytes: 4, backups: 1, private: false };
    let spec =
        LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: LineFormat::Raw, label: "" };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    rig.write(&mut log, "first");
    fs::remove_file(&path).unwrap();
    rig.write(&mut log, "second");
    assert_eq!(rig.text("f.1"), "first");
}

#[test]
fn a_log_that_another_program_truncated_is_not_rotated_too_early() {
    let mut rig = Rig::new();
    let path = rig.path("f");
    let limits = RotationLimits { maxbytes: 10, backups: 1, private: false };
    let spec =
        LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: LineFormat::Raw, label: "" };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    rig.write(&mut log, "123456");
    fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    rig.write(&mut log, "abcdef");
    assert_eq!(rig.text("f"), "abcdef");
    rig.write(&mut log, "ghij");
    assert_eq!((rig.text("f.1").as_str(), rig.text("f").as_str()), ("abcdefghij", ""));
}

#[test]
fn modes_follow_the_umask_and_auto_logs_stay_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = rig.path("f");
    let limits = RotationLimits { maxbytes: 1, backups: 1, private: true };
    let spec =
        LogSpec { path: Some(&path), syslog: None, limits, strip_ansi: false, format: LineFormat::Raw, label: "" };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    rig.write(&mut log, "rotate");
    assert_eq!((mode(&path), mode(&rig.path("f.1"))), (0o600, 0o600));
    let _other = rig.log("g");
    assert_eq!(mode(&rig.path("g")) & !0o066, 0o600, "0666 less the umask of the tests");
}

#[test]
fn a_channel_and_a_file_are_small() {
    assert!(size_of::<ChildLog>() <= 64, "{}", size_of::<ChildLog>());
    assert!(size_of::<Option<Sink>>() <= 176, "{}", size_of::<Option<Sink>>());
}

#[test]
fn a_file_below_dev_is_emptied_but_not_replaced() {
    use std::os::unix::fs::MetadataExt;
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = folder.path().join("log");
    fs::write(&path, "old").unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let mut rig = Rig::new();
    rig.sinks.clear_path(&path, false).unwrap();
    let spec = LogSpec {
        path: Some(&path),
        syslog: None,
        limits: RotationLimits::default(),
        strip_ansi: false,
        format: LineFormat::Raw,
        label: "",
    };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    rig.write(&mut log, "new");
    log.clear(&mut rig.sinks).unwrap();
    rig.write(&mut log, "er");
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), fs::metadata(&path).unwrap().ino()), ("er", inode));
}

#[test]
fn a_terminal_of_the_same_name_is_another_once_the_first_has_hung_up() {
    let name = |pty: &nix::pty::OpenptyResult| nix::unistd::ttyname(&pty.slave).unwrap();
    let mut rig = Rig::new();
    let first = nix::pty::openpty(None, None).unwrap();
    let path = name(&first);
    let spec = LogSpec {
        path: Some(&path),
        syslog: None,
        limits: RotationLimits::default(),
        strip_ansi: false,
        format: LineFormat::Raw,
        label: "",
    };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    rig.write(&mut log, "one\n");
    drop(first);
    // A child of another test may hold the master for a moment.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rig.sinks.take_errors().is_empty() {
        assert!(std::time::Instant::now() < deadline);
        rig.write(&mut log, "two\n");
    }
    log.close(&mut rig.sinks, rig.now);
    assert!(rig.sinks.sinks.iter().flatten().all(|sink| !sink.to.can_be_joined()));
}

#[test]
fn a_named_stream_is_closed_after_its_last_writer_once_all_is_read() {
    let mut rig = Rig::new();
    let open = |rig: &Rig| rig.sinks.sinks.iter().flatten().count() + rig.sinks.closed.len();
    let full = LogSpec {
        path: Some(Path::new("/dev/full")),
        syslog: None,
        limits: RotationLimits::default(),
        strip_ansi: false,
        format: LineFormat::Raw,
        label: "",
    };
    for _ in 0..3 {
        let mut log = ChildLog::open(&full, &mut rig.sinks).unwrap();
        rig.write(&mut log, "lost");
        log.close(&mut rig.sinks, rig.now);
        rig.sinks.drop_closed();
        assert_eq!(open(&rig), 0);
        let errors: Vec<_> = rig.sinks.take_errors().iter().map(ToString::to_string).collect();
        assert!(errors[1].contains("4 bytes of output to '/dev/full' were discarded"), "{errors:?}");
    }
    let reader = rig.fifo("fifo");
    let mut log = rig.log("fifo");
    rig.write(&mut log, &"x".repeat(70_000));
    log.close(&mut rig.sinks, rig.now);
    rig.sinks.drop_closed();
    assert_eq!(open(&rig), 1, "a part of it is queued");
    let mut read = drain(&reader).len();
    rig.sinks.flush(SinkId(0), rig.now);
    assert_eq!(rig.sinks.wants_write().count(), 0);
    assert_eq!(open(&rig), 1, "the rest is in the FIFO");
    read += drain(&reader).len();
    assert_eq!(read, 70_000);
    rig.log("other").close(&mut rig.sinks, rig.now);
    let mut other = ChildLog::open(&full, &mut rig.sinks).unwrap();
    rig.sinks.drop_closed();
    assert_eq!(open(&rig), 1, "the next that is opened closes it");
    other.close(&mut rig.sinks, rig.now);
}

/// The messages that syslog has received, without their times.
fn messages(syslog: &UnixDatagram) -> Vec<String> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = syslog.recv(&mut buffer) {
        let text = std::str::from_utf8(&buffer[..count]).unwrap();
        let local = clock::local(Wall { secs: 1_795_256_142, nanos: 0 });
        let time = format!("{:02}:{:02}:{:02} ", local.hour, local.minute, local.second);
        let (head, rest) = text.split_once(&time).unwrap();
        assert!(head.starts_with("<14>Nov 21 "), "{text}");
        all.push(rest.to_owned());
    }
    all
}

fn syslog_at(path: &Path) -> UnixDatagram {
    let _ = fs::remove_file(path);
    let syslog = UnixDatagram::bind(path).unwrap();
    syslog.set_nonblocking(true).unwrap();
    syslog
}

#[test]
fn syslog_gets_a_message_for_each_line_of_each_writer() {
    let mut rig = Rig::new();
    let path = rig.path("log");
    let syslog = syslog_at(&path);
    rig.sinks.set_ident("me");
    let spec = LogSpec {
        path: None,
        syslog: Some((&path, "web")),
        limits: RotationLimits::default(),
        strip_ansi: false,
        format: LineFormat::Raw,
        label: "",
    };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    let mut journal = Journal::new(LogLevel::Info);
    journal.set_syslog(&path, &mut rig.sinks, rig.now).unwrap();
    rig.write(&mut log, "one\ntwo\npa");
    journal.log(LogLevel::Info, format_args!("a\nb"), &mut rig.sinks, rig.now);
    rig.write(&mut log, "rt\n\n");
    let line = format!("me: {} INFO a", rig.stamp());
    assert_eq!(messages(&syslog), ["me: web one", "me: web two", &line, "me: b", "me: web part", "me: web "]);
    rig.write(&mut log, "held");
    rig.pass(HOLD_MS);
    rig.write(&mut log, " and more\n");
    rig.write(&mut log, "end");
    log.close(&mut rig.sinks, rig.now);
    assert_eq!(messages(&syslog), ["me: web held", "me: web  and more", "me: web end"]);
}

#[test]
fn a_full_syslog_holds_back_its_writers_and_a_missing_one_does_not() {
    let mut rig = Rig::new();
    let path = rig.path("log");
    let spec = LogSpec {
        path: None,
        syslog: Some((&path, "web")),
        limits: RotationLimits::default(),
        strip_ansi: false,
        format: LineFormat::Raw,
        label: "",
    };
    let mut log = ChildLog::open(&spec, &mut rig.sinks).unwrap();
    assert_eq!(rig.write(&mut log, "no syslog yet\n"), Flow::Open);
    assert!(matches!(rig.sinks.take_errors()[..], [SinkError::Unwritable(..)]));
    let syslog = syslog_at(&path);
    rig.write(&mut log, "first\n");
    assert!(matches!(rig.sinks.take_errors()[..], [SinkError::Writable(..)]));
    let mut written = 0;
    while rig.write(&mut log, "more\n") == Flow::Open {
        written += 1;
    }
    let mut got = messages(&syslog).len() - 1;
    while got <= written {
        assert!(rig.sinks.wants_write().count() > 0);
        rig.sinks.flush(SinkId(0), rig.now);
        got += messages(&syslog).len();
    }
    assert_eq!((got, log.flow(&rig.sinks)), (written + 1, Flow::Open));
    drop(syslog);
    let syslog = syslog_at(&path);
    rig.write(&mut log, "to the next\n");
    assert_eq!(messages(&syslog), ["rsup: web to the next"]);
    log.close(&mut rig.sinks, rig.now);
}
