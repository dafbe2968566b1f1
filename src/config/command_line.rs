//! The server's command line: getopt's rules, and options that stand above the file's. Census §1.1.
#![forbid(unsafe_code)]

use super::model::ServerConfig;
use super::values::repr;
use super::{Machine, options};
use crate::getopt::{self, Flag, Given, flag};
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `-h`: the usage on stdout, exit 0.
    Help,
    /// `-v`: the version on stdout, exit 0.
    Version,
    /// Run.
    Run(Options),
}

/// The options given; each is valid for its key of `[supervisord]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `-c`, as given.
    pub configuration: Option<PathBuf>,
    /// Keys of `[supervisord]` and their texts.
    set: Vec<(&'static str, String)>,
}

/// An option: its letter (blank: none), its long name, the key of `[supervisord]` that it stands for, whether it has an
/// argument, what `-h` says of it.
type Row = (char, &'static str, &'static str, bool, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ('c', "configuration", "", true, "FILE  the configuration; searched for when not given"),
    ('n', "nodaemon", "nodaemon", false, "stay in the foreground"),
    ('s', "silent", "silent", false, "no copy of the main log on stdout"),
    ('h', "help", "", false, "print this, and end"),
    ('?', "", "", false, ""),
    ('v', "version", "", false, "print the version, and end"),
    ('u', "user", "user", true, "USER  run as this user (or number)"),
    ('m', "umask", "umask", true, "MODE  umask of the daemon"),
    ('d', "directory", "directory", true, "DIR  change to it when going to the background"),
    ('l', "logfile", "logfile", true, "FILE  the main log"),
    ('y', "logfile_maxbytes", "logfile_maxbytes", true, "SIZE  rotate the main log at this size"),
    ('z', "logfile_backups", "logfile_backups", true, "N  how many rotated main logs are kept"),
    ('e', "loglevel", "loglevel", true, "LEVEL  critical, error, warn, info, debug, trace or blather"),
    ('j', "pidfile", "pidfile", true, "FILE  where the process id is written"),
    ('i', "identifier", "identifier", true, "NAME  name of this supervisor"),
    ('q', "childlogdir", "childlogdir", true, "DIR  where AUTO logs are made"),
    ('k', "nocleanup", "nocleanup", false, "keep AUTO logs of an earlier run"),
    ('a', "minfds", "minfds", true, "N  descriptors that must be available"),
    (' ', "minprocs", "minprocs", true, "N  processes that must be available"),
    ('t', "strip_ansi", "strip_ansi", false, "remove terminal escapes from child logs"),
    (' ', "profile_options", "", true, "LIST  accepted, without effect"),
];

/// The options, one a line, for `-h`.
#[must_use]
pub fn usage() -> String {
    let mut out = String::new();
    for (letter, long, _, _, help) in ROWS.iter().filter(|row| !row.4.is_empty()) {
        let short = if *letter == ' ' { "    ".into() } else { format!("-{letter}, ") };
        out.push_str(&format!("  {short}--{long} {help}\n"));
    }
    out
}

/// Reads the arguments (without our own name).
///
/// # Errors
/// The message to print after `Error: `; the exit status is 2.
pub fn parse(args: &[String], machine: &dyn Machine) -> Result<Request, String> {
    let mut options = Options::default();
    let mut seen = Vec::new();
    let mut scratch = ServerConfig::default();
    for (shown, (letter, long, key, _, _), value) in given(args)? {
        match letter {
            'h' | '?' => return Ok(Request::Help),
            'v' => return Ok(Request::Version),
            _ => {}
        }
        // A user's name is looked up last, as by Supervisor, so that its message stands alone.
        let row = options::SERVER.iter().find(|row| row.key == *key && *key != "user");
        if let Some(Err(why)) = row.map(|row| (row.set)(&mut scratch, &value, machine)) {
            return Err(format!("invalid value for {shown} {}: {}", repr(&value), why.trim_end()));
        }
        if seen.contains(long) {
            return Err(format!("conflicting command line option {}", repr(&shown)));
        }
        seen.push(long);
        match *long {
            "configuration" => options.configuration = Some(value.into()),
            "profile_options" => {}
            _ => options.set.push((key, value)),
        }
    }
    options.apply(&mut scratch, machine)?;
    Ok(Request::Run(options))
}

impl Options {
    /// Puts what was given in the place of what the file says; to be done after each load.
    ///
    /// # Errors
    /// What was valid at the start (a directory, a user) is not any more.
    pub fn apply(&self, server: &mut ServerConfig, machine: &dyn Machine) -> Result<(), String> {
        for (key, value) in &self.set {
            if let Some(row) = options::SERVER.iter().find(|row| row.key == *key) {
                (row.set)(server, value, machine)?;
            }
        }
        Ok(())
    }
}

/// Each option as shown in messages, its row, its argument (`true` for a flag).
fn given(args: &[String]) -> Result<Vec<(String, &'static Row, String)>, String> {
    let flags: Vec<Flag> = ROWS.iter().map(|(letter, long, _, argument, _)| flag(*letter, long, *argument)).collect();
    let (given, rest) = getopt::parse(args, &flags)?;
    if !rest.is_empty() {
        let rest: Vec<_> = rest.iter().map(|arg| repr(arg)).collect();
        return Err(format!("positional arguments are not supported: [{}]", rest.join(", ")));
    }
    let with_row = |given: Given| {
        let row = ROWS.iter().find(|row| row.1 == given.name)?;
        Some((given.spelled, row, if row.3 { given.argument } else { "true".into() }))
    };
    Ok(given.into_iter().filter_map(with_row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::Fake;

    fn run(args: &str) -> Result<Request, String> {
        parse(&args.split(' ').map(str::to_owned).collect::<Vec<_>>(), &Fake::default())
    }

    #[test]
    fn mistakes_have_the_messages_of_getopt_and_supervisord() {
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
            ("-u nemo", "Invalid user name nemo"),
            ("-u nemo -a x", "invalid value for -a 'x': invalid literal for int() with base 10: 'x'"),
        ] {
            assert_eq!(run(args), Err(message.into()), "{args}");
        }
    }

    #[test]
    fn help_and_version_win_over_later_values_but_not_over_unknown_options() {
        assert_eq!(run("-n -v -e bogus"), Ok(Request::Version));
        assert_eq!(run("-? -v"), Ok(Request::Help));
        assert!(run("-e bogus -v").is_err() && run("-v -Z").is_err());
    }

    #[test]
    fn what_is_given_replaces_what_the_file_says() {
        let Ok(Request::Run(options)) = run("-nceh.conf -y1kb --pidf=/tmp/p --ident me -u 33 --prof a") else {
            panic!()
        };
        assert_eq!(options.configuration, Some("eh.conf".into()));
        let mut server = ServerConfig { silent: true, ..ServerConfig::default() };
        options.apply(&mut server, &Fake::default()).unwrap();
        assert_eq!((server.nodaemon, server.silent, server.logfile_maxbytes), (Some(true), true, 1024));
        assert_eq!((server.pidfile, &*server.identifier), (Some("/tmp/p".into()), "me"));
        assert_eq!(server.user.map(|user| user.name), Some("www".into()));
    }
}
