use super::*;
use proptest::prelude::*;

fn whole(bytes: &[u8]) -> HttpRequest {
    match parse_request(bytes) {
        Ok(ParsedRequest::Complete { request, consumed }) => {
            assert_eq!(consumed, bytes.len());
            request
        }
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> BadMessage {
    parse_request(bytes).expect_err(&String::from_utf8_lossy(bytes))
}

fn written(response: &Response, framing: AnswerFraming) -> String {
    let mut out = Vec::new();
    response.write_head(framing, "Sun, 06 Nov 1994 08:49:37 GMT", &mut out);
    out.extend_from_slice(response.body.as_deref().unwrap_or_default());
    String::from_utf8(out).unwrap()
}

/// Parses `bytes` in pieces that end at `cuts`, as a connection does, and returns all that was parsed.
fn parsed_in_pieces(bytes: &[u8], cuts: &[usize]) -> (Vec<HttpRequest>, Option<BadMessage>) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut buffer, mut from, mut requests) = (Vec::new(), 0, Vec::new());
    for end in ends {
        buffer.extend_from_slice(&bytes[from..end]);
        from = end;
        loop {
            match parse_request(&buffer) {
                Ok(ParsedRequest::Complete { request, consumed }) => {
                    buffer.drain(..consumed);
                    requests.push(request);
                }
                Ok(ParsedRequest::Partial { .. }) => break,
                Err(why) => return (requests, Some(why)),
            }
        }
    }
    (requests, None)
}

const STREAMS: [&[u8]; 6] = [
    b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /x?y HTTP/1.0\r\n\r\n",
    b"POST /RPC2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"POST /RPC2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
    b"GET / HTTP/1.1\r\nA: b\r\nnonsense\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"\r\n\r\nHEAD / HTTP/1.1\r\nConnection: close\r\n\r\nPOST / HTTP/2.0\r\n\r\n",
];

proptest! {
    #[test]
    fn any_split_gives_the_same_requests(which in 0..STREAMS.len(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        prop_assert_eq!(parsed_in_pieces(STREAMS[which], &cuts), parsed_in_pieces(STREAMS[which], &[]));
    }

    #[test]
    fn any_bytes_parse_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (parse_request(&bytes), parse_reply(&bytes, false), parse_reply(&bytes, true));
        let _ = percent_decoded(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn more_bytes_do_not_change_a_status(
        heads in prop::collection::vec("(HTTP/1\\.[01] [1-5][0-9][0-9]( OK)?\r?\n(x: y\r\n)?\r?\n)?.{0,4}", 1..3), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = heads.concat().into_bytes();
        let status = reply_status(&bytes);
        match reply_status(&bytes[..cut.index(bytes.len() + 1)]) {
            Ok(None) => {}
            early => prop_assert_eq!(early, status),
        }
        if let Ok(Some((reply, _))) = parse_reply(&bytes, true) {
            prop_assert_eq!(status, Ok(Some(reply.status)));
        }
    }

    #[test]
    fn any_chunk_bytes_parse_without_a_panic(
        text in "[0-9a-fA-F\r\n;x ]{0,60}", cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{text}").into_bytes();
        prop_assert_eq!(parsed_in_pieces(&bytes, &cuts), parsed_in_pieces(&bytes, &[]));
    }

    #[test]
    fn chunks_are_read_back(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..5)) {
        let mut out = Vec::new();
        let response = Response { body: None, ..Response::error(200) };
        response.write_head(AnswerFraming { keep_alive: true, ..AnswerFraming::LAST }, "now", &mut out);
        for piece in &pieces {
            write_chunk(AnswerFraming::LAST, piece, &mut out);
        }
        prop_assert_eq!(parse_reply(&out, false), Ok(None));
        write_chunk(AnswerFraming::LAST, b"", &mut out);
        let (reply, consumed) = parse_reply(&out, false).unwrap().unwrap();
        prop_assert_eq!((reply.body, consumed), (pieces.concat(), out.len()));
    }
}

#[test]
fn every_split_in_two_gives_the_same_requests() {
    for stream in STREAMS {
        for cut in 0..stream.len() {
            assert_eq!(parsed_in_pieces(stream, &[cut]), parsed_in_pieces(stream, &[]), "{cut}");
        }
        let everywhere: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(parsed_in_pieces(stream, &everywhere), parsed_in_pieces(stream, &[]));
    }
}

#[test]
fn version_and_connection_field_determine_keep_alive() {
    for (version, field, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: foo, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let request = whole(format!("GET / HTTP/{version}\r\n{field}\r\n").as_bytes());
        assert_eq!(request.framing.keep_alive, keep_alive, "{version} {field}");
    }
}

#[test]
fn a_length_must_be_valid_and_unique() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n").into_bytes();
    for (fields, why) in [
        ("", BadMessage::LengthRequired),
        ("Content-Length: +1\r\n", BadMessage::Malformed),
        ("Content-Length: \r\n", BadMessage::Malformed),
        ("Content-Length: 1, 1\r\n", BadMessage::Malformed),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", BadMessage::Malformed),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", BadMessage::Malformed),
        ("Transfer-Encoding: gzip, chunked\r\n", BadMessage::UnknownCoding),
        ("Content-Length: 1048577\r\n", BadMessage::BodyTooLarge),
        ("Content-Length: 99999999999999999999999\r\n", BadMessage::BodyTooLarge),
    ] {
        assert_eq!(refused(&post(fields)), why, "{fields}");
    }
    assert_eq!(whole(&post("Content-Length: 0\r\nContent-Length: 0\r\n")).body, b"");
}

