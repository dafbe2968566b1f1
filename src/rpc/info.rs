//! The structs that describe processes (supervisor-behaviour.md §7.5, §7.6), written directly as XML, since there may be thousands.
#![forbid(unsafe_code)]

use super::{Answer, Channel, Host};
use crate::config::model::{ChannelConfig, GroupConfig, LogPlace, ProcessConfig, ServerUrl};
use crate::posix::Exit;
use crate::protocol::{SUCCESS, State};
use crate::supervision::{ProcId, Process, ProcessStatus, Supervision};
use crate::sys::clock;
use crate::text;
use crate::time::Wall;
use crate::wire::xmlrpc::{Append, Value, write_text};
use std::fmt::Write as _;

/// One member of a struct.
macro_rules! member {
    ($out:expr, $name:expr, $kind:literal, $write:expr) => {{
        $out.push_str(concat!("<member>\n<name>", $name, "</name>\n<value><", $kind, ">"));
        $write;
        $out.push_str(concat!("</", $kind, "></value>\n</member>\n"));
    }};
}

macro_rules! text {
    ($out:expr, $name:expr, $value:expr) => {
        member!($out, $name, "string", write_text($value, $out))
    };
}

macro_rules! int {
    ($out:expr, $name:expr, $value:expr) => {
        member!($out, $name, "int", write_int($value.into(), $out))
    };
}

macro_rules! truth {
    ($out:expr, $name:expr, $value:expr) => {
        member!($out, $name, "boolean", $out.push_str(if $value { "1" } else { "0" }))
    };
}

const ARRAY: [&str; 2] = ["<value><array><data>\n", "</data></array></value>\n"];
const STRUCT: [&str; 2] = ["<value><struct>\n", "</struct></value>\n"];

fn enclosed(out: &mut Answer, [open, close]: [&str; 2], inside: impl FnOnce(&mut Answer)) {
    out.push_str(open);
    inside(out);
    out.push_str(close);
}

/// Limits a number to the 32 bits of XML-RPC's int, as Supervisor does with times.
fn write_int(number: i64, out: &mut Answer) {
    let capped = number.clamp(i32::MIN.into(), i32::MAX.into());
    let _ = write!(out, "{capped}"); // The answer remembers its errors.
}

/// The answer to a request for several processes.
pub(super) fn write_statuses(statuses: &[ProcessStatus], out: &mut Answer) {
    enclosed(out, ARRAY, |out| {
        for ProcessStatus { name, group, fault } in statuses {
            enclosed(out, STRUCT, |out| {
                text!(out, "name", name);
                text!(out, "group", group);
                int!(out, "status", fault.as_ref().map_or(SUCCESS, |fault| fault.code as i32));
                text!(out, "description", &fault.as_ref().map_or_else(|| "OK".into(), |fault| fault.text()));
            });
        }
    });
}

/// Typical size of one process in getAllProcessInfo, in bytes.
const INFO_BYTES: usize = 1200;

/// getAllProcessInfo.
pub(super) fn write_all_processes(host: &dyn Host, out: &mut Answer) {
    out.reserve(host.supervision().all().count().saturating_mul(INFO_BYTES));
    enclosed(out, ARRAY, |out| {
        for (id, process) in host.supervision().all() {
            write_info(host, id, process, out);
        }
    });
}

/// getProcessInfo.
pub(super) fn write_process(host: &dyn Host, id: ProcId, out: &mut Answer) {
    if let Some(process) = host.supervision().process(id) {
        write_info(host, id, process, out);
    }
}

fn write_info(host: &dyn Host, id: ProcId, process: &Process, out: &mut Answer) {
    let now = host.now().wall.secs;
    let state = process.state();
    let path =
        |channel| host.process_log(id, channel).map_or_else(String::new, |log| log.to_string_lossy().into_owned());
    let (stdout, stderr) = (path(Channel::Stdout), path(Channel::Stderr));
    enclosed(out, STRUCT, |out| {
        text!(out, "name", &process.config.name);
        text!(out, "group", &process.group.name);
        int!(out, "start", process.laststart);
        int!(out, "stop", process.laststop);
        int!(out, "now", now);
        int!(out, "state", state as i32);
        text!(out, "statename", state.name());
        text!(out, "spawnerr", &text::shown(&process.spawnerr));
        int!(out, "exitstatus", exit_status(process));
        text!(out, "logfile", &stdout);
        text!(out, "stdout_logfile", &stdout);
        text!(out, "stderr_logfile", &stderr);
        int!(out, "pid", process.pid().unwrap_or(0));
        text!(out, "description", &description(host.supervision(), id, process, now));
    });
}

