//! XML-RPC calls, responses and faults: written byte for byte as Python's `xmlrpc.client` does, and read as Supervisor does
//! (supervisor-behaviour.md §7.4).
//!
//! Like Supervisor, the parser skips unknown elements, and `<params>` may be missing. Unlike it, the parser refuses document type
//! definitions, and with them entities that a document defines, and values nested deeper than [`DEPTH_MAX`].
use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// How deep arrays and structs may be nested.
pub const DEPTH_MAX: usize = 32;

/// A value of XML-RPC.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `<int>`, or `<i8>` for a number that does not fit into 32 bits.
    // Differs from Supervisor: its server fails with HTTP 500 for such a number (a log beyond 2 GiB). Python's client reads both.
    Int(i64),
    /// `<boolean>`; only `1` is true.
    Bool(bool),
    /// `<string>`, or a value without a type.
    String(String),
    /// `<double>`
    Double(f64),
    /// `<dateTime.iso8601>`, as received.
    DateTime(String),
    /// `<base64>`
    Base64(Vec<u8>),
    /// `<array>`
    Array(Vec<Value>),
    /// `<struct>`, in order; of members with the same name the last one counts.
    Struct(Vec<(String, Value)>),
    /// `<nil/>`, an extension that Python's client reads.
    Nil,
}

impl Value {
    /// The number, if it is an int.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The truth value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// The text of a string, or of base64 that contains UTF-8 (Supervisor accepts both).
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Base64(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The items, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// A member of a struct.
    pub fn member(&self, name: &str) -> Option<&Value> {
        let Self::Struct(members) = self else { return None };
        members.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The memory that it owns, in bytes, without its own size.
    pub fn heap_bytes(&self) -> usize {
        let (own, parts): (usize, usize) = match self {
            Self::Int(_) | Self::Bool(_) | Self::Double(_) | Self::Nil => (0, 0),
            Self::String(text) | Self::DateTime(text) => (text.capacity(), 0),
            Self::Base64(bytes) => (bytes.capacity(), 0),
            Self::Array(items) => {
                let parts = items.iter().map(Self::heap_bytes).sum();
                (items.capacity().saturating_mul(size_of::<Self>()), parts)
            }
            Self::Struct(members) => {
                let parts =
                    members.iter().map(|(name, value)| name.capacity().saturating_add(value.heap_bytes())).sum();
                (members.capacity().saturating_mul(size_of::<(String, Self)>()), parts)
            }
        };
        own.saturating_add(parts)
    }

    /// Bytes of a log as a string; bytes that are not UTF-8 become U+FFFD.
    // Differs from Supervisor: it answers HTTP 500 when a slice ends within a character.
    pub fn lossy(bytes: &[u8]) -> Self {
        Self::String(String::from_utf8_lossy(bytes).into_owned())
    }
}

macro_rules! values_from {
    ($($type:ty => $variant:ident),+) => {$(
        impl From<$type> for Value {
            fn from(plain: $type) -> Self {
                Self::$variant(plain.into())
            }
        }
    )+};
}

values_from!(&str => String, String => String, bool => Bool, i64 => Int, i32 => Int);

/// A call of a method.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodCall {
    /// `namespace.method`; never empty.
    pub method: String,
    /// Parameters by position.
    pub params: Vec<Value>,
}

/// A fault as it is transmitted. `crate::fault::Fault` is the server's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcFault {
    /// faultCode (supervisor-behaviour.md §7.4).
    pub code: i64,
    /// faultString: `NAME` or `NAME: details`.
    pub text: String,
}

/// Why a document is not valid XML-RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadXml {
    why: String,
    at: u64,
}

impl fmt::Display for BadXml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid XML-RPC at byte {}: {}", self.at, self.why)
    }
}

