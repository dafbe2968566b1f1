//! Logs of programs: destinations, rotation, reading, clearing.

use crate::{Run, compare};
use serde_json::json;

fn ended(run: &Run) {
    run.until("x", "EXITED");
}

/// Runs a program that writes and exits. Its log files must be the same byte for byte.
fn files(program: &str, names: &[&str]) {
    let conf = format!(
        "[program:x]\nstartsecs=0\nautorestart=false\nstdout_logfile={{dir}}/x.out\nstderr_logfile={{dir}}/x.err\n{program}\n"
    );
    compare(&conf, |run| {
        ended(run);
        for name in names {
            let there = run.dir.join(name).exists();
            run.note(name, format!("{there} {:?}", run.read(name)));
        }
    });
}

#[test]
fn both_streams_have_a_file() {
    files("command=/bin/sh -c \"echo out; echo err >&2\"", &["x.out", "x.err"]);
}

#[test]
fn stderr_may_join_stdout() {
    files("command=/bin/sh -c \"echo out; echo err >&2; echo more\"\nredirect_stderr=true", &["x.out", "x.err"]);
}

#[test]
fn a_last_line_without_newline_is_kept() {
    files("command=/usr/bin/printf \"one\\ntwo\"", &["x.out"]);
}

#[test]
fn output_just_before_death_is_kept() {
    files("command=/bin/sh -c \"head -c 60000 /dev/zero | tr '\\\\0' x; kill -9 $$\"", &["x.out"]);
}

#[test]
fn bytes_pass_as_they_are() {
    files("command=/usr/bin/printf \"a\\000b\\r\\n\\033[31mred\\033[0m \\303\\244\"", &["x.out"]);
}

#[test]
fn strip_ansi_removes_colours() {
    files(
        "command=/usr/bin/printf \"\\033[31mred\\033[0m \\033[1;32mgreen\\033[m\\n\"\n[supervisord]\nstrip_ansi=true\n[program:x]",
        &["x.out"],
    );
}

#[test]
fn none_makes_no_file() {
    files("command=/bin/echo x\nstdout_logfile=NONE\nstderr_logfile=off", &["NONE", "off", "x.out", "x.err"]);
}

const NAMES: [&str; 5] = ["x.out", "x.out.1", "x.out.2", "x.out.3", "x.out.4"];

/// Writes each line only after the one before has changed a log, so that each is a read of its own.
const SLOW_LINES: &str = "command=/bin/sh -c 'logs() { ls -lic --full-time {dir}/x.* 2>/dev/null; }; \
    for i in 1 2 3 4 5 6 7 8 9; do before=$(logs); echo line-number-$i; \
    until test \"$before\" != \"$(logs)\"; do sleep 0.02; done; done'\n";

#[test]
fn rotation_shifts_the_backups() {
    files(&format!("{SLOW_LINES}stdout_logfile_maxbytes=28\nstdout_logfile_backups=3\n"), &NAMES);
}

#[test]
fn the_stderr_log_rotates_by_its_own_options() {
    let conf =
        format!("{}stderr_logfile_maxbytes=28\nstderr_logfile_backups=1\n", SLOW_LINES.replace("-$i;", "-$i >&2;"));
    files(&conf, &NAMES.map(|name| name.replace("out", "err")).each_ref().map(String::as_str));
}

#[test]
fn rotation_without_backups_truncates() {
    files(&format!("{SLOW_LINES}stdout_logfile_maxbytes=42\nstdout_logfile_backups=0\n"), &NAMES);
}

#[test]
fn rotation_off_with_zero_maxbytes() {
    files(&format!("{SLOW_LINES}stdout_logfile_maxbytes=0\n"), &NAMES);
}

#[test]
fn rotation_counts_the_bytes_of_an_existing_file() {
    let conf = "[program:x]\ncommand=/bin/echo new\nstartsecs=0\nautorestart=false\nstdout_logfile={dir}/x.out\nstdout_logfile_maxbytes=10\n";
    crate::compare_unstarted(conf, |run| {
        run.write("x.out", "0123456789");
        run.start();
        ended(run);
        run.note("files", NAMES.map(|name| format!("{:?}", run.read(name))).join(" "));
    });
}

#[test]
fn logs_are_appended_over_restarts() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"echo life; sleep 1000\"\nstdout_logfile={dir}/x.out\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        run.ctl(&["restart", "x"]);
        run.note("x.out", run.read("x.out"));
    });
}

