use super::*;
use proptest::prelude::*;

/// A `<methodResponse>` with a value.
fn write_response(value: &Value) -> String {
    let mut out = String::from(RESPONSE_OPEN);
    write_value(value, &mut out);
    out + RESPONSE_CLOSE
}

fn call(params: &str) -> Result<Vec<Value>, BadXml> {
    let document = format!("<methodCall><methodName>a.b</methodName>{params}</methodCall>");
    parse_call(document.as_bytes()).map(|call| call.params)
}

fn one(value: &str) -> Value {
    call(&format!("<params><param>{value}</param></params>")).unwrap().remove(0)
}

/// Values that are read back equal: without NaN and the control characters that are replaced.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Bool),
        "[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x{fffe}\\x{ffff}]{0,20}".prop_map(Value::String),
        any::<f64>().prop_filter("equal to itself", |n| n.is_finite()).prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Value::Base64),
        Just(Value::DateTime("19980717T14:08:55".into())),
        Just(Value::Nil),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec(("[a-z<&]{0,5}", inner), 0..5).prop_map(Value::Struct),
        ]
    })
}

proptest! {
    #[test]
    fn values_are_read_back(params in prop::collection::vec(values(), 0..4), method in "[a-z.&]{1,12}") {
        let read = parse_call(write_call(&method, &params).as_bytes()).unwrap();
        prop_assert_eq!(read, MethodCall { method, params: params.clone() });
        for value in params {
            prop_assert_eq!(parse_response(write_response(&value).as_bytes()), Ok(Ok(value)));
        }
    }

    #[test]
    fn any_bytes_parse_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (parse_call(&bytes), parse_response(&bytes));
    }

    #[test]
    fn any_tags_parse_without_a_panic(
        words in prop::collection::vec(prop_oneof![
            "</?(methodCall|methodName|params|param|value|array|data|struct|member|name|int|string|nil/?|base64|fault)>",
            "[ a1&;]{0,4}", Just("<!--".into()), Just("<![CDATA[".into()), Just("]]>".into()), Just("&#13;".into()),
        ], 0..30)
    ) {
        let document = words.concat();
        let _ = (parse_call(document.as_bytes()), parse_response(document.as_bytes()));
    }

    #[test]
    fn a_truncated_document_is_refused(params in prop::collection::vec(values(), 0..3), cut in any::<prop::sample::Index>()) {
        let document = write_call("a.b", &params);
        let (document, _) = document.split_once("</methodCall>").unwrap();
        let cut = document.floor_char_boundary(cut.index(document.len()));
        prop_assert!(parse_call(&document.as_bytes()[..cut]).is_err());
    }
}

#[test]
fn types_are_read_as_supervisor_reads_them() {
    let text = |t: &str| Value::String(t.into());
    for (xml, value) in [
        ("<value>plain</value>", text("plain")),
        ("<value/>", text("")),
        ("<value><string> a &lt;&#65;&amp; </string></value>", text(" a <A& ")),
        ("<value><string><![CDATA[<b>&amp;]]></string></value>", text("<b>&amp;")),
        ("<value><string>a\r\nb\rc&#13;</string></value>", text("a\nb\nc\r")),
        ("<value>\n <int> 7 </int>\n</value>", Value::Int(7)),
        ("<value><i4>-7</i4></value>", Value::Int(-7)),
        ("<value><i8>5000000000</i8></value>", Value::Int(5_000_000_000)),
        ("<value><boolean>1</boolean></value>", Value::Bool(true)),
        ("<value><boolean>true</boolean></value>", Value::Bool(false)),
        ("<value><double>1.5</double></value>", Value::Double(1.5)),
        (
            "<value><dateTime.iso8601>19980717T14:08:55</dateTime.iso8601></value>",
            Value::DateTime("19980717T14:08:55".into()),
        ),
        ("<value><base64>\naGVs\nbG8=\n</base64></value>", Value::Base64(b"hello".to_vec())),
        ("<value><ex:nil/></value>", Value::Nil),
        ("<value><unknown>5</unknown></value>", text("5")),
        ("<value><array><data/></array></value>", Value::Array(vec![])),
        ("<value><!-- c --><int>1</int><int>2</int></value>", Value::Int(1)),
    ] {
        assert_eq!(one(xml), value, "{xml}");
    }
    let nested = one(
        "<value><struct><member><name>a</name><value><array><data><value>x</value></data></array></value></member></struct></value>",
    );
    assert_eq!(nested.member("a").and_then(Value::as_array), Some([text("x")].as_slice()));
    assert_eq!(call(""), Ok(vec![]));
    assert_eq!(one("<value><base64>aGVsbG8=</base64></value>").as_str(), Some("hello"));
}

