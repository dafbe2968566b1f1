//! HTTP/1.0 and 1.1 for client and server (RFC 9110, RFC 9112; supervisor-behaviour.md §7.2). `httparse` parses heads; bodies have
//! a length, come in chunks, or end with the connection.
//!
//! Parsing keeps no state: each call starts at the front of the buffer. More bytes never change a result that fewer bytes gave, so
//! it does not matter how the network splits them.
use std::fmt;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use crate::text;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Longest accepted head (request or status line and header fields), in bytes.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Longest accepted request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Largest number of header fields in one head.
pub const HEADERS_MAX: usize = 64;
/// Largest number of chunks in one request body. Each call parses the body again, so this limits the work.
const CHUNKS_MAX: usize = 1024;
/// Longest line with a chunk's size and extensions, in bytes.
const CHUNK_LINE_MAX_BYTES: usize = 256;
/// The value of `Server` and `User-Agent`.
const SERVER: &str = concat!("rsup/", env!("CARGO_PKG_VERSION"));
/// Base64 with or without padding, as clients in Python write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How much of a request the front of a buffer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedRequest {
    /// All of it.
    Complete {
        /// The request.
        request: HttpRequest,
        /// Its length in the buffer, in bytes.
        consumed: usize,
    },
    /// More bytes are needed.
    Partial {
        /// The request without its body, once the head is complete: it can be refused before its body arrives.
        head: Option<HttpRequest>,
        /// The client waits for [`CONTINUE`] before it sends the body. Write that once for each request.
        expects_continue: bool,
    },
}

/// The answer to `Expect: 100-continue`, after which the client sends its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a message is refused, whatever bytes follow: answer with [`BadMessage::status`] and [`AnswerFraming::LAST`], then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadMessage {
    /// Not HTTP, or with contradictory lengths.
    Malformed,
    /// Over [`HEAD_MAX_BYTES`] or [`HEADERS_MAX`].
    HeadTooLarge,
    /// Over [`BODY_MAX_BYTES`], or in too many chunks.
    BodyTooLarge,
    /// A POST without a length.
    LengthRequired,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    UnknownVersion,
}

impl BadMessage {
    /// The status code to answer with.
    pub fn status(self) -> u16 {
        self.status_and_text().0
    }

    fn status_and_text(self) -> (u16, &'static str) {
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
        f.write_str(self.status_and_text().1)
    }
}

/// Header fields in order, with names as received. They are kept as `name:value` lines in one string, since most are never read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(String);

