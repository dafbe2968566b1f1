//! Tests with fixed inputs and the results of Python 3 and Supervisor 4.3.0, so they run without Python.

use super::super::dialect::Sections;
use super::super::expand::{KnownNames, NameValue, expand};
use super::super::model::{AutoRestart, LogLevel, LogPlace, SocketAddress};
use super::super::{Severity, values};
use super::fake::FakeMachine;
use std::collections::BTreeMap;

const NAMES: &[(&str, NameValue)] = &[
    ("name", NameValue::Text("web")),
    ("process_num", NameValue::Number(7)),
    ("neg", NameValue::Number(-42)),
    ("zero", NameValue::Number(0)),
    ("big", NameValue::Number(123_456)),
    ("one", NameValue::Text("x")),
    ("quote", NameValue::Text("it's")),
    ("uml", NameValue::Text("ä")),
];

fn expanded(format: &str, again: Option<&'static str>) -> Result<(String, Option<String>), String> {
    let environment = BTreeMap::from([("HOME".to_owned(), "/root".to_owned()), ("P".to_owned(), "50%".to_owned())]);
    let own = [("OWN".to_owned(), "own".to_owned())];
    let names = KnownNames { fixed: NAMES, own: &own, environment: &environment, again };
    expand(format, "command", &names).map(|expanded| (expanded.text, expanded.warning))
}

#[test]
fn formats_give_the_texts_that_python_gives() {
    for (format, expected) in [
        ("plain", "plain"),
        ("100%%", "100%"),
        ("%(name)s", "web"),
        ("a%(name)sb%(process_num)dc", "awebb7c"),
        ("%(name)10s|", "       web|"),
        ("%(name)-10s|", "web       |"),
        ("%(name)010s|", "       web|"),
        ("%(name).2s", "we"),
        ("%(name)6.2s|", "    we|"),
        ("%(process_num)02d", "07"),
        ("%(process_num)+d", "+7"),
        ("%(process_num) d", " 7"),
        ("%(neg)+d", "-42"),
        ("%(neg) d", "-42"),
        ("%(neg)06d", "-00042"),
        ("%(process_num)-6d|", "7     |"),
        ("%(process_num)-06d|", "7     |"),
        ("%(process_num)6d|", "     7|"),
        ("%(process_num).3d", "007"),
        ("%(process_num)8.3d|", "     007|"),
        ("%(process_num)i", "7"),
        ("%(process_num)u", "7"),
        ("%(big)x", "1e240"),
        ("%(big)X", "1E240"),
        ("%(big)o", "361100"),
        ("%(big)#x", "0x1e240"),
        ("%(big)#X", "0X1E240"),
        ("%(big)#o", "0o361100"),
        ("%(neg)#x", "-0x2a"),
        ("%(neg)#010x", "-0x000002a"),
        ("%(big).8x", "0001e240"),
        ("%(process_num)s", "7"),
        ("%(process_num)r", "7"),
        ("%(process_num)a", "7"),
        ("%(big).2s", "12"),
        ("%(process_num)03s|", "  7|"),
        ("%(name)r", "'web'"),
        ("%(quote)r", "\"it's\""),
        ("%(uml)r", "'ä'"),
        ("%(uml)a", "'\\xe4'"),
        ("%(name).3r", "'we"),
        ("%(uml).4a", "'\\xe"),
        ("%(one)c", "x"),
        ("%(one)3c|", "  x|"),
        ("%(one)-3c|", "x  |"),
        ("%(big)c", "𞉀"),
        ("%(zero)d", "0"),
        ("%(process_num)f", "7.000000"),
        ("%(process_num).2f", "7.00"),
        ("%(process_num).0f", "7"),
        ("%(process_num)#.0f", "7."),
        ("%(big)e", "1.234560e+05"),
        ("%(big).3e", "1.235e+05"),
        ("%(big)E", "1.234560E+05"),
        ("%(big)g", "123456"),
        ("%(big).3g", "1.23e+05"),
        ("%(big)#g", "123456."),
        ("%(big)G", "123456"),
        ("%(process_num)g", "7"),
        ("%(process_num).0g", "7"),
        ("%(zero)g", "0"),
        ("%(big).6g", "123456"),
        ("%(big).7g", "123456"),
        ("%(big)F", "123456.000000"),
        ("%(neg).1f", "-42.0"),
        ("%(process_num)08.2f", "00007.00"),
        ("%(process_num)-8.1f|", "7.0     |"),
        ("%(process_num)ld", "7"),
        ("%(process_num)hd", "7"),
        ("%(process_num)Ld", "7"),
        ("%(ENV_HOME)s/x", "/root/x"),
        ("%(ENV_P)s", "50%"),
        ("%(name)s%%%(name)s", "web%web"),
        ("%(ENV_OWN)s", "own"),
    ] {
        assert_eq!(expanded(format, None).map(|(text, _)| text).as_deref(), Ok(expected), "{format}");
    }
}

