//! The web page: the table of programs and the end of their logs, from a request to a page or to calls of [`crate::rpc`].
//!
//! Pages and actions are Supervisor's (census §11), their looks are not. What a button asks for is done by the methods that
//! every client calls; the answer sends the browser back to the table, with a message in its address.
#![forbid(unsafe_code)]

use crate::rpc::{self, Host};
use crate::supervision::process::State;
use crate::supervision::{FaultCode, Process, split_namespec};
use crate::sys::clock;
use crate::time::Wall;
use crate::wire::http::{Request, Response, form_fields, percent_encoded};
use crate::wire::xmlrpc::{self, Value};
use askama::Template;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The least that `tail.html` shows, and what it shows if it is not told how much, in bytes (Supervisor's number).
const TAIL_BYTES: i64 = 1024;
/// The most, in bytes.
const TAIL_MAX_BYTES: i64 = 1024 * 1024;

/// What never changes: path, type, content.
const FILES: [(&str, &str, &str); 3] = [
    ("/ok.html", "text/plain", "OK"),
    ("/stylesheets/supervisor.css", "text/css; charset=utf-8", include_str!("supervisor.css")),
    ("/live.js", "text/javascript; charset=utf-8", include_str!("live.js")),
];

/// Nothing but ours is loaded, nobody may frame the page, and what it sends says where it comes from only to ourselves.
const PROTECTION: [(&str, &str); 3] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
];

/// What a page of ours carries, and a browser's POST must bring back: no other site can read it.
#[derive(Debug)]
pub struct Token(String);

impl Token {
    /// 128 bits that nobody can guess: two SipHashes with keys that the kernel gave.
    #[must_use]
    pub fn random() -> Self {
        let half = || RandomState::new().build_hasher().finish();
        Self(format!("{:016x}{:016x}", half(), half()))
    }
}

/// How a request is answered.
#[derive(Debug)]
pub enum Answer {
    /// With this.
    Ready(Response),
    /// By these calls (structs with methodName and params), as a multicall, and what [`Outcome::page`] makes of its answer.
    Calls(Vec<Value>, Outcome),
}

/// What is to be said when the calls are over.
#[derive(Debug)]
pub enum Outcome {
    /// `tail.html` of this process, with this limit.
    Tail(String, i64),
    /// The table again, with a message about this action on this process.
    Done(Action, String),
}

/// What the buttons ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Refresh,
    /// Stop all, start all.
    RestartAll,
    /// Stop all.
    StopAll,
    /// Start one.
    Start,
    /// Stop one.
    Stop,
    /// Stop one if it runs, start it.
    Restart,
    /// Empty both logs of one.
    ClearLog,
}

/// One row an action: its name, what it is, whether it is about one process, the methods it calls.
#[rustfmt::skip]
const ACTIONS: [(&str, Action, bool, &[&str]); 7] = [
    ("refresh", Action::Refresh, false, &[]),
    ("restartall", Action::RestartAll, false, &["supervisor.stopAllProcesses", "supervisor.startAllProcesses"]),
    ("stopall", Action::StopAll, false, &["supervisor.stopAllProcesses"]),
    ("start", Action::Start, true, &["supervisor.startProcess"]),
    ("stop", Action::Stop, true, &["supervisor.stopProcess"]),
    ("restart", Action::Restart, true, &["supervisor.stopProcess", "supervisor.startProcess"]),
    ("clearlog", Action::ClearLog, true, &["supervisor.clearProcessLogs"]),
];

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct Status<'a> {
    identifier: &'a str,
    message: &'a str,
    /// What is done only after a click, as [`Self::message`] says: the address's query, and the button's words.
    asked: Option<(String, String)>,
    token: &'a str,
    rows: Vec<Row>,
    version: &'a str,
}

/// A process in the table.
struct Row {
    name: String,
    /// The name for an address.
    link: String,
    class: &'static str,
    state: String,
    description: String,
    actions: Vec<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "tail.html", config = "src/web/askama.toml")]
struct Tail<'a> {
    name: &'a str,
    link: &'a str,
    limit: i64,
    text: &'a str,
}

