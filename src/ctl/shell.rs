//! The interactive shell: on a terminal with editing, history and completion; otherwise it reads plain lines.
use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::line_editor::LineEditor;
use super::session::{Line, Session, exit};

/// Runs `session` line by line until the user leaves it. The exit code is 0, as in Supervisor, unless the output could not be
/// written. `history_file`: where lines are kept, if anywhere. On a terminal, Ctrl-C discards the line or ends the running command, and the prompt returns.
// Differs from Supervisor, where Ctrl-C leaves the shell.
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
    session.out.flush();
    if session.out.failed { exit::FAILED } else { exit::OK }
}
