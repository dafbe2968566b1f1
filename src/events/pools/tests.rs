//! Pools, with listeners whose output each test chooses.

use super::*;
use proptest::prelude::*;

struct Rig {
    events: Events,
    now: Now,
}

/// The events sent to each listener, and the log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    sent: Vec<(ListenerId, String)>,
    log: Vec<String>,
}

const READY: &[u8] = b"READY\n";
const OK: &[u8] = b"RESULT 2\nOK";
const FAIL: &[u8] = b"RESULT 4\nFAIL";

impl Rig {
    fn new() -> Rig {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall { secs: 1_000_003, nanos: 500_000_000 } };
        let mut events = Events::default();
        events.begin("sup", now);
        Rig { events, now }
    }

    /// A pool of the processes `ids`, named `l<id>`.
    fn pool(mut self, name: &str, types: &[&str], buffer_size: u32, ids: &[ListenerId]) -> Rig {
        let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
        let members = ids.iter().map(|id| (*id, format!("l{id}"))).collect();
        self.events.add_pool(name, &types, buffer_size, ResultHandler::Default, members);
        self
    }

    fn ready(&mut self, id: ListenerId) -> Outcome {
        self.events.set_running(id, true);
        self.events.receive(id, READY);
        self.outcome()
    }

    fn remote(&mut self, data: &str) -> Outcome {
        self.events.notify("REMOTE_COMMUNICATION", &|_| "t".into(), data.as_bytes());
        self.outcome()
    }

    fn receive(&mut self, id: ListenerId, bytes: &[u8]) -> Outcome {
        self.events.receive(id, bytes);
        self.outcome()
    }

    fn outcome(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(action) = self.events.next_action() {
            match action {
                ListenerAction::Send(id, bytes) => outcome.sent.push((id, String::from_utf8(bytes).unwrap())),
                ListenerAction::Print(output) => panic!("{output:?}"),
                ListenerAction::Debug(line) | ListenerAction::Warn(line) | ListenerAction::Error(line) => {
                    outcome.log.push(line)
                }
            }
        }
        outcome
    }

    fn pass(&mut self, millis: u64) -> Outcome {
        self.now.mono = self.now.mono.after_ms(millis);
        let nanos = u64::from(self.now.wall.nanos) + millis * 1_000_000;
        self.now.wall.secs += (nanos / 1_000_000_000) as i64;
        self.now.wall.nanos = (nanos % 1_000_000_000) as u32;
        self.events.on_time(self.now);
        self.outcome()
    }
}

/// The data of each event that was sent, with its listener.
fn data(outcome: &Outcome) -> Vec<(ListenerId, &str)> {
    outcome.sent.iter().map(|(id, text)| (*id, text.rsplit('\n').next().unwrap())).collect()
}

#[test]
fn an_event_goes_to_the_first_that_is_ready_and_running() {
    let mut rig = Rig::new().pool("p", &["EVENT"], 10, &[1, 2]);
    rig.events.receive(1, READY);
    rig.outcome();
    assert_eq!(rig.remote("a").sent, [], "not RUNNING yet");
    rig.events.set_running(1, true);
    let outcome = rig.outcome();
    let header = "ver:3.0 server:sup serial:0 pool:p poolserial:0 eventname:REMOTE_COMMUNICATION len:8\n";
    assert_eq!(outcome.sent, [(1, format!("{header}type:t\na"))]);
    assert_eq!(outcome.log, ["event 0 sent to listener l1"]);
    rig.ready(2);
    assert_eq!(data(&rig.remote("b")), [(2, "b")]);
    assert_eq!(data(&rig.remote("c")), []);
    let outcome = rig.receive(1, b"RESULT 2\nOKREADY\n");
    assert_eq!(data(&outcome), [(1, "c")]);
    assert_eq!(outcome.log[..3], ["l1: event was processed", "l1: BUSY -> ACKNOWLEDGED", "l1: ACKNOWLEDGED -> READY"]);
}

#[test]
fn serials_count_events_with_a_subscriber_and_poolserials_those_of_the_pool() {
    let mut rig = Rig::new().pool("a", &["REMOTE_COMMUNICATION"], 10, &[1]).pool("b", &["EVENT"], 10, &[2]);
    rig.ready(1);
    rig.ready(2);
    rig.events.notify("PROCESS_GROUP_ADDED", &|_| "g".into(), b"");
    assert!(rig.outcome().sent[0].1.starts_with("ver:3.0 server:sup serial:0 pool:b poolserial:0 "));
    rig.receive(2, &[OK, READY].concat());
    let sent = rig.remote("x").sent;
    assert!(sent[0].1.starts_with("ver:3.0 server:sup serial:1 pool:a poolserial:0 "), "{sent:?}");
    assert!(sent[1].1.starts_with("ver:3.0 server:sup serial:1 pool:b poolserial:1 "), "{sent:?}");
    // A reload makes new pools. The serial goes on counting, and an event without a subscriber has none.
    rig.events.begin("sup", rig.now);
    rig.remote("no subscriber");
    rig = rig.pool("c", &["EVENT"], 10, &[3]);
    rig.ready(3);
    assert!(rig.remote("é").sent[0].1.starts_with("ver:3.0 server:sup serial:2 pool:c poolserial:0 "));
}

