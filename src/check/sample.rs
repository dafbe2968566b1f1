//! `rsup sample-config`: a small configuration that runs in any image, or all options of the table as comments. Supervisor can
//! read both.

use crate::config::options::{self, OptionRow, SECTION_KINDS};
use std::path::Path;

/// A configuration that runs unchanged, even in an image FROM scratch: its only program is `executable`, which is rsup itself,
/// and it writes no files.
#[must_use]
pub fn small_sample(executable: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    // Other characters would need quotes, or double percent signs.
    let executable = executable.to_str().filter(|path| path.chars().all(plain)).unwrap_or("rsup");
    format!(
        "; rsup sample-config --all lists every option.\n\
         [supervisord]\n\
         nodaemon=true\n\
         \n\
         ; Replace this program with yours. This one runs in any image: it waits for commands on its stdin.\n\
         [program:example]\n\
         command={executable} ctl\n\
         ; Output goes to the log of the container.\n\
         stdout_logfile=/dev/stdout\n\
         stdout_logfile_maxbytes=0\n\
         stderr_logfile=/dev/stderr\n\
         stderr_logfile_maxbytes=0\n"
    )
}

/// The options that are not commented out: section, key and value.
const LIVE: [(&str, &str, &str); 5] = [
    ("supervisord", "logfile", "/tmp/supervisord.log"),
    ("supervisord", "pidfile", "/tmp/supervisord.pid"),
    ("unix_http_server", "file", "/tmp/supervisor.sock"),
    ("supervisorctl", "serverurl", "unix:///tmp/supervisor.sock"),
    ("rpcinterface:supervisor", "supervisor.rpcinterface_factory", options::MAIN_RPC_FACTORY),
];

/// Every option with its default or an example; most are commented out.
#[must_use]
pub fn sample() -> String {
    let mut out = String::from(
        "; Printed by rsup. A comment starts at a ; at the beginning of a line or after a blank.\n\
         ; Each commented option shows its default, or an example where it has none.\n\
         ; %(ENV_HOME)s is the variable HOME, %(here)s the directory of this file, %% a percent sign.\n\
         ; [rsup] marks options that only rsup has. Supervisor ignores them.\n",
    );
    for kind in SECTION_KINDS.iter().filter(|kind| kind.title != "ctlplugin:x") {
        let title = if kind.title == "rpcinterface:x" { "rpcinterface:supervisor" } else { kind.title };
        let live = |row: &OptionRow| LIVE.iter().find(|(section, key, _)| *section == title && *key == row.key);
        let sign = if kind.own().any(|row| live(row).is_some()) { "" } else { ";" };
        out.push_str(&format!("\n; {}\n{sign}[{title}]\n", kind.help));
        for row in kind.own() {
            let value = if row.default.is_empty() { row.example } else { row.default };
            let line =
                live(row).map_or_else(|| format!(";{}={value}", row.key), |(_, key, value)| format!("{key}={value}"));
            let mark = if row.is_rsup_only() { "[rsup] " } else { "" };
            out.push_str(&format!("{line:<40} ; {mark}{} ({})\n", row.help, row.wanted));
        }
    }
    out
}
