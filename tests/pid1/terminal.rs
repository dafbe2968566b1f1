//! Job control, on a pseudo-terminal of the test's own.

use crate::harness::terminal::Terminal;
use crate::init::Init;

for_each_init!(the_program_has_the_terminal, as_pid1_too);

/// Says its process group, its session and the terminal's foreground group, then counts interrupts until it reads a line.
const PROGRAM: &str = "trap 'echo interrupted' INT
read -r pid name state parent group session terminal foreground rest </proc/$$/stat
echo group $((group - pid)) foreground $((foreground - pid)) ready
until read -r line; do :; done
echo read $line
exit 5";

fn the_program_has_the_terminal(init: Init) {
    let command = [init.words(), ["sh", "-c", PROGRAM].map(str::to_owned).to_vec()].concat();
    // dumb-init makes a session for its program, and gets it the terminal only where it led the old one.
    if init == Init::DumbInit {
        return;
    }
    // A session leader between, as a shell would be.
    let terminal = Terminal::run(
        &[vec!["sh".to_owned(), "-c".to_owned(), "\"$@\"; exit $?".to_owned(), "sh".to_owned()], command].concat(),
    );
    converse(terminal);
}

fn as_pid1_too(init: Init) {
    // As a container's runtime does it: PID 1 leads the session.
    let Some(command) = init.as_pid1_by(&["setsid", "--ctty"], &["sh", "-c", PROGRAM]) else { return };
    converse(Terminal::run_in(command));
}

fn converse(mut terminal: Terminal) {
    terminal.until("group 0 foreground 0 ready");
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

// The next are rsup's alone. On ^Z tini and catatonit leave the shell without its terminal, and dumb-init's program, alone in a session
// of its own, cannot be stopped from the terminal; none of them takes the terminal back at the end.

/// Answers each line in a way that the terminal's echo does not look like.
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
    // It stops when it reads; the shell knows.
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