#[test]
fn the_length_is_in_characters_as_supervisors() {
    let mut rig = Rig::new().pool("p", &["REMOTE_COMMUNICATION"], 10, &[1]);
    rig.ready(1);
    assert!(rig.remote("é").sent[0].1.contains(" len:8\ntype:t\né"));
}

#[test]
fn an_event_of_overlapping_types_is_sent_once() {
    let mut rig = Rig::new().pool("p", &["EVENT", "REMOTE_COMMUNICATION"], 10, &[1, 2]);
    rig.ready(1);
    rig.ready(2);
    assert_eq!(data(&rig.remote("x")), [(1, "x")]);
}

#[test]
fn a_full_buffer_drops_the_oldest_and_counts() {
    let mut rig = Rig::new().pool("p", &["EVENT"], 2, &[1]);
    assert_eq!([rig.remote("a").log, rig.remote("b").log], [vec![], vec![] as Vec<String>]);
    assert_eq!(rig.remote("c").log, ["pool p event buffer overflowed, discarding event 0"]);
    assert_eq!(data(&rig.ready(1)), [(1, "b")]);
    rig.remote("d");
    // An event that returns to the buffer needs room too.
    let log = rig.receive(1, FAIL).log;
    assert_eq!(log[0], "l1: event was rejected");
    assert_eq!(log[2], "rebuffering event 1 for pool p (buf size=2, max=2)");
    assert_eq!(log[3], "pool p event buffer overflowed, discarding event 2");
    assert_eq!(data(&rig.receive(1, READY)), [(1, "b")], "it is the first again");
    rig.events.remove_pool("p");
    assert_eq!(rig.outcome().log, ["pool p has missed 2 events: its buffer was full"]);
}

#[test]
fn the_log_is_the_same_however_a_rejection_is_split() {
    let words = [FAIL, READY].concat();
    let busy = || {
        let mut rig = Rig::new().pool("p", &["REMOTE_COMMUNICATION"], 10, &[1]);
        rig.ready(1);
        rig.remote("x");
        rig
    };
    let whole = busy().receive(1, &words).log;
    assert_eq!(whole[2], "rebuffering event 0 for pool p (buf size=0, max=10)");
    for cut in 1..words.len() {
        let (mut rig, (head, tail)) = (busy(), words.split_at(cut));
        assert_eq!([rig.receive(1, head).log, rig.receive(1, tail).log].concat(), whole);
    }
}

#[test]
fn an_event_that_is_rejected_twice_waits_a_second() {
    let mut rig = Rig::new().pool("p", &["REMOTE_COMMUNICATION"], 10, &[1]);
    rig.ready(1);
    rig.remote("a");
    assert_eq!(data(&rig.receive(1, &[FAIL, READY].concat())), [(1, "a")], "once more at once");
    assert_eq!(data(&rig.receive(1, &[FAIL, READY].concat())), []);
    assert_eq!(rig.events.next_deadline(rig.now), Some(rig.now.mono.after_ms(1000)));
    assert_eq!(data(&rig.pass(999)), []);
    assert_eq!(data(&rig.pass(1)), [(1, "a")]);
    rig.receive(1, &[OK, READY].concat());
    assert_eq!(rig.events.next_deadline(rig.now), None);
    assert_eq!(data(&rig.remote("b")), [(1, "b")]);
}

#[test]
fn a_listener_that_breaks_the_protocol_gets_no_events_until_its_restart() {
    let mut rig = Rig::new().pool("p", &["EVENT"], 10, &[1]);
    rig.ready(1);
    rig.remote("a");
    let log = rig.receive(1, b"nonsense\n").log;
    assert_eq!(log[..2], ["l1: bad result line: 'nonsense'", "l1: BUSY -> UNKNOWN"]);
    assert!(log[2].starts_with("l1: has entered the UNKNOWN state and will no longer receive events, this usually"));
    assert_eq!(rig.receive(1, &[READY, OK].concat()), Outcome::default());
    rig.events.restarted(1);
    assert_eq!(data(&rig.ready(1)), [(1, "a")]);
}

#[test]
fn the_event_of_a_listener_that_died_goes_to_another() {
    let mut rig = Rig::new().pool("p", &["EVENT"], 10, &[1, 2]);
    rig.ready(1);
    rig.ready(2);
    rig.remote("a");
    rig.events.set_running(1, false);
    rig.events.restarted(1);
    assert_eq!(data(&rig.outcome()), [(2, "a")]);
}

