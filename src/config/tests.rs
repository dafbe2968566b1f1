//! Compares the dialect, expansions and types with Python's on generated texts, and checks that no input panics.

pub mod fake;
mod known;

use super::dialect::Sections;
use super::expand::{KnownNames, NameValue, expand};
use super::model::{AutoRestart, LogLevel, SocketAddress};
use super::{Severity, load, values};
use fake::FakeMachine;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A Python process with Supervisor that answers questions (tests/python/config.py).
struct Python {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// `None` if there is no such Python; then it notes that the test was skipped.
    fn start() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = std::env::var_os("RSUP_ORACLE").map_or_else(|| root.join("build/oracle"), PathBuf::from);
        let script = root.join("tests/python/config.py");
        let python =
            Command::new(venv.join("bin/python")).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = python else {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            let note = format!("{name}: no Python with supervisor (tests/run makes one)\n");
            eprint!("skipped: {note}");
            if let Some(list) = std::env::var_os("RSUP_SKIPS") {
                let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
                list.write_all(note.as_bytes()).unwrap();
            }
            return None;
        };
        let (questions, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, questions, answers })
    }

    fn ask(&mut self, question: &Value) -> Result<Value, String> {
        writeln!(self.questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).expect("an answer");
        match answer[0].as_str() {
            Some("ok") => Ok(answer[1].take()),
            _ => Err(answer[1].as_str().unwrap().to_owned()),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `check` on many values of a strategy, with one Python process for all.
fn compare<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(&mut Python, S::Value) -> Result<(), TestCaseError>) {
    let Some(python) = Python::start() else { return };
    let python = RefCell::new(python);
    let mut runner = TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    runner.run(strategy, |value| check(&mut python.borrow_mut(), value)).unwrap();
}

/// Characters that are the same in every version of Unicode.
const OTHERS: &str = "[ -~\u{80}-\u{24f}\u{3a3}-\u{3ce}\u{4e00}-\u{4eff}\u{1f600}-\u{1f64f}]";

/// Texts made of these pieces, most of which have a meaning in the format under test.
fn text_of(pieces: &'static [&'static str], up_to: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![9 => proptest::sample::select(pieces).prop_map(str::to_owned), 1 => OTHERS],
        0..up_to,
    )
    .prop_map(|pieces| pieces.concat())
}

const INI: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " ",
    " ",
    "\t",
    "\u{a0}",
    "\u{1c}",
    "\u{2028}",
    "\u{b}",
    "[",
    "]",
    "[a]\n",
    "[b]\n",
    "[DEFAULT]\n",
    "[program: x]",
    "=",
    ":",
    ";",
    "#",
    " ;",
    "\t#",
    "\n ",
    "\n\t",
    "k",
    "Key",
    "K=v\n",
    "l = %(here)s\n",
    "é",
    "É=1\n",
    "\"",
    "'",
    "\\",
    "%",
    "\u{feff}",
    "\0",
    "rem x\n",
    "a b",
    "\\x0041",
    "\\n",
];

fn read(files: &[String]) -> Result<Value, ()> {
    let mut sections = Sections::default();
    let mut problems = Vec::new();
    for (i, text) in files.iter().enumerate() {
        sections.merge(format!("f{i}").into(), text.as_bytes(), &mut problems);
        if files.len() > 1 {
            sections.expand_here(&format!("/dir{i}"));
        }
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(());
    }
    let entries = |section: &super::dialect::Section| -> Vec<Value> {
        section.entries.iter().map(|entry| json!([entry.key, entry.value])).collect()
    };
    let list: Vec<_> = sections.list.iter().map(|section| json!([section.name, entries(section)])).collect();
    Ok(json!([list, entries(&sections.defaults)]))
}

#[test]
fn files_are_read_as_by_python() {
    compare(6000, &text_of(INI, 40), |python, text| {
        let text = format!("[s]\n{text}");
        prop_assert_eq!(read(std::slice::from_ref(&text)), python.ask(&json!(["read", [text]])).map_err(drop));
        Ok(())
    });
}

