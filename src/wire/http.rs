//! HTTP/1.0 and 1.1 as both ends need it (RFC 9110 and 9112; census §7.2): heads by `httparse`, bodies by length,
//! in chunks, or until the connection closes.
//!
//! Parsing starts from the front of a buffer each time and keeps nothing: a longer buffer never changes what a shorter
//! one already decided, so it does not matter how the bytes were split on their way.
use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Longest accepted head (request or status line and header fields), in bytes.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Longest accepted request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Most header fields in one head.
pub const HEADERS_MAX: usize = 64;
/// Most chunks in one request body: a body is walked again with each arrival, so this bounds that work.
const CHUNKS_MAX: usize = 1024;
/// Longest line that gives a chunk's size, with its extensions, in bytes.
const CHUNK_LINE_MAX_BYTES: usize = 256;
/// What we call ourselves.
const SERVER: &str = concat!("rsup/", env!("CARGO_PKG_VERSION"));
/// Base64 as Python's clients write it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the front of a buffer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<T> {
    /// A whole message.
    Complete {
        /// The message.
        message: T,
        /// How many bytes of the buffer it took.
        consumed: usize,
    },
    /// More bytes are needed.
    Partial {
        /// The head is there, and the client sends the body only after [`CONTINUE`] (write it once a request).
        expects_continue: bool,
    },
    /// It can never become a message. Answer with [`BadMessage::status`] and [`Framing::LAST`], then close.
    Bad(BadMessage),
}

/// What makes the other side write its body after `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why bytes are not an acceptable message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadMessage {
    /// Not HTTP, or framed in two ways at once.
    Malformed,
    /// Over [`HEAD_MAX_BYTES`] or [`HEADERS_MAX`].
    HeadTooLarge,
    /// Over [`BODY_MAX_BYTES`], or in too many chunks.
    BodyTooLarge,
    /// POST without a length.
    LengthRequired,
    /// A transfer coding that is not `chunked`.
    UnknownCoding,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    UnknownVersion,
}

impl BadMessage {
    /// The status code to answer with.
    #[must_use]
    pub fn status(self) -> u16 {
        self.told().0
    }

    fn told(self) -> (u16, &'static str) {
        match self {
            Self::Malformed => (400, "malformed HTTP message"),
            Self::HeadTooLarge => (431, "HTTP head too large"),
            Self::BodyTooLarge => (413, "HTTP body too large"),
            Self::LengthRequired => (411, "HTTP body without a length"),
            Self::UnknownCoding => (501, "unknown HTTP transfer coding"),
            Self::UnknownVersion => (505, "unknown HTTP version"),
        }
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.told().1)
    }
}

/// Header fields in order, names as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a field; names match in any case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a comma separated field lists `token`.
    fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    fn copied(fields: &[httparse::Header<'_>]) -> Self {
        Self(fields.iter().map(|f| (f.name.to_owned(), String::from_utf8_lossy(f.value).into_owned())).collect())
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, … as written.
    pub method: String,
    /// Path and query as written.
    pub target: String,
    /// Header fields.
    pub headers: Headers,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// How the answer must be framed; keep it until then.
    pub framing: Framing,
}

impl Request {
    /// The path without its query, percent-decoded as a whole, as Supervisor does before it routes.
    #[must_use]
    pub fn path(&self) -> String {
        percent_decoded(self.target.split(['?', '#']).next().unwrap_or_default())
    }

    /// What follows `?`, as written.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default())
    }

    /// User and password of Basic authentication, split at the first colon.
    // Differs from Supervisor: what cannot be decoded counts as no credentials (401), not as HTTP 500.
    #[must_use]
    pub fn credentials(&self) -> Option<(String, String)> {
        let (scheme, cookie) = self.headers.first("authorization")?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(cookie.trim()).ok()?).ok()?;
        decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    /// Whether the request carries the wanted user and password (plain, or `{SHA}` and 40 lower-case hex digits).
    /// Takes the same time wherever the given ones differ.
    #[must_use]
    pub fn is_authorized(&self, (user, password): (&str, &str)) -> bool {
        let Some((given_user, given_password)) = self.credentials() else { return false };
        let password_matches = match password.strip_prefix("{SHA}") {
            Some(digest) => same(digest, &sha1_smol::Sha1::from(given_password.as_bytes()).digest().to_string()),
            None => same(password, &given_password),
        };
        same(user, &given_user) & password_matches
    }
}

/// Compares without stopping at the first difference.
fn same(wanted: &str, given: &str) -> bool {
    let difference = wanted.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    difference == 0 && wanted.len() == given.len()
}

