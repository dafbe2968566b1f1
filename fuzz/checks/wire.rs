//! Checks of HTTP and XML-RPC.

use rsup::wire::http::{
    BadMessage, HttpRequest, ParsedRequest, parse_reply, parse_request, percent_decoded, reply_status,
};
use rsup::wire::xmlrpc::{RESPONSE_CLOSE, RESPONSE_OPEN, Value, parse_call, parse_response, write_call, write_value};

/// Requests parse to the same whether they arrive in one piece or in two; no request takes more bytes than arrived.
pub fn http(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let (whole, split) = (fed(stream, stream.len()), fed(stream, usize::from(cut)));
    assert_eq!(whole, split);
    for request in &whole.0 {
        let _ = (request.path(), request.credentials(), request.is_authorized(("user", "{SHA}")));
        assert!(request.body.len() <= stream.len());
    }
    let _ = percent_decoded(&String::from_utf8_lossy(stream));
    let status = reply_status(stream);
    if let Ok(Some((reply, taken))) = parse_reply(stream, true) {
        assert!(taken <= stream.len());
        assert_eq!(status, Ok(Some(reply.status)));
    }
    let _ = parse_reply(stream, false);
}

fn fed(stream: &[u8], cut: usize) -> (Vec<HttpRequest>, Option<BadMessage>) {
    let (mut requests, mut from) = (Vec::new(), 0);
    for end in [cut.min(stream.len()), stream.len()] {
        while from <= end {
            match parse_request(&stream[from..end]) {
                Ok(ParsedRequest::Complete { request, consumed }) => {
                    assert!(consumed > 0 && from + consumed <= end);
                    from += consumed;
                    requests.push(request);
                }
                Ok(ParsedRequest::Partial { .. }) => break,
                Err(why) => return (requests, Some(why)),
            }
        }
    }
    (requests, None)
}

/// A parsed document is written so that it parses to the same.
pub fn xmlrpc(data: &[u8]) {
    if let Ok(call) = parse_call(data) {
        let again = parse_call(write_call(&call.method, &call.params).as_bytes()).unwrap();
        assert_eq!(again.params.len(), call.params.len());
        if call.params.iter().all(is_exact) && fits(&call.method) {
            assert_eq!(again, call);
        }
    }
    if let Ok(Ok(value)) = parse_response(data) {
        let mut out = String::from(RESPONSE_OPEN);
        write_value(&value, &mut out);
        let again = parse_response((out + RESPONSE_CLOSE).as_bytes()).unwrap().unwrap();
        if is_exact(&value) {
            assert_eq!(again, value);
        }
    }
}

/// Whether XML can carry each character; others are replaced on writing.
fn fits(text: &str) -> bool {
    text.chars()
        .all(|char| !matches!(char, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::String(text) => fits(text),
        Value::Double(number) => number.is_finite(),
        // It is written unchanged, but trimmed on reading.
        Value::DateTime(_) => false,
        Value::Array(items) => items.iter().all(is_exact),
        Value::Struct(members) => members.iter().all(|(name, value)| fits(name) && is_exact(value)),
        Value::Int(_) | Value::Bool(_) | Value::Base64(_) | Value::Nil => true,
    }
}
