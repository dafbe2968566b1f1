//! Reads lines from a terminal with editing, history and completion, by rustyline. Only in builds with the feature `shell`.
use std::cell::{OnceCell, RefCell};
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper, Result};

use super::client::RpcClient;
use super::commands::{self, Takes};
use super::format::{namespec_of, text};
use super::session::Line;
use crate::posix::signal_names;
use crate::wire::xmlrpc::Value;

/// Largest number of lines in the history.
const HISTORY_LINES: usize = 10_000;
/// The longest wait for the names to complete.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(2);

/// A terminal and its history file, which has GNU readline's format: plain text, one entry a line.
pub struct LineEditor {
    editor: Editor<NameCompleter, MemHistory>,
    history: Option<File>,
}

impl LineEditor {
    /// An editor for the terminal on stdin and stdout; `None`: they are not a terminal.
    pub fn new(history_file: Option<&Path>) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let config = Config::builder().completion_type(CompletionType::List);
        let config = config.max_history_size(HISTORY_LINES).ok()?.build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).ok()?;
        // As in Supervisor, a history file that cannot be read or written is ignored.
        for line in history_file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default().lines() {
            let _ = editor.add_history_entry(line);
        }
        let appended = |file| File::options().append(true).create(true).mode(0o600).open(file).ok();
        Some(Self { editor, history: history_file.and_then(appended) })
    }

    /// The next line.
    pub fn next(&mut self, client: &RpcClient, prompt: &str) -> Line {
        let client = RefCell::new(client.with_timeout(COMPLETION_TIMEOUT));
        self.editor.set_helper(Some(NameCompleter { client, infos: OnceCell::new() }));
        let line = match self.editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Line::Interrupted,
            Err(_) => return Line::End,
        };
        if matches!(self.editor.add_history_entry(&line), Ok(true))
            && let Some(history) = &mut self.history
        {
            let _ = writeln!(history, "{line}");
        }
        Line::Text(line)
    }
}

/// Completes names. The server is asked once for each line, when the user first presses Tab.
struct NameCompleter {
    client: RefCell<RpcClient>,
    infos: OnceCell<Vec<Value>>,
}

impl NameCompleter {
    fn infos(&self) -> Vec<Value> {
        let ask = || match self.client.borrow_mut().call("getAllProcessInfo", &[]) {
            Ok(Value::Array(infos)) => infos,
            _ => Vec::new(),
        };
        self.infos.get_or_init(ask).clone()
    }
}

impl Completer for NameCompleter {
    type Candidate = String;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(completions(line.get(..cursor).unwrap_or(line), || self.infos()))
    }
}

impl Hinter for NameCompleter {
    type Hint = String;
}

impl Highlighter for NameCompleter {}
impl Validator for NameCompleter {}
impl Helper for NameCompleter {}

/// The completions of `line`, which ends at the cursor: where the last word begins, and its candidates. `infos` asks the server.
fn completions(line: &str, infos: impl FnOnce() -> Vec<Value>) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at.saturating_add(1));
    let (before, word) = line.split_at_checked(start).unwrap_or((line, ""));
    let mut words_before = before.split_whitespace();
    let takes = match words_before.next() {
        None => Takes::Commands,
        Some(name) => commands::find_command(name).map_or(Takes::Other, |command| command.takes),
    };
    let mut words: Vec<String> = match takes {
        Takes::SignalAndProcesses if words_before.next().is_none() => signal_names().map(str::to_owned).collect(),
        Takes::Other => Vec::new(),
        Takes::Commands => commands::names().map(str::to_owned).collect(),
        Takes::Groups => infos().iter().map(|info| text(info, "group").to_owned()).collect(),
        Takes::Processes | Takes::SignalAndProcesses => {
            let infos = infos();
            // A process with the name of its group is completed by its short name, until a colon is typed.
            let is_short = |info: &&Value| text(info, "name") == text(info, "group") && !word.contains(':');
            let (short, long): (Vec<&Value>, Vec<&Value>) = infos.iter().partition(is_short);
            let names = short.into_iter().map(namespec_of);
            let full = |info: &Value, name: &str| format!("{}:{name}", text(info, "group"));
            names.chain(long.into_iter().flat_map(|info| [full(info, text(info, "name")), full(info, "*")])).collect()
        }
    };
    words.retain(|candidate| candidate.starts_with(word));
    words.sort();
    words.dedup();
    words.iter_mut().for_each(|word| word.push(' '));
    (start, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::session::object;

    #[test]
    fn commands_and_names_are_completed() {
        let info = |group: &str, name: &str| object(&[("group", group.into()), ("name", name.into())]);
        let infos = || vec![info("cat", "cat"), info("web", "a"), info("web", "b")];
        for (line, start, words) in [
            ("st", 0, "start |status |stop "),
            ("help re", 5, "reload |remove |reread |restart "),
            ("start ", 6, "cat |web:* |web:a |web:b "),
            ("stop cat we", 9, "web:* |web:a |web:b "),
            ("signal HUP ca", 11, "cat "),
            ("signal US", 7, "USR1 |USR2 "),
            ("signal us", 7, ""),
            ("pid cat:", 4, "cat:* |cat:cat "),
            ("tail -f web:b", 8, "web:b "),
            ("update ", 7, "cat |web "),
            ("avail ", 6, ""),
            ("bogus c", 6, ""),
        ] {
            assert_eq!(
                completions(line, infos),
                (start, words.split_inclusive('|').map(|w| w.trim_end_matches('|').to_owned()).collect()),
                "{line:?}"
            );
        }
    }
}
