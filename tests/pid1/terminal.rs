//! Job control, on a pseudo-terminal.

use crate::harness::terminal::Terminal;
use crate::harness::wait_for;
use crate::init::{Init, python, stat};

for_each_init!(the_program_has_the_terminal, as_pid1_too);

/// Prints whether it is in the terminal's foreground group, then reports each interrupt until it reads a line.
const PROGRAM: &str = "trap 'echo interrupted' INT
read -r pid name state parent group session terminal foreground rest </proc/$$/stat
echo foreground $((foreground - group)) ready
until read -r line; do :; done
echo read $line
exit 5";

fn the_program_has_the_terminal(init: Init) {
    let command = [init.words(), ["sh", "-c", PROGRAM].map(str::to_owned).to_vec()].concat();
    // dumb-init creates a session for its program, and gives it the terminal only if dumb-init led the old session.
    if init == Init::DumbInit {
        return;
    }
    // A session leader in between, as a shell would be.
    let terminal = Terminal::run(
        &[vec!["sh".to_owned(), "-c".to_owned(), "trap : INT; \"$@\"; exit $?".to_owned(), "sh".to_owned()], command]
            .concat(),
    );
    converse(terminal);
}

fn as_pid1_too(init: Init) {
    // As container runtimes do it: PID 1 leads the session.
    let Some(command) = init.as_pid1_by(&["setsid", "--ctty"], &["sh", "-c", PROGRAM]) else { return };
    converse(Terminal::run_in(command));
}

fn converse(mut terminal: Terminal) {
    terminal.until("foreground 0 ready");
    terminal.key("\x03");
    terminal.until("interrupted");
    terminal.key("line\n");
    let rest = terminal.until("read line");
    assert!(!rest.contains("interrupted"), "one ^C, two interrupts: {rest:?}");
    assert_eq!(terminal.end(), 5);
}

/// An interactive shell that is ready for commands.
fn shell() -> Option<Terminal> {
    let bash = crate::init::which("bash");
    if bash.is_none() {
        crate::harness::skip("bash is not installed");
    }
    let words = [bash?.to_str()?, "--norc", "--noprofile", "-i"].map(str::to_owned);
    let mut terminal = Terminal::run(&words);
    terminal.until("$ ");
    Some(terminal)
}

// The following tests are for rsup only. On ^Z tini and catatonit leave the shell without its terminal. dumb-init's program has a session of
// its own, so the terminal cannot stop it. None of them takes the terminal back at the end.

/// Answers each line with a text that differs from the terminal's echo.
const ANSWER: &str = "sh -c 'while read -r line; do echo \"<$line>\"; done'";

#[test]
fn control_z_stops_the_job_and_fg_continues_it() {
    let Some(mut terminal) = shell() else { return };
    terminal.key(&format!("{} {ANSWER}\n", Init::Rsup.words().join(" ")));
    terminal.key("one\n");
    terminal.until("<one>");
    for word in ["two", "three"] {
        terminal.key("\x1a");
        terminal.until("Stopped");
        terminal.until("$ ");
        terminal.key("echo al''ive\n");
        terminal.until("alive");
        terminal.until("$ ");
        terminal.key("fg\n");
        terminal.key(&format!("{word}\n"));
        terminal.until(&format!("<{word}>"));
    }
    terminal.key("\x03");
    terminal.until("$ ");
    terminal.key("echo co''de $?\n");
    terminal.until("code 130");
}

#[test]
fn a_background_job_leaves_the_terminal_alone() {
    let Some(mut terminal) = shell() else { return };
    terminal.key(&format!("{} {ANSWER} &\n", Init::Rsup.words().join(" ")));
    terminal.until("$ ");
    // The job stops when it reads, and the shell notices.
    terminal.key("until jobs | grep -q Sto''pped; do :; done; echo al''ive\n");
    terminal.until("alive");
    terminal.until("$ ");
    terminal.key("fg\n");
    terminal.key("word\n");
    terminal.until("<word>");
    terminal.key("\x04");
    terminal.until("$ ");
    terminal.key("echo co''de $?\n");
    terminal.until("code 0");
}

