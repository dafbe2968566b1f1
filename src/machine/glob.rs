//! Patterns of `[include] files`, by the rules of Python's `glob.glob` and `fnmatch`, which Supervisor uses.
//!
//! The glob crate has other rules: it does not find all hidden names for `.*`, finds `.` and `..`, and refuses `**` and unclosed
//! brackets.
#![forbid(unsafe_code)]

use crate::text;
use std::fs;
use std::io;
use std::path::Path;

/// The paths that match `pattern`, in Python's order. `**` means `*`, as in Python without `recursive`.
///
/// # Errors
/// A file or directory could not be read, for a reason that may be temporary (see `is_lasting`).
pub fn glob(pattern: &str) -> Result<Vec<String>, String> {
    let mut found = expand(pattern)?;
    found.sort_by_cached_key(|path| path.chars().map(order).collect::<Vec<u32>>());
    Ok(found)
}

fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let (head, name) = split(pattern);
    if !has_magic(pattern) {
        return Ok(if exists(pattern)? { vec![pattern.to_owned()] } else { Vec::new() });
    }
    let is_found = has_magic(head);
    let parents = if is_found { expand(head)? } else { vec![head.to_owned()] };
    let mut found = Vec::new();
    for parent in parents {
        if has_magic(name) {
            let pattern = Pattern::new(name);
            let names = entries(&parent, is_found)?.into_iter().filter(|entry| pattern.finds(entry));
            found.extend(names.map(|entry| join(&parent, &entry)));
        } else if exists(&join(&parent, name))? {
            found.push(join(&parent, name));
        }
    }
    Ok(found)
}

/// Python's `os.path.split`: the directory and the name. The directory ends without slashes, unless it is the root.
fn split(path: &str) -> (&str, &str) {
    let at = path.rfind('/').map_or(0, |at| at.saturating_add(1));
    let (head, name) = path.split_at(at);
    let trimmed = head.trim_end_matches('/');
    (if trimmed.is_empty() { head } else { trimmed }, name)
}

fn join(head: &str, name: &str) -> String {
    if head.is_empty() || head.ends_with('/') { format!("{head}{name}") } else { format!("{head}/{name}") }
}

fn has_magic(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Whether a path exists (a broken link does); with a slash at the end, whether it is a directory.
fn exists(path: &str) -> Result<bool, String> {
    let found = match path.ends_with('/') {
        true => fs::metadata(text::to_path(path)).map(|found| found.is_dir()),
        false => fs::symlink_metadata(text::to_path(path)).map(|_| true),
    };
    found.or_else(|error| if is_lasting(&error) { Ok(false) } else { Err(format!("cannot look at {path}: {error}")) })
}

/// The names in a directory; none if there is no such directory. It is an error if rsup has no permission to read it, unless a
/// wildcard has found the directory (`/home/*/…`).
// Differs from Supervisor: there a directory that cannot be read has no names.
fn entries(path: &str, is_found: bool) -> Result<Vec<String>, String> {
    let read = || -> io::Result<Vec<String>> {
        let path = if path.is_empty() { Path::new(".").into() } else { text::to_path(path) };
        fs::read_dir(path)?.map(|entry| Ok(text::of_os(entry?.file_name()))).collect()
    };
    read().or_else(|error| {
        let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
        match is_lasting(&error) && (is_found || !is_closed) {
            true => Ok(Vec::new()),
            false => Err(format!("cannot read the directory {path}: {error}")),
        }
    })
}

/// Whether the next attempt would fail in the same way: there is nothing that rsup can read. Other errors (EIO, ENOMEM, EMFILE, …)
/// may be temporary.
fn is_lasting(error: &io::Error) -> bool {
    use libc::{EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM};
    // An error without a number: the name contains a NUL.
    error.raw_os_error().is_none_or(|n| [ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES, EPERM].contains(&n))
}

/// The position of a character in Python's order. A byte that is not UTF-8 is a surrogate in Python.
fn order(c: char) -> u32 {
    text::stands_for(c).map_or(u32::from(c), |byte| u32::from(byte) | 0xdc00)
}

/// The pattern for one name in a path, by the rules of `fnmatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<PatternPiece>,
    /// The pattern begins with a dot, so it matches hidden names.
    is_hidden: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternPiece {
    /// `*`
    Any,
    /// This character.
    Char(char),
    /// `[…]` and `?`: a character in one of these ranges, or, if negated, in none of them.
    Set { ranges: Vec<(u32, u32)>, is_negated: bool },
}

impl Pattern {
    /// Parses a pattern. Every text is valid.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            pieces.push(match c {
                '*' => PatternPiece::Any,
                '?' => PatternPiece::Set { ranges: Vec::new(), is_negated: true },
                '[' => match bracket(rest) {
                    Some((inner, after)) => {
                        rest = after;
                        set(inner)
                    }
                    None => PatternPiece::Char('['),
                },
                c => PatternPiece::Char(c),
            });
        }
        Self { pieces, is_hidden: pattern.starts_with('.') }
    }

    /// Whether the pattern finds a directory entry with this name.
    #[must_use]
    pub fn finds(&self, name: &str) -> bool {
        (self.is_hidden || !name.starts_with('.')) && self.matches(name)
    }

    /// Whether the whole name matches. A star first takes no character, and one more each time the rest does not match.
    fn matches(&self, name: &str) -> bool {
        let (mut pieces, mut chars) = (self.pieces.as_slice(), name.chars());
        let mut last_star = None;
        loop {
            match (pieces.split_first(), chars.clone().next()) {
                (None, None) => return true,
                (Some((PatternPiece::Any, after)), _) => {
                    pieces = after;
                    last_star = Some((pieces, chars.clone()));
                    continue;
                }
                (Some((piece, after)), Some(c)) if piece.matches(c) => {
                    pieces = after;
                    chars.next();
                    continue;
                }
                _ => {}
            }
            let Some((after_star, from)) = &mut last_star else { return false };
            if from.next().is_none() {
                return false;
            }
            (pieces, chars) = (after_star, from.clone());
        }
    }
}

