//! Which server to talk to: what the command line says, else a configuration, else what PID 1 was started with, else
//! the sockets where rsup listens when its configuration names none.
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::{CommandError, RpcClient};
use super::transport::WaitLimits;
use crate::config::model::{ClientConfig, DEFAULT_URL, SocketAddress};
use crate::config::{self, command_line};
use crate::machine::{self, Real};
use crate::protocol::DEFAULT_SOCKETS;
use crate::text;

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerOptions {
    /// `-c`
    pub configuration: Option<PathBuf>,
    /// `-s`
    pub serverurl: Option<String>,
    /// `-u`
    pub username: Option<String>,
    /// `-p`
    pub password: Option<String>,
    /// `-r`
    // Differs from Supervisor: there it has no effect.
    pub history_file: Option<PathBuf>,
}

/// A server that was found.
pub struct FoundServer {
    /// The way to it.
    pub client: RpcClient,
    /// Where the address is only Supervisor's own last resort: why no other is known, as a message.
    pub not_found: Option<String>,
    /// What the interactive shell asks with.
    pub prompt: String,
    /// Where it keeps what was typed.
    pub history_file: Option<PathBuf>,
}

impl ServerOptions {
    /// Finds the server, or says in what way the configuration is no use. `program`: the name that we were called by,
    /// from which the search for a configuration starts; `timeout`: as in [`WaitLimits`].
    pub fn find(&self, program: &str, timeout: Option<Duration>) -> Result<FoundServer, String> {
        let is_complete = self.serverurl.is_some() && self.username.is_some() && self.password.is_some();
        let file = match &self.configuration {
            Some(file) if !file.exists() => return Err(format!("could not find config file {}", file.display())),
            Some(file) => Some(file.clone()),
            None => machine::search(program).ok(),
        };
        let said = match file.map(|file| read(&file)) {
            // What is wrong there does not matter where the command line says it all.
            Some(Err(why)) if !is_complete => return Err(why),
            said => said.and_then(Result::ok).unwrap_or_default(),
        };
        let named = self.server_of(&said).or_else(|| {
            // A configuration of PID 1 that we cannot read is no reason to give up.
            self.server_of(&read(&configuration_of_pid1()?).ok()?)
        });
        let limits = WaitLimits { timeout, interrupts: None };
        let (client, not_found) = match named {
            Some((url, credentials)) => (RpcClient::new(url, credentials, limits), None),
            None => match find_default_socket(&limits) {
                Ok(listening) => (listening, None),
                Err(message) => (RpcClient::new(DEFAULT_URL.into(), self.credentials(&said), limits), Some(message)),
            },
        };
        let section = said.section.as_ref();
        let prompt = section.map_or_else(|| "supervisor".to_owned(), |section| section.prompt.clone());
        let history_file = self.history_file.clone().or_else(|| section?.history_file.clone());
        Ok(FoundServer { client, not_found, prompt, history_file })
    }

    /// The address and the credentials that the command line and a configuration give together, if any.
    fn server_of(&self, said: &ClientConfig) -> Option<(String, Option<(String, String)>)> {
        let of_section = said.section.as_ref().map(|section| &section.serverurl);
        // A section that leaves the address at its default, in a file without servers, says nothing about rsup.
        let of_section = of_section.filter(|url| *url != DEFAULT_URL || !said.servers.is_empty());
        if let Some(url) = self.serverurl.as_ref().or(of_section) {
            return Some((url.clone(), self.credentials(said)));
        }
        let server = said.servers.first()?;
        let url = match &server.address {
            SocketAddress::Unix(path) => format!("unix://{}", text::of_os(path)),
            SocketAddress::Tcp(host, port) if host.is_empty() => format!("http://127.0.0.1:{port}"),
            SocketAddress::Tcp(host, port) => format!("http://{host}:{port}"),
        };
        // A hash is not what the server wants to be sent.
        let own = server.credentials.clone().filter(|(_, password)| !password.starts_with("{SHA}"));
        Some((url, self.credentials(said).or(own)))
    }

    /// User and password of the command line, else of `[supervisorctl]`, each for itself.
    fn credentials(&self, said: &ClientConfig) -> Option<(String, String)> {
        let section = said.section.as_ref();
        let username = self.username.clone().or_else(|| section?.username.clone());
        let password = self.password.clone().or_else(|| section?.password.clone());
        username.zip(password)
    }
}

