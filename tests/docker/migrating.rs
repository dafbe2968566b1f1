//! Runs the commands of docs/migrating.md after Debian's package of Supervisor has run, and after pip's.

use crate::harness::{Sandbox, Subject, oracle, rsup, run, skip, wait_for};
use crate::{Container, build, docker, images};
use std::path::Path;
use std::process::Command;

/// The commands below a heading of the page.
fn commands(heading: &str) -> String {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migrating.md")).unwrap();
    let below = manual.split(&format!("## {heading}\n")).nth(1).unwrap();
    below.split("```").nth(1).unwrap().trim().to_owned()
}

/// The lines for an image do not break a merged-/usr distribution.
#[test]
fn the_lines_for_an_image() {
    if !images(&["rsup", "rsup-base-supervisor"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let lines = crate::harness::block("docs/migrating.md", "dockerfile", 0);
    std::fs::write(temp.path().join("Dockerfile"), format!("FROM rsup-base-supervisor\n{lines}")).unwrap();
    let image = build("migrating", temp.path().to_str().unwrap(), None);
    let conf = "[program:app]\ncommand=/bin/sleep 100000\n";
    std::fs::write(temp.path().join("app.conf"), conf).unwrap();
    let mount = format!("{}:/etc/supervisor/conf.d:ro", temp.path().display());
    let container = Container::start(&["-v", &mount, &image]);
    container.until_running("app", "");
    assert_eq!(container.exec(&["readlink", "/sbin"]).out, "usr/sbin\n", "/sbin is still a link");
    assert_eq!(container.exec(&["supervisorctl", "status", "app"]).code, 0, "the package's own client");
    assert_eq!(container.stop(), 0);
}

#[test]
fn after_debians_package() {
    if !images(&["rsup-base-supervisor"]) {
        return;
    }
    let container = Container::start(&["rsup-base-supervisor", "sleep", "infinity"]);
    let sh = |script: &str| container.exec(&["sh", "-c", script]);
    let running = |what: &str| {
        wait_for(what, || {
            sh("supervisorctl status").out.contains("app                              RUNNING").then_some(())
        });
    };
    // A usual setup: a program in conf.d, run by the package's Supervisor.
    let conf = "[program:app]\\ncommand=/bin/sleep 100000\\nstdout_logfile=/var/log/supervisor/app.log\\n";
    assert_eq!(sh(&format!("printf '{conf}' >/etc/supervisor/conf.d/app.conf && supervisord")).code, 0);
    running("the program under Supervisor");
    assert!(sh("supervisorctl version").out.starts_with("4.2"), "the package's own");
    sh("supervisorctl shutdown");
    wait_for("the exit of Supervisor", || (sh("test -e /var/run/supervisord.pid").code != 0).then_some(()));

    let copied = docker(&["cp", rsup().to_str().unwrap(), &format!("{}:/sbin/rsup", container.0)]);
    assert_eq!(copied.code, 0, "{copied:?}");
    let ran = sh(&commands("Supervisor was installed with apt").replace("apt-get remove", "apt-get remove -y"));
    assert!(ran.out.contains("app "), "{ran:?}");
    running("the program under rsup");
    assert_eq!(sh("supervisorctl version").out, "4.3.0\n");
    let daemon = sh("readlink /proc/$(cat /var/run/supervisord.pid)/exe").out;
    assert!(daemon.ends_with("rsup\n"), "{daemon}");
    assert!(sh("cat /var/log/supervisor/supervisord.log").out.contains("spawned: 'app'"));
    assert!(sh("echo_supervisord_conf").out.contains("[supervisord]"));
    assert_eq!(sh("supervisorctl restart app").out, "app: stopped\napp: started\n");
    assert_eq!(sh("supervisorctl shutdown").out, "Shut down\n");
    wait_for("the exit of rsup", || (sh("test -e /var/run/supervisord.pid").code != 0).then_some(()));
}

/// Makes a Python environment with the real Supervisor as pip installs it. It is copied from `oracle`, so it needs no network.
fn environment(oracle: &Path, into: &Path) {
    let made = run(Command::new(oracle.join("bin/python")).args(["-m", "venv"]).arg(into));
    assert_eq!(made.code, 0, "{made:?}");
    let packages = |venv: &Path| {
        let python = std::fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap();
        python.path().join("site-packages")
    };
    let (from, to) = (packages(oracle), packages(into));
    for part in ["supervisor", "supervisor-4.3.0.dist-info"] {
        assert_eq!(run(Command::new("cp").arg("-r").arg(from.join(part)).arg(&to)).code, 0);
    }
    for name in ["supervisord", "supervisorctl", "pidproxy", "echo_supervisord_conf"] {
        let script = std::fs::read_to_string(oracle.join("bin").join(name)).unwrap();
        let body = script.split_once('\n').unwrap().1;
        let path = into.join("bin").join(name);
        std::fs::write(&path, format!("#!{}\n{body}", into.join("bin/python").display())).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn after_pip() {
    let Some(oracle) = oracle() else { return skip("no real Supervisor (tests/run makes build/oracle)") };
    let sandbox = Sandbox::bare(Subject::Rsup);
    environment(&oracle, &sandbox.dir.join("env"));
    let sh = |script: &str| {
        let plain = sandbox.command("rsup");
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir("/").env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(command.env("PATH", sandbox.fill("{dir}/env/bin:/usr/bin:/bin")))
    };
    let running = |what: &str| {
        let is = || sh("supervisorctl status").out.contains("app                              RUNNING");
        wait_for(what, || is().then_some(()));
    };
    let ended = |what: &str| wait_for(what, || (!sandbox.dir.join("supervisord.pid").exists()).then_some(()));
    // A usual setup: the file is beside the environment's bin, which is one of the places of the search.
    std::fs::create_dir(sandbox.dir.join("env/etc")).unwrap();
    let conf = "[program:app]\ncommand=/bin/sleep 100000\n";
    sandbox.write("env/etc/supervisord.conf", &format!("{}{conf}", sandbox.common()));
    assert_eq!(sh("supervisord").code, 0);
    running("the program under Supervisor");
    assert!(sh("readlink /proc/$(supervisorctl pid)/exe").out.contains("python"));
    assert_eq!(sh("supervisorctl shutdown").code, 0);
    ended("Supervisor's end");

    let ran = sh(&commands("Supervisor was installed with pip").replace("/sbin/rsup", rsup().to_str().unwrap()));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_ne!(sh("python -c 'import supervisor'").code, 0, "it has gone");
    let started = sh("supervisord");
    assert_eq!(started.code, 0, "{started:?}");
    running("the program under rsup");
    let daemon = sh("readlink /proc/$(supervisorctl pid)/exe").out;
    assert!(daemon.ends_with("rsup\n"), "{daemon}");
    assert_eq!(sh("supervisorctl version").out, "4.3.0\n");
    assert_eq!(sh("supervisorctl restart app").out, "app: stopped\napp: started\n");
    assert!(sh("echo_supervisord_conf").out.contains("[supervisord]"));
    assert_eq!(sh("pidproxy").code, 1);
    assert_eq!(sh("supervisorctl shutdown").out, "Shut down\n");
    ended("rsup's end");
}

/// A listener in Python that imports `supervisor.childutils` works on if the package is kept.
#[test]
fn a_python_listener_keeps_its_package() {
    let Some(oracle) = oracle() else { return skip("no real Supervisor (tests/run makes build/oracle)") };
    let sandbox = Sandbox::bare(Subject::Rsup);
    environment(&oracle, &sandbox.dir.join("env"));
    let listener = "import sys\nfrom supervisor import childutils\n\
                    while True:\n    headers, payload = childutils.listener.wait()\n    \
                    print(headers['eventname'], payload.strip(), file=sys.stderr, flush=True)\n    childutils.listener.ok()\n";
    sandbox.write("listener.py", listener);
    std::fs::create_dir(sandbox.dir.join("env/etc")).unwrap();
    let conf = "[eventlistener:watch]\ncommand={dir}/env/bin/python {dir}/listener.py\nevents=PROCESS_STATE_EXITED\n\
                stderr_logfile={dir}/watch.log\n\
                [program:app]\ncommand=/bin/sh -c \"sleep 1.5; exit 3\"\nautorestart=false\n";
    sandbox.write("env/etc/supervisord.conf", &sandbox.fill(&format!("{}{conf}", sandbox.common())));
    let sh = |script: &str| {
        let plain = sandbox.command("rsup");
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir("/").env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(command.env("PATH", sandbox.fill("{dir}/env/bin:/usr/bin:/bin")))
    };
    let ran = sh(&commands("Event listeners in Python").replace("/sbin/rsup", rsup().to_str().unwrap()));
    assert_eq!(ran.code, 0, "{ran:?}");
    let started = sh("supervisord");
    assert_eq!(started.code, 0, "{started:?}");
    sandbox.until_file("watch.log", "PROCESS_STATE_EXITED processname:app groupname:app");
    let daemon = sh("readlink /proc/$(supervisorctl pid)/exe").out;
    assert!(daemon.ends_with("rsup\n"), "{daemon}");
    assert_eq!(sh("supervisorctl shutdown").out, "Shut down\n");
    wait_for("the exit of rsup", || (!sandbox.dir.join("supervisord.pid").exists()).then_some(()));
}
