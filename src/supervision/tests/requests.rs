//! Requests in the simulated world: the names in their faults, programs that are added and removed, what is logged; and
//! the invariants that `debug_assert` checks.

use super::super::KEPT_EFFECTS;
use super::super::requests::{Goal, PendingRequest};
use super::*;
use crate::config::model::LogLevel;
use std::collections::VecDeque;

fn name(text: &str) -> Target {
    Target::Name(text.into())
}

fn fault(code: FaultCode, extra: &str) -> Fault {
    Fault::new(code, extra)
}

fn statuses(world: &World, ticket: Ticket) -> Vec<(&str, Option<Fault>)> {
    match world.replies.get(&ticket) {
        Some(Reply::Statuses(list)) => list.iter().map(|status| (status.name.as_str(), status.fault.clone())).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_knows_its_name_and_its_kind() {
    let mut listener = program("l", |_| {});
    let (events, result_handler) = (vec!["EVENT".into()], String::new());
    listener.kind = GroupKind::Listeners(Box::new(ListenerConfig { events, buffer_size: 10, result_handler }));
    let groups = vec![program("a", |_| {}), group("g", 1, vec![program("b", |_| {})]), listener];
    let world = World::new(config(groups, |_| {}), &[]);
    let all: Vec<_> = world.supervision.all().map(|(_, p)| (p.namespec(), p.is_listener())).collect();
    assert_eq!(all, [("a".to_owned(), false), ("g:b".into(), false), ("l".into(), true)]);
}

#[test]
fn a_restart_that_is_due_can_be_cancelled_and_is_not_the_end() {
    let crashing = |p: &mut ProcessConfig| (p.startsecs, p.essential) = (0, true);
    let mut world = World::new(config(vec![program("a", crashing)], |_| {}), &[("a", fails(300, 1))]).boot();
    world.run_until(5300);
    assert_eq!((world.state("a"), world.ended()), (State::Exited, None));
    world.stop(1, "a").stop(2, "a").run_until(60_000);
    assert_eq!((world.replies.get(&1), world.fault(2)), (Some(&Reply::True), Some(FaultCode::NotRunning)));
    assert_eq!((world.state("a"), world.ended()), (State::Exited, None));
}

#[test]
fn nothing_restarts_in_a_shutdown() {
    let groups = vec![program("a", |_| {}), program("b", |p| p.autostart = false)];
    let mut world = World::new(config(groups, |_| {}), &[("a", slow(500))]).boot();
    let b = world.supervision.find("b", "b").unwrap();
    world.run_until(2000).terminate().input(Input::Restart(b));
    assert_eq!(world.state("b"), State::Stopped);
    world.run_until(60_000);
    assert_eq!((world.ended(), world.next_pid), (Some((2500, 0)), 101));
}

#[test]
fn the_name_in_a_fault_is_the_one_given_and_of_a_group_the_process() {
    let missing = |name: &str| program(name, |p| p.autostart = false);
    let groups = vec![group("g", 1, vec![missing("a"), missing("b")])];
    let scripts = [("a", Script { unspawnable: true, ..WELL }), ("b", fails(300, 1))];
    let mut world = World::new(config(groups, |_| {}), &scripts).boot();
    world.ask(1, Command::Stop { target: name("g:a"), wait: true });
    assert_eq!(world.replies.get(&1), Some(&Reply::Fault(fault(FaultCode::NotRunning, "g:a"))));
    for (ticket, target) in [(2, name("g:*")), (3, Target::Group("g".into())), (4, Target::All)] {
        world.ask(ticket, Command::Start { target, wait: true });
        world.run_until(ticket * 10_000);
        let failed = fault(FaultCode::SpawnError, "b");
        assert_eq!(statuses(&world, ticket), [("a", Some(fault(FaultCode::NoFile, "a"))), ("b", Some(failed))]);
        // The next start finds it in no running state.
        world.ask(ticket + 100, Command::Stop { target: Target::All, wait: true }).run_until(ticket * 10_000 + 100);
    }
}

#[test]
fn a_start_while_it_is_being_stopped_is_logged_and_one_while_it_runs_is_not() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", slow(500))]).boot();
    world.run_until(2000).start(1, "a").stop(2, "a").start(3, "a");
    assert_eq!(
        [1, 3].map(|ticket| world.fault(ticket)),
        [Some(FaultCode::AlreadyStarted), Some(FaultCode::AbnormalTermination)]
    );
    assert_eq!(world.log.iter().filter(|line| *line == "process 'a' already running").count(), 1);
}

#[test]
fn a_bad_signal_is_a_fault_for_each_process_of_a_request_for_many() {
    let groups = vec![program("a", |_| {}), program("b", |p| p.autostart = false)];
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    let bad = || ("NONE".to_owned(), None);
    world.ask(1, Command::Signal { target: name("a"), signal: bad() });
    world.ask(2, Command::Signal { target: Target::All, signal: bad() });
    assert_eq!(world.replies.get(&1), Some(&Reply::Fault(fault(FaultCode::BadSignal, "NONE"))));
    assert_eq!(statuses(&world, 2), [("a", Some(fault(FaultCode::BadSignal, "NONE")))]);
    world.ask(3, Command::Signal { target: name("b"), signal: ("HUP".into(), Some(1)) });
    assert_eq!(world.replies.get(&3), Some(&Reply::Fault(fault(FaultCode::NotRunning, "b"))));
}

#[test]
fn programs_are_added_to_a_group_and_removed_from_it() {
    let groups = vec![group("g", 1, vec![program("m", |_| {})])];
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    let new = |name: &str, autostart| program(name, |p| p.autostart = autostart).processes;
    world.ask(1, Command::AddPrograms("g".into(), [new("z", true), new("b", false)].concat()));
    assert_eq!(world.replies.get(&1), Some(&Reply::True));
    assert_eq!((world.state("g:z"), world.state("g:b")), (State::Starting, State::Stopped));
    let names = |world: &World| -> Vec<_> { world.supervision.all().map(|(_, p)| p.config.name.clone()).collect() };
    assert_eq!(names(&world), ["b", "m", "z"]);
    // Each process has the group as it is now.
    assert!(world.supervision.all().all(|(_, process)| process.group.processes.len() == 3));
    world.ask(2, Command::AddPrograms("g".into(), new("m", true)));
    world.ask(3, Command::AddPrograms("none".into(), new("x", true)));
    world.ask(4, Command::RemoveProcess("g".into(), "z".into()));
    world.ask(5, Command::RemoveProcess("g".into(), "nothing".into()));
    assert_eq!(
        [2, 3, 4, 5].map(|ticket| world.replies.get(&ticket).cloned().unwrap()),
        [
            (FaultCode::BadName, "m"),
            (FaultCode::BadName, "group: none"),
            (FaultCode::StillRunning, "z"),
            (FaultCode::BadName, "nothing")
        ]
        .map(|(code, extra)| Reply::Fault(fault(code, extra)))
    );
    world.ask(6, Command::RemoveProcess("g".into(), "b".into()));
    assert_eq!((world.replies.get(&6), names(&world)), (Some(&Reply::True), vec!["m".to_owned(), "z".into()]));
    let (_, left) = world.supervision.all().next().unwrap();
    let left: Vec<&str> = left.group.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(left, ["m", "z"]);
    assert!(world.supervision.find("g", "b").is_none() && world.supervision.find("g", "z").is_some());
}

#[test]
fn backoff_is_logged() {
    let groups = || vec![program("a", |p| p.startretries = 5), program("b", |p| p.startretries = 0)];
    let scripts = [("a", fails(100, 1)), ("b", fails(100, 1))];
    let gave_up = |name| format!("gave up: {name} entered FATAL state, too many start retries too quickly");
    let lines = |world: &World, line: &str| world.log.iter().filter(|own| own.starts_with(line)).count();
    let mut world = World::new(config(groups(), |_| {}), &scripts).boot();
    world.run_until(2500);
    assert_eq!((world.state("a"), lines(&world, "Attempted")), (State::Backoff, 0));
    world.stop(1, "a").run_until(5000);
    assert_eq!(lines(&world, "Attempted to kill a, which is in BACKOFF state."), 1);
    assert_eq!((lines(&world, &gave_up("b")), lines(&world, &gave_up("a"))), (1, 0));
    // In a shutdown BACKOFF becomes FATAL without a line, as in Supervisor.
    let mut world = World::new(config(groups(), |_| {}), &scripts).boot();
    world.run_until(500).terminate();
    assert_eq!((world.state("a"), lines(&world, &gave_up("a")), lines(&world, "Attempted")), (State::Fatal, 0, 0));
    // A program whose startsecs end in a shutdown is RUNNING, and has its line.
    let groups = vec![program("c", |p| (p.startsecs, p.priority) = (3, 1)), program("d", |_| {})];
    let mut world = World::new(config(groups, |_| {}), &[("d", slow(5000))]).boot();
    world.run_until(1500).terminate().run_until(4000);
    assert_eq!((world.state("c"), lines(&world, "success: c entered RUNNING")), (State::Running, 1));
}

#[test]
fn every_effect_is_returned_and_the_queue_shrinks() {
    let groups = (0..200).map(|n| program(&format!("p{n}"), |_| {})).collect();
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    assert_eq!(world.children.len(), 200);
    assert!(world.supervision.effects.capacity() <= KEPT_EFFECTS);
    world.supervision.effects = VecDeque::with_capacity(KEPT_EFFECTS);
    assert!(world.supervision.next_effect().is_none());
    assert!(world.supervision.effects.capacity() >= KEPT_EFFECTS, "what is small enough is kept");
}

#[test]
fn each_broken_invariant_is_found() {
    let sound = || {
        let mut world = World::new(config(vec![program("a", |_| {}), program("b", |_| {})], |_| {}), &[]).boot();
        world.start(1, "nothing").stop(2, "b");
        world.supervision
    };
    assert_eq!(sound().broken_invariant(), None);
    type Break = fn(&mut Supervision);
    let broken: [(&str, Break); 7] = [
        ("a deadline that no timer has", |it| {
            let armed = it.process(0).unwrap().armed.unwrap();
            it.timers.remove(&(armed, 0));
            it.timers.insert((armed, 77));
        }),
        ("a timer that is missing", |it| _ = it.timers.pop_first()),
        ("a timer of no process", |it| _ = it.timers.insert((Mono(1), 77))),
        ("a process that does not know its timer", |it| it.process_mut(0).unwrap().armed = None),
        ("a process in no group", |it| it.groups.get_mut("b").unwrap().members.clear()),
        ("a request without items", |it| it.requests.push(PendingRequest::single(9))),
        ("a request that is reached already", |it| {
            let mut request = PendingRequest::single(9);
            let goal = Goal::Start { wait: false };
            request.items.push(it.new_item(0, goal, "a".into()));
            it.requests.push(request);
        }),
    ];
    for (what, break_it) in broken {
        let mut supervision = sound();
        break_it(&mut supervision);
        assert!(supervision.broken_invariant().is_some(), "{what}");
    }
    let mut log = sound();
    log.log(LogLevel::Info, "a line breaks nothing".into());
    assert_eq!(log.broken_invariant(), None);
}

#[test]
fn spawnerr_says_why_the_last_start_or_run_failed() {
    let spawnerr = |script, autorestart| {
        let groups = vec![program("a", |p| (p.autorestart, p.startretries) = (autorestart, 0))];
        let mut world = World::new(config(groups, |_| {}), &[("a", script)]).boot();
        world.run_until(3000);
        world.supervision.all().next().unwrap().1.spawnerr.to_string()
    };
    let never = AutoRestart::Never;
    assert_eq!(spawnerr(fails(100, 3), never), "Exited too quickly (process log may have details)");
    assert_eq!(spawnerr(fails(2000, 3), never), "Bad exit code 3");
    assert_eq!(spawnerr(fails(2000, 0), never), "");
    assert_eq!(spawnerr(Script { unspawnable: true, ..WELL }, never), "can't find command 'a'");
    // The next attempt begins without a reason.
    assert_eq!(spawnerr(fails(2000, 3), AutoRestart::Always), "");
}

#[test]
fn a_signal_that_finds_no_process_is_logged_and_counts_as_sent() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[]).boot();
    world.run_until(2000);
    let now = world.now();
    world
        .supervision
        .handle(Input::Command(1, Command::Signal { target: name("a"), signal: ("HUP".into(), Some(1)) }), now);
    let signal = std::iter::from_fn(|| world.supervision.next_effect()).find_map(|effect| match effect {
        Effect::Signal { id, purpose, .. } => Some((id, purpose)),
        _ => None,
    });
    let (id, purpose) = signal.unwrap();
    world.input(Input::Signalled(id, purpose, SignalResult::Gone));
    assert_eq!(world.replies.get(&1), Some(&Reply::True));
    let line = "unable to signal a (pid 101), it probably just exited on its own: No such process";
    assert_eq!(world.log.last().unwrap(), line);
}

