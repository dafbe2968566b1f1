//! Capture mode and the protocol of listeners: the result does not depend on how the bytes are cut, and nothing is lost.

use super::pieces;
use rsup::events::{Capture, Events, ListenerAction, ResultHandler};
use rsup::time::{Mono, Now};

const BEGIN: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";
const END: &[u8] = b"<!--XSUPERVISOR:END-->";

/// How many bytes at the start of an input give the lengths of the pieces of the rest.
const CUTS: usize = 4;

/// The bytes for the log, and each capture.
type Output = (Vec<u8>, Vec<Vec<u8>>);

/// The output by definition: the text outside of the tokens, and each text between them.
fn by_definition(text: &[u8]) -> Output {
    let find = |text: &[u8], token: &[u8]| text.windows(token.len()).position(|window| window == token);
    let (mut log, mut captures, mut rest) = (Vec::new(), Vec::new(), text);
    while let Some(at) = find(rest, BEGIN) {
        log.extend(&rest[..at]);
        let inside = &rest[at + BEGIN.len()..];
        let Some(end) = find(inside, END) else { return (log, captures) };
        captures.push(inside[..end].to_vec());
        rest = &inside[end + END.len()..];
    }
    log.extend(rest);
    (log, captures)
}

/// Takes a piece as the daemon does. `longest` is the length of the longest text that was kept at once.
fn take_piece(capture: &mut Capture, piece: &[u8], (log, captures): &mut Output, longest: &mut usize) {
    for piece in capture.cut(piece) {
        if piece.is_inside {
            *longest = piece.text.len().max(*longest);
            capture.keep(&piece.text);
        } else {
            log.extend(&piece.text);
        }
        if piece.is_last {
            captures.push(capture.take());
        }
    }
}

/// For every cut: the log has the text outside of the tokens, at most one token's length late, and each capture has the text inside.
/// A capture is not longer than its limit or its longest piece.
pub fn capture(data: &[u8]) {
    let Some((&max_bytes, data)) = data.split_first() else { return };
    let (lengths, text) = data.split_at(CUTS.min(data.len()));
    let (mut whole, mut output) = (Capture::new(i64::MAX), Output::default());
    let mut fed = 0;
    for piece in pieces(text, lengths) {
        take_piece(&mut whole, piece, &mut output, &mut 0);
        fed += piece.len();
        let (log, captures) = by_definition(&text[..fed]);
        assert_eq!(output.1, captures);
        assert!(log.starts_with(&output.0) && log.len() - output.0.len() < BEGIN.len());
    }
    output.0.extend(whole.finish());
    assert_eq!(output, by_definition(text));

    let (mut bounded, mut output, mut longest) = (Capture::new(max_bytes.into()), Output::default(), 0);
    for piece in pieces(text, lengths) {
        take_piece(&mut bounded, piece, &mut output, &mut longest);
        let bound = longest.max(max_bytes.into());
        assert!(output.1.iter().chain([&bounded.clone().take()]).all(|capture| capture.len() <= bound));
    }
}

/// The longest line of a result.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// A listener by definition (supervisor-behaviour.md §9.4), which reads single bytes.
#[derive(Debug)]
enum Model {
    Acknowledged(Vec<u8>),
    Ready,
    Line(Vec<u8>),
    Body(u64, Vec<u8>),
    Unknown,
}

impl Model {
    /// Reads a byte, and adds the lines that must be logged.
    fn read(&mut self, byte: u8, log: &mut Vec<String>) {
        let unknown = |from: &str| format!("debug l: {from} -> UNKNOWN");
        match self {
            Model::Unknown => {}
            Model::Ready => {
                log.push(unknown("READY"));
                *self = Model::Unknown;
            }
            Model::Acknowledged(word) => {
                word.push(byte);
                if word == b"READY\n" {
                    log.push("debug l: ACKNOWLEDGED -> READY".into());
                    *self = Model::Ready;
                } else if word.len() == b"READY\n".len() {
                    log.push(unknown("ACKNOWLEDGED"));
                    *self = Model::Unknown;
                }
            }
            Model::Line(line) => {
                line.push(byte);
                let length =
                    line.strip_suffix(b"\n").map(|line| std::str::from_utf8(line.get(7..)?).ok()?.trim().parse().ok());
                *self = match length {
                    None if line.len() < LINE_MAX_BYTES => return,
                    Some(Some(length)) if length > 0 => Model::Body(length, Vec::new()),
                    Some(Some(_)) => {
                        log.extend(["warn l: event was rejected".into(), "debug l: BUSY -> ACKNOWLEDGED".into()]);
                        Model::Acknowledged(Vec::new())
                    }
                    _ => {
                        log.extend(["warn l: bad result line".into(), unknown("BUSY")]);
                        Model::Unknown
                    }
                };
            }
            Model::Body(left, body) => {
                *left -= 1;
                body.push(byte);
                if *left == 0 {
                    let is_ok = body == b"OK";
                    let verdict = if is_ok { "debug l: event was processed" } else { "warn l: event was rejected" };
                    log.extend([verdict.into(), "debug l: BUSY -> ACKNOWLEDGED".into()]);
                    *self = Model::Acknowledged(Vec::new());
                }
            }
        }
    }
}

