//! A simulated world for tests: a virtual clock, scripted children, and the whole of `Supervision` between them. Nothing
//! sleeps; time jumps to the next deadline.

mod graph;
mod requests;

use super::process::{Hook, Pid, State};
use super::{
    AfterShutdown, Command, Effect, Fault, FaultCode, GroupChanges, Input, Purpose, Reply, SignalResult, Supervision,
    SupervisorState, Target, Ticket,
};
use crate::config::model::{
    AutoRestart, Config, ExitCodeFrom, GroupConfig, GroupKind, ListenerConfig, ProcessConfig, RestartLimit,
    ServerConfig,
};
use crate::posix::Exit;
use crate::time::{Mono, Now, Wall};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How a child behaves. Times are in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Script {
    /// Ends by itself after so long.
    ends: Option<(u64, Exit)>,
    /// How long it takes to end after the stop signal; `None`: it ignores the signal.
    obeys: Option<u64>,
    /// Leaves a member of its process group, which ends so long after TERM (`None`: only KILL ends it).
    leaves: Option<Option<u64>>,
    /// KILL does not end it.
    immortal: bool,
    /// Its fork fails.
    unspawnable: bool,
    /// The remains of its group cannot be signalled.
    guarded: bool,
    /// When it is ready after its fork, if it has `ready`; `None`: never.
    ready: Option<u64>,
    /// How long its hooks take, and whether they succeed; `None`: they hang.
    hook: Option<(u64, bool)>,
}

const WELL: Script = Script {
    ends: None,
    obeys: Some(0),
    leaves: None,
    immortal: false,
    unspawnable: false,
    guarded: false,
    ready: Some(0),
    hook: Some((0, true)),
};

#[derive(Debug)]
struct Child {
    id: u32,
    script: Script,
    /// When it ends, and how.
    due: Option<(u64, Exit)>,
}

struct World {
    supervision: Supervision,
    scripts: BTreeMap<String, Script>,
    children: BTreeMap<Pid, Child>,
    /// Live members of groups whose leader is dead, and when they end.
    groups: BTreeMap<Pid, (u32, Option<u64>)>,
    next_pid: Pid,
    millis: u64,
    log: Vec<String>,
    signals: Vec<(u64, String, i32)>,
    replies: BTreeMap<Ticket, Reply>,
    finish: Option<(u64, AfterShutdown)>,
    /// Forks wait until `World::fork`.
    defers_forks: bool,
    forks: Vec<u32>,
    /// The number of stop signals and KILLs that fail from now on.
    refusals: u32,
    /// Signs of readiness, of the child with this pid, and ends of hooks, that are still to come.
    later: Vec<(u64, Result<Pid, Hook>, Input)>,
    /// The processes that have ended, with the time.
    ends: Vec<(u64, u32)>,
}

fn refused() -> SignalResult {
    SignalResult::Failed("Operation not permitted".into())
}

fn program(name: &str, change: impl FnOnce(&mut ProcessConfig)) -> GroupConfig {
    let mut config = ProcessConfig { name: name.into(), command: name.into(), ..ProcessConfig::default() };
    change(&mut config);
    let priority = config.priority;
    GroupConfig { name: name.into(), priority, kind: GroupKind::Programs, processes: vec![Rc::new(config)] }
}

fn group(name: &str, priority: i32, members: Vec<GroupConfig>) -> GroupConfig {
    let processes = members.into_iter().flat_map(|member| member.processes).collect();
    GroupConfig { name: name.into(), priority, kind: GroupKind::Programs, processes }
}

fn config(groups: Vec<GroupConfig>, change: impl FnOnce(&mut ServerConfig)) -> Config {
    let mut server = ServerConfig::default();
    change(&mut server);
    let mut groups: Vec<Rc<GroupConfig>> = groups.into_iter().map(Rc::new).collect();
    groups.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    Config { server, groups, ..Config::default() }
}

impl World {
    fn new(config: Config, scripts: &[(&str, Script)]) -> Self {
        World {
            supervision: Supervision::new(config),
            scripts: scripts.iter().map(|(name, script)| ((*name).to_owned(), *script)).collect(),
            children: BTreeMap::new(),
            groups: BTreeMap::new(),
            next_pid: 100,
            millis: 1_000_000,
            log: Vec::new(),
            signals: Vec::new(),
            replies: BTreeMap::new(),
            finish: None,
            defers_forks: false,
            forks: Vec::new(),
            refusals: 0,
            later: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Makes the forks that were deferred.
    fn fork(&mut self) -> &mut Self {
        self.defers_forks = false;
        for id in std::mem::take(&mut self.forks) {
            if self.supervision.wants_fork(id) {
                let input = self.perform(Effect::Spawn(id)).unwrap();
                self.input(input);
            }
        }
        self
    }

    fn boot(mut self) -> Self {
        self.input(Input::Booted);
        self
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.millis * 1_000_000), wall: Wall { secs: (self.millis / 1000) as i64, nanos: 0 } }
    }

