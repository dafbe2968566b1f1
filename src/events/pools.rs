//! Pools of listeners: subscriptions, buffers and serial numbers. Decides which listener gets which event, and when.

use super::handler::{LabelledOutput, ResultHandler};
use super::listener::{Listener, ListenerState, ProtocolEvent};
use super::types::{EventType, text_of};
use crate::time::{Mono, Now, Wall};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// The daemon's number of a process.
type ListenerId = u32;

/// An action for the daemon to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerAction {
    /// Write this to the stdin of a listener, however long it is. If its stdin is closed, call [`Events::refused`].
    Send(ListenerId, Vec<u8>),
    /// Print this on stdout.
    Print(LabelledOutput),
    /// A line for the log, at level debug.
    Debug(String),
    /// At level warn.
    Warn(String),
    /// At level error.
    Error(String),
}

/// Every pool of listeners, and the actions that wait for the daemon.
#[derive(Debug, Default)]
pub struct Events {
    /// `[supervisord] identifier`, for the header.
    identifier: String,
    /// The serial of the next event. It goes on counting through reloads.
    serial: u64,
    pools: Vec<Pool>,
    actions: VecDeque<ListenerAction>,
    /// For each TICK type with a subscriber: its period in seconds, and the last one sent.
    ticks: Vec<(&'static EventType, i64, i64)>,
    now: Now,
}

/// The processes of one `[eventlistener:x]`.
#[derive(Debug)]
struct Pool {
    name: String,
    types: Vec<String>,
    buffer_size: usize,
    buffer: VecDeque<QueuedEvent>,
    serial: u64,
    members: Vec<Member>,
    /// How many events were dropped because the buffer was full.
    discarded: u64,
    /// Results in a row that were not OK.
    rejections: u32,
    handler: ResultHandler,
    /// Nothing is sent before this time.
    hold_until: Mono,
}

/// One process of a pool.
#[derive(Debug)]
struct Member {
    id: ListenerId,
    name: String,
    is_running: bool,
    /// It has closed its stdin, so it gets no more events.
    has_closed_stdin: bool,
    listener: Listener,
    /// The event that it is processing.
    event: Option<QueuedEvent>,
}

/// An event in a pool.
#[derive(Debug, Clone)]
struct QueuedEvent {
    event: Rc<PublishedEvent>,
    poolserial: u64,
}

#[derive(Debug)]
struct PublishedEvent {
    kind: &'static EventType,
    serial: u64,
    payload: String,
}

const TICKS: [(&str, i64); 3] = [("TICK_5", 5), ("TICK_60", 60), ("TICK_3600", 3600)];

/// A pool that rejects several events in a row waits this long for the next.
// Differs from Supervisor, which sends the event again at once, in a tight loop.
const HOLD: Duration = Duration::from_secs(1);

impl Events {
    /// Removes every pool: a new configuration is in force.
    pub fn begin(&mut self, identifier: &str, now: Now) {
        self.ticks.clear();
        while let Some(pool) = self.pools.first().map(|pool| pool.name.clone()) {
            self.remove_pool(&pool);
        }
        self.identifier = identifier.into();
        self.now = now;
    }

    /// Adds a pool. `members` are in the order of the configuration.
    pub fn add_pool(
        &mut self,
        name: &str,
        types: &[String],
        buffer_size: u32,
        handler: ResultHandler,
        members: Vec<(ListenerId, String)>,
    ) {
        let member = |(id, name)| Member {
            id,
            name,
            is_running: false,
            has_closed_stdin: false,
            listener: Listener::new(handler),
            event: None,
        };
        self.pools.push(Pool {
            name: name.into(),
            types: types.to_vec(),
            buffer_size: usize::try_from(buffer_size).unwrap_or(usize::MAX),
            buffer: VecDeque::new(),
            serial: 0,
            members: members.into_iter().map(member).collect(),
            discarded: 0,
            rejections: 0,
            handler,
            hold_until: Mono::default(),
        });
        self.update_ticks();
    }

    /// Removes a pool, and logs how many events it has missed.
    pub fn remove_pool(&mut self, name: &str) {
        let Some(place) = self.pools.iter().position(|pool| pool.name == name) else { return };
        let pool = self.pools.remove(place);
        if pool.discarded > 0 {
            let line = format!("pool {name} has missed {} events: its buffer was full", pool.discarded);
            self.actions.push_back(ListenerAction::Warn(line));
        }
        self.update_ticks();
    }

    /// Starts the periods of newly subscribed TICK types now. The others continue.
    fn update_ticks(&mut self) {
        let before = std::mem::take(&mut self.ticks);
        for (name, period) in TICKS {
            let Some(kind) = EventType::named(name).filter(|kind| self.has_subscriber(kind)) else { continue };
            let last = before.iter().find(|(_, of, _)| *of == period);
            self.ticks.push((kind, period, last.map_or_else(|| slice(self.now.wall, period), |(_, _, last)| *last)));
        }
    }

