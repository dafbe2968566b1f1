//! Bytes that are not UTF-8, in each subcommand. tests/compliance/bytes.rs compares with Supervisor.

use crate::harness::{Sandbox, Subject, run, wait_for};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

/// "gehéim" in Latin-1.
const WORD: &[u8] = b"geh\xe9im";

fn os(parts: &[&[u8]]) -> OsString {
    OsString::from_vec(parts.concat())
}

/// A program of the sandbox with the word in its environment.
fn command(sandbox: &Sandbox, name: &str, args: &[&OsStr]) -> Command {
    let mut command = sandbox.command(name);
    command.env("PW", OsStr::from_bytes(WORD)).args(args);
    command
}

fn output(mut command: Command) -> (i32, Vec<u8>) {
    let output = command.output().unwrap();
    (output.status.code().unwrap(), [output.stdout, output.stderr].concat())
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn every_subcommand_takes_bytes_that_are_not_utf8() {
    let mut sandbox = Sandbox::bare(Subject::Rsup);
    let home = sandbox.dir.join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&home).unwrap();
    let conf = "[supervisord]\nlogfile=%(here)s/main.log\nchildlogdir=%(here)s\n[unix_http_server]\nfile=%(here)s/s\nusername=me\npassword=%(ENV_PW)s\n\
                [supervisorctl]\nserverurl=unix://%(here)s/s\nusername=me\npassword=%(ENV_PW)s\n\
                [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
                [program:a]\nprocess_name=p%(ENV_PW)s\ncommand=sh -c 'echo out; exec sleep 50'\nenvironment=COPY=\"%(ENV_PW)s\"\n\
                directory=%(here)s\nstdout_logfile=%(here)s/%(ENV_PW)s.log\n";
    let file = home.join("c.conf");
    fs::write(&file, conf).unwrap();
    let file = file.as_os_str();
    // check and --dump: a value that is not UTF-8 is dumped as `%(ENV_x)s`, so that the dump loads to the same.
    let (code, text) = output(command(&sandbox, "rsup", &["check".as_ref(), "-c".as_ref(), file]));
    assert_eq!(code, 0, "{}", text.escape_ascii());
    let (code, dumped) = output(command(
        &sandbox,
        "rsup",
        ["check".as_ref(), "--secrets".as_ref(), "--dump".as_ref(), "-c".as_ref(), file].as_slice(),
    ));
    assert!(code == 0 && holds(&dumped, b"COPY=\"%(ENV_PW)s\""), "{}", dumped.escape_ascii());
    let again = home.join("again.conf");
    fs::write(&again, &dumped).unwrap();
    let as_json = |file: &OsStr| {
        output(command(
            &sandbox,
            "rsup",
            &["check".as_ref(), "--dump".as_ref(), "--json".as_ref(), "-c".as_ref(), file],
        ))
        .1
    };
    let shown = String::from_utf8(as_json(file)).unwrap();
    assert!(shown.contains("geh\u{fffd}im.log"), "{shown}");
    assert_eq!(shown, String::from_utf8(as_json(again.as_os_str())).unwrap());
    // The supervisor, its logs, health and the client.
    let supervisor = command(&sandbox, "rsup", &["-c".as_ref(), file]);
    sandbox.launch_as(supervisor);
    let log = home.join(os(&[WORD, b".log"]));
    wait_for("the program's output", || fs::read(&log).ok().filter(|text| text == b"out\n"));
    let health = |sandbox: &Sandbox| output(command(sandbox, "rsup", &["health".as_ref(), "-c".as_ref(), file])).0;
    wait_for("health", || (health(&sandbox) == 0).then_some(()));
    let name = os(&[b"a:p", WORD]);
    let ctl = |args: &[&OsStr]| {
        let (code, text) = output(command(&sandbox, "rsupctl", &[&["-c".as_ref(), file], args].concat()));
        assert_eq!(code, 0, "{args:?}: {}", text.escape_ascii());
        text
    };
    let status = ctl(&["status".as_ref()]);
    assert!(status.starts_with(b"a:pgeh\xe9im ") && holds(&status, b"RUNNING"), "{}", status.escape_ascii());
    assert_eq!(ctl(&["tail".as_ref(), &name]), b"out\n\n");
    assert_eq!(ctl(&["clear".as_ref(), &name]), b"a:pgeh\xe9im: cleared\n");
    assert_eq!(fs::read(&log).unwrap(), b"");
    let restarted = ctl(&["restart".as_ref(), &name]);
    assert_eq!(restarted, b"a:pgeh\xe9im: stopped\na:pgeh\xe9im: started\n", "{}", restarted.escape_ascii());
    // The address and the password on the command line.
    let url = os(&[b"unix://", home.as_os_str().as_bytes(), b"/s"]);
    let options = [
        "-s".as_ref(),
        url.as_os_str(),
        "-u".as_ref(),
        "me".as_ref(),
        "-p".as_ref(),
        OsStr::from_bytes(WORD),
        "pid".as_ref(),
    ];
    let (code, pid) = output(command(&sandbox, "rsupctl", &options));
    assert_eq!((code, pid), (0, format!("{}\n", sandbox.pid()).into_bytes()));
    assert_eq!(sandbox.stop(), 0);
    // The next start removes all AUTO logs, whatever the name of the process.
    let main = fs::read(home.join("main.log")).unwrap();
    assert!(holds(&main, "success: pgeh\u{fffd}im entered RUNNING".as_bytes()), "{}", main.escape_ascii());
    let auto = || {
        fs::read_dir(&home)
            .unwrap()
            .filter(|entry| holds(entry.as_ref().unwrap().file_name().as_bytes(), b"geh\xe9im-stderr---"))
            .count()
    };
    assert_eq!(auto(), 1);
    let supervisor = command(&sandbox, "rsup", &["-c".as_ref(), file]);
    sandbox.launch_as(supervisor);
    wait_for("health", || (health(&sandbox) == 0).then_some(()));
    assert_eq!(auto(), 1);
    sandbox.stop();
}

