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

/// The longest wait for an answer. There are at most two calls.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const USAGE: &str = "\
Usage: {program} [options] [name... | group:*...]

Exits with 0 if every process that should run is running, with 1 if one is not (prints its name,
state and description), and with 2 if the supervisor does not answer within 5 seconds.
Without names, checks all processes.

Unhealthy: FATAL, BACKOFF, UNKNOWN; EXITED with a code that is not in exitcodes, or by a signal;
           STARTING (not yet up for startsecs); STOPPED before the first start, with autostart on.
Healthy:   RUNNING; STOPPING or STOPPED by request, or STOPPED with autostart off; EXITED with a
           code in exitcodes.

A container becomes healthy only when all its programs are up: allow for this with --start-period or
a startupProbe. A restart shows as unhealthy for startsecs: let a probe fail more than once before
something acts on it (--retries, failureThreshold).

Options: -c FILE, -s URL, -u NAME, -p TEXT, as for rsupctl, which also describes how the server is found.
";

/// Runs `rsup health` and returns its exit code. `program`: the name that it was called by; `args`: the other arguments.
#[must_use]
pub fn main(program: &str, args: &[OsString]) -> u8 {
    let (command_line, mut found) = match super::prepare(program, args, USAGE, Some(ANSWER_TIMEOUT)) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let mut call = |method: &str| found.client.call(method, &[]);
    let Err(error) = check_health(&mut call, &command_line.words) else { return exit::OK };
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

/// Checks that every process runs that should run. The error describes the first one that does not.
fn check_health(
    call: &mut impl FnMut(&str) -> Result<Value, CommandError>,
    names: &[String],
) -> Result<(), CommandError> {
    let fails = |why: &str| Err(CommandError::Exit(why.trim_end().to_owned(), exit::FAILED));
    let infos = call("getAllProcessInfo")?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = infos.as_array().unwrap_or_default();
    let (infos, unknown) = matching(all, &names);
    if let Some(name) = unknown.first() {
        let meant = suggest::for_process(name, all).map_or_else(String::new, |meant| format!("\n{meant}"));
        return fails(&format!("{}{meant}", unknown_name(name)));
    }
    let mut configs = None;
    for info in infos {
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
            return fails(&format!("{} {state} {description}", namespec_of(info)));
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
        match check_health(&mut call, &[]) {
            Err(CommandError::Exit(complaint, 1)) => Some(complaint),
            other => other.map(|()| None).unwrap(),
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
