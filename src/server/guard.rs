//! Refuses requests to a TCP server that a page of another site makes a browser send.
//!
//! Any page can post a form to a loopback port. A page whose own host name is made to resolve to 127.0.0.1 (DNS rebinding) can
//! also read the answers. Browsers state the origin of a request in fields that a page cannot set: `Sec-Fetch-Site` (to https and
//! loopback), `Origin` (for methods other than GET and HEAD) and `Referer`, which a page can suppress. So an action that a GET
//! asks for is carried out only if the request names our own page as its origin, or shows no sign of a browser. Other programs
//! send none of these fields.

use crate::config::model::{HttpServerConfig, SocketAddress};
use crate::wire::http::HttpRequest;
use std::net::IpAddr;

/// The rules of one TCP server for requests of browsers.
#[derive(Debug)]
pub(super) struct BrowserGuard {
    /// Host names of this server, besides IP addresses and localhost.
    names: Vec<String>,
    /// Sites whose pages may send requests (`allowed_origins`).
    origins: Vec<String>,
    /// With a password, host names are not checked: a browser sends it only to the name that the user gave it for.
    has_password: bool,
}

const CROSS_SITE: &str = "refused: a page of another site made the browser send this request; to allow that site, add it to \
                          allowed_origins in the server's section of the configuration";
/// Header fields that show that a browser sent a request; so does `Mozilla/` in `User-Agent`. No page can suppress all of them.
const BROWSER_FIELDS: [&str; 7] = [
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "origin",
    "referer",
    "accept-language",
    "upgrade-insecure-requests",
];
const UNKNOWN_HOST: &str = "refused: the host name in the URL is not known to this server, which has no password; use its IP \
                            address, or add the name to allowed_hosts in the server's section of the configuration";

impl BrowserGuard {
    /// The rules for the server of `section`; `None`: a Unix socket, which browsers cannot reach.
    pub(super) fn of(section: &HttpServerConfig) -> Option<Self> {
        let SocketAddress::Tcp(bound, _) = &section.address else { return None };
        let own = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let short = own.split('.').next().unwrap_or_default().to_owned();
        let names = [own, short, bound.clone()].into_iter().chain(section.allowed_hosts.iter().cloned());
        let names = names.filter(|name| !name.is_empty()).collect();
        Some(Self { names, origins: section.allowed_origins.clone(), has_password: section.credentials.is_some() })
    }

    /// Why a request is refused, as the text of the answer; `None`: it is not.
    pub(super) fn refusal(&self, request: &HttpRequest) -> Option<&'static str> {
        let fields = &request.headers;
        let host = host(request);
        let is_twice = |name: &str| fields.all(name).nth(1).is_some();
        let is_foreign = matches!(site(request), Site::Other) && !self.allows(page(request).unwrap_or_default());
        // Of two fields of one name, either could be the one that the browser set.
        if is_foreign || ["sec-fetch-site", "origin", "referer"].iter().any(|name| is_twice(name)) {
            return Some(CROSS_SITE);
        }
        // Browsers send an Origin with every POST. A POST without one comes from another program, which may use any name.
        let is_program = request.method == "POST" && fields.first("origin").is_none();
        let is_known = host.is_empty() || self.knows(without_port(host));
        (is_twice("host") || !self.has_password && !is_program && !is_known).then_some(UNKNOWN_HOST)
    }

    /// Whether a request that is not refused may carry out an action by its URL alone (a GET), without the token of our page:
    /// it comes from our page, from an allowed site, or from a program that is not a browser.
    pub(super) fn trusts(&self, request: &HttpRequest) -> bool {
        let fields = &request.headers;
        let is_browser = || {
            BROWSER_FIELDS.iter().any(|name| fields.first(name).is_some())
                || fields.all("user-agent").any(|agent| agent.contains("Mozilla/"))
        };
        matches!(site(request), Site::Own) || self.allows(page(request).unwrap_or_default()) || !is_browser()
    }

    fn allows(&self, page: &str) -> bool {
        let origin = page.find("://").map_or(page, |at| {
            let authority = authority(page).len();
            page.get(..at.saturating_add(3).saturating_add(authority)).unwrap_or(page)
        });
        self.origins.iter().any(|own| own == "*" || own.trim_end_matches('/').eq_ignore_ascii_case(origin))
    }

    fn knows(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        let is_local = |name: &str| name == "localhost" || name.ends_with(".localhost");
        name.parse::<IpAddr>().is_ok()
            || is_local(&name.to_ascii_lowercase())
            || self.names.iter().any(|own| own == "*" || own.eq_ignore_ascii_case(name))
    }
}

