//! `rsup health`: reports the health of all processes as one exit code, for HEALTHCHECK and probes.
use std::ffi::OsString;
use std::time::Duration;

use super::client::CommandError;
use super::commands::{matching, no_namespace, unknown_name};
use super::format::{namespec_of, number, state, text, truth};
use super::session::exit;
use super::suggest;
use crate::fault::FaultCode;
use crate::protocol::State;
use crate::stdout;
use crate::wire::xmlrpc::Value;

/// The longest wait for an answer without `--timeout`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const USAGE: &str = "\
Usage: {program} [--ready | --live] [--timeout SECONDS] [options] [name... | group:*...]

Exits with 0 if all processes are healthy, with 1 if one is not (prints its name, state and
description), and with 2 if the supervisor does not answer within 5 seconds, or the given time.
With names, checks only these processes.

--ready (the default): every process that should run is RUNNING, or done, and not unhealthy.
    Not healthy: STARTING, BACKOFF, FATAL, UNKNOWN; RUNNING with a failing healthcheck or an expired
                 watchdog; STOPPING because of a failed healthcheck; EXITED with a code that is not
                 in exitcodes, or by a signal; STOPPED with autostart on, but not by request (by
                 healthcheck_action=stop, or before the first start).
    Healthy:     RUNNING; STOPPING for another reason; STOPPED or EXITED after a request to stop;
                 STOPPED with autostart off; EXITED with a code in exitcodes.
--live: the supervisor answers, and no program with essential=true is FATAL or unhealthy.

A container becomes ready only when all its programs are: allow for this with --start-period or a
startupProbe. A restart shows as not ready: let a probe fail more than once before something acts on
it (--retries, failureThreshold). Use --live for a livenessProbe.

Options: -c FILE, -s URL, -u NAME, -p TEXT, as for rsupctl, which also describes how the server is found.
";

/// What the command line asks, apart from the options that `rsupctl` has too.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    live: bool,
    timeout: Duration,
    rest: Vec<OsString>,
}

impl Question {
    fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut question = Self { live: false, timeout: ANSWER_TIMEOUT, rest: Vec::new() };
        let mut modes = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let shown = arg.to_string_lossy();
            match shown.split_once('=').unwrap_or((&shown, "")) {
                ("--ready", "") => modes.push(false),
                ("--live", "") => modes.push(true),
                ("--timeout", given) => {
                    let mut next = || args.next().map(|next| next.to_string_lossy().into_owned());
                    let text = if given.is_empty() { next() } else { Some(given.to_owned()) }.unwrap_or_default();
                    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
                    let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    question.timeout = timeout
                        .ok_or_else(|| format!("--timeout must be a number of seconds greater than 0, not `{text}`"))?;
                }
                _ => question.rest.push(arg.clone()),
            }
        }
        match *modes {
            [] => {}
            [live] => question.live = live,
            _ => return Err("write --ready or --live, once".into()),
        }
        Ok(question)
    }
}

/// Runs `rsup health` and returns its exit code. `program`: the name that it was called by; `args`: the other arguments.
#[must_use]
pub fn main(program: &str, args: &[OsString]) -> u8 {
    let question = match Question::parse(args) {
        Ok(question) => question,
        Err(why) => return stdout::misused(program, &why),
    };
    let (command_line, mut found) = match super::prepare(program, &question.rest, USAGE, Some(question.timeout)) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let live = question.live;
    let mut call = |method: &str| {
        let params = if method.starts_with("rsup.") { vec![Value::Bool(live)] } else { Vec::new() };
        found.client.call(method, &params)
    };
    let Err(error) = check_health(&mut call, live, &command_line.words) else { return exit::OK };
    let url = &found.client.url;
    let (complaint, exit) = match error {
        CommandError::Exit(complaint, exit) => (complaint, exit),
        gone if gone.is(FaultCode::UnknownMethod) => (no_namespace(url), exit::INVALID_ARGUMENTS),
        // The supervisor answers, but it is shutting down.
        CommandError::Fault(fault) => (fault.text, exit::FAILED),
        CommandError::Other(why) => (why, exit::INVALID_ARGUMENTS),
        gone if found.not_found.is_some() => {
            (format!("{url} {gone}\n{}", found.not_found.unwrap_or_default()), exit::INVALID_ARGUMENTS)
        }
        gone => (format!("{url} {gone}"), exit::INVALID_ARGUMENTS),
    };
    stdout::print(program, &format!("{complaint}\n"), exit)
}

