//! Pools of listeners: who subscribes to what, the buffers, the serials, and who gets which event when.

use super::handler::{Output, ResultHandler};
use super::listener::{Listener, Said, State};
use super::types::{Type, text_of};
use crate::time::{Mono, Now, Wall};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// The daemon's number of a process.
type Id = u32;

/// What the daemon is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Write this to the stdin of a listener, whatever its length; if that is closed, say so by [`Events::refused`].
    Send(Id, Vec<u8>),
    /// Print this on stdout.
    Print(Output),
    /// A line for the log, at level debug.
    Debug(String),
    /// At level warn.
    Warn(String),
    /// At level error.
    Error(String),
}

/// Every pool of listeners, and what waits for them.
#[derive(Debug, Default)]
pub struct Events {
    /// `[supervisord] identifier`, for the header.
    identifier: String,
    /// The next event's; counts on through reloads.
    serial: u64,
    pools: Vec<Pool>,
    deeds: VecDeque<Deed>,
    /// For each TICK type somebody subscribes to: its period in seconds, and the last one told.
    ticks: Vec<(&'static Type, i64, i64)>,
    now: Now,
}

/// The processes of one `[eventlistener:x]`.
#[derive(Debug)]
struct Pool {
    name: String,
    types: Vec<String>,
    buffer_size: usize,
    buffer: VecDeque<Sent>,
    serial: u64,
    members: Vec<Member>,
    /// How many events were thrown away.
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
    id: Id,
    name: String,
    is_running: bool,
    /// It has closed its stdin.
    is_deaf: bool,
    listener: Listener,
    /// What it is busy with.
    event: Option<Sent>,
}

/// An event in a pool.
#[derive(Debug, Clone)]
struct Sent {
    event: Rc<Event>,
    poolserial: u64,
}

#[derive(Debug)]
struct Event {
    kind: &'static Type,
    serial: u64,
    payload: String,
}

const TICKS: [(&str, i64); 3] = [("TICK_5", 5), ("TICK_60", 60), ("TICK_3600", 3600)];

/// A pool that rejects one event after the other gets the next no sooner.
// Differs from Supervisor: it sends the same event again and again, as fast as both can.
const HOLD: Duration = Duration::from_secs(1);

impl Events {
    /// Forgets every pool: a configuration begins.
    pub fn begin(&mut self, identifier: &str, now: Now) {
        self.ticks.clear();
        while let Some(pool) = self.pools.first().map(|pool| pool.name.clone()) {
            self.remove_pool(&pool);
        }
        self.identifier = identifier.into();
        self.now = now;
    }

    /// Puts a pool into use; its members are in configuration order.
    pub fn add_pool(
        &mut self,
        name: &str,
        types: &[String],
        buffer_size: u32,
        handler: ResultHandler,
        members: Vec<(Id, String)>,
    ) {
        let member = |(id, name)| Member {
            id,
            name,
            is_running: false,
            is_deaf: false,
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
        self.note_ticks();
    }

    /// Takes a pool out of use, and says what it has missed.
    pub fn remove_pool(&mut self, name: &str) {
        let Some(place) = self.pools.iter().position(|pool| pool.name == name) else { return };
        let pool = self.pools.remove(place);
        if pool.discarded > 0 {
            let line = format!("pool {name} has missed {} events: its buffer was full", pool.discarded);
            self.deeds.push_back(Deed::Warn(line));
        }
        self.note_ticks();
    }

    /// Periods that somebody has begun to hear begin now; the others go on.
    fn note_ticks(&mut self) {
        let before = std::mem::take(&mut self.ticks);
        for (name, period) in TICKS {
            let Some(kind) = Type::named(name).filter(|kind| self.is_heard(kind)) else { continue };
            let last = before.iter().find(|(_, of, _)| *of == period);
            self.ticks.push((kind, period, last.map_or_else(|| slice(self.now.wall, period), |(_, _, last)| *last)));
        }
    }

    /// Whether there is nobody to hear anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pools.is_empty()
    }

