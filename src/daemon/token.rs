//! Tokens of the poll: which descriptor is ready.

use crate::supervision::{Hook, ProcId};

/// The role of a child in its process. A process has at most one child of each role at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The program itself.
    Program,
    /// The hook `pre_start`.
    PreStart,
    /// The hook `pre_stop`.
    PreStop,
    /// `stop_command`.
    StopCommand,
    /// The hook `post_stop`.
    PostStop,
    /// A try of `ready=exec:…`; also names the watch of a start.
    Ready,
    /// A try of `healthcheck=exec:…`; also names the watch of the health.
    Health,
    /// `reload_command`.
    Reload,
}

impl Role {
    const ALL: [Role; 8] = [
        Role::Program,
        Role::PreStart,
        Role::PreStop,
        Role::StopCommand,
        Role::PostStop,
        Role::Ready,
        Role::Health,
        Role::Reload,
    ];

    /// The hook that has this role.
    #[must_use]
    pub fn hook(self) -> Option<Hook> {
        Hook::ALL.into_iter().find(|hook| ChildId::hook(0, *hook).role == self)
    }
}

/// Names a child in the table of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildId {
    /// The process that it belongs to.
    pub process: ProcId,
    /// Its role there.
    pub role: Role,
}

impl ChildId {
    /// The program of a process.
    #[must_use]
    pub const fn program(process: ProcId) -> Self {
        Self { process, role: Role::Program }
    }

    /// A hook of a process.
    #[must_use]
    pub const fn hook(process: ProcId, hook: Hook) -> Self {
        let role = match hook {
            Hook::PreStart => Role::PreStart,
            Hook::PreStop => Role::PreStop,
            Hook::StopCommand => Role::StopCommand,
            Hook::PostStop => Role::PostStop,
        };
        Self { process, role }
    }
}

/// The descriptor that is ready. Tokens are ordered as they are served: clients come before pipes, so that a client need not wait
/// until all output is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {
    /// The signal descriptor.
    Signals,
    /// The n-th listening socket.
    Listener(u32),
    /// The n-th client.
    Connection(u32),
    /// A child's stdout.
    Stdout(ChildId),
    /// A child's stderr.
    Stderr(ChildId),
    /// A child's stdin.
    Stdin(ChildId),
    /// The n-th pipe that has outlived its child.
    Orphaned(u32),
    /// The stream with this sink number, which has bytes queued.
    Stream(u32),
    /// What a watch waits for.
    Watch(ChildId),
    /// NOTIFY_SOCKET of a process.
    Notify(ProcId),
}

impl Token {
    /// The number of the token. Numbers have the order of tokens. The low 32 bits are the n of a listening socket or client.
    #[must_use]
    pub const fn encode(self) -> u64 {
        let (kind, role, n) = match self {
            Token::Signals => (0, 0, 0),
            Token::Listener(n) => (1, 0, n),
            Token::Connection(n) => (2, 0, n),
            Token::Stdout(id) => (3, id.role as u64, id.process),
            Token::Stderr(id) => (4, id.role as u64, id.process),
            Token::Stdin(id) => (5, id.role as u64, id.process),
            Token::Orphaned(n) => (6, 0, n),
            Token::Stream(n) => (7, 0, n),
            Token::Watch(id) => (8, id.role as u64, id.process),
            Token::Notify(id) => (9, 0, id),
        };
        kind << 40 | role << 32 | n as u64
    }

    /// The token with this number, if there is one.
    #[must_use]
    pub fn decode(number: u64) -> Option<Self> {
        let n = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        let role = Role::ALL.get(usize::try_from(number >> 32 & 0xff).ok()?).copied()?;
        let child = ChildId { process: n, role };
        let token = match number >> 40 {
            0 => Token::Signals,
            1 => Token::Listener(n),
            2 => Token::Connection(n),
            3 => Token::Stdout(child),
            4 => Token::Stderr(child),
            5 => Token::Stdin(child),
            6 => Token::Orphaned(n),
            7 => Token::Stream(n),
            8 => Token::Watch(child),
            9 => Token::Notify(n),
            _ => return None,
        };
        (token.encode() == number).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_encoding_and_has_the_order_of_its_number() {
        let mut all = vec![Token::Signals];
        let numbers = [0, 1, 77, u32::MAX - 1, u32::MAX];
        let children: Vec<_> =
            Role::ALL.iter().flat_map(|&role| numbers.map(|process| ChildId { process, role })).collect();
        all.extend(numbers.map(Token::Listener));
        all.extend(numbers.map(Token::Connection));
        all.extend(children.iter().copied().map(Token::Stdout));
        all.extend(children.iter().copied().map(Token::Stderr));
        all.extend(children.iter().copied().map(Token::Stdin));
        all.extend(numbers.map(Token::Orphaned));
        all.extend(numbers.map(Token::Stream));
        all.extend(children.iter().copied().map(Token::Watch));
        all.extend(numbers.map(Token::Notify));
        for pair in all.windows(2) {
            assert!(
                pair[0] < pair[1]
                    || matches!(pair[0], Token::Stdout(_) | Token::Stderr(_) | Token::Stdin(_) | Token::Watch(_))
            );
        }
        for &token in &all {
            assert_eq!(Token::decode(token.encode()), Some(token));
            for &other in &all {
                assert_eq!(token == other, token.encode() == other.encode(), "{token:?} {other:?}");
                let kinds = std::mem::discriminant(&token) != std::mem::discriminant(&other);
                assert!(!kinds || (token < other) == (token.encode() < other.encode()), "{token:?} {other:?}");
            }
        }
    }

    #[test]
    fn other_numbers_are_no_token() {
        for number in [1, 1 << 32, 1 << 40 | 1 << 32, 3 << 40 | 9 << 32, 10 << 40, 1 << 63, u64::MAX] {
            assert_eq!(Token::decode(number), None, "{number:#x}");
        }
    }
}
