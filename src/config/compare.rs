//! Compares the configuration in use with a newer one, field by field. Source: supervisor-behaviour.md §3.3, "Option changes".
//!
//! Every struct is destructured without `..`, so a new field does not compile until this module compares or ignores it. The
//! table of options lists what must happen before a change takes effect.
#![forbid(unsafe_code)]

use super::model::{
    ChannelConfig, Config, FastCgiConfig, GroupConfig, GroupKind, Lifecycle, ListenerConfig, LogPlace, ProcessConfig,
    ServerConfig,
};
use super::options::{self, ChangeEffect, OptionRow};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The kind of a group: for example, a program has become an event listener.
    Kind,
    /// The processes of a group or their order: `numprocs`, `process_name`, `programs`.
    Members,
    /// An option of `[supervisord]`, of a server or of a group.
    Option(&'static str),
    /// An option of the named process.
    OfProcess(String, String),
    /// A server section, by its name, or the RPC interfaces (`rpcinterface`).
    Section(String),
}

impl Changed {
    /// What must happen before the change takes effect, from the table of options.
    #[must_use]
    pub fn effect(&self) -> ChangeEffect {
        let of_group = || [options::LISTENER, options::FCGI, options::GROUP].into_iter().flatten().map(|row| &**row);
        let row = match self {
            Changed::Kind => return ChangeEffect::Restart,
            Changed::Members => return ChangeEffect::Live,
            Changed::Section(_) => return ChangeEffect::Reload,
            Changed::Option(key) => {
                options::SERVER.iter().map(|row| &**row).chain(of_group()).find(|row: &&OptionRow| row.key == *key)
            }
            Changed::OfProcess(_, key) => options::PROGRAM.iter().map(|row| &**row).find(|row| row.key == key),
        };
        row.map_or(ChangeEffect::Restart, |row| row.effect)
    }
}

/// Whether `update` leaves the group alone: Supervisor's `reloadConfig` does not list it as changed.
#[must_use]
pub fn same_group(in_use: &GroupConfig, new: &GroupConfig) -> bool {
    group(in_use, new).is_empty()
}

/// The differences between a group in use and the group of the same name in a newer configuration.
#[must_use]
pub fn group(in_use: &GroupConfig, new: &GroupConfig) -> Vec<Changed> {
    let mut changes = Vec::new();
    // The caller pairs groups by name.
    let GroupConfig { name: _, priority, kind, processes } = new;
    note(&mut changes, "priority", in_use.priority == *priority);
    match (&in_use.kind, kind) {
        (GroupKind::Programs, GroupKind::Programs) => {}
        (GroupKind::Listeners(in_use), GroupKind::Listeners(new)) => listener(in_use, new, &mut changes),
        (GroupKind::FastCgi(in_use), GroupKind::FastCgi(new)) => fast_cgi(in_use, new, &mut changes),
        (GroupKind::Programs | GroupKind::Listeners(_) | GroupKind::FastCgi(_), _) => changes.push(Changed::Kind),
    }
    if in_use.processes.iter().map(|process| &process.name).ne(processes.iter().map(|process| &process.name)) {
        changes.push(Changed::Members);
    }
    for new in processes {
        for in_use in in_use.processes.iter().filter(|in_use| in_use.name == new.name) {
            process(in_use, new, &mut changes);
        }
    }
    changes
}

fn note(changes: &mut Vec<Changed>, option: &'static str, is_same: bool) {
    if !is_same {
        changes.push(Changed::Option(option));
    }
}

fn listener(in_use: &ListenerConfig, new: &ListenerConfig, changes: &mut Vec<Changed>) {
    let ListenerConfig { events, buffer_size, result_handler } = new;
    let set = |events: &[String]| events.iter().cloned().collect::<BTreeSet<_>>();
    note(changes, "events", in_use.events == *events || set(&in_use.events) == set(events));
    note(changes, "buffer_size", in_use.buffer_size == *buffer_size);
    note(changes, "result_handler", in_use.result_handler == *result_handler);
}

fn fast_cgi(in_use: &FastCgiConfig, new: &FastCgiConfig, changes: &mut Vec<Changed>) {
    // Supervisor compares the address only.
    let FastCgiConfig { socket, backlog: _, owner: _, mode: _ } = new;
    note(changes, "socket", in_use.socket == *socket);
}