/// `%41` → `A`; what is no valid escape stays, what is no UTF-8 is replaced.
#[must_use]
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|hex| first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let value = escape.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What of a request decides how its answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// HTTP/1.1, so chunks may be used.
    pub http11: bool,
    /// Another request may follow on this connection.
    pub keep_alive: bool,
    /// HEAD: the answer has no body.
    pub head_only: bool,
}

impl Framing {
    /// For the answer to something that was not a request.
    pub const LAST: Self = Self { http11: true, keep_alive: false, head_only: false };

    /// RFC 9112 §9.3; Supervisor reads a `Connection` field as one word, so lists are ours.
    fn of(minor: u8, headers: &Headers, head_only: bool) -> Self {
        let keep_alive =
            if minor == 0 { headers.lists("connection", "keep-alive") } else { !headers.lists("connection", "close") };
        Self { http11: minor > 0, keep_alive, head_only }
    }
}

/// Parses one request from the front of `buffer`, within the limits above.
#[must_use]
pub fn parse_request(buffer: &[u8]) -> Parsed<Request> {
    request(buffer).unwrap_or_else(Parsed::Bad)
}

fn request(buffer: &[u8]) -> Result<Parsed<Request>, BadMessage> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let front = buffer.get(..HEAD_MAX_BYTES).unwrap_or(buffer);
    let Some(head_bytes) = head_length(head.parse(front), front.len())? else {
        return Ok(Parsed::Partial { expects_continue: false });
    };
    let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    let headers = Headers::copied(head.headers);
    let framing = Framing::of(head.version.unwrap_or(1), &headers, method == "HEAD");
    let length = match body_length(&headers)? {
        BodyLength::Unsaid if method == "POST" => return Err(BadMessage::LengthRequired),
        BodyLength::Unsaid => BodyLength::Bytes(0),
        said => said,
    };
    let rest = buffer.get(head_bytes..).unwrap_or_default();
    let Some((body, body_bytes)) = body(rest, length, BODY_MAX_BYTES, CHUNKS_MAX)? else {
        let expects_continue = framing.http11 && rest.is_empty() && headers.lists("expect", "100-continue");
        return Ok(Parsed::Partial { expects_continue });
    };
    let request = Request {
        method: method.to_owned(),
        target: origin_form(target).to_owned(),
        body: body.into_owned(),
        headers,
        framing,
    };
    Ok(Parsed::Complete { message: request, consumed: head_bytes.saturating_add(body_bytes) })
}

/// `http://host/path` → `/path` (RFC 9112 §3.2.2).
fn origin_form(target: &str) -> &str {
    let Some((_, after)) = target.split_once("://").filter(|_| !target.starts_with('/')) else { return target };
    after.find('/').and_then(|at| after.get(at..)).unwrap_or("/")
}

fn head_length(parsed: httparse::Result<usize>, seen: usize) -> Result<Option<usize>, BadMessage> {
    match parsed {
        Ok(httparse::Status::Complete(length)) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if seen >= HEAD_MAX_BYTES => Err(BadMessage::HeadTooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(BadMessage::HeadTooLarge),
        Err(httparse::Error::Version) => Err(BadMessage::UnknownVersion),
        Err(_) => Err(BadMessage::Malformed),
    }
}

#[derive(Clone, Copy)]
enum BodyLength {
    Bytes(usize),
    Chunked,
    Unsaid,
}

/// RFC 9112 §6.3; both framings at once, or two lengths, are refused (request smuggling).
fn body_length(headers: &Headers) -> Result<BodyLength, BadMessage> {
    let mut lengths = headers.all("content-length");
    let mut codings = headers.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(BodyLength::Unsaid),
        (None, Some(coding)) if codings.next().is_none() && coding.trim().eq_ignore_ascii_case("chunked") => {
            Ok(BodyLength::Chunked)
        }
        (None, Some(_)) => Err(BadMessage::UnknownCoding),
        (Some(length), None) if lengths.all(|other| other == length) => {
            let digits = length.trim();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(BadMessage::Malformed);
            }
            digits.parse().map(BodyLength::Bytes).map_err(|_| BadMessage::BodyTooLarge)
        }
        (Some(_), _) => Err(BadMessage::Malformed),
    }
}

type Body<'a> = (Cow<'a, [u8]>, usize);

