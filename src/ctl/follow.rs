//! The commands that run until Ctrl-C: `tail -f`, `maintail -f` and `fg`.
//!
//! Like supervisorctl, `fg` does not change the mode of the terminal. The stdin of the process is a pipe, so only the user's
//! terminal can echo and edit what is typed. A line is sent to the process when it is complete. Ctrl-C and Ctrl-D end `fg`.
use std::io;
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::client::{CommandError, LogStream};
use super::format::{TerminalFilter, state, text};
use super::interrupts::Interrupts;
use super::session::{Session, object};
use crate::fault::FaultCode;
use crate::protocol::State;
use crate::stdout;
use crate::wire::http::percent_encoded;
use crate::wire::xmlrpc::{RpcFault, Value};

/// How often `fg` checks whether its process still runs, in milliseconds.
const CHECK_MS: u16 = 1000;

/// The characters of a path that are not encoded, besides unreserved ones (RFC 3986 §3.3).
const PATH_CHARACTERS: &str = "/!$&'()*+,;=:@";

/// The path of a process's log on the server.
pub fn log_path(name: &str, channel: &str) -> String {
    format!("/logtail/{}/{channel}", percent_encoded(name, PATH_CHARACTERS))
}

/// The text of a fault where Supervisor prints the exception object.
pub fn shown(fault: &RpcFault) -> String {
    format!("ERROR: <Fault {}: '{}'>", fault.code, fault.text)
}

/// Implements `tail -f` and `maintail -f`.
pub fn follow_log(session: &mut Session, path: &str) -> Result<(), CommandError> {
    session.out.line(BANNER);
    if follow(session, &[path.to_owned()], None)? == FollowEnd::Interrupted {
        session.out.line("");
    }
    session.out.done();
    Ok(())
}

/// Implements `fg` of a running process: shows its logs and sends input to it. `info`: the result of getProcessInfo.
pub fn foreground(session: &mut Session, name: &str, info: &Value) -> Result<(), CommandError> {
    session.out.line(BANNER);
    let mut paths = Vec::new();
    for channel in ["stdout", "stderr"] {
        match text(info, &format!("{channel}_logfile")) {
            "" => {}
            // Output to a device or a pipe cannot be read back.
            device if device.starts_with("/dev/") || device.starts_with("/proc/") => {
                stdout::report(&format!("{channel} of {name} goes to {device} and cannot be shown here\n"));
            }
            _ => paths.push(log_path(name, channel)),
        }
    }
    match follow(session, &paths, Some(name))? {
        FollowEnd::Gone => session.out.line("Process got killed"),
        FollowEnd::Refused(fault) => session.out.line(&shown(&fault)),
        FollowEnd::Interrupted | FollowEnd::Over => {}
    }
    session.out.line("Exiting foreground");
    session.out.done();
    Ok(())
}

const BANNER: &str = "==> Press Ctrl-C to exit <==";

/// Why following has ended.
#[derive(PartialEq, Eq)]
enum FollowEnd {
    /// Ctrl-C was pressed.
    Interrupted,
    /// The logs or the input have ended.
    Over,
    /// The process no longer runs.
    Gone,
    /// The process does not accept input.
    Refused(RpcFault),
}

/// A log that is being followed.
struct FollowedStream {
    path: String,
    stream: LogStream,
    /// Whether the request has the server's IP address in its Host field.
    by_ip_address: bool,
    filter: TerminalFilter,
}

/// Shows the logs at `paths` as they grow. If `process` is given, sends lines from stdin to it.
fn follow(session: &mut Session, paths: &[String], process: Option<&str>) -> Result<FollowEnd, CommandError> {
    let (interrupts, hold) = session.hold_interrupts()?;
    let end = follow_until(session, &interrupts, paths, process);
    drop(hold);
    end
}