/// Parses a `<methodCall>`.
pub fn parse_call(document: &[u8]) -> Result<MethodCall, BadXml> {
    let (mut method, mut params) = (String::new(), Vec::new());
    let scan = Scan::whole(document, |scan, name| {
        match name {
            b"methodName" => method = scan.text()?,
            b"params" => params = scan.params()?,
            _ => scan.skip()?,
        }
        Ok(())
    })?;
    if method.is_empty() { Err(scan.bad("no methodName")) } else { Ok(MethodCall { method, params }) }
}

/// Parses a `<methodResponse>`: its value or its fault.
pub fn parse_response(document: &[u8]) -> Result<Result<Value, RpcFault>, BadXml> {
    let (mut params, mut fault) = (Vec::new(), None);
    let scan = Scan::whole(document, |scan, name| {
        match name {
            b"params" => params = scan.params()?,
            b"fault" => fault = scan.values(0)?.pop(),
            _ => scan.skip()?,
        }
        Ok(())
    })?;
    if let Some(fault) = fault {
        let code = fault.member("faultCode").and_then(Value::as_int);
        let text = fault.member("faultString").and_then(Value::as_str);
        let (Some(code), Some(text)) = (code, text) else {
            return Err(scan.bad("a fault must have faultCode and faultString"));
        };
        return Ok(Err(RpcFault { code, text: text.to_owned() }));
    }
    params.into_iter().next().map(Ok).ok_or_else(|| scan.bad("no value and no fault"))
}

/// The parts of a document that matter; comments and the like are skipped.
enum XmlEvent<'a> {
    Open(Vec<u8>),
    Close,
    Text(Cow<'a, str>),
    End,
}

/// A parser of elements. Each method starts after the start tag of an element, and reads up to and including its end tag.
struct Scan<'a> {
    reader: Reader<&'a [u8]>,
}

impl<'a> Scan<'a> {
    /// Reads a whole document. `each`: as in [`Scan::element`], for the children of the root element, which may have any name.
    fn whole(document: &'a [u8], each: impl FnMut(&mut Self, &[u8]) -> Result<(), BadXml>) -> Result<Self, BadXml> {
        let mut scan = Self { reader: Reader::from_reader(document) };
        scan.reader.config_mut().expand_empty_elements = true;
        let XmlEvent::Open(_) = scan.outside()? else { return Err(scan.bad("no element")) };
        scan.element(each)?;
        let XmlEvent::End = scan.outside()? else {
            return Err(scan.bad("text or another element after the root element"));
        };
        Ok(scan)
    }

    fn bad(&self, why: impl fmt::Display) -> BadXml {
        BadXml { why: why.to_string(), at: self.reader.buffer_position() }
    }

