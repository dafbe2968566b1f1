//! Options that no other file tests: each must have the same effect in rsup as in Supervisor.

use crate::harness::{skip, wait_for};
use crate::{Run, compare, compare_unstarted};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixStream;

const X: &str = "[program:x]\ncommand=/bin/sleep 1000\n";

/// Waits for an answer of a supervisor that was started by `launch`.
fn up(run: &Run) {
    wait_for("an answer", || run.rpc("supervisor.getState", json!([])).ok());
}

#[test]
fn nodaemon_in_the_file_works_as_on_the_command_line() {
    compare_unstarted(&format!("[supervisord]\nnodaemon=true\n{X}"), |run| {
        run.launch(&["-c", "{dir}/supervisord.conf"]);
        up(run);
        run.until("x", "RUNNING");
        assert_eq!(run.read("supervisord.pid"), format!("{}\n", run.pid()));
        assert!(run.read("stdout").contains("INFO spawned: 'x'"), "the log is on stdout too");
        assert_eq!(run.stop(), 0);
        assert!(!run.dir.join("supervisord.pid").exists());
    });
}

#[test]
fn minfds_and_minprocs_raise_lower_limits() {
    let conf = "[supervisord]\nminfds=500\nminprocs=20000\n[program:x]\ncommand=/bin/bash -c \"ulimit -Sn; ulimit -Su; exec sleep 1000\"\n\
                stdout_logfile={dir}/x.out\n";
    compare_unstarted(conf, |run| {
        let plain = run.command("supervisord");
        let mut limited = std::process::Command::new("/bin/bash");
        limited.current_dir(&run.dir).env_clear();
        limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.args(["-c", "ulimit -Sn 300; ulimit -Su 10000; exec \"$0\" -n -c supervisord.conf"]);
        limited.arg(plain.get_program());
        run.launch_as(limited);
        up(run);
        run.until("x", "RUNNING");
        run.note("limits", run.read("x.out"));
        let raised = run.messages().into_iter().filter(|line| line.contains("RLIMIT"));
        let raised = raised.collect::<Vec<_>>().join("; ");
        assert!(raised.contains("Increased RLIMIT_NOFILE limit to 500"), "{raised}");
        run.note("output", raised);
    });
}

#[test]
fn minfds_that_cannot_be_reached_are_a_start_error() {
    compare_unstarted("[supervisord]\nminfds=100000000\n", |run| {
        run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
        // root may raise even the hard limit, but not as far as this.
        assert_eq!(run.wait(), 2);
        let output = run.read("stderr");
        assert!(output.contains("The minimum number of file descriptors required to run this process is 100000000"));
    });
}

#[test]
fn the_supervisor_becomes_the_configured_user() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let conf =
        format!("[supervisord]\nuser=games\n{}", X.replace("/bin/sleep", "/bin/sh -c \"id; exec sleep").trim_end());
    compare_unstarted(&format!("{conf}\"\nstdout_logfile={{dir}}/x.out\n"), |run| {
        let games = nix::unistd::User::from_name("games").unwrap().unwrap();
        chown(&run.dir, Some(games.uid.as_raw()), Some(games.gid.as_raw())).unwrap();
        run.start();
        run.until("x", "RUNNING");
        run.note("program", run.read("x.out"));
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
        for line in status.lines().filter(|line| ["Uid:", "Gid:", "Groups:"].iter().any(|key| line.starts_with(key))) {
            run.note("supervisor", line);
        }
        let output = run.messages().into_iter().find(|line| line.contains("Set uid")).unwrap();
        run.note("output", output);
        assert_eq!(run.stop(), 0);
    });
}

#[test]
fn identifier_and_childlogdir_are_in_the_names_of_auto_logs() {
    compare_unstarted(&format!("[supervisord]\nidentifier=shop\nchildlogdir={{dir}}/logs\n{X}"), |run| {
        std::fs::create_dir(run.dir.join("logs")).unwrap();
        run.start();
        run.call("supervisor.getIdentification", json!([])).unwrap();
        let log = run.info("x")["stdout_logfile"].as_str().unwrap().to_owned();
        let (known, random) = log.split_once("---shop-").unwrap();
        run.note("log", known);
        assert!(random.len() == "abcdefgh.log".len() && std::fs::exists(&log).unwrap(), "{log}");
    });
}

#[test]
fn the_socket_has_its_mode_and_its_owner() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can give a file away");
    }
    for (more, mode) in
        [("", 0o700), ("chmod=0764\nchown=games:nogroup\n", 0o764), ("chmod=0600\nchown=games\n", 0o600)]
    {
        compare(&format!("[unix_http_server]\n{more}"), |run| {
            let meta = std::fs::metadata(run.dir.join("sock")).unwrap();
            assert_eq!(meta.mode() & 0o777, mode);
            run.note("owner", format!("{} {}", meta.uid(), meta.gid()));
        });
    }
}

#[test]
fn groups_of_every_kind_have_a_priority() {
    let conf = "[program:p]\ncommand=/bin/cat\nautostart=false\npriority=7\n[program:q]\ncommand=/bin/cat\nautostart=false\n\
                [eventlistener:l]\ncommand=/bin/cat\nautostart=false\nevents=TICK_5\n\
                [eventlistener:m]\ncommand=/bin/cat\nautostart=false\nevents=TICK_5\npriority=4\n\
                result_handler=supervisor.dispatchers:default_handler\n\
                [fcgi-program:f]\ncommand=/bin/cat\nautostart=false\nsocket=unix://{dir}/f\npriority=3\n\
                [group:g]\npriority=5\nprograms=q\n[group:h]\nprograms=p\n";
    compare(conf, |run| {
        let output = run.ctl(&["avail"]);
        assert!(output.contains(" -1:999\n") && output.contains(" 5:999\n"), "{output}");
        let all = run.rpc("supervisor.getAllConfigInfo", json!([])).unwrap();
        for info in all.as_array().unwrap() {
            run.note("priorities", format!("{} {} {}", info["name"], info["group_prio"], info["process_prio"]));
        }
    });
}

#[test]
fn socket_backlog_limits_waiting_connections() {
    let conf = "[fcgi-program:f]\ncommand=/bin/sleep 1000\nsocket=unix://{dir}/f.sock\nsocket_backlog=3\n";
    compare(conf, |run| {
        run.until("f", "RUNNING");
        let address = nix::sys::socket::UnixAddr::new(&run.dir.join("f.sock")).unwrap();
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, connect, socket};
        use std::os::fd::AsRawFd as _;
        let mut waiting = Vec::new();
        while waiting.len() < 100 {
            let client = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
            if connect(client.as_raw_fd(), &address).is_err() {
                break;
            }
            waiting.push(client);
        }
        assert!(waiting.len() < 100);
        run.note("waiting", waiting.len());
    });
}

#[test]
fn without_its_section_the_rpc_interface_is_missing() {
    compare_unstarted("", |run| {
        let without = run.common().replace("[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n", "");
        run.write("supervisord.conf", &format!("{without}{X}"));
        run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
        wait_for("the socket", || UnixStream::connect(run.dir.join("sock")).ok());
        run.call("supervisor.getState", json!([])).unwrap_err();
        run.call("system.listMethods", json!([])).unwrap();
        run.note("page", run.http("GET", "/", "", "").unwrap().0);
        // rsup words it differently.
        run.note("status", run.sandbox.ctl(&["status"]).code);
    });
}
