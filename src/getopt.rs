//! Command lines by the rules of Python's `getopt`, which both of Supervisor's programs use (census §1.1): options end
//! at the first other word, short ones cluster, long ones may be cut to a prefix that fits one only. Pure.
#![forbid(unsafe_code)]

/// One option of a program.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The letter after `-`, if it has one.
    pub short: Option<char>,
    /// The word after `--`; also the option's name here. Empty: it has none.
    pub long: &'static str,
    /// Whether an argument belongs to it.
    pub takes_argument: bool,
}

/// A row of a table of options: `short` may be a blank for none.
#[must_use]
pub const fn flag(short: char, long: &'static str, takes_argument: bool) -> Flag {
    Flag { short: if short == ' ' { None } else { Some(short) }, long, takes_argument }
}

/// An option as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// `-c`, or `--configuration` even where a prefix was given: as Supervisor's messages name it.
    pub spelled: String,
    /// [`Flag::long`].
    pub name: &'static str,
    /// Its argument; empty where it takes none.
    pub argument: String,
}

/// Splits `args` (without the program's name) into options and the words after them, or says what is wrong in
/// Supervisor's words.
pub fn parse(args: &[String], flags: &[Flag]) -> Result<(Vec<Given>, Vec<String>), String> {
    let mut given = Vec::new();
    let mut rest = args.iter();
    while let Some(word) = rest.as_slice().first() {
        if word == "--" {
            rest.next();
            break;
        }
        let Some(options) = word.strip_prefix('-').filter(|options| !options.is_empty()) else { break };
        rest.next();
        match options.strip_prefix('-') {
            Some(long) => given.push(long_option(long, flags, &mut rest)?),
            None => short_options(options, flags, &mut rest, &mut given)?,
        }
    }
    Ok((given, rest.as_slice().to_vec()))
}

fn long_option<'a>(word: &str, flags: &[Flag], rest: &mut impl Iterator<Item = &'a String>) -> Result<Given, String> {
    let (name, inline) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let mut fits = flags.iter().filter(|flag| !flag.long.is_empty() && flag.long.starts_with(name));
    let flag = match (flags.iter().find(|flag| flag.long == name && !name.is_empty()), fits.next(), fits.next()) {
        (Some(exact), ..) => exact,
        (None, Some(only), None) => only,
        (None, None, _) => return Err(format!("option --{name} not recognized")),
        (None, Some(_), Some(_)) => return Err(format!("option --{name} not a unique prefix")),
    };
    let argument = match (flag.takes_argument, inline) {
        (true, Some(value)) => value.to_owned(),
        (true, None) => rest.next().cloned().ok_or_else(|| format!("option --{} requires argument", flag.long))?,
        (false, None) => String::new(),
        (false, Some(_)) => return Err(format!("option --{} must not have an argument", flag.long)),
    };
    Ok(Given { spelled: format!("--{}", flag.long), name: flag.long, argument })
}

fn short_options<'a>(
    letters: &str,
    flags: &[Flag],
    rest: &mut impl Iterator<Item = &'a String>,
    given: &mut Vec<Given>,
) -> Result<(), String> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let flag = flags.iter().find(|flag| flag.short == Some(letter));
        let flag = flag.ok_or_else(|| format!("option -{letter} not recognized"))?;
        let mut argument = String::new();
        if flag.takes_argument {
            argument = letters.by_ref().collect();
            if argument.is_empty() {
                argument = rest.next().cloned().ok_or_else(|| format!("option -{letter} requires argument"))?;
            }
        }
        given.push(Given { spelled: format!("-{letter}"), name: flag.long, argument });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn shown(line: &str) -> Result<String, String> {
        let (given, rest) = parse(&words(line), FLAGS)?;
        let given = given.iter().map(|g| format!("{}={}", g.name, g.argument)).collect::<Vec<_>>().join(" ");
        Ok(format!("{given} | {}", rest.join(" ")))
    }

    #[test]
    fn options_are_split_as_getopt_splits_them() {
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
    fn errors_are_in_supervisors_words() {
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