#[test]
fn files_without_a_first_section_and_several_files_are_read_as_by_python() {
    compare(3000, &proptest::collection::vec(text_of(INI, 20), 1..4), |python, files| {
        prop_assert_eq!(read(&files), python.ask(&json!(["read", files])).map_err(drop));
        Ok(())
    });
}

const FORMAT: &[&str] = &[
    "%",
    "%",
    "%%",
    "(",
    ")",
    "%(here)",
    "%(here)s",
    "%(process_num)",
    "%(process_num)02d",
    "%(ENV_X)s",
    "%(ENV_OWN)s",
    "%(nope)s",
    "s",
    "d",
    "i",
    "u",
    "x",
    "X",
    "o",
    "e",
    "E",
    "f",
    "F",
    "g",
    "G",
    "c",
    "r",
    "a",
    "0",
    "1",
    "5",
    "12",
    ".",
    "-",
    "+",
    " ",
    "#",
    "*",
    "l",
    "h",
    "L",
    "é",
    "\n",
    "text",
];

#[test]
fn formats_are_expanded_as_by_python() {
    let environment =
        BTreeMap::from([("X".to_owned(), "x \"y\"\n%é".to_owned()), ("OWN".to_owned(), "hidden".to_owned())]);
    let own = [("OWN".to_owned(), "own".to_owned())];
    let fixed = [
        ("here", NameValue::Text("/h")),
        ("process_num", NameValue::Number(7)),
        ("numprocs", NameValue::Number(-12_345_678)),
    ];
    let names = KnownNames { fixed: &fixed, own: &own, environment: &environment, again: None };
    let python_names =
        json!({"here": "/h", "process_num": 7, "numprocs": -12_345_678, "ENV_X": "x \"y\"\n%é", "ENV_OWN": "own"});
    compare(8000, &text_of(FORMAT, 12), |python, text| {
        let ours = expand(&text, "key", &names);
        let theirs = python.ask(&json!(["expand", text, python_names]));
        match (ours, theirs) {
            // Supervisor prints its whole dictionary here: see `expand`.
            (Ok(ours), Ok(_)) if ours.warning.as_ref().is_some_and(|warning| warning.contains("without a (name)")) => {}
            (Ok(ours), theirs) => prop_assert_eq!(Ok(Value::String(ours.text)), theirs),
            // Both report an error. rsup reports a star or a huge number first.
            (Err(ours), Err(_)) if text.contains('*') || ours.contains("too big") => {}
            (Err(ours), Err(theirs)) => {
                let theirs = theirs.split(" Available names").next().unwrap();
                prop_assert!(ours.starts_with(theirs), "{} <> {}", ours, theirs);
            }
            // rsup refuses a width of six digits or more as a mistake.
            (Err(ours), Ok(_)) if ours.contains("too big") => {
                let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
                prop_assert!(longest >= Some(6), "{}: {}", text, ours);
            }
            (Err(ours), Ok(theirs)) => prop_assert!(false, "{} <> {}", ours, theirs),
        }
        Ok(())
    });
}

#[test]
fn a_precision_may_have_five_digits() {
    let environment = BTreeMap::new();
    let names = KnownNames {
        fixed: &[("process_num", NameValue::Number(i64::MIN)), ("numprocs", NameValue::Number(12_345_678))],
        own: &[],
        environment: &environment,
        again: None,
    };
    for (format, start, end, length) in [
        ("%(numprocs).65536f", "12345678.0", "000", 65_545),
        ("%(numprocs).99999E", "1.23456780", "00E+07", 100_005),
        ("%(numprocs)#.99999g", "12345678.0", "000", 100_000),
        ("%(numprocs).99999g", "12345678", "12345678", 8),
        ("%(process_num).99999f", "-9223372036854775808.0", "000", 100_020),
        ("%(process_num)#.99999G", "-9223372036854775808.0", "000", 100_001),
        ("%(process_num).99999x", "-000", "8000000000000000", 100_000),
    ] {
        let text = expand(format, "key", &names).unwrap().text;
        assert!(text.starts_with(start) && text.ends_with(end), "{format}");
        assert_eq!(text.len(), length, "{format}");
    }
}

