//! Parses the values of options: one function for each type, with Supervisor's error messages. Source: supervisor-behaviour.md
//! §2.4 and §2.5.
#![forbid(unsafe_code)]

use super::Machine;
use super::model::{AutoRestart, ExitCodes, LogLevel, LogPlace, Owner, SocketAddress, User};
use crate::posix::signal_number;
use crate::text;
use std::path::PathBuf;

/// Whether Python's `str.strip` and `\s` treat a character as a blank.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// A text as Python's `repr` writes it: in quotes, with escapes.
pub fn repr(text: &str) -> String {
    // The x is needed: `escape_debug` escapes an accent at the start of a text.
    quoted(text, |c| format!("x{c}").escape_debug().count() == 2)
}

/// Like [`repr`], with escapes for all characters beyond ASCII.
pub(super) fn ascii(text: &str) -> String {
    quoted(text, |_| false)
}

fn quoted(value: &str, printable: impl Fn(char) -> bool) -> String {
    let quote = if value.contains('\'') && !value.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in value.chars() {
        match (c, u32::from(c)) {
            ('\n', _) => out.push_str("\\n"),
            ('\r', _) => out.push_str("\\r"),
            ('\t', _) => out.push_str("\\t"),
            _ if c == quote || c == '\\' => out.extend(['\\', c]),
            // A byte that is not UTF-8 is a surrogate in Python.
            _ if let Some(byte) = text::stands_for(c) => out.push_str(&format!("\\udc{byte:02x}")),
            (' '..='~', _) => out.push(c),
            (_, 0x80..) if printable(c) => out.push(c),
            (_, n @ ..=0xff) => out.push_str(&format!("\\x{n:02x}")),
            (_, n @ ..=0xffff) => out.push_str(&format!("\\u{n:04x}")),
            (_, n) => out.push_str(&format!("\\U{n:08x}")),
        }
    }
    out.push(quote);
    out
}

/// Python's `int(text, base)` for base 8 and 10, clamped to what an `i64` holds.
fn python_int(text: &str, base: u32) -> Option<i64> {
    let text = text.trim_matches(is_space);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', text.strip_prefix('+').unwrap_or(text)),
    };
    let octal = if base == 8 { digits.strip_prefix("0o").or_else(|| digits.strip_prefix("0O")) } else { None };
    let digits = octal.map_or(digits, |digits| digits.strip_prefix('_').unwrap_or(digits));
    if !digits.split('_').all(|part| !part.is_empty() && part.chars().all(|c| c.is_digit(base))) {
        return None;
    }
    // The digits are valid, so an error means that the number does not fit.
    let number = i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), base);
    Some(number.unwrap_or(if sign == '-' { i64::MIN } else { i64::MAX }))
}

/// An integer of any sign.
pub(super) fn int(text: &str) -> Result<i64, String> {
    python_int(text, 10).ok_or_else(|| format!("invalid literal for int() with base 10: {}", repr(text)))
}

/// A number of bytes: an integer, optionally with the suffix KB, MB or GB (powers of 1024).
pub(super) fn size(text: &str) -> Result<i64, String> {
    let text = text.to_lowercase();
    let units = [("kb", 1_i64 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];
    match units.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit))) {
        Some((number, unit)) => Ok(int(number)?.saturating_mul(*unit)),
        None => int(&text),
    }
}

/// `yes`, `true`, `on`, `1` or `no`, `false`, `off`, `0`, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match &*text.to_lowercase() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("not a valid boolean value: {}", repr(text))),
    }
}

/// A file mode or umask in octal. Bits above 0o7777 are dropped.
pub(super) fn octal(text: &str) -> Result<u32, String> {
    let value = python_int(text, 8).ok_or_else(|| format!("{text} can not be converted to an octal type"))?;
    Ok(u32::try_from(value & 0o7777).unwrap_or_default())
}

