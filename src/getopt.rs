//! Parses command lines by the rules of Python's `getopt`, which Supervisor's programs use (supervisor-behaviour.md §1.1). The
//! options end at the first other word, short options can be combined, and a long option can be shortened to a unique prefix.
#![forbid(unsafe_code)]

use crate::text;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// One option of a program.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The letter after `-`, if the option has one.
    pub short: Option<char>,
    /// The word after `--`, which is also the option's name in the code; empty: the option has no long form.
    pub long: &'static str,
    /// Whether the option takes an argument.
    pub takes_argument: bool,
}

/// A row of a table of options; `short`: a blank for no letter.
#[must_use]
pub const fn flag(short: char, long: &'static str, takes_argument: bool) -> Flag {
    Flag { short: if short == ' ' { None } else { Some(short) }, long, takes_argument }
}

/// An option on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The option as Supervisor's messages name it: `-c`, or `--configuration` even if it was shortened.
    pub spelled: String,
    /// [`Flag::long`].
    pub name: &'static str,
    /// The argument; empty if the option takes none.
    pub argument: OsString,
}

impl Given {
    /// The argument as text, without loss (see [`text`]).
    #[must_use]
    pub fn text(&self) -> String {
        text::of_os(&self.argument)
    }
}

/// Splits `args` (without the program's name) into the options and the words after them.
///
/// # Errors
/// Supervisor's message for an invalid option.
pub fn parse(args: &[OsString], flags: &[Flag]) -> Result<(Vec<Given>, Vec<OsString>), String> {
    let mut given = Vec::new();
    let mut rest = args.iter();
    while let Some(word) = rest.as_slice().first().map(|word| word.as_bytes()) {
        if word == b"--" {
            rest.next();
            break;
        }
        let Some(options) = word.strip_prefix(b"-").filter(|options| !options.is_empty()) else { break };
        rest.next();
        match options.strip_prefix(b"-") {
            Some(long) => given.push(long_option(long, flags, &mut rest)?),
            None => short_options(options, flags, &mut rest, &mut given)?,
        }
    }
    Ok((given, rest.as_slice().to_vec()))
}

type Rest<'a> = std::slice::Iter<'a, OsString>;

fn long_option(word: &[u8], flags: &[Flag], rest: &mut Rest<'_>) -> Result<Given, String> {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let (name, inline) = (String::from_utf8_lossy(parts.next().unwrap_or_default()), parts.next());
    let mut fits = flags.iter().filter(|flag| !flag.long.is_empty() && flag.long.starts_with(&*name));
    let flag = match (flags.iter().find(|flag| flag.long == name && !name.is_empty()), fits.next(), fits.next()) {
        (Some(exact), ..) => exact,
        (None, Some(only), None) => only,
        (None, None, _) => return Err(format!("option --{name} not recognized")),
        (None, Some(_), Some(_)) => return Err(format!("option --{name} not a unique prefix")),
    };
    let argument = match (flag.takes_argument, inline) {
        (true, Some(value)) => OsStr::from_bytes(value).to_owned(),
        (true, None) => rest.next().cloned().ok_or_else(|| format!("option --{} requires argument", flag.long))?,
        (false, None) => OsString::new(),
        (false, Some(_)) => return Err(format!("option --{} must not have an argument", flag.long)),
    };
    Ok(Given { spelled: format!("--{}", flag.long), name: flag.long, argument })
}

fn short_options(
    mut letters: &[u8],
    flags: &[Flag],
    rest: &mut Rest<'_>,
    given: &mut Vec<Given>,
) -> Result<(), String> {
    while let Some(letter) = String::from_utf8_lossy(letters).chars().next() {
        // A letter that is not UTF-8 is not an option, so the length of its replacement does not matter.
        letters = letters.get(letter.len_utf8()..).unwrap_or_default();
        let flag = flags.iter().find(|flag| flag.short == Some(letter));
        let flag = flag.ok_or_else(|| format!("option -{letter} not recognized"))?;
        let argument = match flag.takes_argument {
            false => OsString::new(),
            true if letters.is_empty() => {
                rest.next().cloned().ok_or_else(|| format!("option -{letter} requires argument"))?
            }
            true => OsStr::from_bytes(std::mem::take(&mut letters)).to_owned(),
        };
        given.push(Given { spelled: format!("-{letter}"), name: flag.long, argument });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    const FLAGS: &[Flag] = &[
        flag('?', "", false),
        flag('c', "configuration", true),
        flag('n', "nodaemon", false),
        flag('k', "nocleanup", false),
        flag('s', "silent", false),
        flag('l', "logfile", true),
        flag('y', "logfile_maxbytes", true),
        flag('z', "logfile_backups", true),
        flag(' ', "minprocs", true),
    ];

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn shown(line: &str) -> Result<String, String> {
        let (given, rest) = parse(&words(line), FLAGS)?;
        let given = given.iter().map(|g| format!("{}={}", g.name, g.text())).collect::<Vec<_>>().join(" ");
        Ok(format!("{given} | {}", rest.join(OsStr::new(" ")).display()))
    }

    #[test]
    fn options_are_split_as_by_getopt() {
        for (line, found) in [
            ("", " | "),
            ("-nc f x -s", "nodaemon= configuration=f | x -s"),
            ("-cf -c=g", "configuration=f configuration==g | "),
            ("--conf f --configuration=g=h", "configuration=f configuration=g=h | "),
            ("--logfile x --nod --minp=3", "logfile=x nodaemon= minprocs=3 | "),
            ("-n -- -c", "nodaemon= | -c"),
            ("-n - -c", "nodaemon= | - -c"),
            ("-?", "= | "),
        ] {
            assert_eq!(shown(line).as_deref(), Ok(found), "{line}");
        }
    }

    #[test]
    fn an_argument_may_be_any_bytes() {
        let strange = OsString::from_vec(b"/caf\xe9".to_vec());
        for args in
            [&[&b"-c"[..], b"/caf\xe9"][..], &[b"-nc/caf\xe9"], &[b"--conf=/caf\xe9"], &[b"--conf", b"/caf\xe9"]]
        {
            let args: Vec<OsString> = args.iter().map(|arg| OsString::from_vec(arg.to_vec())).collect();
            assert_eq!(parse(&args, FLAGS).unwrap().0.last().unwrap().argument, strange);
        }
        assert!(parse(&[OsString::from_vec(b"-n\xe9".to_vec())], FLAGS).is_err());
    }

    #[test]
    fn errors_are_supervisors_messages() {
        for (line, message) in [
            ("-Z", "option -Z not recognized"),
            ("--foo", "option --foo not recognized"),
            ("-c", "option -c requires argument"),
            ("-nc", "option -c requires argument"),
            ("--conf", "option --configuration requires argument"),
            ("--nodaemon=1", "option --nodaemon must not have an argument"),
            ("--no", "option --no not a unique prefix"),
            ("--logfile_", "option --logfile_ not a unique prefix"),
            ("--=x", "option -- not a unique prefix"),
        ] {
            assert_eq!(shown(line), Err(message.to_owned()), "{line}");
        }
    }
}
