//! Interactive use of both clients, each on a terminal: the shell, `fg`, `tail -f`, questions and passwords.

use crate::fake::{Answer, Fake};
use crate::harness::terminal::Terminal;
use crate::harness::{Sandbox, Subject, TIMEOUT, compared, oracle, run, skip, wait_for};
use crate::{called_supervisorctl, rsupctl, with_input, without_configuration};
use rsup::wire::xmlrpc::Value;
use std::io::Read as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

const CONF: &str = "prompt=mine\nhistory_file={dir}/history\n\
    [program:cat]\ncommand=/bin/sh -c \"echo ready; exec cat\"\nstdout_logfile={dir}/cat.out\n\
    [program:down]\ncommand=/bin/cat\nautostart=false\n[group:web]\nprograms=one,two\n\
    [program:one]\ncommand=/bin/sleep 1000\n[program:two]\ncommand=/bin/sleep 1000\n";

fn server(subject: Subject) -> Sandbox {
    let mut sandbox = Sandbox::new(subject, CONF);
    sandbox.start();
    sandbox.until_file("cat.out", "ready");
    for name in ["cat", "web:one", "web:two"] {
        sandbox.until(name, "RUNNING");
    }
    sandbox
}

/// A text to wait for on the terminal, and the keys to type then.
type Step = (&'static str, &'static str);

/// Starts a client on a new terminal, and does `steps`.
fn begin(client: &Command, args: &[String], steps: &[Step]) -> Terminal {
    let mut command = without_configuration(Command::new("setsid"));
    command.env("TERM", "xterm").arg("--ctty").arg(client.get_program()).args(client.get_args()).args(args);
    let mut terminal = Terminal::run_in(command);
    for (wanted, keys) in steps {
        terminal.until(wanted);
        terminal.key(keys);
    }
    terminal
}

fn supervisorctl() -> Command {
    Command::new(oracle().unwrap().join("bin/supervisorctl"))
}

/// Runs both clients, with the real Supervisor and with rsup. Their exit codes and screens must be the same. Returns rsupctl's.
fn alike(args: &str, steps: &[Step]) -> Option<(i32, String)> {
    if oracle().is_none() {
        skip("no real Supervisor");
        return None;
    }
    let held = |is_ours: bool, subject| {
        let sandbox = server(subject);
        let words = ["-c", "{dir}/supervisord.conf"].into_iter().chain(args.split_whitespace());
        let words: Vec<String> = words.map(|word| sandbox.fill(word)).collect();
        let mut terminal = begin(&if is_ours { called_supervisorctl() } else { supervisorctl() }, &words, steps);
        let (code, text) = if args == "fg cat" && !is_ours {
            // Supervisor takes up to half a minute to end it.
            terminal.until("Exiting foreground\r\n");
            (0, terminal.text.clone())
        } else {
            terminal.closed()
        };
        (code, sandbox.normal(&screen(&text)))
    };
    let ours = held(true, Subject::Rsup);
    assert_eq!(held(true, Subject::Supervisor), ours, "{args} {steps:?} at Supervisor");
    // Ctrl-C may interrupt the real client anywhere, so its output varies.
    let before = |(code, seen): &(i32, String)| (*code, seen.split("^C").next().unwrap().to_owned());
    for subject in [Subject::Supervisor, Subject::Rsup] {
        assert_eq!(before(&ours), before(&held(false, subject)), "{args} {steps:?} at {subject:?}");
    }
    compared(steps.len() + 1);
    Some(ours)
}

/// The screen of a terminal after this output. Knows the sequences that line editors use.
fn screen(text: &str) -> String {
    let (mut done, mut line, mut column) = (String::new(), Vec::new(), 0_usize);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' => {
                done.push_str(line.drain(..).collect::<String>().trim_end());
                done.push('\n');
                column = 0;
            }
            '\r' => column = 0,
            '\x08' => column = column.saturating_sub(1),
            '\x07' => {}
            '\x1b' => {
                let sequence = rest.as_str();
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let count = sequence[1..end].parse().unwrap_or(1);
                match &sequence[end..=end] {
                    "C" => column += count,
                    "D" => column = column.saturating_sub(count),
                    "K" => line.truncate(column),
                    _ => {}
                }
                rest = sequence[end + 1..].chars();
            }
            c => {
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    done + &line.into_iter().collect::<String>()
}