    fn input(&mut self, input: Input) {
        self.supervision.handle(input, self.now());
        while let Some(effect) = self.supervision.next_effect() {
            if let Some(input) = self.perform(effect) {
                self.supervision.handle(input, self.now());
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Spawn(id) if self.defers_forks => {
                self.forks.push(id);
                None
            }
            // Its shutdown began in the same step.
            Effect::Spawn(id)
                if self.supervision.state() != SupervisorState::Running && !self.supervision.wants_fork(id) =>
            {
                None
            }
            Effect::Spawn(id) => {
                assert!(self.supervision.wants_fork(id));
                let name = &self.supervision.process(id).unwrap().config.name;
                let script = self.scripts.get(name).copied().unwrap_or(WELL);
                if script.unspawnable {
                    return Some(Input::SpawnFailed(id, format!("can't find command '{name}'")));
                }
                self.next_pid += 1;
                let due = script.ends.map(|(after, exit)| (self.millis + after, exit));
                self.children.insert(self.next_pid, Child { id, script, due });
                let has_ready = self.supervision.process(id).unwrap().config.lifecycle.ready.is_some();
                if let Some(after) = script.ready.filter(|_| has_ready) {
                    self.later.push((self.millis + after, Ok(self.next_pid), Input::Ready(id)));
                }
                Some(Input::Spawned(id, self.next_pid))
            }
            Effect::Probe(item, id) => {
                let name = self.supervision.process(id).unwrap().config.name.clone();
                let missing = self.scripts.get(&name).is_some_and(|script| script.unspawnable);
                let result = if missing { Err(Fault::new(FaultCode::NoFile, name)) } else { Ok(()) };
                Some(Input::Probed(item, result))
            }
            Effect::Signal { id, pid, signal, purpose, .. } => {
                let name = self.supervision.process(id).unwrap().config.name.clone();
                if matches!(purpose, Purpose::Sweep { .. }) && self.is_empty(pid) {
                    return Some(Input::GroupEmpty(id));
                }
                self.signals.push((self.millis, name.clone(), signal));
                match purpose {
                    Purpose::Stop if self.refusals > 0 => {
                        self.refusals -= 1;
                        return Some(Input::Signalled(id, purpose, refused()));
                    }
                    Purpose::Sweep { .. } if self.scripts.get(&name).is_some_and(|script| script.guarded) => {
                        return Some(Input::Signalled(id, purpose, refused()));
                    }
                    Purpose::Sweep { .. } => {
                        let leader = self.groups.get_mut(&pid).expect("a group that is held");
                        let obeys = if signal == 9 { Some(0) } else { leader.1 };
                        leader.1 = obeys.map(|after| self.millis + after);
                    }
                    Purpose::Stop | Purpose::Request(_) => {
                        let child = self.children.get_mut(&pid).expect("a signal to a child that lives");
                        let exit = Exit::Signal { number: signal, core: false };
                        match (signal, child.script) {
                            (9, Script { immortal: false, .. }) => child.due = Some((self.millis, exit)),
                            (9, _) => {}
                            (_, Script { obeys: Some(after), .. }) => child.due = Some((self.millis + after, exit)),
                            _ => {}
                        }
                    }
                }
                Some(Input::Signalled(id, purpose, SignalResult::Sent))
            }
            Effect::CheckGroup(id, pgid) => self.is_empty(pgid).then_some(Input::GroupEmpty(id)),
            Effect::ReleaseGroup(pgid) => {
                self.groups.remove(&pgid).expect("a group that is held");
                None
            }
            Effect::Log(_, line) => {
                self.log.push(line);
                None
            }
            Effect::Reply(ticket, reply) => {
                assert!(self.replies.insert(ticket, reply).is_none(), "one answer for one question");
                None
            }
            Effect::Finished(finish) => {
                assert!(self.finish.is_none());
                self.finish = Some((self.millis, finish));
                None
            }
            Effect::RunHook(id, hook) => {
                let script = self.scripts.get(&self.supervision.process(id).unwrap().config.name).copied();
                if let Some((after, is_ok)) = script.unwrap_or(WELL).hook {
                    let result = if is_ok { Ok(()) } else { Err("it failed".into()) };
                    self.later.push((self.millis + after, Err(hook), Input::HookEnded(id, hook, result)));
                }
                None
            }
            Effect::KillHook(id, hook) => {
                self.later.retain(
                    |(_, _, input)| !matches!(input, &Input::HookEnded(of, kind, _) if (of, kind) == (id, hook)),
                );
                None
            }
            Effect::StateChanged(..)
            | Effect::SupervisorStateChanged(_)
            | Effect::GroupAdded(_)
            | Effect::GroupRemoved(_)
            | Effect::ProcessesAdded(_)
            | Effect::ProcessesRemoved(_)
            | Effect::Reload(_) => None,
        }
    }

    /// Whether a process group is empty; it is then released.
    fn is_empty(&mut self, pgid: Pid) -> bool {
        let gone = self.groups.get(&pgid).is_none_or(|(_, due)| due.is_some_and(|at| at <= self.millis));
        if gone {
            self.groups.remove(&pgid);
        }
        gone
    }

    /// Lets time go to `until` (milliseconds from the start of the world), or until the supervisor has finished.
    fn run_until(&mut self, until: u64) -> &mut Self {
        let until = 1_000_000 + until;
        let mut turns = 0;
        while self.finish.is_none() {
            turns += 1;
            assert!(turns < 100_000, "it never comes to rest");
            let dying = self.children.iter().filter_map(|(pid, child)| Some((child.due?.0, *pid))).min();
            let deadline = self.supervision.next_deadline().map(|at| at.0.div_ceil(1_000_000));
            let later = (0..self.later.len()).min_by_key(|at| self.later[*at].0);
            let next =
                [dying.map(|(at, _)| at), deadline, later.map(|at| self.later[at].0)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.millis = self.millis.max(next);
            match dying.filter(|(at, _)| *at <= self.millis) {
                Some((_, pid)) => self.die(pid),
                None if later.is_some_and(|at| self.later[at].0 <= self.millis) => {
                    let (_, of, input) = self.later.remove(later.unwrap());
                    if of.is_err() || of.is_ok_and(|pid| self.children.contains_key(&pid)) {
                        self.input(input);
                    }
                }
                None => self.input(Input::TimePassed),
            }
        }
        self.millis = self.millis.max(until);
        self
    }

    fn die(&mut self, pid: Pid) {
        let child = self.children.remove(&pid).unwrap();
        let (_, exit) = child.due.unwrap();
        self.ends.push((self.millis, child.id));
        let sweep = self.supervision.process(child.id).is_some_and(|process| process.config.sweep);
        let remains = sweep && child.script.leaves.is_some();
        if remains {
            self.groups.insert(pid, (child.id, child.script.leaves.unwrap()));
        }
        self.input(Input::Exited(child.id, exit, remains));
    }

    fn ask(&mut self, ticket: Ticket, command: Command) -> &mut Self {
        self.input(Input::Command(ticket, command));
        self
    }

    fn start(&mut self, ticket: Ticket, name: &str) -> &mut Self {
        self.ask(ticket, Command::Start { target: Target::Name(name.into()), wait: true })
    }

    fn stop(&mut self, ticket: Ticket, name: &str) -> &mut Self {
        self.ask(ticket, Command::Stop { target: Target::Name(name.into()), wait: true })
    }

    fn terminate(&mut self) -> &mut Self {
        self.input(Input::Terminate("received SIGTERM".into()));
        self
    }

    fn state(&self, name: &str) -> State {
        let (group, name) = crate::protocol::split_namespec(name);
        let id = self.supervision.find(group, name.unwrap()).unwrap();
        self.supervision.process(id).unwrap().state()
    }

    fn fault(&self, ticket: Ticket) -> Option<FaultCode> {
        match self.replies.get(&ticket) {
            Some(Reply::Fault(fault)) => Some(fault.code),
            _ => None,
        }
    }

    /// When it finished, in milliseconds from the start of the world, and the exit code.
    fn ended(&self) -> Option<(u64, u8)> {
        match &self.finish {
            Some((at, AfterShutdown::Exit { code, .. })) => Some((at - 1_000_000, *code)),
            _ => None,
        }
    }

    fn signalled(&self, signal: i32) -> Vec<(u64, &str)> {
        let signals = self.signals.iter().filter(|(_, _, number)| *number == signal);
        signals.map(|(at, name, _)| (at - 1_000_000, name.as_str())).collect()
    }
}

fn fails(after: u64, code: u8) -> Script {
    Script { ends: Some((after, Exit::Code(code))), ..WELL }
}

fn slow(stop: u64) -> Script {
    Script { obeys: Some(stop), ..WELL }
}

const STUBBORN: Script = Script { obeys: None, ..WELL };

#[test]
fn autostart_goes_by_group_priority_then_process_priority() {
    let members = vec![program("late", |p| p.priority = 5), program("early", |p| p.priority = 1)];
    let groups = vec![
        program("last", |p| p.priority = 900),
        group("mixed", 10, members),
        program("first", |p| p.priority = 1),
        program("never", |p| p.autostart = false),
    ];
    let world = World::new(config(groups, |_| {}), &[]).boot();
    let spawned: Vec<&str> = world.log.iter().filter_map(|line| line.split('\'').nth(1)).collect();
    assert_eq!(spawned, ["first", "early", "late", "last"]);
    assert_eq!(world.state("never"), State::Stopped);
}

#[test]
fn a_shutdown_goes_down_the_priorities_and_waits_for_each() {
    let groups = ["a", "b", "c", "d"].into_iter().zip([1, 2, 2, 3]);
    let groups = groups.map(|(name, priority)| program(name, |p| p.priority = priority)).collect();
    let scripts = [("a", slow(10)), ("b", slow(500)), ("c", slow(300)), ("d", slow(100))];
    let mut world = World::new(config(groups, |_| {}), &scripts).boot();
    world.run_until(5000).terminate().run_until(60_000);
    assert_eq!(world.signalled(15), [(5000, "d"), (5100, "c"), (5100, "b"), (5600, "a")]);
    assert_eq!(world.ended(), Some((5610, 0)));
}

#[test]
fn the_last_listeners_have_time_for_the_last_events() {
    let world = |budget: Option<u64>| {
        let mut listener = program("l", |p| p.priority = -1);
        let (events, result_handler) = (vec!["EVENT".into()], String::new());
        listener.kind = GroupKind::Listeners(Box::new(ListenerConfig { events, buffer_size: 10, result_handler }));
        let config = config(vec![program("a", |_| {}), listener], |server| server.stop_budget_ms = budget);
        let mut world = World::new(config, &[("a", slow(100))]).boot();
        world.run_until(5000).terminate().run_until(5050);
        assert!(!world.supervision.waits_for_listeners(), "a program is still to be stopped");
        world.run_until(5200);
        assert_eq!(world.signalled(15), [(5000, "a")]);
        assert!(world.supervision.waits_for_listeners());
        world
    };
    let mut done = world(None);
    done.input(Input::ListenersDone);
    assert!(!done.supervision.waits_for_listeners());
    done.run_until(60_000);
    assert_eq!((done.signalled(15)[1], done.ended()), ((5200, "l"), Some((5200, 0))));
    // A listener that does not process them has a second, or half of what is left of a budget.
    for (budget, end) in [(None, 6100), (Some(1_100), 5600)] {
        let mut slow = world(budget);
        slow.run_until(60_000);
        assert_eq!((slow.signalled(15)[1], slow.ended()), ((end, "l"), Some((end, 0))));
    }
    let mut killed = world(None);
    killed.run_until(5300).terminate().run_until(60_000);
    assert_eq!((killed.signalled(9), killed.ended()), (vec![(5300, "l")], Some((5300, 0))));
}

#[test]
fn a_priority_with_nothing_to_stop_takes_no_time() {
    let groups = (0..20).map(|n| program(&format!("p{n}"), |p| (p.priority, p.autostart) = (n, n == 0))).collect();
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    world.run_until(2000).terminate().run_until(60_000);
    assert_eq!(world.ended(), Some((2000, 0)));
}

#[test]
fn a_second_term_kills_all_at_once() {
    let groups = vec![program("a", |p| p.priority = 1), program("b", |p| p.priority = 2)];
    let mut world = World::new(config(groups, |_| {}), &[("a", STUBBORN), ("b", STUBBORN)]).boot();
    world.run_until(2000).terminate().run_until(3500).terminate().run_until(60_000);
    assert_eq!(world.signalled(9), [(3500, "b"), (3500, "a")]);
    assert_eq!(world.ended(), Some((3500, 0)));
}

#[test]
fn two_terms_in_quick_succession_are_one_request() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", slow(700))]).boot();
    world.run_until(2000).terminate().run_until(2100).terminate().run_until(60_000);
    assert_eq!(world.signalled(9), []);
    assert_eq!(world.ended(), Some((2700, 0)));
}

#[test]
fn a_program_that_outlives_kill_is_given_up_after_a_second_term() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", IMMORTAL)]).boot();
    world.run_until(2000).terminate().run_until(3000).terminate().run_until(60_000);
    assert!(world.ended().is_some_and(|(at, _)| at <= 3200), "{:?}", world.ended());
    assert!(world.log.iter().any(|line| line.starts_with("giving up on a")));
}