#[test]
fn auto_logs_have_a_name_and_a_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let conf =
        "[program:x]\ncommand=/bin/sleep 1000\n[program:y]\ncommand=/bin/cat\nautostart=false\nredirect_stderr=true\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        for (name, stream) in [("x", "stdout"), ("x", "stderr"), ("y", "stdout")] {
            let path = run.info(name)[format!("{stream}_logfile")].as_str().unwrap().to_owned();
            let file = path.strip_prefix(run.dir.to_str().unwrap()).unwrap();
            let prefix = format!("/{name}-{stream}---supervisor-");
            let random = file.strip_prefix(prefix.as_str()).unwrap().strip_suffix(".log").unwrap();
            assert!(
                random.len() == 8 && random.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(run.info("y")["stderr_logfile"], "");
    });
}

#[test]
fn old_auto_logs_are_cleaned_at_start() {
    for nocleanup in [false, true] {
        let conf = format!("[program:x]\ncommand=/bin/sleep 1000\n[supervisord]\nnocleanup={nocleanup}\n");
        crate::compare_unstarted(&conf, |run| {
            let old = [
                "x-stdout---supervisor-abcdefgh.log",
                "gone-stderr---supervisor-12345678.log.3",
                "x-stdout---other-abcdefgh.log",
                "unrelated.log",
            ];
            for name in old {
                run.write(name, "old");
            }
            run.start();
            run.until("x", "RUNNING");
            run.note("left", old.map(|name| run.dir.join(name).exists().to_string()).join(" "));
        });
    }
}

/// Reads the log of a stopped program, which has ten bytes, with every method.
#[test]
fn reading_arithmetic() {
    let conf = "[program:x]\ncommand=/usr/bin/printf 0123456789\nstartsecs=0\nautorestart=false\nstdout_logfile={dir}/x.out\nstderr_logfile=NONE\n";
    compare(conf, |run| {
        ended(run);
        for (offset, length) in [
            (0, 0),
            (0, 5),
            (0, 10),
            (0, 11),
            (3, 0),
            (3, 4),
            (10, 5),
            (11, 0),
            (-3, 0),
            (-10, 0),
            (-50, 0),
            (-3, 2),
            (0, -1),
            (3, -1),
        ] {
            let _ = run.call("supervisor.readProcessStdoutLog", json!(["x", offset, length]));
        }
        for (offset, length) in
            [(0, 0), (0, 5), (0, 10), (0, 11), (5, 10), (10, 5), (9, 1), (3, 0), (-5, 5), (0, -1), (100, 10)]
        {
            let _ = run.call("supervisor.tailProcessStdoutLog", json!(["x", offset, length]));
        }
        let _ = run.call("supervisor.readProcessStderrLog", json!(["x", 0, 10]));
        let _ = run.call("supervisor.tailProcessStderrLog", json!(["x", 0, 10]));
        let _ = run.call("supervisor.readProcessStdoutLog", json!(["nobody", 0, 10]));
        let _ = run.call("supervisor.tailProcessStdoutLog", json!(["nobody", 0, 10]));
        let _ = run.call("supervisor.readProcessLog", json!(["x", 0, 3]));
        let _ = run.call("supervisor.tailProcessLog", json!(["x", 0, 3]));
    });
}

#[test]
fn tail_by_the_client() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"seq 1 1000; echo err >&2\"\nstartsecs=0\nautorestart=false\nstdout_logfile={dir}/x.out\nstderr_logfile={dir}/x.err\n\
                [program:quiet]\ncommand=/bin/cat\nautostart=false\nstdout_logfile=NONE\nstderr_logfile=NONE\n";
    compare(conf, |run| {
        ended(run);
        for args in [
            &["tail", "x"][..],
            &["tail", "-100", "x"],
            &["tail", "-0", "x"],
            &["tail", "x", "stderr"],
            &["tail", "x", "stdout"],
            &["tail", "-3", "x", "stderr"],
            &["tail", "quiet"],
            &["tail", "nobody"],
            &["tail", "x", "bogus"],
        ] {
            run.ctl(args);
        }
        for args in [
            &["tail"][..],
            &["tail", "-y", "x"],
            &["tail", "x", "stdout", "more"],
            &["tail", "-1", "x", "stdout", "more"],
        ] {
            run.ctl_roughly(args);
        }
    });
}

#[test]
fn clearing_a_running_programs_logs() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"echo before; echo err >&2; exec cat\"\nstdout_logfile={dir}/x.out\nstderr_logfile={dir}/x.err\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        run.until_file("x.out", "before");
        run.until_file("x.err", "err");
        run.ctl(&["clear", "x"]);
        run.note("files", format!("{:?} {:?}", run.read("x.out"), run.read("x.err")));
        run.rpc("supervisor.sendProcessStdin", json!(["x", "after\n"])).unwrap();
        run.until_file("x.out", "after");
        run.note("x.out", run.read("x.out"));
        run.ctl(&["clear", "nobody"]);
        run.ctl(&["clear", "all"]);
        run.ctl_roughly(&["clear"]);
        let _ = run.call("supervisor.clearProcessLogs", json!(["nobody"]));
        let _ = run.call("supervisor.clearAllProcessLogs", json!([]));
    });
}