const STATUS: &str = "cat                              RUNNING   pid {pid}, uptime {T}\n\
    down                             STOPPED   Not started\n\
    web:one                          RUNNING   pid {pid}, uptime {T}\n\
    web:two                          RUNNING   pid {pid}, uptime {T}\n";

#[test]
fn the_shell_answers_line_by_line() {
    let steps = [
        ("mine> ", "pid nobody\r"),
        ("process nobody", ""),
        ("mine> ", "\r"),
        ("mine> ", "bogus word\r"),
        ("mine> ", "help nothing\r"),
        ("mine> ", "start cat\r"),
        ("already started", ""),
        ("mine> ", "shutdown\r"),
        ("y/N? ", "n\r"),
        ("mine> ", "quit\r"),
    ];
    let Some((code, seen)) = alike("", &steps) else { return };
    let wanted = "mine> pid nobody\nNo such process nobody\nmine>\nmine> bogus word\n*** Unknown syntax: bogus word\n\
        mine> help nothing\n*** No help on nothing\nmine> start cat\ncat: ERROR (already started)\nmine> shutdown\n\
        Really shut the remote supervisord process down y/N? n\nmine> quit\n\n";
    assert_eq!((code, seen), (0, format!("{STATUS}{wanted}")));
}

#[test]
fn commands_and_names_are_completed_on_a_terminal() {
    let steps = [
        ("mine> ", "vers\t"),
        ("version ", "\r"),
        ("mine> ", "stat\t"),
        ("status ", "dow\t"),
        ("down ", "\r"),
        ("mine> ", "stop dow\t"),
        ("down ", "\r"),
        ("not running", ""),
        ("mine> ", "remove we\t"),
        ("web ", "\r"),
        ("still running", ""),
        ("mine> ", "\x04"),
    ];
    let Some((code, seen)) = alike("", &steps) else { return };
    let down = "down                             STOPPED   Not started\n";
    let wanted = "mine> version\n4.3.0\nmine> status down\n{down}mine> stop down\ndown: ERROR (not running)\nmine> remove web\n\
        ERROR: process/group still running: web\nmine>\n";
    assert_eq!((code, seen), (0, format!("{STATUS}{}", wanted.replace("{down}", down))));
}

#[test]
fn control_c_discards_the_line_or_interrupts_the_command() {
    let conf = "prompt=mine\n[program:slow]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=1000\n\
        [program:deaf]\ncommand=/bin/sh -c \"trap '' TERM; echo deaf; while :; do sleep 1; done\"\nstdout_logfile={dir}/deaf.out\nstopwaitsecs=1000\n";
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.start();
    sandbox.until_file("deaf.out", "deaf");
    sandbox.until("deaf", "RUNNING");
    let args = ["-c", "{dir}/supervisord.conf"].map(|arg| sandbox.fill(arg));
    let mut terminal = begin(&rsupctl(), &args, &[("mine> ", "vers"), ("vers", "\x03"), ("mine> ", "version\r")]);
    terminal.until("4.3.0\r\n");
    for line in ["start slow", "restart deaf", "restart slow"] {
        terminal.until("mine> ");
        terminal.key(&format!("{line}\r"));
        terminal.until("waiting: ");
        terminal.key("\x03");
    }
    // Questions and the kept connection still work.
    for (line, answer) in [("shutdown", "\x03"), ("pid", "")] {
        terminal.until("mine> ");
        terminal.key(&format!("{line}\r"));
        terminal.until(if line == "pid" { "\r\n" } else { "y/N? " });
        terminal.key(answer);
    }
    terminal.until("mine> ");
    terminal.key("\x04");
    assert_eq!(terminal.closed().0, 0);
    assert_eq!(sandbox.rpc("supervisor.getState", serde_json::json!([])).unwrap()["statename"], "RUNNING");
    // Outside of the shell, Ctrl-C ends the client.
    let mut words = args.to_vec();
    words.extend(["start", "slow"].map(str::to_owned));
    let signal = |words: &[String]| {
        sandbox.rpc("supervisor.stopProcess", serde_json::json!(["slow"])).unwrap();
        let mut terminal = begin(&rsupctl(), words, &[]);
        sandbox.until("slow", "STARTING");
        terminal.until("waiting: ");
        terminal.key("\x03");
        terminal.closed().0
    };
    assert_eq!(signal(&words), 130);
}

