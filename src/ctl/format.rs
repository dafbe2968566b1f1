//! Formats results: names, tables, and text without control characters for terminals. Pure.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::protocol::{State, namespec};
use crate::wire::xmlrpc::Value;

/// A text member of a struct; empty if it is missing.
#[must_use]
pub fn text<'a>(info: &'a Value, member: &str) -> &'a str {
    info.member(member).and_then(Value::as_str).unwrap_or_default()
}

/// A number of a struct; 0 if it is missing.
#[must_use]
pub fn number(info: &Value, member: &str) -> i64 {
    info.member(member).and_then(Value::as_int).unwrap_or_default()
}

/// The state in a process info; `None`: an unknown state.
#[must_use]
pub fn state(info: &Value) -> Option<State> {
    State::of_code(number(info, "state"))
}

/// A truth value of a struct, where the number 1 is also true; false if it is missing.
#[must_use]
pub fn truth(info: &Value, member: &str) -> bool {
    matches!(info.member(member), Some(Value::Bool(true) | Value::Int(1)))
}

/// The namespec of a struct with `group` and `name`.
#[must_use]
pub fn namespec_of(info: &Value) -> String {
    namespec(text(info, "group"), text(info, "name"))
}

/// The table of `status`: a line for each process info (supervisor-behaviour.md §8.3), without the last newline.
#[must_use]
pub fn status_table(infos: &[&Value]) -> String {
    let names: Vec<String> = infos.iter().map(|info| namespec_of(info)).collect();
    let longest = names.iter().map(|name| name.chars().count()).fold(30, usize::max);
    let width = longest.saturating_add(3);
    let mut table = String::new();
    for (info, name) in infos.iter().zip(&names) {
        if !table.is_empty() {
            table.push('\n');
        }
        let (state, description) = (text(info, "statename"), text(info, "description"));
        let _ = write!(table, "{name:<width$}{state:<10}{description}");
    }
    table
}

/// A line of `avail` for a struct of getAllConfigInfo.
#[must_use]
pub fn avail_line(info: &Value) -> String {
    let in_use = if truth(info, "inuse") { "in use" } else { "avail" };
    let autostart = if truth(info, "autostart") { "auto" } else { "manual" };
    let (group, process) = (number(info, "group_prio"), number(info, "process_prio"));
    format!("{:<32} {in_use:<9} {autostart:<9} {group}:{process}", namespec_of(info))
}

/// Replaces control characters, except newline and tab, with `?`. Otherwise the name of a process could control the user's
/// terminal.
#[must_use]
pub fn sanitized(line: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if line.chars().any(harmful) {
        Cow::Owned(line.chars().map(|c| if harmful(c) { '?' } else { c }).collect())
    } else {
        Cow::Borrowed(line)
    }
}

/// Removes control characters and escape sequences, except colours, from a log for a terminal, piece by piece.
#[derive(Default)]
pub struct TerminalFilter(Vec<u8>);

impl TerminalFilter {
    /// Longest escape sequence that sets a colour, in bytes.
    const COLOUR_MAX: usize = 32;

    /// Filters the next piece. An incomplete character or escape sequence at its end is kept for the next call.
    pub fn feed(&mut self, piece: &[u8]) -> String {
        self.0.extend_from_slice(piece);
        let complete = self.0.len().saturating_sub(Self::unfinished(&self.0));
        let text: Vec<u8> = self.0.drain(..complete).collect();
        let text = String::from_utf8_lossy(&text);
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if let Some(colour) = rest.as_str().strip_prefix('[').filter(|_| c == '\x1b') {
                let parameters = colour.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
                if let Some(after) = parameters.strip_prefix('m') {
                    out.push(c);
                    out.push_str(rest.as_str().strip_suffix(after).unwrap_or_default());
                    rest = after.chars();
                    continue;
                }
            }
            let is_line_end = c == '\r' && rest.as_str().starts_with('\n');
            out.push(if c.is_control() && !matches!(c, '\n' | '\t') && !is_line_end { '?' } else { c });
        }
        out
    }

    /// How many bytes at the end may belong to an incomplete character or escape sequence.
    fn unfinished(bytes: &[u8]) -> usize {
        let begins = |tail: &&[u8]| match tail {
            [b'\r']
            | [b'\x1b']
            | [0xc2..=0xf4]
            | [0xe0..=0xf4, 0x80..=0xbf]
            | [0xf0..=0xf4, 0x80..=0xbf, 0x80..=0xbf] => true,
            [b'\x1b', b'[', rest @ ..] => rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b';'),
            _ => false,
        };
        let tails =
            (1..=Self::COLOUR_MAX.min(bytes.len())).filter_map(|length| bytes.get(bytes.len().checked_sub(length)?..));
        tails.filter(begins).map(<[u8]>::len).fold(0, usize::max)
    }
}

/// Words in columns, filled downwards, at most 79 wide, as Python's `cmd` module lays them out; without the last newline.
#[must_use]
pub fn columns(words: &[&str]) -> String {
    for rows in 1..=words.len() {
        let widths: Vec<usize> =
            words.chunks(rows).map(|column| column.iter().map(|word| word.len()).fold(0, usize::max)).collect();
        let gaps = widths.len().saturating_sub(1).saturating_mul(2);
        if widths.iter().sum::<usize>().saturating_add(gaps) > 79 && rows < words.len() {
            continue;
        }
        let line = |row: usize| {
            let cells = words.chunks(rows).zip(&widths);
            let cells = cells.filter_map(|(column, &width)| Some(format!("{:<width$}", column.get(row)?)));
            cells.collect::<Vec<_>>().join("  ")
        };
        return (0..rows).map(line).collect::<Vec<_>>().join("\n");
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_wide_as_its_longest_name() {
        let info = |name: &str| {
            let member = |key: &str, value: &str| (key.to_owned(), Value::from(value));
            Value::Struct(vec![
                member("name", name),
                member("group", name),
                member("statename", "RUNNING"),
                member("description", "pid 7"),
            ])
        };
        let (short, long) = (info("cat"), info(&"é".repeat(40)));
        assert_eq!(status_table(&[&short]), "cat                              RUNNING   pid 7");
        let both = status_table(&[&short, &long]);
        assert_eq!(both, format!("cat{}RUNNING   pid 7\n{}   RUNNING   pid 7", " ".repeat(40), "é".repeat(40)));
        assert_eq!(status_table(&[]), "");
    }

    #[test]
    fn only_colours_of_a_log_reach_a_terminal() {
        let log = "\x1b[1;31mred\x1b[m \x1b[2J\x1b]0;title\x07 é€😀\r\nover\rwritten\x1bc\u{9b}1A\n";
        let wanted = "\x1b[1;31mred\x1b[m ?[2J?]0;title? é€😀\r\nover?written?c?1A\n";
        for length in 1..log.len() {
            let mut filter = TerminalFilter::default();
            let shown: String = log.as_bytes().chunks(length).map(|piece| filter.feed(piece)).collect();
            assert_eq!(shown, wanted, "in pieces of {length}");
        }
        assert_eq!(TerminalFilter::default().feed(b"\xff\xfe."), "\u{fffd}\u{fffd}.");
        let long = [b"\x1b[", &[b'1'; 99][..]].concat();
        assert!(TerminalFilter::default().feed(&long).len() > 60, "an endless sequence is not held");
    }

    #[test]
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(sanitized("a\x1b[2J\u{9b}\x7f\r\tb\n"), "a?[2J???\tb\n");
        assert!(matches!(sanitized("plain é"), Cow::Borrowed(_)));
    }
}
