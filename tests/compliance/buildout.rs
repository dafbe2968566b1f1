//! A buildout that collective.recipe.supervisor made: its configuration and its scripts, unchanged, with the real supervisord
//! and with rsup in its place.

use crate::harness::{Ran, free_port, run, third_party, wait_for};
use crate::{Run, compare_unstarted};
use std::fs;

const BUILDOUT: &str = "[buildout]
parts = supervisor
offline = true
[supervisor]
recipe = collective.recipe.supervisor
port = 127.0.0.1:{port}
user = admin
password = secret
loglevel = debug
supervisord-environment = FROM='the buildout'
programs =
    10 web (startsecs=0 stopwaitsecs=30) /bin/sleep [1000] ${buildout:directory} true
    20 says (autostart=false autorestart=false startsecs=0) /bin/sh [-c 'echo $FROM; pwd; exec sleep 1000'] ${buildout:directory} true
    30 alone (startsecs=0) /bin/sleep [1000] /tmp false
eventlisteners =
    ears (buffer_size=50) PROCESS_STATE ${buildout:directory}/ears.sh [{dir}/events]
groups =
    5 g web,says
include =
    ${buildout:directory}/more/*.conf
";

/// A listener that answers each event with OK.
const EARS: &str = "#!/bin/sh
echo READY
while read -r line; do
    length=${line##*len:}
    head -c \"$length\" >>\"$1\"
    echo >>\"$1\"
    printf 'RESULT 2\\nOKREADY\\n'
done
";

/// Runs the supervisorctl of the buildout.
fn ask(of: &Run, args: &[&str]) -> Ran {
    run(of.command_of(&of.dir.join("buildout/bin/supervisorctl")).args(args))
}

/// The same, and notes the result.
fn ctl(of: &mut Run, args: &[&str]) {
    let ran = ask(of, args);
    of.note(&format!("supervisorctl {args:?}"), format!("{} {:?} {:?}", ran.code, ran.out, ran.err));
}

#[test]
fn a_buildout_runs_with_rsup_in_place_of_supervisord() {
    let Some(buildout) = third_party("buildout") else { return };
    compare_unstarted("", |of| {
        let port = free_port();
        fs::create_dir_all(of.dir.join("buildout/more")).unwrap();
        of.write("buildout/buildout.cfg", &BUILDOUT.replace("{port}", &port.to_string()));
        of.write("buildout/ears.sh", EARS);
        let ears = of.dir.join("buildout/ears.sh");
        fs::set_permissions(ears, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        of.write("buildout/more/more.conf", "[program:included]\ncommand=/bin/sleep 1000\nstartsecs=0\n");
        let made = run(of.command_of(&buildout).current_dir(of.dir.join("buildout")));
        assert_eq!(made.code, 0, "{made:?}");
        // The script runs the supervisord of its egg with the configuration, which makes it a daemon.
        let mut daemon = of.command_of(&of.dir.join("buildout/bin/supervisord"));
        if of.is_rsup() {
            daemon = of.command("supervisord");
            daemon.arg("-c").arg(of.dir.join("buildout/parts/supervisor/supervisord.conf"));
        }
        of.launch_as(daemon);
        assert_eq!(of.wait(), 0);
        wait_for("an answer", || (ask(of, &["pid"]).code == 0).then_some(()));
        wait_for("all programs", || (ask(of, &["status"]).out.matches("RUNNING").count() == 4).then_some(()));

        ctl(of, &["status"]);
        ctl(of, &["avail"]);
        ctl(of, &["start", "g:says"]);
        wait_for("its output", || ask(of, &["tail", "g:says"]).out.contains("buildout\n").then_some(()));
        ctl(of, &["tail", "g:says"]);
        ctl(of, &["restart", "g:web"]);
        ctl(of, &["stop", "alone"]);
        of.write("buildout/more/other.conf", "[program:other]\ncommand=/bin/sleep 1000\nstartsecs=0\n");
        ctl(of, &["update"]);
        ctl(of, &["stop", "g:*", "included", "other"]);
        wait_for("the last event", || {
            of.read("events").contains("processname:other groupname:other from_state:STOPPING").then_some(())
        });
        let mut events: Vec<_> =
            of.read("events").lines().map(|line| line.split(" pid:").next().unwrap().to_owned()).collect();
        events.sort();
        of.note("events", format!("{events:?}"));
        let pid: i32 = of.read("buildout/var/supervisord.pid").trim().parse().unwrap();
        ctl(of, &["shutdown"]);
        wait_for("the exit of the daemon", || (!fs::exists(format!("/proc/{pid}/cmdline")).unwrap()).then_some(()));
        let mut left: Vec<_> =
            fs::read_dir(of.dir.join("buildout/var/log")).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        of.note("logs", format!("{left:?}"));
        of.note("pidfile", of.dir.join("buildout/var/supervisord.pid").exists());
    });
}