#[test]
fn a_script_has_its_terminal_back_afterwards() {
    let script = format!("{} true; read -r line; echo got $line; exit 6", Init::Rsup.words().join(" "));
    let mut terminal = Terminal::run(&["sh".to_owned(), "-c".to_owned(), script]);
    terminal.key("input\n");
    terminal.until("got input");
    assert_eq!(terminal.end(), 6);
}

#[test]
fn control_z_does_not_hang_a_container() {
    let answer = ["sh", "-c", "while read -r line; do echo \"<$line>\"; done"];
    let Some(command) = Init::Rsup.as_pid1_by(&["setsid", "--ctty"], &answer) else { return };
    let mut terminal = Terminal::run_in(command);
    for word in ["one", "two", "three"] {
        terminal.key(&format!("{word}\n"));
        terminal.until(&format!("<{word}>"));
        terminal.key("\x1a");
    }
    terminal.key("\x04");
    assert_eq!(terminal.end(), 0);
}

// In the following tests stdin is not the terminal. Each runs a job of an interactive shell twice, with and without rsup, and the same must
// happen. `INIT` stands for `rsup --` or for nothing.
//
// dash loses a signal that arrives while it starts a program (vfork), so the scripts `exec` a program that must get one.

/// Runs a test with rsup before the program, and with the program alone.
fn with_and_without_rsup(converse: fn(&mut Terminal, &str)) {
    for init in ["", &(Init::Rsup.words().join(" ") + " ")] {
        let Some(mut terminal) = shell() else { return };
        converse(&mut terminal, init);
        terminal.key("echo al''ive\n");
        terminal.until("alive");
    }
}

/// Types a command line, with `INIT` replaced.
fn enter(terminal: &mut Terminal, init: &str, line: &str) {
    terminal.key(&(line.replace("INIT ", init) + "\n"));
}

/// Waits until every process of the job is stopped. The shell waits for its own children only, while others may still read.
fn until_all_stopped(terminal: &mut Terminal) {
    let session = terminal.pid();
    wait_for("all to be stopped", || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let others = pids.filter(|&pid| pid != session && stat(pid, 6) == Some(session.to_string()));
        let is_ours =
            |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "rsup\n");
        let mut programs = others.filter(|pid| !is_ours(pid));
        programs.all(|pid| stat(pid, 3).is_none_or(|state| state == "T")).then_some(())
    });
    terminal.until("$ ");
}

/// Reads from /dev/tty, and answers with a text that differs from the terminal's echo.
const READS_TERMINAL: &str = "sh -c 'echo rea\"\"dy; while read -r line; do echo \"<$line>\"; done </dev/tty'";

#[test]
fn every_shape_of_a_job_can_be_stopped_continued_and_ended() {
    with_and_without_rsup(|terminal, init| {
        for job in [
            format!("INIT {READS_TERMINAL} </dev/null"),
            format!("INIT {READS_TERMINAL} <&- 2>/dev/null"),
            format!("true | INIT {READS_TERMINAL}"),
            format!("INIT {READS_TERMINAL} | cat"),
            format!("echo x | INIT {READS_TERMINAL} 2>&1 | cat"),
            format!("sh -c '\"$@\"; exit $?' sh INIT {READS_TERMINAL} </dev/null"),
        ] {
            enter(terminal, init, &job);
            terminal.until("ready");
            terminal.key("one\n");
            terminal.until("<one>");
            for word in ["two", "three"] {
                terminal.key("\x1a");
                terminal.until("Stopped");
                until_all_stopped(terminal);
                terminal.key("fg\n");
                terminal.key(&format!("{word}\n"));
                terminal.until(&format!("<{word}>"));
            }
            terminal.key("\x03");
            terminal.until("$ ");
            terminal.key("jobs; echo jo''bs over\n");
            assert!(!terminal.until("jobs over").contains("Stopped"), "{job}");
        }
    });
}