#[test]
fn without_a_budget_each_priority_has_the_time_of_its_slowest_program() {
    let groups = vec![
        program("a", |p| (p.priority, p.stopwaitsecs) = (1, 4)),
        program("b", |p| (p.priority, p.stopwaitsecs) = (2, 2)),
        program("c", |p| (p.priority, p.stopwaitsecs) = (2, 3)),
    ];
    let mut world = World::new(config(groups, |_| {}), &[("a", STUBBORN), ("b", STUBBORN), ("c", STUBBORN)]).boot();
    world.run_until(2000).terminate().run_until(60_000);
    assert_eq!(world.signalled(9), [(4000, "b"), (5000, "c"), (9000, "a")]);
    assert_eq!(world.ended(), Some((9000, 0)));
}

#[test]
fn a_budget_is_shared_out_and_kept() {
    let groups = vec![
        program("a", |p| (p.priority, p.stopwaitsecs) = (1, 30)),
        program("b", |p| (p.priority, p.stopwaitsecs) = (2, 10)),
    ];
    let budget = |server: &mut ServerConfig| server.stop_budget_ms = Some(8000);
    let scripts = [("a", STUBBORN), ("b", STUBBORN)];
    let mut world = World::new(config(groups.clone(), budget), &scripts).boot();
    world.run_until(2000).terminate().run_until(60_000);
    // The level's own deadline and the end of the budget are the same moment: that is one KILL.
    assert_eq!(world.signalled(9), [(4000, "b"), (10_000, "a")]);
    assert_eq!(world.ended(), Some((10_000, 0)));
    // What an early level leaves over is for those after it.
    let mut world = World::new(config(groups, budget), &[("a", slow(7500)), ("b", slow(100))]).boot();
    world.run_until(2000).terminate().run_until(60_000);
    assert_eq!((world.signalled(9), world.ended()), (vec![], Some((9600, 0))));
}

#[test]
fn a_budget_that_is_large_enough_shortens_nothing() {
    let groups = vec![program("a", |p| p.stopwaitsecs = 3)];
    let mut world = World::new(config(groups, |s| s.stop_budget_ms = Some(9000)), &[("a", STUBBORN)]).boot();
    world.run_until(2000).terminate().run_until(60_000);
    assert_eq!(world.signalled(9), [(5000, "a")]);
}

const IMMORTAL: Script = Script { immortal: true, ..STUBBORN };

