//! How `rsupctl` finds its server: by the command line, a configuration, PID 1, the default sockets.

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
        // Found by the search.
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
fn the_command_line_overrides_the_configuration() {
    let fake = server();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("supervisord.conf"), "[supervisorctl]\nserverurl=unix:///none\n").unwrap();
    assert_eq!(pid_in(dir.path(), &["-s", &fake.url()]), answered());
    let ran = pid_in(dir.path(), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (7, "unix:///none no such file\n"));
}

#[test]
fn a_path_may_have_bytes_that_are_not_utf8() {
    let fake = server();
    let dir = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"caf\xe9.conf");
    std::fs::write(dir.path().join(name), format!("[supervisord]\n[supervisorctl]\nserverurl={}\n", fake.url()))
        .unwrap();
    let ran = run(rsupctl().current_dir(dir.path()).arg("-c").arg(name).arg("pid"));
    assert_eq!(ran, answered());
    let check = run(Command::new(env!("CARGO_BIN_EXE_rsup")).current_dir(dir.path()).arg("check").arg(name));
    assert_eq!(check.code, 0, "{check:?}");
}

#[test]
fn a_broken_configuration_is_reported_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.conf"), "[supervisorctl]\nserverurl=%(nothing)s\n").unwrap();
    let ran = pid_in(dir.path(), &["-c", "x.conf"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.starts_with("Error: x.conf:2: [supervisorctl] serverurl: "), "{ran:?}");
}

/// New namespaces with an empty /run, in which PID 1 is the program of the shell line `start`.
struct Container {
    /// The pid of PID 1 outside of the namespaces.
    pid: u32,
    sandbox: Sandbox,
}

impl Container {
    /// Starts them, and waits until rsup runs. `None` if namespaces are not allowed.
    fn start(conf: &str, start: &str) -> Option<Self> {
        let mut namespaces = vec!["--pid", "--mount", "--fork", "--mount-proc", "--kill-child"];
        if !nix::unistd::geteuid().is_root() {
            namespaces.extend(["--user", "--map-root-user"]);
        }
        if run(Command::new("unshare").args(&namespaces).arg("true")).code != 0 {
            skip("no namespaces are allowed here (unshare)");
            return None;
        }
        let mut sandbox = Sandbox::bare(Subject::Rsup);
        sandbox.write("x.conf", conf);
        let mut init = Command::new("unshare");
        let start = format!("mount -t tmpfs none /run && {start}");
        init.args(&namespaces).args(["sh", "-c", &sandbox.fill(&start)]).current_dir(&sandbox.dir);
        init.env_clear().envs(sandbox.command("rsup").get_envs().map(|(name, value)| (name, value.unwrap())));
        sandbox.launch_as(init);
        sandbox.until_file("stdout", "supervisord started with pid");
        let outer = sandbox.pid();
        let pid: u32 = wait_for("PID 1", || {
            let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        });
        Some(Self { pid, sandbox })
    }

    /// Runs `rsup` there, in another directory, as `user` (root if `None`).
    fn run(&self, user: Option<u32>, args: &[&str]) -> Ran {
        let mut client = Command::new("nsenter");
        client.arg(format!("--target={}", self.pid)).args(["--pid", "--mount"]);
        if !nix::unistd::geteuid().is_root() {
            client.arg("--user");
        }
        client.arg("--wd=/proc/self").env_clear().env("PATH", "/usr/bin:/bin");
        if let Some(user) = user {
            client.args(["setpriv", "--clear-groups", &format!("--reuid={user}"), &format!("--regid={user}")]);
        }
        run(client.arg(self.sandbox.dir.join("bin/rsup")).args(args))
    }
}

/// Runs rsup as PID 1 of new namespaces, and a client there without an address of the server.
fn as_in_a_container(configuration: &str, conf: &str, args: &[&str]) -> Option<Ran> {
    Some(Container::start(conf, &format!("exec bin/rsup -c {configuration}"))?.run(None, args))
}

const OF_USER_1234: &str = "setpriv --clear-groups --reuid=1234 --regid=1234 bin/rsup -c x.conf";
const UNPRIVILEGED: &str = "[supervisord]\nlogfile=/dev/stdout\npidfile=/run/pid\n\
    [program:x]\ncommand=/bin/sleep 1000\nstdout_logfile=NONE\nstderr_logfile=NONE\n";

#[test]
fn root_reaches_an_unprivileged_pid_1_and_other_users_do_not() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let Some(container) = Container::start(UNPRIVILEGED, &format!("exec {OF_USER_1234}")) else { return };
    let answer = Ran { code: 0, out: "1\n".into(), err: String::new() };
    for user in [None, Some(1234)] {
        assert_eq!(container.run(user, &["ctl", "pid"]), answer, "{user:?}");
        let ran = container.run(user, &["health", "x:nobody"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, "x:nobody: ERROR (no such process)\n"), "{user:?}");
    }
    let refused = container.run(Some(1000), &["ctl", "pid"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.err.contains("unix:///run/rsup.sock: Permission denied"), "{refused:?}");
}

#[test]
fn root_does_not_use_a_socket_of_another_user_where_pid_1_is_not_rsup() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let Some(container) = Container::start(UNPRIVILEGED, &format!("{OF_USER_1234} & wait")) else { return };
    for args in [&["ctl", "pid"], &["health", "x"]] {
        let ran = container.run(None, args);
        assert_ne!(ran.code, 0, "{ran:?}");
        let output = format!("{}{}", ran.out, ran.err);
        assert!(output.contains("/run/rsup.sock: not trusted: its server runs as user 1234"), "{ran:?}");
    }
    assert_eq!(container.run(Some(1234), &["ctl", "pid"]).code, 0, "its own user reaches it");
}

#[test]
fn every_form_of_a_servers_address_works_for_the_client() {
    let port = crate::harness::free_port();
    let mut sandbox = Sandbox::bare(Subject::Rsup);
    let common = sandbox.common();
    let conf = |serverurl: &str| {
        let own = format!("[inet_http_server]\nport=*:{port}\n[program:x]\ncommand=/bin/sleep 1000\n");
        common.replace("serverurl=unix://{dir}/sock", serverurl) + &own
    };
    sandbox.write("supervisord.conf", &conf("serverurl=unix://{dir}/sock"));
    sandbox.start();
    let wanted = Ran { code: 0, out: format!("{}\n", sandbox.pid()), err: String::new() };
    for host in ["*", "", "0.0.0.0", "[::]", "localhost", "LOCALHOST", "LocalHost", "127.1", "127.0.0.1"] {
        let url = format!("http://{host}:{port}");
        assert_eq!(pid_in(Path::new("/"), &["-s", &url]), wanted, "{url}");
        // From the configuration.
        sandbox.write("x.conf", &conf(&format!("serverurl={url}")));
        assert_eq!(pid_in(Path::new("/"), &["-c", &sandbox.fill("{dir}/x.conf")]), wanted, "{url}");
        // A GET is not taken for a request of another site.
        let mut tail = rsupctl();
        tail.args(["-s", &url, "maintail", "-f"]).stdout(std::process::Stdio::piped());
        let mut tail = crate::harness::Beside(tail.stderr(std::process::Stdio::piped()).spawn().unwrap());
        let mut came = [0; 40];
        std::io::Read::read_exact(tail.0.stdout.as_mut().unwrap(), &mut came).unwrap();
    }
}

const SOCKET_OF_ITS_OWN: &str = "[supervisord]\n[unix_http_server]\nfile=own.sock\nusername=me\npassword=secret\n\
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