#[test]
fn wrong_formats_are_refused_with_the_reason_that_python_gives() {
    for (format, why) in [
        ("%(nope)s", "contains names"),
        ("%(name)d", "%d format: a real number is required, not str"),
        ("%(name)x", "%x format: an integer is required, not str"),
        ("%(name)i", "%i format: a real number is required, not str"),
        ("%(name)o", "%o format: an integer is required, not str"),
        ("%(name)c", "%c requires int or char"),
        ("%(name)f", "must be real number, not str"),
        ("%(name)y", "unsupported format character 'y' (0x79) at index 7"),
        ("%(name", "incomplete format key"),
        ("%(name)", "incomplete format"),
        ("%(name)5", "incomplete format"),
        ("%(name)*s", "* wants int"),
        ("%(name).*s", "* wants int"),
        ("%(process_num)*d", "not enough arguments for format string"),
        ("50%", "incomplete format"),
        ("a %(name)s %", "incomplete format"),
        ("%(name)s %d", "not enough arguments for format string"),
        ("%d", "%d format: a real number is required, not dict"),
        ("%x", "%x format: an integer is required, not dict"),
        ("%c", "%c requires int or char"),
        ("%f", "must be real number, not dict"),
        ("%*d", "* wants int"),
        ("%.*d", "* wants int"),
        ("%(name)s %s", "not enough arguments for format string"),
        ("%(name)s %*d", "not enough arguments for format string"),
        ("%(neg)c", "%c arg not in range(0x110000)"),
        ("%(process_num).99999999999d", "precision too big"),
        ("%(a(b)c)s", "contains names"),
        ("%()s", "contains names"),
    ] {
        let message = expanded(format, None).unwrap_err();
        assert!(message.contains(why), "{format}: {message}");
        assert!(message.contains("for 'command'"), "{format}: {message}");
    }
}

#[test]
fn formats_that_are_probably_mistakes_have_a_warning() {
    assert_eq!(expanded("%(name)s", None), Ok(("web".into(), None)));
    for (format, text, warning) in [
        ("50%s", "50%s", "'%s' without a (name) is left as it is; write '%%s'"),
        ("%5.2r", "%5.2r", "'%5.2r' without a (name) is left as it is; write '%%5.2r'"),
        (
            "%(process_num) dogs",
            " 7ogs",
            "the blank in '%(process_num) d' is taken for a flag; write '%(process_num)s '",
        ),
    ] {
        let (shown, warned) = expanded(format, None).unwrap();
        assert_eq!((&*shown, warned.as_deref()), (text, Some(warning)), "{format}");
    }
    let two = expanded("%(process_num) d%(neg) d", None).unwrap().1.unwrap();
    assert_eq!(two.matches("; the blank in").count(), 1, "{two}");
}