#[test]
fn with_a_budget_a_program_that_outlives_kill_does_not_keep_others_from_their_stop_signal() {
    let groups = |waits: [i64; 3]| {
        let named = ["db", "hung", "stuck"].into_iter().zip(waits).zip(1..);
        named.map(|((name, wait), n)| program(name, |p| (p.priority, p.stopwaitsecs) = (n, wait))).collect::<Vec<_>>()
    };
    let scripts = [("db", slow(200)), ("hung", IMMORTAL), ("stuck", IMMORTAL)];
    // The budget; each program's stopwaitsecs; when each has its stop signal, and its first KILL.
    for (budget, waits, term, kill) in [
        // More than all of them want: the share is longer than stopwaitsecs.
        (10_000, [3, 1, 1], [4000, 2000, 0], [None, Some(3000), Some(1000)]),
        // Less than they want.
        (4_000, [6, 1, 1], [1185, 600, 0], [None, Some(1085), Some(500)]),
        // Without stopwaitsecs KILL comes at once; the shares are equal.
        (4_000, [0, 0, 0], [2666, 1333, 0], [Some(2666), Some(1333), Some(0)]),
    ] {
        let config = config(groups(waits), |server| server.stop_budget_ms = Some(budget));
        let mut world = World::new(config, &scripts).boot();
        world.run_until(5000).terminate().run_until(60_000);
        let first = |signal: i32, name: &str| {
            world.signalled(signal).iter().find(|(_, program)| *program == name).map(|(at, _)| at - 5000)
        };
        let names = ["db", "hung", "stuck"];
        let context = format!("{budget} {waits:?}: {:?}", world.signals);
        assert_eq!(names.map(|name| first(15, name)), term.map(Some), "{context}");
        assert_eq!(names.map(|name| first(9, name)), kill, "{context}");
        assert_eq!(world.ended(), Some((5000 + budget, 0)), "{context}");
        assert!(world.log.iter().any(|line| line.starts_with("giving up on hung, stuck")), "{:?}", world.log);
    }
}

#[test]
fn without_a_budget_a_program_that_outlives_kill_is_waited_for() {
    let groups = vec![program("db", |p| p.priority = 1), program("hung", |p| (p.priority, p.stopwaitsecs) = (2, 1))];
    let mut world = World::new(config(groups, |_| {}), &[("hung", IMMORTAL)]).boot();
    world.run_until(2000).terminate().run_until(60_000);
    assert_eq!((world.signalled(15), world.ended()), (vec![(2000, "hung")], None));
    // A second request ends it all: db is not asked, it is killed.
    world.terminate().run_until(70_000);
    assert_eq!(world.ended(), Some((60_100, 0)));
}

#[test]
fn a_kill_is_sent_once_however_many_reasons_there_are_for_it() {
    let groups =
        |n: i32| (0..n).map(|n| program(&format!("p{n}"), |p| (p.priority, p.stopwaitsecs) = (n, 9))).collect();
    let begin: [fn(&mut World); 3] = [
        |world| _ = world.terminate(),
        |world| _ = world.ask(1, Command::Shutdown),
        |world| _ = world.stop(1, "p0").terminate(),
    ];
    for begin in begin {
        for programs in [1, 2, 5] {
            let budget = |server: &mut ServerConfig| server.stop_budget_ms = Some(1000);
            let mut world = World::new(config(groups(programs), budget), &[]);
            world.scripts = (0..programs).map(|n| (format!("p{n}"), STUBBORN)).collect();
            let mut world = world.boot();
            begin(world.run_until(3000));
            world.run_until(60_000);
            let killed = world.log.iter().filter(|line| line.starts_with("killing '")).count();
            assert_eq!(
                (killed, world.signalled(9).len()),
                (programs as usize, programs as usize),
                "{:?}",
                world.signals
            );
            assert_eq!(world.ended(), Some((4000, 0)));
        }
    }
    // A process that has had its KILL is not killed again because of a second request.
    let mut world = World::new(config(groups(1), |_| {}), &[("p0", IMMORTAL)]).boot();
    world.run_until(2000).terminate().run_until(11_500).terminate().run_until(60_000);
    assert_eq!((world.signalled(9), world.ended()), (vec![(11_000, "p0")], Some((11_600, 0))));
}

#[test]
fn a_crash_during_shutdown_starts_nothing() {
    let groups = vec![program("a", |p| p.priority = 1), program("b", |p| p.priority = 2)];
    let scripts = [("a", fails(3000, 1)), ("b", slow(5000))];
    let mut world = World::new(config(groups, |_| {}), &scripts).boot();
    world.run_until(2000).terminate().run_until(60_000);
    assert_eq!(world.ended(), Some((7000, 0)));
    assert_eq!(world.log.iter().filter(|line| line.starts_with("spawned: 'a'")).count(), 1);
}

#[test]
fn the_final_exit_of_an_essential_program_ends_rsup_with_its_code() {
    for (script, startsecs, code) in [(fails(2000, 7), 1, 7), (fails(2000, 0), 1, 0), (fails(10, 0), 1, 1)] {
        let essential = program("web", |p| {
            (p.essential, p.startsecs, p.startretries, p.autorestart) = (true, startsecs, 0, AutoRestart::Never);
        });
        let mut world = World::new(config(vec![essential, program("side", |_| {})], |_| {}), &[("web", script)]).boot();
        world.run_until(60_000);
        assert_eq!(world.ended().map(|(_, code)| code), Some(code));
        assert_eq!(world.state("side"), State::Stopped);
    }
}

#[test]
fn a_restart_or_a_requested_stop_of_an_essential_program_ends_nothing() {
    let essential = program("web", |p| p.essential = true);
    let mut world = World::new(config(vec![essential], |_| {}), &[("web", fails(2000, 7))]).boot();
    world.run_until(9000).stop(1, "web").run_until(60_000);
    assert_eq!((world.ended(), world.replies.get(&1)), (None, Some(&Reply::True)));
}

#[test]
fn the_exit_code_comes_from_the_configured_source() {
    let groups = || {
        let never = |p: &mut ProcessConfig| p.autorestart = AutoRestart::Never;
        vec![program("one", never), program("two", never), program("three", never)]
    };
    let signal = Script { ends: Some((4000, Exit::Signal { number: 9, core: false })), ..WELL };
    let scripts = [("one", fails(2000, 0)), ("two", fails(3000, 5)), ("three", signal)];
    for (from, code) in [
        (ExitCodeFrom::Zero, 0),
        (ExitCodeFrom::FirstFailure, 5),
        (ExitCodeFrom::Program("three".into()), 137),
        (ExitCodeFrom::Program("two:two".into()), 5),
        (ExitCodeFrom::Program("one".into()), 0),
    ] {
        let when_done = |server: &mut ServerConfig| {
            server.exit_when_all_done = true;
            server.exit_code_from = from.clone();
        };
        let mut world = World::new(config(groups(), when_done), &scripts).boot();
        world.run_until(60_000);
        assert_eq!(world.ended(), Some((4000, code)), "{from:?}");
    }
}

#[test]
fn a_stop_by_request_ends_nothing_and_counts_as_done_when_another_program_ends() {
    let never = |p: &mut ProcessConfig| p.autorestart = AutoRestart::Never;
    let groups = vec![program("job", never), program("web", |_| {})];
    let done = |server: &mut ServerConfig| server.exit_when_all_done = true;
    let mut world = World::new(config(groups.clone(), done), &[("job", fails(2000, 0))]).boot();
    // A client's restart is a stop and, at any time later, a start.
    world.run_until(10_000).stop(1, "web").run_until(60_000).start(2, "web").run_until(70_000);
    assert_eq!((world.ended(), world.state("web")), (None, State::Running));
    let mut world = World::new(config(groups, done), &[("job", fails(20_000, 0))]).boot();
    world.run_until(10_000).stop(1, "web").run_until(60_000);
    assert_eq!(world.ended(), Some((20_000, 0)));
}