/// Answers a request for a page; `None`: there is no such page. `is_vouched_for`: its address alone may ask for an action.
#[must_use]
pub fn answer(request: &Request, host: &dyn Host, token: &Token, is_vouched_for: bool) -> Option<Answer> {
    let path = request.path();
    if let Some((_, content_type, content)) = FILES.iter().find(|(file, ..)| *file == path) {
        return Some(Answer::Ready(page(200, content_type, (*content).to_owned())));
    }
    let fields = fields(request);
    match path.as_str() {
        // HEAD asks for nothing to be done; Supervisor answers it with 404 too.
        "/" | "/index.html" if request.method != "HEAD" => Some(index(request, &fields, host, token, is_vouched_for)),
        "/tail.html" => Some(tail(&fields)),
        _ => None,
    }
}

/// The fields of the address and of a form, the first of each name.
fn fields(request: &Request) -> BTreeMap<String, String> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let form = if request.method == "POST" { String::from_utf8_lossy(&request.body) } else { "".into() };
    let mut fields = BTreeMap::new();
    for (name, value) in form_fields(query).chain(form_fields(&form)) {
        fields.entry(name).or_insert(value);
    }
    fields
}

fn index(
    request: &Request,
    fields: &BTreeMap<String, String>,
    host: &dyn Host,
    token: &Token,
    is_vouched_for: bool,
) -> Answer {
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let (wanted, name) = (field("action"), field("processname"));
    if wanted.is_empty() {
        return Answer::Ready(status(field("message"), None, host, token));
    }
    let row = ACTIONS.iter().find(|(action, _, is_of_one, _)| *action == wanted && !(*is_of_one && name.is_empty()));
    // Differs from Supervisor: what cannot be done is the client's mistake (400), not ours (500).
    let Some(&(_, action, is_of_one, methods)) = row else {
        return Answer::Ready(message_page(400, "No such action."));
    };
    let is_known = || {
        let (group, process) = split_namespec(name);
        process.is_some_and(|process| host.supervision().find(group, process).is_some())
    };
    if is_of_one && !is_known() {
        return Answer::Ready(back(&format!("No such process named {name}")));
    }
    let name = if is_of_one { name } else { "" };
    // A browser says where a POST comes from; who says nothing of the kind is no browser, and sends no token.
    let is_post = request.method == "POST";
    let by_browser = ["origin", "sec-fetch-site"].iter().any(|name| request.headers.first(name).is_some());
    let is_ours = is_post && field("token") == token.0;
    if !is_ours && (!is_vouched_for || is_post && by_browser) && !methods.is_empty() {
        // A link in a mail, another site's picture, a page of an earlier run: one click on our own page does it.
        let asked = (format!("processname={}&action={wanted}", percent_encoded(name, "")), format!("{wanted} {name}"));
        let said = "Nothing was done yet: what asked for this may not have come from this page.";
        return Answer::Ready(Response { status: 403, ..status(said, Some(asked), host, token) });
    }
    let params = || if is_of_one { vec![name.into()] } else { Vec::new() };
    let calls = methods.iter().map(|method| rpc::described_call(method, params())).collect();
    Answer::Calls(calls, Outcome::Done(action, name.to_owned()))
}

fn tail(fields: &BTreeMap<String, String>) -> Answer {
    let Some(name) = fields.get("processname") else {
        return Answer::Ready(tail_page("", 0, "No process name found"));
    };
    let limit = fields.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(TAIL_BYTES);
    let limit = limit.clamp(TAIL_BYTES, TAIL_MAX_BYTES);
    let params = vec![name.as_str().into(), Value::Int(limit.saturating_neg()), Value::Int(0)];
    let call = rpc::described_call("supervisor.readProcessStdoutLog", params);
    Answer::Calls(vec![call], Outcome::Tail(name.clone(), limit))
}

impl Outcome {
    /// The page for what the multicall answered, an XML document.
    #[must_use]
    pub fn page(&self, answer: &str, now: Wall) -> Response {
        let answers = match xmlrpc::parse_response(answer.as_bytes()) {
            Ok(Ok(Value::Array(answers))) => answers,
            Ok(_) | Err(_) => Vec::new(),
        };
        let last = answers.last();
        let fault = last.and_then(|value| Some((value.member("faultCode")?.as_int()?, value.member("faultString")?)));
        let fault = fault.map(|(code, text)| (code, text.as_str().unwrap_or_default()));
        match self {
            Outcome::Tail(name, limit) => match fault {
                Some((code, _)) if code == FaultCode::NoFile as i64 => {
                    tail_page(name, *limit, &format!("No file for {name}"))
                }
                Some((code, text)) => tail_page(name, *limit, &format!("ERROR: unexpected rpc fault [{code}] {text}")),
                None => tail_page(name, *limit, last.and_then(Value::as_str).unwrap_or_default()),
            },
            Outcome::Done(action, name) => back(&message(*action, name, fault, now)),
        }
    }
}

