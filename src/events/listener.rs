//! The protocol of one listener: parses its stdout, however the bytes are split (supervisor-behaviour.md §9.4).
//!
//! ```text
//! ACKNOWLEDGED ── READY\n ──► READY ── an event is sent ──► BUSY ── RESULT 2\nOK ──► ACKNOWLEDGED
//!       └────── anything else ───┴────── any other line ──────┴──► UNKNOWN, until it is started again
//! ```

use super::handler::{LabelledOutput, ResultHandler, Verdict};

/// The protocol state of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListenerState {
    /// It has not written READY yet.
    Acknowledged,
    /// It waits for an event.
    Ready,
    /// It is processing an event.
    Busy,
    /// It broke the protocol: its output is ignored.
    Unknown,
}

impl ListenerState {
    /// The name in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            ListenerState::Acknowledged => "ACKNOWLEDGED",
            ListenerState::Ready => "READY",
            ListenerState::Busy => "BUSY",
            ListenerState::Unknown => "UNKNOWN",
        }
    }
}

/// What the output of a listener reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProtocolEvent {
    /// The event was processed.
    Processed,
    /// The event was rejected.
    Rejected,
    /// The event was processed; print this.
    Output(LabelledOutput),
    /// The result handler cannot parse the result.
    Unreadable,
    /// This line is not the first line of a result.
    BadResultLine(Vec<u8>),
    /// The state changed, from and to.
    StateChanged(ListenerState, ListenerState),
}

/// The state of a listener, and its output that is incomplete so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) state: ListenerState,
    /// An incomplete READY or line, or as much of a result's body as its handler needs.
    pending: Vec<u8>,
    /// The number of bytes of a result's body that are still to come.
    missing: Option<u64>,
    handler: ResultHandler,
    /// The length of the present event's payload, for a handler that gets the payload back.
    echo: Option<Echo>,
}

/// The length of an event's payload. A listener that returns the payload as text announces characters but sends more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Echo {
    characters: u64,
    bytes: u64,
}

const READY: &[u8] = b"READY\n";
/// The length of `RESULT `. These bytes are not checked, as under Supervisor.
const RESULT_BYTES: usize = 7;
/// The longest first line of a result.
const LINE_MAX_BYTES: usize = 64 * 1024;

impl Default for Listener {
    fn default() -> Self {
        Self::new(ResultHandler::Default)
    }
}

impl Listener {
    pub(super) fn new(handler: ResultHandler) -> Self {
        Self { state: ListenerState::Acknowledged, pending: Vec::new(), missing: None, handler, echo: None }
    }

    /// An event with this payload was sent to it.
    pub(super) fn sent(&mut self, payload: &str) {
        self.state = ListenerState::Busy;
        let (characters, bytes) = (payload.chars().count() as u64, payload.len() as u64);
        self.echo = Some(Echo { characters, bytes }).filter(|_| self.handler == ResultHandler::Stdout);
    }

    /// The number of bytes of a result that was announced with this length.
    // Differs from Supervisor, where a listener that returns text with non-ASCII characters breaks the protocol.
    fn result_bytes(&self, length: u64) -> u64 {
        self.echo.filter(|echo| echo.characters == length).map_or(length, |echo| echo.bytes)
    }

    /// Parses output of the listener, and appends its meaning to `found`.
    pub(super) fn receive(&mut self, mut bytes: &[u8], found: &mut Vec<ProtocolEvent>) {
        while !bytes.is_empty() {
            bytes = match (self.state, self.missing) {
                (ListenerState::Unknown, _) => return,
                (ListenerState::Ready, _) => return self.change_state(ListenerState::Unknown, found),
                (ListenerState::Acknowledged, _) => self.take_ready(bytes, found),
                (ListenerState::Busy, None) => self.take_line(bytes, found),
                (ListenerState::Busy, Some(missing)) => self.take_body(missing, bytes, found),
            };
        }
    }

    fn change_state(&mut self, to: ListenerState, found: &mut Vec<ProtocolEvent>) {
        found.push(ProtocolEvent::StateChanged(self.state, to));
        *self = Self { state: to, ..Self::new(self.handler) };
    }