#[test]
fn invalid_calls_are_refused() {
    for document in [
        "",
        "x",
        "<methodCall/>",
        "<methodCall><methodName/></methodCall>",
        "<methodCall><methodName>a</methodName>",
        "<methodCall><methodName>a</methodCall></methodName>",
        "<methodCall><methodName>a</methodName></methodCall><x/>",
        "<methodCall><methodName>a</methodName></methodCall>x",
        "<methodCall><methodName>&e;</methodName></methodCall>",
        "<!DOCTYPE x [<!ENTITY e 'x'>]><methodCall><methodName>&e;</methodName></methodCall>",
        "<methodCall><methodName>a</methodName><params><param><value><int>x</int></value></param></params></methodCall>",
        "<methodCall><methodName>a</methodName><params><param><value><base64>!</base64></value></param></params></methodCall>",
        "<methodCall><methodName>a</methodName><params><param><value><struct><member><name>a</name></member></struct></value></param></params></methodCall>",
    ] {
        assert!(parse_call(document.as_bytes()).is_err(), "{document}");
    }
    assert!(parse_call(b"<methodCall><methodName>\xff</methodName></methodCall>").is_err());
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| {
        let open = "<value><array><data>".repeat(depth);
        let close = "</data></array></value>".repeat(depth);
        call(&format!("<params><param>{open}{close}</param></params>"))
    };
    assert!(nested(DEPTH_MAX).is_ok());
    assert!(nested(DEPTH_MAX + 1).is_err());
    let skipped = format!("<methodCall>{}{}</methodCall>", "<x>".repeat(100_000), "</x>".repeat(100_000));
    assert!(parse_call(skipped.as_bytes()).is_err_and(|e| e.to_string().contains("no methodName")));
}

#[test]
fn characters_that_xml_does_not_allow_are_replaced() {
    let sent = Value::lossy(b"\x00\x1b[1m\r\n\tok\x7f\xff\xef\xbf\xbe\xef\xbf\xbd\xe2\x82\xac<");
    let read = parse_response(write_response(&sent).as_bytes()).unwrap().unwrap();
    assert_eq!(read.as_str(), Some("??[1m\r\n\tok\x7f\u{fffd}?\u{fffd}€<"));
}

#[test]
fn a_number_beyond_32_bits_is_an_i8() {
    for (number, tag) in [(i64::from(i32::MAX), "<int>"), (i64::from(i32::MAX) + 1, "<i8>")] {
        let document = write_response(&Value::Int(number));
        assert!(document.contains(tag), "{document}");
        assert_eq!(parse_response(document.as_bytes()).unwrap().unwrap(), Value::Int(number));
    }
}

#[test]
fn a_fault_is_distinguished_from_a_value() {
    let fault = RpcFault { code: 10, text: "BAD_NAME: <x>".into() };
    assert_eq!(parse_response(write_fault(&fault).as_bytes()), Ok(Err(fault)));
    for bad in
        ["<methodResponse/>", "<methodResponse><params/></methodResponse>", "<r><fault><value>x</value></fault></r>"]
    {
        assert!(parse_response(bad.as_bytes()).is_err(), "{bad}");
    }
}