/// A pool of one listener. Its events are sent between the segments of the listener's output.
struct Pool {
    events: Events,
    now: Now,
    notified: usize,
    processed: usize,
    dropped: usize,
}

impl Pool {
    fn new() -> Self {
        let mut events = Events::default();
        events.begin("fuzz", Now::default());
        events.add_pool("p", &["SUPERVISOR_STATE_CHANGE".into()], 2, ResultHandler::Default, vec![(1, "l".into())]);
        Self { events, now: Now::default(), notified: 0, processed: 0, dropped: 0 }
    }

    /// Publishes an event. Returns the logged lines, and how many events were sent.
    fn publish(&mut self) -> (Vec<String>, usize) {
        self.events.notify("SUPERVISOR_STATE_CHANGE_RUNNING", &|_| String::new(), b"");
        self.notified += 1;
        self.actions()
    }

    /// Receives these pieces. Returns the logged lines, and how many events were sent after them.
    fn receive(&mut self, pieces: &[&[u8]]) -> (Vec<String>, usize) {
        // Otherwise an event would be sent at a cut after READY.
        self.events.set_running(1, false);
        pieces.iter().for_each(|piece| self.events.receive(1, piece));
        self.events.set_running(1, true);
        // After a rejection the next event is delayed.
        self.now.mono = Mono(self.now.mono.0 + 2_000_000_000);
        self.events.on_time(self.now);
        self.actions()
    }

    fn actions(&mut self) -> (Vec<String>, usize) {
        let (mut log, mut sent) = (Vec::new(), 0);
        while let Some(action) = self.events.next_action() {
            match action {
                ListenerAction::Print(output) => panic!("only supervisor_stdout's handler prints: {output:?}"),
                ListenerAction::Send(..) => sent += 1,
                ListenerAction::Debug(line) => log.push(format!("debug {line}")),
                ListenerAction::Warn(line) => log.push(format!("warn {line}")),
                ListenerAction::Error(line) => log.push(format!("error {line}")),
            }
        }
        let count = |start: &str| log.iter().filter(|line| line.starts_with(start)).count();
        self.processed += count("debug l: event was processed");
        self.dropped += count("error pool p event buffer overflowed");
        (log, sent)
    }
}

/// For every cut, the logged lines are those of the definition, and each event is processed, dropped or sent again. A 0xff in the input is
/// not read: it stands for an event.
pub fn listener(data: &[u8]) {
    let (lengths, script) = data.split_at(CUTS.min(data.len()));
    let (mut whole, mut cut, mut model) = (Pool::new(), Pool::new(), Model::Acknowledged(Vec::new()));
    for segment in script.split(|byte| *byte == 0xff) {
        let received = whole.receive(&[segment]);
        assert_eq!(received, cut.receive(&pieces(segment, lengths)));
        let mut expected = Vec::new();
        segment.iter().for_each(|byte| model.read(*byte, &mut expected));
        let (log, sent) = received;
        let is_of_listener = |line: &&String| line.starts_with("debug l: ") || line.starts_with("warn l: ");
        let is_comment = |line: &String| line.starts_with("warn l: has entered the UNKNOWN state");
        let protocol = log.iter().filter(is_of_listener).filter(|line| !is_comment(line));
        let protocol: Vec<_> = protocol.map(|line| line.split(": '").next().unwrap_or(line)).collect();
        assert_eq!(protocol, expected);
        assert!(sent == 0 || sent == 1 && matches!(model, Model::Ready), "{sent} {model:?}");
        if sent == 1 {
            model = Model::Line(Vec::new());
        }
        let published = whole.publish();
        assert_eq!(published, cut.publish());
        assert_eq!(published.1, usize::from(matches!(model, Model::Ready)));
        if published.1 == 1 {
            model = Model::Line(Vec::new());
        }
    }
    // A listener that works correctly receives all events that were not dropped.
    whole.events.restarted(1);
    let mut sent = whole.receive(&[b"READY\n"]).1;
    while sent > 0 {
        sent = whole.receive(&[b"RESULT 2\nOKREADY\n"]).1;
    }
    assert_eq!(whole.notified, whole.processed + whole.dropped);
}