#[test]
fn a_text_that_is_expanded_twice_keeps_its_percent_signs_and_the_names_of_the_program() {
    let text = |format| expanded(format, Some("%%")).map(|(text, _)| text);
    assert_eq!(text("100%% %(ENV_P)s %(name)s").as_deref(), Ok("100%% 50%% web"));
    // The program's own variables are known only to the second expansion.
    assert_eq!(text("%(ENV_OWN)s %(ENV_HOME)s").as_deref(), Ok("%(ENV_OWN)s /root"));
    // A stand-in for a byte that is not UTF-8 cannot be written to a file.
    let environment = BTreeMap::from([("RAW".to_owned(), crate::text::decode(b"\xff"))]);
    let names = |again| KnownNames { fixed: &[], own: &[], environment: &environment, again };
    assert_eq!(expand("%(ENV_RAW)s", "x", &names(Some("%%"))).unwrap().text, "%(ENV_RAW)s");
    assert_eq!(expand("%(ENV_RAW)s", "x", &names(None)).unwrap().text, crate::text::decode(b"\xff"));
}

/// Name, value, line.
type ReadKey = (String, String, u32);
/// Line, text.
type Message = (u32, String);

/// The sections of a text: name, then keys with their values and lines; and all messages, each with its line.
fn sections(text: &str) -> (Vec<(String, Vec<ReadKey>)>, Vec<Message>) {
    let (mut sections, mut problems) = (Sections::default(), Vec::new());
    sections.merge("f".into(), text.as_bytes(), &mut problems);
    let keys = |section: &super::super::dialect::Section| {
        section.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone(), entry.at.line)).collect()
    };
    let list = sections.list.iter().map(|section| (section.name.clone(), keys(section))).collect();
    (list, problems.into_iter().map(|problem| (problem.line, problem.message)).collect())
}

fn keys(text: &str) -> Vec<ReadKey> {
    let (mut list, problems) = sections(text);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(list.len(), 1);
    list.remove(0).1
}

#[test]
fn sections_and_keys_are_read_as_by_python() {
    let key = |name: &str, value: &str, line| (name.to_owned(), value.to_owned(), line);
    assert_eq!(keys("[a]\nKey = v 1\nother:w=x\n"), [key("key", "v 1", 2), key("other", "w=x", 3)]);
    assert_eq!(keys("[a]\nk=1\n  2\n\n\t3 ; gone\nl=4"), [key("k", "1\n2\n\n3", 2), key("l", "4", 6)]);
    // Blank lines at the end of a value are not part of it; a comment line is not a blank line.
    assert_eq!(keys("[a]\nk=1\n\n# x\n 2\n\n\n"), [key("k", "1\n\n2", 2)]);
    assert_eq!(keys("[a]\nk=1;2#3 #4\n"), [key("k", "1;2#3", 2)]);
    assert_eq!(keys("; c\n  # d\n[a]\nk=x ;y\n"), [key("k", "x", 4)]);
    // Blanks at both ends, brackets, quotes and backslashes reach the value.
    assert_eq!(keys("[a]\nk= \"a\\n [b] 'c' \\x41.\" \n"), [key("k", "\"a\\n [b] 'c' \\x41.\"", 2)]);
    assert_eq!(keys("[a]\nk=\u{1f}a\u{a0}é  b\u{1f}\n"), [key("k", "a\u{a0}é  b", 2)]);
    assert_eq!(keys("[a]\n'k'=\"v\"\n"), [key("'k'", "\"v\"", 2)]);
    assert_eq!(sections("[a]b]rest\n[ c ]\n").0, [("a]b".to_owned(), vec![]), (" c ".to_owned(), vec![])]);
    // Lines end with CR, LF or both.
    assert_eq!(keys("[a]\r\nk=1\rl=2\n"), [key("k", "1", 2), key("l", "2", 3)]);
    // A line that is indented less than the one before belongs to it only if it is indented more than the key.
    assert_eq!(keys("[a]\n  k=1\n    2\n   3\n  l=4\n"), [key("k", "1\n2\n3", 2), key("l", "4", 5)]);
}