    /// Whether there is no pool, so that no event needs to be made.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pools.is_empty()
    }

    /// Whether a listener is processing an event, or one is buffered that a listener may still ask for.
    #[must_use]
    pub fn has_undelivered(&self) -> bool {
        self.pools.iter().any(|pool| {
            pool.members.iter().filter(|member| member.is_running).any(|member| {
                let may_ask = !member.has_closed_stdin && member.listener.state != ListenerState::Unknown;
                member.event.is_some() || (may_ask && !pool.buffer.is_empty())
            })
        })
    }

    fn has_subscriber(&self, kind: &EventType) -> bool {
        self.pools.iter().any(|pool| pool.subscribes_to(kind))
    }

    /// Buffers an event of the type `name` in each pool that subscribes to it. `value` gives the fields of its payload.
    pub fn notify(&mut self, name: &str, value: &dyn Fn(&str) -> String, data: &[u8]) {
        let Some(kind) = EventType::named(name).filter(|kind| self.has_subscriber(kind)) else { return };
        let event = Rc::new(PublishedEvent { kind, serial: self.serial, payload: kind.payload(value, data) });
        self.serial = self.serial.wrapping_add(1);
        for pool in self.pools.iter_mut().filter(|pool| pool.subscribes_to(kind)) {
            let poolserial = pool.serial;
            pool.serial = pool.serial.wrapping_add(1);
            pool.make_room(&mut self.actions);
            pool.buffer.push_back(QueuedEvent { event: Rc::clone(&event), poolserial });
            pool.dispatch(&self.identifier, self.now.mono, &mut self.actions);
        }
    }

    /// The next action.
    pub fn next_action(&mut self) -> Option<ListenerAction> {
        self.actions.pop_front()
    }

    fn with_member(&mut self, id: ListenerId, act: impl FnOnce(&mut Pool, usize, &mut VecDeque<ListenerAction>)) {
        for pool in &mut self.pools {
            if let Some(place) = pool.members.iter().position(|member| member.id == id) {
                act(pool, place, &mut self.actions);
                return pool.dispatch(&self.identifier, self.now.mono, &mut self.actions);
            }
        }
    }

    /// A listener has entered or left RUNNING.
    pub fn set_running(&mut self, id: ListenerId, is_running: bool) {
        self.with_member(id, |pool, place, _| {
            if let Some(member) = pool.members.get_mut(place) {
                member.is_running = is_running;
            }
        });
    }

    /// A listener's process has ended or starts again: its protocol state is reset, and its event returns to the buffer.
    pub fn restarted(&mut self, id: ListenerId) {
        self.with_member(id, |pool, place, actions| {
            let Some(member) = pool.members.get_mut(place) else { return };
            (member.listener, member.has_closed_stdin) = (Listener::new(pool.handler), false);
            if let Some(event) = member.event.take() {
                pool.put_back(event, actions);
            }
        });
    }

    /// A listener has closed its stdin: the event that was sent to it returns to the buffer.
    pub fn refused(&mut self, id: ListenerId) {
        self.with_member(id, |pool, place, actions| {
            let Some(member) = pool.members.get_mut(place) else { return };
            (member.listener.state, member.has_closed_stdin) = (ListenerState::Ready, true);
            let Some(event) = member.event.take() else { return };
            actions.push_back(ListenerAction::Debug(format!(
                "epipe occurred while sending event {} to listener {}, listener state unchanged",
                event.event.serial, member.name
            )));
            pool.buffer.push_front(event);
        });
    }

    /// A listener has written these bytes to its stdout.
    pub fn receive(&mut self, id: ListenerId, bytes: &[u8]) {
        let now = self.now.mono;
        self.with_member(id, |pool, place, actions| pool.receive(place, bytes, now, actions));
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Now) {
        self.now = now;
        for place in 0..self.ticks.len() {
            let Some((kind, period, last)) = self.ticks.get_mut(place) else { return };
            let this = slice(now.wall, *period);
            if std::mem::replace(last, this) != this {
                let name = kind.name;
                self.notify(name, &|_| this.to_string(), b"");
            }
        }
        for pool in &mut self.pools {
            pool.dispatch(&self.identifier, now.mono, &mut self.actions);
        }
    }

    /// When to call `on_time`; `None` if no pool subscribes to TICK and none is held back.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Mono> {
        let tick = |&(_, period, _): &(_, i64, _)| {
            let left = slice(now.wall, period).saturating_add(period).saturating_sub(now.wall.secs);
            let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
            now.mono.after(left.saturating_sub(Duration::from_nanos(now.wall.nanos.into())))
        };
        let held = self.pools.iter().filter(|pool| pool.hold_until > now.mono && !pool.buffer.is_empty());
        self.ticks.iter().map(tick).chain(held.map(|pool| pool.hold_until)).min()
    }
}

