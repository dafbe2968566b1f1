//! `ready=line:REGEX`: finds a line of a stream that matches, however the stream is cut into reads.

use crate::logs::ansi::Ansi;
use regex_lite::Regex;

/// The longest part of a line that is matched, in bytes. The rest of a longer line is ignored.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// Matches the lines of one stream: without their newline and a carriage return before it, without terminal control sequences
/// (`logs::ansi`), and with U+FFFD for what is not UTF-8.
#[derive(Debug)]
pub struct LineMatcher {
    regex: Regex,
    ansi: Ansi,
    /// The start of a line whose newline has not come yet.
    line: Vec<u8>,
}

impl LineMatcher {
    /// Expects the start of a stream. `regex`: see `config::probe::line_regex`; clones of it share their memory.
    pub fn new(regex: Regex) -> Self {
        Self { regex, ansi: Ansi::default(), line: Vec::new() }
    }

    /// Whether `bytes`, the next of the stream, complete a line that matches. The rest of the bytes is then left out. A line counts
    /// when its newline comes: before it, `$` could match too early.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        bytes.split_inclusive(|byte| *byte == b'\n').any(|part| {
            self.ansi.strip(part, &mut self.line);
            self.line.truncate(LINE_MAX_BYTES);
            part.ends_with(b"\n") && self.matches()
        })
    }

    /// Whether the last line matches, which has no newline, at the end of the stream.
    pub fn finish(&mut self) -> bool {
        self.ansi.finish(&mut self.line);
        !self.line.is_empty() && self.matches()
    }

    /// Whether the line matches, which is then complete.
    fn matches(&mut self) -> bool {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_match = self.regex.is_match(&String::from_utf8_lossy(line));
        self.line.clear();
        is_match
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::probe::line_regex;
    use proptest::prelude::*;

    /// Whether a line matches that is fed in pieces of `piece` bytes, before and at the end of the stream.
    fn fed(pattern: &str, text: &[u8], piece: usize) -> (bool, bool) {
        let mut matcher = LineMatcher::new(line_regex(pattern).unwrap());
        let early = text.chunks(piece).any(|piece| matcher.feed(piece));
        (early, early || matcher.finish())
    }

    #[test]
    fn a_line_matches_however_it_is_cut() {
        let at_newline = (true, true);
        for (pattern, text, wanted) in [
            ("^ready$", &b"starting\nready\nmore"[..], at_newline),
            ("^ready$", b"ready\r\n", at_newline),
            ("^ready$", b"\x1b[1;32mrea\x1b[0mdy\x1b[K\n", at_newline),
            ("^ready$", b"not\nready", (false, true)),
            ("^ready$", b"not ready\nready?\nread\ny\n", (false, false)),
            ("^ready$", b"x\x1b[3\nready\n", at_newline),
            ("^\x1b$", b"\x1b\n", at_newline),
            ("^r\u{fffd}dy$", b"r\xffdy\n", at_newline),
            ("^grün$", "grün\n".as_bytes(), at_newline),
            ("^$", b"", (false, false)),
            ("^\x1b$", b"\x1b", (false, true)),
            ("^$", b"x\n\ny", at_newline),
            ("a.*b", b"a\nb\n", (false, false)),
        ] {
            for piece in [1, 2, 3, 4096] {
                assert_eq!(fed(pattern, text, piece), wanted, "{pattern} {text:?} {piece}");
            }
        }
    }

    #[test]
    fn a_long_line_is_matched_by_its_start_and_takes_no_more_memory() {
        let line = |before: usize, after: usize| {
            [&vec![b'x'; before], &b"ready"[..], &vec![b'y'; after], b"\nnext\n"].concat()
        };
        for piece in [1000, 65_536, 1 << 20] {
            assert_eq!(fed("ready", &line(LINE_MAX_BYTES - 5, 1 << 20), piece), (true, true));
            assert_eq!(fed("ready", &line(LINE_MAX_BYTES - 4, 1 << 20), piece), (false, false));
            assert_eq!(fed("^next$", &line(LINE_MAX_BYTES, 1 << 20), piece), (true, true));
        }
        let mut matcher = LineMatcher::new(line_regex("ready").unwrap());
        (0..1000).for_each(|_| assert!(!matcher.feed(&[b'x'; 4096])));
        assert!(matcher.line.len() == LINE_MAX_BYTES && matcher.line.capacity() <= 4 * LINE_MAX_BYTES);
    }

    proptest! {
        #[test]
        fn the_result_is_that_of_the_lines_of_the_whole_text(
            text in "([rx]|\r|\n|\x1b|\x1b\\[|\x1b\\[3;1m|é){0,20}", lengths in prop::collection::vec(1_usize..6, 1..5), pattern in "[$^]?[rx]?(r|x|\x1b)[$^]?",
        ) {
            let mut matcher = LineMatcher::new(line_regex(&pattern).unwrap());
            let (mut rest, mut found) = (text.as_bytes(), false);
            for length in lengths.iter().cycle() {
                if rest.is_empty() || found {
                    break;
                }
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                found = matcher.feed(piece);
                rest = after;
            }
            let stripped = |line: &str| {
                let (mut ansi, mut out) = (Ansi::default(), Vec::new());
                ansi.strip(line.as_bytes(), &mut out);
                ansi.finish(&mut out);
                let line = String::from_utf8(out).unwrap();
                line.strip_suffix('\r').unwrap_or(&line).to_owned()
            };
            let lines: Vec<String> = text.split('\n').map(stripped).collect();
            let (last, whole) = lines.split_last().unwrap();
            let regex = line_regex(&pattern).unwrap();
            prop_assert_eq!(found, whole.iter().any(|line| regex.is_match(line)));
            prop_assert_eq!(found || matcher.finish(), found || !last.is_empty() && regex.is_match(last));
        }
    }
}
