//! What `ready` and `healthcheck` mean: probes, the other signs of readiness, and what a failed check leads to. Text to values and
//! back; `crate::probes` tries them.
//!
//! A message has the value, what is wrong with it, and after a semicolon what to write instead.
#![forbid(unsafe_code)]

use super::lint::hint;
use super::values::{repr, split_command};
use crate::text;
use regex_lite::{Regex, RegexBuilder};
use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;

/// The forms of a probe, for messages and the documentation.
pub const PROBE_FORMS: &str =
    "tcp:PORT, tcp:HOST:PORT, tcp:[V6]:PORT, unix:/path, http://HOST[:PORT]/path, file:/path or exec:COMMAND";
/// The forms of `ready`.
pub const READY_FORMS: &str = "notify, fd:N, line:REGEX, tcp:PORT, tcp:HOST:PORT, tcp:[V6]:PORT, unix:/path, \
    http://HOST[:PORT]/path, file:/path or exec:COMMAND";
/// How they begin. The first three are those of `ready` alone.
const NAMES: [&str; 8] = ["notify", "fd:", "line:", "tcp:", "unix:", "http:", "file:", "exec:"];

/// The longest path of a Unix socket, in bytes (unix(7)).
const SOCKET_PATH_MAX_BYTES: usize = 107;
/// The largest compiled regular expression, in bytes: hundreds of characters. The worst one takes 5 µs a byte of output.
const REGEX_MAX_BYTES: usize = 32 * 1024;

/// A check that succeeds or fails. [`fmt::Display`] writes the form that [`Probe::parse`] reads, complete with the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp {
        /// An address, IPv6 without brackets, or a name. It is resolved at each try, without a name server (`sys::hosts`).
        host: Box<str>,
        /// 1 or more.
        port: u16,
    },
    /// A connection to the Unix socket at this absolute path is accepted.
    Unix(Box<Path>),
    /// The answer to a GET has a status from 200 to 399.
    Http {
        /// As for TCP.
        host: Box<str>,
        /// 1 or more.
        port: u16,
        /// Path and query, with its slash; visible ASCII characters only.
        path: Box<str>,
    },
    /// Something exists at this absolute path.
    File(Box<Path>),
    /// This command line, which `values::split_command` can split, ends with exit code 0.
    Exec(Box<str>),
}

impl Probe {
    /// Parses `healthcheck`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::one_of(text, NAMES.get(3..).unwrap_or_default(), PROBE_FORMS)
    }

    /// Parses `liveness_check_script` of ochinchina/supervisord: `http://…`, `tcp://HOST:PORT`, or else a command.
    pub fn parse_script(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("http" | "https" | "tcp", _)) => Self::parse(text),
            _ => command(text).map_err(|why| format!("{} {why}; write a command", repr(text))),
        }
    }

    fn one_of(text: &str, names: &[&str], forms: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let (parsed, form) = match name {
            "tcp" => (tcp(rest), "tcp:PORT, tcp:HOST:PORT or tcp:[V6]:PORT"),
            "unix" => (socket_path(rest).map(Self::Unix), "unix:/path"),
            "http" => (http(rest), "http://HOST[:PORT]/path"),
            "https" => (Err("needs TLS, which rsup does not have".into()), "http://HOST[:PORT]/path or exec:COMMAND"),
            "file" => (path(rest).map(Self::File), "file:/path"),
            "exec" => (command(rest), "exec:COMMAND"),
            _ => {
                let name = text.split_inclusive(':').next().unwrap_or_default();
                let near = Some(hint(name, names.iter().copied())).filter(|near| !near.is_empty());
                let near = near.unwrap_or_else(|| format!("; write {forms}"));
                return Err(format!("{} has no known form{near}", repr(text)));
            }
        };
        parsed.map_err(|why| format!("{} {why}; write {form}", repr(text)))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp:{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", text::of_os(&**path)),
            Self::Http { host, port, path } => write!(f, "http://{}{path}", authority(host, *port)),
            Self::File(path) => write!(f, "file:{}", text::of_os(&**path)),
            Self::Exec(command) => write!(f, "exec:{command}"),
        }
    }
}

/// Host and port as the field `Host` of HTTP has them.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    let port = if port == 80 { String::new() } else { format!(":{port}") };
    bracketed(host) + &port
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

fn tcp(text: &str) -> Result<Probe, String> {
    let text = text.strip_prefix("//").unwrap_or(text);
    let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = if is_port { ("127.0.0.1".into(), Some(text)) } else { host_and_port(text)? };
    let port = port.filter(|port| !port.is_empty()).ok_or("has no port")?;
    Ok(Probe::Tcp { host, port: port_number(port)? })
}