/// Checks that every process is healthy. The error describes the first one that is not.
fn check_health(
    call: &mut impl FnMut(&str) -> Result<Value, CommandError>,
    live: bool,
    names: &[String],
) -> Result<(), CommandError> {
    let fails = |why: &str| Err(CommandError::Exit(why.trim_end().to_owned(), exit::FAILED));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if !names.is_empty() {
        let infos = call("getAllProcessInfo")?;
        let all = infos.as_array().unwrap_or_default();
        if let Some(name) = matching(all, &names).1.first() {
            let meant = suggest::for_process(name, all).map_or_else(String::new, |meant| format!("\n{meant}"));
            return fails(&format!("{}{meant}", unknown_name(name)));
        }
    }
    let problems = match call("rsup.getHealth") {
        Err(error) if error.is(FaultCode::UnknownMethod) && !live => return check_supervisor(call, &names),
        problems => problems?,
    };
    match matching(problems.as_array().unwrap_or_default(), &names).0.first() {
        Some(first) => fails(&format!("{} {}", namespec_of(first), text(first, "problem"))),
        None => Ok(()),
    }
}

/// The same check of a Supervisor, which has no health checks.
fn check_supervisor(
    call: &mut impl FnMut(&str) -> Result<Value, CommandError>,
    names: &[&str],
) -> Result<(), CommandError> {
    let infos = call("getAllProcessInfo")?;
    let mut configs = None;
    for info in matching(infos.as_array().unwrap_or_default(), names).0 {
        let is_fine = match (state(info), number(info, "start")) {
            (Some(State::Running | State::Stopping), _) => true,
            (Some(State::Stopped), start) if start != 0 => true,
            (Some(state @ (State::Stopped | State::Exited)), _) => {
                if configs.is_none() {
                    configs = Some(call("getAllConfigInfo")?);
                }
                let all = configs.as_ref().and_then(Value::as_array).unwrap_or_default();
                let same = |config: &&Value| ["group", "name"].iter().all(|key| text(config, key) == text(info, key));
                let config = all.iter().find(same);
                // A process that the configuration no longer has does not have to run.
                let autostarts = config.is_some_and(|config| truth(config, "autostart"));
                if state == State::Stopped { !autostarts } else { is_expected(config, number(info, "exitstatus")) }
            }
            _ => false,
        };
        if !is_fine {
            let (state, description) = (text(info, "statename"), text(info, "description"));
            let why = format!("{} {state} {description}", namespec_of(info));
            return Err(CommandError::Exit(why.trim_end().to_owned(), exit::FAILED));
        }
    }
    Ok(())
}

fn is_expected(config: Option<&Value>, exitstatus: i64) -> bool {
    let codes = config.and_then(|config| config.member("exitcodes")?.as_array());
    codes.map_or(exitstatus == 0, |codes| codes.iter().any(|code| code.as_int() == Some(exitstatus)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(members: &[(&str, Value)]) -> Value {
        Value::Struct(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn complaint(state: i64, start: i64, exitstatus: i64, autostart: bool) -> Option<String> {
        let name = [("group", Value::from("g")), ("name", Value::from("p"))];
        let info = [
            ("state", Value::Int(state)),
            ("statename", Value::from("S")),
            ("description", Value::from("why")),
            ("start", Value::Int(start)),
            ("exitstatus", Value::Int(exitstatus)),
        ];
        let config = [("autostart", Value::Bool(autostart)), ("exitcodes", Value::Array(vec![0.into(), 2.into()]))];
        let mut call = |method: &str| {
            let rest: &[(&str, Value)] = if method == "getAllProcessInfo" { &info } else { &config };
            Ok(Value::Array(vec![structure(&[&name, rest].concat())]))
        };
        match check_supervisor(&mut call, &[]) {
            Err(CommandError::Exit(complaint, 1)) => Some(complaint),
            other => other.map(|()| None).unwrap(),
        }
    }

    #[test]
    fn the_command_line_is_split_into_the_question_and_the_rest() {
        let parse = |line: &str| Question::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let (live, timeout) = (false, ANSWER_TIMEOUT);
        let rest = vec!["-c".into(), "x".into(), "web".into()];
        assert_eq!(parse("-c x web"), Ok(Question { live, timeout, rest: rest.clone() }));
        let timeout = Duration::from_millis(500);
        for line in ["--live --timeout 0.5 -c x web", "-c x --timeout=0.5 web --live"] {
            assert_eq!(parse(line), Ok(Question { live: true, timeout, rest: rest.clone() }));
        }
        for line in ["--live --ready", "--timeout", "--timeout 0", "--timeout=x", "--timeout -1", "--timeout nan"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn states_are_healthy_or_unhealthy() {
        for (state, start, exitstatus, autostart, is_fine) in [
            (0, 0, 0, true, false),
            (0, 0, 0, false, true),
            (0, 9, 0, true, true),
            (10, 9, 0, true, false),
            (20, 9, 0, true, true),
            (30, 9, 0, true, false),
            (40, 9, 0, true, true),
            (100, 9, 0, true, true),
            (100, 9, 2, true, true),
            (100, 9, 1, true, false),
            (100, 9, -1, true, false),
            (200, 9, 0, true, false),
            (1000, 9, 0, true, false),
        ] {
            let wanted = (!is_fine).then(|| "g:p S why".to_owned());
            assert_eq!(
                complaint(state, start, exitstatus, autostart),
                wanted,
                "{state} {start} {exitstatus} {autostart}"
            );
        }
    }
}