/// The body at the front of `rest` and the bytes that it takes with its framing; `None`: not all there yet.
fn body(rest: &[u8], length: BodyLength, bytes_max: usize, chunks_max: usize) -> Result<Option<Body<'_>>, BadMessage> {
    match length {
        BodyLength::Bytes(bytes) if bytes > bytes_max => Err(BadMessage::BodyTooLarge),
        BodyLength::Bytes(bytes) => Ok(rest.get(..bytes).map(|body| (body.into(), bytes))),
        BodyLength::Unsaid => Ok(Some((rest.into(), rest.len()))),
        BodyLength::Chunked => {
            // Once without copying, since most calls find the body unfinished.
            let Some(consumed) = walk_chunks(rest, bytes_max, chunks_max, |_| ())? else { return Ok(None) };
            let mut whole = Vec::new();
            walk_chunks(rest, bytes_max, chunks_max, |data| whole.extend_from_slice(data))?;
            Ok(Some((whole.into(), consumed)))
        }
    }
}

fn walk_chunks<'a>(
    buffer: &'a [u8],
    bytes_max: usize,
    chunks_max: usize,
    mut each: impl FnMut(&'a [u8]),
) -> Result<Option<usize>, BadMessage> {
    let (mut rest, mut total) = (buffer, 0_usize);
    for _ in 0..=chunks_max {
        let line = rest.get(..CHUNK_LINE_MAX_BYTES).unwrap_or(rest);
        let (start, size) = match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) if line.len() < CHUNK_LINE_MAX_BYTES => return Ok(None),
            _ => return Err(BadMessage::Malformed),
        };
        rest = rest.get(start..).unwrap_or_default();
        if size == 0 {
            return Ok(
                trailer_length(rest)?.and_then(|trailer| buffer.len().checked_sub(rest.len())?.checked_add(trailer))
            );
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        total = total.saturating_add(size);
        if total > bytes_max {
            return Err(BadMessage::BodyTooLarge);
        }
        let Some((data, after)) = rest.split_at_checked(size) else { return Ok(None) };
        rest = match after {
            [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(BadMessage::Malformed),
        };
        each(data);
    }
    Err(BadMessage::BodyTooLarge)
}

fn trailer_length(rest: &[u8]) -> Result<Option<usize>, BadMessage> {
    let front = rest.get(..HEAD_MAX_BYTES).unwrap_or(rest);
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let parsed = httparse::parse_headers(front, &mut fields);
    let length = parsed.map(|status| match status {
        httparse::Status::Complete((length, _)) => httparse::Status::Complete(length),
        httparse::Status::Partial => httparse::Status::Partial,
    });
    head_length(length, front.len())
}

/// An answer, but for how it is framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further header fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body; `None`: it follows through [`write_chunk`].
    pub body: Option<Vec<u8>>,
}

impl Response {
    /// 200 with an XML body.
    #[must_use]
    pub fn xml(body: String) -> Self {
        Self { status: 200, content_type: "text/xml", fields: Vec::new(), body: Some(body.into_bytes()) }
    }

    /// An error with Supervisor's small page (census §7.2); 401 asks for Basic authentication.
    #[must_use]
    pub fn error(status: u16) -> Self {
        let body = format!(
            "<head>\r\n<title>Error response</title>\r\n</head>\r\n<body>\r\n<h1>Error response</h1>\r\n\
             <p>Error code {status}.\r\n<p>Message: {}.\r\n</body>\r\n",
            reason(status)
        );
        let fields =
            if status == 401 { vec![("WWW-Authenticate", "Basic realm=\"default\"".to_owned())] } else { Vec::new() };
        Self { status, content_type: "text/html", fields, body: Some(body.into_bytes()) }
    }

    /// Appends the answer to `out`. Afterwards the connection is to be closed unless [`Framing::keep_alive`]
    /// (or, where the body follows, as [`Response::closes`] says).
    pub fn write(&self, framing: Framing, date: &str, out: &mut Vec<u8>) {
        let version = u8::from(framing.http11);
        let mut head = format!("HTTP/1.{version} {} {}\r\n", self.status, reason(self.status));
        let mut field = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        match &self.body {
            Some(body) => field("Content-Length", &body.len().to_string()),
            None if framing.http11 => field("Transfer-Encoding", "chunked"),
            None => {}
        }
        if self.closes(framing) {
            field("Connection", "close");
        } else if !framing.http11 {
            field("Connection", "Keep-Alive");
        }
        field("Content-Type", self.content_type);
        for (name, value) in &self.fields {
            field(name, value);
        }
        field("Date", date);
        field("Server", SERVER);
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if let Some(body) = self.body.as_ref().filter(|_| !framing.head_only) {
            out.extend_from_slice(body);
        }
    }

