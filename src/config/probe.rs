//! What `ready` and `healthcheck` mean: probes, the other signs of readiness, and what a failed check leads to. Text to values and
//! back; `crate::probes` tries them.
//!
//! A message has the value, what is wrong with it, and after a semicolon what to write instead.
#![forbid(unsafe_code)]

use super::model::{HealthAction, Probe, Readiness};
use super::nearest::hint;
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

/// The largest compiled regular expression, in bytes: hundreds of characters. The worst one takes 5 µs a byte of output.
const REGEX_MAX_BYTES: usize = 32 * 1024;

impl Probe {
    /// Parses `healthcheck`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::one_of(text, NAMES.get(3..).unwrap_or_default(), PROBE_FORMS)
    }

    /// Parses `liveness_check_script` of ochinchina/supervisord: `http://…`, `tcp://HOST:PORT`, or else a command.
    pub fn parse_script(text: &str) -> Result<Self, String> {
        let is_address = ["http://", "https://", "tcp://"].iter().any(|start| text.starts_with(start));
        let command = |text| command(text).map_err(|why| format!("{} {why}; write a command", repr(text)));
        if is_address { Self::parse(text) } else { command(text) }
    }

    fn one_of(text: &str, names: &[&str], forms: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let (parsed, form) = match name {
            "tcp" => (tcp(rest.strip_prefix("//").unwrap_or(rest)), "tcp:PORT, tcp:HOST:PORT or tcp:[V6]:PORT"),
            "unix" => (path(rest).map(Self::Unix), "unix:/path"),
            "http" => (http(rest), "http://HOST[:PORT]/path or http://[V6][:PORT]/path"),
            "https" => (Err("needs TLS, which rsup does not have".into()), "http://HOST[:PORT]/path or exec:COMMAND"),
            "file" => (path(rest).map(Self::File), "file:/path"),
            "exec" => (command(rest), "exec:COMMAND"),
            _ => {
                let near = hint(text.split_inclusive(':').next().unwrap_or_default(), names.iter().copied());
                return Err(format!("{} has no known form; write {forms}{near}", repr(text)));
            }
        };
        parsed.map_err(|why| format!("{} {why}; write {form}", repr(text)))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "tcp:{}", authority(host, *port, 0)),
            Self::Unix(path) => write!(f, "unix:{}", text::of_os(&**path)),
            Self::Http(host, port, path) => write!(f, "http://{}{path}", authority(host, *port, 80)),
            Self::File(path) => write!(f, "file:{}", text::of_os(&**path)),
            Self::Exec(command) => write!(f, "exec:{command}"),
        }
    }
}

/// Host and port, as in a URL. The port is left out if it is `default`.
pub fn authority(host: &str, port: u16, default: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.into() };
    if port == default { host } else { format!("{host}:{port}") }
}

fn tcp(text: &str) -> Result<Probe, String> {
    let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
    let place = if is_port { &format!("127.0.0.1:{text}") } else { text };
    host_and_port(place, "").map(|(host, port)| Probe::Tcp(host, port))
}

