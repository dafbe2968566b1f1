//! Parses Supervisor's INI dialect (Python's `RawConfigParser`, non-strict, with `;` and `#` comments) into sections. Each
//! section and key keeps its file and line.
//!
//! A first pass turns the dialect into canonical INI with one escaped line for each key; rust-ini parses that. rust-ini stays,
//! although it does not know the dialect: it is one of the packages that the project was given. Source: supervisor-behaviour.md
//! §2.1 and §2.2.
#![forbid(unsafe_code)]

use super::values::{is_space, repr};
use super::{Problem, Severity};
use crate::text;
use ini::{Ini, ParseOption};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct At {
    /// Index in [`Sections::files`].
    pub file: usize,
    /// Counted from 1; 0: the file as a whole.
    pub line: u32,
}

/// A `key=value` as written, without comments. The lines of a value are joined by newlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub value: String,
    pub at: At,
}

/// A section, merged from all places where it appears. The last value of a key wins; it keeps the position of the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Section {
    pub name: String,
    pub at: At,
    pub entries: Vec<Entry>,
}

/// All sections of all files, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub files: Vec<PathBuf>,
    pub list: Vec<Section>,
    /// `[DEFAULT]`: its keys apply to every section that does not have them itself.
    pub defaults: Section,
    index: BTreeMap<String, usize>,
}

impl Sections {
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.index.get(name).and_then(|&i| self.list.get(i))
    }

    /// The sections whose name has this prefix, each with the rest of its name.
    pub fn of_kind<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Section, &'a str)> {
        self.list.iter().filter_map(move |section| Some((section, section.name.strip_prefix(prefix)?)))
    }

    /// The entry of a key in the section, else in `[DEFAULT]`.
    pub fn entry<'a>(&'a self, section: &'a Section, key: &str) -> Option<&'a Entry> {
        let find = |s: &'a Section| s.entries.iter().find(|e| e.key == key);
        find(section).or_else(|| find(&self.defaults))
    }

    /// Adds the sections of one more file, and its errors to `problems`.
    pub fn merge(&mut self, file: PathBuf, bytes: &[u8], problems: &mut Vec<Problem>) {
        let mut report = |severity, line: u32, section: &str, key: &str, message: String| {
            problems.push(Problem::new(severity, &file, line, section, key, message));
        };
        let text = match std::str::from_utf8(bytes) {
            Ok(_) => text::decode(bytes).replace("\r\n", "\n").replace('\r', "\n"),
            Err(error) => {
                let at = error.valid_up_to();
                let line = bytes.get(..at).map_or(0, |b| memchr::memchr_iter(b'\n', b).count());
                let byte = bytes.get(at).copied().unwrap_or_default();
                let why = format!("byte 0x{byte:02x} at offset {at} is not UTF-8; save the file as UTF-8");
                return report(Severity::Error, line_number(line), "", "", why);
            }
        };
        let canonical = canonical(&text, &mut report);
        let options = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let tree = match Ini::load_from_str_opt(&canonical.text, options) {
            Ok(tree) => tree,
            Err(error) => return report(Severity::Error, 0, "", "", error.to_string()),
        };
        let file_index = self.files.len();
        let mut lines = canonical.lines.into_iter().map(|line| At { file: file_index, line });
        for (name, keys) in tree.iter() {
            let Some(name) = name.map(unescaped) else { continue };
            let at = lines.next().unwrap_or_default();
            let section = self.section_mut(&name, at);
            for (key, value) in keys.iter() {
                let at = lines.next().unwrap_or_default();
                let entry = Entry { key: unescaped(key), value: unescaped(value), at };
                match section.entries.iter_mut().find(|e| e.key == entry.key) {
                    None => section.entries.push(entry),
                    Some(old) => {
                        let same = old.at.file == at.file;
                        let severity = if same { Severity::Warning } else { Severity::Info };
                        let place = if same { format!("line {}", old.at.line) } else { "another file".into() };
                        report(severity, at.line, &name, &entry.key, format!("this value replaces the one of {place}"));
                        *old = entry;
                    }
                }
            }
        }
        self.files.push(file);
    }

    fn section_mut(&mut self, name: &str, at: At) -> &mut Section {
        if name == "DEFAULT" {
            return &mut self.defaults;
        }
        let next = self.list.len();
        let index = *self.index.entry(name.to_owned()).or_insert(next);
        if index == next {
            self.list.push(Section { name: name.into(), at, entries: Vec::new() });
        }
        // The index never points outside the list; the fallback only avoids a panic.
        self.list.get_mut(index).unwrap_or(&mut self.defaults)
    }

    /// Replaces `%(here)s` by `dir` in every value read so far. The loader calls this after each file if there is an `[include]`.
    pub fn expand_here(&mut self, dir: &str) {
        for section in &mut self.list {
            let inherited: Vec<Entry> = self
                .defaults
                .entries
                .iter()
                .filter(|d| d.value.contains("%(here)s") && section.entries.iter().all(|e| e.key != d.key))
                .cloned()
                .collect();
            section.entries.extend(inherited);
            for entry in section.entries.iter_mut().filter(|e| e.value.contains("%(here)s")) {
                entry.value = entry.value.replace("%(here)s", dir);
            }
        }
    }
}

fn line_number(zero_based: usize) -> u32 {
    u32::try_from(zero_based).unwrap_or(u32::MAX).saturating_add(1)
}