    /// Whether the connection ends with this answer.
    #[must_use]
    pub fn closes(&self, framing: Framing) -> bool {
        !framing.keep_alive || self.status == 401 || (self.body.is_none() && !framing.http11)
    }
}

/// Appends a piece of a body that follows its head; an empty piece ends the body.
pub fn write_chunk(framing: Framing, data: &[u8], out: &mut Vec<u8>) {
    if !framing.http11 {
        out.extend_from_slice(data);
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The words for a status code, as Supervisor says them.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Request Entity Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version not supported",
        _ => "Unknown",
    }
}

/// The `Date` field for a time in seconds since 1970 (RFC 9110 §5.6.7), e.g. `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http_date(unix_secs: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    #[rustfmt::skip]
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31), ("Feb", 28), ("Mar", 31), ("Apr", 30), ("May", 31), ("Jun", 30),
        ("Jul", 31), ("Aug", 31), ("Sep", 30), ("Oct", 31), ("Nov", 30), ("Dec", 31),
    ];
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    let secs = unix_secs.min(LAST_SECOND_OF_9999);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut days, mut year, mut name) = (secs / 86_400, 1970_u64, "");
    let weekday = usize::try_from(days % 7).ok().and_then(|day| DAYS.get(day)).unwrap_or(&"");
    while let Some(rest) = days.checked_sub(if is_leap(year) { 366 } else { 365 }) {
        (days, year) = (rest, year.saturating_add(1));
    }
    for (month, length) in MONTHS {
        name = month;
        match days.checked_sub(if month == "Feb" && is_leap(year) { 29 } else { length }) {
            Some(rest) => days = rest,
            None => break,
        }
    }
    let (day, hour, minute, second) = (days.saturating_add(1), secs / 3600 % 24, secs / 60 % 60, secs % 60);
    format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// A whole answer, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// The words after the code.
    pub reason: String,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The connection may be used again.
    pub keep_alive: bool,
}

/// A POST of XML, on a connection that is kept; `credentials`: user and password.
#[must_use]
pub fn post_request(target: &str, host: &str, credentials: Option<(&str, &str)>, xml: &str) -> Vec<u8> {
    let authorization = credentials.map_or_else(String::new, |(user, password)| {
        format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}")))
    });
    format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {SERVER}\r\nAccept: text/xml\r\n\
         Content-Type: text/xml\r\n{authorization}Content-Length: {}\r\n\r\n{xml}",
        xml.len()
    )
    .into_bytes()
}

/// Parses one answer from the front of `buffer`; `at_end`: the connection has been closed, so no more will come.
/// Still partial at the end means that it was cut short.
#[must_use]
pub fn parse_reply(buffer: &[u8], at_end: bool) -> Parsed<Reply> {
    reply(buffer, at_end).unwrap_or_else(Parsed::Bad)
}

fn reply(buffer: &[u8], at_end: bool) -> Result<Parsed<Reply>, BadMessage> {
    let partial = Ok(Parsed::Partial { expects_continue: false });
    let mut head_bytes = 0_usize;
    let (status, reason, minor, headers) = loop {
        let rest = buffer.get(head_bytes..).unwrap_or_default();
        let front = rest.get(..HEAD_MAX_BYTES).unwrap_or(rest);
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let Some(bytes) = head_length(head.parse(front), front.len())? else { return partial };
        head_bytes = head_bytes.saturating_add(bytes);
        let status = head.code.unwrap_or_default();
        let is_interim = (100..200).contains(&status);
        if !is_interim {
            break (status, head.reason.unwrap_or_default(), head.version.unwrap_or(1), Headers::copied(head.headers));
        }
    };
    let rest = buffer.get(head_bytes..).unwrap_or_default();
    let length = match body_length(&headers)? {
        _ if matches!(status, 204 | 304) => BodyLength::Bytes(0),
        BodyLength::Unsaid if !at_end => return partial,
        length => length,
    };
    let Some((body, body_bytes)) = body(rest, length, usize::MAX, usize::MAX)? else { return partial };
    let until_close = matches!(length, BodyLength::Unsaid);
    let keep_alive = !until_close && Framing::of(minor, &headers, false).keep_alive;
    let message = Reply { status, reason: reason.to_owned(), body: body.into_owned(), keep_alive };
    Ok(Parsed::Complete { message, consumed: head_bytes.saturating_add(body_bytes) })
}

#[cfg(test)]
mod tests;