impl PatternPiece {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Char(own) => *own == c,
            Self::Set { ranges, is_negated } => {
                ranges.iter().any(|&(from, to)| (from..=to).contains(&order(c))) != *is_negated
            }
        }
    }
}

/// Splits the text after a `[` into the content of the brackets and the rest; `None`: they are not closed. A `]` at the start of
/// the content does not close them.
fn bracket(rest: &str) -> Option<(&str, &str)> {
    let body = rest.strip_prefix('!').unwrap_or(rest);
    let body = body.strip_prefix(']').unwrap_or(body);
    let end = rest.len().saturating_sub(body.len()).saturating_add(body.find(']')?);
    Some((rest.get(..end)?, rest.get(end.saturating_add(1)..)?))
}

/// The set for the content of brackets, as `fnmatch.translate` builds it: `a-z` is a range, and a range in the wrong order
/// (`z-a`) is empty. The end of a range cannot be the start of another.
fn set(inner: &str) -> PatternPiece {
    let chars: Vec<char> = inner.chars().collect();
    let mut chunks: Vec<&[char]> = Vec::new();
    let mut begun = 0;
    let mut at: usize = if inner.starts_with('!') { 2 } else { 1 };
    let hyphen = |from: usize| chars.iter().skip(from).position(|c| *c == '-').map(|found| from.saturating_add(found));
    while let Some(found) = hyphen(at) {
        chunks.push(chars.get(begun..found).unwrap_or_default());
        begun = found.saturating_add(1);
        at = found.saturating_add(3);
    }
    let last = chars.get(begun..).unwrap_or_default();
    let mut chunks: Vec<Vec<char>> = chunks.into_iter().map(<[char]>::to_vec).collect();
    match chunks.last_mut() {
        // A hyphen at the end stands for itself.
        Some(chunk) if last.is_empty() => chunk.push('-'),
        _ => chunks.push(last.to_vec()),
    }
    let mut joined: Vec<Vec<char>> = Vec::new();
    for mut chunk in chunks.into_iter().rev() {
        if let (Some(next), Some(from)) = (joined.last_mut(), chunk.last().copied())
            && next.first().is_some_and(|to| order(from) > order(*to))
        {
            chunk.pop();
            chunk.extend(next.drain(..).skip(1));
            *next = chunk;
        } else {
            joined.push(chunk);
        }
    }
    joined.reverse();
    let is_negated = joined.first().is_some_and(|chunk| chunk.first() == Some(&'!'));
    if let (true, Some(first)) = (is_negated, joined.first_mut()) {
        *first = first.iter().skip(1).copied().collect();
    }
    let mut ranges: Vec<(u32, u32)> = joined.iter().flatten().map(|c| (order(*c), order(*c))).collect();
    for pair in joined.windows(2) {
        if let [before, after] = pair
            && let (Some(from), Some(to)) = (before.last(), after.first())
        {
            ranges.push((order(*from), order(*to)));
        }
    }
    PatternPiece::Set { ranges, is_negated }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use std::cell::RefCell;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    /// Names that different patterns match.
    const NAMES: [&[u8]; 18] = [
        b"a",
        b"b",
        b"ab",
        b".a",
        b".ab",
        b"..a",
        b"-",
        b"!",
        b"^",
        b"]",
        b"[",
        b"a-b",
        b"\\",
        "é".as_bytes(),
        b"\xe9",
        b".\xe9",
        b"*",
        b"A",
    ];

    /// A tree with these names as files in several directories, and with links.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let name = |bytes: &[u8]| text::to_path(&text::decode(bytes));
        for dir in ["", "d", ".d", "[d]", "d/.e", "d/e"] {
            let dir = root.path().join(dir);
            fs::create_dir_all(&dir).unwrap();
            for file in NAMES {
                fs::write(dir.join(name(file)), "").unwrap();
            }
        }
        std::os::unix::fs::symlink("nowhere", root.path().join("d/broken")).unwrap();
        std::os::unix::fs::symlink("d", root.path().join("link")).unwrap();
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        root
    }

    struct PythonGlob {
        child: Child,
        questions: ChildStdin,
        answers: BufReader<ChildStdout>,
    }

    impl Drop for PythonGlob {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    const SCRIPT: &str = "import glob, os, sys, warnings\n\
                          warnings.simplefilter('ignore')\n\
                          for line in sys.stdin:\n\
                          \x20   pattern = os.fsdecode(bytes.fromhex(line.strip()))\n\
                          \x20   print(','.join(os.fsencode(path).hex() for path in sorted(glob.glob(pattern))), flush=True)\n";

    impl PythonGlob {
        fn start() -> Option<Self> {
            let python =
                std::env::var_os("RSUP_ORACLE").map_or("python3".into(), |venv| Path::new(&venv).join("bin/python"));
            let mut command = Command::new(python);
            command.args(["-c", SCRIPT]).env("LANG", "C.UTF-8").env_remove("LC_ALL");
            let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
                eprintln!("skipped: no Python to compare with");
                return None;
            };
            let (questions, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
            Some(Self { child, questions, answers })
        }

        /// The result of `sorted(glob.glob(pattern))`.
        fn glob(&mut self, pattern: &str) -> Vec<String> {
            let hex: String = text::encode(pattern).iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(self.questions, "{hex}").unwrap();
            let mut line = String::new();
            self.answers.read_line(&mut line).unwrap();
            let bytes = |hex: &str| -> Vec<u8> {
                (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
            };
            line.trim_end().split(',').filter(|path| !path.is_empty()).map(|path| text::decode(&bytes(path))).collect()
        }
    }

    /// Pieces of patterns, most of which have a special meaning.
    const PIECES: &[&str] = &[
        "*",
        "**",
        "?",
        "[",
        "]",
        "!",
        "^",
        "-",
        "a",
        "b",
        "A",
        ".",
        "..",
        "/",
        "//",
        "/./",
        "/../",
        "é",
        "\u{10ffe9}",
        "\\",
        "&",
        "[a-b]",
        "[b-a]",
        "[!a]",
        "[]]",
        "[!]]",
        "[a-]",
        "[--]",
        "[!b-aA]",
        "[A-b-é]",
        ".*",
        "*/*",
        "d",
        ".d/",
        "d/.e/",
        "[[]d]",
        "link/",
        "loop",
    ];

    #[test]
    fn patterns_match_the_same_paths_as_in_python() {
        let Some(python) = PythonGlob::start() else { return };
        let (python, root) = (RefCell::new(python), tree());
        // As deep as a pattern has pieces, so that `..` never leaves the tree: other programs change the directories above it.
        let root = root.path().canonicalize().unwrap();
        let up = root.join("d/e/1/2/3/4");
        fs::create_dir_all(&up).unwrap();
        let root = text::of_os(&root);
        let (matched, hidden) = (RefCell::new(0), RefCell::new(0));
        let strategy = proptest::collection::vec(proptest::sample::select(PIECES), 1..5);
        let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
        let ran = runner.run(&strategy, |pieces| {
            let start = if pieces.concat().contains("..") { "/d/e/1/2/3/4" } else { "" };
            let pattern = format!("{root}{start}/{}", pieces.concat());
            let theirs = python.borrow_mut().glob(&pattern);
            *matched.borrow_mut() += usize::from(!theirs.is_empty());
            *hidden.borrow_mut() += usize::from(theirs.iter().any(|path| path.contains("/.a")));
            prop_assert_eq!(glob(&pattern), Ok(theirs), "{}", pattern);
            Ok(())
        });
        ran.unwrap();
        // Enough patterns must match something, or the comparison proves nothing.
        let (matched, hidden) = (matched.into_inner(), hidden.into_inner());
        assert!(matched > 100 && hidden > 5, "{matched} {hidden}");
    }

    fn found(root: &Path, pattern: &str) -> Vec<String> {
        let root = text::of_os(root);
        let paths = glob(&format!("{root}/{pattern}")).unwrap();
        paths.iter().map(|path| path.strip_prefix(&format!("{root}/")).unwrap().to_owned()).collect()
    }

    #[test]
    fn a_pattern_with_a_leading_dot_finds_hidden_names_and_a_wildcard_does_not() {
        let root = tempfile::tempdir().unwrap();
        for path in [".site1.d/one.conf", "e/.f/three.conf", "plain.conf", ".one.conf", ".d.d/two.conf"] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), "").unwrap();
        }
        for (pattern, paths) in [
            (".site*/*.conf", &[".site1.d/one.conf"][..]),
            ("e/.*/*.conf", &["e/.f/three.conf"]),
            (".*.conf", &[".one.conf"]),
            (".o*.conf", &[".one.conf"]),
            (".on?.conf", &[".one.conf"]),
            (".[o]ne.conf", &[".one.conf"]),
            (".*", &[".d.d", ".one.conf", ".site1.d"]),
            (".*/two.conf", &[".d.d/two.conf"]),
            ("*", &["e", "plain.conf"]),
            ("[.]one.conf", &[]),
            ("?one.conf", &[]),
            ("**", &["e", "plain.conf"]),
            ("e/**/*.conf", &[]),
            ("plain.conf", &["plain.conf"]),
            ("e/", &["e/"]),
            ("plain.conf/", &[]),
            ("*/", &["e/"]),
            ("[plain.conf", &[]),
        ] {
            assert_eq!(found(root.path(), pattern), paths, "{pattern}");
        }
    }

    #[test]
    fn a_set_has_the_characters_that_fnmatch_matches() {
        for (pattern, name, fits) in [
            ("[a-c]", "b", true),
            ("[a-c]", "-", false),
            ("[!a-c]", "d", true),
            ("[!a-c]", "b", false),
            ("[c-a]", "b", false),
            ("[!c-a]", "b", true),
            ("[a-]", "-", true),
            ("[]-a]", "^", true),
            ("[]-a]", "]", true),
            ("[^a]", "a", true),
            ("[^a]", "b", false),
            ("[a", "[a", true),
            ("[!", "[!", true),
            ("[]", "[]", true),
            ("[a-c-e]", "-", true),
            ("[a-c-e]", "d", false),
            ("[b-a!]", "x", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "é", true),
            ("??", "é", false),
            ("[\u{10ff80}-\u{10ffff}]", "\u{10ffe9}", true),
            ("[a-\u{ffff}]", "\u{10ffe9}", true),
        ] {
            assert_eq!(Pattern::new(pattern).finds(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn only_errors_that_may_be_temporary_are_errors() {
        use libc::{EACCES, EIO, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOMEM, ENOTDIR, EPERM};
        let lasting = |number| is_lasting(&io::Error::from_raw_os_error(number));
        assert!([ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES, EPERM].into_iter().all(lasting));
        assert!(![EIO, ENOMEM, EMFILE, ENFILE].into_iter().any(lasting));
        let root = tempfile::tempdir().unwrap();
        assert_eq!(found(root.path(), &format!("{}*/x", "y".repeat(300))), [""; 0]);
        assert_eq!(found(root.path(), &format!("{}/*", "y".repeat(300))), [""; 0]);
    }
}