#[derive(Default)]
struct Canonical {
    text: String,
    /// The line of each section and key written to `text`, in order.
    lines: Vec<u32>,
}

impl Canonical {
    fn push(&mut self, key: &Option<Key>) {
        if let Some(key) = key {
            let joined = key.pieces.join("\n");
            self.text.extend([&*escaped(&key.name), "=", &*escaped(joined.trim_end_matches(is_space)), "\n"]);
            self.lines.push(key.line);
        }
    }
}

struct Key<'a> {
    name: String,
    pieces: Vec<&'a str>,
    line: u32,
}

/// The canonical form of a file. Reports each line that is neither a comment, a section header, a key nor a continuation.
fn canonical(text: &str, report: &mut dyn FnMut(Severity, u32, &str, &str, String)) -> Canonical {
    let mut out = Canonical::default();
    let mut section: Option<&str> = None;
    let mut key: Option<Key> = None;
    let mut indent = 0;
    for (number, line) in text.split_terminator('\n').enumerate() {
        let number = line_number(number);
        let comment = comment_start(line);
        let kept = line.get(..comment.unwrap_or(line.len())).unwrap_or_default();
        let value = kept.trim_matches(is_space);
        if value.is_empty() {
            if let (None, Some(key)) = (comment, &mut key) {
                key.pieces.push("");
            }
            continue;
        }
        let cut = comment.and_then(|at| line.get(at..)).filter(|cut| quote_cut(value, cut));
        let column = line.chars().take_while(|&c| is_space(c)).count();
        let continued = key.is_some() && column > indent;
        if !continued {
            indent = column;
        }
        if let Some(key) = key.as_mut().filter(|_| continued) {
            key.pieces.push(value);
        } else if let Some(name) = header(value) {
            out.push(&key.take());
            out.text.extend(["[", &*escaped(name), "]\n"]);
            out.lines.push(number);
            section = Some(name);
        } else if section.is_none() {
            let bom = if line.starts_with('\u{feff}') { "; remove the byte order mark" } else { "" };
            let why = format!("File contains no section headers: {} comes before any [section]{bom}", repr(line));
            report(Severity::Error, number, "", "", why);
            return out;
        } else if let Some((name, value)) = value.split_once(['=', ':']).filter(|(name, _)| !name.is_empty()) {
            out.push(&key);
            let name = name.trim_end_matches(is_space).to_lowercase();
            key = Some(Key { name, pieces: vec![value.trim_matches(is_space)], line: number });
        } else {
            let why = format!("neither key=value nor [section]: {}", repr(line));
            report(Severity::Error, number, section.unwrap_or_default(), "", why);
        }
        if let (Some(cut), Some(key)) = (cut, &key) {
            let sign = cut.get(..1).unwrap_or_default();
            let why = format!(
                "a comment starts at '{sign}' and cuts a quoted text: quotes do not protect a {sign} after a blank"
            );
            report(Severity::Warning, number, section.unwrap_or_default(), &key.name, why);
        }
    }
    out.push(&key);
    out
}

/// The section name between `[` and the last `]`; at least one character. Text after the `]` is ignored.
fn header(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('[')?;
    inner.get(..inner.rfind(']')?).filter(|name| !name.is_empty())
}

/// Where the comment of a line starts. As in Python, the n-th `;` and the n-th `#` are tested in the same round, so a comment
/// may start at a `;` although an earlier `#` could start one too, and the other way round.
fn comment_start(line: &str) -> Option<usize> {
    let first = line.trim_start_matches(is_space);
    if first.starts_with([';', '#']) {
        return Some(0);
    }
    let starts = |at: usize| line.get(..at).is_some_and(|s| s.is_empty() || s.ends_with(is_space));
    let (mut semicolons, mut hashes) = (line.match_indices(';').map(|m| m.0), line.match_indices('#').map(|m| m.0));
    loop {
        let round = [semicolons.next(), hashes.next()];
        if round == [None, None] {
            return None;
        }
        if let Some(at) = round.into_iter().flatten().filter(|&at| starts(at)).min() {
            return Some(at);
        }
    }
}

/// Whether a comment cuts a quoted string: the string is opened in the kept part and closed in the comment.
fn quote_cut(kept: &str, cut: &str) -> bool {
    let mut open = None;
    for c in kept.chars().filter(|c| matches!(c, '"' | '\'')) {
        match open {
            None => open = Some(c),
            Some(quote) if quote == c => open = None,
            Some(_) => {}
        }
    }
    open.is_some_and(|quote| cut.contains(quote))
}

/// Writes each character with a meaning in rust-ini as `\HEX.`. rust-ini's own escapes cannot be used: it strips blanks after it
/// has replaced them, so escaped blanks at the ends would be lost.
fn escaped(text: &str) -> String {
    let plain = |at: usize, c: char| match c {
        '\\' | '[' | ']' | ';' | '#' => false,
        ' ' => at > 0 && at.saturating_add(1) < text.len(),
        c => c.is_ascii_graphic() || !c.is_ascii() && !is_space(c),
    };
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match plain(at, c) {
            true => out.push(c),
            false => out.push_str(&format!("\\{:x}.", u32::from(c))),
        }
    }
    out
}

/// The inverse of [`escaped`].
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (code, rest) in parts.filter_map(|part| part.split_once('.')) {
        out.extend(u32::from_str_radix(code, 16).ok().and_then(char::from_u32));
        out.push_str(rest);
    }
    out
}
