//! Files → [`Config`]: includes, then each section by the rows of `options`, then what must hold between them.
#![forbid(unsafe_code)]

use super::dialect::{At, Section, Sections, is_space};
use super::expand::{Name, Names, expand};
use super::model::{
    ChildLog, Config, ExitCodeFrom, FastCgiConfig, GroupConfig, GroupKind, ListenerConfig, Owner, ProcessConfig,
    ServerConfig, SocketAddress,
};
use super::options::{self, Draft, HttpDraft, Opt, Scope};
use super::{Loaded, Machine, Problem, Severity, values};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// More processes than this in one section are a mistake, and would not fit in memory.
const NUMPROCS_MAX: i64 = 65_536;

/// Reads a configuration and all its includes; never fails, but the result may hold errors.
pub fn load(main_file: &Path, machine: &dyn Machine) -> Loaded {
    let mut reader = Reader::new(main_file, machine);
    let mut config = Config::default();
    if let Some(sections) = reader.files(main_file, true) {
        config.server = reader.server(&sections);
        config.http = reader.http(&sections);
        config.rpc_interfaces = reader.rpc_interfaces(&sections, !config.http.is_empty());
        config.groups = reader.groups(&sections);
        reader.exit_code_from(&sections, &config);
        super::lint::unknown(&sections, &mut reader.problems);
        let order = |p: &Problem| (sections.files.iter().position(|file| *file == p.file), p.line);
        reader.problems.sort_by_key(order);
        reader.problems.dedup();
    }
    Loaded { config, problems: reader.problems }
}

/// Whose option is being read: what `program_name` and the like stand for.
#[derive(Clone, Copy, Default)]
pub(super) struct Who<'a> {
    program: &'a str,
    group: &'a str,
    process_num: i64,
    numprocs: i64,
    own: &'a [(String, String)],
}

/// What is known while reading, and what was found wrong.
pub(super) struct Reader<'m> {
    machine: &'m dyn Machine,
    here: String,
    host: String,
    environment: BTreeMap<String, String>,
    pub problems: Vec<Problem>,
}

impl<'m> Reader<'m> {
    pub fn new(main_file: &Path, machine: &'m dyn Machine) -> Self {
        let here = values::absolute(values::dirname(&main_file.to_string_lossy()), machine);
        Self {
            machine,
            here,
            host: machine.host_node_name(),
            environment: machine.environment().into_iter().collect(),
            problems: Vec::new(),
        }
    }

    fn report(&mut self, severity: Severity, sections: &Sections, at: At, section: &str, key: &str, message: String) {
        let file = sections.files.get(at.file).cloned().unwrap_or_default();
        let (section, key) = (section.to_owned(), key.to_owned());
        self.problems.push(Problem { severity, file, line: at.line, section, key, message });
    }

    fn error(&mut self, sections: &Sections, section: &Section, key: &str, message: String) {
        let at = sections.entry(section, key).map_or(section.at, |entry| entry.at);
        self.report(Severity::Error, sections, at, &section.name, key, message);
    }

    fn warn(&mut self, sections: &Sections, section: &Section, key: &str, message: String) {
        let at = sections.entry(section, key).map_or(section.at, |entry| entry.at);
        self.report(Severity::Warning, sections, at, &section.name, key, message);
    }

    /// The main file and, if wanted, what it includes; `None` when it cannot be read at all.
    pub fn files(&mut self, main_file: &Path, includes: bool) -> Option<Sections> {
        let mut sections = Sections::default();
        let whole = |message| Problem {
            severity: Severity::Error,
            file: main_file.into(),
            line: 0,
            section: String::new(),
            key: String::new(),
            message,
        };
        if !self.machine.exists(main_file) {
            self.problems.push(whole(format!("could not find config file {}", main_file.display())));
            return None;
        }
        match self.machine.read(main_file) {
            Ok(bytes) => sections.merge(main_file.into(), &bytes, &mut self.problems),
            Err(why) => {
                self.problems.push(whole(format!("could not read config file {}: {why}", main_file.display())));
                return None;
            }
        }
        if includes && sections.section("include").is_some() {
            self.include(&mut sections);
        }
        Some(sections)
    }