#[test]
fn everything_has_a_limit() {
    let endless_head = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; HEAD_MAX_BYTES]].concat();
    assert_eq!(refused(&endless_head), BadMessage::HeadTooLarge);
    let fields = "A: b\r\n".repeat(HEADERS_MAX + 1);
    assert_eq!(refused(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()), BadMessage::HeadTooLarge);
    let chunked = |body: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
    assert_eq!(refused(&chunked("100001\r\n")), BadMessage::BodyTooLarge);
    assert_eq!(refused(&chunked("ffffffffffffffff\r\n")), BadMessage::BodyTooLarge);
    assert_eq!(refused(&chunked(&"1\r\na\r\n".repeat(CHUNKS_MAX + 1))), BadMessage::BodyTooLarge);
    assert_eq!(refused(&chunked(&format!("1;{}", "x".repeat(CHUNK_LINE_MAX_BYTES)))), BadMessage::Malformed);
    assert_eq!(refused(&chunked(&format!("0\r\nA: {}", "x".repeat(HEAD_MAX_BYTES)))), BadMessage::HeadTooLarge);
}

#[test]
fn a_client_that_waits_for_100_is_recognized() {
    let head = b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    let expects = |buffer: &[u8]| match parse_request(buffer) {
        Ok(ParsedRequest::Partial { head, expects_continue }) => (head.map(|head| head.method), expects_continue),
        other => panic!("{other:?}"),
    };
    assert_eq!(expects(head), (Some("POST".into()), true));
    assert_eq!(expects(&head[..head.len() - 1]), (None, false));
    assert_eq!(expects(&[head, b"a".as_slice()].concat()), (Some("POST".into()), false));
    assert_eq!(whole(&[head, b"abc".as_slice()].concat()).body, b"abc");
}

#[test]
fn the_path_is_decoded_as_a_whole_without_its_query() {
    let request = whole(b"GET /logtail/a%3Ab%2fc%zz%?x=%41#f HTTP/1.1\r\n\r\n");
    assert_eq!(request.path(), "/logtail/a:b/c%zz%");
    assert_eq!(whole(b"GET http://h:1/RPC2 HTTP/1.1\r\n\r\n").target, "/RPC2");
    assert_eq!(whole(b"GET /x?u=http://h/ HTTP/1.1\r\n\r\n").path(), "/x");
}

