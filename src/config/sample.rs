//! `rsup sample-config`: a configuration to begin with, made from the tables; Supervisor reads it too.
#![forbid(unsafe_code)]

use super::options::{self, KINDS, Row};

/// What is not behind a comment sign: section, key and value.
const LIVE: [(&str, &str, &str); 5] = [
    ("supervisord", "logfile", "/tmp/supervisord.log"),
    ("supervisord", "pidfile", "/tmp/supervisord.pid"),
    ("unix_http_server", "file", "/tmp/supervisor.sock"),
    ("supervisorctl", "serverurl", "unix:///tmp/supervisor.sock"),
    ("rpcinterface:supervisor", "supervisor.rpcinterface_factory", options::MAIN_RPC_FACTORY),
];

/// The whole text.
#[must_use]
pub fn sample() -> String {
    let mut out = String::from(
        "; Made by `rsup sample-config`. A line that begins with ; is a comment, and so is what follows a blank and a ;\n\
         ; Behind such a sign stand each option's default, or an example where there is none.\n\
         ; %(ENV_HOME)s means the variable HOME, %(here)s this file's directory, %% a percent sign.\n\
         ; [rsup] marks what Supervisor does not know, and ignores.\n",
    );
    for kind in KINDS.iter().filter(|kind| kind.title != "ctlplugin:x") {
        let title = if kind.title == "rpcinterface:x" { "rpcinterface:supervisor" } else { kind.title };
        let live = |row: &Row| LIVE.iter().find(|(section, key, _)| *section == title && *key == row.key);
        let sign = if kind.own().any(|row| live(row).is_some()) { "" } else { ";" };
        out.push_str(&format!("\n; {}\n{sign}[{title}]\n", kind.help));
        for row in kind.own() {
            let value = if row.default.is_empty() { row.example } else { row.default };
            let line =
                live(row).map_or_else(|| format!(";{}={value}", row.key), |(_, key, value)| format!("{key}={value}"));
            let mark = if row.rsup { "[rsup] " } else { "" };
            out.push_str(&format!("{line:<40} ; {mark}{} ({})\n", row.help, row.wanted));
        }
    }
    out
}