/// What a configuration says to a client; an error holds all that is wrong with it, a line each.
fn read(file: &Path) -> Result<ClientConfig, String> {
    let said = config::load_client(file, &Real);
    if said.problems.is_empty() {
        return Ok(said);
    }
    Err(said.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The server at the first default socket where a trusted one listens, or a message that there is none.
fn find_default_socket(limits: &WaitLimits) -> Result<RpcClient, String> {
    let mut unusable = Vec::new();
    for path in DEFAULT_SOCKETS {
        match RpcClient::at_default_socket(Path::new(path), limits.clone(), trust) {
            Ok(client) => return Ok(client),
            Err(CommandError::Other(why)) => unusable.push(why),
            Err(_) => {}
        }
    }
    let init =
        if pid1_is_rsup() { "the configuration of PID 1 names none that can be read" } else { "PID 1 is not rsup" };
    let message =
        format!("cannot find a running supervisor: no configuration file defines a control socket, {init}, and");
    if unusable.is_empty() {
        return Err(format!("{message} nothing is listening on {}", DEFAULT_SOCKETS.join(", ")));
    }
    Err(format!("{message} no default socket can be used:\n  {}", unusable.join("\n  ")))
}

/// The server of a default socket must run as root or as the client's own user. Root also trusts an rsup that is PID 1,
/// whichever user it runs as: in a container, `docker exec -u 0` is to reach it.
fn trust(pid: libc::pid_t, uid: libc::uid_t) -> Result<(), String> {
    let own = nix::unistd::geteuid().as_raw();
    if uid == 0 || uid == own || own == 0 && pid == 1 && pid1_is_rsup() {
        return Ok(());
    }
    Err(format!("not used: its server runs as user {uid} and is not rsup as PID 1"))
}

/// The words that PID 1 was started with, up to the last; empty: they cannot be read.
fn command_line_of_pid1() -> Vec<OsString> {
    let command_line = fs::read("/proc/1/cmdline").unwrap_or_default();
    let Some(words) = command_line.strip_suffix(b"\0") else { return Vec::new() };
    words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// Whether PID 1 is rsup, or the same executable by another name. Another user's executable is visible only with
/// CAP_SYS_PTRACE; without it the names that it was started by count, and rsup may have taken the place of supervisord.
fn pid1_is_rsup() -> bool {
    if let Ok(executable) = fs::read_link("/proc/1/exe") {
        let name = executable.file_name().unwrap_or_default();
        return name == "rsup"
            || name == "rsup (deleted)"
            || std::env::current_exe().is_ok_and(|own| own == executable);
    }
    let first = command_line_of_pid1().into_iter().next().unwrap_or_default();
    let name = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    [Path::new(&first).file_name().unwrap_or_default(), OsStr::new(name.trim_end())]
        .iter()
        .any(|name| *name == "rsup" || *name == "supervisord")
}

/// The configuration that PID 1 was started with, if PID 1 is rsup. From then on we are in its working directory, so
/// that relative paths in its configuration mean to us what they mean to it.
fn configuration_of_pid1() -> Option<PathBuf> {
    let words = command_line_of_pid1();
    let (program, words) = words.split_first()?;
    if !pid1_is_rsup() {
        return None;
    }
    let entered = std::env::set_current_dir("/proc/1/cwd").is_ok();
    let command_line::CommandLine::Run(options) = command_line::parse(words, &Real).ok()? else {
        return None;
    };
    match options.configuration {
        Some(file) => Some(file).filter(|file| entered || file.is_absolute()),
        None => machine::search(&text::of_os(program)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ClientSection;
    use crate::config::model::HttpServerConfig;

    fn server(address: SocketAddress, credentials: Option<(&str, &str)>) -> HttpServerConfig {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        HttpServerConfig {
            section: "x".into(),
            address,
            chmod: 0o700,
            chown: None,
            credentials,
            allowed_hosts: vec![],
            allowed_origins: vec![],
        }
    }

    fn section(url: &str, username: Option<&str>, password: Option<&str>) -> Option<ClientSection> {
        Some(ClientSection {
            serverurl: url.into(),
            username: username.map(str::to_owned),
            password: password.map(str::to_owned),
            prompt: String::new(),
            history_file: None,
        })
    }

    fn shown(wanted: &ServerOptions, section: Option<ClientSection>, servers: Vec<HttpServerConfig>) -> String {
        match wanted.server_of(&ClientConfig { section, servers, problems: vec![] }) {
            Some((url, Some((user, password)))) => format!("{url} {user} {password}"),
            Some((url, None)) => url,
            None => "none".into(),
        }
    }

    #[test]
    fn the_command_line_stands_above_the_section_and_that_above_the_servers() {
        let asked = ServerOptions {
            serverurl: Some("unix:///s".into()),
            username: Some("me".into()),
            ..ServerOptions::default()
        };
        let nothing = ServerOptions::default();
        let unix = || server(SocketAddress::Unix("/u".into()), Some(("own", "pass")));
        assert_eq!(shown(&nothing, None, vec![]), "none");
        assert_eq!(shown(&asked, None, vec![unix()]), "unix:///s");
        assert_eq!(shown(&asked, section("http://a", Some("you"), Some("p")), vec![unix()]), "unix:///s me p");
        assert_eq!(shown(&nothing, section("http://a", Some("you"), None), vec![unix()]), "http://a");
        assert_eq!(shown(&nothing, section(DEFAULT_URL, None, None), vec![unix()]), DEFAULT_URL);
        assert_eq!(shown(&nothing, section(DEFAULT_URL, None, None), vec![]), "none");
    }

    #[test]
    fn a_server_section_gives_its_own_address_and_credentials() {
        let nothing = ServerOptions::default();
        let tcp = |host: &str, credentials| server(SocketAddress::Tcp(host.into(), 80), credentials);
        assert_eq!(shown(&nothing, None, vec![tcp("", None), tcp("x", None)]), "http://127.0.0.1:80");
        assert_eq!(shown(&nothing, None, vec![tcp("h", Some(("a", "b")))]), "http://h:80 a b");
        assert_eq!(shown(&nothing, None, vec![tcp("h", Some(("a", "{SHA}ff")))]), "http://h:80");
        let given =
            ServerOptions { username: Some("c".into()), password: Some("d".into()), ..ServerOptions::default() };
        assert_eq!(shown(&given, None, vec![tcp("h", Some(("a", "b")))]), "http://h:80 c d");
    }
}
