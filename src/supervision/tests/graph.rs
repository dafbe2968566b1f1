//! Dependencies, readiness and hooks in the simulated world: examples, and random graphs with random deaths.

use super::*;
use crate::config::model::Lifecycle;
use crate::config::model::Readiness;

fn linked(name: &str, change: impl FnOnce(&mut Lifecycle)) -> GroupConfig {
    program(name, |p| change(&mut p.lifecycle))
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn order_of_forks(world: &World) -> Vec<&str> {
    let lines = world.log.iter().filter_map(|line| line.strip_prefix("spawned: '"));
    lines.map(|line| line.split('\'').next().unwrap()).collect()
}

#[test]
fn a_group_waits_for_a_whole_group_and_stops_before_it() {
    let db = group("db", 1, vec![program("one", |_| ()), program("two", |_| ())]);
    let mut web = group("web", 999, vec![program("a", |_| ()), program("b", |_| ())]);
    for process in &mut web.processes {
        Rc::make_mut(process).lifecycle.depends_on = names(&["db"]);
    }
    let mut world = World::new(config(vec![web, db], |_| ()), &[("two", fails(100, 1)), ("a", slow(500))]);
    world.input(Input::Booted);
    world.run_until(20_000);
    assert_eq!(world.state("db:two"), State::Fatal);
    assert_eq!(world.state("web:a"), State::Fatal);
    world.scripts.insert("two".into(), WELL);
    world.start(1, "web:a").run_until(25_000);
    assert_eq!(
        (world.state("db:two"), world.state("web:a")),
        (State::Running, State::Running),
        "a request tries again"
    );
    world.terminate().run_until(40_000);
    let stops = world.signalled(15);
    let at = |name: &str| stops.iter().find(|(_, of)| *of == name).unwrap().0;
    assert_eq!((at("one"), at("two")), (at("a") + 500, at("a") + 500), "{stops:?}");
}

#[test]
fn priorities_decide_where_no_dependency_does() {
    let groups = vec![
        program("early", |p| (p.priority, p.lifecycle.depends_on) = (1, names(&["late"]))),
        program("late", |p| p.priority = 900),
        program("free", |p| p.priority = 500),
    ];
    let mut world = World::new(config(groups, |_| ()), &[]).boot();
    world.run_until(5_000);
    assert_eq!(order_of_forks(&world), ["free", "late", "early"]);
    world.terminate().run_until(9_000);
    let stopped: Vec<&str> = world.signalled(15).into_iter().map(|(_, name)| name).collect();
    assert_eq!(stopped, ["early", "late", "free"]);
}

#[test]
fn a_chain_shares_the_budget_of_its_shutdown() {
    let groups = vec![
        linked("a", |of| of.depends_on = names(&["b"])),
        linked("b", |of| of.after = names(&["c"])),
        program("c", |_| ()),
    ];
    let scripts = [("a", STUBBORN), ("b", STUBBORN), ("c", STUBBORN)];
    let mut world = World::new(config(groups, |server| server.stop_budget_ms = Some(3_000)), &scripts).boot();
    world.run_until(9_000);
    world.terminate().run_until(20_000);
    assert_eq!(
        world.signalled(9).iter().map(|(at, name)| (at / 1000, *name)).collect::<Vec<_>>(),
        [(10, "a"), (11, "b"), (12, "c")]
    );
    assert!(world.ended().unwrap().0 <= 12_100);
}

#[test]
fn a_start_without_waiting_is_answered_before_its_dependencies_are_met() {
    let db = program("db", |p| (p.autostart, p.lifecycle.ready) = (false, Some(Readiness::Notify)));
    let web = program("web", |p| (p.autostart, p.lifecycle.depends_on) = (false, names(&["db"])));
    let mut world = World::new(config(vec![db, web], |_| ()), &[("db", Script { ready: None, ..WELL })]).boot();
    world.ask(1, Command::Start { target: Target::Name("web".into()), wait: false });
    assert_eq!(world.replies.get(&1), Some(&Reply::True));
    world.start(2, "db").ask(3, Command::Start { target: Target::Name("web".into()), wait: true });
    assert_eq!((world.fault(2), world.fault(3)), (Some(FaultCode::AlreadyStarted), Some(FaultCode::AlreadyStarted)));
    world.stop(4, "web");
    assert_eq!(world.replies.get(&4), Some(&Reply::True), "nothing of it lives");
    world.run_until(1_000_000);
    assert_eq!((world.state("web"), world.state("db")), (State::Stopped, State::Fatal));
}

#[test]
fn a_dependent_that_cannot_be_signalled_does_not_hold_up_a_shutdown() {
    let groups = vec![linked("web", |of| of.depends_on = names(&["db"])), program("db", |_| ())];
    let mut world = World::new(config(groups, |_| ()), &[]).boot();
    world.run_until(5_000);
    world.refusals = 9;
    world.stop(1, "web");
    assert_eq!(world.state("web"), State::Unknown);
    world.refusals = 1;
    world.terminate().run_until(30_000);
    assert!(world.signalled(15).iter().any(|(_, name)| *name == "db"), "{:?}", world.signals);
    assert!(world.finish.is_some());
}

#[test]
fn a_one_shot_that_is_done_is_no_end_and_no_failure() {
    let once = program("once", |p| {
        (p.essential, p.lifecycle.oneshot, p.exitcodes) = (true, true, crate::config::model::ExitCodes::from_iter([3]));
    });
    let change = |server: &mut ServerConfig| server.exit_code_from = ExitCodeFrom::FirstFailure;
    let groups = || vec![once.clone(), program("web", |p| (p.essential, p.autorestart) = (true, AutoRestart::Never))];
    let mut world = World::new(config(groups(), change), &[("once", fails(500, 3)), ("web", fails(9_000, 4))]).boot();
    world.run_until(5_000);
    assert_eq!((world.state("once"), world.finish.is_none()), (State::Exited, true));
    world.run_until(20_000);
    assert_eq!(world.ended().map(|(_, code)| code), Some(4));
    let mut world = World::new(config(groups(), change), &[("once", fails(500, 5))]).boot();
    world.run_until(60_000);
    assert_eq!(world.ended().map(|(_, code)| code), Some(5), "it has failed for good");
}

#[test]
fn nothing_starts_in_a_shutdown() {
    let groups = || {
        vec![
            program("web", |p| (p.priority, p.lifecycle.restart_with) = (10, names(&["db"]))),
            program("db", |p| (p.priority, p.startsecs) = (10, 3)),
            program("stubborn", |p| p.priority = 900),
        ]
    };
    let scripts = [("stubborn", STUBBORN)];
    let mut world = World::new(config(groups(), |_| ()), &scripts).boot();
    world.run_until(5_000);
    world.stop(1, "db").run_until(5_500).start(2, "db").run_until(6_000);
    assert_eq!((world.state("web"), world.state("db")), (State::Stopped, State::Starting));
    world.log.clear();
    // db comes to RUNNING while the shutdown waits for another priority.
    world.terminate().run_until(9_000);
    assert_eq!((world.state("web"), world.state("db")), (State::Stopped, State::Running));
    let id = world.supervision.find("db", "db").unwrap();
    world.input(Input::Unhealthy(id, "503".into()));
    world.run_until(60_000);
    assert_eq!(order_of_forks(&world), [""; 0]);
    assert_eq!(world.ended(), Some((16_000, 0)));
}

#[test]
fn a_request_for_many_counts_a_dependency_that_it_started_as_its_own() {
    let web = program("web", |p| (p.priority, p.lifecycle.depends_on) = (1, names(&["db"])));
    let mut world = World::new(config(vec![web, program("db", |_| ())], |_| ()), &[]).boot();
    world.run_until(5_000);
    world.stop(1, "web").stop(2, "db").run_until(5_500);
    world.ask(3, Command::Start { target: Target::All, wait: true }).run_until(9_000);
    let Some(Reply::Statuses(statuses)) = world.replies.get(&3) else { panic!("{:?}", world.replies) };
    assert_eq!(statuses.iter().map(|status| status.fault.clone()).collect::<Vec<_>>(), [None, None]);
}

#[test]
fn a_restart_that_is_cancelled_is_not_waited_for() {
    let db = program("db", |p| (p.autorestart, p.lifecycle.restart_delay_ms) = (AutoRestart::Always, 60_000));
    let web = program("web", |p| (p.autostart, p.lifecycle.depends_on) = (false, names(&["db"])));
    let mut world = World::new(config(vec![db, web], |_| ()), &[("db", fails(2_000, 0))]).boot();
    world.run_until(3_000);
    world.start(1, "web");
    assert_eq!((world.state("db"), world.state("web")), (State::Exited, State::Starting));
    world.stop(2, "db");
    assert_eq!((world.state("web"), world.fault(1)), (State::Fatal, Some(FaultCode::SpawnError)));
}

#[test]
fn no_hook_begins_when_the_budget_is_used_up() {
    let db = linked("db", |of| (of.pre_stop, of.post_stop) = (Some("hook".into()), Some("hook".into())));
    let scripts = [("db", Script { obeys: None, hook: None, ..WELL })];
    let mut world = World::new(config(vec![db], |server| server.stop_budget_ms = Some(2_000)), &scripts).boot();
    world.run_until(5_000);
    world.terminate().run_until(60_000);
    assert_eq!(world.ended(), Some((7_000, 0)), "{:?}", world.log);
    assert!(
        world.log.contains(&"db: pre_stop did not end in time and was killed (stop_budget)".to_owned()),
        "{:?}",
        world.log
    );
}

#[test]
fn a_sign_that_comes_too_late_leaves_the_reason_of_the_failure() {
    let mut web = program("web", |p| p.startretries = 0);
    let lifecycle = &mut Rc::make_mut(&mut web.processes[0]).lifecycle;
    (lifecycle.ready, lifecycle.ready_timeout_ms) = (Some(Readiness::Notify), 1_000);
    let script = Script { ready: Some(1_200), ..slow(500) };
    let mut world = World::new(config(vec![web], |_| ()), &[("web", script)]).boot();
    world.run_until(5_000);
    let process = world.supervision.process(world.supervision.find("web", "web").unwrap()).unwrap();
    assert_eq!((process.state(), &*process.spawnerr), (State::Fatal, "not ready within 1 s (notify)"));
}

#[test]
fn a_stop_waits_for_the_stop_command_and_then_for_post_stop() {
    let web = linked("web", |of| {
        (of.stop_command, of.post_stop) = (Some("hook".into()), Some("hook".into()));
        of.hook_timeout_ms = 2_000;
    });
    let script = Script { ends: Some((5_000, Exit::Code(0))), hook: Some((1_500, true)), ..WELL };
    for (script, stopped) in [(script, 7_500), (Script { hook: None, ..script }, 8_500)] {
        let mut world = World::new(config(vec![web.clone()], |_| ()), &[("web", script)]).boot();
        world.run_until(4_500);
        world.stop(1, "web").run_until(stopped - 1);
        assert_eq!((world.state("web"), world.replies.len()), (State::Stopping, 0));
        world.run_until(stopped);
        assert_eq!((world.state("web"), world.replies.get(&1)), (State::Stopped, Some(&Reply::True)));
        assert_eq!(world.signals, [], "the command was enough");
    }
}

#[test]
fn a_start_that_ended_since_a_dependency_was_stopped_comes_after_its_next_start() {
    let never = |name: &str| program(name, |p| p.lifecycle.ready = Some(Readiness::Notify));
    let groups = vec![never("db"), never("cache"), linked("web", |of| of.depends_on = names(&["db", "cache"]))];
    let scripts = [("db", Script { ready: Some(3_000), ..WELL }), ("cache", Script { ready: Some(1_000), ..WELL })];
    let boot = || {
        let mut world = World::new(config(groups.clone(), |_| ()), &scripts).boot();
        world.run_until(2_000);
        // The first half of a client's restart.
        world.stop(1, "cache").run_until(2_100);
        assert_eq!((world.state("db"), world.state("web")), (State::Starting, State::Fatal));
        world
    };
    let mut world = boot();
    world.run_until(4_000);
    assert_eq!((world.state("db"), world.state("web")), (State::Running, State::Fatal), "cache is stopped by request");
    world.start(2, "cache").run_until(6_000);
    assert_eq!((world.state("cache"), world.state("web")), (State::Running, State::Running));
    // A stop of web itself ends that.
    let mut world = boot();
    world.stop(2, "web").run_until(4_000);
    assert_eq!(world.fault(2), Some(FaultCode::NotRunning));
    world.start(3, "cache").run_until(6_000);
    assert_eq!((world.state("cache"), world.state("web")), (State::Running, State::Fatal));
}

#[derive(Debug, Clone)]
struct Node {
    script: Script,
    depends_on: Vec<usize>,
    after: Vec<usize>,
    restart_with: Vec<usize>,
    oneshot: bool,
    ready: bool,
    hooks: [bool; 4],
    autostart: bool,
    autorestart: bool,
    priority: i32,
}

fn node() -> impl Strategy<Value = Node> {
    let links = || prop::collection::vec(0..6_usize, 0..2);
    let exit = prop_oneof![Just(Exit::Code(0)), Just(Exit::Code(1)), Just(Exit::Signal { number: 9, core: false })];
    let script = (
        prop::option::weighted(0.3, (0..4_000_u64, exit)),
        prop::option::weighted(0.8, 0..2_000_u64),
        prop::option::weighted(0.8, 0..3_000_u64),
        prop::option::weighted(0.8, (0..1_500_u64, any::<bool>())),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(ends, obeys, ready, hook, unspawnable)| Script {
            ends,
            obeys,
            ready,
            hook,
            unspawnable,
            ..WELL
        });
    let flags = (any::<bool>(), any::<bool>(), any::<[bool; 4]>(), any::<bool>(), any::<bool>(), 0..3);
    (script, links(), links(), links(), flags).prop_map(|(script, depends_on, after, restart_with, flags)| {
        let (oneshot, ready, hooks, autostart, autorestart, priority) = flags;
        // A one-shot that does not end starts for ever.
        let ends = script.ends.or(oneshot.then_some((700, Exit::Code(0))));
        let script = Script { ends, ..script };
        Node {
            script,
            depends_on,
            after,
            restart_with,
            oneshot,
            ready: ready && !oneshot,
            hooks,
            autostart,
            autorestart,
            priority,
        }
    })
}

/// A link goes only to an earlier program, so there is no circle.
fn configured(nodes: &[Node]) -> Config {
    let of = |place: usize, links: &[usize]| -> Vec<String> {
        links.iter().filter(|link| **link < place).map(|link| format!("p{link}")).collect()
    };
    let groups = nodes.iter().enumerate().map(|(place, node)| {
        program(&format!("p{place}"), |p| {
            (p.priority, p.autostart, p.startretries, p.stopwaitsecs) = (node.priority, node.autostart, 1, 2);
            p.autorestart = if node.autorestart { AutoRestart::Unexpected } else { AutoRestart::Never };
            let of_p = &mut *p.lifecycle;
            of_p.restart_limit = Some(RestartLimit { restarts: 2, within_ms: 1_000_000 });
            (of_p.depends_on, of_p.after) = (of(place, &node.depends_on), of(place, &node.after));
            (of_p.restart_with, of_p.oneshot) = (of(place, &node.restart_with), node.oneshot);
            (of_p.ready, of_p.ready_timeout_ms) = (node.ready.then_some(Readiness::Notify), 2_500);
            of_p.hook_timeout_ms = 1_000;
            let hook = |has: bool| has.then(|| "hook".to_owned());
            let [pre_start, pre_stop, stop_command, post_stop] = node.hooks.map(hook);
            (of_p.pre_start, of_p.pre_stop, of_p.stop_command, of_p.post_stop) =
                (pre_start, pre_stop, stop_command, post_stop);
        })
    });
    config(groups.collect(), |_| ())
}

/// What holds when a process forks: what it needs is ready. (A `pre_start` takes time, in which that may change.)
fn forks_are_right(world: &World, nodes: &[Node], forked: usize) -> TestCaseResult {
    let node = &nodes[forked];
    for need in node.depends_on.iter().filter(|need| **need < forked && !node.hooks[0]) {
        let state = world.state(&format!("p{need}"));
        let is_met = if nodes[*need].oneshot { state == State::Exited } else { state == State::Running };
        // It may end between the decision and the fork.
        let id = world.supervision.find(&format!("p{need}"), &format!("p{need}"));
        let has_just_ended = world.ends.iter().any(|(at, ended)| *at + 100 >= world.millis && Some(*ended) == id);
        prop_assert!(
            is_met || has_just_ended,
            "p{forked} forked while p{need} was {state:?}: {:#?} {:?} {}",
            world.log,
            world.ends,
            world.millis
        );
    }
    Ok(())
}

fn check_graph(nodes: &[Node], requests: &[(usize, u8, u64)], shutdown_at: u64) -> TestCaseResult {
    let names: Vec<String> = (0..nodes.len()).map(|place| format!("p{place}")).collect();
    let scripts: Vec<(&str, Script)> =
        names.iter().zip(nodes).map(|(name, node)| (name.as_str(), node.script)).collect();
    let mut world = World::new(configured(nodes), &scripts);
    world.defers_forks = true;
    world.input(Input::Booted);
    let mut requests: Vec<_> = requests.iter().map(|&(place, kind, at)| (at, place % nodes.len(), kind)).collect();
    requests.sort_unstable();
    let mut tickets = 0;
    // Each fork is made up to 100 ms after it was decided, and judged then.
    let fork = |world: &mut World| -> TestCaseResult {
        for id in std::mem::take(&mut world.forks) {
            if world.supervision.wants_fork(id) {
                let name = world.supervision.process(id).unwrap().config.name.clone();
                forks_are_right(world, nodes, name[1..].parse().unwrap())?;
                world.defers_forks = false;
                let input = world.perform(Effect::Spawn(id)).unwrap();
                world.input(input);
                world.defers_forks = true;
            }
        }
        Ok(())
    };
    for millis in 0..=shutdown_at {
        while let Some(&(at, place, kind)) = requests.first().filter(|(at, ..)| *at <= millis) {
            requests.remove(0);
            let (name, _) = (&names[place], at);
            tickets += 1;
            match kind {
                0 => world.start(tickets, name),
                1 => world.stop(tickets, name),
                2 => {
                    let id = world.supervision.find(name, name).unwrap();
                    world.input(Input::Restart(id));
                    tickets -= 1;
                    &mut world
                }
                _ => world.ask(tickets, Command::Start { target: Target::Name(name.clone()), wait: false }),
            };
        }
        world.run_until(millis);
        fork(&mut world)?;
    }
    // Every wait has a limit, so everything settles.
    let mut millis = shutdown_at;
    for _ in 0..2_000 {
        millis += 100;
        world.run_until(millis);
        fork(&mut world)?;
    }
    for name in &names {
        let state = world.state(name);
        let is_settled = matches!(state, State::Running | State::Exited | State::Fatal | State::Stopped);
        prop_assert!(is_settled, "{name} is {state:?} in the end: {:#?}", world.log);
    }
    prop_assert_eq!(world.replies.len() as u64, tickets, "every request is answered");
    // The shutdown: dependents end before what they need.
    let alive: Vec<u32> = world.children.values().map(|child| child.id).collect();
    world.ends.clear();
    world.signals.clear();
    let begun = world.millis;
    world.terminate().run_until(millis + 1_000_000);
    prop_assert!(world.finish.is_some(), "the shutdown ends");
    // A chain of at most six, each with two seconds until KILL.
    prop_assert!(world.finish.as_ref().unwrap().0 <= begun + 6 * 3_100 * 3, "in time");
    for (place, node) in nodes.iter().enumerate() {
        let id = |place: usize| world.supervision.find(&names[place], &names[place]).unwrap();
        for of in [&node.depends_on, &node.after, &node.restart_with].into_iter().flatten().filter(|of| **of < place) {
            let ended = world.ends.iter().find(|(_, ended)| *ended == id(place)).map(|(at, _)| *at);
            let signalled = world.signals.iter().find(|(_, name, _)| *name == names[*of]).map(|(at, ..)| *at);
            if let (true, Some(signalled)) = (alive.contains(&id(place)), signalled) {
                prop_assert!(ended.is_some_and(|ended| ended <= signalled), "p{place} ends before p{of} is signalled");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_graph_starts_in_order_settles_and_stops_in_reverse(
        nodes in prop::collection::vec(node(), 1..6),
        requests in prop::collection::vec((0..6_usize, 0..4_u8, 0..6_000_u64), 0..12),
        shutdown_at in 1_000..8_000_u64,
    ) {
        check_graph(&nodes, &requests, shutdown_at)?;
    }
}