fn follow_until(
    session: &mut Session,
    interrupts: &Interrupts,
    paths: &[String],
    process: Option<&str>,
) -> Result<FollowEnd, CommandError> {
    let mut logs = Vec::new();
    for path in paths {
        let complain = |why: &dyn std::fmt::Display| stdout::report(&format!("{}{path} {why}\n", session.client.url));
        match session.client.follow(path) {
            Ok(stream) => logs.push(FollowedStream {
                path: path.clone(),
                stream,
                by_ip_address: false,
                filter: TerminalFilter::default(),
            }),
            Err(error) => complain(&format_args!("Cannot connect, error: {error}")),
        }
    }
    let stdin = io::stdin();
    let timeout = process.map_or(PollTimeout::NONE, |_| CHECK_MS.into());
    loop {
        session.out.flush();
        if session.out.is_closed || process.is_none() && logs.is_empty() {
            return Ok(FollowEnd::Over);
        }
        if let Some(process) = process {
            while let Some(line) = session.input.buffered(false) {
                if let Some(end) = send_line(session, process, &line)? {
                    return Ok(end);
                }
            }
        }
        let mut watched: Vec<PollFd<'_>> =
            logs.iter().map(|log| PollFd::new(log.stream.as_fd(), PollFlags::POLLIN)).collect();
        watched.push(PollFd::new(interrupts.as_fd(), PollFlags::POLLIN));
        if process.is_some() {
            watched.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        let woken = poll(&mut watched, timeout);
        let ready: Vec<bool> = watched.iter().map(|fd| woken.is_ok() && fd.any() == Some(true)).collect();
        let (logs_ready, others_ready) = ready.split_at(logs.len());
        let mut is_ready = logs_ready.iter();
        logs.retain_mut(|log| !is_ready.next().is_some_and(|ready| *ready) || show_piece(session, log));
        if interrupts.take() {
            return Ok(FollowEnd::Interrupted);
        }
        let Some(process) = process else { continue };
        if woken == Ok(0) && !is_running(session, process)? {
            return Ok(FollowEnd::Gone);
        }
        if others_ready.get(1) == Some(&true) && !session.input.fill() {
            let last = session.input.buffered(true);
            let end = last.map(|line| send_line(session, process, &line)).transpose()?.flatten();
            return Ok(end.unwrap_or(FollowEnd::Over));
        }
    }
}

/// Shows the next piece of a log; `false`: the log has ended.
fn show_piece(session: &mut Session, log: &mut FollowedStream) -> bool {
    let mut piece = Vec::new();
    let has_more = log.stream.read(&mut piece);
    if log.stream.is_forbidden()
        && !std::mem::replace(&mut log.by_ip_address, true)
        && let Ok(stream) = session.client.follow_by_ip_address(&log.path)
    {
        log.stream = stream;
        return true;
    }
    if session.out.is_json() && !piece.is_empty() {
        let place = Value::from(log.path.as_str());
        session.out.document(&object(&[("log", place), ("text", Value::lossy(&piece))]));
    } else {
        session.out.log(&piece, &mut log.filter);
    }
    has_more.unwrap_or_else(|why| {
        session.out.flush();
        stdout::report(&format!("{}{} {why}\n", session.client.url, log.path));
        false
    })
}

/// Sends a line to a process. Returns why no further line can be sent, if so.
fn send_line(session: &mut Session, process: &str, line: &str) -> Result<Option<FollowEnd>, CommandError> {
    match session.call("sendProcessStdin", &[process.into(), format!("{line}\n").into()]) {
        Ok(_) if is_running(session, process)? => Ok(None),
        Ok(_) => Ok(Some(FollowEnd::Gone)),
        Err(gone) if gone.is(FaultCode::NotRunning) => Ok(Some(FollowEnd::Gone)),
        Err(CommandError::Fault(fault)) => Ok(Some(FollowEnd::Refused(fault))),
        Err(other) => Err(other),
    }
}

fn is_running(session: &mut Session, process: &str) -> Result<bool, CommandError> {
    Ok(state(&session.call("getProcessInfo", &[process.into()])?) == Some(State::Running))
}
