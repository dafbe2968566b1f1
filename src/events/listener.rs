//! One listener's side of the protocol: what it says on its stdout, however it is cut (census §9.4).
//!
//! ```text
//! ACKNOWLEDGED ── READY\n ──► READY ── an event is sent ──► BUSY ── RESULT 2\nOK ──► ACKNOWLEDGED
//!       └────── anything else ───┴─────── no such line ───────┴──► UNKNOWN, until it is started again
//! ```

use super::handler::{Output, ResultHandler, Verdict};

/// What a listener is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It has yet to say READY.
    Acknowledged,
    /// It waits for an event.
    Ready,
    /// It has one.
    Busy,
    /// It broke the protocol: nothing it says counts any more.
    Unknown,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Acknowledged => "ACKNOWLEDGED",
            State::Ready => "READY",
            State::Busy => "BUSY",
            State::Unknown => "UNKNOWN",
        }
    }
}

/// What it has said, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Its result is good.
    Processed,
    /// Its result is not.
    Rejected,
    /// Its result is good, and this is to be printed.
    Output(Output),
    /// The result handler cannot read its result.
    Unreadable,
    /// This line should have been a result's first.
    NoResult(Vec<u8>),
    /// Its state changed.
    Became(State, State),
}

/// A listener's state, and what of its words has no meaning yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) state: State,
    /// An unfinished READY, an unfinished line, or of a result's body as much as decides whether it is OK.
    pending: Vec<u8>,
    /// How much of a result's body is still to come.
    missing: Option<u64>,
    handler: ResultHandler,
    /// The payload of the event that it has, if its length in characters is another than in bytes.
    echo: Option<Echo>,
}

/// The length of an event's payload. A listener that returns the payload as text counts characters, and more bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Echo {
    characters: u64,
    bytes: u64,
}

const READY: &[u8] = b"READY\n";
/// The length of `RESULT `: what stands there is not looked at, as under Supervisor.
const RESULT_BYTES: usize = 7;
/// A line of a result is not longer than this.
const LINE_MAX_BYTES: usize = 64 * 1024;

impl Default for Listener {
    fn default() -> Self {
        Self::new(ResultHandler::Default)
    }
}

impl Listener {
    pub(super) fn new(handler: ResultHandler) -> Self {
        Self { state: State::Acknowledged, pending: Vec::new(), missing: None, handler, echo: None }
    }

    /// An event with this payload is on its way to it.
    pub(super) fn sent(&mut self, payload: &str) {
        self.state = State::Busy;
        let (characters, bytes) = (payload.chars().count() as u64, payload.len() as u64);
        self.echo = Some(Echo { characters, bytes }).filter(|_| self.handler == ResultHandler::Stdout);
    }

    /// How many bytes a result has that is announced with this length.
    // Differs from Supervisor: there a listener that returns text with other letters than ASCII's breaks the protocol.
    fn result_bytes(&self, length: u64) -> u64 {
        self.echo.filter(|echo| echo.characters == length).map_or(length, |echo| echo.bytes)
    }

    /// Takes what it has written.
    pub(super) fn hear(&mut self, mut bytes: &[u8], said: &mut Vec<Said>) {
        while !bytes.is_empty() {
            bytes = match (self.state, self.missing) {
                (State::Unknown, _) => return,
                (State::Ready, _) => return self.go(State::Unknown, said),
                (State::Acknowledged, _) => self.hear_ready(bytes, said),
                (State::Busy, None) => self.hear_line(bytes, said),
                (State::Busy, Some(missing)) => self.hear_body(missing, bytes, said),
            };
        }
    }

    fn go(&mut self, to: State, said: &mut Vec<Said>) {
        said.push(Said::Became(self.state, to));
        *self = Self { state: to, ..Self::new(self.handler) };
    }

