//! Exit codes: the program's own, 128 + n for a signal, and those for what could not be started.

use crate::harness::run;
use crate::init::Init;

for_each_init!(every_exit_code_is_passed_on, as_pid1_too, deaths_by_signal_are_128_and_more, what_cannot_start_is_told);

fn every_exit_code_is_passed_on(init: Init) {
    for code in 0..=255 {
        assert_eq!(run(&mut init.here(&["sh", "-c", &format!("exit {code}")])).code, code);
    }
}

fn as_pid1_too(init: Init) {
    for code in [0, 1, 2, 126, 127, 128, 143, 255] {
        let Some(mut command) = init.as_pid1(&["sh", "-c", &format!("exit {code}")]) else { return };
        assert_eq!(run(&mut command).code, code);
    }
}

fn deaths_by_signal_are_128_and_more(init: Init) {
    // Those whose default is to do nothing or to stop, and 32 and 33, which libc keeps, kill nobody.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28, 32, 33];
    // Who runs the tests may have ignored a signal (nohup does), and what is ignored is inherited.
    let kills_itself = ["env", "--default-signal", "sh", "-c"];
    for signal in (1..=64).filter(|signal| !harmless.contains(signal)) {
        let script = format!("ulimit -c 0; kill -{signal} $$; sleep 100");
        assert_eq!(
            run(&mut init.here(&[&kills_itself[..], &[&script]].concat())).code,
            128 + signal,
            "signal {signal}"
        );
    }
    for signal in [6, 9, 15, 40] {
        let script = format!("ulimit -c 0; kill -{signal} $$; sleep 100");
        let Some(mut command) = init.as_pid1(&[&kills_itself[..], &[&script]].concat()) else { return };
        assert_eq!(run(&mut command).code, 128 + signal, "signal {signal}");
    }
}

fn what_cannot_start_is_told(init: Init) {
    let (missing, denied) = match init {
        Init::Rsup | Init::Tini => (127, 126),
        Init::DumbInit => (2, 2),
        Init::Catatonit => (1, 1),
    };
    let ran = run(&mut init.here(&["/nonexistent/program"]));
    assert_eq!(ran.code, missing);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    let ran = run(&mut init.here(&["/etc/passwd"]));
    assert_eq!(ran.code, denied);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    // A script without #! is /bin/sh's, as for execvp.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "exit $1\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(run(&mut init.here(&[script.to_str().unwrap(), "12"])).code, 12);
}

#[test]
fn rsup_says_what_is_wrong() {
    let err = |command: &[&str]| run(&mut Init::Rsup.here(command)).err;
    assert_eq!(err(&["/nonexistent/program"]), "rsup: can't find command '/nonexistent/program'\n");
    assert!(err(&["no-such-program"]).starts_with("rsup: can't find command 'no-such-program' (PATH is /"));
    assert_eq!(err(&["/etc/passwd"]), "rsup: can't execute command '/etc/passwd': EACCES\n");
    assert_eq!(err(&[]), "rsup: a command must follow: rsup -- COMMAND [ARGUMENT…]\n");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = run(&mut Init::Rsup.here(&[script.to_str().unwrap()]));
    assert_eq!(ran.code, 127);
    assert!(ran.err.ends_with("script: ENOENT (its interpreter or loader is missing)\n"), "{}", ran.err);
}