#[test]
fn numbers_are_formatted_as_by_python() {
    let number = prop_oneof![any::<i32>().prop_map(i64::from), any::<i64>(), 0..1100_i64];
    let strategy =
        (number, "[-+ #0]{0,3}", "(|[0-9]|1[0-9])", "(|\\.|\\.[0-9]|\\.1[0-9]|\\.6553[4-7])", "[diuoxXeEfFgGcrsa]");
    compare(4000, &strategy, |python, (number, flags, width, precision, letter)| {
        let format = format!("%(process_num){flags}{width}{precision}{letter}");
        let environment = BTreeMap::new();
        let names = KnownNames {
            fixed: &[("process_num", NameValue::Number(number))],
            own: &[],
            environment: &environment,
            again: None,
        };
        let theirs = python.ask(&json!(["expand", format, {"process_num": number}]));
        match (expand(&format, "key", &names), theirs) {
            (Ok(ours), theirs) => prop_assert_eq!(Ok(Value::String(ours.text)), theirs, "{}", format),
            (Err(ours), theirs) => {
                prop_assert!(theirs.is_err_and(|theirs| ours.starts_with(&theirs)), "{} {}", format, ours)
            }
        }
        Ok(())
    });
}

const PAIRS: &[&str] = &[
    "A", "B", "key", "=", "=", "=", ",", ",", "\"", "\"a b\"", "'", "'c;d'", " ", "\n", "\t", "#", ";", "?", "~", "$",
    "@", "*", "\\", "/x.y", "+-():", "_", "é", "1", "%", "==", "A=1,", "B=\"2\",",
];

const WORDS: &[&str] = &[
    "a", "b c", " ", "\t", "\n", "\r", "\"", "'", "\\", "\\\"", "#", ";", "$x", "é", "\u{a0}", "--opt=1", "\"\"",
    "\\\\",
];

const VALUES: &[&str] = &[
    "0",
    "1",
    "7",
    "8",
    "9",
    "12",
    "255",
    "256",
    "34",
    "64",
    "65",
    "9001",
    "65535",
    "70000",
    "_",
    "+",
    "-",
    " ",
    "\t",
    "\u{a0}",
    "\n",
    ",",
    ":",
    "*",
    ".",
    "0o",
    "0x",
    "k",
    "KB",
    "mb",
    "Gb",
    "true",
    "TRUE",
    "on",
    "Yes",
    "no",
    "oFF",
    "false",
    "unexpected",
    "TERM",
    "sig",
    "SIG",
    "hup",
    "RTMIN",
    "RTMAX",
    "CLD",
    "iot",
    "poll",
    "info",
    "WARN",
    "warning",
    "debug",
    "host",
    "Example.org",
    "[::1]",
    "/",
    "//",
    "..",
    "/a/b",
    "é",
    "\u{1f600}",
    "\u{301}",
    "'",
    "\"",
    "\\",
    "\u{7f}",
    "99999999999999999999",
];