    fn hear_ready<'b>(&mut self, bytes: &'b [u8], said: &mut Vec<Said>) -> &'b [u8] {
        let wanted = READY.len().saturating_sub(self.pending.len()).min(bytes.len());
        let (head, rest) = bytes.split_at_checked(wanted).unwrap_or_default();
        self.pending.extend_from_slice(head);
        if self.pending.len() == READY.len() {
            let is_ready = self.pending == READY;
            self.go(if is_ready { State::Ready } else { State::Unknown }, said);
        }
        rest
    }

    fn hear_line<'b>(&mut self, bytes: &'b [u8], said: &mut Vec<Said>) -> &'b [u8] {
        let room = LINE_MAX_BYTES.saturating_sub(self.pending.len()).min(bytes.len());
        let end = memchr::memchr(b'\n', bytes.get(..room).unwrap_or_default());
        let (head, rest) = bytes.split_at_checked(end.unwrap_or(room)).unwrap_or_default();
        self.pending.extend_from_slice(head);
        if end.is_none() && self.pending.len() < LINE_MAX_BYTES {
            return rest;
        }
        match self.pending.get(RESULT_BYTES..).and_then(length) {
            Some(length) if end.is_some() => {
                self.pending.clear();
                self.missing = Some(self.result_bytes(length));
                if length == 0 {
                    self.decide(said);
                }
            }
            _ => {
                said.push(Said::NoResult(std::mem::take(&mut self.pending)));
                self.go(State::Unknown, said);
            }
        }
        rest.get(1..).unwrap_or_default()
    }

    fn hear_body<'b>(&mut self, missing: u64, bytes: &'b [u8], said: &mut Vec<Said>) -> &'b [u8] {
        let taken = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at_checked(taken).unwrap_or_default();
        let wanted = self.handler.wanted_bytes().saturating_sub(self.pending.len()).min(head.len());
        self.pending.extend_from_slice(head.get(..wanted).unwrap_or_default());
        let left = missing.saturating_sub(taken as u64);
        self.missing = Some(left);
        if left == 0 {
            self.decide(said);
        }
        rest
    }

    fn decide(&mut self, said: &mut Vec<Said>) {
        let (word, state) = match self.handler.judge(&self.pending) {
            Verdict::Processed => (Said::Processed, State::Acknowledged),
            Verdict::Rejected => (Said::Rejected, State::Acknowledged),
            Verdict::Print(output) => (Said::Output(output), State::Acknowledged),
            Verdict::Failed => (Said::Unreadable, State::Unknown),
        };
        said.push(word);
        self.go(state, said);
    }
}