#[test]
fn a_restart_needs_no_client_and_begins_no_shutdown() {
    let groups = vec![program("web", |p| p.essential = true)];
    let done = |server: &mut ServerConfig| server.exit_when_all_done = true;
    let mut world = World::new(config(groups, done), &[("web", slow(300))]).boot();
    let id = world.supervision.find("web", "web").unwrap();
    world.run_until(5000).input(Input::Restart(id));
    world.run_until(5300);
    assert_eq!((world.signalled(15), world.state("web")), (vec![(5000, "web")], State::Starting));
    world.run_until(60_000);
    assert_eq!((world.ended(), world.state("web"), world.next_pid), (None, State::Running, 102));
    // A client's stop during a restart takes precedence, and is answered when the program is stopped.
    world.input(Input::Restart(id));
    world.stop(1, "web").run_until(70_000);
    assert_eq!((world.replies.get(&1), world.state("web")), (Some(&Reply::True), State::Stopped));
    // Nothing restarts in a shutdown.
    world.start(2, "web").run_until(80_000).terminate().input(Input::Restart(id));
    world.run_until(90_000);
    assert_eq!((world.ended(), world.next_pid), (Some((80_300, 0)), 103));
}

#[test]
fn a_program_that_could_not_be_signalled_can_be_stopped_and_removed_later() {
    // The stop signal fails; or the KILL that is to come after it.
    for (refused, unknown_at) in [(15, 2000), (9, 5000)] {
        let groups = vec![program("a", |p| p.stopwaitsecs = 3)];
        let mut world = World::new(config(groups, |_| {}), &[("a", STUBBORN)]).boot();
        world.run_until(2000);
        world.refusals = u32::from(refused == 15);
        world.stop(1, "a");
        world.refusals = 1;
        world.run_until(unknown_at);
        world.refusals = 0;
        assert_eq!((world.fault(1), world.state("a")), (Some(FaultCode::Failed), State::Unknown));
        assert_eq!(world.signals.last().unwrap().2, refused);
        world.start(2, "a").ask(3, Command::RemoveGroup("a".into())).run_until(6000);
        assert_eq!([2, 3].map(|ticket| world.fault(ticket)), [Some(FaultCode::Failed), Some(FaultCode::StillRunning)]);
        world.stop(4, "a").run_until(9000).ask(5, Command::RemoveGroup("a".into()));
        assert_eq!([4, 5].map(|ticket| world.replies.get(&ticket)), [Some(&Reply::True); 2]);
        assert_eq!(world.signalled(15).last(), Some(&(6000, "a")));
        assert_eq!(world.signalled(9).last(), Some(&(9000, "a")));
    }
}

#[test]
fn requests_for_many_and_signals_include_unknown_programs() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[]).boot();
    world.refusals = 1;
    world.run_until(2000).stop(1, "a");
    let signal = ("USR1".to_owned(), Some(10));
    world.ask(2, Command::Signal { target: Target::Name("a".into()), signal });
    assert_eq!((world.state("a"), world.replies.get(&2)), (State::Unknown, Some(&Reply::True)));
    assert_eq!(world.signalled(10), [(2000, "a")]);
    world.run_until(2100).stop(3, "a").run_until(2200);
    assert_eq!(world.state("a"), State::Stopped);
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[]).boot();
    world.refusals = 1;
    world.run_until(2000).stop(1, "a").ask(2, Command::Stop { target: Target::All, wait: true }).run_until(2100);
    assert_eq!(world.state("a"), State::Stopped);
}

/// `restart_limit`, with the time in seconds.
fn limit(restarts: u32, seconds: u32) -> Option<RestartLimit> {
    Some(RestartLimit { restarts, within_ms: seconds * 1000 })
}

#[test]
fn a_program_that_restarts_too_often_is_fatal() {
    let restarts = |within| {
        let groups = vec![program("a", |p| {
            (p.autorestart, p.lifecycle.restart_limit) = (AutoRestart::Always, limit(2, within))
        })];
        let mut world = World::new(config(groups, |_| {}), &[("a", fails(3000, 7))]).boot();
        world.run_until(61_500);
        world
    };
    // It starts at 0, 3 and 6 s; at 9 s there were two restarts in ten seconds.
    let mut world = restarts(10);
    assert_eq!((world.state("a"), world.next_pid), (State::Fatal, 103));
    let process = world.supervision.all().next().unwrap().1;
    assert_eq!(&*process.spawnerr, "more than 2 restarts in 10 s (restart_limit)");
    let line = "gave up: a entered FATAL state, more than 2 restarts in 10 s (restart_limit)";
    assert_eq!(world.log.iter().filter(|text| *text == line).count(), 1);
    // A client's start is no automatic restart, and does not reset the count: at 64.5 s none is recent.
    world.start(1, "a").run_until(65_700);
    assert_eq!((world.replies.get(&1), world.state("a"), world.next_pid), (Some(&Reply::True), State::Running, 105));
    // Two restarts in six seconds are not reached, so it goes on for ever.
    assert_eq!(restarts(6).state("a"), State::Running);
}

#[test]
fn restarts_beyond_the_limit_of_all_programs_end_rsup() {
    let groups = || {
        let often = |p: &mut ProcessConfig| p.autorestart = AutoRestart::Always;
        vec![program("a", often), program("b", often), program("c", |_| {})]
    };
    let scripts = [("a", fails(3000, 7)), ("b", fails(4000, 8)), ("c", slow(500))];
    for (from, code) in
        [(ExitCodeFrom::Zero, 1), (ExitCodeFrom::Program("b".into()), 8), (ExitCodeFrom::FirstFailure, 1)]
    {
        let server = |server: &mut ServerConfig| (server.restart_limit, server.exit_code_from) = (limit(3, 60), from);
        let mut world = World::new(config(groups(), server), &scripts).boot();
        world.run_until(60_000);
        // Restarts at 3, 4 and 6 s; the fourth, at 8 s, is one too many.
        assert_eq!(world.ended(), Some((8500, code)));
        let Some((_, AfterShutdown::Exit { reason, .. })) = &world.finish else { panic!() };
        assert_eq!(reason, "more than 3 restarts in 60 s (restart_limit): the last of b");
        assert_eq!(world.next_pid, 106);
    }
}

#[test]
fn jitter_spreads_the_retries_of_programs_that_fail_together() {
    let retries = |seed| {
        let names: Vec<String> = (0..50).map(|n| format!("p{n}")).collect();
        let jittery =
            |p: &mut ProcessConfig| (p.lifecycle.backoff_delay_ms, p.lifecycle.backoff_jitter_milli) = (10_000, 200);
        let groups = names.iter().map(|name| program(name, jittery)).collect();
        let scripts: Vec<_> = names.iter().map(|name| (name.as_str(), fails(500, 1))).collect();
        let mut world = World::new(config(groups, |_| {}), &scripts);
        world.supervision.seed(seed);
        let mut world = world.boot();
        world.run_until(600);
        let mut due: Vec<u64> = world.supervision.timers.iter().map(|(at, _)| at.0 / 1_000_000 - 1_000_000).collect();
        due.dedup();
        due
    };
    let due = retries(1);
    assert!(due.iter().all(|at| (8_500..=12_500).contains(at)), "{due:?}");
    assert!(due.len() > 25 && due.first().unwrap() < &9_000 && due.last().unwrap() > &12_000, "{due:?}");
    assert_eq!(due, retries(1), "one seed, one history");
    assert_ne!(due, retries(2));
}