    fn include(&mut self, sections: &mut Sections) {
        let base = self.here.clone();
        sections.expand_here(&base);
        let Some(section) = sections.section("include").cloned() else { return };
        let Some(entry) = sections.entry(&section, "files").cloned() else {
            let why = ".ini file has [include] section, but no files setting";
            return self.error(sections, &section, "files", why.into());
        };
        let Some(patterns) = self.value(sections, &section, "files", Scope::Include, Who::default()) else { return };
        for pattern in patterns.split(is_space).filter(|pattern| !pattern.is_empty()) {
            let pattern = if pattern.starts_with('/') { pattern.into() } else { format!("{base}/{pattern}") };
            let files = self.machine.glob(&pattern);
            if files.is_empty() {
                let why = format!("No file matches via include \"{pattern}\"");
                self.report(Severity::Warning, sections, entry.at, "include", "files", why);
            }
            for file in files {
                let why = format!("Included extra file \"{}\" during parsing", file.display());
                self.report(Severity::Info, sections, entry.at, "include", "files", why);
                match self.machine.read(&file) {
                    Ok(bytes) => sections.merge(file.clone(), &bytes, &mut self.problems),
                    Err(why) => {
                        let why = format!("{} is skipped: {why}", file.display());
                        self.report(Severity::Warning, sections, entry.at, "include", "files", why);
                    }
                }
                let dir = values::absolute(values::dirname(&file.to_string_lossy()), self.machine);
                sections.expand_here(&dir);
            }
        }
    }

    /// The text of a key with its names replaced; `None` when it is not written, or cannot be expanded (reported).
    fn value(&mut self, sections: &Sections, section: &Section, key: &str, scope: Scope, who: Who) -> Option<String> {
        let entry = sections.entry(section, key)?;
        let mut fixed = vec![];
        if scope != Scope::Env {
            fixed.push(("here", Name::Text(&self.here)));
        }
        if !matches!(scope, Scope::Env | Scope::Here | Scope::Socket) {
            fixed.push(("host_node_name", Name::Text(&self.host)));
        }
        if matches!(scope, Scope::Socket | Scope::Program | Scope::Process | Scope::Own) {
            fixed.push(("program_name", Name::Text(who.program)));
        }
        if matches!(scope, Scope::Program | Scope::Process | Scope::Own) {
            fixed.push(("group_name", Name::Text(who.group)));
        }
        if matches!(scope, Scope::Process | Scope::Own) {
            fixed.push(("process_num", Name::Number(who.process_num)));
            fixed.push(("numprocs", Name::Number(who.numprocs)));
        }
        let names = Names { fixed: &fixed, own: who.own, environment: &self.environment };
        let qualified = format!("{}.{key}", section.name);
        let (label, raw) = match (key, scope) {
            ("environment", Scope::Process) => (key, &*entry.value),
            ("process_name", _) => (key, entry.value.trim_matches(is_space)),
            _ => (&*qualified, &*entry.value),
        };
        let mut expanded = expand(raw, label, &names);
        let twice =
            key == "stdout_logfile" || key == "stderr_logfile" || section.name == "supervisord" && key == "environment";
        if let (true, Ok(once)) = (twice, &expanded) {
            let host = [("here", Name::Text(&self.here)), ("host_node_name", Name::Text(&self.host))];
            let names = if scope == Scope::Own { names } else { Names { fixed: &host, ..names } };
            expanded = expand(&once.text, key, &names).map_err(|why| {
                format!("{why} (this option is expanded twice, as by Supervisor: a percent sign is written %%%%)")
            });
        }
        match expanded {
            Ok(expanded) => {
                if let Some(warning) = expanded.warning {
                    self.warn(sections, section, key, warning);
                }
                Some(expanded.text)
            }
            Err(why) => {
                self.error(sections, section, key, why);
                None
            }
        }
    }

    /// Sets every option of `rows` that is written and wanted.
    pub fn apply<T>(
        &mut self,
        sections: &Sections,
        section: &Section,
        rows: &[Opt<T>],
        wanted: impl Fn(&Opt<T>) -> bool,
        who: Who,
        to: &mut T,
    ) {
        for row in rows.iter().filter(|row| wanted(row)) {
            let Some(text) = self.value(sections, section, row.key, row.scope, who) else { continue };
            if let Err(why) = (row.set)(to, &text, self.machine) {
                let hint = if why.contains(';') { String::new() } else { format!("; write {}", row.kind.wanted()) };
                self.error(sections, section, row.key, format!("{}{hint}", why.trim_end()));
            }
        }
    }