#[test]
fn a_listener_with_closed_stdin_is_skipped() {
    let mut rig = Rig::new().pool("p", &["EVENT"], 10, &[1, 2]);
    rig.ready(1);
    rig.ready(2);
    assert_eq!(data(&rig.remote("a")), [(1, "a")]);
    rig.events.refused(1);
    let outcome = rig.outcome();
    assert_eq!(data(&outcome), [(2, "a")]);
    assert_eq!(outcome.log[0], "epipe occurred while sending event 0 to listener l1, listener state unchanged");
}

#[test]
fn ticks_come_at_the_start_of_their_period_and_only_with_a_subscriber() {
    let mut rig = Rig::new().pool("p", &["REMOTE_COMMUNICATION"], 10, &[1]);
    assert_eq!(rig.events.next_deadline(rig.now), None, "there is no deadline without a subscriber");
    rig = rig.pool("t", &["TICK_5"], 10, &[2]);
    rig.ready(2);
    // It is 1,000,003.5.
    assert_eq!(rig.events.next_deadline(rig.now), Some(rig.now.mono.after_ms(1500)));
    assert_eq!(data(&rig.pass(1499)), []);
    let header = "ver:3.0 server:sup serial:0 pool:t poolserial:0 eventname:TICK_5 len:12\n";
    assert_eq!(rig.pass(1).sent, [(2, format!("{header}when:1000005"))]);
    rig.receive(2, &[OK, READY].concat());
    // Missed ticks are not sent later. A clock that is set back starts a period too.
    assert_eq!(rig.pass(17_000).sent.len(), 1);
    rig.receive(2, &[OK, READY].concat());
    rig.now.wall.secs -= 3600;
    assert_eq!(rig.pass(1).sent.len(), 1);
    rig.events.remove_pool("t");
    assert_eq!(rig.events.next_deadline(rig.now), None);
}

#[test]
fn another_pool_does_not_change_the_ticks_of_the_others() {
    let mut rig = Rig::new().pool("t", &["TICK_5", "TICK_60"], 10, &[1]).pool("u", &["TICK"], 10, &[2]);
    rig.ready(1);
    rig.ready(2);
    assert_eq!(rig.pass(1499), Outcome::default());
    assert_eq!(rig.pass(1).sent.len(), 2);
}

#[test]
fn a_pool_without_dropped_events_is_removed_without_a_message() {
    let mut rig = Rig::new().pool("p", &["EVENT"], 1, &[1]);
    rig.remote("a");
    rig.events.remove_pool("p");
    assert_eq!(rig.outcome(), Outcome::default());
}

#[test]
fn without_a_pool_no_event_needs_to_be_made() {
    let rig = Rig::new();
    assert!(rig.events.is_idle());
    assert!(!rig.pool("p", &["EVENT"], 1, &[1]).events.is_idle());
}

#[test]
fn an_event_is_undelivered_while_a_listener_has_it_or_may_ask_for_it() {
    let mut rig = Rig::new();
    assert!(!rig.events.has_undelivered());
    rig = rig.pool("p", &["EVENT"], 10, &[1]);
    rig.remote("a");
    assert!(!rig.events.has_undelivered(), "the listener does not run");
    rig.events.set_running(1, true);
    assert!(rig.events.has_undelivered(), "it may become READY");
    rig.ready(1);
    assert!(rig.events.has_undelivered(), "it has the event");
    rig.receive(1, &[OK, READY].concat());
    assert!(!rig.events.has_undelivered(), "all is done");
    rig.remote("b");
    rig.events.refused(1);
    assert!(!rig.events.has_undelivered(), "it has closed its stdin");
    rig.events.restarted(1);
    assert!(rig.events.has_undelivered());
    rig.receive(1, b"no READY");
    assert!(!rig.events.has_undelivered(), "it has broken the protocol");
}

proptest! {
    /// Whatever listeners write and however they end, each event is with one listener, in the buffer, dropped or processed.
    #[test]
    fn no_event_is_lost_without_being_counted(steps in prop::collection::vec((0_u32..6, 1_u32..4), 0..200), size in 1_u32..5) {
        let mut rig = Rig::new().pool("p", &["REMOTE_COMMUNICATION"], size, &[1, 2, 3]);
        let (mut notified, mut done) = (0, 0);
        for (step, id) in steps {
            match step {
                0 | 1 => {
                    notified += 1;
                    rig.remote("x");
                }
                2 => drop(rig.ready(id)),
                3 => done += rig.receive(id, OK).log.iter().filter(|line| line.ends_with("event was processed")).count(),
                4 => drop(rig.receive(id, FAIL)),
                _ => {
                    rig.events.restarted(id);
                    rig.outcome();
                }
            }
            rig.pass(1000);
            let pool = &rig.events.pools[0];
            let busy = pool.members.iter().filter(|member| member.event.is_some()).count();
            prop_assert_eq!(notified, done + busy + pool.buffer.len() + pool.discarded as usize);
            prop_assert!(pool.buffer.len() <= size as usize);
            for member in &pool.members {
                prop_assert_eq!(member.event.is_some(), member.listener.state == ListenerState::Busy);
            }
        }
    }
}
