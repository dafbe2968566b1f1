//! The exhaustive test: every reachable state × every event × every policy, with every fork and kill failing or not. These
//! are 174,764 states and 9.7 million steps under some 200 policies, which take ten to twenty seconds of one core. Then the rules of
//! supervisor-behaviour.md, one test each.

use super::*;
use crate::config::model::Readiness;
use crate::config::model::{ExitCodes, Lifecycle, ProcessConfig, StopSignal};
use crate::config::policy::Backoff;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const PID: Pid = 7;

fn at(tenths: u64) -> Mono {
    Mono(tenths * 100_000_000)
}

/// The state of the simulated system outside of `Core`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    /// A live child.
    alive: bool,
    /// A dead leader whose group has live members.
    group: bool,
    /// The last request was to run, or there was none and it may run by itself.
    wanted: bool,
    /// The supervisor is shutting down.
    is_shutting_down: bool,
    /// A fork was requested, and is still to come.
    due: bool,
    /// The hook that runs.
    hook: Option<Hook>,
}

const BASE: Mono = Mono(100_000_000_000);

/// Shifts every time in `core` so that `now` becomes `BASE` again. Times more than three seconds ago count as equal.
fn relative(core: Core, now: Mono) -> Core {
    let begun = |t: Mono| Mono(BASE.0 - (now.0 - t.0).min(3_000_000_000));
    let due = |t: Mono| Mono(BASE.0 + t.0.saturating_sub(now.0));
    let timer = |kill| match kill {
        KillTimer::Due(at) => KillTimer::Due(due(at)),
        KillTimer::Sent(at) => KillTimer::Sent(due(at)),
    };
    let phase = match core.phase {
        Phase::Starting(StartStep::Up { pid, since, ready }) => {
            let ready = if let Ready::By(by) = ready { Ready::By(by.map(due)) } else { ready };
            Phase::Starting(StartStep::Up { pid, since: begun(since), ready })
        }
        Phase::Starting(StartStep::Failing { pid, kill }) => {
            Phase::Starting(StartStep::Failing { pid, kill: timer(kill) })
        }
        Phase::Running { pid, since, abort } => Phase::Running { pid, since: begun(since), abort: abort.map(timer) },
        Phase::Backoff { retry_at } => Phase::Backoff { retry_at: retry_at.map(due) },
        Phase::Stopping { step, then } => {
            let step = match step {
                StopStep::WaitingForExit { pid, kill, next } => {
                    let next = next.map(|(place, at)| (place, due(at)));
                    StopStep::WaitingForExit { pid, kill: timer(kill), next }
                }
                StopStep::WaitingForHook { pid, kill } => StopStep::WaitingForHook { pid, kill: timer(kill) },
                StopStep::WaitingForDependents { pid, kill_by } => {
                    StopStep::WaitingForDependents { pid, kill_by: kill_by.map(due) }
                }
                StopStep::WaitingForCleanup { pid } => StopStep::WaitingForCleanup { pid },
            };
            Phase::Stopping { step, then }
        }
        Phase::Exited { restart_at } => Phase::Exited { restart_at: restart_at.map(due) },
        other => other,
    };
    let remains = core.remains.map(|r| Remains { pgid: r.pgid, kill: timer(r.kill), check_at: due(r.check_at) });
    let hook = core.hook.map(|(hook, kill_at)| (hook, due(kill_at)));
    Core { phase, remains, hook, ..core }
}

#[derive(Default)]
struct Tally {
    states: usize,
    steps: usize,
    transitions: BTreeSet<(State, State)>,
}