/// The result of rsup's function for a text, in the form of the script's answer.
fn ours(question: &str, text: &str) -> Result<Value, String> {
    let signed = |number: i64| json!(number);
    Ok(match question {
        "int" => signed(values::int(text)?),
        "size" => signed(values::size(text)?),
        "octal" => json!(values::octal(text)?),
        "bool" => json!(values::boolean(text)?),
        "exitcodes" => json!(values::exit_codes(text)?.iter().collect::<Vec<_>>()),
        "signal" => json!(values::signal(text)?),
        "autorestart" => json!(match values::auto_restart(text)? {
            AutoRestart::Always => "true",
            AutoRestart::Unexpected => "unexpected",
            AutoRestart::Never => "false",
        }),
        "loglevel" => json!(match values::log_level(text)? {
            LogLevel::Critical => 50,
            LogLevel::Error => 40,
            LogLevel::Warn => 30,
            LogLevel::Info => 20,
            LogLevel::Debug => 10,
            LogLevel::Trace => 5,
            LogLevel::Blather => 3,
        }),
        "port" => match values::inet_address(text)? {
            SocketAddress::Tcp(host, port) => json!([host, port]),
            SocketAddress::Unix(_) => panic!(),
        },
        "list" => json!(values::list(text)),
        "name" => json!(values::name(text)?),
        "environment" => json!(values::environment(text)?.into_iter().map(|(k, v)| [k, v]).collect::<Vec<_>>()),
        "split" => json!(values::split_command(text)?),
        "repr" => json!(values::repr(text)),
        "dirname" => json!(values::dirname(text)),
        "normpath" => json!(values::absolute(&format!("/{text}"), &FakeMachine::default())),
        _ => panic!("{question}"),
    })
}

/// Python's answer, limited to the range of an i64, or turned into a set of codes.
fn clamped(question: &str, answer: Value) -> Value {
    match (question, answer) {
        ("exitcodes", Value::Array(codes)) => {
            let codes: std::collections::BTreeSet<u64> = codes.iter().map(|code| code.as_u64().unwrap()).collect();
            json!(codes)
        }
        ("octal", Value::Number(number)) => json!(number.as_i64().map_or(0o7777, |n| n & 0o7777)),
        ("int" | "size", Value::Number(number)) if number.as_i64().is_none() => {
            json!(if number.as_f64().unwrap() < 0.0 { i64::MIN } else { i64::MAX })
        }
        (_, answer) => answer,
    }
}

fn types_agree(python: &mut Python, questions: &[&str], text: &str) -> Result<(), TestCaseError> {
    for question in questions {
        let asked = if *question == "normpath" { format!("/{text}") } else { text.to_owned() };
        let theirs = python.ask(&json!([question, asked])).map(|answer| clamped(question, answer));
        match (ours(question, text), theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {}
            (Err(ours), Err(theirs)) if ours.starts_with(theirs.trim_end()) => {}
            (Err(_), Err(theirs)) if theirs.contains(" bound (") && text.contains("99999999999999999999") => {}
            (ours, theirs) => prop_assert!(false, "{question} of {text:?}: {ours:?} <> {theirs:?}"),
        }
    }
    Ok(())
}

#[test]
fn types_accept_and_refuse_the_same_values_as_python_with_its_messages() {
    let questions = [
        "int",
        "size",
        "octal",
        "bool",
        "exitcodes",
        "signal",
        "autorestart",
        "loglevel",
        "port",
        "list",
        "name",
        "repr",
        "dirname",
        "normpath",
    ];
    compare(3000, &text_of(VALUES, 5), |python, text| types_agree(python, &questions, &text));
}

#[test]
fn environments_are_split_as_by_python() {
    compare(6000, &text_of(PAIRS, 14), |python, text| types_agree(python, &["environment"], &text));
}

#[test]
fn commands_are_split_as_by_python() {
    compare(4000, &text_of(WORDS, 12), |python, text| types_agree(python, &["split"], &text));
}

/// A dump that hides nothing.
fn plain(_: &str, text: &str) -> String {
    text.to_owned()
}

