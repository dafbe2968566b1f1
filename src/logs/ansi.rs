//! `strip_ansi`: removes terminal control sequences (ECMA-48: ESC `[`, parameters, intermediates, one final byte).
//!
//! Supervisor (supervisor-behaviour.md §6.5) forgets its state between two reads, and after an unknown final byte it removes text up to
//! a final byte that it knows.
// Differs from Supervisor: state is kept across reads, every final byte ends a sequence, and a byte that cannot be part of a sequence
// ends it and is kept. Other escapes (titles, character sets) are kept, as by Supervisor.

/// The position in a sequence at the end of the last chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ansi {
    #[default]
    Text,
    /// After an ESC that is not written yet: the next byte decides whether it begins a sequence.
    Escape,
    Sequence,
}

const ESC: u8 = 0x1b;

impl Ansi {
    /// Appends the text in `bytes` to `out`.
    pub(crate) fn strip(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self {
                Self::Text => {
                    let (text, after) = match memchr::memchr(ESC, bytes).and_then(|at| bytes.split_at_checked(at)) {
                        Some((text, after)) => (text, after.get(1..).unwrap_or_default()),
                        None => return out.extend_from_slice(bytes),
                    };
                    out.extend_from_slice(text);
                    *self = Self::Escape;
                    bytes = after;
                    continue;
                }
                Self::Escape if first == b'[' => *self = Self::Sequence,
                Self::Escape => {
                    out.push(ESC);
                    *self = Self::Text;
                    continue;
                }
                Self::Sequence => match first {
                    0x20..=0x3f => {}
                    0x40..=0x7e => *self = Self::Text,
                    _ => {
                        *self = Self::Text;
                        continue;
                    }
                },
            }
            bytes = rest;
        }
    }

    /// Appends bytes that were held back, at the end of the stream.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(self) == Self::Escape {
            out.push(ESC);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(chunks: &[&str]) -> String {
        let (mut ansi, mut out) = (Ansi::default(), Vec::new());
        chunks.iter().for_each(|chunk| ansi.strip(chunk.as_bytes(), &mut out));
        ansi.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_final_that_supervisor_does_not_know_ends_a_sequence_too() {
        assert_eq!(strip(&["\x1b[5X abc m z"]), " abc m z");
        assert_eq!(strip(&["\x1b[2 q|\x1b[200~|"]), "||");
    }

    #[test]
    fn a_sequence_may_be_split_anywhere() {
        assert_eq!(strip(&["a\x1b", "[3", "1", "mred\x1b[", "0m!"]), "ared!");
    }

    #[test]
    fn a_byte_that_cannot_be_part_of_a_sequence_ends_it_and_stays() {
        assert_eq!(strip(&["\x1b[31\nnext"]), "\nnext");
        assert_eq!(strip(&["\x1b[31\u{e4}"]), "\u{e4}");
        assert_eq!(strip(&["\x1b[3\x1b[1mx"]), "x");
    }

    #[test]
    fn other_escapes_stay_and_so_does_one_at_the_end() {
        assert_eq!(strip(&["\x1b]0;t\x07\x1b(B\x1b\x1b[1mx\x1b"]), "\x1b]0;t\x07\x1b(B\x1bx\x1b");
    }
}
