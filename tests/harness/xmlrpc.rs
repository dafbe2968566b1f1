//! The part of XML-RPC that a test client needs, written from its specification. Values are JSON values.

use serde_json::{Map, Value, json};

/// The body of a call; `params` is an array.
pub fn call(method: &str, params: &Value) -> String {
    let params: String =
        params.as_array().unwrap().iter().map(|value| format!("<param>{}</param>", encode(value))).collect();
    format!("<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>")
}

fn encode(value: &Value) -> String {
    let inner = match value {
        Value::Bool(flag) => format!("<boolean>{}</boolean>", u8::from(*flag)),
        Value::Number(number) if number.is_i64() => format!("<int>{number}</int>"),
        Value::Number(number) => format!("<double>{number}</double>"),
        Value::Array(items) => {
            format!("<array><data>{}</data></array>", items.iter().map(encode).collect::<String>())
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("<member><name>{}</name>{}</member>", escape(name), encode(value))
            };
            format!("<struct>{}</struct>", members.iter().map(member).collect::<String>())
        }
        Value::String(text) => format!("<string>{}</string>", escape(text)),
        Value::Null => "<nil/>".to_owned(),
    };
    format!("<value>{inner}</value>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The value of a response, or its fault's code and text.
pub fn response(body: &str) -> Result<Value, (i64, String)> {
    let start = body.find("<value").unwrap_or_else(|| panic!("no value in {body:?}"));
    let value = Parser { rest: &body[start..] }.value();
    if !body.contains("<fault>") {
        return Ok(value);
    }
    Err((value["faultCode"].as_i64().unwrap(), value["faultString"].as_str().unwrap().to_owned()))
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take(&mut self, tag: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(tag);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn need(&mut self, tag: &str) {
        assert!(self.take(tag), "no {tag} at {:?}", self.rest);
    }

    fn text(&mut self) -> String {
        let end = self.rest.find('<').unwrap();
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&#13;", "\r")
            .replace("&amp;", "&")
    }

    fn scalar(&mut self, tag: &str) -> Option<String> {
        if self.take(&format!("<{tag}/>")) {
            return Some(String::new());
        }
        self.take(&format!("<{tag}>")).then(|| {
            let text = self.text();
            self.need(&format!("</{tag}>"));
            text
        })
    }

    fn value(&mut self) -> Value {
        if self.take("<value/>") {
            return json!("");
        }
        self.need("<value>");
        let value = self.inner();
        self.need("</value>");
        value
    }

    fn inner(&mut self) -> Value {
        for tag in ["int", "i4"] {
            if let Some(text) = self.scalar(tag) {
                return json!(text.parse::<i64>().unwrap());
            }
        }
        if let Some(text) = self.scalar("boolean") {
            return json!(text == "1");
        }
        if let Some(text) = self.scalar("string") {
            return json!(text);
        }
        if let Some(text) = self.scalar("double") {
            return json!(text.parse::<f64>().unwrap());
        }
        if self.take("<array>") {
            return self.array();
        }
        if self.take("<struct>") {
            return self.members();
        }
        json!(self.text())
    }

    fn array(&mut self) -> Value {
        let mut items = Vec::new();
        if !self.take("<data/>") {
            self.need("<data>");
            while !self.take("</data>") {
                items.push(self.value());
            }
        }
        self.need("</array>");
        Value::Array(items)
    }

    fn members(&mut self) -> Value {
        let mut members = Map::new();
        while self.take("<member>") {
            let name = self.scalar("name").unwrap();
            members.insert(name, self.value());
            self.need("</member>");
        }
        self.need("</struct>");
        Value::Object(members)
    }
}