#[test]
fn answers_are_valid_text_for_any_bytes() {
    let mut sandbox = Sandbox::new(
        Subject::Rsup,
        "[program:a]\ncommand=sleep \"50\" %(ENV_N)s\nprocess_name=p%(ENV_N)s\nstdout_logfile={dir}/%(ENV_N)s.log\nautostart=false\n",
    );
    let mut supervisor = sandbox.command("supervisord");
    supervisor.env("N", OsStr::from_bytes(b"\xe9\xf4\x8f\xbf\xa9")).args(["-n", "-c", "supervisord.conf"]);
    sandbox.launch_as(supervisor);
    let all = wait_for("an answer", || sandbox.rpc("supervisor.getAllProcessInfo", json!([])).ok());
    // A real U+10FFE9 is replaced by a code point for each of its bytes.
    let name = "p\u{10ffe9}\u{10fff4}\u{10ff8f}\u{10ffbf}\u{10ffa9}";
    assert_eq!(all[0]["name"], name);
    let path = sandbox.fill("{dir}/\u{fffd}\u{10ffe9}.log");
    assert_eq!(all[0]["stdout_logfile"], path);
    let info = sandbox.rpc("supervisor.getProcessInfo", json!([format!("a:{name}")])).unwrap();
    assert_eq!(info["statename"], "STOPPED");
    let config = sandbox.rpc("supervisor.getAllConfigInfo", json!([])).unwrap();
    assert_eq!(config[0]["command"], "sleep \"50\" \u{fffd}\u{10ffe9}");
    let (status, page) = sandbox.http("GET", "/", "", "").unwrap();
    assert_eq!(status, 200, "{page}");
    assert_eq!(sandbox.http("GET", "/tail.html?processname=a:p%F4%8F%BF%A9", "", "").unwrap().0, 200);
    sandbox.stop();
}

#[test]
fn init_and_messages_keep_bytes_that_are_not_utf8() {
    let sandbox = Sandbox::bare(Subject::Rsup);
    let script = "printf '%s %s' \"$PW\" \"$1\"";
    let words = ["--".as_ref(), "sh".as_ref(), "-c".as_ref(), script.as_ref(), "sh".as_ref(), OsStr::from_bytes(WORD)];
    assert_eq!(output(command(&sandbox, "rsup", &words)), (0, [WORD, b" ", WORD].concat()));
    // The message shows the printable part.
    let missing =
        run(command(&sandbox, "rsup", &[]).args(["check", "-c"]).arg(OsStr::from_bytes(b"/nowhere/\xe9.conf")));
    assert!(missing.code == 2 && (missing.out + &missing.err).contains("/nowhere/\u{fffd}.conf"));
}

#[test]
fn health_prints_the_bytes_of_a_name() {
    let mut sandbox =
        Sandbox::new(Subject::Rsup, "[program:a]\nprocess_name=p%(ENV_PW)s\ncommand=/bin/false\nstartretries=0\n");
    let mut rsup = command(&sandbox, "rsup", &["-n".as_ref(), "-c".as_ref(), "supervisord.conf".as_ref()]);
    rsup.current_dir(&sandbox.dir);
    sandbox.launch_as(rsup);
    sandbox.until_log("entered FATAL state", 1);
    for args in [&["health"][..], &["ctl"]] {
        let words = args.iter().chain(&["-c", "supervisord.conf"]).chain((args == ["ctl"]).then_some(&"status"));
        let words: Vec<&OsStr> = words.map(|word| OsStr::new(*word)).collect();
        let (_, text) = output(command(&sandbox, "rsup", &words));
        assert!(holds(&text, &[b"a:p", WORD].concat()), "{args:?}: {}", text.escape_ascii());
    }
    sandbox.stop();
}
