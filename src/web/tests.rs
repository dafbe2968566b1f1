use super::*;
use crate::rpc::RequestProgress;
use crate::rpc::tests::fake::{FakeHost, group, process, program};
use crate::supervision::{Command, Target};
use crate::wire::http::{ParsedRequest, parse_request};
use proptest::prelude::*;

fn request(text: &str) -> HttpRequest {
    match parse_request(text.as_bytes()) {
        Ok(ParsedRequest::Complete { request, .. }) => request,
        other => panic!("{text}: {other:?}"),
    }
}

fn get(target: &str) -> HttpRequest {
    request(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

fn post(target: &str, fields: &str, form: &str) -> HttpRequest {
    let length = form.len();
    request(&format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{form}"))
}

/// Answers as the server does: makes the calls, and passes on the replies that they wait for.
fn response(host: &mut FakeHost, request: &HttpRequest) -> Response {
    response_to(host, request, true)
}

fn response_to(host: &mut FakeHost, request: &HttpRequest, is_trusted: bool) -> Response {
    let token = PageToken("the token".into());
    let (calls, outcome) = match answer(request, host, &token, is_trusted).expect("a page") {
        PageAnswer::Ready(response) => return response,
        PageAnswer::Calls(calls, outcome) => (calls, outcome),
    };
    let mut body = Answer::default();
    let mut progress = rpc::multicall(calls, rpc::Namespaces { supervisor: true, twiddler: false }, host, 1, &mut body);
    loop {
        progress = match progress {
            RequestProgress::Done => return outcome.page(&body, host.now.wall),
            RequestProgress::Paused(pending) => pending.continue_answer(host, 1, &mut body),
            RequestProgress::Waiting(pending) => {
                let (_, reply) = host.replies.pop_front().expect("a reply");
                pending.resume(reply, host, 1, &mut body)
            }
        }
    }
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone().unwrap()).unwrap()
}

/// The message that an action leads to.
fn message_of(host: &mut FakeHost, request: &HttpRequest) -> String {
    let response = response(host, request);
    assert_eq!(response.status, 303, "{}", text(&response));
    let location = &response.fields.iter().find(|(name, _)| *name == "Location").unwrap().1;
    let fields = form_fields(location.strip_prefix("./?").unwrap()).collect::<Vec<_>>();
    assert_eq!(fields[0].0, "message");
    fields[0].1.clone()
}

fn host() -> FakeHost {
    let quick = |name: &str| program(name, |process| process.startsecs = 0);
    // The log of FakeHost's first process cannot be cleared.
    let grouped = process("c <&>", |process| process.startsecs = 0);
    FakeHost::new(vec![quick("Z"), quick("a"), quick("missing"), quick("unspawnable"), group("g", vec![grouped])])
}

#[test]
fn the_table_has_every_process_and_its_actions() {
    let mut host = host();
    host.submit(1, Command::Start { target: Target::Name("a".into()), wait: false });
    let page = text(&response(&mut host, &get("/?message=%3Cb%3E+done")));
    for expected in [
        "<title>Supervisor Status</title>",
        "<p class=\"status_msg\" role=\"status\">&#60;b&#62; done</p>",
        "name=\"token\" value=\"the token\"",
        "<span class=\"statusrunning\">running</span>",
        "pid 1001, uptime 0:00:00",
        "formaction=\"index.html?processname=a&amp;action=stop\"",
        "formaction=\"index.html?processname=missing&amp;action=start\"",
        "href=\"tail.html?processname=g%3Ac%20%3C%26%3E\" target=\"_blank\">g:c &#60;&#38;&#62;</a>",
        "href=\"logtail/g%3Ac%20%3C%26%3E/stderr\"",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert!(!page.contains("processname=a&amp;action=start"), "{page}");
    assert!(text(&response(&mut FakeHost::new(Vec::new()), &get("/index.html"))).contains("No programs to manage"));
}

#[test]
fn each_action_is_carried_out_and_reported() {
    let mut host = host();
    let at = |host: &mut FakeHost, query: &str| message_of(host, &get(&format!("/index.html?{query}")));
    assert_eq!(at(&mut host, "processname=a&action=start"), "Process a started");
    assert_eq!(at(&mut host, "processname=a&action=start"), "ERROR: Process a: already started");
    assert_eq!(at(&mut host, "processname=a&action=stop"), "Process a stopped");
    assert_eq!(at(&mut host, "processname=a&action=stop"), "unexpected rpc fault [70] NOT_RUNNING: a");
    assert_eq!(at(&mut host, "processname=a&action=restart"), "Process a restarted");
    assert_eq!(at(&mut host, "processname=a&action=clearlog"), "Log for a cleared");
    assert_eq!(at(&mut host, "processname=Z&action=clearlog"), "unexpected rpc fault [30] FAILED: EIO");
    assert_eq!(at(&mut host, "processname=missing&action=start"), "ERROR: Process missing: no such file");
    assert_eq!(at(&mut host, "processname=unspawnable&action=start"), "ERROR: Process unspawnable: spawn error");
    for name in ["zz", "g%3A*", "g%3A", "g"] {
        let shown = crate::wire::http::percent_decoded(name);
        assert_eq!(
            at(&mut host, &format!("processname={name}&action=start")),
            format!("No such process named {shown}")
        );
    }
    // The time of FakeHost is fixed; the time zone is that of the machine.
    for (action, words) in [("refresh", "Page refreshed"), ("stopall", "All stopped"), ("restartall", "All restarted")]
    {
        let message = at(&mut host, &format!("action={action}"));
        assert!(message.starts_with(&format!("{words} at ")) && message.ends_with(" 2023"), "{message}");
    }
    for query in ["action=zz", "action=start", "action=zz&processname=a"] {
        assert_eq!(response(&mut host, &get(&format!("/?{query}"))).status, 400, "{query}");
    }
    assert_eq!(response(&mut host, &get("/?action=")).status, 200);
}

#[test]
fn a_browsers_post_needs_the_token_and_others_do_not() {
    let form = "processname=a&action=start";
    let mut host = host();
    for field in ["Origin: http://x\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        for token in ["", "&token=", "&token=other"] {
            let refused = response(&mut host, &post("/index.html", field, &format!("{form}{token}")));
            assert_eq!(refused.status, 403, "{field} {token}");
        }
    }
    assert_eq!(host.supervision.process(1).unwrap().pid(), None);
    let allowed = post("/index.html?action=start&processname=a", "Origin: http://x\r\n", "token=the+token");
    assert_eq!(message_of(&mut host, &allowed), "Process a started");
    assert_eq!(message_of(&mut host, &post("/index.html", "", "action=stop&processname=a")), "Process a stopped");
}

#[test]
fn an_untrusted_action_needs_a_click() {
    let mut host = host();
    for query in ["action=start&processname=g%3Ac%20%3C%26%3E", "action=stopall", "action=restartall&processname=zz"] {
        let target = format!("/index.html?{query}&message=hello&token=the+token");
        let answer = response_to(&mut host, &get(&target), false);
        let page = text(&answer);
        assert!(
            answer.status == 403 && page.contains("Nothing has been done yet") && !page.contains("hello"),
            "{page}"
        );
        let button = page.split("<p id=\"confirm\"><button formaction=\"").nth(1).unwrap().split('"').next().unwrap();
        // The button's form sends the token.
        let button = format!("/{}", button.replace("&#38;", "&"));
        let clicked = response_to(&mut host, &post(&button, "Origin: http://x\r\n", "token=the+token"), false);
        assert_eq!(clicked.status, 303, "{button}");
        // A POST of a program that is not trusted.
        assert_eq!(response_to(&mut host, &post(&button, "", ""), false).status, 403);
    }
    // An action that changes nothing needs no confirmation.
    assert_eq!(response_to(&mut host, &get("/?action=refresh"), false).status, 303);
    assert_eq!(response_to(&mut host, &get("/?action=zz"), false).status, 400);
    let never = "HEAD /index.html?action=start&processname=a HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(answer(&request(never), &host, &PageToken::random(), true).is_none());
}

#[test]
fn tokens_differ() {
    let all: std::collections::BTreeSet<String> = (0..100).map(|_| PageToken::random().0).collect();
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|token| token.len() == 32));
}

