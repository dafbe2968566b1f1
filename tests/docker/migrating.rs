//! docs/migrating.md, step by step, where Debian's own package of Supervisor has run.

use crate::harness::{rsup, wait_for};
use crate::{Container, docker, images};

/// The commands that the manual gives below a heading.
fn commands(heading: &str) -> String {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migrating.md")).unwrap();
    let below = manual.split(&format!("## {heading}\n")).nth(1).unwrap();
    below.split("```").nth(1).unwrap().trim().to_owned()
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
    // What somebody has: a program in conf.d, supervised by the package.
    let conf = "[program:app]\\ncommand=/bin/sleep 100000\\nstdout_logfile=/var/log/supervisor/app.log\\n";
    assert_eq!(sh(&format!("printf '{conf}' >/etc/supervisor/conf.d/app.conf && supervisord")).code, 0);
    running("the program under Supervisor");
    assert!(sh("supervisorctl version").out.starts_with("4.2"), "the package's own");
    sh("supervisorctl shutdown");
    wait_for("Supervisor's end", || (sh("test -e /var/run/supervisord.pid").code != 0).then_some(()));

    let copied = docker(&["cp", rsup().to_str().unwrap(), &format!("{}:/sbin/rsup", container.0)]);
    assert_eq!(copied.code, 0, "{copied:?}");
    let ran = sh(&commands("Supervisor came by apt").replace("apt-get remove", "apt-get remove -y"));
    assert!(ran.out.contains("app "), "{ran:?}");
    running("the program under rsup");
    assert_eq!(sh("supervisorctl version").out, "4.3.0\n");
    let daemon = sh("readlink /proc/$(cat /var/run/supervisord.pid)/exe").out;
    assert!(daemon.ends_with("rsup\n"), "{daemon}");
    assert!(sh("cat /var/log/supervisor/supervisord.log").out.contains("spawned: 'app'"));
    assert!(sh("echo_supervisord_conf").out.contains("[supervisord]"));
    assert_eq!(sh("supervisorctl restart app").out, "app: stopped\napp: started\n");
    assert_eq!(sh("supervisorctl shutdown").out, "Shut down\n");
    wait_for("rsup's end", || (sh("test -e /var/run/supervisord.pid").code != 0).then_some(()));
}
