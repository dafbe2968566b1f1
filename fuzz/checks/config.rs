//! The configuration: the dialect and the whole load, `%(name)s`, `environment=` and command lines.

use rsup::check::secrets::Secrets;
use rsup::config::model::{Config, User, UserGroups};
use rsup::config::values::split_command;
use rsup::config::{Loaded, Machine, dump, load, load_client, processes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const MAIN: &str = "/work/main.conf";

/// A machine that has only the files of the input.
#[derive(Default)]
struct Source(BTreeMap<PathBuf, Vec<u8>>);

impl Source {
    /// The input has files separated by a NUL: the main file, then those in `/work/d`.
    fn new(data: &[u8]) -> Self {
        let names = (0..9).map(|n| if n == 0 { MAIN.into() } else { format!("/work/d/{n}.conf").into() });
        Self(names.zip(data.split(|byte| *byte == 0)).map(|(name, text)| (name, text.to_vec())).collect())
    }

    /// The same files with each text changed; `None` if one is not UTF-8.
    fn changed(&self, change: impl Fn(&str) -> String) -> Option<Self> {
        let change = |(name, text): (&PathBuf, &Vec<u8>)| {
            Some((name.clone(), change(std::str::from_utf8(text).ok()?).into_bytes()))
        };
        self.0.iter().map(change).collect::<Option<_>>().map(Self)
    }
}

impl Machine for Source {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
    fn read_regular(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.read(path)
    }
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
        let fits = |path: &&PathBuf| path.to_string_lossy().strip_prefix(head).is_some_and(|rest| rest.ends_with(tail));
        Ok(self.0.keys().filter(fits).cloned().collect())
    }
    fn is_dir(&self, path: &Path) -> std::io::Result<bool> {
        Ok(["/", "/tmp", "/work", "/work/d", "/home/me"].iter().any(|dir| Path::new(dir) == path))
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path) || self.is_dir(path).unwrap_or(false)
    }
    fn has_room(&self, _: usize) -> bool {
        true
    }
    fn user_by_name(&self, name: &str) -> Result<Option<User>, String> {
        Ok((name == "root").then(|| User { name: name.into(), uid: 0 }))
    }
    fn user_by_uid(&self, uid: u32) -> Result<Option<User>, String> {
        Ok((uid == 0).then(|| User { name: "root".into(), uid }))
    }
    fn groups_of(&self, user: &User) -> Result<UserGroups, String> {
        Ok(UserGroups { primary: user.uid, all: vec![user.uid] })
    }
    fn group_by_name(&self, name: &str) -> Result<Option<u32>, String> {
        Ok((name == "root").then_some(0))
    }
    fn has_gid(&self, gid: u32) -> Result<bool, String> {
        Ok(gid == 0)
    }
    fn home(&self, user: &str) -> Option<String> {
        user.is_empty().then(|| "/home/me".into())
    }
    fn uid(&self) -> u32 {
        1000
    }
    fn gid(&self) -> u32 {
        1000
    }
    fn environment(&self) -> Vec<(String, String)> {
        [("HOME", "/home/me"), ("X", "x y"), ("N", "2"), ("API_TOKEN", "s3cret-t0ken")]
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }
    fn host_node_name(&self) -> String {
        "node".into()
    }
    fn current_dir(&self) -> PathBuf {
        "/work".into()
    }
}

/// The kind of line ends and comments between the lines change nothing, and a dump loads to the same configuration.
pub fn ini(data: &[u8]) {
    let plain = String::from_utf8_lossy(data).replace('_', "");
    if plain.to_lowercase().contains("numprocs") && plain.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > 2)
    {
        // Tens of thousands of processes are allowed, but slow, and they find nothing new.
        return;
    }
    let source = Source::new(data);
    let loaded = read(&source);
    let _ = load_client(Path::new(MAIN), &source);
    for problem in &loaded.problems {
        let lines =
            source.0.get(&problem.file).map_or(0, |text| text.iter().filter(|b| matches!(b, b'\n' | b'\r')).count());
        assert!(usize::try_from(problem.line).unwrap() <= lines + 1 && !problem.message.is_empty(), "{problem}");
    }
    if !data.contains(&b'\r')
        && let Some(dos) = source.changed(|text| text.replace('\n', "\r\n"))
    {
        assert_eq!(read(&dos), loaded);
    }
    let comments = source.changed(|text| {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        text.split_inclusive('\n').flat_map(|line| ["; x = y\n", line]).collect()
    });
    if let Some(commented) = comments {
        let mut commented = read(&commented);
        let doubled = |at: u32| at.saturating_mul(2);
        let messages = |loaded: &Loaded, line: fn(u32) -> u32| -> Vec<_> {
            let without_line = |text: &str| text.split(" of line ").next().unwrap_or(text).to_owned();
            loaded
                .problems
                .iter()
                .map(|p| (p.severity, p.file.clone(), line(p.line), p.key.clone(), without_line(&p.message)))
                .collect()
        };
        assert_eq!(messages(&commented, |line| line), messages(&loaded, doubled));
        commented.problems.clone_from(&loaded.problems);
        assert_eq!(commented, loaded);
    }
    if loaded.errors().next().is_none() {
        dumps(&source, &loaded.config);
    }
}

