//! `rsup check`: prints the problems of a configuration, or its effective form. `rsup sample-config`: prints an example.

mod sample;
pub mod secrets;

use crate::config::model::{
    AutoRestart, ChannelConfig, Config, ExitCodeFrom, ExitCodes, FastCgiConfig, GroupConfig, GroupKind, HealthAction,
    HttpServerConfig, Lifecycle, ListenerConfig, LogFormat, LogLevel, LogPlace, MainLog, Owner, Probe, ProcessConfig,
    Readiness, RestartLimit, ServerConfig, ServerUrl, Shared, SocketAddress, StopSignal, User,
};
use crate::config::{self, Loaded, Problem, Severity};
use crate::getopt::{self, Flag, flag};
use crate::json::json;
use crate::machine::{self, Real};
use crate::stdout;
use crate::text;
use crate::wire::xmlrpc::Value;
use secrets::Secrets;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

const FLAGS: &[Flag] = &[
    flag('h', "help", false),
    flag('c', "configuration", true),
    flag(' ', "dump", false),
    flag(' ', "json", false),
    flag(' ', "secrets", false),
];

const USAGE: &str = "\
Usage: {program} [-c FILE] [--dump] [--json] [--secrets]

  -c, --configuration FILE   configuration file; without it, rsup searches the default paths
      --dump                 print the effective configuration as a file that can be loaded
      --json                 print the problems as JSON; with --dump, print the configuration as JSON
      --secrets              with --dump, do not hide passwords and variables such as DB_PASSWORD or API_TOKEN
  -h, --help                 print this and exit

Exit status: 0 no problems, 1 warnings only, 2 errors.
";

const SAMPLE_USAGE: &str = "\
Usage: rsup sample-config [--all]

Prints a configuration that runs in any image. With --all, lists every option, with its default or an example.
";

/// Runs `rsup sample-config` with these arguments; returns the exit code.
#[must_use]
pub fn sample(words: &[OsString]) -> u8 {
    let text = match words {
        [] => sample::small_sample(&std::env::current_exe().unwrap_or_else(|_| "rsup".into())),
        [word] if word == "--all" => sample::sample(),
        [word] if word == "-h" || word == "--help" => SAMPLE_USAGE.into(),
        [word, ..] => return stdout::misused("rsup sample-config", &format!("unknown argument {}", word.display())),
    };
    stdout::print("rsup sample-config", &text, 0)
}

/// Runs `echo_supervisord_conf`, which prints every option and ignores its arguments; returns the exit code.
#[must_use]
pub fn echo_supervisord_conf() -> u8 {
    stdout::print("echo_supervisord_conf", &sample::sample(), 0)
}

/// Runs `rsup check` with these arguments; returns the exit code. `program` is the name for messages.
#[must_use]
pub fn main(program: &str, args: &[OsString]) -> u8 {
    run(program, args).unwrap_or_else(|why| stdout::misused(program, &why))
}

fn run(program: &str, args: &[OsString]) -> Result<u8, String> {
    let (given, words) = getopt::parse(args, FLAGS)?;
    if given.iter().any(|option| option.name == "help") {
        return Ok(stdout::print(program, &USAGE.replace("{program}", program), 0));
    }
    let is_given = |name: &str| given.iter().any(|option| option.name == name);
    let (dump, as_json) = (is_given("dump"), is_given("json"));
    let named = given.iter().rfind(|option| option.name == "configuration").map(|option| &option.argument);
    let file = match (named.or(words.first()), words.get(1)) {
        (_, Some(word)) => return Err(format!("more than one file: {}", word.display())),
        (Some(file), None) => PathBuf::from(file),
        (None, None) => machine::search(program).map_err(|nowhere| nowhere.to_string())?,
    };
    let loaded = config::load(&file, &Real);
    let worst = loaded.problems.iter().map(|problem| problem.severity).max();
    let mut text = report(&loaded, dump, as_json);
    if dump && worst != Some(Severity::Error) {
        let secrets = (!is_given("secrets")).then(|| Secrets::of(&loaded.config, &Real));
        match (as_json, &secrets) {
            (true, None) => text += &(json(&loaded.config.shown()) + "\n"),
            (true, Some(secrets)) => text += &(json(&hidden(loaded.config.shown(), secrets)) + "\n"),
            (false, secrets) => {
                let shown = |key: &str, text: &str| match secrets {
                    Some(secrets) => secrets.shown(key, text),
                    None => text.to_owned(),
                };
                text += &config::dump(&file, &Real, &shown).unwrap_or_default();
            }
        }
    }
    let code = match worst {
        Some(Severity::Error) => 2,
        Some(Severity::Warning) => 1,
        _ => 0,
    };
    Ok(stdout::print(program, &text, code))
}