    /// `[supervisord]`, which may be missing. Its environment gives names to all that is read after it.
    pub fn server(&mut self, sections: &Sections) -> ServerConfig {
        let mut server = ServerConfig::default();
        if let Some(section) = sections.section("supervisord") {
            self.apply(sections, section, options::SERVER, |_| true, Who::default(), &mut server);
        }
        self.environment.extend(server.environment.iter().cloned());
        server
    }

    /// All servers, in file order. Differs from Supervisor: there the ones on TCP come first.
    pub fn http(&mut self, sections: &Sections) -> Vec<super::model::HttpServerConfig> {
        let mut servers = Vec::new();
        for section in &sections.list {
            let unix = section.name.starts_with("unix_http_server");
            if !unix && !section.name.starts_with("inet_http_server") {
                continue;
            }
            let (rows, key) = if unix { (options::UNIX_SERVER, "file") } else { (options::INET_SERVER, "port") };
            let mut draft = HttpDraft::default();
            self.apply(sections, section, rows, |_| true, Who::default(), &mut draft);
            let name = &section.name;
            if sections.entry(section, key).is_none() {
                self.error(sections, section, key, format!("section [{name}] has no {key} value"));
            }
            let written = |key| sections.entry(section, key).is_some();
            if written("username") != written("password") {
                let why = format!(
                    "Section [{name}] contains incomplete authentication: If a username or a password is specified, \
                     both the username and password must be specified"
                );
                self.error(sections, section, "", why);
            }
            servers.extend(draft.finish(name));
        }
        servers
    }

    /// `[rpcinterface:x]`: only what needs no Python can be served.
    fn rpc_interfaces(&mut self, sections: &Sections, has_servers: bool) -> Vec<(String, String)> {
        const FACTORY: &str = "supervisor.rpcinterface_factory";
        let mut interfaces = Vec::new();
        for section in &sections.list {
            let Some(name) = section.name.strip_prefix("rpcinterface:") else { continue };
            let keys: BTreeSet<&String> =
                section.entries.iter().chain(&sections.defaults.entries).map(|entry| &entry.key).collect();
            for key in keys.iter().filter(|key| **key != FACTORY) {
                self.value(sections, section, key, Scope::Env, Who::default());
            }
            if !keys.iter().any(|key| *key == FACTORY) {
                let why = format!("section [{}] does not specify a {FACTORY}", section.name);
                self.error(sections, section, FACTORY, why);
                continue;
            }
            let Some(factory) = self.value(sections, section, FACTORY, Scope::Env, Who::default()) else { continue };
            if factory == options::MAIN_RPC_FACTORY && keys.len() > 1 && has_servers {
                let why = format!("Could not make {name} rpc interface: it takes no other keys ([DEFAULT] counts too)");
                self.error(sections, section, "", why);
            } else if factory != options::MAIN_RPC_FACTORY && factory != options::TWIDDLER_RPC_FACTORY {
                let why = format!("the Python plug-in {factory} cannot be loaded: its methods will be missing");
                self.warn(sections, section, FACTORY, why);
            }
            interfaces.push((name.to_owned(), factory));
        }
        interfaces
    }

