//! Writes the effective configuration as a file: every option with its value or default, with includes and variables replaced,
//! in the dialect that `load` and Supervisor read.
#![forbid(unsafe_code)]

use super::Machine;
use super::dialect::Section;
use super::load::{ConfigReader, ExpansionContext};
use super::options::{self, Scope};
use super::values::{self, is_space};
use ini::{EscapePolicy, Ini};
use std::path::Path;

/// From the key of an option and its value: the value to show.
type Hide<'a> = &'a dyn Fn(&str, &str) -> String;

/// The text of a file that loads to the same configuration from any directory in the same environment; `None`: the file cannot
/// be read. `hide` may replace the value of an option. Call it only if `load` found no error.
pub fn dump(main_file: &Path, machine: &dyn Machine, hide: Hide) -> Option<String> {
    let mut reader = ConfigReader::open(main_file, true, machine);
    let mut ini = Ini::new();
    let missing = Section { name: "supervisord".into(), ..Section::default() };
    let server = reader.sections.section("supervisord").unwrap_or(&missing);
    reader.dump(&mut ini, server, &[], hide);
    let _ = reader.server();
    for section in reader.sections.list.iter().filter(|section| section.name != "supervisord") {
        reader.dump(&mut ini, section, &reader.own_names(section), hide);
    }
    let mut out = Vec::new();
    ini.write_to_policy(&mut out, EscapePolicy::Nothing).ok()?;
    String::from_utf8(out).ok()
}

/// Options without a value that means the same as leaving them out.
const NO_DEFAULT: [&str; 4] = ["logfile", "pidfile", "nodaemon", "socket_mode"];

impl ConfigReader<'_> {
    fn dump(&self, ini: &mut Ini, section: &Section, own: &[(String, String)], hide: Hide) {
        // The included files are merged already, and a plug-in of the client cannot be loaded.
        let kind = options::section_kind(&section.name).filter(|kind| !matches!(kind.title, "include" | "ctlplugin:x"));
        let Some(kind) = kind else { return };
        let context = ExpansionContext { template: true, own, ..ExpansionContext::default() };
        let shown = |text: &str, key: &str, scope| encoded(&hide(key, text), &self.guard(scope));
        let mut written = ini.with_section(Some(&*section.name));
        if kind.title == "rpcinterface:x" {
            for entry in section.entries.iter().chain(&self.sections.defaults.entries) {
                let text = self.value(section, &entry.key, Scope::Env, context).unwrap_or_default();
                written.set(&*entry.key, shown(&text, &entry.key, Scope::Env));
            }
            return;
        }
        for row in (kind.rows)() {
            let text = match row.key {
                // Not expanded: a name may contain blanks from a variable, but no written ones.
                "process_name" => self.sections.entry(section, row.key).map(|entry| entry.value.clone()),
                _ => self.value(section, self.written_key(section, row), row.scope, context),
            };
            let text = text.map(|text| shown(&text, row.key, row.scope));
            // The priority of a listener has two defaults: one for the group, one for the processes.
            let is_listener_priority = section.name.starts_with("eventlistener:") && row.key == "priority";
            let default =
                Some(row.default).filter(|d| !d.is_empty() && !is_listener_priority && !NO_DEFAULT.contains(&row.key));
            if let Some(text) = text.or(default.map(str::to_owned)) {
                written.set(row.key, text);
            }
        }
    }

    /// The variables that a program's own `environment` defines. Their values may differ between its processes.
    fn own_names(&self, section: &Section) -> Vec<(String, String)> {
        let Some((_, program)) = section.name.split_once(':') else { return Vec::new() };
        let context = ExpansionContext { program, group: program, ..ExpansionContext::default() };
        let text = self.value(section, "environment", Scope::Process, context);
        text.and_then(|text| values::environment(&text).ok()).unwrap_or_default()
    }

    /// An expression that expands to nothing. Beside a blank or a comment sign it keeps the dialect from stripping it.
    fn guard(&self, scope: Scope) -> String {
        match scope {
            Scope::Env => {
                let variable = self
                    .machine
                    .environment()
                    .into_iter()
                    .map(|(name, _)| name)
                    .find(|name| !name.contains(['(', ')', ' ']));
                variable.map(|name| format!("%(ENV_{name}).0s")).unwrap_or_default()
            }
            _ => "%(here).0s".into(),
        }
    }
}

/// A value in the dialect: a continuation line for each newline, and `guard` where a blank or a comment sign would be lost.
fn encoded(text: &str, guard: &str) -> String {
    let mut out = String::new();
    let pieces: Vec<&str> = text.split('\n').collect();
    for (i, piece) in pieces.iter().enumerate() {
        let last = i.saturating_add(1) == pieces.len();
        if i > 0 {
            out.push_str("\n\t");
        }
        if piece.starts_with(is_space) || i > 0 && (piece.starts_with([';', '#']) || last && piece.is_empty()) {
            out.push_str(guard);
        }
        let mut before = 'x';
        for c in piece.chars() {
            if is_space(before) && matches!(c, ';' | '#') {
                out.push_str(guard);
            }
            out.push(c);
            before = c;
        }
        if piece.ends_with(is_space) {
            out.push_str(guard);
        }
    }
    out
}
