//! A pseudo-terminal with a session on it, for tests.

use super::{TIMEOUT, code_of, wait_for};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::Instant;

/// A terminal with a session on it.
pub struct Terminal {
    master: File,
    session: Child,
    /// All output so far.
    pub text: String,
    /// How many bytes of it were already searched.
    seen: usize,
}

impl Terminal {
    /// Runs a command as the leader of a new session, with the terminal as its controlling terminal.
    pub fn run(words: &[String]) -> Self {
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words);
        Self::run_in(command)
    }

    pub fn run_in(mut command: Command) -> Self {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave = || pty.slave.try_clone().unwrap();
        // Only the session has the slave, so that its end is noticed.
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
        let session = command.stdin(slave()).stdout(slave()).stderr(slave()).env("PS1", "$ ").spawn().unwrap();
        Self { master: File::from(pty.master), session, text: String::new(), seen: 0 }
    }

    /// The process that leads the session.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.session.id()).unwrap()
    }

    pub fn key(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the window's width.
    pub fn widen(&self, columns: u16) {
        let mut stty = Command::new("stty");
        stty.args(["cols", &columns.to_string()]).stdin(self.master.try_clone().unwrap());
        assert!(stty.status().unwrap().success());
    }

    /// Waits for a text after the last one that was found. Returns the text up to its end.
    pub fn until(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(at) = self.text[self.seen..].find(wanted) {
                let until = self.seen + at + wanted.len();
                let passed = self.text[self.seen..until].to_owned();
                self.seen = until;
                return passed;
            }
            assert!(Instant::now() < deadline && self.more(), "no {wanted:?} after {:?}", self.text);
        }
    }

    /// Waits up to a second for more text. Returns `false` if the session has closed the terminal.
    fn more(&mut self) -> bool {
        let mut ready = [nix::poll::PollFd::new(self.master.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut ready, 1000_u16).unwrap();
        let mut bytes = [0; 4096];
        if ready[0].any() == Some(true) {
            let Ok(count) = self.master.read(&mut bytes) else { return false };
            self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        true
    }

    /// Waits until the session has closed the terminal. Returns its exit code and all output.
    pub fn closed(mut self) -> (i32, String) {
        let deadline = Instant::now() + TIMEOUT;
        while self.more() {
            assert!(Instant::now() < deadline, "no end after {:?}", self.text);
        }
        (self.end(), std::mem::take(&mut self.text))
    }

    pub fn end(&mut self) -> i32 {
        code_of(wait_for("the end of the session", || self.session.try_wait().unwrap()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}