proptest! {
    #![proptest_config(Cases { cases: 3000, failure_persistence: None, ..Cases::default() })]

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in text_of(INI, 30), tail in text_of(FORMAT, 12)) {
        let mut fake = FakeMachine::new(&[("/work/d/b.conf", &text), ("/work/c.conf", &format!("[program:x]\ncommand={tail}\nstdout_logfile={tail}"))]);
        fake.files.insert("/work/a.conf".into(), bytes);
        for file in ["a.conf", "d/b.conf", "c.conf", "d", "none"] {
            let loaded = load(Path::new(file), &fake);
            for problem in &loaded.problems {
                prop_assert!(!problem.to_string().is_empty());
            }
            let _ = super::dump(Path::new(file), &fake, &plain);
            let _ = super::load_client(Path::new(file), &fake);
        }
    }
}

/// The problems of one file, without its name.
fn problems_of(text: &str) -> Vec<String> {
    let text = format!("{text}\n[supervisord]");
    let fake =
        FakeMachine::new(&[("/work/x.conf", &text), ("/work/inc/a.conf", "[program:inc]\ncommand=%(here)s/run")]);
    let problems = load(Path::new("x.conf"), &fake).problems;
    problems.iter().map(|problem| format!("{problem:#}").replacen("x.conf:", "", 1)).collect()
}

fn loaded(text: &str) -> super::model::Config {
    let fake = FakeMachine::new(&[("/work/x.conf", text), ("/work/inc/a.conf", "[program:inc]\ncommand=%(here)s/run")]);
    let loaded = load(Path::new("x.conf"), &fake);
    assert_eq!(loaded.errors().collect::<Vec<_>>(), Vec::<&super::Problem>::new(), "{text}");
    loaded.config
}

#[test]
fn the_table_and_the_model_have_the_same_defaults() {
    let fake = FakeMachine::default();
    let mut server = super::model::ServerConfig::default();
    let unset = ["logfile", "pidfile", "nodaemon"];
    for row in super::options::SERVER.iter().filter(|row| !row.default.is_empty() && !unset.contains(&row.key)) {
        (row.set)(&mut server, row.default, &fake).unwrap();
    }
    assert_eq!(server, super::model::ServerConfig::default());
    let mut draft = super::options::Draft::default();
    for row in super::options::PROGRAM.iter().filter(|row| !row.default.is_empty()) {
        (row.set)(&mut draft, row.default, &fake).unwrap();
    }
    assert_eq!(draft.process, super::model::ProcessConfig::default());
    assert_eq!(draft.numprocs, Some(1));
}

#[test]
fn each_option_has_one_row_and_a_help_text() {
    let mut keys: Vec<&str> = super::options::PROGRAM.iter().map(|row| row.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), super::options::PROGRAM.len());
    assert!(super::options::SERVER.iter().all(|row| row.key == row.key.to_lowercase() && !row.help.is_empty()));
}

#[test]
fn all_problems_are_reported_at_once_with_line_section_and_key() {
    let text = "[supervisord]\nlogleve=info\numask=9\n[program:a]\nstartsecs=1s\nuser=nemo\nstdout_logfile=/no/x\n\
                [program:b]\ncommand=x %(ENV_HOME)/y %(\n[group:g]\nprograms=a,bb\n[unix_http_server]\nfile=/tmp/s\nchmod=rwx\nusername=u\n";
    assert_eq!(
        problems_of(text),
        [
            "2: warning: [supervisord] logleve: this key is not known and is ignored; did you mean loglevel?",
            "3: error: [supervisord] umask must be an octal number such as 0700, not `9`",
            "4: error: [program:a] command: program section program:a does not specify a command",
            "5: error: [program:a] startsecs must be a whole number of seconds, not `1s`",
            "6: error: [program:a] user: Invalid user name nemo: /etc/passwd has no user nemo, and nothing else is asked (no LDAP, sssd or nss_wrapper); write a name that it has, or a number",
            "7: error: [program:a] stdout_logfile: The directory named as part of the path /no/x does not exist; write a path in a directory that exists, AUTO or NONE",
            "9: error: [program:b] command: Format string 'x %(ENV_HOME)/y %(' for 'program:b.command' is badly formatted: unsupported format character '/' (0x2f) at index 13; a name is written %(name)s, a percent sign %%",
            "11: error: [group:g] programs: [group:g] names unknown program or fcgi-program bb; did you mean b?",
            "12: error: [unix_http_server] Section [unix_http_server] contains incomplete authentication: If a username or a password is specified, both the username and password must be specified",
            "14: error: [unix_http_server] chmod must be an octal number such as 0700, not `rwx`",
        ]
    );
}

