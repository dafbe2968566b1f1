//! `pidproxy PIDFILE COMMAND`: signals go to the process that the pid file names.

use crate::compare;

/// A program that forks: the parent writes the child's pid to the file, and waits until the child exits.
const DAEMON: &str = "#!/bin/sh
exec >{dir}/output
(trap 'echo term; exit' TERM; trap 'echo hup' HUP; trap 'echo usr1' USR1; while :; do sleep 0.1; done) &
echo $! >{dir}/daemon.pid
wait
while kill -0 $(cat {dir}/daemon.pid) 2>/dev/null; do wait; sleep 0.05; done
";

const CONF: &str = "[program:x]\ncommand={dir}/bin/pidproxy {dir}/daemon.pid {dir}/daemon\n";

#[test]
fn signals_are_forwarded_to_the_pid_files_process() {
    crate::compare_unstarted(CONF, |run| {
        crate::harness::executable(&run.dir.join("daemon"), run.fill(DAEMON).as_bytes());
        run.start();
        run.until("x", "RUNNING");
        for (signal, line) in [("HUP", "hup"), ("USR1", "usr1")] {
            run.ctl(&["signal", signal, "x"]);
            run.until_file("output", line);
        }
        run.ctl(&["stop", "x"]);
        run.until_file("output", "term");
    });
}

#[test]
fn too_few_arguments_show_the_usage() {
    compare("", |run| {
        for args in [&[][..], &["only-a-pid-file"]] {
            let ran = crate::harness::run(run.command("pidproxy").args(args));
            assert_eq!(ran.code, 1);
            assert!(ran.out.contains("pidproxy") && ran.out.contains("pidfile"), "{ran:?}");
        }
    });
}

#[test]
fn a_missing_pid_file_is_reported_and_survived() {
    let conf = "[program:x]\ncommand={dir}/bin/pidproxy {dir}/none.pid /bin/sleep 1000\nstdout_logfile={dir}/x.out\nstopwaitsecs=1\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        run.ctl(&["signal", "HUP", "x"]);
        // Python buffers its output until it exits, so the test only compares that it still runs.
        run.ctl(&["status", "x"]);
    });
}
