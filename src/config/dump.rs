//! The effective configuration as a file: every option that counts, includes and environment resolved, in the dialect that
//! `load` (and Supervisor) reads; written by rust-ini.
#![forbid(unsafe_code)]

use super::dialect::{Section, is_space};
use super::load::{Reader, Who};
use super::options::{self, Opt, Scope};
use super::{Machine, values};
use ini::{EscapePolicy, Ini};
use std::path::Path;

/// A file that loads to the same configuration from any place, given the same environment; nothing when the file cannot
/// be read. To be asked only when `load` found no error.
pub fn dump(main_file: &Path, machine: &dyn Machine) -> Option<String> {
    let mut reader = Reader::open(main_file, true, machine);
    let mut ini = Ini::new();
    let missing = Section { name: "supervisord".into(), ..Section::default() };
    let server = reader.sections.section("supervisord").unwrap_or(&missing);
    reader.dump(&mut ini, server, options::SERVER, &[]);
    let _ = reader.server();
    for section in reader.sections.list.iter().filter(|section| section.name != "supervisord") {
        let own = reader.own_names(section);
        let kind = section.name.split_once(':').map_or("", |(kind, _)| kind);
        match kind {
            _ if section.name == "supervisorctl" => reader.dump(&mut ini, section, options::CLIENT, &own),
            _ if section.name.starts_with("unix_http_server") => {
                reader.dump(&mut ini, section, options::UNIX_SERVER, &own)
            }
            _ if section.name.starts_with("inet_http_server") => {
                reader.dump(&mut ini, section, options::INET_SERVER, &own)
            }
            "group" => reader.dump(&mut ini, section, options::GROUP, &own),
            "program" => reader.dump(&mut ini, section, options::PROGRAM, &own),
            "eventlistener" => {
                reader.dump(&mut ini, section, options::PROGRAM, &own);
                reader.dump(&mut ini, section, options::LISTENER, &own);
            }
            "fcgi-program" => {
                reader.dump(&mut ini, section, options::PROGRAM, &own);
                reader.dump(&mut ini, section, options::FCGI, &own);
            }
            "rpcinterface" => {
                for entry in section.entries.iter().chain(&reader.sections.defaults.entries) {
                    let who = Who { template: true, ..Who::default() };
                    let text = reader.value(section, &entry.key, Scope::Env, who).unwrap_or_default();
                    let text = encoded(&text, &reader.guard(Scope::Env));
                    ini.with_section(Some(&*section.name)).set(&*entry.key, text);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    ini.write_to_policy(&mut out, EscapePolicy::Nothing).ok()?;
    String::from_utf8(out).ok()
}

/// Options whose absence means something that no value says.
const NO_DEFAULT: [&str; 4] = ["logfile", "pidfile", "nodaemon", "socket_mode"];

impl Reader<'_> {
    fn dump<T>(&self, ini: &mut Ini, section: &Section, rows: &[Opt<T>], own: &[(String, String)]) {
        let who = Who { template: true, own, ..Who::default() };
        let mut written = ini.with_section(Some(&*section.name));
        for row in rows {
            let text = match row.key {
                // Blanks that come out of a variable are allowed in a name, written ones are not: as it is.
                "process_name" => self.sections.entry(section, row.key).map(|entry| entry.value.clone()),
                key => self.value(section, key, row.scope, who),
            };
            let text = text.map(|text| encoded(&text, &self.guard(row.scope)));
            // A listener's priority has one default as a group and another as a process.
            let listener = section.name.starts_with("eventlistener:") && row.key == "priority";
            let default = Some(row.default).filter(|d| !d.is_empty() && !listener && !NO_DEFAULT.contains(&row.key));
            if let Some(text) = text.or(default.map(str::to_owned)) {
                written.set(row.key, text);
            }
        }
    }

    /// The names that a program's own environment defines: they may differ from process to process.
    fn own_names(&self, section: &Section) -> Vec<(String, String)> {
        let Some((_, program)) = section.name.split_once(':') else { return Vec::new() };
        let who = Who { program, group: program, ..Who::default() };
        let text = self.value(section, "environment", Scope::Process, who);
        text.and_then(|text| values::environment(&text).ok()).unwrap_or_default()
    }

    /// An expansion that gives nothing: it keeps blanks and comment signs apart from what the dialect makes of them.
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

/// A value in the dialect: continued lines for newlines, a guard where a blank or a comment sign would be lost.
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
