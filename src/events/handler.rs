//! The handlers of listeners' results: Supervisor's own, and that of the Python package supervisor-stdout.

use memchr::memchr;

/// The value of `result_handler=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultHandler {
    /// `supervisor.dispatchers:default_handler`: `OK` means processed, anything else rejected.
    #[default]
    Default,
    /// `supervisor_stdout:event_handler`: the result is a line of `key:value` words and a program's output, which is printed.
    Stdout,
}

/// A program's output, to be printed with its names before each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledOutput {
    /// The program's name.
    pub process: String,
    /// `stdout` or `stderr`.
    pub channel: String,
    /// Its bytes, with newlines anywhere.
    pub bytes: Vec<u8>,
}

/// The meaning of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Processed,
    Rejected,
    /// The event is processed; print this.
    Print(LabelledOutput),
    /// The handler cannot parse the result: the listener gets no more events.
    Failed,
}

/// A result longer than this is cut, in bytes.
const RESULT_MAX_BYTES: usize = 1024 * 1024;
const OK: &[u8] = b"OK";

impl ResultHandler {
    /// How many bytes of a result decide its meaning.
    pub(super) fn wanted_bytes(self) -> usize {
        match self {
            // One byte more than OK: enough to see that a result is longer.
            Self::Default => OK.len().saturating_add(1),
            Self::Stdout => RESULT_MAX_BYTES,
        }
    }

    /// Interprets a result.
    pub(super) fn judge(self, result: &[u8]) -> Verdict {
        match self {
            Self::Default if result == OK => Verdict::Processed,
            Self::Default => Verdict::Rejected,
            Self::Stdout => output(result).map_or(Verdict::Failed, Verdict::Print),
        }
    }
}

/// `processname:web groupname:web pid:7 channel:stdout`, a newline, and the output. As in Python, each word has exactly one
/// colon, and of two words with one key the last counts.
fn output(result: &[u8]) -> Option<LabelledOutput> {
    let (line, rest) = result.split_at_checked(memchr(b'\n', result)?)?;
    let (mut process, mut channel) = (None, None);
    for word in std::str::from_utf8(line).ok()?.split_whitespace() {
        let (key, value) = word.split_once(':').filter(|(_, value)| !value.contains(':'))?;
        match key {
            "processname" => process = Some(value.to_owned()),
            "channel" => channel = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(LabelledOutput { process: process?, channel: channel?, bytes: rest.get(1..)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_handler_accepts_only_ok() {
        assert_eq!(ResultHandler::Default.judge(b"OK"), Verdict::Processed);
        for result in ["", "O", "ok", "OK\n", "OKOK", "FAIL"] {
            assert_eq!(ResultHandler::Default.judge(result.as_bytes()), Verdict::Rejected, "{result:?}");
        }
        assert_eq!(ResultHandler::Default.wanted_bytes(), 3);
        assert_eq!(ResultHandler::Stdout.wanted_bytes(), 1_048_576);
    }

    #[test]
    fn a_result_with_both_names_is_printed() {
        let print = |result: &[u8]| match ResultHandler::Stdout.judge(result) {
            Verdict::Print(LabelledOutput { process, channel, bytes }) => (process, channel, bytes),
            other => panic!("{other:?}"),
        };
        let named = |bytes: &[u8]| ("web".to_owned(), "stderr".to_owned(), bytes.to_vec());
        assert_eq!(print(b"processname:web groupname:g pid:7 channel:stderr\none\ntwo"), named(b"one\ntwo"));
        assert_eq!(print(b" channel:stderr\t processname:web \n\xff\n\n"), named(b"\xff\n\n"));
        assert_eq!(print(b"processname:old channel:stderr processname:web\n"), named(b""));
    }

    #[test]
    fn a_result_that_python_could_not_parse_fails() {
        let results: [&[u8]; 8] = [
            b"",
            b"OK",
            b"processname:web channel:stdout",
            b"processname:web\nx",
            b"channel:stdout\nx",
            b"processname:web channel:stdout word\nx",
            b"processname:web channel:std:out\nx",
            b"processname:\xff channel:stdout\nx",
        ];
        for result in results {
            assert_eq!(ResultHandler::Stdout.judge(result), Verdict::Failed, "{}", String::from_utf8_lossy(result));
        }
    }
}
