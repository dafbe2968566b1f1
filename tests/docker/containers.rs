//! Ways to start containers: from scratch, read-only, as any user, without capabilities, with a terminal, with a stalled reader.

use crate::harness::wait_for;
use crate::{Container, build, docker, images};
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

/// Builds an image from busybox, rsup and this configuration. Returns its name.
fn with_conf(name: &str, conf: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("supervisord.conf"), conf).unwrap();
    let dockerfile = "FROM rsup-base-busybox\nCOPY --from=rsup /sbin/ /sbin/\nCOPY supervisord.conf /etc/supervisord.conf\n\
                      ENV PATH=/bin:/sbin\nENTRYPOINT [\"/sbin/rsup\"]\n";
    fs::write(temp.path().join("Dockerfile"), dockerfile).unwrap();
    build(name, temp.path().to_str().unwrap(), None)
}

const ONE: &str = "[program:web]\ncommand=/bin/busybox sleep 1000\n";

#[test]
fn the_client_finds_a_configuration_outside_the_search_path() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let image = with_conf("place", "[supervisord]\n");
    let temp = tempfile::tempdir().unwrap();
    let broken = "[program:broken]\ncommand=/bin/false\nautostart=false\nstartretries=0\n";
    fs::write(temp.path().join("x.conf"), format!("{ONE}{broken}")).unwrap();
    let mount = format!("{}:/app:ro", temp.path().display());
    let container = Container::start(&["-v", &mount, &image, "-c", "/app/x.conf"]);
    container.until_running("web", "");
    let health = container.exec(&["rsup", "health"]);
    assert_eq!(health.code, 0, "{health:?}");
    assert_eq!(container.exec(&["rsupctl", "start", "broken"]).code, 7);
    let health = container.exec(&["rsup", "health"]);
    assert_eq!(health.code, 1, "{health:?}");
    assert!((health.out + &health.err).contains("broken"), "it names what does not run");
    assert_eq!(container.stop(), 0);
}

/// Checks that a container with these options of `docker run` starts, answers its client, and stops in time.
fn runs_with(name: &str, options: &[&str]) {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let image = with_conf(name, ONE);
    let mut args = options.to_vec();
    args.push(&image);
    let container = Container::start(&args);
    container.until_running("web", "");
    assert_eq!(container.exec(&["rsup", "health"]).code, 0);
    assert_eq!(container.stop(), 0);
}

#[test]
fn a_read_only_root() {
    runs_with("read-only", &["--read-only"]);
}

#[test]
fn a_user_without_passwd_entry() {
    runs_with("user", &["--user", "12345"]);
}

#[test]
fn no_capabilities() {
    runs_with("cap-drop", &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
}

#[test]
fn few_processes() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    // The limit allows only rsup and its program, so there is no room for the threads of `docker exec`.
    let image = with_conf("pids-limit", ONE);
    let container = Container::start(&["--pids-limit", "2", &image]);
    container.until_logs("success: web entered RUNNING");
    assert_eq!(container.stop(), 0);
}

#[test]
fn everything_at_once() {
    runs_with("strict", &["--read-only", "--user", "12345:54321", "--cap-drop", "ALL", "--pids-limit", "30"]);
}

#[test]
fn under_dockers_own_init() {
    runs_with("init", &["--init"]);
}

/// The output of programs and of PID 1 reaches `docker logs`, on the right streams, with whole lines.
#[test]
fn output_reaches_docker_logs() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let conf = "[program:a]\ncommand=/bin/sh -c \"for i in 1 2 3; do echo a-$i; echo a-err-$i >&2; done; exec sleep 1000\"\n\
                stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\nstderr_logfile=/dev/stderr\nstderr_logfile_maxbytes=0\n\
                [program:b]\ncommand=/bin/sh -c \"echo raw; exec sleep 1000\"\nstdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\nstdout_format=prefix\n";
    let image = with_conf("logs", conf);
    let container = Container::start(&[&image]);
    container.until_running("a", "");
    container.until_running("b", "");
    container.until_logs("a-err-3");
    container.until_logs("raw");
    let ran = docker(&["logs", &container.0]);
    for number in 1..=3 {
        assert!(ran.out.lines().any(|line| line == format!("a-{number}")), "{ran:?}");
        assert!(ran.err.lines().any(|line| line == format!("a-err-{number}")), "{ran:?}");
    }
    let prefixed = ran.out.lines().find(|line| line.ends_with("raw")).unwrap();
    assert!(prefixed.contains('b') && prefixed.len() > 10, "{prefixed}");
    assert!(ran.out.contains("INFO spawned: 'a' with pid"), "{ran:?}");
    assert_eq!(container.stop(), 0);
}