fn http(text: &str) -> Result<Probe, String> {
    let text = text.strip_prefix("//").ok_or("has no host")?;
    let (place, path) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    if !path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
        return Err("has a blank, a # or a character beyond ASCII in its path, which must be written as %XX".into());
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (host, port) = host_and_port(place)?;
    Ok(Probe::Http { host, port: port.map_or(Ok(80), port_number)?, path: format!("{slash}{path}").into() })
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn host_and_port(text: &str) -> Result<(Box<str>, Option<&str>), String> {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match in_brackets {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("has more than a port after the bracket")?)),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    match (in_brackets.is_some(), host) {
        (_, "") => Err("has no host".into()),
        (true, host) if host.parse::<Ipv6Addr>().is_err() => Err(format!("has no IPv6 address in brackets: {host}")),
        (false, host) if host.contains(':') => Err("has an IPv6 address without brackets".into()),
        (false, host) if !is_name(host) => Err(format!("has an invalid host: {}", repr(host))),
        _ => Ok((host.into(), port)),
    }
}

fn port_number(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    port.ok_or_else(|| format!("has an invalid port, {}: it must be from 1 to 65535", repr(text)))
}

fn path(text: &str) -> Result<Box<Path>, String> {
    let text = text.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(text);
    if text.starts_with('/') { Ok(text::to_path(text).into()) } else { Err("has no absolute path".into()) }
}

fn socket_path(text: &str) -> Result<Box<Path>, String> {
    match path(text)? {
        path if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES => {
            Err(format!("has a path of {} bytes: a socket's has at most 107", path.as_os_str().len()))
        }
        path => Ok(path),
    }
}

fn command(text: &str) -> Result<Probe, String> {
    match split_command(text) {
        Ok(words) if words.is_empty() => Err("has no command".into()),
        Ok(_) => Ok(Probe::Exec(text.into())),
        Err(why) => Err(format!("cannot be split into words: {why}")),
    }
}

/// `ready`: the sign that a process is ready. [`fmt::Display`] writes the form that [`Readiness::parse`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The probe succeeds.
    Probe(Probe),
    /// The process, or one of its descendants, sends `READY=1` to NOTIFY_SOCKET (sd_notify(3)).
    Notify,
    /// The process writes a newline to this descriptor, 3 or more.
    Fd(i32),
    /// A line of its output matches this regular expression, which [`line_regex`] compiles.
    Line(Box<str>),
}

impl Readiness {
    /// Parses `ready`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("notify", "") if text == "notify" => Ok(Self::Notify),
            ("fd", number) => {
                let fd = number.parse().ok().filter(|fd| *fd >= 3 && !number.starts_with('+'));
                fd.map(Self::Fd).ok_or_else(|| {
                    format!("{} has no descriptor from 3 on (0 to 2 are stdin, stdout, stderr); write fd:3", repr(text))
                })
            }
            ("line", pattern) => line_regex(pattern).map(|_| Self::Line(pattern.into())),
            _ => Probe::one_of(text, &NAMES, READY_FORMS).map(Self::Probe),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe(probe) => probe.fmt(f),
            Self::Notify => f.write_str("notify"),
            Self::Fd(fd) => write!(f, "fd:{fd}"),
            Self::Line(pattern) => write!(f, "line:{pattern}"),
        }
    }
}

/// Compiles the regular expression of `line:`.
pub fn line_regex(pattern: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(pattern).size_limit(REGEX_MAX_BYTES).build();
    let refusal = |why: &str| format!("{} {why}; write line:REGEX", repr(&format!("line:{pattern}")));
    match compiled {
        Ok(_) if pattern.is_empty() => Err(refusal("has no regular expression")),
        compiled => compiled.map_err(|why| refusal(&format!("has an invalid regular expression ({why})"))),
    }
}

/// `healthcheck` and the options that belong to it. Box it: most processes have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// From the end of one try to the start of the next, in milliseconds.
    pub interval_ms: u32,
    /// A try that takes longer has failed.
    pub timeout_ms: u32,
    /// After this many failures in a row the process is unhealthy; 1 or more.
    pub retries: u32,
    /// Failures do not count this long after RUNNING, up to the first success.
    pub start_period_ms: u32,
    /// What happens to an unhealthy process.
    pub action: HealthAction,
}