/// Supervisor resets it at each start, and does not record it for a process that exited too quickly.
fn exit_status(process: &Process) -> i32 {
    let kept = match process.state() {
        State::Exited => true,
        State::Stopped => process.spawnerr.is_empty(),
        _ => false,
    };
    process.last_exit.filter(|_| kept).map_or(0, Exit::status)
}

/// The description of a process: since when it runs, when it ended, why it failed, or what its start waits for. `now`:
/// seconds since the epoch.
#[must_use]
pub fn description(supervision: &Supervision, id: ProcId, process: &Process, now: i64) -> String {
    let uptime = || uptime_text(now.saturating_sub(process.laststart).max(0).unsigned_abs());
    match process.state() {
        State::Running => {
            let health = process.unhealthy.as_ref().map_or_else(String::new, |why| format!(", unhealthy ({why})"));
            let main = process.main_pid.map_or_else(String::new, |pid| format!(", main pid {pid}"));
            let status = process.status.as_ref().map_or_else(String::new, |status| format!(", {status}"));
            format!("pid {}, uptime {}{health}{main}{status}", process.pid().unwrap_or(0), uptime())
        }
        State::Fatal | State::Backoff if process.spawnerr.is_empty() => {
            format!("unknown error (try \"tail {}\")", process.config.name)
        }
        State::Fatal | State::Backoff => process.spawnerr.to_string(),
        State::Stopped | State::Exited if process.laststart == 0 => "Not started".into(),
        State::Exited => {
            let why = process.obstacle.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            moment(process.laststop) + &why
        }
        State::Stopped => moment(process.laststop),
        State::Starting => match supervision.waiting_for(id) {
            Some(names) => format!("waiting for {names}"),
            None if process.config.lifecycle.oneshot && process.pid().is_some() => format!("running, {}", uptime()),
            None => match (&process.obstacle, &process.status) {
                (Some(why), _) if why.starts_with("not ready") => why.to_string(),
                (Some(why), _) => format!("not ready yet ({why})"),
                (None, status) => status.as_ref().map_or_else(String::new, ToString::to_string),
            },
        },
        State::Stopping | State::Unknown => process.unhealthy.iter().map(|why| format!("unhealthy ({why})")).collect(),
    }
}

/// rsup.getHealth: the processes that are not healthy. `live`: only essential ones that are FATAL or unhealthy.
pub(super) fn health(host: &dyn Host, live: bool) -> Value {
    let supervision = host.supervision();
    let problem = |id, process: &Process| {
        let state = process.state();
        // Also if it is being stopped because of that.
        let lives = matches!(state, State::Running | State::Stopping);
        let is_unhealthy = lives && process.unhealthy.is_some() && !process.stopped_by_request;
        let is_fine = match state {
            _ if live => !process.config.essential || !(state == State::Fatal || is_unhealthy),
            State::Running | State::Stopping => !is_unhealthy,
            State::Stopped | State::Exited if process.stopped_by_request => true,
            State::Stopped => !process.config.autostart,
            State::Exited => process.last_exit.is_none_or(|exit| process.config.exitcodes.contains(exit.status())),
            State::Starting | State::Backoff | State::Fatal | State::Unknown => false,
        };
        let text = || format!("{} {}", state.name(), description(supervision, id, process, host.now().wall.secs));
        (!is_fine).then(|| text().trim_end().to_owned())
    };
    let entry = |(id, process): (ProcId, &Process)| {
        let problem = problem(id, process)?;
        let members = [("name", &process.config.name), ("group", &process.group.name), ("problem", &problem)];
        Some(Value::Struct(members.map(|(name, text)| (name.into(), text.as_str().into())).into()))
    };
    Value::Array(supervision.all().filter_map(entry).collect())
}