#[test]
fn credentials_are_read_from_basic_authentication() {
    let with = |value: &str| whole(format!("GET / HTTP/1.1\r\nAuthorization: {value}\r\n\r\n").as_bytes());
    let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    assert_eq!(with("Basic dTpwOnE=").credentials(), pair("u", "p:q"));
    assert_eq!(with("basic dTpwOnE").credentials(), pair("u", "p:q"));
    for bad in ["Basic", "Basic !", "Basic dTpw\u{e9}", "Bearer dTpwOnE=", "Basic dQ=="] {
        assert_eq!(with(bad).credentials(), None, "{bad}");
    }
    let request = with("Basic dTpwOnE=");
    assert!(request.is_authorized(("u", "p:q")));
    assert!(request.is_authorized(("u", &format!("{{SHA}}{}", sha1_smol::Sha1::from("p:q").digest()))));
    for wrong in [("u", "p:"), ("u", "p:qq"), ("", "p:q"), ("u", "{SHA}p:q"), ("u", "{SHA}")] {
        assert!(!request.is_authorized(wrong), "{wrong:?}");
    }
    assert!(!whole(b"GET / HTTP/1.1\r\n\r\n").is_authorized(("u", "p")));
}

#[test]
fn an_answer_is_framed_for_its_request() {
    let keep = AnswerFraming { keep_alive: true, ..AnswerFraming::LAST };
    assert_eq!(
        written(&Response::xml("<x/>".into()), keep),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/xml\r\nX-Content-Type-Options: nosniff\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: {SERVER}\r\n\r\n<x/>"
        )
    );
    let old = AnswerFraming { http11: false, ..keep };
    assert!(written(&Response::error(404), old).starts_with("HTTP/1.0 404 Not Found\r\n"));
    assert!(written(&Response::error(404), old).contains("\r\nConnection: Keep-Alive\r\n"));
    assert!(written(&Response::error(404), AnswerFraming::LAST).contains("\r\nConnection: close\r\n"));
    let denied = written(&Response::error(401), keep);
    assert!(denied.contains("\r\nConnection: close\r\n"));
    assert!(denied.contains("\r\nWWW-Authenticate: Basic realm=\"default\"\r\n"));
    let stream = Response { body: None, ..Response::xml(String::new()) };
    assert!(written(&stream, keep).contains("\r\nTransfer-Encoding: chunked\r\n") && !stream.closes(keep));
    assert!(written(&stream, old).contains("\r\nConnection: close\r\n") && stream.closes(old));
}

#[test]
fn a_reply_ends_by_length_by_chunks_or_with_the_connection() {
    let reply = |bytes: &[u8], at_end| {
        let (reply, _) = parse_reply(bytes, at_end).unwrap()?;
        Some((reply.status, String::from_utf8(reply.body).unwrap(), reply.keep_alive))
    };
    let found = |body: &str, keep_alive| Some((200, body.to_owned(), keep_alive));
    assert_eq!(reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", false), found("ab", true));
    assert_eq!(reply(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", true), None);
    assert_eq!(reply(b"HTTP/1.1 200 OK\r\n\r\nab", false), None);
    assert_eq!(reply(b"HTTP/1.1 200 OK\r\n\r\nab", true), found("ab", false));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    assert_eq!(reply(chunked, false), found("ab", true));
    let interim = [CONTINUE.repeat(3), chunked.to_vec()].concat();
    assert_eq!(reply(&interim, false), found("ab", true));
    assert_eq!(reply(b"HTTP/1.0 204 X\r\n\r\n", false), Some((204, String::new(), false)));
}

#[test]
fn our_own_request_is_read_back() {
    let bytes = request("POST", "/RPC2", "localhost", &authorization("user", "pass:word"), "<x/>");
    let request = whole(&bytes);
    assert!(request.is_authorized(("user", "pass:word")));
    assert_eq!((request.path().as_str(), request.body.as_slice()), ("/RPC2", b"<x/>".as_slice()));
    assert!(request.framing.keep_alive);
}

#[test]
fn dates_are_formatted_for_http() {
    for (secs, date) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        assert_eq!(http_date(secs), date);
    }
}
