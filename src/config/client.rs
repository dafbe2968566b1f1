//! Loads the parts of a configuration that a client needs: `[supervisorctl]` and the server sections.
#![forbid(unsafe_code)]

use super::load::ConfigReader;
use super::model::ClientConfig;
use super::{Machine, Severity, options};
use std::path::Path;

/// Reads the parts of a configuration that a client needs.
pub fn load_client(main_file: &Path, machine: &dyn Machine) -> ClientConfig {
    let reader = ConfigReader::open(main_file, false, machine);
    let section = reader.sections.section("supervisorctl").map(|section| reader.read(section, options::CLIENT));
    let mut problems = reader.problems();
    let mut reader = ConfigReader::open(main_file, true, machine);
    let _ = reader.server();
    let servers = reader.http();
    if section.is_none() {
        problems = reader.problems();
        problems.retain(|problem| problem.section != "supervisord");
    }
    problems.retain(|problem| problem.severity == Severity::Error);
    ClientConfig { section, servers, problems }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::SocketAddress;
    use crate::config::tests::fake::FakeMachine;

    fn read(text: &str) -> ClientConfig {
        load_client(
            Path::new("a/x.conf"),
            &FakeMachine::new(&[("/work/a/x.conf", text), ("/work/a/d/y.conf", "[unix_http_server]\nfile=%(here)s/s")]),
        )
    }

    #[test]
    fn the_client_section_is_read_with_its_defaults() {
        let found = read(
            "[supervisorctl]\nserverurl=unix://%(here)s/../s.sock\npassword=%(ENV_X)s\n[program:x]\nstartsecs=bad",
        )
        .section;
        let section = found.unwrap();
        assert_eq!((&*section.serverurl, section.password.as_deref()), ("unix:///work/s.sock", Some("x y")));
        assert_eq!((&*section.prompt, section.history_file, section.username), ("supervisor", None, None));
        assert_eq!(read("[supervisorctl]").section.unwrap().serverurl, "http://localhost:9001");
    }

    #[test]
    fn without_a_client_section_the_servers_are_read_and_other_errors_ignored() {
        let found = read("[program:x]\nuser=nemo\n[include]\nfiles=d/*.conf\n[inet_http_server]\nport=*:80");
        let at: Vec<_> = found.servers.iter().map(|server| server.address.clone()).collect();
        assert_eq!(at, [SocketAddress::Tcp(String::new(), 80), SocketAddress::Unix("/work/a/d/s".into())]);
        assert_eq!((found.section, found.problems), (None, vec![]));
        assert_eq!(read("oops").problems.len(), 1);
    }
}
