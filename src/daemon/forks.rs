//! The queue of forks. Each fork suspends rsup until the child's exec, so the time for forks in one turn of the loop is limited.

use super::token::ChildId;
use crate::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// The time for forks in one turn of the loop.
const TIME_PER_TURN: Duration = Duration::from_millis(5);

/// Processes to fork, in order. A fork may no longer be needed when its turn comes.
#[derive(Debug, Default)]
pub struct ForkQueue {
    queue: VecDeque<ChildId>,
    until: Mono,
}

impl ForkQueue {
    /// Grants the time for forks of a new turn of the loop.
    pub fn begin_turn(&mut self, now: Mono) {
        self.until = now.after(TIME_PER_TURN);
    }

    /// Adds a process at the end.
    pub fn push(&mut self, id: ChildId) {
        self.queue.push_back(id);
    }

    /// Removes a child that is no longer wanted.
    pub fn remove(&mut self, id: ChildId) {
        self.queue.retain(|waiting| *waiting != id);
    }

    /// The next process to fork, if there is time for it in this turn.
    pub fn next(&mut self, now: Mono) -> Option<ChildId> {
        if now < self.until { self.queue.pop_front() } else { None }
    }

    /// Whether no process waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_come_in_order_and_only_within_the_time_of_a_turn() {
        let mut forks = ForkQueue::default();
        assert!(forks.is_empty());
        for id in [3, 1, 2].map(ChildId::program) {
            forks.push(id);
        }
        assert_eq!(forks.next(Mono(0)), None, "no turn has begun");
        forks.begin_turn(Mono(100));
        assert_eq!(forks.next(Mono(100)), Some(ChildId::program(3)));
        assert_eq!(forks.next(Mono(100).after(TIME_PER_TURN)), None, "the time is over");
        assert!(!forks.is_empty());
        forks.begin_turn(Mono(0).after_ms(900));
        assert_eq!(forks.next(Mono(0).after_ms(901)), Some(ChildId::program(1)));
        assert_eq!(forks.next(Mono(0).after_ms(904)), Some(ChildId::program(2)));
        assert_eq!(forks.next(Mono(0).after_ms(904)), None);
        assert!(forks.is_empty());
    }
}