#[test]
fn keys_and_signals_for_the_job_arrive_once() {
    with_and_without_rsup(|terminal, init| {
        let counts = python("counts").join(" ");
        let survives = "sh -c 'trap \"\" INT QUIT TERM; exec cat'";
        for job in [format!("INIT {counts} </dev/null"), format!("true | INIT {counts} | {survives}")] {
            enter(terminal, init, &job);
            terminal.until("ready");
            for (key, signal) in [("\x03", "INT"), ("\x1c", "QUIT"), ("\x03", "INT")] {
                terminal.key(key);
                terminal.until(&format!("got SIG{signal}"));
            }
            terminal.widen(100);
            terminal.until("got SIGWINCH");
            terminal.key("\x1a");
            terminal.until("Stopped");
            terminal.until("$ ");
            terminal.key("kill -TERM %%; fg\n");
            terminal.until("got SIGTERM");
            terminal.key("end\n");
            terminal.until("over SIGINT=2 SIGQUIT=1 SIGTERM=1 SIGWINCH=1\r\n");
            terminal.widen(80);
        }
    });
}

#[test]
fn a_reader_behind_rsup_in_a_pipeline_has_the_terminal() {
    with_and_without_rsup(|terminal, init| {
        enter(
            terminal,
            init,
            "INIT sh -c 'echo one; exec sleep 1000' | sh -c 'read l; read x </dev/tty; echo \"<$l $x>\"'",
        );
        terminal.key("two\n");
        terminal.until("<one two>");
        terminal.key("\x03");
        terminal.until("$ ");
    });
}

#[test]
fn a_background_job_may_write_unless_tostop_forbids_it() {
    with_and_without_rsup(|terminal, init| {
        terminal.key("stty tostop\n");
        enter(terminal, init, "INIT sh -c 'echo writ\"\"ten' </dev/null &");
        terminal.key("until jobs | grep -q Sto''pped; do :; done; echo sto''pped\n");
        assert!(!terminal.until("stopped").contains("written"));
        terminal.key("fg\n");
        terminal.until("written");
        terminal.until("$ ");
        terminal.key("stty -tostop\n");
    });
}

/// Runs a script as container runtimes do it: PID 1 leads the session.
fn as_leader(script: &str) -> Option<Terminal> {
    Init::Rsup
        .as_pid1_by(&["setsid", "--ctty", "sh", "-c", "exec \"$@\" </dev/null", "sh"], &["sh", "-c", script])
        .map(Terminal::run_in)
}

#[test]
fn as_pid1_the_program_gets_the_terminal_whatever_stdin_is() {
    // The program may change the settings, and is not stopped as a background job would be.
    let counts = python("counts").join(" ");
    let script = format!("stty -echo tostop </dev/tty; echo quiet; read -r x </dev/tty; echo got:$x; exec {counts}");
    let Some(mut terminal) = as_leader(&script) else { return };
    terminal.until("quiet");
    terminal.key("one\n");
    assert!(!terminal.until("got:one").contains("one\r\n"), "echo is off");
    terminal.until("ready");
    for key in ["\x1a", "\x03", "\x1a"] {
        terminal.key(key);
    }
    terminal.until("got SIGINT");
    terminal.key("end\n");
    terminal.until("over SIGINT=1\r\n");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn as_pid1_the_keys_interrupt_it_also_after_a_stop() {
    for (key, code) in [("\x03", 130), ("\x1c", 131)] {
        let Some(mut terminal) = as_leader("ulimit -c 0; echo ready; exec sleep 1000") else { return };
        terminal.until("ready");
        terminal.key("\x1a");
        terminal.key(key);
        assert_eq!(terminal.end(), code);
    }
}

#[test]
fn a_shell_inside_has_job_control_of_its_own() {
    let Some(mut terminal) = shell() else { return };
    terminal.key(&format!("{} bash --norc --noprofile -i </dev/tty\n", Init::Rsup.words().join(" ")));
    terminal.until("$ ");
    terminal.key("sh -c 'echo rea\"\"dy; exec sleep 1000'\n");
    terminal.until("ready");
    terminal.key("\x1a");
    terminal.until("Stopped");
    terminal.key("suspend\n");
    terminal.until("Stopped");
    terminal.key("echo ou''ter\n");
    terminal.until("outer");
    terminal.key("fg\n");
    terminal.key("jobs; echo in''ner\n");
    assert!(terminal.until("inner").contains("sleep 1000"));
    terminal.key("kill -9 %1; while kill -0 %1 2>/dev/null; do :; done; exit 3\n");
    terminal.until("exit");
    terminal.until("$ ");
    terminal.key("echo co''de $?\n");
    terminal.until("code 3");
}