#[test]
fn the_main_log_is_read_and_cleared() {
    compare("[program:x]\ncommand=/bin/cat\nautostart=false\n", |run| {
        let all = run.log();
        assert_eq!(run.rpc("supervisor.readLog", json!([0, 0])).unwrap(), json!(all));
        assert_eq!(run.rpc("supervisor.readLog", json!([-10, 0])).unwrap(), json!(all[all.len() - 10..]));
        assert_eq!(run.rpc("supervisor.readMainLog", json!([5, 7])).unwrap(), json!(all[5..12]));
        let _ = run.call("supervisor.readLog", json!([0, -1]));
        assert_eq!(run.sandbox.ctl(&["maintail", "-5"]).out, format!("{}\n", &all[all.len() - 5..]));
        run.ctl_roughly(&["maintail", "x"]);
        run.ctl_roughly(&["maintail", "a", "b"]);
        run.call("supervisor.clearLog", json!([])).unwrap();
        assert!(!run.log().contains("supervisord started"));
        run.rpc("supervisor.startProcess", json!(["x"])).unwrap();
        assert!(run.log().contains("spawned: 'x'"));
    });
}

#[test]
fn main_log_lines_have_supervisors_format() {
    compare("[program:x]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("x", "RUNNING");
        for line in run.log().lines() {
            let shape: String = line.chars().take(29).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            let (time, level) = shape.split_at(24);
            assert_eq!(time, "9999-99-99 99:99:99,999 ", "{line}");
            assert!(["CRIT ", "ERRO ", "WARN ", "INFO "].contains(&level), "{line}");
        }
        let printed = run.read("stdout");
        assert!(printed.contains("INFO spawned: 'x' with pid"), "in the foreground the log is on stdout too");
    });
}

#[test]
fn the_main_log_rotates() {
    let conf = "[program:x]\ncommand=/bin/false\nstartsecs=0\nautorestart=false\n[supervisord]\nlogfile_maxbytes=200\nlogfile_backups=2\n";
    compare(conf, |run| {
        for _ in 0..12 {
            run.until("x", "EXITED");
            let _ = run.rpc("supervisor.startProcess", json!(["x"]));
        }
        run.until("x", "EXITED");
        crate::harness::wait_for("two backups", || {
            (run.dir.join("main.log.1").exists() && run.dir.join("main.log.2").exists()).then_some(())
        });
        assert!(!run.dir.join("main.log.3").exists());
        let last = run.read("main.log.2");
        assert!(last.len() >= 200 && last.ends_with('\n'), "{last:?}");
    });
}

#[test]
fn silent_prints_nothing() {
    compare("[supervisord]\nsilent=true\n", |run| {
        assert!(run.log().contains("supervisord started with pid"));
        assert_eq!(run.read("stdout"), "");
    });
}

#[test]
fn loglevel_filters() {
    compare("[program:x]\ncommand=/bin/sleep 1000\n[supervisord]\nloglevel=warn\n", |run| {
        run.until("x", "RUNNING");
        run.ctl(&["stop", "x"]);
        assert!(!run.log().contains(" INFO "));
        run.note_history("x");
    });
}

#[test]
fn strip_ansi_applies_to_copies_of_output_too() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"printf '\\033[31mred\\033[0m green\\n'; exec sleep 1000\"\n\
                [supervisord]\nloglevel=debug\nstrip_ansi=true\n";
    compare(conf, |run| {
        run.until_log("DEBG 'x' stdout output:\nred green\n", 1);
        run.stop();
    });
}

#[test]
fn loglevel_debug_copies_output() {
    compare(
        "[program:x]\ncommand=/bin/sh -c \"echo hello; exec sleep 1000\"\n[supervisord]\nloglevel=debug\n",
        |run| {
            run.until_log("DEBG 'x' stdout output:\nhello\n", 1);
        },
    );
}

#[test]
fn another_programs_bytes_count_for_rotation() {
    let conf = "[program:x]\nstartsecs=0\nautorestart=false\nstdout_logfile={dir}/x.out\nstdout_logfile_maxbytes=1000\n\
        command=sh -c 'echo a line of 16 byt; until test -e {dir}/go; do sleep 0.05; done; echo a line of 16 byt; until test -e {dir}/x.out.1; do sleep 0.05; done; echo end'\n";
    compare(conf, |run| {
        run.until_file("x.out", "a line");
        let mut file = std::fs::OpenOptions::new().append(true).open(run.dir.join("x.out")).unwrap();
        std::io::Write::write_all(&mut file, &[b'x'; 5_000]).unwrap();
        run.write("go", "");
        ended(run);
        for name in NAMES {
            run.note(name, run.read(name));
        }
    });
}
