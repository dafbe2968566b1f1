//! `strip_ansi`: removes terminal control sequences (ECMA-48: ESC `[`, parameters, intermediates, one final byte).
//!
//! Supervisor (census 6.5) forgets its state between two reads, and after a final that it does not know it eats text
//! up to one that it knows.
// Differs from Supervisor: state is kept across reads, every final ends a sequence, and a byte that cannot be part of
// one ends it too and stays. Other escapes (titles, character sets) stay, as there.

/// Where in a sequence the last chunk ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ansi {
    #[default]
    Text,
    /// An ESC that is not yet written: the next byte says what it is.
    Escape,
    Sequence,
}

const ESC: u8 = 0x1b;

impl Ansi {
    /// Appends to `out` what is text in `bytes`.
    pub(super) fn strip(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
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

    /// Appends what was kept back at the end of the stream.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(self) == Self::Escape {
            out.push(ESC);
        }
    }
}
