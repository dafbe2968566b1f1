//! The server's command line, whose options override those of the file. Source: supervisor-behaviour.md §1.1.
#![forbid(unsafe_code)]

use super::model::ServerConfig;
use super::values::repr;
use super::{Machine, options};
use crate::getopt::{self, Flag, flag};
use crate::text;
use std::ffi::OsString;
use std::path::PathBuf;

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// `-h`: the usage on stdout, exit 0.
    Help,
    /// `-v`: the version on stdout, exit 0.
    Version,
    /// Run the supervisor.
    Run(Options),
}

/// The options of the command line. Each value is valid for its key of `[supervisord]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `-c`, as given.
    pub configuration: Option<PathBuf>,
    /// Keys of `[supervisord]` and their texts.
    set: Vec<(&'static str, String)>,
}

/// The command-line options that are not keys of `[supervisord]`, with their help.
const OTHERS: [(Flag, &str); 5] = [
    (flag('c', "configuration", true), "Configuration file; without this option, rsup searches the default paths"),
    (flag('h', "help", false), "Print this help and exit"),
    (flag('?', "", false), ""),
    (flag('v', "version", false), "Print the version and exit"),
    (flag(' ', "profile_options", true), "Accepted and ignored"),
];

/// Every option of the command line, with its help.
pub fn flags() -> impl Iterator<Item = (Flag, &'static str)> {
    let of_row =
        |row: &'static options::Opt<_>| Some((flag(row.flag?, row.key, row.wanted != options::BOOL), row.help));
    OTHERS.into_iter().chain(options::SERVER.iter().filter_map(of_row))
}

const USAGE: &str = "\
usage: rsup [OPTIONS]                    run the programs of a supervisord.conf
       rsup -- COMMAND [ARG...]          run one program as tini does
       rsup check [-c FILE] [--dump]     look for mistakes in a configuration
       rsup sample-config [--all]        print a configuration that runs in any image
       rsup ctl COMMAND [ARG...]         control a running supervisor (also called rsupctl)
       rsup health                       exit 0 when all that should run runs
       rsup pidproxy PIDFILE COMMAND...  forward signals to the process of a pid file (also called pidproxy)

options:
";

/// The text for `-h`: the commands, then the options, one on each line.
#[must_use]
pub fn usage() -> String {
    let mut out = USAGE.to_owned();
    for (flag, help) in flags().filter(|(flag, _)| !flag.long.is_empty()) {
        let short = flag.short.map_or_else(|| "    ".into(), |letter| format!("-{letter}, "));
        let long = format!("{}{}", flag.long, if flag.takes_argument { " VALUE" } else { "" });
        out.push_str(&format!("  {short}--{long:<24} {help}\n"));
    }
    out
}

/// Parses the arguments (without the program's name).
///
/// # Errors
/// The message to print after `Error: `; the exit status is 2.
pub fn parse(args: &[OsString], machine: &dyn Machine) -> Result<CommandLine, String> {
    let flags: Vec<Flag> = flags().map(|(flag, _)| flag).collect();
    let (given, rest) = getopt::parse(args, &flags)?;
    if !rest.is_empty() {
        let rest: Vec<_> = rest.iter().map(|word| repr(&text::of_os(word))).collect();
        return Err(format!("positional arguments are not supported: [{}]", rest.join(", ")));
    }
    let mut options = Options::default();
    let mut seen = Vec::new();
    let mut scratch = ServerConfig::default();
    for option in given {
        let is_switch = row(option.name).is_some_and(|row| row.wanted == options::BOOL);
        let value = if is_switch { "true".into() } else { option.text() };
        match option.name {
            "help" | "" => return Ok(CommandLine::Help),
            "version" => return Ok(CommandLine::Version),
            // As under Supervisor, the user is looked up last: other errors come first, and its message has no prefix.
            "user" => {}
            name => {
                if let Some(Err(why)) = row(name).map(|row| (row.set)(&mut scratch, &value, machine)) {
                    return Err(format!("invalid value for {} {}: {}", option.spelled, repr(&value), why.trim_end()));
                }
            }
        }
        if seen.contains(&option.name) {
            return Err(format!("conflicting command line option {}", repr(&option.spelled)));
        }
        seen.push(option.name);
        match option.name {
            "configuration" => options.configuration = Some(option.argument.into()),
            _ => options.set.push((option.name, value)),
        }
    }
    options.apply(&mut scratch, machine)?;
    Ok(CommandLine::Run(options))
}

