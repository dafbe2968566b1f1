//! How `rsupctl` finds its server: what the command line says, a configuration, PID 1, the default sockets.

use crate::fake::{Answer, Fake};
use crate::harness::{Ran, Sandbox, Subject, run, skip, wait_for};
use crate::rsupctl;
use rsup::wire::xmlrpc::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

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
fn a_path_need_not_be_text() {
    let fake = server();
    let dir = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"caf\xe9.conf");
    std::fs::write(dir.path().join(name), format!("[supervisorctl]\nserverurl={}\n", fake.url())).unwrap();
    let ran = run(rsupctl().current_dir(dir.path()).arg("-c").arg(name).arg("pid"));
    assert_eq!(ran, answered());
    let check = run(Command::new(env!("CARGO_BIN_EXE_rsup")).current_dir(dir.path()).arg("check").arg(name));
    assert_eq!(check.code, 0, "{check:?}");
}

#[test]
fn a_broken_configuration_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.conf"), "[supervisorctl]\nserverurl=%(nothing)s\n").unwrap();
    let ran = pid_in(dir.path(), &["-c", "x.conf"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.starts_with("Error: x.conf:2: [supervisorctl] serverurl: "), "{ran:?}");
}

/// rsup as PID 1 of namespaces of its own with an empty /run, and what a client in the same namespaces says, in another
/// directory and without a word of where the server is.
fn as_in_a_container(configuration: &str, conf: &str, args: &[&str]) -> Option<Ran> {
    let mut namespaces = vec!["--pid", "--mount", "--fork", "--mount-proc", "--kill-child"];
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        namespaces.extend(["--user", "--map-root-user"]);
    }
    if run(Command::new("unshare").args(&namespaces).arg("true")).code != 0 {
        skip("no namespaces are allowed here (unshare)");
        return None;
    }
    let mut sandbox = Sandbox::bare(Subject::Rsup);
    sandbox.write("x.conf", conf);
    let mut init = Command::new("unshare");
    let start = format!("mount -t tmpfs none /run && exec bin/rsup -c {configuration}");
    init.args(&namespaces).args(["sh", "-c", &sandbox.fill(&start)]).current_dir(&sandbox.dir);
    init.env_clear().envs(sandbox.command("rsup").get_envs().map(|(name, value)| (name, value.unwrap())));
    sandbox.launch_as(init);
    sandbox.until_file("stdout", "supervisord started with pid 1");
    let outer = sandbox.pid();
    let pid: u32 = wait_for("PID 1", || {
        let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    });
    let mut client = Command::new("nsenter");
    client.arg(format!("--target={pid}")).args(["--pid", "--mount"]).args(if is_root { &[][..] } else { &["--user"] });
    client.arg("--wd=/proc/self").arg(sandbox.dir.join("bin/rsup")).args(args).env_clear();
    Some(run(&mut client))
}

const SOCKET_OF_ITS_OWN: &str = "[unix_http_server]\nfile=own.sock\nusername=me\npassword=secret\n\
    [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n";

#[test]
fn pid_1_was_started_with_a_configuration_that_names_the_server() {
    for configuration in ["x.conf", "{dir}/x.conf"] {
        let Some(ran) = as_in_a_container(configuration, SOCKET_OF_ITS_OWN, &["ctl", "pid"]) else { return };
        assert_eq!(ran, Ran { code: 0, out: "1\n".into(), err: String::new() });
    }
}

#[test]
fn a_configuration_without_a_server_means_the_default_socket() {
    let conf = "[program:x]\ncommand=/bin/sleep 1000\n[supervisorctl]\n";
    let Some(ran) = as_in_a_container("x.conf", conf, &["ctl", "status", "x:*"]) else { return };
    assert!(ran.out.starts_with("x    ") && ran.out.lines().count() == 1, "{ran:?}");
    let Some(ran) = as_in_a_container("x.conf", conf, &["health", "nobody"]) else { return };
    assert_eq!((ran.code, ran.out.as_str()), (1, "nobody: ERROR (no such process)\n"));
}