/// Explores everything reachable under one policy.
fn explore(policy: &Policy, tally: &mut Tally) {
    let first = (
        relative(Core::default(), BASE),
        World { alive: false, group: false, wanted: false, is_shutting_down: false, due: false, hook: None },
    );
    let mut seen = BTreeSet::from([first]);
    let mut todo = VecDeque::from([first]);
    while let Some((core, world)) = todo.pop_front() {
        for wait in [0, 500_000_000, 1_000_000_000, 3_000_000_000] {
            let now = Mono(BASE.0 + wait);
            for event in events(&core, world) {
                let mut frontier = vec![(core, world, event)];
                while let Some((core, world, event)) = frontier.pop() {
                    tally.steps += 1;
                    for (core, world, answer) in apply(core, world, event, now, policy, tally) {
                        match answer {
                            Some(event) => frontier.push((core, world, event)),
                            None => {
                                invariants(&core, world, now, policy);
                                let node = (relative(core, now), world);
                                if seen.insert(node) {
                                    todo.push_back(node);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    tally.states += seen.len();
}

fn waits_for_dependents(core: &Core) -> bool {
    matches!(core.phase, Phase::Stopping { step: StopStep::WaitingForDependents { .. }, .. })
}

/// The events that can happen next.
fn events(core: &Core, world: World) -> Vec<Event> {
    let mut events = vec![Event::Start, Event::Stop, Event::Restart, Event::KillNow, Event::TimePassed];
    if world.due && core.wants_fork() {
        events.extend([Event::Spawned(PID), Event::SpawnFailed]);
    }
    events.push(Event::ShutdownBegan);
    for kill_by in [None, Some(BASE.after_ms(500))] {
        events.push(Event::StopForShutdown { kill_by });
    }
    if world.alive {
        for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal { number: 9, core: false }] {
            for remains in [false, true] {
                events.push(Event::Exited { exit, remains });
            }
        }
    }
    if world.group {
        events.push(Event::GroupEmpty);
    }
    if let Some(hook) = world.hook {
        events.extend([Event::HookEnded(hook, true), Event::HookEnded(hook, false)]);
    }
    if core.waits_for_others() {
        events.extend([Event::DependenciesMet, Event::DependencyFailed]);
    }
    if waits_for_dependents(core) {
        events.push(Event::DependentsGone);
    }
    if let Phase::Starting(StartStep::Up { ready: Ready::By(_), .. }) = core.phase {
        events.extend([Event::Ready, Event::NotReady, Event::ExtendReady(BASE.after_ms(2500))]);
    }
    if let Phase::Running { .. } = core.phase {
        events.push(Event::WatchdogExpired);
    }
    // A supervisor that shuts down accepts no stops, and stops processes only after `ShutdownBegan`.
    events.retain(|event| match event {
        Event::Stop => !world.is_shutting_down,
        Event::StopForShutdown { .. } => world.is_shutting_down,
        _ => true,
    });
    events
}

/// One step, and every outcome of its actions, each with the answer that must be fed back.
fn apply(
    mut core: Core,
    mut world: World,
    event: Event,
    now: Mono,
    policy: &Policy,
    tally: &mut Tally,
) -> Vec<(Core, World, Option<Event>)> {
    let before = core;
    let context = || format!("{before:?} {event:?} {policy:?}");
    match event {
        Event::Start | Event::Restart if world.is_shutting_down => {}
        Event::Start => world.wanted = true,
        // A stop under way stays one.
        Event::Restart => world.wanted |= before.state() != State::Stopping,
        Event::Stop
            if before.state().is_running()
                || before.is_restarting()
                || matches!(before.phase, Phase::Exited { .. } | Phase::Unknown { .. }) =>
        {
            world.wanted = false;
        }
        // A process that cannot be stopped is not restarted.
        Event::SignalFailed if before.state() == State::Stopping => world.wanted = false,
        Event::ShutdownBegan | Event::StopForShutdown { .. } | Event::KillNow => {
            world.wanted = false;
            world.is_shutting_down = true;
        }
        Event::Exited { remains, .. } => {
            assert!(world.alive);
            world.alive = false;
            world.group = remains;
        }
        Event::GroupEmpty => world.group = false,
        Event::HookEnded(hook, _) => assert_eq!(world.hook.take(), Some(hook), "{}", context()),
        Event::Spawned(_) | Event::SpawnFailed => {
            assert!(!world.group && world.wanted && !world.is_shutting_down, "an unwanted fork: {}", context());
            (world.alive, world.due) = (matches!(event, Event::Spawned(_)), false);
        }
        _ => {}
    }
    let mut out = Vec::new();
    core.step(event, now, policy, &mut out);
    let mut shown = before.state();
    let mut answers = vec![None];
    for action in &out {
        match *action {
            Action::StateChanged { from, to, pid, .. } => {
                let has_none = [State::Stopped, State::Starting, State::Backoff, State::Fatal].contains(&to)
                    || before.pid().or(before.remains.map(|remains| remains.pgid)).is_none();
                assert!(has_none || pid == PID, "the event has the pid of the child: {}", context());
                assert_eq!(from, shown, "the transitions form a chain: {}", context());
                assert_ne!(from, to, "{}", context());
                tally.transitions.insert((from, to));
                shown = to;
            }
            Action::Spawn => {
                assert!(!world.alive, "a spawn while a child lives: {}", context());
                assert!(!world.group, "a spawn while remains live: {}", context());
                assert!(world.wanted, "an unwanted spawn: {}", context());
                assert!(!world.is_shutting_down, "a spawn during shutdown: {}", context());
                assert_eq!(answers, [None], "one thing at a time: {}", context());
                // At once, or later.
                world.due = true;
                answers = vec![Some(Event::Spawned(PID)), Some(Event::SpawnFailed), None];
            }
            Action::CheckDependencies | Action::CheckDependents => {}
            Action::RunHook(hook) => {
                assert_eq!(world.hook.replace(hook), None, "one hook at a time: {}", context());
                assert!(hook != Hook::PreStart || !world.alive && !world.group && world.wanted, "{}", context());
                assert!(hook != Hook::PostStop || !world.alive, "{}", context());
                assert!(!matches!(hook, Hook::PreStop | Hook::StopCommand) || world.alive, "{}", context());
            }
            Action::KillHook(hook) | Action::HookTimedOut(hook) => {
                assert_eq!(world.hook.take(), Some(hook), "a hook that does not run is killed: {}", context());
            }
            Action::ReadyTimeout => assert!(world.alive, "{}", context()),
            Action::StopSignal(pid, _) | Action::Kill(pid) | Action::Abort(pid) => {
                assert!(world.alive && core.pid() == Some(pid), "a signal to a pid not held: {}", context());
                answers = vec![None, Some(Event::SignalFailed)];
            }
            Action::Sweep { pgid, kill } => {
                assert!(world.group && pgid == PID, "a sweep of a group not held: {}", context());
                answers.push(Some(Event::GroupEmpty));
                answers.extend(kill.then_some(Some(Event::SweepRefused)));
            }
            Action::CheckGroup(pgid) => {
                assert!(world.group && pgid == PID, "a check of a group not held: {}", context())
            }
            Action::ReleaseGroup(pgid) => {
                assert!(world.group && pgid == PID, "a group not held is abandoned: {}", context());
                world.group = false;
            }
            Action::Ended { .. } => assert!(matches!(event, Event::Exited { .. }), "{}", context()),
        }
    }
    assert_eq!(shown, core.state(), "the last transition is the state: {}", context());
    let checks = |action| out.contains(&action);
    let has_begun = core.waits_for_others() && !before.waits_for_others();
    assert!(!has_begun || checks(Action::CheckDependencies), "it waits for no answer: {}", context());
    let has_begun = waits_for_dependents(&core) && !waits_for_dependents(&before);
    assert!(!has_begun || checks(Action::CheckDependents), "it waits for no answer: {}", context());
    answers.into_iter().map(|answer| (core, world, answer)).collect()
}

/// What holds between steps.
fn invariants(core: &Core, world: World, now: Mono, policy: &Policy) {
    let context = format!("{core:?} {world:?} {policy:?}");
    assert_eq!(core.pid().is_some(), world.alive, "a pid is held exactly while the child lives: {context}");
    assert_eq!(core.hook.map(|(hook, _)| hook), world.hook, "a hook is known exactly while it runs: {context}");
    assert_eq!(core.remains.is_some(), world.group, "remains are known exactly while they live: {context}");
    if let Phase::Backoff { .. } = core.phase {
        assert!(
            core.backoff >= 1 && policy.retries.is_some_and(|r| core.backoff <= r),
            "retries are bounded: {context}"
        );
    }
    if world.is_shutting_down {
        assert!(
            !matches!(core.phase, Phase::Backoff { retry_at: Some(_) } | Phase::Exited { restart_at: Some(_) }),
            "nothing starts by itself in a shutdown: {context}"
        );
    }
    match core.phase {
        Phase::Starting(StartStep::WaitingForFork) => {
            assert!(world.due && !core.is_cleaning_up(), "a start that waits for nothing: {context}");
        }
        Phase::Starting(StartStep::WaitingForHook) => {
            assert_eq!(world.hook, Some(Hook::PreStart), "a start that waits for nothing: {context}");
        }
        Phase::Stopping { step: StopStep::WaitingForHook { .. }, .. } => {
            assert_eq!(world.hook, Some(Hook::PreStop), "a stop that waits for nothing: {context}");
        }
        Phase::Starting(StartStep::WaitingForCleanup)
        | Phase::Stopping { step: StopStep::WaitingForCleanup { .. }, .. } => {
            assert!(core.is_cleaning_up(), "a cleanup of nothing: {context}");
        }
        _ => {}
    }
    assert!(!(world.is_shutting_down && core.is_restarting()), "a restart during shutdown: {context}");
    assert!(!core.is_restarting() || world.wanted, "a restart against a later stop: {context}");
    // No busy loop: after `TimePassed` at any time the next deadline is in the future.
    let (mut woken, mut out) = (*core, Vec::new());
    woken.step(Event::TimePassed, now, policy, &mut out);
    if !out.contains(&Action::Spawn) {
        assert!(woken.deadline(policy).is_none_or(|at| at > now), "a deadline that does not pass: {context}");
    }
    // No process is stuck: what must still change by itself has a deadline or a child whose end will come.
    let must_move = matches!(
        core.phase,
        Phase::Starting(StartStep::WaitingForHook | StartStep::Failing { .. })
            | Phase::Stopping { step: StopStep::WaitingForHook { .. } | StopStep::WaitingForExit { .. }, .. }
            | Phase::Exited { restart_at: Some(_) }
            | Phase::Backoff { retry_at: Some(_) }
    ) || core.is_cleaning_up();
    assert!(!must_move || core.deadline(policy).is_some(), "stuck: {context}");
}

/// Configurations with the options that Supervisor does not have, alone and together.
fn graph_configs() -> Vec<ProcessConfig> {
    type Change = fn(&mut Lifecycle);
    let changes: [Change; 10] = [
        |of| of.depends_on = vec!["db".into()],
        |of| of.oneshot = true,
        |of| of.ready = Some(Readiness::Notify),
        |of| (of.ready, of.ready_timeout_ms) = (Some(Readiness::Notify), 1000),
        |of| of.pre_start = Some("a".into()),
        |of| of.pre_stop = Some("a".into()),
        |of| of.stop_command = Some("a".into()),
        |of| of.post_stop = Some("a".into()),
        |of| {
            let stop = |signal, wait_ms| StopSignal { signal, wait_ms };
            of.stop_sequence = vec![stop(15, 1000), stop(2, 500)];
        },
        |of| of.sweep_wait_ms = 500,
    ];
    let mut configs = Vec::new();
    for (place, change) in changes.iter().enumerate() {
        for other in &changes[place..] {
            let is_alone = std::ptr::eq(change, other);
            for &stopwaitsecs in if is_alone { &[0, 2][..] } else { &[1] } {
                let mut config = ProcessConfig { stopwaitsecs, startretries: 1, ..ProcessConfig::default() };
                config.lifecycle.hook_timeout_ms = 1000;
                change(&mut config.lifecycle);
                other(&mut config.lifecycle);
                configs.push(config);
            }
        }
    }
    let mut all = ProcessConfig { autorestart: AutoRestart::Always, ..ProcessConfig::default() };
    changes.iter().for_each(|change| change(&mut all.lifecycle));
    all.lifecycle.oneshot = false;
    configs.push(all);
    configs
}

#[test]
fn every_state_event_and_policy_keeps_the_invariants() {
    let mut tally = Tally::default();
    let seconds = [0, 1, 2].map(Duration::from_secs);
    for autorestart in [AutoRestart::Never, AutoRestart::Unexpected, AutoRestart::Always] {
        for startsecs in seconds {
            for retries in [None, Some(0), Some(1), Some(3)] {
                for stopwaitsecs in seconds {
                    let exitcodes = ExitCodes::from_iter([0]);
                    let default = ProcessConfig::default();
                    let default = Policy::from(&default);
                    explore(
                        &Policy { autorestart, exitcodes, startsecs, retries, stop_time: stopwaitsecs, ..default },
                        &mut tally,
                    );
                }
            }
        }
        let mut config = ProcessConfig { autorestart, ..ProcessConfig::default() };
        (config.lifecycle.restart_delay_ms, config.lifecycle.backoff_delay_ms) = (1500, 500);
        explore(&Policy::from(&config), &mut tally);
        explore(&Policy { may_restart: false, ..Policy::from(&config) }, &mut tally);
    }
    for config in graph_configs() {
        for has_live_dependents in [false, config.stopwaitsecs != 1] {
            let policy = Policy { has_live_dependents, ..Policy::from(&config) };
            explore(&policy, &mut tally);
        }
    }
    use State::*;
    let expected = BTreeSet::from([
        (Starting, Fatal),
        (Starting, Exited),
        (Stopped, Starting),
        (Starting, Running),
        (Starting, Backoff),
        (Starting, Stopping),
        (Running, Exited),
        (Running, Stopping),
        (Backoff, Starting),
        (Backoff, Fatal),
        (Backoff, Stopped),
        (Backoff, Stopping),
        (Stopping, Stopped),
        (Stopping, Unknown),
        (Unknown, Stopped),
        (Unknown, Stopping),
        (Exited, Starting),
        (Exited, Fatal),
        (Fatal, Starting),
    ]);
    assert_eq!(tally.transitions, expected);
    // An exploration that stops early proves nothing.
    assert!(tally.states > 10_000, "{} states, {} steps", tally.states, tally.steps);
    println!("{} states, {} steps", tally.states, tally.steps);
}

/// A process on a virtual clock.
struct Case {
    core: Core,
    policy: Policy<'static>,
    now: Mono,
    out: Vec<Action>,
}

impl Case {
    fn new(change: impl FnOnce(&mut ProcessConfig)) -> Self {
        let mut config = ProcessConfig::default();
        change(&mut config);
        // A few bytes a test: the policy borrows from the configuration.
        let config: &'static ProcessConfig = Box::leak(Box::new(config));
        Case { core: Core::default(), policy: Policy::from(config), now: at(1000), out: Vec::new() }
    }

    fn event(&mut self, event: Event) -> &mut Self {
        self.core.step(event, self.now, &self.policy, &mut self.out);
        self
    }

    fn spawn(&mut self) -> &mut Self {
        self.event(Event::Start).event(Event::Spawned(PID))
    }

    fn exit(&mut self, code: u8) -> &mut Self {
        self.event(Event::Exited { exit: Exit::Code(code), remains: false })
    }

    fn after(&mut self, tenths: u64) -> &mut Self {
        self.now = Mono(self.now.0 + tenths * 100_000_000);
        self.event(Event::TimePassed)
    }

    /// The states gone through since the last call.
    fn states(&mut self) -> Vec<State> {
        self.out
            .drain(..)
            .filter_map(|action| match action {
                Action::StateChanged { to, .. } => Some(to),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn retries_wait_one_second_more_each_time_and_then_it_is_fatal() {
    let mut case = Case::new(|_| {});
    case.spawn();
    for attempt in 1..=3_u64 {
        assert_eq!(case.exit(0).states(), [State::Starting, State::Backoff], "attempt {attempt}");
        assert_eq!(case.core.deadline(&case.policy), Some(Mono(case.now.0 + attempt * 1_000_000_000)));
        assert_eq!(case.after(10 * attempt - 1).states(), []);
        case.after(1).event(Event::Spawned(PID));
    }
    assert_eq!(case.exit(0).states(), [State::Starting, State::Backoff, State::Fatal]);
    assert_eq!(case.core.deadline(&case.policy), None);
}

#[test]
fn the_waits_after_failed_starts_are_a_table() {
    let ms = Duration::from_millis;
    for (delay_ms, factor, limit, deviation, waits) in [
        (1000, None, None, 0, [1000, 2000, 3000, 4000]),
        (250, None, None, 0, [250, 500, 750, 1000]),
        (0, None, None, 0, [0, 0, 0, 0]),
        (1000, None, Some(2500), 0, [1000, 2000, 2500, 2500]),
        (500, Some(2000), None, 0, [500, 1000, 2000, 4000]),
        (500, Some(1500), Some(1100), 0, [500, 750, 1100, 1100]),
        (1000, Some(1000), None, 0, [1000, 1000, 1000, 1000]),
        (1000, None, None, 100, [1100, 2200, 3300, 4400]),
        (1000, None, Some(3000), -250, [750, 1500, 2250, 3000]),
        (1000, Some(2000), None, -1000, [0, 0, 0, 0]),
    ] {
        let mut config = ProcessConfig::default();
        let Lifecycle { backoff_delay_ms, backoff_factor_milli, backoff_limit_ms, .. } = &mut *config.lifecycle;
        (*backoff_delay_ms, *backoff_factor_milli, *backoff_limit_ms) = (delay_ms, factor, limit);
        let backoff = Backoff { deviation_milli: deviation, ..Policy::from(&config).backoff };
        assert_eq!([1, 2, 3, 4].map(|n| backoff.wait(n)), waits.map(ms), "{config:?} {deviation}");
        // However many failures there were, and whatever the factor: a wait, not a panic.
        assert!(backoff.wait(u32::MAX) <= limit.map_or(Duration::MAX, |limit| ms(limit.into())));
    }
}

#[test]
fn a_restart_waits_for_restart_delay_or_for_the_second_of_its_start() {
    for (lived, delay_ms, due) in [(10, 0, 1010), (10, 2500, 1035), (5, 100, 1010), (5, 900, 1014), (50, 100, 1051)] {
        let mut case = Case::new(|config| (config.startsecs, config.lifecycle.restart_delay_ms) = (0, delay_ms));
        case.spawn().after(lived).out.clear();
        case.exit(1);
        let expected = if delay_ms == 0 { State::Starting } else { State::Exited };
        assert_eq!(case.core.state(), expected, "{lived} {delay_ms}");
        if delay_ms > 0 {
            assert_eq!(case.core.deadline(&case.policy), Some(at(due)), "{lived} {delay_ms}");
            assert!(!case.core.is_at_rest());
        }
    }
}

#[test]
fn negative_startretries_is_fatal_after_the_first_failure() {
    let mut case = Case::new(|config| config.startretries = -1);
    assert_eq!(
        case.event(Event::Start).event(Event::SpawnFailed).states(),
        [State::Starting, State::Backoff, State::Fatal]
    );
}

#[test]
fn running_comes_exactly_when_startsecs_are_over() {
    let mut case = Case::new(|config| config.startsecs = 2);
    case.spawn();
    assert_eq!(case.core.deadline(&case.policy), Some(at(1020)));
    assert_eq!(case.after(19).states(), [State::Starting]);
    assert_eq!(case.after(1).states(), [State::Running]);
}

#[test]
fn an_expected_exit_before_startsecs_is_still_too_quick() {
    assert_eq!(Case::new(|_| {}).spawn().exit(0).states(), [State::Starting, State::Backoff]);
}

#[test]
fn startsecs_0_runs_at_once_and_an_early_exit_is_exited() {
    let mut case = Case::new(|config| config.startsecs = 0);
    assert_eq!(case.spawn().exit(0).states(), [State::Starting, State::Running, State::Exited]);
    assert!(case.core.is_at_rest());
}

#[test]
fn a_crash_within_a_second_waits_until_the_second_is_over() {
    let mut case = Case::new(|config| config.startsecs = 0);
    case.spawn().after(3).exit(1);
    assert_eq!(case.states(), [State::Starting, State::Running, State::Exited]);
    assert_eq!(case.core.deadline(&case.policy), Some(at(1010)));
    assert_eq!(case.after(7).states(), [State::Starting]);
}

#[test]
fn a_crash_after_a_second_restarts_at_once() {
    let mut case = Case::new(|_| {});
    case.spawn().after(10).states();
    assert_eq!(case.exit(1).states(), [State::Exited, State::Starting]);
}

#[test]
fn stop_start_and_shutdown_while_a_restart_is_held() {
    let held = || {
        let mut case = Case::new(|config| config.startsecs = 0);
        case.spawn().exit(1).states();
        case
    };
    let mut case = held();
    assert_eq!(case.event(Event::Stop).after(30).states(), []);
    assert_eq!(case.core.state(), State::Exited);
    assert_eq!(held().event(Event::Start).states(), [State::Starting]);
    assert_eq!(held().event(Event::ShutdownBegan).after(30).states(), []);
}

#[test]
fn the_restart_policy_is_a_table() {
    use AutoRestart::*;
    for (autorestart, code, again) in [
        (Never, 0, false),
        (Never, 1, false),
        (Unexpected, 0, false),
        (Unexpected, 1, true),
        (Always, 0, true),
        (Always, 1, true),
    ] {
        let mut case = Case::new(|config| config.autorestart = autorestart);
        case.spawn().after(10).exit(code);
        let last = if again { State::Starting } else { State::Exited };
        assert_eq!(case.core.state(), last, "{autorestart:?} {code}");
    }
}

#[test]
fn a_stop_in_backoff_is_stopped_and_resets_the_count() {
    let mut case = Case::new(|_| {});
    case.event(Event::Start).event(Event::SpawnFailed).states();
    assert_eq!(case.event(Event::Stop).states(), [State::Stopped]);
    assert_eq!(case.after(100).states(), []);
    case.event(Event::Start);
    assert_eq!(case.core.backoff, 0);
}

#[test]
fn kill_comes_when_stopwaitsecs_are_over_and_again() {
    let mut case = Case::new(|config| config.stopwaitsecs = 3);
    case.spawn().after(10).event(Event::Stop).out.clear();
    assert_eq!(case.after(29).out, []);
    assert_eq!(case.after(1).out, [Action::Kill(PID)]);
    assert_eq!(case.after(30).out, [Action::Kill(PID), Action::Kill(PID)]);
    case.event(Event::Exited { exit: Exit::Signal { number: 9, core: false }, remains: false });
    assert_eq!(case.states(), [State::Stopped]);
}

#[test]
fn remains_get_term_and_delay_the_restart() {
    let mut case = Case::new(|config| config.stopwaitsecs = 2);
    case.spawn().after(20).out.clear();
    case.event(Event::Exited { exit: Exit::Code(1), remains: true });
    assert_eq!(case.out.iter().filter(|a| **a == Action::Sweep { pgid: PID, kill: false }).count(), 1);
    assert_eq!(case.core.state(), State::Exited);
    case.out.clear();
    case.after(20);
    assert_eq!(case.out, [Action::Sweep { pgid: PID, kill: true }, Action::CheckGroup(PID)]);
    case.out.clear();
    assert_eq!(case.event(Event::GroupEmpty).states(), [State::Starting]);
}

#[test]
fn a_stop_ends_only_with_the_remains() {
    let mut case = Case::new(|_| {});
    case.spawn().after(10).event(Event::Stop);
    case.event(Event::Exited { exit: Exit::Code(0), remains: true }).out.clear();
    assert_eq!(case.core.state(), State::Stopping);
    assert_eq!(case.event(Event::GroupEmpty).states(), [State::Stopped]);
}

#[test]
fn a_restart_in_backoff_waits_for_the_end_of_the_remains() {
    use State::*;
    let mut case = Case::new(|_| {});
    case.spawn().event(Event::Exited { exit: Exit::Code(1), remains: true }).states();
    assert_eq!(case.event(Event::Restart).states(), [Stopping]);
    assert_eq!(case.event(Event::GroupEmpty).states(), [Stopped, Starting]);
    assert!(case.core.wants_fork());
}

#[test]
fn a_late_report_of_an_empty_group_changes_nothing() {
    // A restart is due in this moment, but only `TimePassed` makes it.
    let mut case = Case::new(|config| config.startsecs = 0);
    case.spawn().exit(1).out.clear();
    case.now = at(1010);
    assert_eq!(case.event(Event::GroupEmpty).out, []);
    assert_eq!(case.core.state(), State::Exited);
}

#[test]
fn a_shutdown_shortens_the_sweep_and_the_stop_under_way() {
    let kill_by = Some(at(1015));
    let mut case = Case::new(|config| config.stopwaitsecs = 60);
    case.spawn().after(10).event(Event::Stop).event(Event::StopForShutdown { kill_by }).out.clear();
    assert_eq!(case.after(5).out, [Action::Kill(PID)]);
    let mut case = Case::new(|config| config.stopwaitsecs = 60);
    case.spawn().after(10).event(Event::Exited { exit: Exit::Code(1), remains: true });
    case.event(Event::StopForShutdown { kill_by }).out.clear();
    assert_eq!(case.after(5).out, [Action::Sweep { pgid: PID, kill: true }, Action::CheckGroup(PID)]);
}

#[test]
fn an_exit_in_the_moment_when_startsecs_are_over_is_one_of_a_running_program() {
    let mut case = Case::new(|config| config.startsecs = 2);
    case.spawn().states();
    case.now = at(1020);
    assert_eq!(case.exit(0).states(), [State::Running, State::Exited]);
}

#[test]
fn a_start_waits_for_the_end_of_the_remains() {
    let mut case = Case::new(|config| config.autorestart = AutoRestart::Never);
    case.spawn().after(10).event(Event::Exited { exit: Exit::Code(0), remains: true }).out.clear();
    assert_eq!(
        case.event(Event::Start).out,
        [Action::StateChanged { from: State::Exited, to: State::Starting, pid: PID, tries: 0 }]
    );
    case.out.clear();
    assert_eq!(case.event(Event::GroupEmpty).out, [Action::Spawn]);
}

#[test]
fn a_kill_that_is_refused_makes_it_unknown_until_it_ends() {
    let mut case = Case::new(|_| {});
    case.spawn().after(10).event(Event::Stop).states();
    assert_eq!(case.event(Event::SignalFailed).states(), [State::Unknown]);
    assert_eq!(case.exit(0).states(), [State::Stopped]);
}

#[test]
fn an_unknown_process_can_be_stopped_again() {
    for event in [Event::Stop, Event::StopForShutdown { kill_by: None }] {
        let mut case = Case::new(|_| {});
        case.spawn().after(10).event(Event::Stop).event(Event::SignalFailed).out.clear();
        case.event(event);
        assert_eq!((case.out.last(), case.core.state()), (Some(&Action::StopSignal(PID, 0)), State::Stopping));
        // KILL comes after the whole of stopwaitsecs, however long ago the first stop was.
        assert_eq!(case.core.deadline(&case.policy), Some(Mono(case.now.0 + 10_000_000_000)));
    }
    let mut case = Case::new(|_| {});
    case.spawn().after(10).event(Event::Stop).event(Event::SignalFailed).out.clear();
    assert_eq!(case.event(Event::KillNow).out.last(), Some(&Action::Kill(PID)));
}

#[test]
fn a_restart_is_a_stop_and_then_a_start() {
    use State::*;
    let exit = |remains| Event::Exited { exit: Exit::Signal { number: 15, core: false }, remains };
    let mut case = Case::new(|_| {});
    case.spawn().after(10).event(Event::Restart);
    assert_eq!(case.out.last(), Some(&Action::StopSignal(PID, 0)));
    assert_eq!(case.event(exit(false)).states(), [Starting, Running, Stopping, Stopped, Starting]);
    assert!(case.core.wants_fork());
    // With a sweep the start waits for its end.
    let mut case = Case::new(|_| {});
    case.spawn().after(10).event(Event::Restart).event(exit(true)).states();
    assert_eq!(case.core.state(), Stopping);
    assert_eq!(case.event(Event::GroupEmpty).states(), [Stopped, Starting]);
    // A process that does not live is started; one that waits for its next try does not wait any more.
    assert_eq!(Case::new(|_| {}).event(Event::Restart).states(), [Starting]);
    let mut case = Case::new(|_| {});
    case.event(Event::Start).event(Event::SpawnFailed).states();
    assert_eq!(case.event(Event::Restart).states(), [Stopped, Starting]);
    assert_eq!(case.core.backoff, 0);
    // One that waits for its fork has all that a restart would give it.
    let mut case = Case::new(|_| {});
    assert_eq!(case.event(Event::Start).event(Event::Restart).states(), [Starting]);
}

#[test]
fn a_stop_takes_precedence_over_a_restart() {
    for events in [[Event::Restart, Event::Stop], [Event::Stop, Event::Restart], [Event::Restart, Event::ShutdownBegan]]
    {
        let mut case = Case::new(|_| {});
        case.spawn().after(10).event(events[0]).event(events[1]).states();
        assert_eq!(case.exit(0).after(100).states(), [State::Stopped], "{events:?}");
    }
}

#[test]
fn the_state_codes_are_those_of_supervisor() {
    use State::*;
    let codes: BTreeMap<_, _> = [Stopped, Starting, Running, Backoff, Stopping, Exited, Fatal, Unknown]
        .map(|state| (state as i32, state.name()))
        .into();
    let expected = [
        (0, "STOPPED"),
        (10, "STARTING"),
        (20, "RUNNING"),
        (30, "BACKOFF"),
        (40, "STOPPING"),
        (100, "EXITED"),
        (200, "FATAL"),
        (1000, "UNKNOWN"),
    ];
    assert_eq!(codes, expected.into());
}
