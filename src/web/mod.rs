//! The web page: the table of processes and the ends of their logs. Turns a request into a page, or into calls of [`crate::rpc`].
//!
//! Pages and actions are Supervisor's (supervisor-behaviour.md §11); the design is not. A button calls the same RPC methods as
//! other clients. The answer redirects the browser to the table, with a message in the URL.
#![forbid(unsafe_code)]

use crate::rpc::{self, Answer, Host};
use crate::supervision::process::State;
use crate::supervision::{FaultCode, ProcId, Process, Supervision, split_namespec};
use crate::sys::{clock, memory};
use crate::time::Wall;
use crate::wire::http::{HttpRequest, Response, form_fields, percent_encoded};
use crate::wire::xmlrpc::{self, Value};
use askama::Template;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The smallest `limit` of `tail.html`, which is also the default, in bytes; as in Supervisor.
const TAIL_BYTES: i64 = 1024;
/// The largest `limit`, in bytes.
const TAIL_MAX_BYTES: i64 = 1024 * 1024;

/// The most memory that the answer of a call and the values in it use for each byte of its document.
const PARSED_FACTOR: usize = 4;

/// More memory than a row of the table uses, in bytes.
const ROW_BYTES: usize = 1024;

/// Static files: path, type, content.
const FILES: [(&str, &str, &str); 3] = [
    ("/ok.html", "text/plain", "OK"),
    ("/stylesheets/supervisor.css", "text/css; charset=utf-8", include_str!("supervisor.css")),
    ("/live.js", "text/javascript; charset=utf-8", include_str!("live.js")),
];

/// Header fields of every page: it loads nothing from other sites, cannot be framed, and sends its URL to no other site.
const SECURITY_FIELDS: [(&str, &str); 3] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
];

/// A secret that our pages contain and a browser's POST must send back. No other site can read it.
#[derive(Debug)]
pub struct PageToken(String);

impl PageToken {
    /// 128 unpredictable bits: two SipHashes with keys from the kernel.
    pub fn random() -> Self {
        let half = || RandomState::new().build_hasher().finish();
        Self(format!("{:016x}{:016x}", half(), half()))
    }
}

/// How a request is answered.
#[derive(Debug)]
pub enum PageAnswer {
    /// With this response.
    Ready(Response),
    /// By making these calls (structs with methodName and params) as a multicall, and passing its answer to [`ResultPage::page`].
    Calls(Vec<Value>, ResultPage),
}

/// The page that shows the results of calls.
#[derive(Debug)]
pub enum ResultPage {
    /// `tail.html` for this process, with this limit.
    Tail(String, i64),
    /// The table, with a message about this action on this process.
    Done(PageAction, String),
}

/// The actions of the buttons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageAction {
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

/// One row for each action: its name, whether it is for one process, the methods that it calls.
#[rustfmt::skip]
const ACTIONS: [(&str, PageAction, bool, &[&str]); 7] = [
    ("refresh", PageAction::Refresh, false, &[]),
    ("restartall", PageAction::RestartAll, false, &["supervisor.stopAllProcesses", "supervisor.startAllProcesses"]),
    ("stopall", PageAction::StopAll, false, &["supervisor.stopAllProcesses"]),
    ("start", PageAction::Start, true, &["supervisor.startProcess"]),
    ("stop", PageAction::Stop, true, &["supervisor.stopProcess"]),
    ("restart", PageAction::Restart, true, &["supervisor.stopProcess", "supervisor.startProcess"]),
    ("clearlog", PageAction::ClearLog, true, &["supervisor.clearProcessLogs"]),
];

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct StatusPage<'a> {
    identifier: &'a str,
    message: &'a str,
    /// An action that needs a confirmation: query of the URL and text of the button. [`Self::message`] says so.
    confirmation: Option<(String, String)>,
    token: &'a str,
    rows: Vec<ProcessRow>,
    version: &'a str,
}

/// A process in the table.
struct ProcessRow {
    name: String,
    /// The name, encoded for a URL.
    link: String,
    class: &'static str,
    state: String,
    description: String,
    actions: Vec<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "tail.html", config = "src/web/askama.toml")]
