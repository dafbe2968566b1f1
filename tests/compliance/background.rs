//! Daemonizing, and syslog.

use crate::harness::{self, wait_for};
use crate::{Run, compare, compare_unstarted};
use std::fs;
use std::os::unix::net::UnixDatagram;

/// Starts a daemon, and waits until its parent has exited with 0. Returns the pid of the daemon.
fn daemon(run: &mut Run) -> i32 {
    run.launch(&["-c", "{dir}/supervisord.conf"]);
    assert_eq!(run.wait(), 0);
    wait_for("the pid file", || run.read("supervisord.pid").trim().parse().ok())
}

fn end(run: &mut Run, pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_for("the exit of the daemon", || (!run.dir.join("supervisord.pid").exists()).then_some(()));
    wait_for("the exit of the daemon", || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
}

#[test]
fn a_daemon_leaves_terminal_session_directory_and_umask() {
    let conf = "[supervisord]\numask=027\ndirectory=/usr\n\
                [program:p]\ncommand=sh -c \"pwd; umask; exec sleep 1000\"\nstdout_logfile={dir}/p.out\n";
    compare_unstarted(conf, |run| {
        let pid = daemon(run);
        wait_for("the program", || run.read("p.out").contains("27").then_some(()));
        run.until("p", "RUNNING");
        run.note("program", run.read("p.out"));
        let place = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap().display().to_string();
        for name in ["cwd", "fd/0", "fd/1", "fd/2"] {
            run.note(name, place(name));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        run.note("leads its session", fields[3] == pid.to_string());
        let about = ["daemonizing", "set current directory", "supervisord started"];
        for message in run.messages().into_iter().filter(|line| about.iter().any(|word| line.contains(word))) {
            run.note("log", message);
        }
        run.note("stdout", run.read("stdout"));
        run.ctl(&["reload"]);
        wait_for("the second start", || {
            (run.messages().iter().filter(|m| m.contains("supervisord started")).count() == 2).then_some(())
        });
        run.until("p", "RUNNING");
        assert_eq!(run.read("supervisord.pid").trim(), pid.to_string());
        end(run, pid);
    });
}

#[test]
fn a_start_error_is_printed_before_the_parent_exits() {
    compare_unstarted("[program:p]\ncommand=sleep 1000\n", |run| {
        let pid = daemon(run);
        run.launch(&["-c", "{dir}/supervisord.conf", "-l", "{dir}/second.log", "-j", "{dir}/second.pid"]);
        assert_eq!(run.wait(), 2);
        assert!(run.read("stderr").contains("Another program is already listening"), "{}", run.read("stderr"));
        end(run, pid);
    });
}

#[test]
fn by_default_rsup_stays_in_the_foreground_and_supervisord_does_not() {
    if !nix::unistd::geteuid().is_root() {
        return harness::skip("needs root");
    }
    for (name, option, stays) in [
        ("rsup", "", true),
        ("rsup", "nodaemon=true\n", true),
        ("rsup", "nodaemon=false\n", false),
        ("supervisord", "", false),
    ] {
        let conf = format!("[supervisord]\n{option}[program:p]\ncommand=sleep 1000\n");
        let mut sandbox = harness::Sandbox::new(harness::Subject::Rsup, &conf);
        let mut command = sandbox.command(name);
        command.args(["-c", &sandbox.fill("{dir}/supervisord.conf")]);
        sandbox.launch_as(command);
        let started = sandbox.pid();
        let pid: i32 = wait_for("the pid file", || sandbox.read("supervisord.pid").trim().parse().ok());
        assert_eq!(pid == started, stays, "{name} {option}");
        if !stays {
            assert_eq!(sandbox.wait(), 0);
        }
        sandbox.until("p", "RUNNING");
    }
}

/// Runs the supervisor with a private /dev, in which `log` is a socket of the sandbox.
const OWN_DEV: &str = "set -e; mkdir $0/dev; mount -t tmpfs none $0/dev
    for name in null zero full random urandom tty; do : >$0/dev/$name; mount --bind /dev/$name $0/dev/$name; done
    ln -s /proc/self/fd $0/dev/fd; ln -s /proc/self/fd/1 $0/dev/stdout; ln -s /proc/self/fd/2 $0/dev/stderr
    ln -s $0/syslog $0/dev/log; mount --bind $0/dev /dev; exec $0/bin/supervisord -n -c $0/supervisord.conf";

#[test]
fn programs_and_the_supervisor_log_to_syslog() {
    if !nix::unistd::geteuid().is_root() {
        return harness::skip("needs root");
    }
    let conf = "[supervisord]\nlogfile=syslog\n\
        [program:a]\ncommand=sh -c \"echo one; echo three >&2; exec sleep 1000\"\nstdout_syslog=true\nstderr_syslog=true\n\
        stdout_logfile={dir}/a.out\n\
        [program:b]\ncommand=sh -c \"echo both >&2; exec sleep 1000\"\nredirect_stderr=true\nstdout_logfile=syslog\n\
        [eventlistener:e]\ncommand=sh -c \"echo READY; echo trouble >&2; exec sleep 1000\"\nevents=TICK_5\n\
        stdout_syslog=true\nstderr_syslog=true\n";
    compare_unstarted(conf, |run| {
        let syslog = UnixDatagram::bind(run.dir.join("syslog")).unwrap();
        syslog.set_nonblocking(true).unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", OWN_DEV]).arg(&run.dir).current_dir(&run.dir);
        let same = run.command("supervisord");
        command.env_clear().envs(same.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run.launch_as(command);
        let mut got: Vec<String> = Vec::new();
        let mut buffer = [0; 8192];
        // The stdout of a listener goes to the supervisor only.
        let wanted = ["a one", "a three", "b both", "e trouble"];
        let is_of_program = |line: &&String| ["a ", "b ", "e "].iter().any(|name| line.starts_with(name));
        wait_for("all messages", || {
            while let Ok(count) = syslog.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let (head, message) = text.split_once("supervisord: ").expect("the name supervisord");
                // For example `<14>Nov 21 10:15:42 `.
                assert!(head.starts_with("<14>") && head.len() == 20, "{text}");
                got.push(message.trim_end_matches(['\n', '\0']).to_owned());
            }
            (got.iter().filter(is_of_program).count() >= wanted.len()
                && got.iter().any(|line| line.contains("b entered RUNNING")))
            .then_some(())
        });
        let mut of_programs: Vec<&String> = got.iter().filter(is_of_program).collect();
        of_programs.sort();
        run.note("programs", format!("{of_programs:?}"));
        let started = got.iter().find(|line| line.contains("INFO supervisord started with pid")).expect("the main log");
        assert!(started.starts_with("20"), "{started}");
        assert_eq!(run.read("a.out"), "one\n");
        if run.is_rsup() {
            run.rpc("supervisor.clearProcessLogs", serde_json::json!(["a"])).unwrap();
            assert_eq!(run.read("a.out"), "");
        }
        run.stop();
    });
}

#[test]
fn without_a_syslog_daemon_output_is_still_in_the_file() {
    // No process reads /dev/log, as in most containers.
    let conf =
        "[program:a]\ncommand=sh -c \"echo kept; exec sleep 1000\"\nstdout_syslog=true\nstdout_logfile={dir}/a.out\n";
    compare(conf, |run| {
        run.until("a", "RUNNING");
        run.until_file("a.out", "kept");
        run.note("file", run.read("a.out"));
    });
}