/// The value with all secrets hidden.
fn hidden(value: Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => Value::String(secrets.hide(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| hidden(item, secrets)).collect()),
        Value::Struct(fields) => {
            Value::Struct(fields.into_iter().map(|(name, field)| (name, hidden(field, secrets))).collect())
        }
        other => other,
    }
}

/// Returns the problems as text for stdout. With a dump, which goes to stdout, writes them to stderr instead.
fn report(loaded: &Loaded, dump: bool, as_json: bool) -> String {
    let problems = loaded.problems.iter();
    if as_json && !dump {
        return json(&Value::Array(problems.map(Show::shown).collect())) + "\n";
    }
    let lines: String = problems.map(|problem| format!("{problem:#}\n")).collect();
    if dump {
        let _ = stdout::write_all(std::io::stderr(), lines.as_bytes());
        return String::new();
    }
    lines
}

/// A part of the configuration that can be shown as JSON.
trait Show {
    fn shown(&self) -> Value;
}

/// Shows a struct as an object with the same field names. It does not compile if a field is neither listed nor left out by
/// `without`.
macro_rules! object {
    ($($type:ident: $($field:ident),+ $(without $hidden:ident)?;)+) => {$(
        impl Show for $type {
            fn shown(&self) -> Value {
                let $type { $($field,)+ $($hidden: _)? } = self;
                Value::Struct(vec![$((stringify!($field).into(), $field.shown())),+])
            }
        }
    )+};
}

/// Shows a type by an expression.
macro_rules! via {
    ($($type:ty: |$value:ident| $shown:expr;)+) => {$(
        impl Show for $type {
            fn shown(&self) -> Value {
                let $value = self;
                $shown
            }
        }
    )+};
}

object! {
    Config: server, groups, http, rpc_interfaces, twiddler without has_server_section;
    ServerConfig: logfile, logfile_maxbytes, logfile_backups, loglevel, pidfile, umask, nodaemon, silent, minfds, minprocs,
        nocleanup, childlogdir, user, directory, strip_ansi, environment, identifier, exit_code_from, exit_when_all_done,
        stop_budget_ms, restart_limit;
    RestartLimit: restarts, within_ms;
    StopSignal: signal, wait_ms;
    GroupConfig: name, priority, kind, processes;
    ProcessConfig: name, program, command, directory, umask, priority, autostart, autorestart, startsecs, startretries,
        exitcodes, stopsignal, stopwaitsecs, stopasgroup, killasgroup, user, redirect_stderr, stdout, stderr, environment, serverurl,
        essential, sweep, lifecycle without server_environment;
    Lifecycle: depends_on, after, restart_with, oneshot, ready, ready_timeout_ms, stop_sequence, stop_command, pre_start, pre_stop,
        post_stop, reload_signal, reload_command, hook_timeout_ms, sweep_wait_ms, healthcheck, healthcheck_interval_ms,
        healthcheck_timeout_ms, healthcheck_retries, healthcheck_start_period_ms, healthcheck_action, watchdog_ms, backoff_delay_ms, backoff_factor_milli, backoff_limit_ms, backoff_jitter_milli, restart_delay_ms, restart_limit;
    ChannelConfig: logfile, maxbytes, backups, capture_maxbytes, events_enabled, syslog, format;
    HttpServerConfig: section, address, chmod, chown, credentials, allowed_hosts, allowed_origins;
    ListenerConfig: events, buffer_size, result_handler;
    FastCgiConfig: socket, backlog, owner, mode;
    User: name, uid;
    Owner: uid, gid;
    Problem: severity, file, line, section, key, message;
}