/// Notes each of these fields; the name of a field is that of its option, with a unit. Then binds the fields after the semicolon,
/// which are compared in another way. The compiler refuses a list that is not complete.
macro_rules! compare_fields {
    ($type:ident, $in_use:ident, $new:ident, $note:ident: $($field:ident)+; $($other:ident $(: $ignored:tt)?),*) => {
        let $type { $($field,)+ $($other $(: $ignored)?,)* } = $new;
        $(
            let option = stringify!($field).trim_end_matches("_ms").trim_end_matches("_milli");
            $note(option, $in_use.$field == *$field);
        )+
    };
}

fn process(in_use: &ProcessConfig, new: &ProcessConfig, changes: &mut Vec<Changed>) {
    let mut note = |option: &str, is_same: bool| {
        if !is_same {
            changes.push(Changed::OfProcess(new.name.clone(), option.into()));
        }
    };
    compare_fields!(ProcessConfig, in_use, new, note:
        command umask priority autostart autorestart startsecs startretries exitcodes stopsignal stopwaitsecs
        stopasgroup killasgroup redirect_stderr serverurl essential sweep;
        name: _, program: _, directory, user, stdout, stderr, environment: _, server_environment: _, lifecycle
    );
    note("directory", same_text(in_use.directory.as_ref(), directory.as_ref()));
    // The number, since the file may name the same user by name or by number.
    let uid = |user: &Option<std::rc::Rc<super::model::User>>| user.as_ref().map(|user| user.uid);
    note("user", uid(&in_use.user) == uid(user));
    note("environment", same_variables(in_use, new));
    self::lifecycle(&in_use.lifecycle, lifecycle, &mut note);
    for (prefix, in_use, new) in [("stdout", &in_use.stdout, stdout), ("stderr", &in_use.stderr, stderr)] {
        channel(in_use, new, &mut |option, is_same| note(&format!("{prefix}_{option}"), is_same));
    }
}

fn lifecycle(in_use: &Lifecycle, new: &Lifecycle, note: &mut dyn FnMut(&str, bool)) {
    compare_fields!(Lifecycle, in_use, new, note:
        depends_on after restart_with oneshot ready ready_timeout_ms stop_sequence stop_command pre_start pre_stop post_stop
        reload_signal reload_command hook_timeout_ms sweep_wait_ms healthcheck healthcheck_interval_ms
        healthcheck_timeout_ms healthcheck_retries healthcheck_start_period_ms healthcheck_action watchdog_ms
        backoff_delay_ms backoff_factor_milli backoff_limit_ms backoff_jitter_milli restart_delay_ms restart_limit;
    );
}

/// Compares the options of stdout or stderr, whose names are passed without `stdout_` or `stderr_`.
fn channel(in_use: &ChannelConfig, new: &ChannelConfig, note: &mut dyn FnMut(&str, bool)) {
    compare_fields!(ChannelConfig, in_use, new, note:
        capture_maxbytes events_enabled syslog format; logfile, maxbytes, backups
    );
    note("logfile", same_log(&in_use.logfile, logfile));
    note("logfile_maxbytes", in_use.maxbytes == *maxbytes);
    note("logfile_backups", in_use.backups == *backups);
}

/// As under Supervisor, AUTO in the new configuration never counts as a change.
fn same_log(in_use: &LogPlace, new: &LogPlace) -> bool {
    match (in_use, new) {
        (_, LogPlace::Auto) | (LogPlace::None, LogPlace::None) => true,
        (LogPlace::File(in_use), LogPlace::File(new)) => same_text(Some(in_use), Some(new)),
        (LogPlace::None | LogPlace::Auto | LogPlace::File(_), LogPlace::None | LogPlace::File(_)) => false,
    }
}

/// Compares paths as text: `PathBuf` would treat `/tmp` and `/tmp/` as equal.
fn same_text(in_use: Option<&PathBuf>, new: Option<&PathBuf>) -> bool {
    in_use.map(|path| path.as_os_str()) == new.map(|path| path.as_os_str())
}

/// Compares the variables that the file sets for a process, in `[supervisord]` and in its own section. Neither their order nor
/// the section matters.
fn same_variables(in_use: &ProcessConfig, new: &ProcessConfig) -> bool {
    let map = |process: &ProcessConfig| process.variables().cloned().collect::<BTreeMap<_, _>>();
    in_use.variables().eq(new.variables()) || map(in_use) == map(new)
}