fn http(text: &str) -> Result<Probe, String> {
    let text = text.strip_prefix("//").ok_or("has no host")?;
    let (place, path) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    let is_plain = path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#');
    let path = is_plain.then_some(path).ok_or("has a blank, # or non-ASCII character in its path: it must be %XX")?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (host, port) = host_and_port(place, "80")?;
    Ok(Probe::Http(host, port, format!("{slash}{path}").into()))
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn host_and_port(text: &str, default_port: &str) -> Result<(Box<str>, u16), String> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed.filter(|(_, rest)| rest.is_empty() || rest.starts_with(':')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let is_host = if text.starts_with('[') { host.parse::<Ipv6Addr>().is_ok() } else { is_name && !host.is_empty() };
    let port = port.unwrap_or(default_port);
    match port.parse() {
        _ if !is_host => Err(format!("has no valid host in {}", repr(text))),
        _ if port.is_empty() => Err("has no port".into()),
        Ok(port @ 1..) => Ok((host.into(), port)),
        _ => Err(format!("has an invalid port, {}: it must be from 1 to 65535", repr(port))),
    }
}

fn path(text: &str) -> Result<Box<Path>, String> {
    if text.starts_with('/') { Ok(text::to_path(text).into()) } else { Err("has no absolute path".into()) }
}

fn command(text: &str) -> Result<Probe, String> {
    let words = split_command(text).map_err(|why| format!("cannot be split into words: {why}"))?;
    if words.is_empty() { Err("has no command".into()) } else { Ok(Probe::Exec(text.into())) }
}

impl Readiness {
    /// Parses `ready`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            _ if text == "notify" => Ok(Self::Notify),
            ("fd", number) => match number.parse() {
                Ok(fd @ 3..) => Ok(Self::Fd(fd)),
                _ => Err(format!(
                    "{} has no descriptor from 3 on, after stdin, stdout and stderr; write fd:3",
                    repr(text)
                )),
            },
            ("line", "") => Err(format!("{} has no regular expression; write line:REGEX", repr(text))),
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
    compiled.map_err(|why| format!("{} is not a regular expression: {why}; write line:REGEX", repr(pattern)))
}

impl HealthAction {
    /// Parses `healthcheck_action`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = [("restart", Self::Restart), ("stop", Self::Stop), ("none", Self::None)];
        let action = words.into_iter().find(|(word, _)| *word == text).map(|(_, action)| action);
        action.ok_or_else(|| format!("not an action: {}; write restart, stop or none", repr(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::HealthCheck;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_parsed_and_shown_with_its_host() {
        for (text, shown) in [
            ("tcp:5432", "tcp:127.0.0.1:5432"),
            ("tcp:Db_1.example:5432", "tcp:Db_1.example:5432"),
            ("tcp:[::1]:1", "tcp:[::1]:1"),
            ("tcp://localhost:65535", "tcp:localhost:65535"),
            ("unix:/run/db.sock", "unix:/run/db.sock"),
            ("unix:///run/db.sock", "unix:///run/db.sock"),
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
        let http = "; write http://HOST[:PORT]/path or http://[V6][:PORT]/path";
        for (text, why) in [
            ("tcp:", format!("'tcp:' has no port{tcp}")),
            ("tcp", format!("'tcp' has no port{tcp}")),
            ("tcp:db:", format!("'tcp:db:' has no port{tcp}")),
            ("tcp:[::1]", format!("'tcp:[::1]' has no port{tcp}")),
            ("tcp::80", format!("'tcp::80' has no valid host in ':80'{tcp}")),
            ("tcp:::1:80", format!("'tcp:::1:80' has no valid host in '::1:80'{tcp}")),
            ("tcp:[::g]:80", format!("'tcp:[::g]:80' has no valid host in '[::g]:80'{tcp}")),
            ("tcp:[::1]80", format!("'tcp:[::1]80' has no valid host in '[::1]80'{tcp}")),
            ("tcp:a b:80", format!("'tcp:a b:80' has no valid host in 'a b:80'{tcp}")),
            ("tcp:0", format!("'tcp:0' has an invalid port, '0': it must be from 1 to 65535{tcp}")),
            ("tcp:db:65536", format!("'tcp:db:65536' has an invalid port, '65536': it must be from 1 to 65535{tcp}")),
            ("tcp:10.0.0.1", format!("'tcp:10.0.0.1' has no port{tcp}")),
            ("unix:db.sock", "'unix:db.sock' has no absolute path; write unix:/path".into()),
            ("http:/x", format!("'http:/x' has no host{http}")),
            ("http:///x", format!("'http:///x' has no valid host in ''{http}")),
            ("http://u@web/", format!("'http://u@web/' has no valid host in 'u@web'{http}")),
            ("http://web:x/", format!("'http://web:x/' has an invalid port, 'x': it must be from 1 to 65535{http}")),
            ("file:ready", "'file:ready' has no absolute path; write file:/path".into()),
            ("exec:", "'exec:' has no command; write exec:COMMAND".into()),
            ("exec: 'a", r#""exec: 'a" cannot be split into words: No closing quotation; write exec:COMMAND"#.into()),
            ("", format!("'' has no known form; write {PROBE_FORMS}")),
            ("8080", format!("'8080' has no known form; write {PROBE_FORMS}")),
            ("htp://web/", format!("'htp://web/' has no known form; write {PROBE_FORMS}; did you mean http:?")),
            ("TCP:80", format!("'TCP:80' has no known form; write {PROBE_FORMS}; did you mean tcp:?")),
            ("fd:3", format!("'fd:3' has no known form; write {PROBE_FORMS}")),
        ] {
            assert_eq!(Probe::parse(text), Err(why), "{text}");
        }
        let https = Probe::parse("https://web/").unwrap_err();
        assert!(https.starts_with("'https://web/' needs TLS, which rsup does not have; write http"), "{https}");
        let blank = Probe::parse("http://web/a b").unwrap_err();
        assert!(blank.contains("it must be %XX; write http"), "{blank}");
    }

    #[test]
    fn each_mistake_in_a_sign_of_readiness_has_what_to_write() {
        let fd = |text| format!("'{text}' has no descriptor from 3 on, after stdin, stdout and stderr; write fd:3");
        for (text, why) in [
            ("fd:1", fd("fd:1")),
            ("fd", fd("fd")),
            ("fd:-3", fd("fd:-3")),
            ("fd:99999999999", fd("fd:99999999999")),
            ("notify:", format!("'notify:' has no known form; write {READY_FORMS}; did you mean notify?")),
            ("notifiy", format!("'notifiy' has no known form; write {READY_FORMS}; did you mean notify?")),
            ("lines:x", format!("'lines:x' has no known form; write {READY_FORMS}; did you mean line:?")),
            ("line:", "'line:' has no regular expression; write line:REGEX".into()),
            ("", format!("'' has no known form; write {READY_FORMS}")),
        ] {
            assert_eq!(Readiness::parse(text), Err(why), "{text}");
        }
        let bad = Readiness::parse("line:(ready").unwrap_err();
        assert!(bad.starts_with("'(ready' is not a regular expression: ") && bad.ends_with("line:REGEX"));
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
        assert_eq!(HealthAction::parse("stop"), Ok(HealthAction::Stop));
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