/// If the container's stdout is not read, the client still gets its answer, and TERM ends the container in time.
#[test]
fn a_stalled_reader_delays_neither_status_nor_term() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let conf =
        "[program:flood]\ncommand=/bin/yes a-line-of-output\nstdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\n";
    let image = with_conf("stall", conf);
    let container = Container(Container::name());
    // Attached, without a log driver, and with a pipe that is not read.
    let args = ["run", "--log-driver", "none", "--network", "none", "--name", &container.0, &image];
    let mut attached = Command::new("docker").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = container.until_running("flood", "");
    // When stdout is full the program stops writing, so its counter of written bytes no longer changes.
    let written = || container.exec(&["grep", "wchar", &format!("/proc/{pid}/io")]).out;
    let mut before = String::new();
    wait_for("a full pipe", || {
        let now = written();
        let is_full = now == before && !now.is_empty();
        before = now;
        is_full.then_some(())
    });
    assert!(container.exec(&["rsupctl", "status"]).out.contains(" RUNNING "));
    // Not `docker stop`: Docker itself hangs until the pipe is read. PID 1 does not.
    let pid1 = docker(&["inspect", "--format", "{{.State.Pid}}", &container.0]).out;
    assert_eq!(docker(&["kill", "-s", "TERM", &container.0]).code, 0);
    wait_for("the exit of PID 1", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid1.trim())).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    std::io::copy(&mut attached.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(attached.wait().unwrap().code(), Some(0));
}

/// With `docker run -it` the program has the terminal, Ctrl-C reaches it, and its exit code is that of the container.
#[test]
fn a_terminal() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let image = with_conf("terminal", "[supervisord]\n");
    let name = Container::name();
    let script = "trap 'echo got-int; exit 3' INT; tty; echo ready; while :; do sleep 0.1; done";
    let line = format!("docker run -it --rm --network none --name {name} {image} -- /bin/sh -c \"{script}\"");
    let mut terminal = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _container = Container(name);
    let mut seen = String::new();
    let mut output = terminal.stdout.take().unwrap();
    let mut until = |text: &str| {
        let mut piece = [0; 256];
        while !seen.contains(text) {
            let read = output.read(&mut piece).unwrap();
            assert!(read > 0, "no {text:?} in {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    };
    until("ready");
    let mut input = terminal.stdin.take().unwrap();
    input.write_all(b"\x03").unwrap();
    until("got-int");
    let status = wait_for("the exit of the terminal", || terminal.try_wait().unwrap());
    assert_eq!(status.code(), Some(3), "{seen}");
    assert!(seen.contains("/dev/"), "{seen}");
}

/// `rsup -- COMMAND` exits with the code of the command, or with 128 + n.
#[test]
fn one_command_without_configuration() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let image = with_conf("command", "[supervisord]\n");
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        let ran = docker(&["run", "--rm", "--network", "none", &image, "--", "/bin/sh", "-c", script]);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
    }
    let ran = docker(&["run", "--rm", "--network", "none", &image, "--", "/no/such/program"]);
    assert_eq!(ran.code, 127, "{ran:?}");
}

/// The image has only the three names, and the right architecture.
#[test]
fn the_image_holds_nothing_else() {
    if !images(&["rsup"]) {
        return;
    }
    let container = Container(Container::name());
    assert_eq!(docker(&["create", "--name", &container.0, "rsup"]).code, 0);
    let temp = tempfile::tempdir().unwrap();
    let tar = temp.path().join("root.tar");
    assert_eq!(docker(&["export", "-o", tar.to_str().unwrap(), &container.0]).code, 0);
    let listing = crate::harness::run(Command::new("tar").arg("tf").arg(&tar)).out;
    // Docker itself adds mount points to every container.
    let added =
        |line: &&str| !["dev/", "proc/", "sys/", "etc/", ".dockerenv"].iter().any(|name| line.starts_with(name));
    let mut files: Vec<&str> = listing.lines().filter(added).collect();
    files.sort_unstable();
    assert_eq!(files, ["sbin/", "sbin/pidproxy", "sbin/rsup", "sbin/rsupctl"]);
    let machine = docker(&["image", "inspect", "--format", "{{.Architecture}}", "rsup"]).out;
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!(machine.trim(), own);
}