/// A length as Python's int() reads it, as far as anybody writes it.
fn length(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const EVENT: &[u8] = b"<event>";

    /// Feeds pieces; `EVENT` stands for an event that is sent if it is READY.
    fn tell(pieces: &[&[u8]]) -> (Listener, Vec<Said>) {
        let (mut listener, mut said) = (Listener::default(), Vec::new());
        for piece in pieces {
            if *piece != EVENT {
                listener.hear(piece, &mut said);
            } else if listener.state == State::Ready {
                listener.sent("");
            }
        }
        (listener, said)
    }

    #[test]
    fn the_protocol_goes_round() {
        use State::*;
        let (listener, said) = tell(&[b"READY\n", EVENT, b"RESULT 2\nOKREADY\n", EVENT, b"RESULT 4\nFAIL"]);
        assert_eq!(listener, Listener::default());
        let round = |end: Said| [Said::Became(Acknowledged, Ready), end, Said::Became(Busy, Acknowledged)];
        assert_eq!(said, [round(Said::Processed), round(Said::Rejected)].concat());
    }

    #[test]
    fn what_the_census_says_of_odd_words() {
        let state = |pieces: &[&[u8]]| tell(pieces).0.state;
        assert_eq!(state(&[b"READ"]), State::Acknowledged);
        assert_eq!(state(&[b"hello\n"]), State::Unknown);
        assert_eq!(state(&[b"READY\nREADY\n"]), State::Unknown, "READY is the word of whom waits for an event");
        assert_eq!(state(&[b"READY\n", EVENT, b"anything 2\n"]), State::Unknown);
        // The first seven bytes are not looked at; a length may have blanks.
        assert_eq!(state(&[b"READY\n", EVENT, b"ANYTHIN 2 \nOK"]), State::Acknowledged);
        // A result without a body is decided at once.
        assert_eq!(tell(&[b"READY\n", EVENT, b"RESULT 0\n"]).1[1], Said::Rejected);
        for line in ["RESULT x", "RESULT ", "", "RESULT -1", "RESULT 99999999999999999999"] {
            let (_, said) = tell(&[b"READY\n", EVENT, line.as_bytes(), b"\nREADY\n"]);
            assert_eq!(said[1], Said::NoResult(line.into()), "{line}");
            assert_eq!(said[2], Said::Became(State::Busy, State::Unknown));
            assert_eq!(said.len(), 3);
        }
        // A line may be long.
        let long = [b"RESULT ", &*vec![b' '; 60_000], b"2\nOK"].concat();
        assert_eq!(state(&[b"READY\n", EVENT, &long]), State::Acknowledged);
        // A line that is too long is so in one piece as well.
        let endless = [&*vec![b' '; LINE_MAX_BYTES + 1], b"2\nOK"].concat();
        let (head, tail) = endless.split_at(100);
        assert_eq!(tell(&[b"READY\n", EVENT, &endless]), tell(&[b"READY\n", EVENT, head, tail]));
        assert_eq!(state(&[b"READY\n", EVENT, &endless]), State::Unknown);
    }

    #[test]
    fn a_result_that_counts_characters_is_as_long_as_the_payload() {
        let payload = "processname:x channel:stdout\nä€😀\n";
        let announced = [payload.chars().count(), payload.len()];
        for length in announced {
            let mut listener = Listener::new(ResultHandler::Stdout);
            let mut said = Vec::new();
            listener.hear(READY, &mut said);
            listener.sent(payload);
            listener.hear(format!("RESULT {length}\n{payload}READY\n").as_bytes(), &mut said);
            let bytes = "ä€😀\n".as_bytes().to_vec();
            let output = Output { process: "x".into(), channel: "stdout".into(), bytes };
            assert_eq!(said[1], Said::Output(output), "{length}");
            assert_eq!(listener.state, State::Ready);
        }
    }

    #[test]
    fn a_result_that_its_handler_cannot_read_ends_the_protocol() {
        let mut listener = Listener::new(ResultHandler::Stdout);
        let mut said = Vec::new();
        listener.hear(READY, &mut said);
        listener.sent("x");
        listener.hear(b"RESULT 2\nOK", &mut said);
        assert_eq!(said[1..], [Said::Unreadable, Said::Became(State::Busy, State::Unknown)]);
    }

    /// All that can be reached with a small alphabet: nothing is forgotten, nothing grows.
    #[test]
    fn every_state_takes_every_word() {
        let words: [&[u8]; 9] =
            [b"READY\n", b"R", b"EADY\n", b"RESULT 2\n", b"RESULT 3\nNO", b"OK", b"\n", b"K", EVENT];
        let mut seen = BTreeSet::new();
        let mut todo = vec![Listener::default()];
        let mut changes = BTreeSet::new();
        while let Some(listener) = todo.pop() {
            if listener.pending.len() > 9 || !seen.insert(format!("{listener:?}")) {
                continue;
            }
            for word in words {
                let (mut next, mut said) = (listener.clone(), Vec::new());
                if word != EVENT {
                    next.hear(word, &mut said);
                } else if next.state == State::Ready {
                    next.sent("");
                }
                let results = said.iter().filter(|said| !matches!(said, Said::Became(..))).count();
                let left_busy = said.iter().filter(|said| matches!(said, Said::Became(State::Busy, _))).count();
                assert_eq!(results, left_busy, "each event has one result: {listener:?} {word:?}");
                assert!(next.state == State::Busy || next.missing.is_none());
                assert!(next.state == State::Acknowledged || next.state == State::Busy || next.pending.is_empty());
                changes.extend(said.iter().filter_map(|said| match said {
                    Said::Became(from, to) => Some((*from, *to)),
                    _ => None,
                }));
                todo.push(next);
            }
        }
        use State::*;
        let expected =
            [(Acknowledged, Ready), (Acknowledged, Unknown), (Ready, Unknown), (Busy, Acknowledged), (Busy, Unknown)];
        assert_eq!(changes, BTreeSet::from(expected));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_mean_the_same(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "(READY\n|RESULT [0-9]{1,2}\n|OK|FAIL|x|\n){0,12}".prop_map(String::into_bytes),
            ],
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let (mut whole, mut cut) = (Listener::default(), Listener::default());
            for state in [State::Acknowledged, State::Busy] {
                (whole.state, cut.state) = (state, state);
                let (mut said, mut said_cut) = (Vec::new(), Vec::new());
                whole.hear(&bytes, &mut said);
                let mut rest = &bytes[..];
                for at in &cuts {
                    let (head, tail) = rest.split_at(at % (rest.len() + 1));
                    cut.hear(head, &mut said_cut);
                    rest = tail;
                }
                cut.hear(rest, &mut said_cut);
                prop_assert_eq!(&whole, &cut);
                prop_assert_eq!(said, said_cut);
                (whole, cut) = (Listener::default(), Listener::default());
            }
        }
    }
}