#[test]
fn probable_mistakes_are_warnings() {
    for (text, warning) in [
        ("[program]\ncommand=x", "1: warning: [program] this section is not known and is ignored; write [program:x]"),
        (
            "[eventlistener:l]\ncommand=x\nevents=TICK_5\nessential=true",
            "4: warning: [eventlistener:l] essential: this has no effect on an event listener; set it for a program",
        ),
        (
            "[supervisorctl]\nserverurl=localhost:9001",
            "2: warning: [supervisorctl] serverurl: no client can use this; write http://host:port or unix:///path",
        ),
        (
            "[program:a]\ncommand=a 'b\nnumprocs=2\nprocess_name=%(process_num)d",
            "2: warning: [program:a] command: this command cannot be parsed: No closing quotation",
        ),
        (
            "[program:a]\ncommand=x\nessential=true",
            "3: warning: [program:a] essential: autorestart=unexpected restarts the program after a failure, so that it does not end rsup; write autorestart=false",
        ),
        (
            "[program:a]\ncommand=x\nessential=true\nautorestart=true",
            "3: warning: [program:a] essential: autorestart=true restarts the program after a failure, so that it does not end rsup; write autorestart=false",
        ),
        ("[program:a]\ncommand=x\nessential=true\nautorestart=false", ""),
        ("[groups]", "1: warning: [groups] this section is not known and is ignored; write [group:x]"),
        ("[Program:a]", "1: warning: [Program:a] this section is not known and is ignored; write [program:a]"),
        ("[ program:a ]", "1: warning: [ program:a ] this section is not known and is ignored; write [program:a]"),
        (
            "[program:a]\ncommand=sh -c \"a ; b\"",
            "2: warning: [program:a] command: a comment starts at ';' and cuts a quoted text: quotes do not protect a ; after a blank\n\
             2: warning: [program:a] command: this command cannot be parsed: No closing quotation",
        ),
        ("[program:a]\ncommand=x\ncommand=y", "3: warning: [program:a] command: this value replaces the one of line 2"),
        (
            "[program:a]\ncommand=x %(here) s",
            "2: warning: [program:a] command: the blank in '%(here) s' is taken for a flag; write '%(here)s '",
        ),
        (
            "[program:a]\ncommand=date +%s",
            "2: warning: [program:a] command: '%s' without a (name) is left as it is; write '%%s'",
        ),
        (
            "[rpcinterface:p]\nsupervisor.rpcinterface_factory=a:b",
            "2: warning: [rpcinterface:p] supervisor.rpcinterface_factory: the Python plug-in a:b cannot be loaded: its methods are missing",
        ),
        ("[include]\nfiles=none/*", "2: warning: [include] files: No file matches via include \"/work/none/*\""),
    ] {
        assert_eq!(problems_of(text).join("\n"), warning, "{text}");
    }
}

