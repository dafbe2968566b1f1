//! Compares XML-RPC documents with Python's `xmlrpc.client` and with Supervisor's own server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "harness/mod.rs"]
mod harness;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rsup::wire::xmlrpc::{MethodCall, RESPONSE_CLOSE, RESPONSE_OPEN, RpcFault, Value, parse_call, parse_response};
use rsup::wire::xmlrpc::{write_call, write_fault, write_value};
use std::io::Write;
use std::process::{Command, Stdio};

/// A `<methodResponse>` with a value.
fn write_response(value: &Value) -> String {
    let mut out = String::from(RESPONSE_OPEN);
    write_value(value, &mut out);
    out + RESPONSE_CLOSE
}

/// Runs a Python script that turns each document into another.
fn through_python(script: &str, documents: &[String]) -> Option<Vec<String>> {
    let Some(venv) = harness::oracle() else {
        harness::skip("no Python environment with the real Supervisor");
        return None;
    };
    let mut python = Command::new(venv.join("bin/python"))
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let sent = documents.join("\0");
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the script failed");
    let answers: Vec<String> =
        String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect();
    assert_eq!(answers.len(), documents.len());
    Some(answers)
}

const AGAIN: &str = "
import sys, xmlrpc.client as x
for document in sys.stdin.buffer.read().split(b'\\0'):
    try:
        params, method = x.loads(document)
        again = x.dumps(params, method, methodresponse=method is None, allow_none=True)
    except x.Fault as fault:
        again = x.dumps(fault, methodresponse=True)
    sys.stdout.buffer.write(again.encode() + b'\\0')
";

/// Supervisor's server parses a call, and writes the parsed call again.
const AGAIN_BY_SUPERVISOR: &str = "
import sys, xmlrpc.client as x
from supervisor.xmlrpc import supervisor_xmlrpc_handler
reader = supervisor_xmlrpc_handler(None, [])
for document in sys.stdin.buffer.read().split(b'\\0'):
    params, method = reader.loads(document.decode())
    sys.stdout.buffer.write(x.dumps(params, method, allow_none=True).encode() + b'\\0')
";

/// Values; with `plain`, only those that both sides write byte for byte the same.
fn values(plain: bool) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::Bool),
        "[ -~\t\né€<&>\u{1f600}]{0,20}".prop_map(Value::String),
        "\\PC{0,9}".prop_map(Value::String),
    ];
    let other = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Value::Base64),
        Just(Value::DateTime("19980717T14:08:55".into())),
        Just(Value::Nil),
        "[\ra-z]{0,9}".prop_map(Value::String),
    ];
    let leaf = if plain { leaf.boxed() } else { prop_oneof![leaf, other].boxed() };
    leaf.prop_recursive(4, 40, 6, |inner| {
        // A Python dictionary has each key once.
        let members = prop::collection::btree_map("[a-z<&]{0,5}", inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::Array),
            members.prop_map(|members| Value::Struct(members.into_iter().collect())),
        ]
    })
}

/// 300 samples, the same each time.
fn sample<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..300).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn python_rewrites_our_documents_byte_for_byte() {
    let params = sample(prop::collection::vec(values(true), 0..4));
    let mut documents: Vec<String> = params.iter().map(|params| write_call("supervisor.method", params)).collect();
    documents.extend(sample(values(true)).iter().map(write_response));
    let faults = sample(("[ -~]{0,30}", any::<i32>()));
    documents.extend(faults.into_iter().map(|(text, code)| write_fault(&RpcFault { code: code.into(), text })));
    let Some(again) = through_python(AGAIN, &documents) else { return };
    for (again, document) in again.iter().zip(&documents) {
        assert_eq!(again, document);
    }
}

#[test]
fn every_value_survives_a_round_trip_through_python() {
    let values = sample(values(false));
    let documents: Vec<String> = values.iter().map(write_response).collect();
    // Python reads integers of more than 32 bits, but does not write them.
    let script = AGAIN.replace("\nfor ", "\nx.MAXINT, x.MININT = 2**63-1, -2**63\nfor ");
    let Some(again) = through_python(&script, &documents) else { return };
    for (value, document) in values.into_iter().zip(again) {
        // Python does not escape a carriage return, so it is read as a line feed.
        let expected = parse_response(write_response(&value).replace("&#13;", "\n").as_bytes());
        assert_eq!(parse_response(document.as_bytes()), expected);
    }
}

#[test]
fn supervisors_server_understands_our_calls() {
    let params = sample(prop::collection::vec(values(true), 0..4));
    let documents: Vec<String> = params.iter().map(|params| write_call("supervisor.method", params)).collect();
    let Some(again) = through_python(AGAIN_BY_SUPERVISOR, &documents) else { return };
    for (params, document) in params.into_iter().zip(again) {
        assert_eq!(parse_call(document.as_bytes()), Ok(MethodCall { method: "supervisor.method".into(), params }));
    }
}