via! {
    bool: |truth| Value::Bool(*truth);
    i64: |number| Value::Int(*number);
    i32: |number| Value::Int((*number).into());
    u32: |number| Value::Int((*number).into());
    u64: |number| Value::Int(i64::try_from(*number).unwrap_or(i64::MAX));
    String: |text| Value::String(text::shown(text).into_owned());
    PathBuf: |path| Value::String(path.to_string_lossy().into_owned());
    (String, String): |pair| Value::Array(vec![pair.0.shown(), pair.1.shown()]);
    ExitCodes: |codes| Value::Array(codes.iter().map(|code| Value::Int(code.into())).collect());
    Severity: |severity| word(&severity.to_string());
    LogLevel: |level| word(&format!("{level:?}").to_lowercase());
    Rc<str>: |text| Value::String((**text).into());
    Readiness: |ready| word(&ready.to_string());
    Probe: |probe| word(&probe.to_string());
    HealthAction: |action| word(&format!("{action:?}").to_lowercase());
    LogFormat: |format| word(&format!("{format:?}").to_lowercase());
    AutoRestart: |policy| word(match policy {
        AutoRestart::Never => "false",
        AutoRestart::Unexpected => "unexpected",
        AutoRestart::Always => "true",
    });
    MainLog: |log| match log {
        MainLog::File(path) => path.shown(),
        MainLog::Syslog => word("syslog"),
    };
    LogPlace: |log| match log {
        LogPlace::None => Value::Nil,
        LogPlace::Auto => word("AUTO"),
        LogPlace::File(path) => path.shown(),
    };
    ServerUrl: |url| match url {
        ServerUrl::Auto => word("AUTO"),
        ServerUrl::Unset => word(""),
        ServerUrl::Fixed(url) => url.shown(),
    };
    ExitCodeFrom: |from| match from {
        ExitCodeFrom::Zero => Value::Nil,
        ExitCodeFrom::FirstFailure => word("first_failure"),
        ExitCodeFrom::Essential => word("essential"),
        ExitCodeFrom::Program(name) => name.shown(),
    };
    SocketAddress: |address| match address {
        SocketAddress::Unix(path) => Value::String(format!("unix://{}", path.display())),
        SocketAddress::Tcp(host, port) => Value::String(format!("tcp://{host}:{port}")),
    };
    GroupKind: |kind| match kind {
        GroupKind::Programs => Value::Struct(vec![("type".into(), word("programs"))]),
        GroupKind::Listeners(pool) => with_type("eventlistener", pool.shown()),
        GroupKind::FastCgi(socket) => with_type("fcgi-program", socket.shown()),
    };
}

/// An object with the kind of a group as its first member, `type`.
fn with_type(name: &str, members: Value) -> Value {
    let Value::Struct(members) = members else { return members };
    Value::Struct(std::iter::once(("type".into(), word(name))).chain(members).collect())
}

fn word(text: &str) -> Value {
    Value::String(text.into())
}

impl<T: Show> Show for Option<T> {
    fn shown(&self) -> Value {
        self.as_ref().map_or(Value::Nil, Show::shown)
    }
}

impl<T: Show> Show for Vec<T> {
    fn shown(&self) -> Value {
        Value::Array(self.iter().map(Show::shown).collect())
    }
}

impl<T: Show> Show for Shared<T> {
    fn shown(&self) -> Value {
        (**self).shown()
    }
}

impl<T: Show> Show for Rc<T> {
    fn shown(&self) -> Value {
        (**self).shown()
    }
}
