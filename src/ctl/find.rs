//! Finds the server: from the command line, else from a configuration, else from the configuration that PID 1 was started with,
//! else at the default sockets.
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

/// The options of the command line that select the server.
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
    // Differs from Supervisor, where it has no effect.
    pub history_file: Option<PathBuf>,
}

/// The server that was found.
pub struct FoundServer {
    /// A client of it.
    pub client: RpcClient,
    /// Set if no server was found and the client has Supervisor's default address: the message that says so.
    pub not_found: Option<String>,
    /// The prompt of the interactive shell.
    pub prompt: String,
    /// The file for the history of the shell.
    pub history_file: Option<PathBuf>,
}

impl ServerOptions {
    /// Finds the server; the error says what is wrong with the configuration. `program`: the name that the client was called by,
    /// from which the search for a configuration starts. `timeout`: as in [`WaitLimits`].
    pub fn find(&self, program: &str, timeout: Option<Duration>) -> Result<FoundServer, String> {
        let is_complete = self.serverurl.is_some() && self.username.is_some() && self.password.is_some();
        let file = match &self.configuration {
            Some(file) if !file.exists() => return Err(format!("could not find config file {}", file.display())),
            Some(file) => Some(file.clone()),
            None => machine::search(program).ok(),
        };
        let settings = match file.map(|file| read(&file)) {
            // An invalid configuration does not matter if the command line has everything.
            Some(Err(why)) if !is_complete => return Err(why),
            settings => settings.and_then(Result::ok).unwrap_or_default(),
        };
        let server = self.server_of(&settings).or_else(|| {
            // If the configuration of PID 1 cannot be read, the default sockets are tried.
            self.server_of(&read(&configuration_of_pid1()?).ok()?)
        });
        let limits = WaitLimits { timeout, interrupts: None };
        let (client, not_found) = match server {
            Some((url, credentials)) => (RpcClient::new(url, credentials, limits), None),
            None => match find_default_socket(&limits) {
                Ok(listening) => (listening, None),
                Err(message) => {
                    (RpcClient::new(DEFAULT_URL.into(), self.credentials(&settings), limits), Some(message))
                }
            },
        };
        let section = settings.section.as_ref();
        let prompt = section.map_or_else(|| "supervisor".to_owned(), |section| section.prompt.clone());
        let history_file = self.history_file.clone().or_else(|| section?.history_file.clone());
        Ok(FoundServer { client, not_found, prompt, history_file })
    }

    /// The address and the credentials from the command line and a configuration together, if they give an address.
    fn server_of(&self, settings: &ClientConfig) -> Option<(String, Option<(String, String)>)> {
        let of_section = settings.section.as_ref().map(|section| &section.serverurl);
        // A section with the default address, in a file without servers, does not define a server of rsup.
        let of_section = of_section.filter(|url| *url != DEFAULT_URL || !settings.servers.is_empty());
        if let Some(url) = self.serverurl.as_ref().or(of_section) {
            return Some((url.clone(), self.credentials(settings)));
        }
        let server = settings.servers.first()?;
        let url = match &server.address {
            SocketAddress::Unix(path) => format!("unix://{}", text::of_os(path)),
            SocketAddress::Tcp(host, port) if host.is_empty() => format!("http://127.0.0.1:{port}"),
            SocketAddress::Tcp(host, port) => format!("http://{host}:{port}"),
        };
        // The client must send the password itself, which cannot be computed from its hash.
        let own = server.credentials.clone().filter(|(_, password)| !password.starts_with("{SHA}"));
        Some((url, self.credentials(settings).or(own)))
    }

    /// User name and password, each from the command line, or else from `[supervisorctl]`.
    fn credentials(&self, settings: &ClientConfig) -> Option<(String, String)> {
        let section = settings.section.as_ref();
        let username = self.username.clone().or_else(|| section?.username.clone());
        let password = self.password.clone().or_else(|| section?.password.clone());
        username.zip(password)
    }
}

/// Reads the settings of the client from a configuration. The error has a line for each problem.
fn read(file: &Path) -> Result<ClientConfig, String> {
    let settings = config::load_client(file, &Real);
    if settings.problems.is_empty() {
        return Ok(settings);
    }
    Err(settings.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Connects to the first default socket with a trusted server. The error is a message that there is none.
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
        if pid1_is_rsup() { "the configuration of PID 1 defines none or cannot be read" } else { "PID 1 is not rsup" };
    let message =
        format!("cannot find a running supervisor: no configuration file defines a control socket, {init}, and");
    if unusable.is_empty() {
        return Err(format!("{message} nothing is listening on {}", DEFAULT_SOCKETS.join(", ")));
    }
    Err(format!("{message} no default socket can be used:\n  {}", unusable.join("\n  ")))
}

/// Trusts the server of a default socket if it runs as root or as the user of the client. Root also trusts an rsup that is PID 1
/// and runs as any user, so that `docker exec -u 0` reaches it.
fn trust(pid: libc::pid_t, uid: libc::uid_t) -> Result<(), String> {
    let own = nix::unistd::geteuid().as_raw();
    if uid == 0 || uid == own || own == 0 && pid == 1 && pid1_is_rsup() {
        return Ok(());
    }
    Err(format!("not trusted: its server runs as user {uid} and is not rsup as PID 1"))
}

/// The command line of PID 1; empty if it cannot be read.
fn command_line_of_pid1() -> Vec<OsString> {
    let command_line = fs::read("/proc/1/cmdline").unwrap_or_default();
    let Some(words) = command_line.strip_suffix(b"\0") else { return Vec::new() };
    words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// Whether PID 1 is rsup, or the client's executable by another name. The executable of another user's process can be read only
/// with CAP_SYS_PTRACE. Without it, the name of the process counts, which is supervisord where rsup replaces that.
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

/// The configuration that PID 1 was started with, if PID 1 is rsup. Changes to its working directory, so that relative paths in
/// its configuration are resolved as PID 1 resolves them.
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
    fn the_command_line_overrides_the_section_and_that_the_servers() {
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