fn read(source: &Source) -> Loaded {
    load(Path::new(MAIN), source)
}

fn dumps(source: &Source, config: &Config) {
    let dumped = |source: &Source, secrets: Option<&Secrets>| {
        let shown = |key: &str, text: &str| secrets.map_or_else(|| text.to_owned(), |secrets| secrets.shown(key, text));
        dump(Path::new(MAIN), source, &shown).expect("a readable file")
    };
    let text = dumped(source, None);
    let again = Source::new(text.as_bytes());
    let loaded = read(&again);
    assert_eq!(loaded.errors().collect::<Vec<_>>(), Vec::<&rsup::config::Problem>::new(), "{text}");
    // A dump always has the section.
    let config = &Config { has_server_section: true, ..config.clone() };
    assert_eq!(&loaded.config, config, "{text}");
    assert_eq!(dumped(&again, None), text);
    // A name in the files is not a secret.
    let secret = "s3cret-t0ken";
    if source.0.values().all(|text| !String::from_utf8_lossy(text).contains(secret)) {
        let hidden = dumped(source, Some(&Secrets::of(config, source)));
        assert!(!hidden.contains(secret), "{hidden}");
    }
}

/// The process that the options of a `[program:prog]` in group `grp` give.
fn process(options: &[(&str, &str)]) -> Result<rsup::config::model::ProcessConfig, String> {
    let options: Vec<_> = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let processes = processes("prog", "grp", &options, &[], Path::new(MAIN), &Source::default())?;
    Ok((*processes[0]).clone())
}

/// The names of a command, and their values in [`process`].
const NAMES: [(&str, &str); 8] = [
    ("%", "%"),
    ("(here)s", "/work"),
    ("(host_node_name)s", "node"),
    ("(program_name)s", "prog"),
    ("(group_name)s", "grp"),
    ("(process_num)02d", "07"),
    ("(numprocs)d", "1"),
    ("(ENV_X)s", "x y"),
];

/// Expands a text that has only those names and percent signs; `None` for any other text.
fn by_definition(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    let mut rest: &str = text.get(out.len()..)?;
    while let Some(spec) = rest.strip_prefix('%') {
        let (value, tail) = NAMES.iter().find_map(|(name, value)| Some((value, spec.strip_prefix(name)?)))?;
        let literal = tail.split('%').next()?;
        out.extend([*value, literal]);
        rest = tail.get(literal.len()..)?;
    }
    Some(out)
}

/// Text without a name is unchanged, doubled percent signs become single ones, and later text does not change earlier text.
pub fn expand(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let expand = |text: &str| process(&[("command", text), ("numprocs_start", "7")]).map(|process| process.command);
    assert_eq!(expand(&text.replace('%', "%%")).as_deref(), Ok(text));
    let expanded = expand(text);
    if let Some(expected) = by_definition(text) {
        assert_eq!(expanded, Ok(expected));
    }
    match expanded {
        Ok(expanded) => {
            // Width and precision are limited.
            let most = text.len() + text.matches('%').count() * 400_400;
            assert!(expanded.len() <= most, "{} > {most}", expanded.len());
            assert_eq!(expand(&format!("{text}|%(program_name)s%%")), Ok(format!("{expanded}|prog%")));
        }
        Err(why) => assert!(why.starts_with("Format string ") && text.contains('%'), "{why}"),
    }
}

/// Parsed values can be written so that they parse to the same values; quoted text is unchanged.
pub fn environment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parse =
        |text: &str| process(&[("environment", &text.replace('%', "%%")), ("command", "x")]).map(|p| p.environment);
    if let Ok(pairs) = parse(text) {
        let names: BTreeSet<_> = pairs.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), pairs.len());
        assert!(pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= text.len());
        assert!(pairs.iter().all(|(_, value)| !value.starts_with(['"', '\'']) && !value.ends_with(['"', '\''])));
        if let Some(written) = pairs.iter().map(written).collect::<Option<Vec<_>>>() {
            assert_eq!(parse(&written.join(",")).as_ref(), Ok(&pairs));
        }
        for (name, value) in pairs.iter().filter(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric())) {
            let options = [("environment", &*text.replace('%', "%%")), ("command", &format!("%(ENV_{name})s"))];
            assert_eq!(process(&options).map(|process| process.command).as_ref(), Ok(value));
        }
    }
    for (quote, other) in [('"', '\''), ('\'', '"')] {
        if !text.contains(quote) {
            let pairs = [("A", text.trim_matches(other)), ("B", "1")].map(|(name, value)| (name.into(), value.into()));
            assert_eq!(parse(&format!("A={quote}{text}{quote},B=1")), Ok(pairs.into()));
        }
    }
    if let Ok(words) = split_command(text) {
        assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
        let quoted: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\"'\"'"))).collect();
        assert_eq!(split_command(&quoted.join(" ")), Ok(words));
    }
}

/// A pair as a user would write it; `None` if its value has both kinds of quotes.
fn written((name, value): &(String, String)) -> Option<String> {
    let quote = ['"', '\''].into_iter().find(|quote| !value.contains(*quote))?;
    Some(format!("{name}={quote}{value}{quote}"))
}