#[test]
fn a_shutdown_tries_twice_to_signal_each_program_and_ends() {
    let world = |refusals| {
        let groups = vec![program("a", |p| p.priority = 1), program("b", |p| p.priority = 2)];
        let mut world = World::new(config(groups, |_| {}), &[("a", slow(100)), ("b", slow(100))]).boot();
        world.run_until(2000);
        world.refusals = refusals;
        world.terminate().run_until(60_000);
        world
    };
    // The first fails: b's turn comes once more after a.
    let once = world(1);
    assert_eq!(once.signalled(15), [(2000, "b"), (2000, "a"), (2100, "b")]);
    assert_eq!((once.ended(), once.children.len()), (Some((2200, 0)), 0));
    // All fail: the end does not wait for what cannot be signalled.
    let never = world(u32::MAX);
    assert_eq!((never.signalled(15).len(), never.ended()), (4, Some((2000, 0))));
    assert!(never.log.iter().any(|line| line == "giving up on a, b: still running, and cannot be signalled"));
    // A program that was UNKNOWN before has its turn too.
    let groups = vec![program("a", |p| p.priority = 1), program("b", |p| p.priority = 2)];
    let mut before = World::new(config(groups, |_| {}), &[("a", slow(100)), ("b", slow(100))]).boot();
    before.refusals = 1;
    before.run_until(2000).stop(1, "b").terminate().run_until(60_000);
    assert_eq!(before.signalled(15), [(2000, "b"), (2000, "b"), (2100, "a")]);
    assert_eq!((before.ended(), before.children.len()), (Some((2200, 0)), 0));
}

#[test]
fn each_signal_is_logged() {
    let groups = |change: fn(&mut ProcessConfig)| {
        vec![program("a", |p| {
            p.stopwaitsecs = 1;
            change(p);
        })]
    };
    let lines = |change, begin: fn(&mut World)| {
        let mut world = World::new(config(groups(change), |_| {}), &[("a", STUBBORN)]).boot();
        world.run_until(2000).log.clear();
        begin(&mut world);
        world.run_until(60_000);
        world.log.retain(|line| line.starts_with("killing") || line.starts_with("sending"));
        world.log
    };
    let stop: fn(&mut World) = |world| _ = world.stop(1, "a");
    let term: fn(&mut World) = |world| _ = world.terminate();
    for begin in [stop, term] {
        assert_eq!(
            lines(|_| {}, begin),
            [
                "killing a (pid 101) with signal SIGTERM",
                "killing 'a' (101) with SIGKILL",
                "killing a (pid 101) with signal SIGKILL",
            ]
        );
        assert_eq!(
            lines(|p| (p.stopsignal, p.killasgroup) = (2, true), begin),
            [
                "killing a (pid 101) with signal SIGINT",
                "killing 'a' (101) with SIGKILL",
                "killing a (pid 101) process group with signal SIGKILL",
            ]
        );
    }
    let signal: fn(&mut World) = |world| {
        let signal = ("KILL".to_owned(), Some(9));
        world.ask(1, Command::Signal { target: Target::Name("a".into()), signal });
    };
    assert_eq!(lines(|_| {}, signal), ["sending a (pid 101) sig SIGKILL"]);
}

#[test]
fn a_group_that_cannot_be_signalled_is_left_alone_after_kill() {
    let sweep = program("web", |p| (p.sweep, p.stopwaitsecs) = (true, 2));
    let script = Script { leaves: Some(None), guarded: true, ends: Some((5000, Exit::Code(1))), ..WELL };
    let mut world = World::new(config(vec![sweep], |_| {}), &[("web", script)]).boot();
    world.run_until(7500);
    assert_eq!((world.signalled(15), world.signalled(9)), (vec![(5000, "web")], vec![(7000, "web")]));
    let said: Vec<_> = world.log.iter().filter(|line| line.contains(" web left in process group")).collect();
    assert_eq!(
        said,
        [
            "cannot sweep what web left in process group 101: Operation not permitted",
            "giving up on what web left in process group 101: it is left alone from now on"
        ]
    );
    assert_eq!(world.log.last().unwrap(), "spawned: 'web' with pid 102", "it starts again");
}

#[test]
fn a_waiting_start_answers_when_running_or_with_the_failure() {
    let manual = |p: &mut ProcessConfig| p.autostart = false;
    let groups = ["well", "quick", "missing"].map(|name| program(name, manual)).to_vec();
    let scripts = [("quick", fails(300, 0)), ("missing", Script { unspawnable: true, ..WELL })];
    let mut world = World::new(config(groups, |_| {}), &scripts).boot();
    world.start(1, "well").start(2, "quick").start(3, "missing").start(4, "nobody");
    assert_eq!(
        [1, 2, 3, 4].map(|ticket| world.fault(ticket)),
        [None, None, Some(FaultCode::NoFile), Some(FaultCode::BadName)]
    );
    world.run_until(999);
    assert_eq!((world.replies.get(&1), world.fault(2)), (None, Some(FaultCode::SpawnError)));
    world.run_until(1000).start(5, "well");
    assert_eq!((world.replies.get(&1), world.fault(5)), (Some(&Reply::True), Some(FaultCode::AlreadyStarted)));
}

#[test]
fn a_waiting_stop_answers_after_the_exit_and_delays_no_other_request() {
    let groups = vec![program("slow", |_| {}), program("other", |_| {})];
    let mut world = World::new(config(groups, |_| {}), &[("slow", slow(5000))]).boot();
    world.run_until(2000).stop(1, "slow:slow").stop(2, "other").stop(3, "slow").run_until(2001);
    assert_eq!(world.replies.get(&1), None);
    assert_eq!((world.replies.get(&2), world.fault(3)), (Some(&Reply::True), Some(FaultCode::NotRunning)));
    world.run_until(7000);
    assert_eq!(world.replies.get(&1), Some(&Reply::True));
    assert_eq!(world.log.iter().filter(|line| *line == "waiting for slow to stop").count(), 3);
}

#[test]
fn answers_are_ordered_at_once_then_late_failures_then_the_rest() {
    let member = |name: &str, startsecs| program(name, |p| (p.autostart, p.startsecs) = (false, startsecs));
    let members = vec![member("slow", 1), member("quick", 0), member("falls", 2), member("bad", 1), member("last", 0)];
    let scripts = [("bad", Script { unspawnable: true, ..WELL }), ("falls", fails(1200, 1))];
    let mut world = World::new(config(vec![group("g", 1, members)], |_| {}), &scripts).boot();
    world.ask(1, Command::Start { target: Target::Group("g".into()), wait: true }).run_until(5000);
    let Some(Reply::Statuses(list)) = world.replies.get(&1) else { panic!("{:?}", world.replies) };
    let list: Vec<_> = list.iter().map(|status| (status.name.as_str(), status.fault.is_some())).collect();
    assert_eq!(list, [("quick", false), ("bad", true), ("last", false), ("falls", true), ("slow", false)]);
}