/// The differences outside the groups: `[supervisord]`, the servers, the RPC interfaces.
#[must_use]
pub fn supervisor(in_use: &Config, new: &Config) -> Vec<Changed> {
    let Config { server: new_server, has_server_section: _, groups: _, http, rpc_interfaces, twiddler } = new;
    let mut changes = server(&in_use.server, new_server);
    for server in in_use.http.iter().filter(|server| !http.contains(server)) {
        changes.push(Changed::Section(server.section.clone()));
    }
    for server in http.iter().filter(|new| in_use.http.iter().all(|in_use| in_use.section != new.section)) {
        changes.push(Changed::Section(server.section.clone()));
    }
    if in_use.rpc_interfaces != *rpc_interfaces || in_use.twiddler != *twiddler {
        changes.push(Changed::Section("rpcinterface".into()));
    }
    changes
}

fn server(in_use: &ServerConfig, new: &ServerConfig) -> Vec<Changed> {
    let mut changes = Vec::new();
    let mut note = |option, is_same| note(&mut changes, option, is_same);
    compare_fields!(ServerConfig, in_use, new, note:
        logfile logfile_maxbytes logfile_backups loglevel pidfile umask nodaemon silent minfds minprocs nocleanup childlogdir
        directory strip_ansi identifier exit_code_from stop_budget_ms restart_limit;
        user, environment, exit_when_all_done
    );
    note("user", in_use.user.as_ref().map(|user| user.uid) == user.as_ref().map(|user| user.uid));
    let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    note("environment", map(&in_use.environment) == map(environment));
    note("exit_when", in_use.exit_when_all_done == *exit_when_all_done);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{self, SECTION_KINDS, SectionKind};
    use crate::config::tests::fake::FakeMachine;
    use crate::config::{Severity, load};
    use std::path::Path;

    fn read(text: &str) -> Config {
        let fake = FakeMachine::new(&[("/work/x.conf", text), ("/dev/stdout", "")]);
        let loaded = load(Path::new("x.conf"), &fake);
        let errors: Vec<_> = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
        loaded.config
    }

    /// The differences between the first groups of two files.
    fn changes(in_use: &str, new: &str) -> Vec<Changed> {
        group(&read(in_use).groups[0], &read(new).groups[0])
    }

    fn of_x(options: &[&str]) -> Vec<Changed> {
        options.iter().map(|option| Changed::OfProcess("x".into(), (*option).into())).collect()
    }

    /// The name of a section of this kind, and the options that it requires.
    fn section(kind: &SectionKind) -> (&'static str, &'static str) {
        match kind.title {
            "program:x" => ("program:x", "command=a"),
            "eventlistener:x" => ("eventlistener:x", "command=a\nevents=TICK_5"),
            "fcgi-program:x" => ("fcgi-program:x", "command=a\nsocket=unix:///tmp/a"),
            "group:x" => ("group:x", "programs=p"),
            other => (other, ""),
        }
    }

    #[test]
    fn every_option_of_a_group_and_its_processes_is_compared() {
        let kinds = SECTION_KINDS.iter().filter(|kind| kind.title.ends_with(":x"));
        for kind in kinds.filter(|kind| !["rpcinterface:x", "ctlplugin:x"].contains(&kind.title)) {
            let (title, needed) = section(kind);
            let programs = "[program:p]\ncommand=b\n[program:db]\ncommand=b\n[program:web]\ncommand=b\n[program:worker]\ncommand=b\n";
            let file = |more: &str| format!("{programs}[{title}]\n{needed}\n{more}");
            let find = |config: &Config| config.groups.iter().find(|group| group.name == "x").unwrap().clone();
            for row in (kind.rows)() {
                let (before, after) = match row.key {
                    // Options of the start graph, which a listener cannot have.
                    "depends_on" | "after" | "restart_with" | "oneshot" | "ready" | "watchdog"
                        if kind.title == "eventlistener:x" =>
                    {
                        continue;
                    }
                    // Options that are valid only together with others.
                    "redirect_stderr" if kind.title == "eventlistener:x" => continue,
                    "numprocs" => ("process_name=%(process_num)d", "process_name=%(process_num)d\nnumprocs=2"),
                    "process_name" => ("", "process_name=y"),
                    "numprocs_start" => {
                        ("process_name=%(process_num)d", "process_name=%(process_num)d\nnumprocs_start=1")
                    }
                    "redirect_stderr" => ("stderr_logfile=NONE", "stderr_logfile=NONE\nredirect_stderr=true"),
                    "stopasgroup" => ("killasgroup=true", "killasgroup=true\nstopasgroup=true"),
                    "result_handler" => ("", "result_handler=a:b"),
                    "watchdog" => ("ready=notify", "ready=notify\nwatchdog=1"),
                    key => ("", &*format!("{key}={}", row.example)),
                };
                let found = group(&find(&read(&file(before))), &find(&read(&file(after))));
                let seen = |change: &Changed| match change {
                    Changed::Option(key) => *key == row.key,
                    Changed::OfProcess(_, key) => key == row.key,
                    Changed::Members => matches!(row.key, "numprocs" | "numprocs_start" | "process_name" | "programs"),
                    Changed::Kind | Changed::Section(_) => false,
                };
                // Supervisor compares a FastCGI socket by its address.
                let unseen = ["socket_backlog", "socket_owner", "socket_mode"].contains(&row.key);
                assert_eq!(found.iter().any(seen), !unseen, "[{title}] {}: {found:?}", row.key);
                assert!(found.iter().all(seen), "[{title}] {}: {found:?}", row.key);
            }
        }
    }

    #[test]
    fn every_option_of_the_supervisor_is_compared() {
        for row in options::SERVER {
            let after = read(&format!("[supervisord]\n{}={}\n[program:p]\ncommand=a\n", row.key, row.example));
            let before = read("[supervisord]\n[program:p]\ncommand=a\n");
            assert_eq!(supervisor(&before, &after), [Changed::Option(row.key)], "{}", row.key);
            assert_eq!(supervisor(&after, &after), [], "{}", row.key);
        }
        let file = |http: &str| read(&format!("[supervisord]\n[inet_http_server]\n{http}"));
        let changed = vec![Changed::Section("inet_http_server".into())];
        assert_eq!(supervisor(&file("port=1"), &file("port=2")), changed);
        assert_eq!(supervisor(&file("port=1"), &read("[supervisord]")), changed);
        assert_eq!(supervisor(&read("[supervisord]"), &file("port=1")), changed);
        let rpc = read(&format!(
            "[supervisord]\n[rpcinterface:s]\nsupervisor.rpcinterface_factory={}",
            options::MAIN_RPC_FACTORY
        ));
        assert_eq!(supervisor(&read("[supervisord]"), &rpc), [Changed::Section("rpcinterface".into())]);
    }

    #[test]
    fn a_new_order_without_effect_is_not_a_change() {
        let program = |more: &str| format!("[program:x]\ncommand=a\n{more}");
        let pairs = [
            (program("environment=A=\"1\",B=\"2\""), program("environment=B=\"2\",A=\"1\"")),
            (program("exitcodes=0,2"), program("exitcodes=2,0,2")),
            (program("user=root"), program("user=0")),
            (program("stopsignal=TERM"), program("stopsignal=15")),
            (program("[supervisord]\nenvironment=A=1,B=2"), program("[supervisord]\nenvironment=B=2,A=1")),
            // The variable moves to the other section.
            (program("[supervisord]\nenvironment=A=1"), program("environment=A=1\n[supervisord]\n")),
            (
                "[eventlistener:x]\ncommand=a\nevents=TICK_60,TICK_3600\nenvironment=A=1,B=2".into(),
                "[eventlistener:x]\ncommand=a\nevents=TICK_3600,TICK_60\nenvironment=B=2,A=1".into(),
            ),
            (
                "[fcgi-program:x]\ncommand=a\nsocket=tcp://Host:1\nenvironment=A=1,B=2".into(),
                "[fcgi-program:x]\ncommand=a\nsocket=tcp://host:1\nenvironment=B=2,A=1".into(),
            ),
            (
                "[group:x]\nprograms=p\n[program:p]\ncommand=a\nenvironment=A=1,B=2".into(),
                "[group:x]\nprograms=p\n[program:p]\ncommand=a\nenvironment=B=2,A=1".into(),
            ),
        ];
        for (in_use, new) in pairs {
            assert_eq!(changes(&in_use, &new), [], "{new}");
        }
    }

    #[test]
    fn the_supervisors_environment_is_part_of_each_process() {
        let file = |server: &str, own: &str| {
            format!("[supervisord]\nenvironment={server}\n[program:x]\ncommand=a\nenvironment={own}")
        };
        for (before, after) in [("G=one", "G=two"), ("", "G=one"), ("G=one", ""), ("G=one", "G=one,H=1")] {
            assert_eq!(changes(&file(before, ""), &file(after, "")), of_x(&["environment"]), "{before} {after}");
        }
        assert_eq!(changes(&file("G=one", "G=own"), &file("G=two", "G=own")), []);
        for section in ["eventlistener:x]\nevents=TICK_5", "fcgi-program:x]\nsocket=tcp://h:1", "group:x]\nprograms=p"]
        {
            let file =
                |value| format!("[supervisord]\nenvironment=G={value}\n[program:p]\ncommand=b\n[{section}\ncommand=a");
            let find = |config: Config| config.groups.into_iter().find(|group| group.name == "x").unwrap();
            let [before, after] = ["one", "two"].map(|value| find(read(&file(value))));
            assert!(!same_group(&before, &after), "{section}");
        }
    }

    #[test]
    fn auto_logs_and_server_urls_are_compared_as_by_supervisor() {
        let program = |more: &str| format!("[program:x]\ncommand=a\n{more}");
        for (in_use, new, option) in [
            ("", "stdout_logfile=/tmp/a", "stdout_logfile"),
            ("", "stdout_logfile=NONE", "stdout_logfile"),
            ("stderr_logfile=AUTO", "stderr_logfile=/tmp/a", "stderr_logfile"),
            ("stderr_logfile=NONE", "stderr_logfile=/tmp/a", "stderr_logfile"),
            ("stdout_logfile=/tmp/a", "stdout_logfile=NONE", "stdout_logfile"),
            ("stdout_logfile=/tmp/a", "stdout_logfile=/tmp/b", "stdout_logfile"),
            ("", "serverurl=http://127.0.0.1:8", "serverurl"),
            ("serverurl=http://127.0.0.1:8", "", "serverurl"),
            ("serverurl=http://127.0.0.1:8", "serverurl=auto", "serverurl"),
            ("serverurl=", "", "serverurl"),
            ("directory=/tmp", "directory=/tmp/", "directory"),
        ] {
            assert_eq!(changes(&program(in_use), &program(new)), of_x(&[option]), "{in_use} {new}");
        }
        for (in_use, new) in [
            ("stdout_logfile=/tmp/a", "stdout_logfile=AUTO"),
            ("stderr_logfile=NONE", ""),
            ("serverurl=AUTO", ""),
            ("", "serverurl= auto "),
        ] {
            assert_eq!(changes(&program(in_use), &program(new)), [], "{in_use} {new}");
        }
    }

    #[test]
    fn each_change_has_the_effect_of_its_option_row() {
        let effect = |option: &str| Changed::OfProcess("x".into(), option.into()).effect();
        for option in ["priority", "startsecs", "stopsignal", "exitcodes", "stdout_logfile_maxbytes", "stderr_format"] {
            assert_eq!(effect(option), ChangeEffect::Live, "{option}");
        }
        for option in ["command", "user", "environment", "directory", "umask", "stdout_logfile", "redirect_stderr"] {
            assert_eq!(effect(option), ChangeEffect::Restart, "{option}");
        }
        for option in ["exit_code_from", "stop_budget", "loglevel", "logfile_maxbytes", "events", "buffer_size"] {
            assert_eq!(Changed::Option(option).effect(), ChangeEffect::Live, "{option}");
        }
        assert_eq!(Changed::Option("socket").effect(), ChangeEffect::Restart);
        assert_eq!(Changed::Option("pidfile").effect(), ChangeEffect::Reload);
        for option in ["minfds", "minprocs", "nodaemon"] {
            assert_eq!(Changed::Option(option).effect(), ChangeEffect::Start, "{option}");
        }
    }

    #[test]
    fn a_new_kind_or_new_members_are_a_change() {
        let program = "[program:x]\ncommand=a\n";
        let fcgi = "[fcgi-program:x]\ncommand=a\nsocket=tcp://h:1";
        let listener = "[eventlistener:x]\ncommand=a\nevents=TICK_5\npriority=999";
        for (in_use, new) in [(program, fcgi), (fcgi, program), (fcgi, listener), (listener, program)] {
            assert_eq!(changes(in_use, new), [Changed::Kind], "{new}");
        }
        let group =
            |programs: &str| format!("[group:x]\nprograms={programs}\n[program:p]\ncommand=a\n[program:q]\ncommand=a");
        assert_eq!(changes(&group("p,q"), &group("q,p")), [Changed::Members]);
    }
}