struct TailPage<'a> {
    name: &'a str,
    link: &'a str,
    limit: i64,
    text: &'a str,
}

/// Answers a request for a page; `None`: there is no such page. `is_trusted`: the URL alone may carry out an action.
pub fn answer(request: &HttpRequest, host: &dyn Host, token: &PageToken, is_trusted: bool) -> Option<PageAnswer> {
    let path = request.path();
    if let Some((_, content_type, content)) = FILES.iter().find(|(file, ..)| *file == path) {
        return Some(PageAnswer::Ready(page(200, content_type, (*content).to_owned())));
    }
    let fields = fields(request);
    match path.as_str() {
        // HEAD must not carry out an action; Supervisor answers it with 404 too.
        "/" | "/index.html" if request.method != "HEAD" => Some(index(request, &fields, host, token, is_trusted)),
        "/tail.html" => Some(tail(&fields)),
        _ => None,
    }
}

/// The fields of the URL's query and of a form; of equal names the first.
fn fields(request: &HttpRequest) -> BTreeMap<String, String> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let form = if request.method == "POST" { String::from_utf8_lossy(&request.body) } else { "".into() };
    let mut fields = BTreeMap::new();
    for (name, value) in form_fields(query).chain(form_fields(&form)) {
        fields.entry(name).or_insert(value);
    }
    fields
}

fn index(
    request: &HttpRequest,
    fields: &BTreeMap<String, String>,
    host: &dyn Host,
    token: &PageToken,
    is_trusted: bool,
) -> PageAnswer {
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let (wanted, name) = (field("action"), field("processname"));
    if wanted.is_empty() {
        return PageAnswer::Ready(status(field("message"), None, host, token));
    }
    let row = ACTIONS.iter().find(|(action, _, is_for_one, _)| *action == wanted && !(*is_for_one && name.is_empty()));
    // Differs from Supervisor: an unknown action is 400, not 500.
    let Some(&(_, action, is_for_one, methods)) = row else {
        return PageAnswer::Ready(message_page(400, "no such action"));
    };
    let is_known = || {
        let (group, process) = split_namespec(name);
        process.is_some_and(|process| host.supervision().find(group, process).is_some())
    };
    if is_for_one && !is_known() {
        return PageAnswer::Ready(redirect(&format!("No such process named {name}")));
    }
    let name = if is_for_one { name } else { "" };
    // Browsers send one of these fields with a POST. A POST without them comes from another program, which has no token.
    let is_post = request.method == "POST";
    let by_browser = ["origin", "sec-fetch-site"].iter().any(|name| request.headers.first(name).is_some());
    let is_ours = is_post && field("token") == token.0;
    if !is_ours && (!is_trusted || is_post && by_browser) && !methods.is_empty() {
        // A link in a mail, an image on another site, a page of an earlier run of rsup: ask for a click on our own page.
        let confirmation =
            (format!("processname={}&action={wanted}", percent_encoded(name, "")), format!("{wanted} {name}"));
        let message = "Nothing has been done yet: this request may not come from this page. Click the button below to confirm it.";
        return PageAnswer::Ready(Response { status: 403, ..status(message, Some(confirmation), host, token) });
    }
    let params = || if is_for_one { vec![name.into()] } else { Vec::new() };
    let calls = methods.iter().map(|method| rpc::multicall_entry(method, params())).collect();
    PageAnswer::Calls(calls, ResultPage::Done(action, name.to_owned()))
}

fn tail(fields: &BTreeMap<String, String>) -> PageAnswer {
    let Some(name) = fields.get("processname") else {
        return PageAnswer::Ready(tail_page("", 0, "No process name found"));
    };
    let limit = fields.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(TAIL_BYTES);
    let limit = limit.clamp(TAIL_BYTES, TAIL_MAX_BYTES);
    let params = vec![name.as_str().into(), Value::Int(limit.saturating_neg()), Value::Int(0)];
    let call = rpc::multicall_entry("supervisor.readProcessStdoutLog", params);
    PageAnswer::Calls(vec![call], ResultPage::Tail(name.clone(), limit))
}