#[test]
fn a_group_can_be_removed_only_when_stopped_and_added_again() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", slow(100))]).boot();
    world.run_until(2000).ask(1, Command::RemoveGroup("a".into())).stop(2, "a").run_until(3000);
    world.ask(3, Command::RemoveGroup("a".into())).ask(4, Command::RemoveGroup("a".into()));
    assert!(world.supervision.all().next().is_none());
    world.ask(5, Command::AddGroup("a".into())).ask(6, Command::AddGroup("a".into()));
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(|ticket| world.fault(ticket)),
        [Some(FaultCode::StillRunning), None, None, Some(FaultCode::BadName), None, Some(FaultCode::AlreadyAdded)]
    );
    assert_eq!(world.state("a"), State::Starting);
    assert_eq!(world.supervision.find("a", "a"), Some(1), "a number is never used again");
    // What the file has no more cannot be added, whether it is in use or not.
    world.supervision.reread(config(vec![], |_| {}));
    world.ask(7, Command::AddGroup("a".into()));
    assert_eq!(world.fault(7), Some(FaultCode::BadName));
}

#[test]
fn each_answer_goes_to_its_request() {
    let groups = vec![program("a", |p| p.autostart = false)];
    let mut world = World::new(config(groups, |_| {}), &[]).boot();
    let now = world.now();
    let probes = [1, 2].map(|ticket| {
        let command = Command::Start { target: Target::Name("a".into()), wait: false };
        world.supervision.handle(Input::Command(ticket, command), now);
        match world.supervision.next_effect() {
            Some(Effect::Probe(item, _)) => item,
            other => panic!("{other:?}"),
        }
    });
    // The first client has gone before its command was looked at: the answer to it means nothing.
    world.input(Input::CancelRequest(1));
    let missing = Err(Fault::new(FaultCode::NoFile, "a"));
    world.input(Input::Probed(probes[0], missing));
    assert!(world.replies.is_empty() && world.state("a") == State::Stopped);
    world.input(Input::Probed(probes[1], Ok(())));
    assert_eq!((world.replies.get(&2), world.state("a")), (Some(&Reply::True), State::Starting));
    // The same for signals: a late failure of the one is not the other's.
    let signals = [3, 4].map(|ticket| {
        let signal = ("HUP".to_owned(), Some(1));
        world.supervision.handle(Input::Command(ticket, Command::Signal { target: Target::All, signal }), now);
        std::iter::from_fn(|| world.supervision.next_effect())
            .find_map(|effect| match effect {
                Effect::Signal { id, purpose, .. } => Some((id, purpose)),
                _ => None,
            })
            .unwrap()
    });
    world.input(Input::Signalled(signals[1].0, signals[1].1, refused()));
    assert_eq!((world.replies.contains_key(&3), world.replies.contains_key(&4)), (false, true));
    world.input(Input::Signalled(signals[0].0, signals[0].1, SignalResult::Sent));
    let faults = [3, 4].map(|ticket| match world.replies.get(&ticket) {
        Some(Reply::Statuses(list)) => list.iter().filter_map(|status| status.fault.clone()).count(),
        other => panic!("{other:?}"),
    });
    assert_eq!(faults, [0, 1]);
}

#[test]
fn requests_during_a_shutdown_are_refused() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", slow(1000))]).boot();
    world.run_until(2000).terminate().start(1, "a").run_until(9000);
    assert_eq!(world.fault(1), Some(FaultCode::ShutdownState));
}

#[test]
fn reread_reports_the_difference_and_changes_nothing() {
    let before = vec![program("same", |_| {}), program("changed", |_| {}), program("gone", |_| {})];
    let mut world = World::new(config(before, |_| {}), &[]).boot();
    let after = vec![program("same", |_| {}), program("changed", |p| p.startsecs = 5), program("new", |_| {})];
    let diff = world.supervision.reread(config(after, |_| {}));
    let [added, changed, removed] = ["new", "changed", "gone"].map(|name| vec![name.to_owned()]);
    assert_eq!(diff, GroupChanges { added, changed, removed });
    assert_eq!(world.state("gone"), State::Starting);
    assert!(!world.supervision.has_group("new"));
}

#[test]
fn a_reread_changes_no_setting_in_force() {
    let groups = || vec![program("a", |p| p.autorestart = AutoRestart::Never), program("b", |_| {})];
    let server = |server: &mut ServerConfig| {
        (server.stop_budget_ms, server.strip_ansi) = (Some(1000), true);
        (server.exit_code_from, server.exit_when_all_done) = (ExitCodeFrom::FirstFailure, false);
    };
    let mut world = World::new(config(groups(), server), &[("a", fails(2000, 7)), ("b", STUBBORN)]).boot();
    let before = world.supervision.server().clone();
    let mut other = config(groups(), |server| server.exit_when_all_done = true);
    other.twiddler = Some(vec!["log".into()]);
    world.supervision.reread(other.clone());
    assert_eq!((world.supervision.server(), world.supervision.twiddler()), (&before, None));
    assert_eq!(before.stop_budget_ms, Some(1000));
    let twiddled = World::new(other.clone(), &[]);
    assert_eq!(twiddled.supervision.twiddler(), Some(&["log".to_owned()][..]));
    assert_eq!(world.supervision.last_read(), &other);
    // The exit contract and the stop budget are those of the start.
    world.run_until(5000).terminate().run_until(60_000);
    assert_eq!(world.ended(), Some((6000, 7)));
}

#[test]
fn a_stop_and_a_shutdown_cancel_a_pending_fork() {
    let mut world = World::new(config(vec![program("a", |_| {}), program("b", |_| {})], |_| {}), &[]);
    world.defers_forks = true;
    let mut world = world.boot();
    assert_eq!(world.state("a"), State::Starting);
    world.stop(1, "a");
    assert_eq!((world.replies.get(&1), world.state("a")), (Some(&Reply::True), State::Stopped));
    // The fork asked for before the stop, and the one asked for after it, are one.
    world.start(2, "a").fork().run_until(1500);
    assert_eq!((world.state("a"), world.state("b"), world.children.len()), (State::Running, State::Running, 2));

    let mut world = World::new(config(vec![program("a", |_| {}), program("b", |_| {})], |_| {}), &[]);
    world.defers_forks = true;
    let mut world = world.boot();
    world.terminate().fork();
    assert_eq!((world.ended(), world.children.len()), (Some((0, 0)), 0));
}

#[test]
fn startsecs_count_from_the_fork() {
    let mut world = World::new(config(vec![program("a", |_| {})], |_| {}), &[("a", fails(500, 1))]);
    world.defers_forks = true;
    let mut world = world.boot();
    world.run_until(2000).fork().run_until(2499);
    assert_eq!(world.state("a"), State::Starting);
    world.run_until(2600);
    assert_eq!(world.state("a"), State::Backoff);
    assert!(!world.log.iter().any(|line| line.contains("RUNNING")), "{:?}", world.log);
}

#[test]
fn remains_are_swept_before_the_restart() {
    let sweep = program("web", |p| (p.sweep, p.stopwaitsecs) = (true, 2));
    let script = Script { leaves: Some(None), ..fails(3000, 1) };
    let mut world = World::new(config(vec![sweep], |_| {}), &[("web", script)]).boot();
    world.run_until(4000);
    assert_eq!((world.state("web"), world.children.len()), (State::Exited, 0));
    assert_eq!(world.signalled(15), [(3000, "web")]);
    world.run_until(5100);
    assert_eq!(world.signalled(9), [(5000, "web")]);
    assert_eq!(world.state("web"), State::Starting);
}

