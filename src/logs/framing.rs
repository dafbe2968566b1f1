//! Framing of lines: the label, prefix or syslog header before a line, and what ends it.

use super::stamp::Stamp;
use crate::time::Wall;
use memchr::memchr;
use std::rc::Rc;

/// How the lines of one writer are framed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Framing {
    /// Nothing is added.
    #[default]
    Raw,
    /// A text before each line.
    Label(Rc<[u8]>),
    /// The time and a text before each line.
    Prefix(Rc<[u8]>),
    /// A message of syslog(3) for each line: priority, time, rsup's name, a text.
    Syslog(Rc<[u8]>),
}

/// Values that a frame may contain.
pub(super) struct FrameContext<'a> {
    pub(super) stamp: &'a mut Stamp,
    pub(super) now: Wall,
    /// rsup's name in syslog; empty: `rsup`.
    pub(super) ident: &'a str,
}

impl Framing {
    /// The framing with this text: `Framing::text(Framing::Prefix, "web stdout | ")`.
    pub(super) fn text(framing: fn(Rc<[u8]>) -> Self, text: String) -> Self {
        framing(text.into_bytes().into())
    }

    /// Appends `bytes` to `out`, with each line framed. If `goes_on`, the first line continues one that already has its frame.
    pub(super) fn frame(&self, mut bytes: &[u8], mut goes_on: bool, context: &mut FrameContext<'_>, out: &mut Vec<u8>) {
        let begin = self.begin(context);
        while !bytes.is_empty() {
            let end = memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline.saturating_add(1));
            let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            if !std::mem::take(&mut goes_on) {
                out.extend_from_slice(&begin);
            }
            out.extend_from_slice(line);
            bytes = rest;
        }
        // A part of a line is a message too, since a message cannot be extended later.
        if matches!(self, Self::Syslog(_)) && out.last().is_some_and(|&last| last != b'\n') {
            out.push(b'\n');
        }
    }

    /// The bytes before each line.
    fn begin(&self, context: &mut FrameContext<'_>) -> Vec<u8> {
        match self {
            Self::Raw => Vec::new(),
            Self::Label(text) => text.to_vec(),
            Self::Prefix(text) => [context.stamp.text(context.now), &**text].concat(),
            Self::Syslog(text) => {
                let ident = if context.ident.is_empty() { "rsup" } else { context.ident };
                [context.stamp.syslog(context.now).as_bytes(), ident.as_bytes(), b": ", text].concat()
            }
        }
    }
}
