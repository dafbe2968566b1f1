//! Loads configuration files: reads the includes, parses each section with the rows of `options`, and checks the sections
//! against each other.
#![forbid(unsafe_code)]

use super::dialect::{At, Entry, Section, Sections};
use super::expand::{KnownNames, NameValue, expand};
use super::model::{
    AutoRestart, Config, ExitCodeFrom, FastCgiConfig, GroupConfig, GroupKind, HttpServerConfig, Lifecycle,
    ListenerConfig, LogPlace, Owner, Probe, ProcessConfig, ServerConfig, SocketAddress, StopSignal,
};
use super::options::{self, Draft, Opt, OptionRow, Scope};
use super::values::is_space;
use super::{Loaded, Machine, Problem, Severity, lint, nearest, values};
use crate::{events, text};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The most processes that one section may have: more are a mistake and would not fit in memory.
const NUMPROCS_MAX: i64 = 65_536;
/// The memory of one process in the configuration and in the running supervisor, in bytes.
const PROCESS_BYTES: usize = 2048;

/// The prefixes of the sections that describe processes.
const PROGRAM_SECTIONS: [&str; 3] = ["program:", "eventlistener:", "fcgi-program:"];

/// Reads a configuration and all its includes. Never fails: errors are among the problems of the result.
pub fn load(main_file: &Path, machine: &dyn Machine) -> Loaded {
    let mut reader = ConfigReader::open(main_file, true, machine);
    let server = reader.server();
    let http = reader.http();
    let rpc_interfaces = reader.rpc_interfaces(!http.is_empty());
    let groups = reader.groups();
    reader.check_links(&groups);
    let groups = groups.iter().map(|group| Rc::new(apart(group))).collect();
    let twiddler = reader.twiddler(&rpc_interfaces);
    let has_server_section = reader.sections.section("supervisord").is_some();
    let config = Config { server, has_server_section, groups, http, rpc_interfaces, twiddler };
    reader.check_not_empty(&config);
    reader.check_exit_code_from(&config);
    lint::unknown(&reader.sections, reader.problems.get_mut());
    Loaded { config, problems: reader.problems() }
}

/// The processes of a `[program:x]` that a client adds (twiddler): `options` are the keys and values of its section.
pub fn processes(
    program: &str,
    group: &str,
    options: &[(String, String)],
    server_environment: &[(String, String)],
    main_file: &Path,
    machine: &dyn Machine,
) -> Result<Vec<Rc<ProcessConfig>>, String> {
    let entry = |(key, value): &(String, String)| Entry {
        key: key.to_lowercase(),
        value: text::decode(value.as_bytes()),
        at: At::default(),
    };
    let entries = options.iter().map(entry).collect();
    let section = Section { name: format!("program:{program}"), at: At::default(), entries };
    let mut reader = ConfigReader::empty(main_file, machine);
    reader.server_environment = Rc::new(server_environment.to_vec());
    let processes = reader.processes(&section, group);
    let error = reader.problems().into_iter().find(|problem| problem.severity == Severity::Error);
    error.map_or(Ok(processes), |problem| Err(problem.message))
}

/// A deep copy. It is made while the text of the files is still in memory. So the copies lie side by side, and dropping the text
/// frees whole pages: with a thousand programs this saves a fifth of all memory.
fn apart(group: &GroupConfig) -> GroupConfig {
    let processes = group.processes.iter().map(|process| Rc::new((**process).clone())).collect();
    GroupConfig { name: group.name.clone(), priority: group.priority, kind: group.kind.clone(), processes }
}

/// Whether the next attempt to read the file would fail in the same way, because of its kind or its permissions.
fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotFound, PermissionDenied};
    let is_socket = error.raw_os_error() == Some(libc::ENXIO);
    is_socket || matches!(error.kind(), InvalidInput | IsADirectory | NotFound | PermissionDenied)
}

/// The values of names such as `program_name` while the options of one section are expanded.
#[derive(Clone, Copy, Default)]
pub(super) struct ExpansionContext<'a> {
    pub program: &'a str,
    pub group: &'a str,
    pub process_num: i64,
    pub numprocs: i64,
    /// The variables of the program's own `environment`.
    pub own: &'a [(String, String)],
    /// For the dump: names that depend on the process are not expanded, so that the result can be loaded.
    pub template: bool,
}

