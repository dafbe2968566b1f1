//! The interactive shell: a prompt, editing, history and completion where there is a terminal; plain lines where there is none.
use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::line_editor::LineEditor;
use super::session::{Line, Session, exit};

/// Runs `session` line by line until it is left; the exit code, which is 0 whatever happened, as in Supervisor. `prompt` comes
/// before each line; lines are kept in `history_file`, if there is one. At a terminal Ctrl-C drops the line or ends the command
/// that runs, and the prompt comes back.
// Differs from Supervisor: there Ctrl-C leaves the shell.
pub fn run(mut session: Session, prompt: &str, history_file: Option<&Path>) -> u8 {
    let hold = if io::stdin().is_terminal() { session.survive_interrupts().ok() } else { None };
    session.run_line("status");
    let mut line_editor = LineEditor::new(history_file);
    loop {
        let line = match &mut line_editor {
            Some(line_editor) => line_editor.next(&session.client, prompt),
            None => session.ask_user(prompt),
        };
        session.forget_interrupts();
        match line {
            Line::Text(line) if session.run_line(&line) => break,
            Line::Text(_) => {}
            Line::Interrupted => {
                // An edited line leaves the cursor on a line of its own.
                if line_editor.is_none() {
                    session.out.line("");
                }
            }
            Line::End => {
                if line_editor.is_none() {
                    session.run_line("quit");
                }
                break;
            }
        }
    }
    drop(hold);
    exit::OK
}