/// One program of a history: its options, and by `kind` what it does.
#[derive(Debug, Clone, Copy)]
struct Subject {
    priority: i32,
    startsecs: i64,
    startretries: i64,
    stopwaitsecs: i64,
    kind: u8,
    autostart: bool,
    sweep: bool,
    autorestart: AutoRestart,
}

impl Subject {
    /// `outlives_kill`: the last kind does not end at all.
    fn script(&self, outlives_kill: bool) -> Script {
        let leaves = self.sweep.then_some(Some(150));
        match self.kind {
            0 => WELL,
            1 => Script { leaves, ..fails(200, 1) },
            2 => Script { leaves, ..fails(1500, 0) },
            3 => STUBBORN,
            4 => Script { unspawnable: true, ..WELL },
            5 => Script { leaves: self.sweep.then_some(None), ..slow(700) },
            _ => Script { immortal: outlives_kill, ..STUBBORN },
        }
    }
}

/// What a client asks for, of the n-th program (or of none), and how many milliseconds pass before the next request.
type Request = (usize, u8, u64);

/// Whatever the programs do and clients ask, a TERM ends it all: in time with a budget, nothing alive, nothing started
/// after it. A request has its answer, or waits for a process that has still to change; when all is `quiet` before the
/// end, each has its answer.
fn check_history(programs: &[Subject], requests: &[Request], budget: Option<u64>, quiet: bool) -> TestCaseResult {
    let names: Vec<String> = (0..programs.len()).map(|n| format!("p{n}")).collect();
    let group = |(name, subject): (&String, &Subject)| {
        program(name, |p| {
            (p.priority, p.startsecs, p.startretries) = (subject.priority, subject.startsecs, subject.startretries);
            (p.stopwaitsecs, p.autostart, p.sweep) = (subject.stopwaitsecs, subject.autostart, subject.sweep);
            p.autorestart = subject.autorestart;
        })
    };
    let groups = names.iter().zip(programs).map(group).collect();
    let immortal = budget.is_some() && !quiet;
    let scripts: Vec<_> = names.iter().map(String::as_str).zip(programs.iter().map(|p| p.script(immortal))).collect();
    let mut world = World::new(config(groups, |s| s.stop_budget_ms = budget), &scripts).boot();
    let mut millis = 0;
    for (ticket, (program, what, after)) in (1..).zip(requests) {
        let name = names.get(*program).cloned().unwrap_or_else(|| "nobody".into());
        let target = Target::Name(name.clone());
        let command = match what {
            0 => Some(Command::Start { target, wait: true }),
            1 => Some(Command::Stop { target, wait: true }),
            2 => Some(Command::Signal { target, signal: ("TERM".into(), Some(15)) }),
            3 => Some(Command::RemoveGroup(name.clone())),
            _ => None,
        };
        match (command, world.supervision.find(&name, &name)) {
            (Some(command), _) => _ = world.ask(ticket, command),
            // The supervisor's own restart has no answer.
            (None, id) => {
                id.into_iter().for_each(|id| world.input(Input::Restart(id)));
                world.replies.insert(ticket, Reply::True);
            }
        }
        millis += after;
        world.run_until(millis);
    }
    if quiet {
        millis += 60_000;
        world.run_until(millis);
    }
    let open: Vec<Ticket> = world.supervision.requests.iter().map(|wait| wait.ticket).collect();
    let asked = 1..=requests.len() as u64;
    let unanswered: Vec<Ticket> = asked.filter(|ticket| !world.replies.contains_key(ticket)).collect();
    prop_assert_eq!(&open, &unanswered, "a request has its answer, or waits for it");
    prop_assert!(!quiet || open.is_empty(), "requests that nothing will answer: {:?}", world.supervision.requests);

    let spawned = |world: &World| world.log.iter().filter(|line| line.starts_with("spawned")).count();
    let before = spawned(&world);
    let up = |child: &Child| {
        let process = world.supervision.process(child.id).unwrap();
        let is_up = [State::Starting, State::Running].contains(&process.state());
        is_up.then(|| process.config.name.clone())
    };
    let alive: Vec<String> = world.children.values().filter_map(up).collect();
    let begun = world.millis;
    world.terminate().run_until(millis + 120_000);
    let (at, _) = world.finish.clone().expect("a TERM ends everything");
    prop_assert!(world.children.values().all(|child| child.script.immortal), "nothing is left alive");
    prop_assert_eq!(before, spawned(&world), "nothing starts during a shutdown");
    // Too short a budget is shorter than the milliseconds of this clock.
    if budget.is_none_or(|budget| budget >= 1000) {
        for name in alive {
            let asked =
                |(when, program, signal): &(u64, String, i32)| *when >= begun && *program == name && *signal == 15;
            let ended = world.log.iter().any(|line| line.starts_with(&format!("exited: {name} ")));
            prop_assert!(ended || world.signals.iter().any(asked), "{} was never asked: {:?}", name, world.signals);
        }
    }
    let mut levels: BTreeMap<i32, i64> = BTreeMap::new();
    for program in programs {
        let longest = levels.entry(program.priority).or_default();
        *longest = program.stopwaitsecs.max(*longest);
    }
    let all: i64 = levels.values().sum();
    // A leader's own time, then as much for what it left; and looks at a group every 50 ms.
    let limit = budget.map_or(all as u64 * 2000 + 1500, |budget| budget + 200);
    prop_assert!(at - begun <= limit, "{} ms of {limit}", at - begun);
    Ok(())
}

#[test]
fn histories_that_once_failed_end_in_an_ordered_shutdown() {
    let subject = |priority, stopwaitsecs, kind| Subject {
        priority,
        startsecs: 0,
        startretries: 0,
        stopwaitsecs,
        kind,
        autostart: true,
        sweep: kind == 5,
        autorestart: AutoRestart::Never,
    };
    check_history(&[subject(1, 3, 5)], &[], Some(2050), false).unwrap();
    // A program without stopwaitsecs has a share of the budget too.
    check_history(&[subject(1, 0, 0), subject(2, 3, 6)], &[], Some(1000), false).unwrap();
}

fn subject() -> impl Strategy<Value = Subject> {
    let options = (1..4_i32, 0..3_i64, -1..3_i64, 0..4_i64, 0..7_u8, any::<bool>(), any::<bool>(), 0..3_usize);
    options.prop_map(|(priority, startsecs, startretries, stopwaitsecs, kind, autostart, sweep, restart)| {
        let autorestart = [AutoRestart::Never, AutoRestart::Unexpected, AutoRestart::Always][restart];
        Subject { priority, startsecs, startretries, stopwaitsecs, kind, autostart, sweep, autorestart }
    })
}

proptest! {
    #[test]
    fn every_history_ends_in_an_ordered_shutdown(
        programs in prop::collection::vec(subject(), 1..6),
        requests in prop::collection::vec((0..6_usize, 0..5_u8, 0..3000_u64), 0..20),
        budget in prop::option::of(0..6000_u64),
        quiet in any::<bool>(),
    ) {
        check_history(&programs, &requests, budget, quiet)?;
    }
}