impl ResultPage {
    /// The page for the answer of the multicall, an XML document.
    pub fn page(&self, answer: &str, now: Wall) -> Response {
        if !memory::has_room(answer.len().saturating_mul(PARSED_FACTOR)) {
            return out_of_memory();
        }
        let answers = match xmlrpc::parse_response(answer.as_bytes()) {
            Ok(Ok(Value::Array(answers))) => answers,
            Ok(_) | Err(_) => Vec::new(),
        };
        let last = answers.last();
        let fault = last.and_then(|value| Some((value.member("faultCode")?.as_int()?, value.member("faultString")?)));
        let fault = fault.map(|(code, text)| (code, text.as_str().unwrap_or_default()));
        match self {
            ResultPage::Tail(name, limit) => match fault {
                Some((code, _)) if code == FaultCode::NoFile as i64 => {
                    tail_page(name, *limit, &format!("No file for {name}"))
                }
                Some((code, text)) => tail_page(name, *limit, &format!("ERROR: unexpected rpc fault [{code}] {text}")),
                None => tail_page(name, *limit, last.and_then(Value::as_str).unwrap_or_default()),
            },
            ResultPage::Done(action, name) => redirect(&message(*action, name, fault, now)),
        }
    }
}

/// Supervisor's message about a finished action (supervisor-behaviour.md §11).
fn message(action: PageAction, name: &str, fault: Option<(i64, &str)>, now: Wall) -> String {
    let done = match action {
        PageAction::Refresh => return format!("Page refreshed at {}", ctime(now)),
        PageAction::RestartAll => return format!("All restarted at {}", ctime(now)),
        PageAction::StopAll => return format!("All stopped at {}", ctime(now)),
        PageAction::Restart => return format!("Process {name} restarted"),
        PageAction::ClearLog => format!("Log for {name} cleared"),
        PageAction::Start => format!("Process {name} started"),
        PageAction::Stop => format!("Process {name} stopped"),
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
        Some((_, words)) if action == PageAction::Start => format!("ERROR: Process {name}: {words}"),
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

fn status(message: &str, confirmation: Option<(String, String)>, host: &dyn Host, token: &PageToken) -> Response {
    let now = host.now().wall.secs;
    let supervision = host.supervision();
    if !memory::has_room(supervision.all().count().saturating_mul(ROW_BYTES)) {
        return out_of_memory();
    }
    let rows = supervision.all().map(|(id, process)| row(supervision, id, process, now)).collect();
    let identifier = host.identifier();
    let template =
        StatusPage { identifier, message, confirmation, token: &token.0, rows, version: env!("CARGO_PKG_VERSION") };
    rendered(&template)
}

fn row(supervision: &Supervision, id: ProcId, process: &Process, now: i64) -> ProcessRow {
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
    let description = rpc::description(supervision, id, process, now);
    ProcessRow {
        link: percent_encoded(&name, ""),
        name,
        class,
        state: state.name().to_lowercase(),
        description,
        actions,
    }
}

fn tail_page(name: &str, limit: i64, text: &str) -> Response {
    rendered(&TailPage { name, link: &percent_encoded(name, ""), limit, text })
}

/// Renders a template.
fn rendered(template: &impl Template) -> Response {
    let mut text = Answer::default();
    match template.render_into(&mut text) {
        Ok(()) => page(200, "text/html; charset=utf-8", text.take()),
        Err(_) => out_of_memory(),
    }
}

fn out_of_memory() -> Response {
    message_page(503, "not enough memory for this page")
}

fn message_page(status: u16, text: &str) -> Response {
    page(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn page(status: u16, content_type: &'static str, body: String) -> Response {
    let fields = SECURITY_FIELDS.map(|(name, value)| (name, value.to_owned())).into();
    Response { status, content_type, fields, body: Some(body.into_bytes()) }
}

/// Redirects to the table. A relative URL is right behind any proxy, and after 303 the browser sends a GET.
// Differs from Supervisor: it answers 301, which browsers cache for ever, and builds the URL from the Host header.
fn redirect(message: &str) -> Response {
    let mut response = message_page(303, message);
    response.fields.push(("Location", format!("./?message={}", percent_encoded(message, ""))));
    response
}

#[cfg(test)]
mod tests;