/// The sections that were read, and the problems found in them.
pub(super) struct ConfigReader<'m> {
    pub machine: &'m dyn Machine,
    pub sections: Sections,
    here: String,
    host: String,
    environment: BTreeMap<String, String>,
    /// The users that `user=` has named so far.
    users: options::Users,
    /// `[supervisord] environment`, shared by all processes.
    server_environment: Rc<Vec<(String, String)>>,
    problems: RefCell<Vec<Problem>>,
}

impl<'m> ConfigReader<'m> {
    fn empty(main_file: &Path, machine: &'m dyn Machine) -> Self {
        Self {
            machine,
            sections: Sections::default(),
            here: values::absolute(values::dirname(&text::of_os(main_file)), machine),
            host: machine.host_node_name(),
            environment: machine.environment().into_iter().collect(),
            users: options::Users::default(),
            server_environment: Rc::default(),
            problems: RefCell::default(),
        }
    }

    /// Reads the main file and, if `includes` is set, the files that it includes.
    pub fn open(main_file: &Path, includes: bool, machine: &'m dyn Machine) -> Self {
        let mut reader = Self::empty(main_file, machine);
        let file = main_file.display();
        let why = match machine.read(main_file) {
            Ok(bytes) => {
                reader.sections.merge(main_file.into(), &bytes, reader.problems.get_mut());
                if includes && reader.sections.section("include").is_some() {
                    reader.include();
                }
                return reader;
            }
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                format!("could not find config file {file}")
            }
            Err(why) => format!("could not read config file {file}: {why}"),
        };
        reader.problems.get_mut().push(Problem::new(Severity::Error, main_file, 0, "", "", why));
        reader
    }

    /// Reads the files that `[include]` names. Source: supervisor-behaviour.md §2.2.
    fn include(&mut self) {
        let base = self.here.clone();
        self.sections.expand_here(&base);
        let Some(section) = self.sections.section("include").cloned() else { return };
        if self.sections.entry(&section, "files").is_none() {
            return self.error(&section, "files", ".ini file has [include] section, but no files setting");
        }
        let Some(patterns) = self.value(&section, "files", Scope::Include, ExpansionContext::default()) else { return };
        for pattern in patterns.split(is_space).filter(|pattern| !pattern.is_empty()) {
            let pattern = if pattern.starts_with('/') { pattern.into() } else { format!("{base}/{pattern}") };
            match self.machine.glob(&pattern) {
                Ok(files) if files.is_empty() => {
                    self.warn(&section, "files", format!("No file matches via include \"{pattern}\""));
                }
                Ok(files) => files.into_iter().for_each(|file| self.include_file(&section, file)),
                // Differs from Supervisor: there an unreadable directory counts as empty, and a reread removes its programs.
                Err(why) => {
                    self.error(&section, "files", format!("{why}; needed for \"{pattern}\""));
                }
            }
        }
    }

    /// Reads one included file. Supervisor skips every file that it cannot open. rsup skips it only if the error is lasting, so
    /// that a temporary error does not remove the programs of the file.
    fn include_file(&mut self, section: &Section, file: PathBuf) {
        let path = text::of_os(&file);
        let note = format!("Included extra file \"{path}\" during parsing");
        self.report(Severity::Info, self.at(section, "files"), "include", "files", note);
        match self.machine.read_regular(&file) {
            Ok(bytes) => self.sections.merge(file, &bytes, self.problems.get_mut()),
            Err(error) if is_lasting(&error) => self.warn(section, "files", format!("{path} is skipped: {error}")),
            Err(error) => self.error(section, "files", format!("cannot read {path}: {error}")),
        }
        self.sections.expand_here(&values::absolute(values::dirname(&path), self.machine));
    }

    /// All problems, sorted by file and line, each once.
    pub fn problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| (self.sections.files.iter().position(|file| *file == p.file), p.line));
        problems.dedup();
        problems
    }

    fn report(&self, severity: Severity, at: At, section: &str, key: &str, message: impl Into<String>) {
        let file = self.sections.files.get(at.file).map_or(Path::new(""), |file| file);
        self.problems.borrow_mut().push(Problem::new(severity, file, at.line, section, key, message));
    }

    fn at(&self, section: &Section, key: &str) -> At {
        self.sections.entry(section, key).map_or(section.at, |entry| entry.at)
    }

    pub fn error(&self, section: &Section, key: &str, message: impl Into<String>) {
        self.report(Severity::Error, self.at(section, key), &section.name, key, message);
    }

    pub fn warn(&self, section: &Section, key: &str, message: impl Into<String>) {
        self.report(Severity::Warning, self.at(section, key), &section.name, key, message);
    }

    /// The value of a key after expansion; `None` if the file does not have the key, or if the expansion failed (reported).
    pub fn value(&self, section: &Section, key: &str, scope: Scope, context: ExpansionContext) -> Option<String> {
        let entry = self.sections.entry(section, key)?;
        if !entry.value.contains('%') {
            return Some(entry.value.clone());
        }
        let fixed = self.names(scope, context);
        let server = section.name == "supervisord" && key == "environment";
        let twice = server || matches!(key, "stdout_logfile" | "stderr_logfile");
        let again = context.template.then_some(if twice { "%" } else { "%%" });
        let names = KnownNames { fixed: &fixed, own: context.own, environment: &self.environment, again };
        let qualified = format!("{}.{key}", section.name);
        let (label, raw) = match (key, scope) {
            ("environment", Scope::Process) => (key, &*entry.value),
            ("process_name", _) => (key, entry.value.trim_matches(is_space)),
            _ => (&*qualified, &*entry.value),
        };
        let mut expanded = expand(raw, label, &names);
        if let (true, Ok(once)) = (twice, &expanded) {
            let host = self.names(Scope::Include, context);
            let names =
                KnownNames { fixed: if server { &host } else { &fixed }, again: again.map(|_| "%%%%"), ..names };
            expanded = expand(&once.text, key, &names)
                .map_err(|why| why + " (it is expanded twice, as by Supervisor: write %%%% for a percent sign)");
        }
        match expanded {
            Ok(expanded) => {
                expanded.warning.into_iter().for_each(|warning| self.warn(section, key, warning));
                Some(expanded.text)
            }
            Err(why) => {
                self.error(section, key, why);
                None
            }
        }
    }

    fn names<'a>(&'a self, scope: Scope, context: ExpansionContext<'a>) -> Vec<(&'static str, NameValue<'a>)> {
        let later = |name| if context.template { NameValue::Later } else { name };
        let of_process = matches!(scope, Scope::Process | Scope::Own);
        let of_program = of_process || scope == Scope::Program;
        let names = [
            ("here", NameValue::Text(&self.here), scope != Scope::Env),
            ("host_node_name", NameValue::Text(&self.host), of_program || scope == Scope::Include),
            ("program_name", later(NameValue::Text(context.program)), of_program || scope == Scope::Socket),
            ("group_name", later(NameValue::Text(context.group)), of_program),
            ("process_num", later(NameValue::Number(context.process_num)), of_process),
            ("numprocs", later(NameValue::Number(context.numprocs)), of_process),
        ];
        names.into_iter().filter(|(_, _, known)| *known).map(|(name, value, _)| (name, value)).collect()
    }

    /// The name under which a section has this option: the other one only if the first is absent.
    pub fn written_key(&self, section: &Section, row: &OptionRow) -> &'static str {
        row.also.filter(|_| self.sections.entry(section, row.key).is_none()).unwrap_or(row.key)
    }

    /// Parses a section that has exactly the options `rows`.
    pub fn read<T: Default>(&self, section: &Section, rows: &[Opt<T>]) -> T {
        let mut read = T::default();
        self.apply(section, rows, |_| true, ExpansionContext::default(), &mut read);
        read
    }

    /// Stores in `to` the value of every option of `rows` that `wanted` selects and the file has.
    pub fn apply<T>(
        &self,
        section: &Section,
        rows: &[Opt<T>],
        wanted: impl Fn(&Opt<T>) -> bool,
        context: ExpansionContext,
        to: &mut T,
    ) {
        for row in rows.iter().filter(|row| wanted(row)) {
            let key = self.written_key(section, row);
            let Some(text) = self.value(section, key, row.scope, context) else { continue };
            // There, what is no address is a command.
            let text = match key {
                "liveness_check_script" => Probe::parse_script(&text).map_or(text, |probe| probe.to_string()),
                _ => text,
            };
            if let Err(why) = (row.set)(to, &text, self.machine) {
                self.error(section, key, row.refusal(&text, &why));
            }
        }
    }

    /// `[supervisord]`; a missing section counts as empty. Its `environment` defines names for all sections that are read later.
    pub fn server(&mut self) -> ServerConfig {
        let missing = Section { name: "supervisord".into(), ..Section::default() };
        let section = self.sections.section("supervisord").unwrap_or(&missing);
        let server = self.read(section, options::SERVER);
        self.environment.extend(server.environment.iter().cloned());
        self.server_environment = Rc::new(server.environment.clone());
        server
    }

    /// All server sections, in file order. Differs from Supervisor, which reads the TCP servers first.
    pub fn http(&self) -> Vec<HttpServerConfig> {
        let mut servers = Vec::new();
        for section in &self.sections.list {
            let name = &section.name;
            let (rows, key) = match () {
                () if name.starts_with("unix_http_server") => (options::UNIX_SERVER, "file"),
                () if name.starts_with("inet_http_server") => (options::INET_SERVER, "port"),
                () => continue,
            };
            let draft = self.read(section, rows);
            let written = |key| self.sections.entry(section, key).is_some();
            if !written(key) {
                self.error(section, key, format!("section [{name}] has no {key} value"));
            }
            if written("username") != written("password") {
                let why = "contains incomplete authentication: If a username or a password is specified, both the username \
                           and password must be specified";
                self.error(section, "", format!("Section [{name}] {why}"));
            }
            let requires_password = draft.require_password;
            let Some(server) = draft.finish(name) else { continue };
            if requires_password && server.credentials.is_none() {
                self.error(section, "username", "require_password is set; write username and password");
            } else if server.is_open_to_others() {
                let why = "anyone who can reach this port can run arbitrary commands: set username and password, or \
                           bind to 127.0.0.1";
                self.warn(section, key, why);
            }
            servers.push(server);
        }
        servers
    }

    /// `[rpcinterface:x]`. Only the built-in interfaces can be served: others need Python.
    fn rpc_interfaces(&self, has_servers: bool) -> Vec<(String, String)> {
        const FACTORY: &str = "supervisor.rpcinterface_factory";
        let mut interfaces = Vec::new();
        for (section, name) in self.sections.of_kind("rpcinterface:") {
            let entries = section.entries.iter().chain(&self.sections.defaults.entries);
            let others: BTreeSet<&str> = entries.map(|entry| &*entry.key).filter(|key| *key != FACTORY).collect();
            for key in &others {
                self.value(section, key, Scope::Env, ExpansionContext::default());
            }
            if self.sections.entry(section, FACTORY).is_none() {
                self.error(section, FACTORY, format!("section [{}] does not specify a {FACTORY}", section.name));
            }
            let Some(factory) = self.value(section, FACTORY, Scope::Env, ExpansionContext::default()) else { continue };
            if factory == options::MAIN_RPC_FACTORY && !others.is_empty() && has_servers {
                let why = format!("Could not make {name} rpc interface: it takes no other keys ([DEFAULT] counts too)");
                self.error(section, "", why);
            } else if ![options::MAIN_RPC_FACTORY, options::TWIDDLER_RPC_FACTORY].contains(&&*factory) {
                self.warn(
                    section,
                    FACTORY,
                    format!("the Python plug-in {factory} cannot be loaded: its methods are missing"),
                );
            }
            interfaces.push((name.to_owned(), factory));
        }
        interfaces
    }

    /// The whitelist of `[rpcinterface:twiddler]`; `None` if twiddler is not served.
    fn twiddler(&self, interfaces: &[(String, String)]) -> Option<Vec<String>> {
        let is_served =
            |(name, factory): &(String, String)| name == "twiddler" && factory == options::TWIDDLER_RPC_FACTORY;
        interfaces.iter().find(|interface| is_served(interface))?;
        let section = self.sections.section("rpcinterface:twiddler")?;
        let listed = self.value(section, "whitelist", Scope::Env, ExpansionContext::default());
        Some(listed.map(|text| values::list(&text)).unwrap_or_default())
    }

    /// All groups, in the order in which Supervisor starts them. Of two with one name, the first in this order is kept.
    fn groups(&self) -> Vec<Rc<GroupConfig>> {
        let mut groups: Vec<(GroupConfig, &Section)> = Vec::new();
        let mut members = BTreeSet::new();
        for (section, name) in self.sections.of_kind("group:") {
            groups.extend(self.mixed_group(section, name, &mut members).map(|group| (group, section)));
        }
        for prefix in PROGRAM_SECTIONS {
            for (section, name) in
                self.sections.of_kind(prefix).filter(|(section, _)| !members.contains(&*section.name))
            {
                groups.extend(self.own_group(section, prefix, name).map(|group| (group, section)));
            }
        }
        groups.sort_by(|(a, _), (b, _)| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        let mut names = BTreeSet::new();
        groups.retain(|(group, section)| {
            let first = names.insert(group.name.clone());
            if !first {
                self.warn(section, "", format!("another group is called {} too and takes its place", group.name));
            }
            first
        });
        groups.into_iter().map(|(group, _)| Rc::new(group)).collect()
    }

    fn name(&self, section: &Section, name: &str) -> Option<String> {
        values::name(name).map_err(|why| self.error(section, "", why)).ok()
    }

    /// `[group:x]`; the sections of its members are added to `members`.
    fn mixed_group<'a>(
        &'a self,
        section: &Section,
        name: &str,
        members: &mut BTreeSet<&'a str>,
    ) -> Option<GroupConfig> {
        let name = self.name(section, name)?;
        let draft = self.read(section, options::GROUP);
        let mut processes = Vec::new();
        for program in &draft.programs {
            let plain = self.sections.section(&format!("program:{program}"));
            let fcgi = self.sections.section(&format!("fcgi-program:{program}"));
            if let (Some(_), Some(_)) = (plain, fcgi) {
                let why =
                    format!("[{}] name {program} is ambiguous (exists as program and fcgi-program)", section.name);
                self.error(section, "programs", why);
            } else if let Some(member) = plain.or(fcgi) {
                if fcgi.is_some() {
                    let why = format!("in a group, fcgi-program {program} runs without its socket, as in Supervisor");
                    self.warn(section, "programs", why);
                }
                members.insert(&member.name);
                processes.extend(self.processes(member, &name));
            } else {
                let kinds = ["program:", "fcgi-program:"].into_iter();
                let known = kinds.flat_map(|kind| self.sections.of_kind(kind).map(|(_, name)| name));
                let hint = nearest::hint(program, known);
                let why = format!("[{}] names unknown program or fcgi-program {program}{hint}", section.name);
                self.error(section, "programs", why);
            }
        }
        let mut processes = self.unique(section, processes);
        let Lifecycle { depends_on, after, .. } = &*draft.process.lifecycle;
        if !(depends_on.is_empty() && after.is_empty()) {
            for process in &mut processes {
                let lifecycle = &mut *Rc::make_mut(process).lifecycle;
                lifecycle.depends_on.extend_from_slice(depends_on);
                lifecycle.after.extend_from_slice(after);
            }
        }
        Some(GroupConfig { name, priority: draft.priority.unwrap_or(999), kind: GroupKind::Programs, processes })
    }

    /// The group of a program, listener or fcgi-program that no `[group:x]` lists.
    fn own_group(&self, section: &Section, prefix: &str, name: &str) -> Option<GroupConfig> {
        let mut draft = Draft::default();
        let (name, kind, priority) = match prefix {
            // A listener's group keeps the blanks around its name, as under Supervisor.
            "eventlistener:" => {
                (name.to_owned(), GroupKind::Listeners(Box::new(self.listener(section, &mut draft))), -1)
            }
            "fcgi-program:" => {
                let name = self.name(section, name)?;
                let kind = GroupKind::FastCgi(Box::new(self.fast_cgi(section, &name, &mut draft)));
                (name, kind, 999)
            }
            _ => {
                let name = self.name(section, name)?;
                self.apply(
                    section,
                    options::GROUP,
                    |row| row.key == "priority",
                    ExpansionContext::default(),
                    &mut draft,
                );
                (name, GroupKind::Programs, 999)
            }
        };
        let mut processes = self.processes(section, &name);
        processes.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        let processes = self.unique(section, processes);
        Some(GroupConfig { name, priority: draft.priority.unwrap_or(priority), kind, processes })
    }

    /// Removes duplicate names from a group. As under Supervisor, the last process of a name is kept, in the place of the first.
    fn unique(&self, section: &Section, processes: Vec<Rc<ProcessConfig>>) -> Vec<Rc<ProcessConfig>> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept: Vec<Rc<ProcessConfig>> = Vec::with_capacity(processes.len());
        for process in processes {
            let place = *places.entry(process.name.clone()).or_insert(kept.len());
            match kept.get_mut(place) {
                None => kept.push(process),
                Some(old) => {
                    let why =
                        format!("several processes of this group are called {}: only the last one runs", old.name);
                    self.warn(section, "", why);
                    *old = process;
                }
            }
        }
        kept
    }

    fn listener(&self, section: &Section, draft: &mut Draft) -> ListenerConfig {
        self.apply(section, options::LISTENER, |_| true, ExpansionContext::default(), draft);
        let title = &section.name;
        let buffer_size = draft.buffer_size.unwrap_or(10);
        if buffer_size < 1 {
            self.error(section, "buffer_size", format!("[{title}] section sets invalid buffer_size ({buffer_size})"));
        }
        let result_handler = draft.result_handler.take().unwrap_or_else(|| options::DEFAULT_HANDLER.into());
        if ![options::DEFAULT_HANDLER, options::STDOUT_HANDLER].contains(&&*result_handler) {
            let why = format!("the Python plug-in {result_handler} cannot be loaded: the default handler is used");
            self.warn(section, "result_handler", why);
        }
        if draft.events.is_empty() {
            self.error(section, "events", format!("[{title}] section requires an \"events\" line"));
        }
        let known = events::names();
        for event in draft.events.iter().filter(|event| !known.contains(&event.as_str())) {
            let hint = nearest::hint(event, known.iter().copied());
            self.error(section, "events", format!("Unknown event type {event} in [{title}] events{hint}"));
        }
        let redirect = self.value(section, "redirect_stderr", Scope::Here, ExpansionContext::default());
        if redirect.is_some_and(|text| values::boolean(&text) == Ok(true)) {
            let why = "section sets redirect_stderr=true but this is not allowed because it will interfere with the \
                       eventlistener protocol";
            self.error(section, "redirect_stderr", format!("[{title}] {why}"));
        }
        let essential = self.sections.entry(section, "essential");
        if essential.is_some_and(|entry| values::boolean(&entry.value) == Ok(true)) {
            let why = "this has no effect on an event listener; set it for a program";
            self.warn(section, "essential", why);
        }
        let mut events = std::mem::take(&mut draft.events);
        let mut seen = BTreeSet::new();
        events.retain(|event| seen.insert(event.clone()));
        let buffer_size = u32::try_from(buffer_size.max(1)).unwrap_or(u32::MAX);
        ListenerConfig { events, buffer_size, result_handler }
    }

    fn fast_cgi(&self, section: &Section, name: &str, draft: &mut Draft) -> FastCgiConfig {
        let context = ExpansionContext { program: name, ..ExpansionContext::default() };
        self.apply(section, options::FCGI, |_| true, context, draft);
        let user = self.value(section, "user", Scope::Here, ExpansionContext::default());
        // An unknown user is reported when the option `user` itself is parsed.
        let user = user.and_then(|text| values::user(&text, self.machine).ok());
        let title = &section.name;
        let socket = self.value(section, "socket", Scope::Socket, context).unwrap_or_default();
        if socket.is_empty() {
            self.error(section, "socket", format!("[{title}] section requires a \"socket\" line"));
        } else if !socket.starts_with("unix://") && (draft.owner.is_some() || draft.mode.is_some()) {
            let why = "socket_owner and socket_mode params should only be used with a Unix domain socket in";
            self.error(section, "socket", format!("{why} [{title}] socket"));
        }
        let other = user.filter(|user| user.uid != self.machine.uid());
        let owner = other.and_then(|user| match self.machine.groups_of(&user) {
            Ok(groups) => Some(Owner { uid: user.uid, gid: Some(groups.primary) }),
            Err(why) => {
                self.error(section, "user", why);
                None
            }
        });
        FastCgiConfig {
            socket: draft.socket.take().unwrap_or(SocketAddress::Unix("/".into())),
            backlog: draft.backlog,
            owner: draft.owner.or(owner),
            mode: draft.mode.unwrap_or(0o700),
        }
    }

    /// The processes that a section describes, one for each process_num.
    fn processes(&self, section: &Section, group: &str) -> Vec<Rc<ProcessConfig>> {
        let name = section.name.split_once(':').map_or("", |(_, name)| name);
        let Some(program) = self.name(section, name) else { return Vec::new() };
        let context = ExpansionContext { program: &program, group, ..ExpansionContext::default() };
        let mut draft = Draft { users: Rc::clone(&self.users), ..Draft::default() };
        self.apply(section, options::PROGRAM, |row| row.scope == Scope::Program, context, &mut draft);
        let numprocs = draft.numprocs.unwrap_or(1);
        let template = self.sections.entry(section, "process_name").map_or("%(program_name)s", |entry| &*entry.value);
        if let Err(why) = values::name(template) {
            self.error(section, "process_name", why);
        }
        if numprocs > 1 && !template.contains("%(process_num)") {
            let why = "%(process_num) must be present within process_name when numprocs > 1; \
                       write process_name=%(program_name)s_%(process_num)02d";
            self.error(section, "process_name", why);
        }
        let process = &mut draft.process;
        process.program = program.as_str().into();
        process.server_environment = Rc::clone(&self.server_environment);
        if process.lifecycle.stop_sequence.is_empty() && !draft.stop_signals.is_empty() {
            let wait_ms = u32::try_from(process.stopwaitsecs.max(0).saturating_mul(1000)).unwrap_or(u32::MAX);
            let signals = draft.stop_signals.iter().map(|&signal| StopSignal { signal, wait_ms });
            process.lifecycle.stop_sequence = signals.collect();
        }
        process.killasgroup = draft.killasgroup.unwrap_or(process.stopasgroup);
        if process.stopasgroup && !process.killasgroup {
            self.error(section, "killasgroup", "Cannot set stopasgroup=true and killasgroup=false");
        }
        if numprocs > NUMPROCS_MAX {
            self.error(section, "numprocs", format!("{numprocs} processes are more than {NUMPROCS_MAX}"));
            return Vec::new();
        }
        let needed = usize::try_from(numprocs).unwrap_or(0).saturating_mul(PROCESS_BYTES);
        if !self.machine.has_room(needed) {
            self.error(section, "numprocs", format!("there is not enough memory for {numprocs} processes"));
            return Vec::new();
        }
        let mut processes = Vec::new();
        for i in 0..numprocs.max(0) {
            let context = ExpansionContext { process_num: draft.numprocs_start.saturating_add(i), numprocs, ..context };
            let before = self.problems.borrow().len();
            // The clone saves memory: its strings and lists have no spare capacity.
            processes.push(Rc::new(self.process(section, context, draft.clone()).clone()));
            // The other processes would only repeat the same error.
            if self.problems.borrow().iter().skip(before).any(|problem| problem.severity == Severity::Error) {
                break;
            }
        }
        processes
    }

    /// One process: adds the options that depend on its number and on its own environment to `draft`.
    fn process(&self, section: &Section, context: ExpansionContext, mut draft: Draft) -> ProcessConfig {
        self.apply(section, options::PROGRAM, |row| row.scope == Scope::Process, context, &mut draft);
        let own = std::mem::take(&mut draft.process.environment);
        let context = ExpansionContext { own: &own, ..context };
        self.apply(section, options::PROGRAM, |row| row.scope == Scope::Own, context, &mut draft);
        let title = &section.name;
        let process = &mut draft.process;
        let logs = [
            ("stdout", draft.stdout_logfile, &mut process.stdout),
            ("stderr", draft.stderr_logfile, &mut process.stderr),
        ];
        for (channel, logfile, config) in logs {
            let key = format!("{channel}_logfile");
            if let Some(None) = logfile {
                config.syslog = true;
                let why = "syslog but this is deprecated and will be removed.  Use";
                self.warn(
                    section,
                    &key,
                    format!("For [{title}], {key}={why} {channel}_syslog=true to enable syslog instead."),
                );
            }
            config.logfile = logfile.map_or(LogPlace::Auto, |log| log.unwrap_or(LogPlace::None));
            if config.logfile == LogPlace::Auto && config.maxbytes == 0 {
                let why = "without rollover, set maxbytes > 0 to avoid filling up filesystem unintentionally";
                self.warn(section, &key, format!("For [{title}], AUTO logging used for {key} {why}"));
            }
        }
        if process.redirect_stderr {
            if matches!(process.stderr.logfile, LogPlace::File(_)) {
                let why = "redirect_stderr=true but stderr_logfile has also been set to a filename, the filename has been ignored";
                self.warn(section, "stderr_logfile", format!("For [{title}], {why}"));
            }
            process.stderr.logfile = LogPlace::None;
        }
        let is_listener = section.name.starts_with("eventlistener:");
        if process.essential && process.autorestart != AutoRestart::Never && !is_listener {
            let policy = if process.autorestart == AutoRestart::Always { "true" } else { "unexpected" };
            let why = format!(
                "autorestart={policy} restarts the program after a failure, so that it does not end rsup; write \
                 autorestart=false"
            );
            self.warn(section, "essential", why);
        }
        self.check_lifecycle(section, process);
        if self.sections.entry(section, "command").is_none() {
            self.error(section, "command", format!("program section {title} does not specify a command"));
        }
        if let Err(why) = values::split_command(&process.command) {
            self.warn(section, "command", format!("this command cannot be parsed: {why}"));
        }
        process.name = draft.process_name.unwrap_or_else(|| context.program.into());
        process.environment = own;
        draft.process
    }

    /// A file without `[supervisord]` and without a program is an error: it was probably emptied, or a template failed.
    fn check_not_empty(&mut self, config: &Config) {
        let main = self.sections.files.first().cloned();
        let is_section_of_programs =
            |section: &Section| PROGRAM_SECTIONS.iter().any(|prefix| section.name.starts_with(prefix));
        if config.has_server_section || self.sections.list.iter().any(is_section_of_programs) {
            return;
        }
        // If the file could not be read or split into sections, that error has been reported.
        if let Some(main) = main.filter(|_| self.problems.borrow().iter().all(|p| p.severity != Severity::Error)) {
            let why = "the file has neither a [supervisord] section nor a program; add an empty [supervisord] section";
            self.problems.get_mut().push(Problem::new(Severity::Error, &main, 0, "", "", why));
        }
    }

    /// Reports an `exit_code_from` that names a program that does not exist.
    fn check_exit_code_from(&self, config: &Config) {
        let ExitCodeFrom::Program(wanted) = &config.server.exit_code_from else { return };
        let mut processes = config.groups.iter().flat_map(|g| g.processes.iter().map(move |p| (&g.name, &p.name)));
        let found = processes.any(|(group, name)| wanted == name || *wanted == format!("{group}:{name}"));
        if let (false, Some(section)) = (found, self.sections.section("supervisord")) {
            let why = format!("no program is called {wanted}; write a program's name, first_failure or essential");
            self.error(section, "exit_code_from", why);
        }
    }
}
