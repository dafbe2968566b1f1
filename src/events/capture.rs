//! Capture mode: bytes that a program writes between two tokens go to listeners, not to its log (supervisor-behaviour.md §6.6).

const BEGIN: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";
const END: &[u8] = b"<!--XSUPERVISOR:END-->";

/// Finds the tokens in the output of one channel.
#[derive(Debug, Clone)]
pub struct Capture {
    max_bytes: usize,
    is_inside: bool,
    /// The last bytes that were read, if they may be the start of a token.
    held: Vec<u8>,
    captured: Vec<u8>,
}

/// A part of the output, without its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes; may be empty.
    pub text: Vec<u8>,
    /// It was between the tokens: pass it to `keep`.
    pub is_inside: bool,
    /// The closing token followed: `take` the whole capture.
    pub is_last: bool,
}

impl Capture {
    /// A capture with the limit `…_capture_maxbytes`.
    #[must_use]
    pub fn new(max_bytes: i64) -> Self {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        Self { max_bytes, is_inside: false, held: Vec::new(), captured: Vec::new() }
    }

    /// Splits the bytes that were read at the tokens.
    // Differs from Supervisor: only bytes that may be the start of a token are held back, so that short lines are not late.
    pub fn cut(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut bytes = [&std::mem::take(&mut self.held), bytes].concat();
        let mut pieces = Vec::new();
        loop {
            let token = if self.is_inside { END } else { BEGIN };
            let found = memchr::memmem::find(&bytes, token);
            let end = found.unwrap_or_else(|| bytes.len().saturating_sub(beginning_at_end(&bytes, token)));
            let mut rest = bytes.split_off(end);
            if found.is_some() || !bytes.is_empty() {
                let is_last = found.is_some() && self.is_inside;
                pieces.push(Piece { text: bytes, is_inside: self.is_inside, is_last });
            }
            if found.is_none() {
                self.held = rest;
                return pieces;
            }
            self.is_inside = !self.is_inside;
            bytes = rest.split_off(token.len().min(rest.len()));
        }
    }

    /// Call it at the end of the output. Returns the bytes that were held back; an unfinished capture is dropped.
    // Differs from Supervisor, which loses the last 24 bytes.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        if self.is_inside { Vec::new() } else { held }
    }

    /// Adds text from between the tokens. If it becomes too long, as many of the oldest bytes are dropped as are added; that is
    /// Supervisor's rule.
    pub fn keep(&mut self, text: &[u8]) {
        if self.captured.len().saturating_add(text.len()) > self.max_bytes {
            self.captured.drain(..text.len().min(self.captured.len()));
        }
        self.captured.extend_from_slice(text);
    }

    /// Takes the captured text.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.captured)
    }
}

/// The number of bytes at the end of `bytes` that are an incomplete `token`.
fn beginning_at_end(bytes: &[u8], token: &[u8]) -> usize {
    let longest = bytes.len().min(token.len().saturating_sub(1));
    (1..=longest).rev().find(|&length| token.get(..length).is_some_and(|head| bytes.ends_with(head))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of the log, and each capture.
    fn run(max_bytes: i64, pieces: &[&[u8]]) -> (String, Vec<String>) {
        let mut capture = Capture::new(max_bytes);
        let (mut log, mut captured) = (Vec::new(), Vec::new());
        for piece in pieces {
            for piece in capture.cut(piece) {
                if piece.is_inside {
                    capture.keep(&piece.text)
                } else {
                    log.extend(&piece.text)
                }
                if piece.is_last {
                    captured.push(String::from_utf8_lossy(&capture.take()).into_owned());
                }
            }
        }
        log.extend(capture.finish());
        (String::from_utf8_lossy(&log).into_owned(), captured)
    }

    #[test]
    fn what_is_between_the_tokens_is_captured() {
        let text = b"one\n<!--XSUPERVISOR:BEGIN-->two<!--XSUPERVISOR:END-->three<!--XSUPERVISOR:BEGIN--><!--XSUPERVISOR:END-->";
        assert_eq!(run(100, &[text]), ("one\nthree".into(), vec!["two".into(), String::new()]));
        assert_eq!(run(100, &[b"a<!--XSUPERVISOR:BEGIN-->lost<!--XS"]), ("a".into(), vec![]));
        assert_eq!(run(100, &[b"short <!--XSUP"]).0, "short <!--XSUP");
    }

    #[test]
    fn too_much_drops_the_beginning_by_supervisors_rule() {
        let captured = |pieces: &[&[u8]]| run(10, pieces).1.remove(0);
        let begin: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";
        let end: &[u8] = b"<!--XSUPERVISOR:END-->";
        assert_eq!(captured(&[begin, b"12345678", b"abcd", end]), "5678abcd");
        assert_eq!(captured(&[begin, b"12345678", b"ab", end]), "12345678ab", "exactly at the limit");
        assert_eq!(captured(&[begin, b"0123456789abcdef", end]), "0123456789abcdef", "one piece is kept whole");
    }

    proptest! {
        #[test]
        fn the_text_is_the_same_however_it_is_cut(
            words in prop::collection::vec(
                prop_oneof![
                    Just("<!--XSUPERVISOR:BEGIN-->".to_owned()),
                    Just("<!--XSUPERVISOR:END-->".to_owned()),
                    Just("<!--XSUPER".to_owned()),
                    "[<!a-c\\-]{0,4}",
                ],
                0..10,
            ),
            cuts in prop::collection::vec(0_usize..40, 0..8),
        ) {
            let text = words.concat();
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for at in cuts {
                let (head, tail) = rest.split_at(at % (rest.len() + 1));
                pieces.push(head);
                rest = tail;
            }
            pieces.push(rest);
            prop_assert_eq!(run(10_000, &pieces), run(10_000, &[text.as_bytes()]));
        }

        #[test]
        fn no_more_is_held_than_a_token_has(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut capture = Capture::new(50);
            capture.cut(&bytes);
            prop_assert!(capture.held.len() < BEGIN.len());
        }
    }
}
