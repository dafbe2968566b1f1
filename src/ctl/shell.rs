//! The interactive shell: a prompt, editing, history and completion where there is a terminal; plain lines where there is none.
use std::path::Path;

use super::edited::Edited;
use super::session::{Session, exit};

/// Runs `session` line by line until it is left; the exit code, which is 0 whatever happened, as in Supervisor. `prompt` comes
/// before each line; lines are kept in `history_file`, if there is one.
pub fn run(mut session: Session, prompt: &str, history_file: Option<&Path>) -> u8 {
    session.one("status");
    let mut edited = Edited::new(history_file);
    loop {
        let line = match &mut edited {
            Some(edited) => edited.next(&session.client, prompt),
            None => session.answer_to(prompt),
        };
        match line {
            Some(line) if session.one(&line) => break,
            Some(_) => {}
            None => {
                // An edited line leaves the cursor on a line of its own.
                if edited.is_none() {
                    session.one("quit");
                }
                break;
            }
        }
    }
    exit::OK
}