    /// Every group, sorted as Supervisor starts them; of two with one name the first in that order stays.
    fn groups(&mut self, sections: &Sections) -> Vec<Rc<GroupConfig>> {
        let mut groups: Vec<(GroupConfig, &Section)> = Vec::new();
        let mut members = BTreeSet::new();
        for section in &sections.list {
            if let Some(name) = section.name.strip_prefix("group:") {
                groups.extend(self.mixed_group(sections, section, name, &mut members).map(|group| (group, section)));
            }
        }
        type Build<'m> = fn(&mut Reader<'m>, &Sections, &Section, &str) -> Option<GroupConfig>;
        let kinds: [(&str, Build<'m>); 3] =
            [("program:", Self::program), ("eventlistener:", Self::listener), ("fcgi-program:", Self::fast_cgi)];
        for (prefix, build) in kinds {
            for section in &sections.list {
                let Some(name) = section.name.strip_prefix(prefix) else { continue };
                if !members.contains(&section.name) {
                    groups.extend(build(self, sections, section, name).map(|group| (group, section)));
                }
            }
        }
        groups.sort_by(|(a, _), (b, _)| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        let mut names = BTreeSet::new();
        groups.retain(|(group, section)| {
            let first = names.insert(group.name.clone());
            if !first {
                let why = format!("another group is called {} too and takes its place", group.name);
                self.warn(sections, section, "", why);
            }
            first
        });
        groups.into_iter().map(|(group, _)| Rc::new(group)).collect()
    }

    fn group_name(&mut self, sections: &Sections, section: &Section, name: &str) -> Option<String> {
        values::name(name).map_err(|why| self.error(sections, section, "", why)).ok()
    }

    /// `[group:x]`; the sections of its members are added to `members`.
    fn mixed_group(
        &mut self,
        sections: &Sections,
        section: &Section,
        name: &str,
        members: &mut BTreeSet<String>,
    ) -> Option<GroupConfig> {
        let name = self.group_name(sections, section, name)?;
        let mut draft = Draft::default();
        self.apply(sections, section, options::GROUP, |_| true, Who::default(), &mut draft);
        let mut processes = Vec::new();
        for program in &draft.programs {
            let plain = sections.section(&format!("program:{program}"));
            let fcgi = sections.section(&format!("fcgi-program:{program}"));
            let member = match (plain, fcgi) {
                (Some(_), Some(_)) => {
                    let why =
                        format!("[{}] name {program} is ambiguous (exists as program and fcgi-program)", section.name);
                    self.error(sections, section, "programs", why);
                    continue;
                }
                (None, None) => {
                    let known = sections.list.iter().filter_map(|s| {
                        s.name.strip_prefix("program:").or_else(|| s.name.strip_prefix("fcgi-program:"))
                    });
                    let hint = super::lint::nearest(program, known).map(|near| format!("; did you mean {near}?"));
                    let why = format!("[{}] names unknown program or fcgi-program {program}", section.name);
                    self.error(sections, section, "programs", why + &hint.unwrap_or_default());
                    continue;
                }
                (Some(member), None) => member,
                (None, Some(member)) => {
                    let why = format!("fcgi-program {program} runs without its socket in a group, as under Supervisor");
                    self.warn(sections, section, "programs", why);
                    member
                }
            };
            members.insert(member.name.clone());
            processes.extend(self.processes(sections, member, &name, false));
        }
        self.unique(sections, section, &mut processes);
        Some(GroupConfig { name, priority: draft.priority.unwrap_or(999), kind: GroupKind::Programs, processes })
    }

    /// A group of the processes of one section.
    fn own_group(
        &mut self,
        sections: &Sections,
        section: &Section,
        name: String,
        priority: i32,
        kind: GroupKind,
    ) -> GroupConfig {
        let listener = matches!(kind, GroupKind::Listeners(_));
        let mut processes = self.processes(sections, section, &name, listener);
        processes.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        self.unique(sections, section, &mut processes);
        GroupConfig { name, priority, kind, processes }
    }

    /// Of processes with one name in a group the last stays, in the place of the first, as under Supervisor.
    fn unique(&mut self, sections: &Sections, section: &Section, processes: &mut Vec<Rc<ProcessConfig>>) {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept: Vec<Rc<ProcessConfig>> = Vec::with_capacity(processes.len());
        for process in processes.drain(..) {
            let place = *places.entry(process.name.clone()).or_insert(kept.len());
            match kept.get_mut(place) {
                None => kept.push(process),
                Some(old) => {
                    let why =
                        format!("several processes of this group are called {}: only the last one runs", process.name);
                    self.warn(sections, section, "", why);
                    *old = process;
                }
            }
        }
        *processes = kept;
    }

    fn program(&mut self, sections: &Sections, section: &Section, name: &str) -> Option<GroupConfig> {
        let name = self.group_name(sections, section, name)?;
        let mut draft = Draft::default();
        self.apply(sections, section, options::GROUP, |row| row.key == "priority", Who::default(), &mut draft);
        Some(self.own_group(sections, section, name, draft.priority.unwrap_or(999), GroupKind::Programs))
    }

    fn listener(&mut self, sections: &Sections, section: &Section, name: &str) -> Option<GroupConfig> {
        let mut draft = Draft::default();
        self.apply(sections, section, options::LISTENER, |_| true, Who::default(), &mut draft);
        let title = &section.name;
        let buffer_size = draft.buffer_size.unwrap_or(10);
        if buffer_size < 1 {
            let why = format!("[{title}] section sets invalid buffer_size ({buffer_size})");
            self.error(sections, section, "buffer_size", why);
        }
        let result_handler = draft.result_handler.unwrap_or_else(|| options::DEFAULT_HANDLER.into());
        if result_handler != options::DEFAULT_HANDLER {
            let why = format!("the Python plug-in {result_handler} cannot be loaded: the default handler is used");
            self.warn(sections, section, "result_handler", why);
        }
        if draft.events.is_empty() {
            self.error(sections, section, "events", format!("[{title}] section requires an \"events\" line"));
        }
        for event in draft.events.iter().filter(|event| !options::EVENT_TYPES.contains(&event.as_str())) {
            let hint = super::lint::nearest(event, options::EVENT_TYPES).map(|near| format!("; did you mean {near}?"));
            let why = format!("Unknown event type {event} in [{title}] events");
            self.error(sections, section, "events", why + &hint.unwrap_or_default());
        }
        let redirect = self.value(sections, section, "redirect_stderr", Scope::Here, Who::default());
        if redirect.is_some_and(|text| values::boolean(&text) == Ok(true)) {
            let why = format!(
                "[{title}] section sets redirect_stderr=true but this is not allowed because it will interfere with the \
                 eventlistener protocol"
            );
            self.error(sections, section, "redirect_stderr", why);
        }
        let mut events = draft.events;
        let mut seen = BTreeSet::new();
        events.retain(|event| seen.insert(event.clone()));
        let buffer_size = u32::try_from(buffer_size.max(1)).unwrap_or(u32::MAX);
        let kind = GroupKind::Listeners(ListenerConfig { events, buffer_size, result_handler });
        Some(self.own_group(sections, section, name.into(), draft.priority.unwrap_or(-1), kind))
    }

    fn fast_cgi(&mut self, sections: &Sections, section: &Section, name: &str) -> Option<GroupConfig> {
        let name = self.group_name(sections, section, name)?;
        let mut draft = Draft::default();
        let who = Who { program: &name, ..Who::default() };
        self.apply(sections, section, options::FCGI, |_| true, who, &mut draft);
        let user = self.value(sections, section, "user", Scope::Here, Who::default());
        let user = user.and_then(|text| values::user(&text, self.machine).ok());
        let title = &section.name;
        match &draft.socket {
            None if sections.entry(section, "socket").is_none_or(|entry| entry.value.is_empty()) => {
                self.error(sections, section, "socket", format!("[{title}] section requires a \"socket\" line"));
            }
            Some(SocketAddress::Tcp(..)) if draft.owner.is_some() || draft.mode.is_some() => {
                let why = format!(
                    "socket_owner and socket_mode params should only be used with a Unix domain socket in [{title}] socket"
                );
                self.error(sections, section, "socket", why);
            }
            _ => {}
        }
        let other = user.filter(|user| user.uid != self.machine.uid());
        let kind = GroupKind::FastCgi(FastCgiConfig {
            socket: draft.socket.unwrap_or(SocketAddress::Unix("/".into())),
            backlog: draft.backlog,
            owner: draft.owner.or(other.map(|user| Owner { uid: user.uid, gid: Some(user.gid) })),
            mode: draft.mode.unwrap_or(0o700),
        });
        Some(self.own_group(sections, section, name, draft.priority.unwrap_or(999), kind))
    }

    /// The processes that a section describes, one for each process_num.
    fn processes(
        &mut self,
        sections: &Sections,
        section: &Section,
        group: &str,
        listener: bool,
    ) -> Vec<Rc<ProcessConfig>> {
        let name = section.name.split_once(':').map_or("", |(_, name)| name);
        let Some(program) = self.group_name(sections, section, name) else { return Vec::new() };
        let who = Who { program: &program, group, ..Who::default() };
        let mut draft = Draft::default();
        let once = |row: &Opt<Draft>| row.scope == Scope::Program;
        self.apply(sections, section, options::PROGRAM, once, who, &mut draft);
        let numprocs = draft.numprocs.unwrap_or(1);
        let template = sections.entry(section, "process_name").map_or("%(program_name)s", |entry| &*entry.value);
        if let Err(why) = values::name(template) {
            self.error(sections, section, "process_name", why);
        }
        if numprocs > 1 && !template.contains("%(process_num)") {
            let why = "%(process_num) must be present within process_name when numprocs > 1; \
                       write process_name=%(program_name)s_%(process_num)02d";
            self.error(sections, section, "process_name", why.into());
        }
        let process = &mut draft.process;
        process.killasgroup = draft.killasgroup.unwrap_or(process.stopasgroup);
        if process.stopasgroup && !process.killasgroup {
            self.error(sections, section, "killasgroup", "Cannot set stopasgroup=true and killasgroup=false".into());
        }
        if listener {
            process.stdout.events_enabled = false;
        }
        if numprocs > NUMPROCS_MAX {
            self.error(sections, section, "numprocs", format!("{numprocs} processes are more than {NUMPROCS_MAX}"));
            return Vec::new();
        }
        let before = self.problems.len();
        let mut processes = Vec::new();
        for i in 0..numprocs.max(0) {
            let who = Who { process_num: draft.numprocs_start.saturating_add(i), numprocs, ..who };
            processes.push(Rc::new(self.process(sections, section, who, draft.clone())));
            let news = self.problems.get(before..).unwrap_or_default();
            if news.iter().any(|problem| problem.severity == Severity::Error) {
                break;
            }
        }
        processes
    }

    /// One process: what depends on its number, and on its own environment.
    fn process(&mut self, sections: &Sections, section: &Section, who: Who, mut draft: Draft) -> ProcessConfig {
        self.apply(sections, section, options::PROGRAM, |row| row.scope == Scope::Process, who, &mut draft);
        let own = std::mem::take(&mut draft.process.environment);
        let who = Who { own: &own, ..who };
        self.apply(sections, section, options::PROGRAM, |row| row.scope == Scope::Own, who, &mut draft);
        let title = &section.name;
        let process = &mut draft.process;
        for (channel, config) in [("stdout", &mut process.stdout), ("stderr", &mut process.stderr)] {
            let key = format!("{channel}_logfile");
            if draft.syslog_as_file.contains(&channel) {
                config.syslog = true;
                let why = format!(
                    "For [{title}], {key}=syslog but this is deprecated and will be removed.  Use {channel}_syslog=true to \
                     enable syslog instead."
                );
                self.warn(sections, section, &key, why);
            }
            if config.logfile == ChildLog::Auto && config.maxbytes == 0 {
                let why = format!(
                    "For [{title}], AUTO logging used for {key} without rollover, set maxbytes > 0 to avoid filling up \
                     filesystem unintentionally"
                );
                self.warn(sections, section, &key, why);
            }
        }
        if process.redirect_stderr {
            if matches!(process.stderr.logfile, ChildLog::File(_)) {
                let why = format!(
                    "For [{title}], redirect_stderr=true but stderr_logfile has also been set to a filename, the filename \
                     has been ignored"
                );
                self.warn(sections, section, "stderr_logfile", why);
            }
            process.stderr.logfile = ChildLog::None;
        }
        match draft.command {
            Some(command) => process.command = command,
            None if sections.entry(section, "command").is_some() => {}
            None => {
                let why = format!("program section {title} does not specify a command");
                self.error(sections, section, "command", why);
            }
        }
        process.name = draft.process_name.unwrap_or_else(|| who.program.into());
        process.environment = own;
        draft.process
    }

    /// The program whose exit code is to become ours must be one.
    fn exit_code_from(&mut self, sections: &Sections, config: &Config) {
        let ExitCodeFrom::Program(wanted) = &config.server.exit_code_from else { return };
        let mut processes = config.groups.iter().flat_map(|g| g.processes.iter().map(move |p| (&g.name, &p.name)));
        let found = processes.any(|(group, name)| wanted == name || *wanted == format!("{group}:{name}"));
        if let (false, Some(section)) = (found, sections.section("supervisord")) {
            let why = format!("no program is called {wanted}; write a program's name, first_failure or essential");
            self.error(sections, section, "exit_code_from", why);
        }
    }
}