    fn take_ready<'b>(&mut self, bytes: &'b [u8], found: &mut Vec<ProtocolEvent>) -> &'b [u8] {
        let wanted = READY.len().saturating_sub(self.pending.len()).min(bytes.len());
        let (head, rest) = bytes.split_at_checked(wanted).unwrap_or_default();
        self.pending.extend_from_slice(head);
        if self.pending.len() == READY.len() {
            let is_ready = self.pending == READY;
            self.change_state(if is_ready { ListenerState::Ready } else { ListenerState::Unknown }, found);
        }
        rest
    }

    fn take_line<'b>(&mut self, bytes: &'b [u8], found: &mut Vec<ProtocolEvent>) -> &'b [u8] {
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
                    self.decide(found);
                }
            }
            _ => {
                found.push(ProtocolEvent::BadResultLine(std::mem::take(&mut self.pending)));
                self.change_state(ListenerState::Unknown, found);
            }
        }
        rest.get(1..).unwrap_or_default()
    }

    fn take_body<'b>(&mut self, missing: u64, bytes: &'b [u8], found: &mut Vec<ProtocolEvent>) -> &'b [u8] {
        let taken = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at_checked(taken).unwrap_or_default();
        let wanted = self.handler.wanted_bytes().saturating_sub(self.pending.len()).min(head.len());
        self.pending.extend_from_slice(head.get(..wanted).unwrap_or_default());
        let left = missing.saturating_sub(taken as u64);
        self.missing = Some(left);
        if left == 0 {
            self.decide(found);
        }
        rest
    }

    fn decide(&mut self, found: &mut Vec<ProtocolEvent>) {
        let (event, state) = match self.handler.judge(&self.pending) {
            Verdict::Processed => (ProtocolEvent::Processed, ListenerState::Acknowledged),
            Verdict::Rejected => (ProtocolEvent::Rejected, ListenerState::Acknowledged),
            Verdict::Print(output) => (ProtocolEvent::Output(output), ListenerState::Acknowledged),
            Verdict::Failed => (ProtocolEvent::Unreadable, ListenerState::Unknown),
        };
        found.push(event);
        self.change_state(state, found);
    }
}