impl Headers {
    /// The first value of a field; the case of names is ignored.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a field.
    pub fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> {
        let fields = self.0.lines().filter_map(|line| line.split_once(':'));
        fields.filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether a field with comma-separated values contains `token`.
    fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    fn copied(fields: &[httparse::Header<'_>]) -> Self {
        let mut lines = String::with_capacity(
            fields.iter().map(|f| f.name.len().saturating_add(f.value.len()).saturating_add(2)).sum(),
        );
        for field in fields {
            // Names and values contain no line ends: httparse refuses them.
            for part in [field.name, ":", &String::from_utf8_lossy(field.value), "\n"] {
                lines.push_str(part);
            }
        }
        Self(lines)
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, …, as received.
    pub method: String,
    /// Path and query, as received.
    pub target: String,
    /// Header fields.
    pub headers: Headers,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// How the answer must be framed.
    pub framing: AnswerFraming,
}

impl HttpRequest {
    /// The path without its query, percent-decoded as a whole, as Supervisor does before it routes.
    pub fn path(&self) -> String {
        percent_decoded(self.target.split(['?', '#']).next().unwrap_or_default())
    }

    /// User and password of Basic authentication, split at the first colon.
    // Differs from Supervisor: a field that cannot be decoded counts as no credentials (401), not as HTTP 500.
    pub fn credentials(&self) -> Option<(String, String)> {
        let (scheme, cookie) = self.headers.first("authorization")?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = text::decode(&BASE64.decode(cookie.trim()).ok()?);
        decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    /// Whether the request has this user and password; `password` is plain, or `{SHA}` and 40 lower-case hex digits.
    /// The time that this takes does not depend on where they differ.
    pub fn is_authorized(&self, (user, password): (&str, &str)) -> bool {
        let Some((given_user, given_password)) = self.credentials() else { return false };
        let password_matches = match password.strip_prefix("{SHA}") {
            Some(digest) => same(digest, &sha1_smol::Sha1::from(text::encode(&given_password)).digest().to_string()),
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

/// `%41` → `A`. Invalid escapes are kept; bytes that are not UTF-8 are replaced.
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

/// Encodes every byte as `%XX`, except unreserved characters (RFC 3986 §2.3) and those in `kept`.
pub fn percent_encoded(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The fields of a query or of a form (application/x-www-form-urlencoded).
pub fn form_fields(text: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |part: &str| percent_decoded(&part.replace('+', " "));
    text.split('&').filter_map(move |field| {
        let (name, value) = field.split_once('=')?;
        Some((decoded(name), decoded(value)))
    })
}

/// The properties of a request that determine how its answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerFraming {
    /// HTTP/1.1, which allows chunks.
    pub http11: bool,
    /// Another request may follow on this connection.
    pub keep_alive: bool,
    /// HEAD: the answer has no body.
    pub head_only: bool,
}

impl AnswerFraming {
    /// For the answer to a message that is not a valid request.
    pub const LAST: Self = Self { http11: true, keep_alive: false, head_only: false };

    /// RFC 9112 §9.3. Supervisor reads a `Connection` field as one word; rsup also accepts lists.
    fn of(minor: Option<u8>, headers: &Headers, head_only: bool) -> Self {
        let http11 = minor != Some(0);
        let keep_alive =
            if http11 { !headers.lists("connection", "close") } else { headers.lists("connection", "keep-alive") };
        Self { http11, keep_alive, head_only }
    }
}

/// Parses one request from the front of `buffer`, within the limits above.
pub fn parse_request(buffer: &[u8]) -> Result<ParsedRequest, BadMessage> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let Some(head_bytes) = parse_head(buffer, |front| head.parse(front))? else {
        return Ok(ParsedRequest::Partial { head: None, expects_continue: false });
    };
    let method = head.method.unwrap_or_default();
    let headers = Headers::copied(head.headers);
    let framing = AnswerFraming::of(head.version, &headers, method == "HEAD");
    let length = match body_length(&headers)? {
        BodyLength::Unstated if method == "POST" => return Err(BadMessage::LengthRequired),
        BodyLength::Unstated => BodyLength::Bytes(0),
        stated => stated,
    };
    let rest = buffer.get(head_bytes..).unwrap_or_default();
    let (method, target) = (method.to_owned(), origin_form(head.path.unwrap_or_default()).to_owned());
    let request = HttpRequest { method, target, headers, body: Vec::new(), framing };
    let Some((body, body_bytes)) = parse_body(rest, length, BODY_MAX_BYTES, CHUNKS_MAX)? else {
        let expects_continue = framing.http11 && rest.is_empty() && request.headers.lists("expect", "100-continue");
        return Ok(ParsedRequest::Partial { head: Some(request), expects_continue });
    };
    let consumed = head_bytes.saturating_add(body_bytes);
    Ok(ParsedRequest::Complete { request: HttpRequest { body, ..request }, consumed })
}

/// `http://host/path` → `/path` (RFC 9112 §3.2.2).
fn origin_form(target: &str) -> &str {
    let Some((_, after)) = target.split_once("://").filter(|_| !target.starts_with('/')) else { return target };
    after.find('/').and_then(|at| after.get(at..)).unwrap_or("/")
}

/// Passes the front of `buffer` to one of `httparse`'s parsers; `None`: the head, or trailer, is not complete yet.
fn parse_head<'b, T>(
    buffer: &'b [u8],
    parse: impl FnOnce(&'b [u8]) -> httparse::Result<T>,
) -> Result<Option<T>, BadMessage> {
    match parse(buffer.get(..HEAD_MAX_BYTES).unwrap_or(buffer)) {
        Ok(httparse::Status::Complete(parsed)) => Ok(Some(parsed)),
        Ok(httparse::Status::Partial) if buffer.len() >= HEAD_MAX_BYTES => Err(BadMessage::HeadTooLarge),
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
    Unstated,
}

/// RFC 9112 §6.3. A length together with chunks, or two different lengths, are refused (request smuggling).
fn body_length(headers: &Headers) -> Result<BodyLength, BadMessage> {
    let mut lengths = headers.all("content-length");
    let mut codings = headers.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(BodyLength::Unstated),
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

/// The body at the front of `rest`, and its length with its framing, in bytes; `None`: not complete yet.
fn parse_body(
    rest: &[u8],
    length: BodyLength,
    bytes_max: usize,
    chunks_max: usize,
) -> Result<Option<(Vec<u8>, usize)>, BadMessage> {
    match length {
        BodyLength::Bytes(bytes) if bytes > bytes_max => Err(BadMessage::BodyTooLarge),
        BodyLength::Bytes(bytes) => Ok(rest.get(..bytes).map(|body| (body.to_vec(), bytes))),
        BodyLength::Unstated => Ok(Some((rest.to_vec(), rest.len()))),
        BodyLength::Chunked => parse_chunks(rest, bytes_max, chunks_max),
    }
}

fn parse_chunks(buffer: &[u8], bytes_max: usize, chunks_max: usize) -> Result<Option<(Vec<u8>, usize)>, BadMessage> {
    // The chunks are copied only when the body is complete, since most calls find it incomplete.
    let (mut rest, mut chunks, mut bytes_left) = (buffer, Vec::new(), bytes_max);
    while chunks.len() <= chunks_max {
        let line = rest.get(..CHUNK_LINE_MAX_BYTES).unwrap_or(rest);
        let (start, size) = match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) if line.len() < CHUNK_LINE_MAX_BYTES => return Ok(None),
            _ => return Err(BadMessage::Malformed),
        };
        rest = rest.get(start..).unwrap_or_default();
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let trailer = parse_head(rest, |front| httparse::parse_headers(front, &mut fields))?;
            let before = buffer.len().saturating_sub(rest.len());
            return Ok(trailer.map(|(length, _)| (chunks.concat(), before.saturating_add(length))));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        bytes_left = bytes_left.checked_sub(size).ok_or(BadMessage::BodyTooLarge)?;
        let Some((chunk, after)) = rest.split_at_checked(size) else { return Ok(None) };
        chunks.push(chunk);
        rest = match after {
            [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(BadMessage::Malformed),
        };
    }
    Err(BadMessage::BodyTooLarge)
}

/// An answer, without its framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further header fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body; `None`: it is written later with [`write_chunk`].
    pub body: Option<Vec<u8>>,
}

impl Response {
    /// 200 with an XML body.
    pub fn xml(body: String) -> Self {
        Self { status: 200, content_type: "text/xml", fields: Vec::new(), body: Some(body.into_bytes()) }
    }

    /// Plain text.
    pub fn text(status: u16, text: &str) -> Self {
        let body = Some(format!("{text}\n").into_bytes());
        Self { status, content_type: "text/plain;charset=utf-8", fields: Vec::new(), body }
    }

    /// An error with Supervisor's short page (supervisor-behaviour.md §7.2); 401 asks for Basic authentication.
    pub fn error(status: u16) -> Self {
        let body = format!(
            "<head>\r\n<title>Error response</title>\r\n</head>\r\n<body>\r\n<h1>Error response</h1>\r\n\
             <p>Error code {status}.\r\n<p>Message: {}.\r\n</body>\r\n",
            reason(status)
        );
        let challenge = (status == 401).then(|| ("WWW-Authenticate", "Basic realm=\"default\"".to_owned()));
        Self { status, content_type: "text/html", fields: Vec::from_iter(challenge), body: Some(body.into_bytes()) }
    }

    /// Appends everything before the body. If [`Response::closes`], the connection must be closed after the body.
    pub fn write_head(&self, framing: AnswerFraming, date: &str, out: &mut Vec<u8>) {
        let mut head = format!("HTTP/1.{} {} {}\r\n", u8::from(framing.http11), self.status, reason(self.status));
        let mut field = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
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
        // A log or an error may contain HTML; a browser must not interpret it.
        field("X-Content-Type-Options", "nosniff");
        self.fields.iter().for_each(|(name, value)| field(name, value));
        field("Date", date);
        field("Server", SERVER);
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
    }

    /// Whether the connection must be closed after this answer.
    pub fn closes(&self, framing: AnswerFraming) -> bool {
        !framing.keep_alive || self.status == 401 || (self.body.is_none() && !framing.http11)
    }
}

/// Appends a piece of a body without a known length; an empty piece ends the body.
pub fn write_chunk(framing: AnswerFraming, data: &[u8], out: &mut Vec<u8>) {
    if framing.http11 {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    }
    out.extend_from_slice(data);
    if framing.http11 {
        out.extend_from_slice(b"\r\n");
    }
}

/// Supervisor's reason phrase for a status code.
fn reason(status: u16) -> &'static str {
    #[rustfmt::skip]
    const REASONS: &[(u16, &str)] = &[
        (200, "OK"), (301, "Moved Permanently"), (302, "Moved Temporarily"), (303, "See Other"), (304, "Not Modified"),
        (400, "Bad Request"), (401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (405, "Method Not Allowed"),
        (411, "Length Required"), (413, "Request Entity Too Large"), (431, "Request Header Fields Too Large"),
        (500, "Internal Server Error"), (501, "Not Implemented"), (503, "Service Unavailable"),
        (505, "HTTP Version not supported"),
    ];
    REASONS.iter().find(|(code, _)| *code == status).map_or("Unknown", |(_, words)| words)
}

/// A date in HTTP's format (RFC 9110 §5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`. `unix_secs`: seconds since 1970, limited to
/// the year 9999.
pub fn http_date(unix_secs: u64) -> String {
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    let since_1970 = Duration::from_secs(unix_secs.min(LAST_SECOND_OF_9999));
    UNIX_EPOCH.checked_add(since_1970).map(httpdate::fmt_http_date).unwrap_or_default()
}

/// A complete answer that the client has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedResponse {
    /// Status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The connection may be used for another request.
    pub keep_alive: bool,
}

/// The header field that authenticates a client.
pub fn authorization(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(text::encode(&format!("{user}:{password}"))))
}

/// A request with these further header `fields`, such as [`authorization`], and a body of XML if it is not empty.
pub fn request(method: &str, target: &str, host: &str, fields: &str, xml: &str) -> Vec<u8> {
    let body = match xml.len() {
        0 => String::new(),
        bytes => format!("Accept: text/xml\r\nContent-Type: text/xml\r\nContent-Length: {bytes}\r\n"),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {SERVER}\r\n{fields}{body}\r\n{xml}")
        .into_bytes()
}

/// Parses one answer from the front of `buffer`, and returns it with its length in bytes; `None`: it is not complete. `at_end`: the
/// server has closed the connection, so an incomplete answer stays incomplete.
pub fn parse_reply(buffer: &[u8], at_end: bool) -> Result<Option<(ReceivedResponse, usize)>, BadMessage> {
    let mut rest = buffer;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let Some(head_bytes) = parse_head(rest, |front| head.parse(front))? else { return Ok(None) };
        rest = rest.get(head_bytes..).unwrap_or_default();
        let status = head.code.unwrap_or_default();
        if matches!(status, 100..200) {
            continue;
        }
        let headers = Headers::copied(head.headers);
        let length = match body_length(&headers)? {
            _ if matches!(status, 204 | 304) => BodyLength::Bytes(0),
            BodyLength::Unstated if !at_end => return Ok(None),
            length => length,
        };
        let Some((body, body_bytes)) = parse_body(rest, length, usize::MAX, usize::MAX)? else { return Ok(None) };
        let until_close = matches!(length, BodyLength::Unstated);
        let keep_alive = !until_close && AnswerFraming::of(head.version, &headers, false).keep_alive;
        let reply = ReceivedResponse { status, reason: head.reason.unwrap_or_default().to_owned(), body, keep_alive };
        return Ok(Some((reply, buffer.len().saturating_sub(rest.len()).saturating_add(body_bytes))));
    }
}

/// The status of the answer at the front of `buffer`, as soon as its head is complete, whatever its body; `None`: it is not yet.
pub fn reply_status(mut buffer: &[u8]) -> Result<Option<u16>, BadMessage> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let Some(head_bytes) = parse_head(buffer, |front| head.parse(front))? else { return Ok(None) };
        match head.code {
            Some(100..200) => buffer = buffer.get(head_bytes..).unwrap_or_default(),
            status => return Ok(status),
        }
    }
}

#[cfg(test)]
mod tests;
