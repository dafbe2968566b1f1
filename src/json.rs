//! Writes values as JSON (RFC 8259), for the output of the client and of `rsup check`; does not read JSON.
#![forbid(unsafe_code)]

use crate::wire::xmlrpc::Value;

/// A value as JSON. Base64 and dates become strings; NaN and infinity become null.
#[must_use]
pub fn json(value: &Value) -> String {
    let list = |open: &str, items: Vec<String>, close: &str| format!("{open}{}{close}", items.join(","));
    match value {
        Value::Int(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Double(number) if number.is_finite() => format!("{number:?}"),
        Value::Double(_) | Value::Nil => "null".into(),
        Value::String(text) | Value::DateTime(text) => quoted(text),
        Value::Base64(bytes) => quoted(&String::from_utf8_lossy(bytes)),
        Value::Array(items) => list("[", items.iter().map(json).collect(), "]"),
        Value::Struct(members) => {
            list("{", members.iter().map(|(name, member)| format!("{}:{}", quoted(name), json(member))).collect(), "}")
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_back_by_a_json_parser() {
        let tricky = "a\"\\\n\r\t\x00\x1b\x7f\u{2028}é";
        let value = Value::Struct(vec![
            (tricky.into(), Value::Array(vec![Value::Int(-1), Value::Bool(true), Value::Nil, Value::Double(1.5)])),
            ("d".into(), Value::Double(f64::NAN)),
            ("e".into(), Value::Struct(vec![])),
            ("f".into(), Value::Base64(b"x".to_vec())),
        ]);
        let read: serde_json::Value = serde_json::from_str(&json(&value)).unwrap();
        assert_eq!(read, serde_json::json!({tricky: [-1, true, null, 1.5], "d": null, "e": {}, "f": "x"}));
    }
}