/// What Supervisor says of an action that is over (census §11).
fn message(action: Action, name: &str, fault: Option<(i64, &str)>, now: Wall) -> String {
    let done = match action {
        Action::Refresh => return format!("Page refreshed at {}", ctime(now)),
        Action::RestartAll => return format!("All restarted at {}", ctime(now)),
        Action::StopAll => return format!("All stopped at {}", ctime(now)),
        Action::Restart => return format!("Process {name} restarted"),
        Action::ClearLog => format!("Log for {name} cleared"),
        Action::Start => format!("Process {name} started"),
        Action::Stop => format!("Process {name} stopped"),
    };
    let Some((code, text)) = fault else { return done };
    let known = [
        (FaultCode::NoFile, "no such file"),
        (FaultCode::NotExecutable, "file not executable"),
        (FaultCode::AlreadyStarted, "already started"),
        (FaultCode::SpawnError, "spawn error"),
        (FaultCode::AbnormalTermination, "abnormal termination"),
    ];
    match known.iter().find(|(known, _)| *known as i64 == code) {
        Some((_, words)) if action == Action::Start => format!("ERROR: Process {name}: {words}"),
        _ => format!("unexpected rpc fault [{code}] {text}"),
    }
}

/// `Sat Nov 21 13:50:35 2026`, in local time, as ctime(3) writes it.
fn ctime(at: Wall) -> String {
    let local = clock::local(at);
    let (day, month) = (local.weekday_name(), local.month_name());
    let clock::Local { year, day: of_month, hour, minute, second, .. } = local;
    format!("{day} {month} {of_month:2} {hour:02}:{minute:02}:{second:02} {year}")
}

fn status(message: &str, asked: Option<(String, String)>, host: &dyn Host, token: &Token) -> Response {
    let now = host.now().wall.secs;
    let rows = host.supervision().all().map(|(_, process)| row(process, now)).collect();
    let identifier = host.identifier();
    let template = Status { identifier, message, asked, token: &token.0, rows, version: env!("CARGO_PKG_VERSION") };
    rendered(&template)
}

fn row(process: &Process, now: i64) -> Row {
    let (state, name) = (process.state(), process.namespec());
    let mut actions = match state {
        State::Running => vec![("restart", "Restart"), ("stop", "Stop")],
        State::Stopped | State::Exited | State::Fatal => vec![("start", "Start")],
        State::Starting | State::Backoff | State::Stopping | State::Unknown => Vec::new(),
    };
    actions.push(("clearlog", "Clear Log"));
    let class = match state {
        State::Running => "running",
        State::Fatal | State::Backoff => "error",
        _ => "nominal",
    };
    let description = rpc::description(process, now);
    Row { link: percent_encoded(&name, ""), name, class, state: state.name().to_lowercase(), description, actions }
}

fn tail_page(name: &str, limit: i64, text: &str) -> Response {
    rendered(&Tail { name, link: &percent_encoded(name, ""), limit, text })
}

/// Rendering fails only without memory, as writing to a string does.
fn rendered(template: &impl Template) -> Response {
    page(200, "text/html; charset=utf-8", template.render().unwrap_or_default())
}

fn message_page(status: u16, text: &str) -> Response {
    page(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn page(status: u16, content_type: &'static str, body: String) -> Response {
    let fields = PROTECTION.map(|(name, value)| (name, value.to_owned())).into();
    Response { status, content_type, fields, body: Some(body.into_bytes()) }
}

/// Back to the table. A relative address is right behind any proxy, and 303 makes a GET of a POST.
// Differs from Supervisor: it answers 301, which browsers keep for ever, to an address that it makes of the Host header.
fn back(message: &str) -> Response {
    let mut response = message_page(303, message);
    response.fields.push(("Location", format!("./?message={}", percent_encoded(message, ""))));
    response
}

#[cfg(test)]
mod tests;