#[test]
fn the_last_value_of_a_key_wins_and_default_belongs_to_all() {
    let (list, problems) = sections("[a]\nk=1\n[b]\nz=0\n[a]\nk=2\n");
    assert_eq!(list[0], ("a".to_owned(), vec![("k".to_owned(), "2".to_owned(), 6)]));
    assert_eq!(problems, [(6, "this value replaces the one of line 2".to_owned())]);
    let (mut sections, mut problems) = (Sections::default(), Vec::new());
    sections.merge(
        "f".into(),
        b"[DEFAULT]\nd=%(here)s/d\nk=0\n[a]\nk=%(here)s/k\nplain=1\n[b]\nd=own\n",
        &mut problems,
    );
    sections.merge("g".into(), b"[b]\nd=again\n", &mut problems);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].severity, &*problems[0].message),
        (Severity::Info, "this value replaces the one of another file")
    );
    let value = |sections: &Sections, section, key| {
        sections.entry(sections.section(section).unwrap(), key).map(|entry| entry.value.clone())
    };
    assert_eq!(value(&sections, "a", "d").as_deref(), Some("%(here)s/d"));
    assert_eq!(value(&sections, "a", "nope"), None);
    assert!(sections.section("DEFAULT").is_none() && sections.section("c").is_none());
    sections.expand_here("/etc");
    assert_eq!(value(&sections, "a", "d").as_deref(), Some("/etc/d"));
    assert_eq!(value(&sections, "a", "k").as_deref(), Some("/etc/k"));
    assert_eq!(value(&sections, "b", "d").as_deref(), Some("again"));
    // A default without %(here)s is not copied, and neither is one that the section hides.
    let entries = |name| sections.section(name).unwrap().entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>();
    assert_eq!((entries("a"), entries("b")), (vec!["k", "plain", "d"], vec!["d"]));
    let programs: Vec<_> = sections.of_kind("a").map(|(section, rest)| (&*section.name, rest)).collect();
    assert_eq!(programs, [("a", "")]);
}

#[test]
fn invalid_lines_are_errors_with_their_line_number() {
    let messages = |text| sections(text).1;
    assert_eq!(messages("[a]\nk=1\nnothing\n"), [(3, "neither key=value nor [section]: 'nothing'".to_owned())]);
    assert_eq!(messages("[a]\n=1\n"), [(2, "neither key=value nor [section]: '=1'".to_owned())]);
    assert_eq!(messages("[]\n")[0].0, 1);
    assert!(messages("k=1\n")[0].1.contains("'k=1' comes before any [section]"));
    assert!(messages("\u{feff}[a]\n")[0].1.ends_with("remove the byte order mark"));
    let (mut sections, mut problems) = (Sections::default(), Vec::new());
    sections.merge("f".into(), b"[a]\nk=\xff\n", &mut problems);
    assert_eq!(problems[0].line, 2);
    assert!(problems[0].message.contains("byte 0xff at offset 6 is not UTF-8"), "{}", problems[0].message);
}

#[test]
fn a_comment_that_cuts_a_quoted_text_has_a_warning() {
    let warns = |text: &str| match &*sections(&format!("[a]\n{text}\n")).1 {
        [] => false,
        [(2, message)] => message.starts_with("a comment starts at ") && message.contains("quotes do not protect"),
        other => panic!("{other:?}"),
    };
    for cut in ["k=\"a ;b\"", "k='a #b'", "k=\"a\" 'b ;c'", "k=\"it's ;x\"", "k='say \"a\" ;b'"] {
        assert!(warns(cut), "{cut}");
    }
    for whole in ["k=\"a\" ;b\"", "k=a ;b'", "k='a ;b\"", "k=\"a;b\"", "k='a' ;'b'", "k='a \"b' ;c\"", "k='a'\"b\" ;c"]
    {
        assert!(!warns(whole), "{whole}");
    }
}