#[test]
fn a_request_whose_process_is_removed_is_a_fault() {
    let groups = vec![program("a", |p| p.autostart = false), program("b", |p| p.autostart = false)];
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    let now = world.now();
    // Both commands come in before the first one's effects are carried out.
    for (ticket, program) in [(1, "a"), (2, "b")] {
        let start = Command::Start { target: name(program), wait: true };
        world.supervision.handle(Input::Command(ticket, start), now);
    }
    world.supervision.effects.clear();
    world.ask(3, Command::RemoveGroup("a".into()));
    assert_eq!(world.replies.get(&1), Some(&Reply::Fault(fault(FaultCode::BadName, "a"))));
    assert_eq!((world.replies.get(&2), world.replies.get(&3)), (None, Some(&Reply::True)));
}

#[test]
fn a_start_that_a_stop_ends_has_not_failed_to_spawn() {
    let groups = vec![program("a", |p| (p.autostart, p.startsecs) = (false, 5))];
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    world.start(1, "a").run_until(1000).stop(2, "a").run_until(2000);
    assert_eq!((world.fault(1), world.replies.get(&2)), (Some(FaultCode::AbnormalTermination), Some(&Reply::True)));
}

#[test]
fn without_wait_the_answer_comes_with_the_fork_and_with_the_signal() {
    let groups = vec![program("a", |p| p.autostart = false)];
    let mut world = World::new(config(groups, |_| {}), &[("a", slow(500))]).boot();
    world.defers_forks = true;
    world.ask(1, Command::Start { target: name("a"), wait: false });
    assert_eq!(world.replies.get(&1), None);
    world.fork();
    assert_eq!(world.replies.get(&1), Some(&Reply::True));
    world.run_until(2000);
    let now = world.now();
    world.supervision.handle(Input::Command(2, Command::Stop { target: name("a"), wait: false }), now);
    let effects: Vec<Effect> = std::iter::from_fn(|| world.supervision.next_effect()).collect();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Reply(..))), "{effects:?}");
    effects.into_iter().filter_map(|effect| world.perform(effect)).collect::<Vec<_>>().into_iter().for_each(|input| {
        world.input(input);
    });
    assert_eq!((world.replies.get(&2), world.state("a")), (Some(&Reply::True), State::Stopping));
    // There is no signal to wait for while only its process group is swept.
    let sweeping = program("b", |p| (p.sweep, p.startretries) = (true, 5));
    let script = Script { leaves: Some(None), ..fails(300, 1) };
    let mut world = World::new(config(vec![sweeping], |_| {}), &[("b", script)]).boot();
    world.run_until(400).ask(1, Command::Stop { target: name("b"), wait: false });
    assert_eq!((world.replies.get(&1), world.state("b")), (Some(&Reply::True), State::Stopping));
}

#[test]
fn a_reload_waits_for_its_command_or_for_the_end_of_the_program() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", slow(100))]).boot();
    world.run_until(2000);
    let a = world.supervision.find("a", "a").unwrap();
    let reload = |world: &mut World, ticket| {
        world.ask(ticket, Command::Reload(a, "a".into()));
        assert_eq!(world.replies.get(&ticket), None);
    };
    reload(&mut world, 1);
    world.input(Input::Reloaded(a, Ok(())));
    assert_eq!(world.replies.get(&1), Some(&Reply::True));
    // Two requests have the result of the last run.
    reload(&mut world, 2);
    reload(&mut world, 3);
    world.input(Input::Reloaded(a, Err("no".into())));
    assert_eq!([2, 3].map(|ticket| world.fault(ticket)), [Some(FaultCode::Failed); 2]);
    reload(&mut world, 4);
    world.stop(5, "a").run_until(10_000);
    assert_eq!(world.fault(4), Some(FaultCode::NotRunning));
    // A result that comes too late changes nothing.
    world.input(Input::Reloaded(a, Ok(())));
}