/// The site of the page that a request comes from, according to its header.
enum Site {
    Own,
    Other,
    /// Unknown, or no page: a link in a mail, a bookmark, a program.
    None,
}

fn site(request: &HttpRequest) -> Site {
    let host = host(request);
    match (request.headers.first("sec-fetch-site").map(str::trim), page(request)) {
        (Some("same-origin"), _) => Site::Own,
        (Some("none"), _) | (None, None) => Site::None,
        (None, Some(page)) if !host.is_empty() && authority(page).eq_ignore_ascii_case(host) => Site::Own,
        (Some(_), _) | (None, Some(_)) => Site::Other,
    }
}

/// The URL or origin of the page that a request comes from, according to its header.
fn page(request: &HttpRequest) -> Option<&str> {
    request.headers.first("origin").or(request.headers.first("referer"))
}

fn host(request: &HttpRequest) -> &str {
    request.headers.first("host").map(str::trim).unwrap_or_default()
}

/// `http://host:port/path` → `host:port`.
fn authority(url: &str) -> &str {
    let after = url.split_once("://").map_or("", |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or_default().trim()
}

/// `host:port` and `[::1]:port` → the host; empty if the text has another form.
fn without_port(host: &str) -> &str {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port =
        |port: &str| port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if port.is_empty() || is_port(port) { name } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{ParsedRequest, parse_request};

    fn guard(password: bool, hosts: &[&str], origins: &[&str]) -> BrowserGuard {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        BrowserGuard::of(&HttpServerConfig {
            section: "inet_http_server".into(),
            address: SocketAddress::Tcp("bound.example".into(), 9001),
            chmod: 0,
            chown: None,
            credentials: password.then(|| ("u".into(), "p".into())),
            allowed_hosts: owned(hosts),
            allowed_origins: owned(origins),
        })
        .unwrap()
    }

    fn refusal(guard: &BrowserGuard, method: &str, fields: &str) -> Option<&'static str> {
        let text = format!("{method} /RPC2 HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n");
        let Ok(ParsedRequest::Complete { request, .. }) = parse_request(text.as_bytes()) else { panic!("{text}") };
        guard.refusal(&request)
    }

    fn trusts(guard: &BrowserGuard, fields: &str) -> bool {
        let text = format!("GET /index.html?action=stopall HTTP/1.1\r\n{fields}\r\n");
        let Ok(ParsedRequest::Complete { request, .. }) = parse_request(text.as_bytes()) else { panic!("{text}") };
        guard.refusal(&request).is_none() && guard.trusts(&request)
    }

    #[test]
    fn only_our_own_page_and_programs_may_act_by_url_alone() {
        let plain = guard(true, &[], &[]);
        // What Chromium sends to a non-loopback address over http, from <img referrerpolicy=no-referrer>.
        let picture = "Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: image/*\r\n\
                       Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.9\r\n";
        for (fields, wanted) in [
            ("", true),
            ("User-Agent: curl/8.5.0\r\nAccept: */*\r\n", true),
            ("User-Agent: Python-urllib/3.11\r\nAccept-Encoding: identity\r\nConnection: close\r\n", true),
            (picture, false),
            ("User-Agent: Mozilla/5.0\r\n", false),
            ("Accept-Language: de\r\n", false),
            ("Upgrade-Insecure-Requests: 1\r\n", false),
            ("Sec-Fetch-Site: none\r\n", false),
            ("Sec-Fetch-Mode: navigate\r\n", false),
            ("Sec-Fetch-Dest: image\r\n", false),
            ("Origin: null\r\n", false),
            ("Referer: \r\n", false),
            ("Sec-Fetch-Site: cross-site\r\n", false),
            ("Sec-Fetch-Site: same-origin\r\nUser-Agent: Mozilla/5.0\r\n", true),
            ("Referer: http://127.0.0.1:9001/index.html\r\nUser-Agent: Mozilla/5.0\r\n", true),
            ("Origin: http://127.0.0.1:9001\r\nUser-Agent: Mozilla/5.0\r\n", true),
            ("Referer: http://127.0.0.1:9001.evil.example/\r\n", false),
        ] {
            assert_eq!(trusts(&plain, &format!("{HERE}{fields}")), wanted, "{fields}");
            assert!(trusts(&guard(true, &[], &["*"]), &format!("{HERE}{fields}")), "{fields}");
        }
        assert!(!trusts(&plain, "Referer: \r\n"), "a request without Host and page does not come from our page");
        let dash = guard(true, &[], &["https://dash.example"]);
        assert!(trusts(&dash, &format!("{HERE}Referer: https://dash.example/x\r\n")));
        assert!(!trusts(&dash, &format!("{HERE}{picture}")));
    }

    const HERE: &str = "Host: 127.0.0.1:9001\r\n";

    #[test]
    fn requests_of_a_browser_for_another_site_are_refused() {
        let plain = guard(true, &[], &[]);
        for (fields, is_refused) in [
            ("", false),
            ("Sec-Fetch-Site: same-origin\r\n", false),
            ("Sec-Fetch-Site: none\r\n", false),
            ("Sec-Fetch-Site: cross-site\r\n", true),
            ("Sec-Fetch-Site: same-site\r\nOrigin: http://127.0.0.1:8000\r\n", true),
            // Behind a proxy that changed the Host.
            ("Sec-Fetch-Site: same-origin\r\nOrigin: https://sup.example\r\n", false),
            ("Origin: http://127.0.0.1:9001\r\n", false),
            ("Origin: http://127.0.0.1:8000\r\n", true),
            ("Origin: http://evil.example\r\nReferer: http://127.0.0.1:9001/\r\n", true),
            ("Origin: null\r\n", true),
            ("Origin: http://127.0.0.1:9001\r\nOrigin: http://evil.example\r\n", true),
            ("Origin: http://127.0.0.1:9001\r\nOrigin: http://127.0.0.1:9001\r\n", true),
            ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n", true),
            ("Referer: http://127.0.0.1:9001/\r\nReferer: http://evil.example/\r\n", true),
            ("Referer: http://127.0.0.1:9001/index.html?x\r\n", false),
            ("Referer: http://evil.example/127.0.0.1:9001\r\n", true),
            ("Referer: http://127.0.0.1:9001.evil.example/\r\n", true),
        ] {
            for method in ["GET", "POST", "HEAD", "OPTIONS"] {
                let refused = refusal(&plain, method, &format!("{HERE}{fields}"));
                assert_eq!(refused, is_refused.then_some(CROSS_SITE), "{method} {fields}");
            }
        }
        for (origins, allowed) in [
            (&["https://dash.example"][..], true),
            (&["https://Dash.example/"], true),
            (&["*"], true),
            (&["http://dash.example"], false),
        ] {
            let guard = guard(true, &[], origins);
            for field in [
                "Origin: https://dash.example",
                "Referer: https://dash.example/x",
                "Sec-Fetch-Site: cross-site\r\nOrigin: https://dash.example",
            ] {
                assert_eq!(refusal(&guard, "GET", &format!("{HERE}{field}\r\n")).is_none(), allowed, "{field}");
            }
        }
        let some = guard(true, &[], &["https://dash.example"]);
        assert_eq!(refusal(&some, "GET", &format!("{HERE}Sec-Fetch-Site: cross-site\r\n")), Some(CROSS_SITE));
    }

    #[test]
    fn unknown_host_names_are_refused_against_dns_rebinding() {
        let own = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let open = guard(false, &["more.example"], &[]);
        for host in [
            "127.0.0.1:9001",
            "10.1.2.3",
            "[::1]:9001",
            "localhost:9001",
            "LOCALHOST",
            "a.localhost",
            "bound.example:9001",
            "more.example",
            "More.example.:9001",
            &own,
            "",
        ] {
            assert_eq!(refusal(&open, "GET", &format!("Host: {host}\r\n")), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9001",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "1",
            "[evil",
            "[::1].evil.example",
            "[::1]evil.example:9001",
            "127.0.0.1:9001.evil.example",
        ] {
            let field = format!("Host: {host}\r\n");
            assert_eq!(refusal(&open, "GET", &field), Some(UNKNOWN_HOST), "{host}");
            // A POST of the rebound page, whose own origin has the same name.
            let posted = format!("{field}Origin: http://{host}\r\n");
            assert_eq!(refusal(&open, "POST", &posted), Some(UNKNOWN_HOST), "{host}");
            // A program may use any name.
            assert_eq!(refusal(&open, "POST", &field), None, "{host}");
            assert_eq!(refusal(&guard(false, &["*"], &[]), "GET", &field), None, "{host}");
            // With a password, names are not checked.
            assert_eq!(refusal(&guard(true, &[], &[]), "GET", &field), None, "{host}");
        }
        assert_eq!(refusal(&open, "GET", ""), None);
        assert_eq!(refusal(&open, "POST", "Host: localhost\r\nHost: evil.example\r\n"), Some(UNKNOWN_HOST));
    }
}