#[test]
fn numbers_sizes_modes_and_codes_are_read_as_by_python() {
    for (text, number) in [
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        (" 1_000\t", 1000),
        ("\u{1c}9\u{1f}", 9),
        ("007", 7),
        ("99999999999999999999", i64::MAX),
        ("-99999999999999999999", i64::MIN),
    ] {
        assert_eq!(values::int(text), Ok(number), "{text:?}");
    }
    for text in ["", "a", "1.5", "_1", "1_", "1__0", "--1", "0x10", "8 8", "-", "0o7"] {
        let message = format!("invalid literal for int() with base 10: {}", values::repr(text));
        assert_eq!(values::int(text), Err(message));
    }
    for (text, bytes) in [("5", 5), ("2KB", 2048), ("3mb", 3 << 20), ("1Gb", 1 << 30), ("-1kb", -1024), ("1 KB", 1024)]
    {
        assert_eq!(values::size(text), Ok(bytes), "{text}");
    }
    assert_eq!(values::size("99999999999GB"), Ok(i64::MAX));
    assert!(values::size("5TB").is_err() && values::size("kb").is_err());
    for (text, mode) in [("022", 0o22), ("0o755", 0o755), ("0O7", 7), ("0o_7", 7), ("17777", 0o7777), ("-1", 0o7777)] {
        assert_eq!(values::octal(text), Ok(mode), "{text}");
    }
    assert_eq!(values::octal("8"), Err("8 can not be converted to an octal type".into()));
    assert!(values::octal("0o").is_err() && values::octal("").is_err());
    let codes = |text| values::exit_codes(text).map(|codes| codes.iter().collect::<Vec<_>>());
    assert_eq!((codes("0, 2,255,2"), codes("")), (Ok(vec![0, 2, 255]), Ok(vec![])));
    for text in ["256", "-1", "0,", "a"] {
        assert_eq!(codes(text), Err(format!("not a valid list of exit codes: '{text}'")));
    }
}

#[test]
fn words_are_parsed_as_in_supervisor() {
    for text in ["yes", "TRUE", "On", "1"] {
        assert_eq!((values::boolean(text), values::auto_restart(text)), (Ok(true), Ok(AutoRestart::Always)), "{text}");
    }
    for text in ["no", "False", "OFF", "0"] {
        assert_eq!((values::boolean(text), values::auto_restart(text)), (Ok(false), Ok(AutoRestart::Never)), "{text}");
    }
    assert_eq!(values::boolean("2"), Err("not a valid boolean value: '2'".into()));
    assert_eq!(values::auto_restart("Unexpected"), Ok(AutoRestart::Unexpected));
    assert_eq!(values::auto_restart("Maybe"), Err("invalid 'autorestart' value 'maybe'".into()));
    assert_eq!((values::log_level("WARN"), values::log_level("blather")), (Ok(LogLevel::Warn), Ok(LogLevel::Blather)));
    assert_eq!(values::log_level("loud"), Err("bad logging level name 'loud'".into()));
    for (text, number) in [("TERM", 15), ("SIGHUP", 1), (" usr1 ", 10), ("0", 0), ("31", 31), ("34", 34), ("64", 64)] {
        assert_eq!(values::signal(text), Ok(number), "{text}");
    }
    for text in ["32", "33", "35", "65", "-1"] {
        assert_eq!(values::signal(text), Err(format!("value '{text}' is not a valid signal number")));
    }
    assert_eq!(values::signal("SIGFOO"), Err("value 'SIGFOO' is not a valid signal name".into()));
    assert_eq!(values::list("a, b ,,c,"), ["a", "b", "", "c", ""]);
    assert_eq!(values::list(""), [""; 0]);
    assert_eq!(values::name(" a-b "), Ok("a-b".into()));
    for (text, c) in [("a b", ' '), ("a:b", ':'), ("a/b", '/')] {
        let message = format!("Invalid name: '{text}' because of character: '{c}'");
        assert_eq!(values::name(text), Err(message));
    }
}

