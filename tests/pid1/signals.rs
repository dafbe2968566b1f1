//! Every signal that an init can see reaches its program.

use crate::init::{Init, Running, python, words};
use rsup::sys::signals::{Received, forward, send};
use std::collections::BTreeSet;

for_each_init!(every_signal_is_passed_on, all_queued_signals_arrive, a_stopped_program_is_waited_for);

/// 9 and 19 cannot be caught. libc reserves 32 and 33, so the Python program cannot wait for them.
const UNSEEN: [i32; 4] = [9, 19, 32, 33];

fn every_signal_is_passed_on(init: Init) {
    let kept: &[i32] = match init {
        Init::Rsup => &[],
        // tini and catatonit do not forward the signals of program errors and of the terminal, whatever their source.
        Init::Tini => &[4, 5, 6, 7, 8, 11, 17, 21, 22, 31],
        Init::Catatonit => &[4, 5, 6, 7, 8, 11, 17, 20, 21, 22, 31],
        // dumb-init sends STOP instead of 20 to 22.
        Init::DumbInit => &[17, 20, 21, 22],
    };
    let Some(command) = init.as_pid1(&words(&python("watch"))) else { return };
    let mut running = Running::start(command);
    running.line("ready", |line| line.starts_with("ready"));
    let pid1 = running.child();
    let sent = (1..=64).filter(|signal| !UNSEEN.contains(signal));
    let sent: Vec<i32> =
        sent.filter(|&signal| signal != 15 && (init != Init::DumbInit || !kept.contains(&signal))).collect();
    for &signal in &sent {
        send(pid1, signal).unwrap();
        if !kept.contains(&signal) {
            running.line(&format!("{signal}"), |line| line.starts_with(&format!("{signal} ")));
        }
    }
    send(pid1, 15).unwrap();
    assert_eq!(running.end(), 42);
    let seen: BTreeSet<i32> = running.text().lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert_eq!(seen, sent.into_iter().chain([15]).filter(|signal| !kept.contains(signal)).collect());
}

fn all_queued_signals_arrive(init: Init) {
    let Some(command) = init.as_pid1(&words(&python("watch"))) else { return };
    let mut running = Running::start(command);
    running.line("ready", |line| line.starts_with("ready"));
    let pid1 = running.child();
    for value in 0..40 {
        forward(pid1, &Received { signo: 40, code: libc::SI_QUEUE, pid: 0, uid: 0, value }).unwrap();
    }
    let fortieth = || (running.text().lines().filter(|line| line.starts_with("40 ")).count() == 40).then_some(());
    crate::harness::wait_for("40 signals", fortieth);
    send(pid1, 15).unwrap();
    assert_eq!(running.end(), 42);
    let text = running.text();
    let values: Vec<&str> =
        text.lines().filter(|line| line.starts_with("40 ")).map(|line| line.rsplit_once(' ').unwrap().1).collect();
    // The other inits use kill(2), which loses the values.
    if init == Init::Rsup {
        assert_eq!(values, (0..40).map(|value| value.to_string()).collect::<Vec<_>>());
    }
}

fn a_stopped_program_is_waited_for(init: Init) {
    let Some(command) = init.as_pid1(&words(&python("watch"))) else { return };
    let mut running = Running::start(command);
    running.line("ready", |line| line.starts_with("ready"));
    let pid1 = running.child();
    let program = crate::init::children(pid1)[0];
    send(program, libc::SIGSTOP).unwrap();
    crate::harness::wait_for("the stop", || (crate::init::stat(program, 3)? == "T").then_some(()));
    // The init waits for the stopped program until it is continued.
    send(pid1, libc::SIGCONT).unwrap();
    running.line("CONT", |line| line.starts_with("18 "));
    send(pid1, 15).unwrap();
    assert_eq!(running.end(), 42);
}
