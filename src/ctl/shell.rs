//! The interactive shell: a prompt, editing, history and completion where there is a terminal; plain lines where there is none.
use std::path::Path;

use super::commands;
use super::session::Session;

/// Runs `session` line by line until it is left; the exit code, which is 0 whatever happened, as in Supervisor. `prompt` comes
/// before each line; lines are kept in `history_file`, if there is one.
pub fn run(mut session: Session, prompt: &str, history_file: Option<&Path>) -> u8 {
    session.one("status");
    let mut lines = Lines::new(history_file);
    while let Some(line) = lines.next(&mut session, prompt) {
        if session.one(&line) {
            return commands::exit::OK;
        }
    }
    if !lines.is_edited() {
        session.one("quit");
    }
    commands::exit::OK
}

/// Where the lines come from.
struct Lines {
    #[cfg(feature = "shell")]
    edited: Option<super::edited::Edited>,
}

impl Lines {
    #[cfg(feature = "shell")]
    fn new(history_file: Option<&Path>) -> Self {
        Self { edited: super::edited::Edited::new(history_file) }
    }

    #[cfg(not(feature = "shell"))]
    fn new(_: Option<&Path>) -> Self {
        Self {}
    }

    /// The cursor is on a line of its own after the end.
    fn is_edited(&self) -> bool {
        #[cfg(feature = "shell")]
        return self.edited.is_some();
        #[cfg(not(feature = "shell"))]
        return false;
    }

    /// The next line; `None`: there will be none.
    fn next(&mut self, session: &mut Session, prompt: &str) -> Option<String> {
        #[cfg(feature = "shell")]
        if let Some(edited) = &mut self.edited {
            return edited.next(&session.client, prompt);
        }
        session.out.question(prompt);
        session.input.line()
    }
}
