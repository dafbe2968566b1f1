//! The waits between starts (`backoff_*`, `restart_delay`) and the limit of restarts (`restart_limit`).

use super::differences::check;
use crate::harness::{Sandbox, wait_for};

/// A program that writes the time of its start, in milliseconds, to a file of its name, and exits with 1.
fn failing(name: &str, options: &str) -> String {
    format!("[program:{name}]\ncommand=/bin/sh -c 'date +%%s%%3N >> {{dir}}/{name}.starts; exit 1'\n{options}")
}

/// The times between the first starts of a program, in milliseconds, as soon as there are `count` of them.
fn waits(sandbox: &Sandbox, name: &str, count: usize) -> Vec<i64> {
    let starts = wait_for(&format!("{count} waits of {name}"), || {
        let starts: Vec<i64> =
            sandbox.read(&format!("{name}.starts")).lines().map(|line| line.parse().unwrap()).collect();
        (starts.len() > count).then_some(starts)
    });
    starts.windows(2).take(count).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn the_waits_after_failed_starts_follow_the_options() {
    let conf = [
        failing("linear", "backoff_delay=0.2\nstartretries=4\n"),
        failing("factor", "backoff_delay=0.1\nbackoff_factor=3\nbackoff_limit=0.5\nstartretries=4\n"),
        failing("jitter", "backoff_delay=0.2\nbackoff_factor=1\nbackoff_jitter=0.5\nstartretries=6\n"),
    ];
    let sandbox = super::rsup(&conf.concat());
    // A wait is never shorter than configured. The sums show that it is not Supervisor's: 1 + 2 + 3 + 4 seconds.
    for (name, expected) in [("linear", [200, 400, 600, 800]), ("factor", [100, 300, 500, 500])] {
        sandbox.until(name, "FATAL");
        let waits = waits(&sandbox, name, 4);
        assert!(waits.iter().zip(expected).all(|(wait, least)| *wait >= least), "{name}: {waits:?}");
        assert!(waits.iter().sum::<i64>() < 10_000, "{name}: {waits:?}");
    }
    sandbox.until("jitter", "FATAL");
    let waits = waits(&sandbox, "jitter", 6);
    assert!(waits.iter().all(|wait| *wait >= 100), "{waits:?}");
    assert!(waits.iter().max().unwrap() - waits.iter().min().unwrap() > 5, "jitter spreads them: {waits:?}");
}

#[test]
fn a_restart_waits_for_restart_delay_and_a_client_can_start_or_stop_meanwhile() {
    let conf = [
        failing("slow", "startsecs=0\nautorestart=true\nrestart_delay=2.5\n"),
        failing("clone", "startsecs=0\nautorestart=true\nrestartPause=2\n"),
        failing("held", "startsecs=0\nautorestart=true\nrestart_delay=3600\n"),
        failing("floor", "startsecs=0\nautorestart=true\nrestart_delay=0.1\n"),
    ];
    let sandbox = super::rsup(&conf.concat());
    for (name, least) in [("slow", 2500), ("clone", 2000), ("floor", 900)] {
        let waits = waits(&sandbox, name, 2);
        assert!(waits.iter().all(|wait| *wait >= least), "{name}: {waits:?}");
    }
    sandbox.until("held", "EXITED");
    assert_eq!(sandbox.ctl(&["start", "held"]).out, "held: started\n");
    assert_eq!(waits(&sandbox, "held", 1).len(), 1);
    sandbox.until("held", "EXITED");
    assert_eq!(sandbox.ctl(&["stop", "held"]).out, "held: stopped\n");
    assert_eq!(sandbox.state("held"), "EXITED");
}

#[test]
fn a_program_beyond_its_restart_limit_is_fatal_and_says_why() {
    let quick = "startsecs=0\nautorestart=true\nrestart_limit=2/3600\n";
    let sandbox = super::rsup(&failing("app", quick));
    sandbox.until("app", "FATAL");
    assert_eq!(waits(&sandbox, "app", 2).len(), 2);
    assert_eq!(sandbox.read("app.starts").lines().count(), 3);
    let why = "more than 2 restarts in 3600 s (restart_limit)";
    let info = sandbox.info("app");
    assert_eq!((info["spawnerr"].as_str(), info["description"].as_str()), (Some(why), Some(why)));
    sandbox.until_log(&format!("gave up: app entered FATAL state, {why}"), 1);
}

#[test]
fn restarts_beyond_the_limit_of_the_supervisor_end_it() {
    let programs = [failing("a", "startsecs=0\nautorestart=true\n"), failing("b", "startsecs=0\nautorestart=true\n")];
    for (from, code) in [("", 1), ("exit_code_from=b\n", 1)] {
        let conf = format!("[supervisord]\nrestart_limit=3/3600\n{from}{}", programs.concat());
        let mut sandbox = super::short_lived(&conf);
        assert_eq!(sandbox.wait(), code);
        let reason = "more than 3 restarts in 3600 s (restart_limit): the last of ";
        let stderr = sandbox.read("stderr");
        assert!(super::last_line(&stderr).contains(reason), "{stderr}");
    }
}

#[test]
fn wrong_values_are_refused_with_what_to_write() {
    for (line, wanted) in [
        ("backoff_delay=-1", "backoff_delay must be a number of seconds, such as 8 or 9.5, not `-1`"),
        ("backoff_limit=1m", "backoff_limit must be a number of seconds"),
        ("restart_delay=", "restart_delay must be a number of seconds"),
        ("restartPause=x", "restartpause: restart_delay must be a number of seconds"),
        ("backoff_factor=0.5", "backoff_factor must be a number from 1 to 1000, such as 2 or 1.5, not `0.5`"),
        ("backoff_factor=nan", "backoff_factor must be a number from 1 to 1000"),
        ("restart_limit=5", "restart_limit must be restarts/seconds, such as 5/60, not `5`"),
        ("restart_limit=5/0", "restart_limit must be restarts/seconds, such as 5/60, not `5/0`"),
        ("backoff_jitter=1.1", "backoff_jitter must be a number from 0 to 1, such as 0.1, not `1.1`"),
    ] {
        let checked = check(&format!("[program:a]\ncommand=cat\n{line}\n"));
        assert!(
            checked.code == 2
                && checked
                    .out
                    .contains(&format!(":3: error: [program:a] {}", line.split('=').next().unwrap().to_lowercase())),
            "{line}: {checked:?}"
        );
        assert!(checked.out.contains(wanted.split(": ").last().unwrap()), "{line}: {checked:?}");
    }
}
