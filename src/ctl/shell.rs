//! The interactive shell: a prompt, editing, history and completion where there is a terminal; plain lines where there is none.
use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::edited::Edited;
use super::session::{Line, Session, exit};

/// Runs `session` line by line until it is left; the exit code, which is 0 whatever happened, as in Supervisor. `prompt` comes
/// before each line; lines are kept in `history_file`, if there is one. At a terminal Ctrl-C drops the line or ends the command
/// that runs, and the prompt comes back.
// Differs from Supervisor: there Ctrl-C leaves the shell.
pub fn run(mut session: Session, prompt: &str, history_file: Option<&Path>) -> u8 {
    let hold = if io::stdin().is_terminal() { session.survive_interrupts().ok() } else { None };
    session.one("status");
    let mut edited = Edited::new(history_file);
    loop {
        let line = match &mut edited {
            Some(edited) => edited.next(&session.client, prompt),
            None => session.answer_to(prompt),
        };
        session.forget_interrupts();
        match line {
            Line::Text(line) if session.one(&line) => break,
            Line::Text(_) => {}
            Line::Interrupted => {
                // An edited line leaves the cursor on a line of its own.
                if edited.is_none() {
                    session.out.line("");
                }
            }
            Line::End => {
                if edited.is_none() {
                    session.one("quit");
                }
                break;
            }
        }
    }
    drop(hold);
    exit::OK
}