    fn next(&mut self) -> Result<XmlEvent<'a>, BadXml> {
        loop {
            let text = match self.reader.read_event().map_err(|e| self.bad(e))? {
                Event::Start(tag) => return Ok(XmlEvent::Open(tag.local_name().as_ref().to_vec())),
                Event::End(_) => return Ok(XmlEvent::Close),
                Event::Eof => return Ok(XmlEvent::End),
                Event::Text(text) => text.xml10_content(),
                Event::CData(text) => text.xml10_content(),
                Event::GeneralRef(name) => {
                    if let Some(char) = name.resolve_char_ref().map_err(|e| self.bad(e))? {
                        return Ok(XmlEvent::Text(Cow::Owned(char.into())));
                    }
                    let name = name.decode().map_err(|e| self.bad(e))?;
                    let known = resolve_predefined_entity(&name).ok_or_else(|| self.bad("unknown entity"))?;
                    return Ok(XmlEvent::Text(known.into()));
                }
                // Differs from Supervisor: its parser expands the entities that a document defines, without limit.
                Event::DocType(_) => return Err(self.bad("a document type definition is not accepted")),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::Empty(_) => continue,
            };
            return text.map(XmlEvent::Text).map_err(|e| self.bad(e));
        }
    }

    /// The next event outside the root element, except white space.
    fn outside(&mut self) -> Result<XmlEvent<'a>, BadXml> {
        loop {
            match self.next()? {
                XmlEvent::Text(text) if text.trim().is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }

    /// Calls `each` for each child element, with its name; `each` must read the child to its end. Returns the element's own text.
    fn element(&mut self, mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), BadXml>) -> Result<String, BadXml> {
        let mut own = String::new();
        loop {
            match self.next()? {
                XmlEvent::Text(text) => own.push_str(&text),
                XmlEvent::Open(name) => each(self, &name)?,
                XmlEvent::Close => return Ok(own),
                XmlEvent::End => return Err(self.bad("unexpected end")),
            }
        }
    }

    fn text(&mut self) -> Result<String, BadXml> {
        self.element(|scan, _| scan.skip())
    }

    /// Skips an element. Not recursive, since skipped elements may be nested to any depth.
    fn skip(&mut self) -> Result<(), BadXml> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next()? {
                XmlEvent::Open(_) => open = open.saturating_add(1),
                XmlEvent::Close => open = open.saturating_sub(1),
                XmlEvent::Text(_) => {}
                XmlEvent::End => return Err(self.bad("unexpected end")),
            }
        }
        Ok(())
    }

    /// Calls `read` for each child named `wanted` and returns the results; skips other children.
    fn list<T>(
        &mut self,
        wanted: &[u8],
        mut read: impl FnMut(&mut Self) -> Result<T, BadXml>,
    ) -> Result<Vec<T>, BadXml> {
        let mut all = Vec::new();
        self.element(|scan, name| {
            if name != wanted {
                return scan.skip();
            }
            all.push(read(scan)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// The first value of each `<param>`.
    fn params(&mut self) -> Result<Vec<Value>, BadXml> {
        let firsts = self.list(b"param", |scan| Ok(scan.values(0)?.into_iter().next()))?;
        Ok(firsts.into_iter().flatten().collect())
    }

    fn values(&mut self, depth: usize) -> Result<Vec<Value>, BadXml> {
        self.list(b"value", |scan| scan.value(depth))
    }

    /// Reads a `<value>`: its first child, or else its own text as a string.
    fn value(&mut self, depth: usize) -> Result<Value, BadXml> {
        if depth >= DEPTH_MAX {
            return Err(self.bad("values are nested too deeply"));
        }
        let mut typed = None;
        let own = self.element(|scan, name| {
            if typed.is_some() {
                return scan.skip();
            }
            typed = Some(scan.typed(name, depth.saturating_add(1))?);
            Ok(())
        })?;
        Ok(typed.unwrap_or(Value::String(own)))
    }

    /// Reads a typed value. `below`: the depth of the values in it.
    fn typed(&mut self, name: &[u8], below: usize) -> Result<Value, BadXml> {
        let text = match name {
            b"array" => {
                let data = self.list(b"data", |scan| scan.values(below))?.into_iter().next();
                return Ok(Value::Array(data.unwrap_or_default()));
            }
            b"struct" => return self.list(b"member", |scan| scan.struct_member(below)).map(Value::Struct),
            _ => self.text()?,
        };
        match name {
            b"int" | b"i1" | b"i2" | b"i4" | b"i8" => {
                text.trim().parse().map(Value::Int).map_err(|_| self.bad(format!("not an integer: {text:?}")))
            }
            b"double" => {
                text.trim().parse().map(Value::Double).map_err(|_| self.bad(format!("not a number: {text:?}")))
            }
            b"base64" => {
                let dense: String = text.split_ascii_whitespace().collect();
                BASE64_STANDARD.decode(dense).map(Value::Base64).map_err(|e| self.bad(format!("not base64: {e}")))
            }
            b"boolean" => Ok(Value::Bool(text == "1")),
            b"dateTime.iso8601" => Ok(Value::DateTime(text.trim().to_owned())),
            b"nil" => Ok(Value::Nil),
            _ => Ok(Value::String(text)),
        }
    }

    fn struct_member(&mut self, depth: usize) -> Result<(String, Value), BadXml> {
        let (mut key, mut member) = (None, None);
        self.element(|scan, name| {
            match name {
                b"name" => key = Some(scan.text()?),
                b"value" => member = Some(scan.value(depth)?),
                _ => scan.skip()?,
            }
            Ok(())
        })?;
        key.zip(member).ok_or_else(|| self.bad("a struct member must have a name and a value"))
    }
}

/// Writes a `<methodCall>`.
pub fn write_call(method: &str, params: &[Value]) -> String {
    let mut out = String::from("<?xml version='1.0'?>\n<methodCall>\n<methodName>");
    write_text(method, &mut out);
    out.push_str("</methodName>\n<params>\n");
    for param in params {
        out.push_str("<param>\n");
        write_value(param, &mut out);
        out.push_str("</param>\n");
    }
    out.push_str("</params>\n</methodCall>\n");
    out
}

/// The start of a `<methodResponse>`, before its value.
pub const RESPONSE_OPEN: &str = "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n";
/// The end of a `<methodResponse>`, after its value.
pub const RESPONSE_CLOSE: &str = "</param>\n</params>\n</methodResponse>\n";

/// Writes a `<methodResponse>` with a fault.
pub fn write_fault(fault: &RpcFault) -> String {
    let members = [("faultCode", fault.code.into()), ("faultString", fault.text.as_str().into())];
    let members = members.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into();
    let mut out = String::from("<?xml version='1.0'?>\n<methodResponse>\n<fault>\n");
    write_value(&Value::Struct(members), &mut out);
    out.push_str("</fault>\n</methodResponse>\n");
    out
}

/// What the writers here append to. They ignore errors: a `String` has none, and another type remembers its own.
pub trait Append: fmt::Write {
    /// Appends `text`.
    fn push_str(&mut self, text: &str) {
        let _ = self.write_str(text);
    }
}

impl Append for String {}

/// Appends a `<value>`.
pub fn write_value(value: &Value, out: &mut impl Append) {
    out.push_str("<value>");
    let _ = match value {
        Value::Int(number) if i32::try_from(*number).is_ok() => write!(out, "<int>{number}</int>"),
        Value::Int(number) => write!(out, "<i8>{number}</i8>"),
        Value::Bool(truth) => write!(out, "<boolean>{}</boolean>", u8::from(*truth)),
        Value::Double(number) => write!(out, "<double>{number:?}</double>"),
        Value::DateTime(text) => write!(out, "<dateTime.iso8601>{text}</dateTime.iso8601>"),
        Value::Base64(bytes) => write!(out, "<base64>\n{}\n</base64>", BASE64_STANDARD.encode(bytes)),
        Value::Nil => out.write_str("<nil/>"),
        Value::String(text) => {
            out.push_str("<string>");
            write_text(text, out);
            out.write_str("</string>")
        }
        Value::Array(items) => {
            out.push_str("<array><data>\n");
            items.iter().for_each(|item| write_value(item, out));
            out.write_str("</data></array>")
        }
        Value::Struct(members) => {
            out.push_str("<struct>\n");
            for (name, member) in members {
                out.push_str("<member>\n<name>");
                write_text(name, out);
                out.push_str("</name>\n");
                write_value(member, out);
                out.push_str("</member>\n");
            }
            out.write_str("</struct>")
        }
    };
    out.push_str("</value>\n");
}

/// Appends text, with XML's special characters escaped.
// Differs from Supervisor: control characters, which XML does not allow, become `?` (one byte, and harmless to a terminal in
// any locale). Supervisor sends them unchanged, and its clients fail. A carriage return is sent as a character reference;
// Supervisor sends it unchanged, and clients read it as a line feed.
pub fn write_text(text: &str, out: &mut impl Append) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| matches!(b, 0..=0x1f | b'&' | b'<' | b'>' | 0xef) && b != b'\n') {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('&') => out.push_str("&amp;"),
            Some('<') => out.push_str("&lt;"),
            Some('>') => out.push_str("&gt;"),
            Some('\r') => out.push_str("&#13;"),
            Some('\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}') => out.push_str("?"),
            Some(char) => out.push_str(char.encode_utf8(&mut [0; 4])),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests;