#[test]
fn users_that_are_not_in_etc_passwd_are_refused_with_the_reason() {
    let unknown = |file: &str, what: &str, hint: &str| {
        format!(
            "{file} has no {what}, and nothing else is asked (no LDAP, sssd or nss_wrapper); write a name that it has{hint}"
        )
    };
    for (text, message) in [
        (
            "[supervisord]\nuser=app",
            format!("Invalid user name app: {}", unknown("/etc/passwd", "user app", ", or a number")),
        ),
        (
            "[program:a]\ncommand=x\nuser=app",
            format!("Invalid user name app: {}", unknown("/etc/passwd", "user app", ", or a number")),
        ),
        (
            "[unix_http_server]\nfile=/tmp/s\nchown=www:app",
            format!("Invalid sockchown value www:app: {}", unknown("/etc/group", "group app", "")),
        ),
        (
            "[fcgi-program:a]\ncommand=x\nsocket=unix:///tmp/s\nsocket_owner=77",
            format!("Invalid socket_owner value 77: {}", unknown("/etc/passwd", "user 77", ", or a number")),
        ),
    ] {
        let fake = FakeMachine::new(&[("/work/x.conf", text)]);
        let errors: Vec<_> = load(Path::new("x.conf"), &fake).errors().map(|problem| problem.message.clone()).collect();
        assert_eq!(errors, [message], "{text}");
    }
}

#[test]
fn a_user_number_without_a_name_is_accepted() {
    let config = loaded("[program:a]\ncommand=x\nuser=12345\nstdout_logfile=/tmp/x");
    let user = config.groups[0].processes[0].user.clone().unwrap();
    assert_eq!((&*user.name, user.uid), ("12345", 12345));
}

#[test]
fn options_that_only_rsup_has_are_read() {
    let config = loaded(
        "[supervisord]\nexit_code_from=g:a\nexit_when=all_done\nstop_budget=9.5\n[group:g]\nprograms=a\n[program:a]\ncommand=x\nessential=true\nsweep=yes\nstdout_format=prefix",
    );
    let a = &config.groups[0].processes[0];
    assert!(a.essential && a.sweep && config.server.exit_when_all_done);
    assert_eq!((config.server.stop_budget_ms, a.stdout.format), (Some(9500), super::model::LogFormat::Prefix));
    assert_eq!(config.server.exit_code_from, super::model::ExitCodeFrom::Program("g:a".into()));
    assert_eq!(problems_of("[supervisord]\nexit_code_from=b\nstop_budget=-1").len(), 2);
}

#[test]
fn included_files_are_merged_and_here_is_the_directory_of_each_file() {
    let config =
        loaded("[include]\nfiles=inc/*.conf\n[program:main]\ncommand=%(here)s/run\nenvironment=H=\"%(here)s\"");
    let commands: Vec<_> = config.groups.iter().map(|group| (&*group.name, &*group.processes[0].command)).collect();
    assert_eq!(commands, [("inc", "/work/inc/run"), ("main", "/work/run")]);
}

#[test]
fn a_temporary_error_in_an_included_file_or_directory_is_an_error() {
    let text = "[program:main]\ncommand=x\n[include]\nfiles=inc/*.conf";
    let outcome = |path: &str, errno: i32| {
        let mut fake = FakeMachine::new(&[("/work/x.conf", text), ("/work/inc/a.conf", "[program:inc]\ncommand=x")]);
        fake.unreadable.insert(path.into(), errno);
        let problems = load(Path::new("x.conf"), &fake).problems;
        let worst = problems.into_iter().max_by_key(|problem| problem.severity).unwrap();
        (worst.severity, worst.line, worst.message)
    };
    for errno in [libc::EIO, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::EACCES] {
        let (severity, line, message) = outcome("/work/inc", errno);
        let why = std::io::Error::from_raw_os_error(errno);
        let expected = format!("cannot read the directory /work/inc: {why}; needed for \"/work/inc/*.conf\"");
        assert_eq!((severity, line, message), (Severity::Error, 4, expected));
    }
    for errno in [libc::EIO, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ESTALE] {
        let (severity, line, message) = outcome("/work/inc/a.conf", errno);
        let why = std::io::Error::from_raw_os_error(errno);
        assert_eq!((severity, line, message), (Severity::Error, 4, format!("cannot read /work/inc/a.conf: {why}")));
    }
    // Lasting errors: as under Supervisor, the file is skipped.
    for errno in [libc::EACCES, libc::ENOENT, libc::EISDIR, libc::ENXIO] {
        let (severity, _, message) = outcome("/work/inc/a.conf", errno);
        assert_eq!(severity, Severity::Warning);
        assert!(message.starts_with("/work/inc/a.conf is skipped: "), "{message}");
    }
}