/// Numbers from 0 to 255, separated by commas; empty: no code is expected.
pub(super) fn exit_codes(text: &str) -> Result<ExitCodes, String> {
    if text.is_empty() {
        return Ok(ExitCodes::default());
    }
    let codes = text.split(',').map(|code| python_int(code, 10).and_then(|code| u8::try_from(code).ok()));
    codes.collect::<Option<_>>().ok_or_else(|| format!("not a valid list of exit codes: {}", repr(text)))
}

/// A signal by number, or by name with or without `SIG`.
pub fn signal(text: &str) -> Result<i32, String> {
    if let Some(number) = python_int(text, 10) {
        let known = matches!(number, 0..=31 | 34 | 64);
        let number = i32::try_from(number).ok().filter(|_| known);
        return number.ok_or_else(|| format!("value {} is not a valid signal number", repr(text)));
    }
    let number = signal_number(text.trim_matches(is_space));
    number.ok_or_else(|| format!("value {} is not a valid signal name", repr(text)))
}

/// `true`, `false` or `unexpected`.
pub(super) fn auto_restart(text: &str) -> Result<AutoRestart, String> {
    let lower = text.to_lowercase();
    match boolean(&lower) {
        Ok(true) => Ok(AutoRestart::Always),
        Ok(false) => Ok(AutoRestart::Never),
        Err(_) if lower == "unexpected" => Ok(AutoRestart::Unexpected),
        Err(_) => Err(format!("invalid 'autorestart' value {}", repr(&lower))),
    }
}

/// The name of a log level, in any case.
pub(super) fn log_level(text: &str) -> Result<LogLevel, String> {
    use LogLevel::{Blather, Critical, Debug, Error, Info, Trace, Warn};
    let mut levels = [Critical, Error, Warn, Info, Debug, Trace, Blather].into_iter();
    let level = levels.find(|level| format!("{level:?}").eq_ignore_ascii_case(text));
    level.ok_or_else(|| format!("bad logging level name {}", repr(text)))
}

/// A user by name or number.
///
/// Differs from Supervisor: a number that /etc/passwd does not have is accepted, with the group of rsup.
pub fn user(text: &str, machine: &dyn Machine) -> Result<User, String> {
    let Some(number) = python_int(text, 10) else {
        let unknown = || format!("Invalid user name {text}: {}", absent("/etc/passwd", &format!("user {text}")));
        return machine.user_by_name(text)?.ok_or_else(unknown);
    };
    let uid = u32::try_from(number).ok().filter(|&uid| uid != u32::MAX);
    let uid = uid.ok_or_else(|| format!("Invalid user id {text}"))?;
    Ok(machine.user_by_uid(uid)?.unwrap_or_else(|| User { name: uid.to_string(), uid }))
}

/// The message for an unknown user or group. Only `file` is read: a static binary has no name service.
fn absent(file: &str, what: &str) -> String {
    let other =
        if file == "/etc/passwd" { "; write a name that it has, or a number" } else { "; write a name that it has" };
    format!("{file} has no {what}, and nothing else is asked (no LDAP, sssd or nss_wrapper){other}")
}

/// `user` or `user:group`, each by name or number. Both must exist; `what` is the name of the option in the message.
pub(super) fn owner(text: &str, what: &str, machine: &dyn Machine) -> Result<Owner, String> {
    let (user_text, group_text) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let invalid =
        |file, kind, name| format!("Invalid {what} value {text}: {}", absent(file, &format!("{kind} {name}")));
    let user = match python_int(user_text, 10) {
        Some(uid) => u32::try_from(uid).map_or(Ok(None), |uid| machine.user_by_uid(uid))?,
        None => machine.user_by_name(user_text)?,
    };
    let user = user.ok_or_else(|| invalid("/etc/passwd", "user", user_text))?;
    let Some(name) = group_text else { return Ok(Owner { uid: user.uid, gid: None }) };
    let gid = match python_int(name, 10).map(u32::try_from) {
        Some(Ok(gid)) => machine.has_gid(gid)?.then_some(gid),
        Some(Err(_)) => None,
        None => machine.group_by_name(name)?,
    };
    let gid = gid.ok_or_else(|| invalid("/etc/group", "group", name))?;
    Ok(Owner { uid: user.uid, gid: Some(gid) })
}