impl HealthCheck {
    /// A check with the default of each other option.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        let action = HealthAction::Restart;
        Self { probe, interval_ms: 30_000, timeout_ms: 5_000, retries: 3, start_period_ms: 0, action }
    }
}

/// `healthcheck_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HealthAction {
    /// Restart the process.
    #[default]
    Restart,
    /// Stop the process.
    Stop,
    /// Only show it.
    None,
}

impl HealthAction {
    /// Parses `healthcheck_action`, in any case.
    pub fn parse(text: &str) -> Result<Self, String> {
        match &*text.to_lowercase() {
            "restart" => Ok(Self::Restart),
            "stop" => Ok(Self::Stop),
            "none" => Ok(Self::None),
            _ => Err(format!("not an action: {}; write restart, stop or none", repr(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_parsed_and_shown_with_its_host() {
        for (text, shown) in [
            ("tcp:5432", "tcp:127.0.0.1:5432"),
            ("tcp:Db_1.example:5432", "tcp:Db_1.example:5432"),
            ("tcp:[::1]:1", "tcp:[::1]:1"),
            ("tcp://localhost:65535", "tcp:localhost:65535"),
            ("unix:/run/db.sock", "unix:/run/db.sock"),
            ("unix:///run/db.sock", "unix:/run/db.sock"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://[::1]/a?b=c:d", "http://[::1]/a?b=c:d"),
            ("http://web:80?q", "http://web/?q"),
            ("file:/run/ready: yes", "file:/run/ready: yes"),
            ("exec:pg_isready -q -h '/run/my db'", "exec:pg_isready -q -h '/run/my db'"),
        ] {
            let probe = Probe::parse(text).unwrap();
            assert_eq!(probe.to_string(), shown, "{text}");
            assert_eq!(Readiness::parse(text), Ok(Readiness::Probe(probe)), "{text}");
        }
        for text in ["notify", "fd:3", "fd:2147483647", r"line:^ready: \d+ (of|from) \d+$"] {
            assert_eq!(Readiness::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Readiness::parse("fd:7"), Ok(Readiness::Fd(7)));
    }

    #[test]
    fn each_mistake_has_what_to_write() {
        let tcp = "; write tcp:PORT, tcp:HOST:PORT or tcp:[V6]:PORT";
        let http = "; write http://HOST[:PORT]/path";
        for (text, why) in [
            ("tcp:", format!("'tcp:' has no port{tcp}")),
            ("tcp", format!("'tcp' has no port{tcp}")),
            ("tcp:db:", format!("'tcp:db:' has no port{tcp}")),
            ("tcp:[::1]", format!("'tcp:[::1]' has no port{tcp}")),
            ("tcp::80", format!("'tcp::80' has no host{tcp}")),
            ("tcp:::1:80", format!("'tcp:::1:80' has an IPv6 address without brackets{tcp}")),
            ("tcp:[::g]:80", format!("'tcp:[::g]:80' has no IPv6 address in brackets: ::g{tcp}")),
            ("tcp:[::1]80", format!("'tcp:[::1]80' has more than a port after the bracket{tcp}")),
            ("tcp:a b:80", format!("'tcp:a b:80' has an invalid host: 'a b'{tcp}")),
            ("tcp:0", format!("'tcp:0' has an invalid port, '0': it must be from 1 to 65535{tcp}")),
            ("tcp:db:65536", format!("'tcp:db:65536' has an invalid port, '65536': it must be from 1 to 65535{tcp}")),
            ("tcp:db:+80", format!("'tcp:db:+80' has an invalid port, '+80': it must be from 1 to 65535{tcp}")),
            ("tcp:10.0.0.1", format!("'tcp:10.0.0.1' has no port{tcp}")),
            ("unix:db.sock", "'unix:db.sock' has no absolute path; write unix:/path".into()),
            ("http:/x", format!("'http:/x' has no host{http}")),
            ("http:///x", format!("'http:///x' has no host{http}")),
            ("http://u@web/", format!("'http://u@web/' has an invalid host: 'u@web'{http}")),
            ("http://web:x/", format!("'http://web:x/' has an invalid port, 'x': it must be from 1 to 65535{http}")),
            ("file:ready", "'file:ready' has no absolute path; write file:/path".into()),
            ("exec:", "'exec:' has no command; write exec:COMMAND".into()),
            ("exec: 'a", r#""exec: 'a" cannot be split into words: No closing quotation; write exec:COMMAND"#.into()),
            ("", format!("'' has no known form; write {PROBE_FORMS}")),
            ("8080", format!("'8080' has no known form; write {PROBE_FORMS}")),
            ("htp://web/", "'htp://web/' has no known form; did you mean http:?".into()),
            ("TCP:80", "'TCP:80' has no known form; did you mean tcp:?".into()),
        ] {
            assert_eq!(Probe::parse(text), Err(why), "{text}");
        }
        let https = Probe::parse("https://web/").unwrap_err();
        assert!(https.starts_with("'https://web/' needs TLS, which rsup does not have; write http"), "{https}");
        let blank = Probe::parse("http://web/a b").unwrap_err();
        assert!(blank.contains("must be written as %XX; write http"), "{blank}");
        let long = Probe::parse(&format!("unix:/{}", "x".repeat(107))).unwrap_err();
        assert!(long.ends_with("has a path of 108 bytes: a socket's has at most 107; write unix:/path"), "{long}");
    }

    #[test]
    fn each_mistake_in_a_sign_of_readiness_has_what_to_write() {
        let fd = |text| format!("'{text}' has no descriptor from 3 on (0 to 2 are stdin, stdout, stderr); write fd:3");
        for (text, why) in [
            ("fd:1", fd("fd:1")),
            ("fd", fd("fd")),
            ("fd:+3", fd("fd:+3")),
            ("fd:99999999999", fd("fd:99999999999")),
            ("notify:", "'notify:' has no known form; did you mean notify?".into()),
            ("notifiy", "'notifiy' has no known form; did you mean notify?".into()),
            ("lines:x", "'lines:x' has no known form; did you mean line:?".into()),
            ("line:", "'line:' has no regular expression; write line:REGEX".into()),
            ("", format!("'' has no known form; write {READY_FORMS}")),
        ] {
            assert_eq!(Readiness::parse(text), Err(why), "{text}");
        }
        let bad = Readiness::parse("line:(ready").unwrap_err();
        assert!(bad.starts_with("'line:(ready' has an invalid regular expression (") && bad.ends_with("line:REGEX"));
        let large = Readiness::parse("line:(a{1000}){1000}").unwrap_err();
        assert!(large.contains("exceeded size limit"), "{large}");
    }

    #[test]
    fn a_script_is_an_address_or_a_command() {
        let shown = |text| Probe::parse_script(text).map(|probe| probe.to_string());
        assert_eq!(shown("http://web:8080/up"), Ok("http://web:8080/up".into()));
        assert_eq!(shown("tcp://127.0.0.1:6379"), Ok("tcp:127.0.0.1:6379".into()));
        assert_eq!(shown("/bin/check --url ftp://x"), Ok("exec:/bin/check --url ftp://x".into()));
        assert_eq!(
            shown("tcp://web"),
            Err("'tcp://web' has no port; write tcp:PORT, tcp:HOST:PORT or tcp:[V6]:PORT".into())
        );
        assert!(shown("https://web/").unwrap_err().contains("TLS"));
        assert_eq!(shown(" "), Err("' ' has no command; write a command".into()));
    }

    #[test]
    fn actions_are_words() {
        assert_eq!(HealthAction::parse("Stop"), Ok(HealthAction::Stop));
        assert_eq!(HealthAction::parse("none"), Ok(HealthAction::None));
        assert_eq!(HealthAction::parse("kill"), Err("not an action: 'kill'; write restart, stop or none".into()));
        let check = HealthCheck::new(Probe::parse("tcp:80").unwrap());
        assert_eq!((check.action, check.interval_ms, check.timeout_ms), (HealthAction::Restart, 30_000, 5_000));
        assert!(size_of::<Probe>() <= 40 && size_of::<HealthCheck>() <= 64);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_shown_in_a_form_that_means_the_same(
            text in "(tcp|unix|http|file|exec|fd|line|notify|https|)(:|://)?[a-z0-9:./?#' \\[\\]%é\u{10ff80}()*-]{0,12}"
        ) {
            if let Ok(ready) = Readiness::parse(&text) {
                prop_assert_eq!(Readiness::parse(&ready.to_string()), Ok(ready));
            }
            if let Ok(probe) = Probe::parse_script(&text) {
                prop_assert_eq!(Probe::parse(&probe.to_string()), Ok(probe));
            }
        }

        #[test]
        fn any_text_is_accepted_or_refused_with_advice(text in ".{0,40}") {
            for refused in [Probe::parse(&text).err(), Readiness::parse(&text).err(), Probe::parse_script(&text).err()] {
                prop_assert!(refused.is_none_or(|why| why.contains("; ")));
            }
        }
    }
}