/// The start of the period that contains `wall`, in seconds since the epoch.
fn slice(wall: Wall, period: i64) -> i64 {
    wall.secs.saturating_sub(wall.secs.checked_rem_euclid(period).unwrap_or(0))
}

impl Pool {
    fn subscribes_to(&self, kind: &EventType) -> bool {
        // Differs from Supervisor: with overlapping types (TICK,TICK_5) an event is sent once.
        self.types.iter().any(|name| kind.is_below(name))
    }

    /// Drops the oldest event if the buffer is full.
    fn make_room(&mut self, actions: &mut VecDeque<ListenerAction>) {
        if self.buffer.len() >= self.buffer_size
            && let Some(oldest) = self.buffer.pop_front()
        {
            self.discarded = self.discarded.saturating_add(1);
            let line = format!("pool {} event buffer overflowed, discarding event {}", self.name, oldest.event.serial);
            actions.push_back(ListenerAction::Error(line));
        }
    }

    /// Returns an event to the front of the buffer.
    // Differs from Supervisor: only to this pool, not to every pool with a process of the same priority.
    fn put_back(&mut self, event: QueuedEvent, actions: &mut VecDeque<ListenerAction>) {
        actions.push_back(ListenerAction::Debug(format!(
            "rebuffering event {} for pool {} (buf size={}, max={})",
            event.event.serial,
            self.name,
            self.buffer.len(),
            self.buffer_size
        )));
        self.make_room(actions);
        self.buffer.push_front(event);
    }

    /// Sends buffered events to ready members, the first members first.
    fn dispatch(&mut self, identifier: &str, now: Mono, actions: &mut VecDeque<ListenerAction>) {
        while now >= self.hold_until && !self.buffer.is_empty() {
            let ready = |member: &&mut Member| {
                member.is_running && !member.has_closed_stdin && member.listener.state == ListenerState::Ready
            };
            let Some(member) = self.members.iter_mut().find(ready) else { return };
            let Some(sent) = self.buffer.pop_front() else { return };
            let PublishedEvent { kind, serial, payload } = &*sent.event;
            // The length is in characters, as Supervisor's: its listeners read text.
            let envelope = format!(
                "ver:3.0 server:{identifier} serial:{serial} pool:{} poolserial:{} eventname:{} len:{}\n{payload}",
                self.name,
                sent.poolserial,
                kind.name,
                payload.chars().count()
            );
            actions.push_back(ListenerAction::Send(member.id, envelope.into_bytes()));
            actions.push_back(ListenerAction::Debug(format!("event {serial} sent to listener {}", member.name)));
            member.listener.sent(payload);
            member.event = Some(sent);
        }
    }

    fn receive(&mut self, place: usize, bytes: &[u8], now: Mono, actions: &mut VecDeque<ListenerAction>) {
        let Some(member) = self.members.get_mut(place) else { return };
        let mut found = Vec::new();
        member.listener.receive(bytes, &mut found);
        let (name, mut event, mut returned) = (member.name.clone(), member.event.take(), None);
        for each in found {
            match each {
                ProtocolEvent::Processed => {
                    (self.rejections, event) = (0, None);
                    actions.push_back(ListenerAction::Debug(format!("{name}: event was processed")));
                }
                ProtocolEvent::Output(output) => {
                    (self.rejections, event) = (0, None);
                    actions.push_back(ListenerAction::Print(output));
                    actions.push_back(ListenerAction::Debug(format!("{name}: event was processed")));
                }
                ProtocolEvent::Unreadable => {
                    returned = event.take();
                    actions.push_back(ListenerAction::Warn(format!("{name}: event caused an error")));
                }
                ProtocolEvent::Rejected => {
                    returned = event.take();
                    actions.push_back(ListenerAction::Warn(format!("{name}: event was rejected")));
                }
                ProtocolEvent::BadResultLine(line) => {
                    returned = event.take();
                    actions.push_back(ListenerAction::Warn(format!("{name}: bad result line: '{}'", text_of(&line))));
                }
                ProtocolEvent::StateChanged(from, to) => {
                    actions.push_back(ListenerAction::Debug(format!("{name}: {} -> {}", from.name(), to.name())));
                    if to == ListenerState::Unknown {
                        actions.push_back(ListenerAction::Warn(format!(
                            "{name}: has entered the UNKNOWN state and will no longer receive events, this usually \
                             indicates the process violated the eventlistener protocol"
                        )));
                    }
                    if let Some(event) = returned.take() {
                        self.reject(event, now, actions);
                    }
                }
            }
        }
        if let Some(member) = self.members.get_mut(place) {
            member.event = event;
        }
    }

    /// Returns a rejected event; after two in a row the pool is held back.
    fn reject(&mut self, event: QueuedEvent, now: Mono, actions: &mut VecDeque<ListenerAction>) {
        self.rejections = self.rejections.saturating_add(1);
        if self.rejections > 1 {
            self.hold_until = now.after(HOLD);
        }
        self.put_back(event, actions);
    }
}

#[cfg(test)]
mod tests;