/// The part before the last slash, like Python's `os.path.dirname`.
pub(super) fn dirname(path: &str) -> &str {
    let Some(slash) = path.rfind('/') else { return "" };
    let head = path.get(..slash).unwrap_or_default().trim_end_matches('/');
    if head.is_empty() { path.get(..=slash).unwrap_or("/") } else { head }
}

/// Replaces a leading `~` or `~user` by the home directory, if it is known.
pub(super) fn expand_user(path: &str, machine: &dyn Machine) -> String {
    let Some(rest) = path.strip_prefix('~') else { return path.into() };
    let (user, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match machine.home(user) {
        Some(home) => {
            let joined = format!("{}{tail}", home.trim_end_matches('/'));
            if joined.is_empty() { "/".into() } else { joined }
        }
        None => path.into(),
    }
}

/// The absolute path without `~`, `.`, `..` and double slashes, like Python's `normpath(abspath(expanduser(path)))`. Does not
/// follow symbolic links.
pub(super) fn normalize(path: &str, machine: &dyn Machine) -> String {
    absolute(&expand_user(path, machine), machine)
}

/// Like [`normalize`], but does not replace `~`.
pub(super) fn absolute(path: &str, machine: &dyn Machine) -> String {
    let cwd = machine.current_dir();
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", text::of_os(cwd)) };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // Python keeps two leading slashes, since POSIX leaves their meaning to the system.
    let root = if joined.starts_with("//") && !joined.starts_with("///") { "//" } else { "/" };
    format!("{root}{}", parts.join("/"))
}

/// A directory that exists.
pub(super) fn existing_dir(value: &str, machine: &dyn Machine) -> Result<PathBuf, String> {
    let path = text::to_path(&expand_user(value, machine));
    match machine.is_dir(&path) {
        Ok(true) => Ok(path),
        Ok(false) => Err(format!("{value} is not an existing directory")),
        Err(why) => Err(format!("{value} is not an existing directory: {why}")),
    }
}

/// A path whose directory exists, if the path names a directory.
pub(super) fn path_in_existing_dir(value: &str, machine: &dyn Machine) -> Result<PathBuf, String> {
    let path = expand_user(value, machine);
    let dir = dirname(&path);
    match if dir.is_empty() { Ok(true) } else { machine.is_dir(&text::to_path(dir)) } {
        Ok(true) => Ok(text::to_path(&path)),
        Ok(false) => Err(format!("The directory named as part of the path {value} does not exist")),
        Err(why) => Err(format!("The directory named as part of the path {value} cannot be used: {why}")),
    }
}

/// `stdout_logfile` or `stderr_logfile`; `None`: the deprecated value `syslog`.
pub(super) fn child_log(text: &str, machine: &dyn Machine) -> Result<Option<LogPlace>, String> {
    Ok(match &*text.to_lowercase() {
        "none" | "off" | "" => Some(LogPlace::None),
        "auto" => Some(LogPlace::Auto),
        "syslog" => None,
        _ => Some(LogPlace::File(path_in_existing_dir(text, machine)?)),
    })
}

/// `port`, `host:port` or `*:port`.
pub(super) fn inet_address(text: &str) -> Result<SocketAddress, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((_, "")) => return Err("no port number specified in ''".into()),
        Some((host, port)) => (host.to_lowercase(), port_number(port)?),
        None => (String::new(), port_number(text).map_err(|_| format!("not a valid port number: {} ", repr(text)))?),
    };
    Ok(SocketAddress::Tcp(if host == "*" { String::new() } else { host }, port))
}

fn port_number(text: &str) -> Result<u16, String> {
    let port = int(text)?;
    match u16::try_from(port) {
        Ok(0) => Err("0 is below lower bound (1)".into()),
        Ok(port) => Ok(port),
        Err(_) if port < 0 => Err(format!("{port} is below lower bound (1)")),
        Err(_) => Err(format!("{port} is above upper bound (65535)")),
    }
}

