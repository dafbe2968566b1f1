//! The web page: the effects and messages of its links, and the parts that programs look for. Its design is rsup's own.

use crate::{Run, compare};

/// Requests a page. Notes the status (all redirects count as the same) and the message of the page to which it leads.
fn act(run: &mut Run, request: &str) {
    let reply = run.raw(&format!("{request}\r\n\r\n")).unwrap();
    let status = reply.split(' ').nth(1).unwrap_or_default();
    let location = reply.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
    let message = location.split_once("?message=").map_or("", |(_, message)| message.trim());
    // The time of day differs, and the day of the month may have one digit.
    let message = message.split("%20at%20").next().unwrap_or_default();
    let status = if ["301", "303"].contains(&status) { "elsewhere" } else { status };
    run.note(request.lines().next().unwrap_or_default(), format!("{status} {message}"));
}

const CONF: &str = "[program:a]\ncommand=/bin/sh -c \"echo 'one <two>'; exec sleep 1000\"\nstdout_logfile={dir}/a.out\n\
    [program:missing]\ncommand=/nonexistent\nautostart=false\nstartretries=0\n\
    [program:short]\ncommand=/bin/sh -c \"exit 1\"\nautostart=false\nstartretries=0\nstartsecs=10\n[group:g]\nprograms=short\n";

#[test]
fn each_link_has_the_same_effect_and_message() {
    compare(CONF, |run| {
        run.until("a", "RUNNING");
        for query in [
            "action=refresh",
            "processname=a&action=stop",
            "processname=a&action=stop",
            "processname=a&action=start",
            "processname=a&action=start",
            "processname=a&action=restart",
            "processname=a&action=clearlog",
            "processname=missing&action=start",
            "processname=missing&action=restart",
            "processname=g%3Ashort&action=start",
            "processname=g:short&action=stop",
            "processname=nobody&action=start",
            "processname=nobody&action=clearlog",
            "processname=g%3A*&action=start",
            "action=stopall",
            "action=restartall",
            "action=stopall&processname=missing",
            "action=restartall&processname=nobody",
            "action=refresh&processname=a",
            "action=",
            "action=&processname=a",
        ] {
            act(run, &format!("GET /index.html?{query} HTTP/1.0"));
            let state = run.state("a");
            run.note("a is", state);
        }
        act(run, "GET /?processname=a&action=stop HTTP/1.0");
        act(run, "HEAD /index.html?processname=a&action=start HTTP/1.0");
        let state = run.state("a");
        run.note("a is", state);
        let form = "processname=a&action=start";
        let head = format!("POST /index.html HTTP/1.0\r\nContent-Length: {}\r\n\r\n{form}", form.len());
        let reply = run.raw(&head).unwrap();
        run.note("POST", reply.contains("message=Process%20a%20started"));
        let state = run.state("a");
        run.note("a is", state);
    });
}

#[test]
fn the_page_has_the_parts_that_programs_look_for() {
    compare(CONF, |run| {
        run.until("a", "RUNNING");
        run.until_file("a.out", "two");
        let page = run.http("GET", "/", "", "").unwrap();
        run.note("status", page.0);
        for part in [
            "<title>Supervisor Status</title>",
            "statusrunning\">running<",
            "statusnominal\">stopped<",
            "Not started",
            "href=\"tail.html?processname=a\"",
            "href=\"tail.html?processname=g%3Ashort\"",
            ">g:short</a>",
            "\"index.html?processname=a&amp;action=restart\"",
            "\"index.html?processname=a&amp;action=stop\"",
            "\"index.html?processname=missing&amp;action=start\"",
            "\"index.html?processname=g%3Ashort&amp;action=clearlog\"",
            "\"index.html?action=stopall\"",
            "\"logtail/a\"",
            "\"logtail/g%3Ashort/stderr\"",
        ] {
            assert!(page.1.contains(part), "{part} in {}", page.1);
        }
        for path in
            ["/index.html?message=a%3Cb", "/tail.html", "/tail.html?processname=nobody", "/tail.html?processname=a"]
        {
            let (status, page) = run.http("GET", path, "", "").unwrap();
            let texts =
                ["No process name found", "ERROR: unexpected rpc fault [10] BAD_NAME: nobody", "one ", "status_msg"];
            run.note(path, format!("{status} {:?}", texts.map(|text| page.contains(text))));
            assert!(!page.contains("<two>") && !page.contains("a<b"), "{page}");
        }
        for path in ["/ok.html", "/stylesheets/supervisor.css", "/nothing"] {
            let (status, _) = run.http("GET", path, "", "").unwrap();
            run.note(path, status);
        }
    });
}