/// Parses a length. Python's int() accepts more forms, but no listener writes them.
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

    /// Feeds pieces of output; `EVENT` stands for an event that is sent if the listener is READY.
    fn feed(pieces: &[&[u8]]) -> (Listener, Vec<ProtocolEvent>) {
        let (mut listener, mut found) = (Listener::default(), Vec::new());
        for piece in pieces {
            if *piece != EVENT {
                listener.receive(piece, &mut found);
            } else if listener.state == ListenerState::Ready {
                listener.sent("");
            }
        }
        (listener, found)
    }

    #[test]
    fn the_protocol_goes_round() {
        use ListenerState::*;
        let (listener, found) = feed(&[b"READY\n", EVENT, b"RESULT 2\nOKREADY\n", EVENT, b"RESULT 4\nFAIL"]);
        assert_eq!(listener, Listener::default());
        let round = |end: ProtocolEvent| {
            [ProtocolEvent::StateChanged(Acknowledged, Ready), end, ProtocolEvent::StateChanged(Busy, Acknowledged)]
        };
        assert_eq!(found, [round(ProtocolEvent::Processed), round(ProtocolEvent::Rejected)].concat());
    }

    #[test]
    fn malformed_output_is_treated_as_supervisor_does() {
        let state = |pieces: &[&[u8]]| feed(pieces).0.state;
        assert_eq!(state(&[b"READ"]), ListenerState::Acknowledged);
        assert_eq!(state(&[b"hello\n"]), ListenerState::Unknown);
        assert_eq!(state(&[b"READY\nREADY\n"]), ListenerState::Unknown, "READY while READY breaks the protocol");
        assert_eq!(state(&[b"READY\n", EVENT, b"anything 2\n"]), ListenerState::Unknown);
        // The first seven bytes are not checked; a length may have blanks.
        assert_eq!(state(&[b"READY\n", EVENT, b"ANYTHIN 2 \nOK"]), ListenerState::Acknowledged);
        // A result without a body is decided at once.
        assert_eq!(feed(&[b"READY\n", EVENT, b"RESULT 0\n"]).1[1], ProtocolEvent::Rejected);
        for line in ["RESULT x", "RESULT ", "", "RESULT -1", "RESULT 99999999999999999999"] {
            let (_, found) = feed(&[b"READY\n", EVENT, line.as_bytes(), b"\nREADY\n"]);
            assert_eq!(found[1], ProtocolEvent::BadResultLine(line.into()), "{line}");
            assert_eq!(found[2], ProtocolEvent::StateChanged(ListenerState::Busy, ListenerState::Unknown));
            assert_eq!(found.len(), 3);
        }
        // A line may be long.
        let long = [b"RESULT ", &*vec![b' '; 60_000], b"2\nOK"].concat();
        assert_eq!(state(&[b"READY\n", EVENT, &long]), ListenerState::Acknowledged);
        // A line that is too long is rejected in one piece as well.
        let endless = [&*vec![b' '; LINE_MAX_BYTES + 1], b"2\nOK"].concat();
        let (head, tail) = endless.split_at(100);
        assert_eq!(feed(&[b"READY\n", EVENT, &endless]), feed(&[b"READY\n", EVENT, head, tail]));
        assert_eq!(state(&[b"READY\n", EVENT, &endless]), ListenerState::Unknown);
        let padded = [b"RESULT 2", &*vec![b' '; LINE_MAX_BYTES], b"\nOK"].concat();
        assert_eq!(state(&[b"READY\n", EVENT, &padded]), ListenerState::Unknown, "even if its beginning is a length");
    }

    #[test]
    fn a_result_that_counts_characters_is_as_long_as_the_payload() {
        let payload = "processname:x channel:stdout\nä€😀\n";
        let announced = [payload.chars().count(), payload.len()];
        for length in announced {
            let mut listener = Listener::new(ResultHandler::Stdout);
            let mut found = Vec::new();
            listener.receive(READY, &mut found);
            listener.sent(payload);
            listener.receive(format!("RESULT {length}\n{payload}READY\n").as_bytes(), &mut found);
            let bytes = "ä€😀\n".as_bytes().to_vec();
            let output = LabelledOutput { process: "x".into(), channel: "stdout".into(), bytes };
            assert_eq!(found[1], ProtocolEvent::Output(output), "{length}");
            assert_eq!(listener.state, ListenerState::Ready);
        }
    }

    #[test]
    fn a_result_that_its_handler_cannot_parse_ends_the_protocol() {
        let mut listener = Listener::new(ResultHandler::Stdout);
        let mut found = Vec::new();
        listener.receive(READY, &mut found);
        listener.sent("x");
        listener.receive(b"RESULT 2\nOK", &mut found);
        assert_eq!(
            found[1..],
            [ProtocolEvent::Unreadable, ProtocolEvent::StateChanged(ListenerState::Busy, ListenerState::Unknown)]
        );
    }

    /// Every state that a small alphabet can reach: no event is lost, and no buffer grows.
    #[test]
    fn every_state_accepts_every_input() {
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
                let (mut next, mut found) = (listener.clone(), Vec::new());
                if word != EVENT {
                    next.receive(word, &mut found);
                } else if next.state == ListenerState::Ready {
                    next.sent("");
                }
                let results = found.iter().filter(|found| !matches!(found, ProtocolEvent::StateChanged(..))).count();
                let left_busy = found
                    .iter()
                    .filter(|found| matches!(found, ProtocolEvent::StateChanged(ListenerState::Busy, _)))
                    .count();
                assert_eq!(results, left_busy, "each event has one result: {listener:?} {word:?}");
                assert!(next.state == ListenerState::Busy || next.missing.is_none());
                assert!(
                    next.state == ListenerState::Acknowledged
                        || next.state == ListenerState::Busy
                        || next.pending.is_empty()
                );
                changes.extend(found.iter().filter_map(|found| match found {
                    ProtocolEvent::StateChanged(from, to) => Some((*from, *to)),
                    _ => None,
                }));
                todo.push(next);
            }
        }
        use ListenerState::*;
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
            for state in [ListenerState::Acknowledged, ListenerState::Busy] {
                (whole.state, cut.state) = (state, state);
                let (mut found, mut found_cut) = (Vec::new(), Vec::new());
                whole.receive(&bytes, &mut found);
                let mut rest = &bytes[..];
                for at in &cuts {
                    let (head, tail) = rest.split_at(at % (rest.len() + 1));
                    cut.receive(head, &mut found_cut);
                    rest = tail;
                }
                cut.receive(rest, &mut found_cut);
                prop_assert_eq!(&whole, &cut);
                prop_assert_eq!(found, found_cut);
                (whole, cut) = (Listener::default(), Listener::default());
            }
        }
    }
}