/// `0:00:29`, `1 day, 1:01:01`, `2 days, 0:00:05`.
fn uptime_text(secs: u64) -> String {
    let days = match secs / 86_400 {
        0 => String::new(),
        1 => "1 day, ".into(),
        days => format!("{days} days, "),
    };
    format!("{days}{}:{:02}:{:02}", secs / 3600 % 24, secs / 60 % 60, secs % 60)
}

/// `Nov 21 08:04 AM`, in local time.
fn moment(secs: i64) -> String {
    let local = clock::local(Wall { secs, nanos: 0 });
    let hour = match local.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let half = if local.hour < 12 { "AM" } else { "PM" };
    format!("{} {:02} {hour:02}:{:02} {half}", local.month_name(), local.day, local.minute)
}

/// getAllConfigInfo: the processes of the last valid configuration that was read, sorted by name.
pub(super) fn write_all_configs(host: &dyn Host, out: &mut Answer) {
    let groups = &host.supervision().last_read().groups;
    let mut all: Vec<(&GroupConfig, &ProcessConfig)> =
        groups.iter().flat_map(|group| group.processes.iter().map(|process| (&**group, &**process))).collect();
    all.sort_by_key(|(_, process)| &process.name);
    enclosed(out, ARRAY, |out| {
        for (group, process) in all {
            enclosed(out, STRUCT, |out| write_config(host, group, process, out));
        }
    });
}

fn write_config(host: &dyn Host, group: &GroupConfig, process: &ProcessConfig, out: &mut Answer) {
    let id = host.supervision().find(&group.name, &process.name);
    let created = |channel| id.and_then(|id| host.process_log(id, channel));
    let path = |config: &ChannelConfig, channel| match &config.logfile {
        LogPlace::None => "none".to_owned(),
        LogPlace::Auto => created(channel).map_or_else(|| "auto".into(), |log| log.to_string_lossy().into_owned()),
        LogPlace::File(path) => path.to_string_lossy().into_owned(),
    };
    let stderr = if process.redirect_stderr { "none".into() } else { path(&process.stderr, Channel::Stderr) };
    truth!(out, "autostart", process.autostart);
    text!(out, "directory", &process.directory.as_deref().map_or("none".into(), |path| path.to_string_lossy()));
    match &process.user {
        Some(user) => int!(out, "uid", user.uid),
        None => text!(out, "uid", "none"),
    }
    text!(out, "command", &text::shown(&process.command));
    member!(out, "exitcodes", "array", {
        out.push_str("<data>\n");
        for code in process.exitcodes.iter() {
            let _ = writeln!(out, "<value><int>{code}</int></value>");
        }
        out.push_str("</data>");
    });
    text!(out, "group", &group.name);
    int!(out, "group_prio", group.priority);
    truth!(out, "inuse", host.supervision().has_group(&group.name));
    truth!(out, "killasgroup", process.killasgroup);
    text!(out, "name", &process.name);
    int!(out, "process_prio", process.priority);
    truth!(out, "redirect_stderr", process.redirect_stderr);
    int!(out, "startretries", process.startretries);
    int!(out, "startsecs", process.startsecs);
    int!(out, "stdout_capture_maxbytes", process.stdout.capture_maxbytes);
    truth!(out, "stdout_events_enabled", process.stdout.events_enabled);
    text!(out, "stdout_logfile", &path(&process.stdout, Channel::Stdout));
    int!(out, "stdout_logfile_backups", process.stdout.backups);
    int!(out, "stdout_logfile_maxbytes", process.stdout.maxbytes);
    truth!(out, "stdout_syslog", process.stdout.syslog);
    int!(out, "stopsignal", process.stopsignal);
    int!(out, "stopwaitsecs", process.stopwaitsecs);
    int!(out, "stderr_capture_maxbytes", process.stderr.capture_maxbytes);
    truth!(out, "stderr_events_enabled", process.stderr.events_enabled);
    text!(out, "stderr_logfile", &stderr);
    int!(out, "stderr_logfile_backups", process.stderr.backups);
    int!(out, "stderr_logfile_maxbytes", process.stderr.maxbytes);
    truth!(out, "stderr_syslog", process.stderr.syslog);
    let serverurl = match &process.serverurl {
        ServerUrl::Auto => "none",
        ServerUrl::Unset => "",
        ServerUrl::Fixed(url) => url,
    };
    text!(out, "serverurl", &text::shown(serverurl));
}