fn row(name: &str) -> Option<&'static options::Opt<ServerConfig>> {
    options::SERVER.iter().find(|row| row.key == name)
}

impl Options {
    /// Replaces the values of the file by those of the command line. Call it after each load.
    ///
    /// # Errors
    /// A value that was valid at the start (a directory, a user) is no longer valid.
    pub fn apply(&self, server: &mut ServerConfig, machine: &dyn Machine) -> Result<(), String> {
        let mut rows = self.set.iter().filter_map(|(key, value)| Some((row(key)?, value)));
        rows.try_for_each(|(row, value)| (row.set)(server, value, machine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::fake::FakeMachine;

    fn run(args: &str) -> Result<CommandLine, String> {
        parse(&args.split(' ').map(OsString::from).collect::<Vec<_>>(), &FakeMachine::default())
    }

    #[test]
    fn errors_have_the_messages_of_getopt_and_supervisord() {
        for (args, message) in [
            ("-Z", "option -Z not recognized"),
            ("--foo", "option --foo not recognized"),
            ("--log x", "option --log not a unique prefix"),
            ("-nc", "option -c requires argument"),
            ("--conf", "option --configuration requires argument"),
            ("--nodaemon=1", "option --nodaemon must not have an argument"),
            ("-n foo -n", "positional arguments are not supported: ['foo', '-n']"),
            ("-n -- foo", "positional arguments are not supported: ['foo']"),
            ("-", "positional arguments are not supported: ['-']"),
            ("-n --nodaemon", "conflicting command line option '--nodaemon'"),
            ("-e bogus", "invalid value for -e 'bogus': bad logging level name 'bogus'"),
            ("--logl bogus", "invalid value for --loglevel 'bogus': bad logging level name 'bogus'"),
            ("-a x", "invalid value for -a 'x': invalid literal for int() with base 10: 'x'"),
            ("-m 9", "invalid value for -m '9': 9 can not be converted to an octal type"),
            ("-d /nowhere", "invalid value for -d '/nowhere': /nowhere is not an existing directory"),
            (
                "-u nemo",
                "Invalid user name nemo: /etc/passwd has no user nemo, and nothing else is asked (no LDAP, sssd or nss_wrapper); write a name that it has, or a number",
            ),
            ("-u nemo -a x", "invalid value for -a 'x': invalid literal for int() with base 10: 'x'"),
        ] {
            assert_eq!(run(args), Err(message.into()), "{args}");
        }
    }

    #[test]
    fn help_and_version_win_over_later_values_but_not_over_unknown_options() {
        assert_eq!(run("-n -v -e bogus"), Ok(CommandLine::Version));
        assert_eq!(run("-? -v"), Ok(CommandLine::Help));
        assert!(run("-e bogus -v").is_err() && run("-v -Z").is_err());
    }

    #[test]
    fn options_replace_the_values_of_the_file() {
        let Ok(CommandLine::Run(options)) = run("-nceh.conf -y1kb --pidf=/tmp/p --ident me -u 33 --prof a") else {
            panic!()
        };
        assert_eq!(options.configuration, Some("eh.conf".into()));
        let mut server = ServerConfig { silent: true, ..ServerConfig::default() };
        options.apply(&mut server, &FakeMachine::default()).unwrap();
        assert_eq!((server.nodaemon, server.silent, server.logfile_maxbytes), (Some(true), true, 1024));
        assert_eq!((server.pidfile, &*server.identifier), (Some("/tmp/p".into()), "me"));
        assert_eq!(server.user.map(|user| user.name), Some("www".into()));
    }
}
