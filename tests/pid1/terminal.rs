//! Job control, on a pseudo-terminal of the test's own.

use crate::harness::{PATIENCE, code_of};
use crate::init::Init;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::Instant;

for_each_init!(the_program_has_the_terminal, as_pid1_too);

/// A terminal with a session on it.
struct Terminal {
    master: File,
    session: Child,
    text: String,
    /// What has been looked at.
    seen: usize,
}

impl Terminal {
    /// Runs a command as the leader of a session of its own that has the terminal.
    fn run(words: &[String]) -> Self {
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words);
        Self::run_in(command)
    }

    fn run_in(mut command: Command) -> Self {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave = || pty.slave.try_clone().unwrap();
        // Only the session has the slave, so that its end is seen.
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
        let session = command.stdin(slave()).stdout(slave()).stderr(slave()).env("PS1", "$ ").spawn().unwrap();
        Self { master: File::from(pty.master), session, text: String::new(), seen: 0 }
    }

    fn key(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a text after what was found before.
    fn until(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text[self.seen..].find(wanted) {
                let until = self.seen + at + wanted.len();
                let passed = self.text[self.seen..until].to_owned();
                self.seen = until;
                return passed;
            }
            assert!(Instant::now() < deadline, "no {wanted:?} after {:?}", self.text);
            let mut ready = [nix::poll::PollFd::new(self.master.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut ready, 1000_u16).unwrap();
            let mut bytes = [0; 4096];
            if ready[0].any() == Some(true) {
                let count = self
                    .master
                    .read(&mut bytes)
                    .unwrap_or_else(|why| panic!("{why}: no {wanted:?} after {:?}", self.text));
                self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
    }

    fn end(&mut self) -> i32 {
        code_of(crate::harness::wait_for("the session's end", || self.session.try_wait().unwrap()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}

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
