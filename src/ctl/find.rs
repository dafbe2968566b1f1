//! Which server to talk to: what the command line says, else a configuration, else what PID 1 was started with, else
//! the sockets where rsup listens when its configuration names none.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::Client;
use crate::config::model::{HttpServerConfig, SocketAddress};
use crate::getopt;

/// Where rsup listens when no server section says otherwise, in the order in which it tries to.
pub const DEFAULT_SOCKETS: [&str; 3] = ["/run/rsup.sock", "/tmp/rsup.sock", "/dev/shm/rsup.sock"];
/// Supervisor's own last resort.
const DEFAULT_URL: &str = "http://localhost:9001";

/// What a configuration says to a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// `[supervisorctl]`: serverurl (Supervisor's default if not given), username, password; `None`: no such section.
    pub section: Option<(String, Option<String>, Option<String>)>,
    /// The server sections, in file order.
    pub servers: Vec<HttpServerConfig>,
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// `-c`
    pub configuration: Option<String>,
    /// `-s`
    pub serverurl: Option<String>,
    /// `-u`
    pub username: Option<String>,
    /// `-p`
    pub password: Option<String>,
}

/// A server that was found.
pub struct Found {
    /// The way to it.
    pub client: Client,
    /// Nothing named it: it is Supervisor's own last resort.
    pub is_guess: bool,
}

impl Wanted {
    /// Finds the server, or says in what way the configuration is no use. `program`: the name that we were called by,
    /// from which the search for a configuration starts; `timeout`: as in [`Client::new`].
    pub fn find(&self, program: &str, timeout: Option<Duration>) -> Result<Found, String> {
        let is_complete = self.serverurl.is_some() && self.username.is_some() && self.password.is_some();
        let file = match &self.configuration {
            _ if is_complete => None,
            Some(file) if !Path::new(file).exists() => return Err(format!("could not find config file {file}")),
            Some(file) => Some(PathBuf::from(file)),
            None => search(program),
        };
        let said = file.map(|file| read(&file)).transpose()?.unwrap_or_default();
        let named = self.named_by(&said).or_else(|| {
            // A configuration of PID 1 that we cannot read is no reason to give up.
            self.named_by(&read(&configuration_of_init()?).ok()?)
        });
        if let Some((url, credentials)) = named {
            return Ok(Found { client: Client::new(url, credentials, timeout), is_guess: false });
        }
        let listening = DEFAULT_SOCKETS.iter().find_map(|path| Client::of_default_socket(Path::new(path), timeout));
        let is_guess = listening.is_none();
        let client = listening.unwrap_or_else(|| Client::new(DEFAULT_URL.into(), self.credentials(), timeout));
        Ok(Found { client, is_guess })
    }

    /// The address and the credentials that the command line and a configuration give together, if any.
    fn named_by(&self, said: &Said) -> Option<(String, Option<(String, String)>)> {
        if let Some((url, username, password)) = &said.section {
            let username = self.username.clone().or_else(|| username.clone());
            let password = self.password.clone().or_else(|| password.clone());
            return Some((self.serverurl.clone().unwrap_or_else(|| url.clone()), username.zip(password)));
        }
        if let Some(url) = &self.serverurl {
            return Some((url.clone(), self.credentials()));
        }
        let server = said.servers.first()?;
        let url = match &server.address {
            SocketAddress::Unix(path) => format!("unix://{}", path.display()),
            SocketAddress::Tcp(host, port) if host.is_empty() => format!("http://localhost:{port}"),
            SocketAddress::Tcp(host, port) => format!("http://{host}:{port}"),
        };
        // Of a hashed password the server knows no more than we do.
        let own = server.credentials.clone().filter(|(_, password)| !password.starts_with("{SHA}"));
        Some((url, self.credentials().or(own)))
    }

    fn credentials(&self) -> Option<(String, String)> {
        self.username.clone().zip(self.password.clone())
    }
}

fn search(program: &str) -> Option<PathBuf> {
    let _ = program;
    None
}

fn read(file: &Path) -> Result<Said, String> {
    let _ = file;
    Ok(Said::default())
}

/// The configuration that PID 1 was started with, if PID 1 is rsup. From then on we are in its working directory, so
/// that relative paths in its configuration mean to us what they mean to it.
fn configuration_of_init() -> Option<PathBuf> {
    let command_line = fs::read("/proc/1/cmdline").ok()?;
    let mut words = command_line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let program = words.next()?;
    let is_rsup = |path: &Path| path.file_name().is_some_and(|name| name == "rsup");
    if !is_rsup(Path::new(&program)) && !fs::read_link("/proc/1/exe").is_ok_and(|path| is_rsup(&path)) {
        return None;
    }
    let words: Vec<String> = words.collect();
    let (given, _) = getopt::parse(words.strip_suffix(&[String::new()]).unwrap_or(&words), getopt::SERVER).ok()?;
    let entered = std::env::set_current_dir("/proc/1/cwd").is_ok();
    match given.into_iter().find(|given| given.name == "configuration") {
        Some(given) => Some(PathBuf::from(given.argument)).filter(|file| entered || file.is_absolute()),
        None => search(&program),
    }
}