    /// Whether a listener has an event in hand, or one waits that a listener may still ask for.
    #[must_use]
    pub fn is_anything_unheard(&self) -> bool {
        self.pools.iter().any(|pool| {
            pool.members.iter().filter(|member| member.is_running).any(|member| {
                let may_ask = !member.is_deaf && member.listener.state != State::Unknown;
                member.event.is_some() || (may_ask && !pool.buffer.is_empty())
            })
        })
    }

    fn is_heard(&self, kind: &Type) -> bool {
        self.pools.iter().any(|pool| pool.hears(kind))
    }

    /// Something has happened: its type's name, the values of the payload's fields, and what was said.
    pub fn notify(&mut self, name: &str, value: &dyn Fn(&str) -> String, data: &[u8]) {
        let Some(kind) = Type::named(name).filter(|kind| self.is_heard(kind)) else { return };
        let event = Rc::new(Event { kind, serial: self.serial, payload: kind.payload(value, data) });
        self.serial = self.serial.wrapping_add(1);
        for pool in self.pools.iter_mut().filter(|pool| pool.hears(kind)) {
            let poolserial = pool.serial;
            pool.serial = pool.serial.wrapping_add(1);
            pool.make_room(&mut self.deeds);
            pool.buffer.push_back(Sent { event: Rc::clone(&event), poolserial });
            pool.dispatch(&self.identifier, self.now.mono, &mut self.deeds);
        }
    }

    /// The next thing to do.
    pub fn next_deed(&mut self) -> Option<Deed> {
        self.deeds.pop_front()
    }

    /// Whether this process is a listener.
    #[must_use]
    pub fn is_listener(&self, id: Id) -> bool {
        self.pools.iter().flat_map(|pool| &pool.members).any(|member| member.id == id)
    }

    fn with_member(&mut self, id: Id, act: impl FnOnce(&mut Pool, usize, &mut VecDeque<Deed>)) {
        for pool in &mut self.pools {
            if let Some(place) = pool.members.iter().position(|member| member.id == id) {
                act(pool, place, &mut self.deeds);
                return pool.dispatch(&self.identifier, self.now.mono, &mut self.deeds);
            }
        }
    }

    /// A listener is RUNNING now, or not any more.
    pub fn set_running(&mut self, id: Id, is_running: bool) {
        self.with_member(id, |pool, place, _| {
            if let Some(member) = pool.members.get_mut(place) {
                member.is_running = is_running;
            }
        });
    }

    /// A listener's process has ended, or a new one begins: it has said nothing yet, and what it had in hand is free.
    pub fn restarted(&mut self, id: Id) {
        self.with_member(id, |pool, place, deeds| {
            let Some(member) = pool.members.get_mut(place) else { return };
            (member.listener, member.is_deaf) = (Listener::new(pool.handler), false);
            if let Some(event) = member.event.take() {
                pool.put_back(event, deeds);
            }
        });
    }

    /// A listener has closed its stdin: what was sent goes to another.
    pub fn refused(&mut self, id: Id) {
        self.with_member(id, |pool, place, deeds| {
            let Some(member) = pool.members.get_mut(place) else { return };
            (member.listener.state, member.is_deaf) = (State::Ready, true);
            let Some(event) = member.event.take() else { return };
            deeds.push_back(Deed::Debug(format!(
                "epipe occurred while sending event {} to listener {}, listener state unchanged",
                event.event.serial, member.name
            )));
            pool.buffer.push_front(event);
        });
    }

    /// A listener has written this to its stdout.
    pub fn hear(&mut self, id: Id, bytes: &[u8]) {
        let now = self.now.mono;
        self.with_member(id, |pool, place, deeds| pool.hear(place, bytes, now, deeds));
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
            pool.dispatch(&self.identifier, now.mono, &mut self.deeds);
        }
    }

    /// When `on_time` has something to do; `None` unless somebody hears TICKs or has rejected events.
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

/// The beginning of the period that `wall` is in, in seconds since the epoch.
fn slice(wall: Wall, period: i64) -> i64 {
    wall.secs.saturating_sub(wall.secs.checked_rem_euclid(period).unwrap_or(0))
}

impl Pool {
    fn hears(&self, kind: &Type) -> bool {
        // Differs from Supervisor: of overlapping types (TICK,TICK_5) each event comes once.
        self.types.iter().any(|name| kind.is_below(name))
    }