#[test]
fn control_c_at_a_password_restores_the_echo() {
    let fake = Fake::start(|_, _| Answer::Http(401));
    for words in ["", "-i version"] {
        let mut args = vec!["-s".to_owned(), fake.url()];
        args.extend(words.split_whitespace().map(str::to_owned));
        let mut shell = std::process::Command::new("sh");
        let client = rsupctl();
        let line = format!("{} ctl {}; stty -a; echo end", client.get_program().to_str().unwrap(), args.join(" "));
        shell.args(["-c", &format!("trap : INT; {line}")]);
        let mut terminal = begin(&shell, &[], &[("Username:", "me\n"), ("Password:", "\x03")]);
        if words.is_empty() {
            terminal.until("supervisor> ");
            terminal.key("\x04");
        }
        let shown = terminal.until("end\r\n");
        assert!(shown.contains(" echo ") && !shown.contains("-echo "), "{shown}");
    }
}

#[test]
fn fg_does_not_complain_about_missing_logs() {
    let logs = ["", "NONE", "{dir}/own"];
    let mut conf = String::new();
    for (n, (out, err)) in logs.iter().flat_map(|out| logs.iter().map(move |err| (out, err))).enumerate() {
        for redirect in [false, true] {
            conf +=
                &format!("[program:p{n}{redirect}]\ncommand=/bin/sh -c \"echo to out; echo to err >&2; exec cat\"\n");
            conf += &format!("redirect_stderr={redirect}\n");
            for (channel, log) in [("stdout", out), ("stderr", err)] {
                let log = log.replace("own", &format!("{n}{redirect}{channel}"));
                if !log.is_empty() {
                    conf += &format!("{channel}_logfile={log}\n");
                }
            }
        }
    }
    let mut sandbox = Sandbox::new(Subject::Rsup, &conf);
    sandbox.start();
    for n in 0..logs.len().pow(2) {
        for redirect in [false, true] {
            let name = format!("p{n}{redirect}");
            sandbox.until(&name, "RUNNING");
            let info = sandbox.info(&name);
            let args = ["-s", "unix://{dir}/sock", "fg", &name].map(|arg| sandbox.fill(arg));
            let mut terminal = begin(&rsupctl(), &args, &[("<==\r\n", "")]);
            for channel in ["out", "err"] {
                let has_log = |channel: &str| info[format!("std{channel}_logfile")] != "";
                if has_log(if redirect { "out" } else { channel }) {
                    terminal.until(&format!("to {channel}\r\n"));
                }
            }
            terminal.key("\x03");
            let (code, text) = terminal.closed();
            assert_eq!(code, 0);
            for line in text.lines() {
                let is_known =
                    ["to out", "to err", "^CExiting foreground", "==> Press Ctrl-C to exit <=="].contains(&line);
                assert!(is_known, "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn history_is_saved_and_found_again() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    for (client, subject) in [(supervisorctl(), Subject::Supervisor), (rsupctl(), Subject::Rsup)] {
        let sandbox = server(subject);
        let args = |more: &str| -> Vec<String> {
            ["-c", "{dir}/supervisord.conf"]
                .into_iter()
                .chain(more.split_whitespace())
                .map(|arg| sandbox.fill(arg))
                .collect()
        };
        let steps = [("mine> ", "version\r"), ("mine> ", "pid down\r"), ("mine> ", "quit\r")];
        assert_eq!(begin(&client, &args(""), &steps).closed().0, 0);
        assert_eq!(sandbox.read("history"), "version\npid down\nquit\n");
        // The up key, twice.
        let steps = [("mine> ", "\x1b[A"), ("quit", "\x1b[A"), ("pid down", "\r"), ("mine> ", "quit\r")];
        let (_, text) = begin(&client, &args(""), &steps).closed();
        assert!(screen(&text).contains("mine> pid down\n0\nmine> quit\n"), "{text:?}");
        assert_eq!(sandbox.read("history"), "version\npid down\nquit\npid down\nquit\n");
    }
    // In Supervisor -r has no effect.
    let sandbox = server(Subject::Rsup);
    let args = ["-s", "unix://{dir}/sock", "-r", "{dir}/mine"].map(|arg| sandbox.fill(arg));
    begin(&rsupctl(), &args, &[("supervisor> ", "quit\r")]).closed();
    assert_eq!(sandbox.read("mine"), "quit\n");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(sandbox.dir.join("mine")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn lines_may_come_from_a_pipe() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    let input = "pid nobody\n\nversion\nhelp nothing\n!x\nshutdown\nno\nopen unix:///none\nstart cat\nEOF\nversion\n";
    let [theirs, ours] =
        [(supervisorctl(), Subject::Supervisor), (called_supervisorctl(), Subject::Rsup)].map(|(client, subject)| {
            let sandbox = server(subject);
            let mut command = without_configuration(Command::new(client.get_program()));
            command.args(client.get_args()).args(["-c", &sandbox.fill("{dir}/supervisord.conf")]);
            let ran = with_input(&mut command, input);
            (ran.code, sandbox.normal(&ran.out), ran.err)
        });
    assert_eq!(ours, theirs);
    compared(input.lines().count());
    assert!(ours.1.starts_with(STATUS) && ours.1.contains("mine> 4.3.0\n"), "{ours:?}");
}

#[test]
fn a_log_is_followed_until_control_c() {
    for args in ["tail -f cat", "tail -f cat stdout"] {
        let Some((code, seen)) = alike(args, &[("==> Press Ctrl-C to exit <==", ""), ("ready", "\x03")]) else {
            return;
        };
        assert_eq!((code, &*seen), (0, "==> Press Ctrl-C to exit <==\nready\n^C\n"));
    }
    let Some((code, seen)) = alike("tail -f nobody stderr", &[]) else { return };
    assert_eq!(
        (code, seen.lines().last()),
        (0, Some("unix://{dir}/sock/logtail/nobody/stderr Cannot read, status code 404"))
    );
    for (client, subject) in
        [(supervisorctl(), Subject::Supervisor), (rsupctl(), Subject::Supervisor), (rsupctl(), Subject::Rsup)]
    {
        let sandbox = server(subject);
        let args = ["-s", "unix://{dir}/sock", "maintail", "-f"].map(|arg| sandbox.fill(arg));
        let mut terminal = begin(&client, &args, &[("<==\r\n", ""), ("entered RUNNING state", "")]);
        sandbox.rpc("supervisor.stopProcess", serde_json::json!(["cat"])).unwrap();
        terminal.until("stopped: cat");
        terminal.key("\x03");
        terminal.until("^C");
        assert_eq!(terminal.closed().0, 0);
    }
}

#[test]
fn fg_sends_lines_to_the_process() {
    let steps = [("<==\r\n", ""), ("ready\r\n", "one\n"), ("one\r\none\r\n", "two\n"), ("two\r\ntwo\r\n", "\x03")];
    let Some((code, seen)) = alike("fg cat", &steps) else { return };
    let wanted = "==> Press Ctrl-C to exit <==\nready\none\none\ntwo\ntwo\n";
    assert_eq!((code, seen), (0, format!("{wanted}^CExiting foreground\n")));
    let steps = [("<==\r\n", ""), ("ready\r\n", "one\n"), ("one\r\none\r\n", "\x04")];
    let Some((code, seen)) = alike("fg cat", &steps) else { return };
    assert_eq!((code, &*seen), (0, "==> Press Ctrl-C to exit <==\nready\none\none\nExiting foreground\n"));
}

#[test]
fn fg_ends_when_its_process_exits() {
    // Supervisor's client notices this only after the next line.
    for subject in [Subject::Supervisor, Subject::Rsup] {
        if subject == Subject::Supervisor && oracle().is_none() {
            return skip("no real Supervisor");
        }
        let sandbox = server(subject);
        let args = ["-s", "unix://{dir}/sock", "fg", "cat"].map(|arg| sandbox.fill(arg));
        let terminal = begin(&rsupctl(), &args, &[("<==\r\n", ""), ("ready", "")]);
        sandbox.rpc("supervisor.stopProcess", serde_json::json!(["cat"])).unwrap();
        let (code, text) = terminal.closed();
        assert_eq!(
            (code, &*screen(&text)),
            (0, "==> Press Ctrl-C to exit <==\nready\nProcess got killed\nExiting foreground\n")
        );
    }
}

#[test]
fn a_password_is_read_without_echo() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let mut sandbox = Sandbox::new(Subject::Supervisor, "");
    let guarded = format!("file={}\nusername=me\npassword=se:cret\n", socket.display());
    let conf = sandbox.read("supervisord.conf").replace(&sandbox.fill("file={dir}/sock\n"), &guarded);
    sandbox.write("supervisord.conf", &conf);
    sandbox.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
    wait_for("the socket", || socket.exists().then_some(()));
    let args = ["-i", "-s", &format!("unix://{}", socket.display()), "version"].map(str::to_owned);
    let steps = [("Username:", "me\n"), ("Password:", "wrong\n"), ("Username:", "me\n"), ("Password:", "se:cret\n")];
    let [theirs, ours] = [supervisorctl(), rsupctl()].map(|client| begin(&client, &args, &steps).closed());
    let wanted = "Server requires authentication\nUsername:me\nPassword:\n\n";
    assert_eq!((ours.0, &*screen(&ours.1)), (0, &*format!("{wanted}{wanted}4.3.0\n")));
    assert_eq!((theirs.0, screen(&theirs.1)), (0, screen(&ours.1)));
}

#[test]
fn a_log_cannot_control_the_terminal() {
    let mut sandbox = Sandbox::new(
        Subject::Rsup,
        "[program:x]\ncommand=/bin/sh -c \"printf '\\033[31mred\\033[2J\\007 end'; exec sleep 1000\"\nstdout_logfile={dir}/out\n",
    );
    sandbox.start();
    sandbox.until_file("out", " end");
    // XML has no escape character, so a server replaces it. A followed log arrives unchanged.
    for (command, shown) in [(&["tail", "x"][..], "red?[2J? end"), (&["tail", "-f", "x"], "\x1b[31mred?[2J? end")] {
        let args: Vec<String> =
            ["-s", "unix://{dir}/sock"].iter().chain(command).map(|arg| sandbox.fill(arg)).collect();
        begin(&rsupctl(), &args, &[(shown, "\x03")]).end();
    }
    // A pipe gets it unchanged.
    let mut client = rsupctl();
    client.args(["-s", &sandbox.fill("unix://{dir}/sock"), "tail", "-f", "x"]).stdout(std::process::Stdio::piped());
    let mut client = client.spawn().unwrap();
    let wanted = b"==> Press Ctrl-C to exit <==\n\x1b[31mred\x1b[2J\x07 end";
    let mut piped = vec![0; wanted.len()];
    client.stdout.take().unwrap().read_exact(&mut piped).unwrap();
    assert_eq!(piped, wanted);
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_waiting_command_shows_the_processes_it_waits_for() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let fake = Fake::start(|method, _| {
        let member = |name: &str, value: Value| (name.to_owned(), value);
        let info = |name: &str, state: i32| {
            let names =
                [member("name", name.into()), member("group", name.into()), member("statename", "STOPPING".into())];
            Value::Struct([&names[..], &[member("state", state.into()), member("status", 80.into())]].concat())
        };
        match method {
            "supervisor.getVersion" => return Answer::Value("3.0".into()),
            "supervisor.getAllProcessInfo" => ASKED.store(true, SeqCst),
            _ => {
                let deadline = Instant::now() + TIMEOUT;
                while !ASKED.load(SeqCst) {
                    assert!(Instant::now() < deadline);
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        }
        Answer::Value(Value::Array(vec![info("a", 40), info("b\x1b[2J", 40), info("c", 20)]))
    });
    let (code, text) = begin(&rsupctl(), &["-s".into(), fake.url(), "stop all".into()], &[]).closed();
    assert!(text.contains("\r\x1b[Kwaiting: 2 STOPPING (a b?[2J)"), "{text:?}");
    assert_eq!((code, &*screen(&text)), (0, "a: stopped\nb?[2J: stopped\nc: stopped\n"));
    // Nothing is shown if stderr is not a terminal.
    let ran = run(rsupctl().args(["-s", &fake.url(), "stop all"]));
    assert_eq!((ran.code, &*ran.err), (0, ""));
}
