//! The client: `rsupctl`, with the command line of supervisorctl (supervisor-behaviour.md §1.2), and `rsup health`.

mod client;
mod commands;
mod find;
mod follow;
mod format;
pub mod health;
mod interrupts;
#[cfg_attr(not(feature = "shell"), path = "no_line_editor.rs")]
mod line_editor;
mod session;
mod shell;
mod suggest;
mod transport;

use crate::getopt::{self, Flag, flag};
use crate::stdout;
use crate::text;
use find::{FoundServer, ServerOptions};
use session::{Session, exit};
use std::ffi::OsString;
use std::time::Duration;

const FLAGS: &[Flag] = &[
    flag('h', "help", false),
    flag('?', "", false),
    flag('c', "configuration", true),
    flag('i', "interactive", false),
    flag('s', "serverurl", true),
    flag('u', "username", true),
    flag('p', "password", true),
    flag('r', "history_file", true),
    flag(' ', "json", false),
];

const USAGE: &str = "\
Usage: {program} [options] [action [arguments]]

Without an action, starts an interactive shell that reads actions line by line.

Options:
  -c, --configuration FILE   configuration file; without it, the usual places are searched
  -s, --serverurl URL        address of the server: unix:///path or http://host:port
  -u, --username NAME        user name for the server
  -p, --password TEXT        password for the server
  -i, --interactive          ask before shutdown and reload, and for a password if the server needs one
  -r, --history_file FILE    file for the history of the interactive shell
      --json                 print JSON; may also follow the action
  -h, --help                 print this and exit

Without -s, the configuration defines the server. If it does not, rsupctl uses the configuration that
PID 1 was started with, or else connects to /run/rsup.sock, /tmp/rsup.sock or /dev/shm/rsup.sock.

Actions:
";

/// Runs `rsupctl` and returns its exit code. `program`: the name that it was called by; `args`: the other arguments.
#[must_use]
pub fn main(program: &str, args: &[OsString]) -> u8 {
    let (command_line, found) = match prepare(program, args, &format!("{USAGE}{}", commands::usage()), None) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let interactive = command_line.interactive || command_line.words.is_empty();
    let session = Session::new(program, found.client, interactive, command_line.json);
    if command_line.words.is_empty() {
        return shell::run(session, &format!("{}> ", found.prompt), found.history_file.as_deref());
    }
    let code = session.run(&command_line.words.join(" "));
    if let Some(message) = found.not_found.filter(|_| code != exit::OK) {
        stdout::report(&format!("{message}\n"));
    }
    code
}

/// Handles `rsup WORD` with an unknown verb: suggests what may be meant, and returns the exit code of an invalid command line.
/// `verbs`: the names of all verbs.
#[must_use]
pub fn unknown_verb(program: &str, word: &str, verbs: &[&str]) -> u8 {
    let hint = if commands::find_command(word).is_some() {
        format!("; did you mean {program} ctl {word}?")
    } else if word.ends_with(".conf") {
        format!("; to run the programs of a configuration, write {program} -c {word}")
    } else if let Some(similar) = suggest::did_you_mean(&suggest::nearest(word, verbs.iter().copied())) {
        format!("; {similar}")
    } else {
        format!("; to run one program, write {program} -- {word}")
    };
    stdout::misused(program, &format!("unknown command '{word}'{hint}"))
}

/// Parses the command line and finds the server. `timeout`: the longest wait for each part of an answer. If there is nothing
/// left to do (after an error, or after printing the help), returns the exit code as the error.
fn prepare(
    program: &str,
    args: &[OsString],
    usage: &str,
    timeout: Option<Duration>,
) -> Result<(ClientCommandLine, FoundServer), u8> {
    let misused = |why: String| stdout::misused(program, &why);
    let parsed = ClientCommandLine::parse(args).map_err(misused)?;
    if parsed.help {
        return Err(stdout::print(program, &usage.replace("{program}", program), exit::OK));
    }
    let found = parsed.server.find(program, timeout).map_err(misused)?;
    Ok((parsed, found))
}

/// The command line of `rsupctl` or `rsup health`.
#[derive(Debug, PartialEq, Eq, Default)]
struct ClientCommandLine {
    server: ServerOptions,
    interactive: bool,
    json: bool,
    help: bool,
    words: Vec<String>,
}

impl ClientCommandLine {
    fn parse(args: &[OsString]) -> Result<Self, String> {
        let (options, words) = getopt::parse(args, FLAGS)?;
        let words = words.iter().map(text::of_os).collect();
        let mut parsed = Self { words, ..Self::default() };
        let mut given = Vec::new();
        for option in options {
            if matches!(option.name, "help" | "") {
                parsed.help = true;
                break;
            }
            if given.contains(&option.name) {
                return Err(format!("conflicting command line option '{}'", option.spelled));
            }
            let argument = option.text();
            match option.name {
                "configuration" => parsed.server.configuration = Some(option.argument.into()),
                "serverurl" if is_url(&argument) => parsed.server.serverurl = Some(argument),
                "serverurl" => {
                    let spelled = option.spelled;
                    return Err(format!("invalid value for {spelled} '{argument}': value '{argument}' is not a URL"));
                }
                "username" => parsed.server.username = Some(argument),
                "password" => parsed.server.password = Some(argument),
                "interactive" => parsed.interactive = true,
                "history_file" => parsed.server.history_file = Some(option.argument.into()),
                "json" => parsed.json = true,
                _ => {}
            }
            given.push(option.name);
        }
        Ok(parsed)
    }
}

/// Whether the text is a scheme followed by something, as Supervisor checks it. The first call checks the scheme itself.
fn is_url(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let is_scheme = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        is_scheme && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !matches!(rest, "" | "//")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<ClientCommandLine, String> {
        ClientCommandLine::parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line_is_supervisorctls() {
        let found = parsed("-c f -r h -s unix:///x -u me --pass=secret -i --json status -f all").unwrap();
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(
            found.server,
            ServerOptions {
                configuration: Some("f".into()),
                serverurl: text("unix:///x"),
                username: text("me"),
                password: text("secret"),
                history_file: Some("h".into()),
            }
        );
        assert!(found.interactive && found.json && !found.help);
        assert_eq!(found.words, ["status", "-f", "all"]);
        assert!(parsed("-h -s foo").unwrap().help);
    }

    #[test]
    fn errors_are_in_supervisors_words() {
        for (line, message) in [
            ("-s foo", "invalid value for -s 'foo': value 'foo' is not a URL"),
            ("--server http://", "invalid value for --serverurl 'http://': value 'http://' is not a URL"),
            ("-s 1:2 x", "invalid value for -s '1:2': value '1:2' is not a URL"),
            ("-u a --username b", "conflicting command line option '--username'"),
            ("-i -i", "conflicting command line option '-i'"),
            ("-v", "option -v not recognized"),
        ] {
            assert_eq!(parsed(line), Err(message.to_owned()), "{line}");
        }
        assert!(parsed("-s localhost:9001").is_ok());
    }
}