#[test]
fn a_tail_shows_text_as_text() {
    let mut host = host();
    let tail = |host: &mut FakeHost, query: &str| text(&response(host, &get(&format!("/tail.html?{query}"))));
    assert!(tail(&mut host, "").contains("No process name found"));
    assert!(tail(&mut host, "processname=zz").contains("ERROR: unexpected rpc fault [10] BAD_NAME: zz"));
    assert!(tail(&mut host, "processname=a").contains("No file for a"));
    let calls = |query: &str| match answer(&get(&format!("/tail.html?{query}")), &host, &PageToken::random(), true) {
        Some(PageAnswer::Calls(calls, ResultPage::Tail(..))) => {
            calls[0].member("params").unwrap().as_array().unwrap().to_vec()
        }
        other => panic!("{other:?}"),
    };
    for (limit, offset) in [("", -1024), ("&limit=5", -1024), ("&limit=x", -1024), ("&limit=2000", -2000)] {
        assert_eq!(calls(&format!("processname=a{limit}"))[1], Value::Int(offset), "{limit}");
    }
    let page = ResultPage::Tail("a".into(), 1024);
    let mut body = "<methodResponse><params><param><value><array><data>".to_owned();
    xmlrpc::write_value(&"</pre><script>x</script>\n".into(), &mut body);
    body.push_str("</data></array></value></param></params></methodResponse>");
    let page = text(&page.page(&body, Wall::default()));
    assert!(page.contains("<pre>\n&#60;/pre&#62;&#60;script&#62;x"), "{page}");
}

#[test]
fn pages_load_nothing_from_other_sites_and_other_paths_do_not_exist() {
    let mut host = host();
    for path in ["/", "/tail.html?processname=a", "/ok.html", "/live.js", "/stylesheets/supervisor.css"] {
        let response = response(&mut host, &get(path));
        assert_eq!(response.status, 200, "{path}");
        assert!(response.fields.iter().any(|(name, _)| *name == "Content-Security-Policy"));
        assert!(!text(&response).contains("//") || path == "/live.js", "{path} names another site");
    }
    assert!(answer(&get("/nothing"), &host, &PageToken::random(), true).is_none());
    assert!(answer(&get("/images/state0.gif"), &host, &PageToken::random(), true).is_none());
    assert!(answer(&get("/index.html/"), &host, &PageToken::random(), true).is_none());
}

proptest! {
    #[test]
    fn fields_are_never_markup(value in "\\PC*") {
        let encoded = percent_encoded(&value, "");
        prop_assert_eq!(&crate::wire::http::percent_decoded(&encoded), &value);
        let mut host = host();
        let page = text(&response(&mut host, &get(&format!("/?message={encoded}"))));
        let shown = page.split("role=\"status\">").nth(1).map(|rest| rest.split("</p>").next().unwrap());
        prop_assert!(shown.unwrap_or_default().chars().all(|c| !"<>\"".contains(c)));
        for target in [format!("/tail.html?processname={encoded}"), format!("/?action=stop&processname={encoded}")] {
            let status = response(&mut host, &get(&target)).status;
            prop_assert!([200, 303, 400].contains(&status), "{}", target);
        }
    }
}