#[test]
fn a_missing_supervisord_section_counts_as_empty_if_there_is_a_program() {
    let defaults = "[DEFAULT]\nenvironment=A=\"1\"\n[program:x]\ncommand=x\n";
    let config = loaded(defaults);
    let written = loaded(&format!("{defaults}[supervisord]"));
    assert!(written.has_server_section && !config.has_server_section);
    let config = super::model::Config { has_server_section: true, ..config };
    assert_eq!(config, written);
    let dump = super::dump(Path::new("x.conf"), &FakeMachine::new(&[("/work/x.conf", defaults)]), &plain).unwrap();
    assert_eq!(config, loaded(&dump));
}

#[test]
fn a_file_without_supervisord_section_and_programs_is_an_error() {
    let neither =
        "error: the file has neither a [supervisord] section nor a program; add an empty [supervisord] section";
    let problems_of = |text: &str| {
        let fake = FakeMachine::new(&[("/work/x.conf", text), ("/work/inc/a.conf", "[program:inc]\ncommand=x")]);
        let problems = load(Path::new("x.conf"), &fake).problems;
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| format!("{problem:#}")).collect::<Vec<_>>()
    };
    let others = "[unix_http_server]\nfile=/tmp/s\n[supervisorctl]\n[group:g]\nprograms=\n[include]\nfiles=none/*";
    for text in ["", "\n\n", "; a comment\n# another\n", "[DEFAULT]\na=b", "[unknown]", others] {
        assert_eq!(problems_of(text), [format!("x.conf: {neither}")], "{text}");
    }
    let programs = ["program:x", "eventlistener:x", "fcgi-program:x"]
        .map(|name| format!("[{name}]\ncommand=x\nevents=TICK_5\nsocket=tcp://h:1"));
    let supervisord = ["[supervisord]".to_owned(), "[include]\nfiles=inc/*.conf".to_owned()];
    for text in programs.iter().chain(&supervisord) {
        assert_eq!(problems_of(text), Vec::<String>::new(), "{text}");
    }
    // Only one error: a file that cannot be split into sections reports only that.
    assert_eq!(problems_of("oops").len(), 1);
}

#[test]
fn a_dump_loads_to_the_same_configuration() {
    let text = "[supervisord]\nenvironment=P=\"100%%%%\"\n[DEFAULT]\nstartsecs=7\n[program:a]\ncommand=x %% %(ENV_X)s %(process_num)02d\n  ;gone\n  more\n\
                numprocs=2\nrestartPause=2\nprocess_name=%(program_name)s%(process_num)d\nenvironment=OWN=\"%(process_num)d\"\ndirectory=/%(ENV_OWN)s\n\
                stdout_logfile=/tmp/%%%%%(process_num)d\n[eventlistener:l]\ncommand=%(ENV_Y)s\nevents=TICK_5\n[inet_http_server]\nport=1\nusername=%(ENV_Y)s\npassword=p\n";
    let mut fake = FakeMachine::new(&[("/work/x.conf", text)]);
    fake.environment.push(("Y".into(), " a ;b\n  #c\n\n".into()));
    let before = load(Path::new("x.conf"), &fake);
    assert_eq!(before.problems, []);
    assert_eq!(before.config.groups[0].processes[0].command, " a ;b\n  #c\n\n");
    let dump = super::dump(Path::new("x.conf"), &fake, &plain).unwrap();
    fake.files.insert("/tmp/elsewhere/y.conf".into(), dump.clone().into_bytes());
    assert_eq!(load(Path::new("/tmp/elsewhere/y.conf"), &fake), before, "{dump}");
}