    fn make_room(&mut self, deeds: &mut VecDeque<Deed>) {
        if self.buffer.len() >= self.buffer_size
            && let Some(oldest) = self.buffer.pop_front()
        {
            self.discarded = self.discarded.saturating_add(1);
            let line = format!("pool {} event buffer overflowed, discarding event {}", self.name, oldest.event.serial);
            deeds.push_back(Deed::Error(line));
        }
    }

    /// An event comes back: it is the first to be sent again.
    // Differs from Supervisor: to this pool only, not to every one with a process of the same priority.
    fn put_back(&mut self, event: Sent, deeds: &mut VecDeque<Deed>) {
        deeds.push_back(Deed::Debug(format!(
            "rebuffering event {} for pool {} (buf size={}, max={})",
            event.event.serial,
            self.name,
            self.buffer.len(),
            self.buffer_size
        )));
        self.make_room(deeds);
        self.buffer.push_front(event);
    }

    /// Sends what it can to members that are ready, the first of them first.
    fn dispatch(&mut self, identifier: &str, now: Mono, deeds: &mut VecDeque<Deed>) {
        while now >= self.hold_until && !self.buffer.is_empty() {
            let ready =
                |member: &&mut Member| member.is_running && !member.is_deaf && member.listener.state == State::Ready;
            let Some(member) = self.members.iter_mut().find(ready) else { return };
            let Some(sent) = self.buffer.pop_front() else { return };
            let Event { kind, serial, payload } = &*sent.event;
            // Supervisor's length is in characters, and its listeners read text.
            let envelope = format!(
                "ver:3.0 server:{identifier} serial:{serial} pool:{} poolserial:{} eventname:{} len:{}\n{payload}",
                self.name,
                sent.poolserial,
                kind.name,
                payload.chars().count()
            );
            deeds.push_back(Deed::Send(member.id, envelope.into_bytes()));
            deeds.push_back(Deed::Debug(format!("event {serial} sent to listener {}", member.name)));
            member.listener.sent(payload);
            member.event = Some(sent);
        }
    }

    fn hear(&mut self, place: usize, bytes: &[u8], now: Mono, deeds: &mut VecDeque<Deed>) {
        let Some(member) = self.members.get_mut(place) else { return };
        let mut said = Vec::new();
        member.listener.hear(bytes, &mut said);
        let (name, mut event, mut returned) = (member.name.clone(), member.event.take(), None);
        for said in said {
            match said {
                Said::Processed => {
                    (self.rejections, event) = (0, None);
                    deeds.push_back(Deed::Debug(format!("{name}: event was processed")));
                }
                Said::Output(output) => {
                    (self.rejections, event) = (0, None);
                    deeds.push_back(Deed::Print(output));
                    deeds.push_back(Deed::Debug(format!("{name}: event was processed")));
                }
                Said::Unreadable => {
                    returned = event.take();
                    deeds.push_back(Deed::Warn(format!("{name}: event caused an error")));
                }
                Said::Rejected => {
                    returned = event.take();
                    deeds.push_back(Deed::Warn(format!("{name}: event was rejected")));
                }
                Said::NoResult(line) => {
                    returned = event.take();
                    deeds.push_back(Deed::Warn(format!("{name}: bad result line: '{}'", text_of(&line))));
                }
                Said::Became(from, to) => {
                    deeds.push_back(Deed::Debug(format!("{name}: {} -> {}", from.name(), to.name())));
                    if to == State::Unknown {
                        deeds.push_back(Deed::Warn(format!(
                            "{name}: has entered the UNKNOWN state and will no longer receive events, this usually \
                             indicates the process violated the eventlistener protocol"
                        )));
                    }
                    if let Some(event) = returned.take() {
                        self.reject(event, now, deeds);
                    }
                }
            }
        }
        if let Some(member) = self.members.get_mut(place) {
            member.event = event;
        }
    }

    /// An event was refused: after several in a row the next waits a while.
    fn reject(&mut self, event: Sent, now: Mono, deeds: &mut VecDeque<Deed>) {
        self.rejections = self.rejections.saturating_add(1);
        if self.rejections > 1 {
            self.hold_until = now.after(HOLD);
        }
        self.put_back(event, deeds);
    }
}

#[cfg(test)]
mod tests;
