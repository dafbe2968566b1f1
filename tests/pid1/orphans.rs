//! Orphans are reaped however many there are, and delay nothing else.

use crate::harness::wait_for;
use crate::init::{Init, Running, children, python, stat, words};
use rsup::sys::signals::send;

for_each_init!(
    ten_thousand_orphans_leave_no_zombie,
    signals_are_forwarded_during_a_storm_of_orphans,
    a_subreaper_reaps_orphans
);

fn ten_thousand_orphans_leave_no_zombie(init: Init) {
    let mut command = python("orphans");
    command.push("10000".to_owned());
    let Some(command) = init.as_pid1(&words(&command)) else { return };
    let mut running = Running::start(command);
    assert_eq!(running.end(), 0);
    assert_eq!(running.text(), "left 0\n");
}

fn signals_are_forwarded_during_a_storm_of_orphans(init: Init) {
    let Some(command) = init.as_pid1(&words(&python("storm"))) else { return };
    let mut running = Running::start(command);
    running.line("ready", |line| line == "ready");
    send(running.child(), libc::SIGTERM).unwrap();
    assert_eq!(running.end(), 43);
}

fn a_subreaper_reaps_orphans(init: Init) {
    let running = Running::start(init.here(&["sh", "-c", "sh -c 'sleep 1000 & echo orphan $!'; exec sleep 1000"]));
    let line = running.line("orphan", |line| line.starts_with("orphan "));
    let orphan: i32 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    let adopted = || stat(orphan, 4).as_deref() == Some(&running.pid().to_string());
    // dumb-init is not a subreaper.
    if init == Init::DumbInit {
        wait_for("the exit of its shell", || (children(running.child()).is_empty()).then_some(()));
        assert!(!adopted());
    } else {
        wait_for("the adoption", || adopted().then_some(()));
        send(orphan, libc::SIGKILL).unwrap();
        wait_for("the reaping", || stat(orphan, 3).is_none().then_some(()));
    }
    let _ = send(orphan, libc::SIGKILL);
}