/// `socket=` of an fcgi-program: `unix:///path` or `tcp://host:port`.
pub(super) fn fcgi_socket(value: &str, machine: &dyn Machine) -> Result<SocketAddress, String> {
    if let Some(path) = value.strip_prefix("unix://") {
        return match path.starts_with('/') {
            true => Ok(SocketAddress::Unix(text::to_path(&normalize(path, machine)))),
            false => Err(format!("Unix socket path {path} is not an absolute path")),
        };
    }
    let address = value.strip_prefix("tcp://").and_then(|address| address.split_once(':'));
    match address {
        Some((host, port))
            if !host.is_empty()
                && !host.contains(is_space)
                && !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            Ok(SocketAddress::Tcp(host.to_lowercase(), port_number(port)?))
        }
        _ => Err(format!("Bad socket format {value}; write unix:///path or tcp://host:port")),
    }
}

/// Items separated by commas, without the blanks around them. A trailing comma gives an empty item.
pub(super) fn list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim_matches(is_space).to_owned()).collect()
}

/// A valid name of a program or group, without the blanks around it.
pub(super) fn name(text: &str) -> Result<String, String> {
    let stripped = text.trim_matches(is_space);
    match [' ', ':', '/'].into_iter().find(|&c| stripped.contains(c)) {
        Some(c) => Err(format!("Invalid name: {} because of character: '{c}'", repr(text))),
        None => Ok(stripped.into()),
    }
}

/// `KEY=value,KEY2="quoted, value"`. Supervisor splits the text into words and takes four at a time: key, `=`, value, and a
/// separator that it does not check.
pub(super) fn environment(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for step in words(text)?.chunks(4) {
        let [key, equals, value, ..] = step else { return Err(unfinished(text)) };
        if equals != "=" {
            return Err(unfinished(text));
        }
        let value = value.trim_matches(['\'', '"']).to_owned();
        match pairs.iter_mut().find(|(known, _)| known == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key.clone(), value)),
        }
    }
    Ok(pairs)
}

fn unfinished(text: &str) -> String {
    format!("Unexpected end of key/value pairs in value '{text}'; write KEY=\"value\",KEY2=\"value\"")
}

/// Python's `shlex.shlex` in its non-POSIX mode, with Supervisor's word characters.
fn words(text: &str) -> Result<Vec<String>, String> {
    let blank = |c: char| " \t\r\n".contains(c);
    let in_word = |c: char| c.is_ascii_alphanumeric() || "_/.+-():".contains(c);
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // A comment ends at the end of the line. It does not end the word before it.
            '#' => drop(chars.by_ref().find(|&c| c == '\n')),
            '\'' | '"' if word.is_empty() => {
                word.push(c);
                loop {
                    let quoted = chars.next().ok_or("No closing quotation")?;
                    word.push(quoted);
                    if quoted == c {
                        break;
                    }
                }
                words.push(std::mem::take(&mut word));
            }
            c if in_word(c) || matches!(c, '\'' | '"') => word.push(c),
            c => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if !blank(c) {
                    words.push(c.into());
                }
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Splits a command line into words, like Python's `shlex.split`. Only quotes and backslashes are special; `#` is not.
///
/// # Errors
/// `No closing quotation` and `No escaped character`: Python's messages, which Supervisor puts into `spawnerr`.
pub fn split_command(command: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next().ok_or("No escaped character")?),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or("No closing quotation")? {
                        end if end == c => break,
                        '\\' if c == '"' => match chars.next().ok_or("No escaped character")? {
                            escaped @ ('"' | '\\') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_by_shlex() {
        let split = |text| split_command(text).map(|words| words.join("|"));
        assert_eq!(split(r#"a "b c"  'd "e' f\ g "" # h"#), Ok(r#"a|b c|d "e|f g||#|h"#.into()));
        assert_eq!(split(r#""a\"b\\c\d""#), Ok(r#"a"b\c\d"#.into()));
        assert_eq!(split("a\\\nb"), Ok("a\nb".into()));
        assert_eq!(split("\"a"), Err("No closing quotation"));
        assert_eq!(split("a\\"), Err("No escaped character"));
        assert_eq!(split_command(" \t\r\n"), Ok(vec![]));
    }
}