#[test]
fn texts_are_quoted_as_by_repr() {
    for (text, quoted) in [
        ("a b", "'a b'"),
        ("it's", "\"it's\""),
        ("it's \"x\"", r#"'it\'s "x"'"#),
        ("\"x\"", "'\"x\"'"),
        ("\n\r\t\\", r"'\n\r\t\\'"),
        ("\0\x7f\u{a0}", r"'\x00\x7f\xa0'"),
        ("é😀\u{301}", "'é😀\u{301}'"),
        ("\u{2028}\u{e000}\u{e0001}", r"'\u2028\ue000\U000e0001'"),
    ] {
        assert_eq!(values::repr(text), quoted);
    }
    assert_eq!(values::repr(&crate::text::decode(b"a\xff")), r"'a\udcff'");
    assert_eq!(values::ascii("é\u{20ac}😀"), r"'\xe9\u20ac\U0001f600'");
    assert!(
        values::is_space('\u{1c}') && values::is_space('\u{3000}') && values::is_space(' ') && !values::is_space('x')
    );
}

#[test]
fn users_and_owners_are_looked_up_by_name_and_number() {
    let machine = FakeMachine::default();
    let user = |text| values::user(text, &machine).map(|user| (user.name, user.uid));
    assert_eq!(user("www"), Ok(("www".into(), 33)));
    assert_eq!(user("33"), Ok(("www".into(), 33)));
    assert_eq!(user("1234"), Ok(("1234".into(), 1234)));
    assert_eq!(user("4294967295"), Err("Invalid user id 4294967295".into()));
    assert_eq!(user("-1"), Err("Invalid user id -1".into()));
    let unknown = user("eve").unwrap_err();
    assert!(unknown.starts_with("Invalid user name eve: /etc/passwd has no user eve"), "{unknown}");
    assert!(unknown.ends_with("write a name that it has, or a number"), "{unknown}");
    let owner = |text| values::owner(text, "chown", &machine).map(|owner| (owner.uid, owner.gid));
    assert_eq!((owner("www"), owner("33:0"), owner("0:www")), (Ok((33, None)), Ok((33, Some(0))), Ok((0, Some(33)))));
    for (text, why) in [
        ("eve", "Invalid chown value eve: /etc/passwd has no user eve"),
        ("77", "/etc/passwd has no user 77"),
        ("www:eve", "/etc/group has no group eve"),
        ("www:77", "/etc/group has no group 77"),
        ("www:-1", "/etc/group has no group -1"),
    ] {
        let message = owner(text).unwrap_err();
        assert!(message.contains(why), "{message}");
        assert_eq!(message.contains("or a number"), why.contains("passwd"), "{message}");
    }
}

#[test]
fn paths_are_normalized_as_by_python() {
    let machine = FakeMachine::new(&[("/var/log/x", "")]);
    for (path, dir) in [("a", ""), ("/a", "/"), ("a/b", "a"), ("/a/b/", "/a/b"), ("//a", "//"), ("a//b", "a")] {
        assert_eq!(values::dirname(path), dir, "{path}");
    }
    for (path, absolute) in [
        ("a/../b/./c", "/work/b/c"),
        ("/../x//y/", "/x/y"),
        ("//x", "//x"),
        ("///x", "/x"),
        ("~/a", "/home/me/a"),
        ("~www", "/home/www"),
        ("~eve/a", "/work/~eve/a"),
    ] {
        assert_eq!(values::normalize(path, &machine), absolute, "{path}");
    }
    assert_eq!(values::absolute("~/a", &machine), "/work/~/a");
    assert_eq!(values::existing_dir("~", &machine), Ok("/home/me".into()));
    assert_eq!(values::existing_dir("/nope", &machine), Err("/nope is not an existing directory".into()));
    assert_eq!(values::path_in_existing_dir("/var/log/new", &machine), Ok("/var/log/new".into()));
    assert_eq!(values::path_in_existing_dir("new", &machine), Ok("new".into()));
    let broken = values::existing_dir("/broken", &machine).unwrap_err();
    assert!(broken.starts_with("/broken is not an existing directory: ") && broken.contains("error 5"), "{broken}");
    let broken = values::path_in_existing_dir("/broken/x", &machine).unwrap_err();
    assert!(broken.contains("/broken/x cannot be used: ") && broken.contains("error 5"), "{broken}");
    let missing = "The directory named as part of the path /nope/x does not exist";
    assert_eq!(values::path_in_existing_dir("/nope/x", &machine), Err(missing.into()));
    for (text, place) in [
        ("NONE", Some(LogPlace::None)),
        ("off", Some(LogPlace::None)),
        ("", Some(LogPlace::None)),
        ("Auto", Some(LogPlace::Auto)),
        ("syslog", None),
        ("/var/log/x", Some(LogPlace::File("/var/log/x".into()))),
    ] {
        assert_eq!(values::child_log(text, &machine), Ok(place), "{text}");
    }
    assert_eq!(values::child_log("/nope/x", &machine), Err(missing.into()));
}

#[test]
fn addresses_are_read_as_in_supervisor() {
    let machine = FakeMachine::default();
    let tcp = |host: &str, port| Ok(SocketAddress::Tcp(host.into(), port));
    assert_eq!(values::inet_address("9001"), tcp("", 9001));
    assert_eq!(values::inet_address("*:9001"), tcp("", 9001));
    assert_eq!(values::inet_address("LocalHost:1"), tcp("localhost", 1));
    assert_eq!(values::inet_address("[::1]:65535"), tcp("[::1]", 65535));
    for (text, why) in [
        ("a:", "no port number specified in ''"),
        ("x", "not a valid port number: 'x' "),
        ("a:x", "invalid literal for int() with base 10: 'x'"),
        ("a:0", "0 is below lower bound (1)"),
        ("a:-5", "-5 is below lower bound (1)"),
        ("a:65536", "65536 is above upper bound (65535)"),
    ] {
        assert_eq!(values::inet_address(text), Err(why.into()), "{text}");
    }
    assert_eq!(values::fcgi_socket("tcp://Host:80", &machine), tcp("host", 80));
    assert_eq!(values::fcgi_socket("unix:///a/../b", &machine), Ok(SocketAddress::Unix("/b".into())));
    assert_eq!(values::fcgi_socket("unix://a", &machine), Err("Unix socket path a is not an absolute path".into()));
    for text in ["tcp://:80", "tcp://a b:80", "tcp://a:", "tcp://a:8x", "tcp://a", "a:80", "http://a:80"] {
        let message = format!("Bad socket format {text}; write unix:///path or tcp://host:port");
        assert_eq!(values::fcgi_socket(text, &machine), Err(message));
    }
    assert!(values::fcgi_socket("tcp://a:99999", &machine).is_err());
}

#[test]
fn environments_are_split_into_words_as_by_shlex() {
    let environment = |text| {
        values::environment(text)
            .map(|pairs| pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("|"))
    };
    for (text, pairs) in [
        ("", ""),
        ("A=1", "A=1"),
        ("A=1,B=\"x, y\"", "A=1|B=x, y"),
        ("A='1' , B = 2,", "A=1|B=2"),
        ("A=1;B=2", "A=1|B=2"),
        ("A=1,A=2,B=3", "A=2|B=3"),
        ("PATH=/a/b:/c.d+e-f(g)", "PATH=/a/b:/c.d+e-f(g)"),
        ("A=it's", "A=it's"),
        ("A=x'y'", "A=x'y"),
        ("A=\"\"", "A="),
        ("A=1,#B=2\nC=3", "A=1|C=3"),
        ("A=1\n,B=2\t", "A=1|B=2"),
        ("A=a\"b", "A=a\"b"),
        ("A=?", "A=?"),
        ("A=1,B==2", "A=1|B=="),
    ] {
        assert_eq!(environment(text).as_deref(), Ok(pairs), "{text}");
    }
    for text in ["A", "A=", "A:1", "A=1,B", "A B C", "é=1,2="] {
        let message =
            format!("Unexpected end of key/value pairs in value '{text}'; write KEY=\"value\",KEY2=\"value\"");
        assert_eq!(environment(text), Err(message));
    }
    assert_eq!(environment("A=\"1"), Err("No closing quotation".into()));
}
