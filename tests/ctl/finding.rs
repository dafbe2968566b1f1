//! How `rsupctl` finds its server: what the command line says, a configuration, PID 1, the default sockets.

use crate::fake::{Answer, Fake};
use crate::harness::{Ran, run};
use crate::rsupctl;
use rsup::wire::xmlrpc::Value;
use std::path::Path;

fn server() -> Fake {
    Fake::start(|method, _| match method {
        "supervisor.getVersion" => Answer::Value("3.0".into()),
        "supervisor.getPID" => Answer::Value(77.into()),
        _ => Answer::Value(Value::Array(vec![])),
    })
}

fn pid_in(dir: &Path, args: &[&str]) -> Ran {
    run(rsupctl().current_dir(dir).args(args).arg("pid"))
}

fn answered() -> Ran {
    Ran { code: 0, out: "77\n".into(), err: String::new() }
}

#[test]
fn the_configuration_names_the_server() {
    let fake = server();
    let socket = fake.url().replace("unix://", "");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.conf");
    for conf in [
        format!("[supervisorctl]\nserverurl=unix://{socket}\n"),
        format!("[unix_http_server]\nfile={socket}\n[program:x]\ncommand=/bin/cat\n"),
        format!(
            "[supervisord]\n[include]\nfiles=*.inc\n[unix_http_server]\nfile=%(ENV_SOCKET)s\n[program:x]\ncommand=\n# {socket}"
        ),
    ] {
        std::fs::write(&file, conf.replace("%(ENV_SOCKET)s", &socket)).unwrap();
        assert_eq!(pid_in(Path::new("/"), &["-c", file.to_str().unwrap()]), answered(), "{conf}");
        // As it is found by the search.
        for name in ["supervisord.conf", "rsup.conf", "etc/supervisord.conf"] {
            let found = dir.path().join(name);
            std::fs::create_dir_all(found.parent().unwrap()).unwrap();
            std::fs::copy(&file, &found).unwrap();
            assert_eq!(pid_in(dir.path(), &[]), answered(), "{name}: {conf}");
            std::fs::remove_file(found).unwrap();
        }
    }
}

#[test]
fn the_command_line_stands_above_the_configuration() {
    let fake = server();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("supervisord.conf"), "[supervisorctl]\nserverurl=unix:///none\n").unwrap();
    assert_eq!(pid_in(dir.path(), &["-s", &fake.url()]), answered());
    let ran = pid_in(dir.path(), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (7, "unix:///none no such file\n"));
}

#[test]
fn a_broken_configuration_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.conf"), "[supervisorctl]\nserverurl=%(nothing)s\n").unwrap();
    let ran = pid_in(dir.path(), &["-c", "x.conf"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.starts_with("Error: x.conf:2: [supervisorctl] serverurl: "), "{ran:?}");
}
