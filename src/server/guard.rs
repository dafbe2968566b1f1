//! Keeps out of a TCP server what a page of another site makes a browser send: any page can have a form posted to a
//! loopback port, and one whose own name suddenly means 127.0.0.1 (DNS rebinding) can read the answers too.
//!
//! Browsers say where a request comes from in fields that pages cannot set: `Sec-Fetch-Site` (to https and to loopback),
//! else `Origin` (all that is not GET or HEAD), else `Referer`. Programs that are no browsers send none of them.

use crate::config::model::{HttpServerConfig, SocketAddress};
use crate::wire::http::Request;
use std::net::IpAddr;

/// What a TCP server refuses.
#[derive(Debug)]
pub(super) struct Guard {
    /// Names that mean this server, beside addresses and localhost.
    names: Vec<String>,
    origins: Vec<String>,
    /// A page that has rebound its name has no password for it, so names need not be looked at.
    has_password: bool,
}

const CROSS_SITE: &str = "refused: a browser sent this for a page of another site; allowed_origins in the server's section \
                          names sites that may";
const UNKNOWN_HOST: &str = "refused: this server is not known by the name in the Host field, and has no password; \
                            allowed_hosts in its section names others";

impl Guard {
    /// For a TCP server; a Unix socket is out of browsers' reach.
    pub(super) fn of(section: &HttpServerConfig) -> Option<Self> {
        let SocketAddress::Tcp(bound, _) = &section.address else { return None };
        let own = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let short = own.split('.').next().unwrap_or_default().to_owned();
        let names = [own, short, bound.clone()].into_iter().chain(section.allowed_hosts.iter().cloned());
        let names = names.filter(|name| !name.is_empty()).collect();
        Some(Self { names, origins: section.allowed_origins.clone(), has_password: section.credentials.is_some() })
    }

    /// Why this request is not answered, for whoever reads the answer.
    pub(super) fn refusal(&self, request: &Request) -> Option<&'static str> {
        let fields = &request.headers;
        let host = fields.first("host").map(str::trim).unwrap_or_default();
        let origin = fields.first("origin");
        let is_from_here = match (fields.first("sec-fetch-site"), origin.or(fields.first("referer"))) {
            (Some(site), _) => matches!(site.trim(), "same-origin" | "none"),
            (None, Some(page)) => authority(page).eq_ignore_ascii_case(host),
            (None, None) => true,
        };
        if !is_from_here && !self.allows(origin.or(fields.first("referer")).unwrap_or_default()) {
            return Some(CROSS_SITE);
        }
        // A browser never posts without saying from where, so this is a program, which may use any name.
        let is_program = request.method == "POST" && origin.is_none();
        let is_known = host.is_empty() || self.knows(without_port(host));
        (fields.all("host").nth(1).is_some() || !self.has_password && !is_program && !is_known).then_some(UNKNOWN_HOST)
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

/// `http://host:port/path` → `host:port`.
fn authority(url: &str) -> &str {
    let after = url.split_once("://").map_or("", |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or_default().trim()
}

/// `host:port` and `[::1]:port` → the host.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{Parsed, parse_request};

    fn guard(password: bool, hosts: &[&str], origins: &[&str]) -> Guard {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Guard::of(&HttpServerConfig {
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

    fn refusal(guard: &Guard, method: &str, fields: &str) -> Option<&'static str> {
        let text = format!("{method} /RPC2 HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n");
        let Ok(Parsed::Complete { request, .. }) = parse_request(text.as_bytes()) else { panic!("{text}") };
        guard.refusal(&request)
    }

    const HERE: &str = "Host: 127.0.0.1:9001\r\n";

    #[test]
    fn what_a_browser_sends_for_another_site_is_refused() {
        let plain = guard(true, &[], &[]);
        for (fields, is_refused) in [
            ("", false),
            ("Sec-Fetch-Site: same-origin\r\n", false),
            ("Sec-Fetch-Site: none\r\n", false),
            ("Sec-Fetch-Site: cross-site\r\n", true),
            ("Sec-Fetch-Site: same-site\r\nOrigin: http://127.0.0.1:8000\r\n", true),
            // Behind a proxy that has changed the Host.
            ("Sec-Fetch-Site: same-origin\r\nOrigin: https://sup.example\r\n", false),
            ("Origin: http://127.0.0.1:9001\r\n", false),
            ("Origin: http://127.0.0.1:8000\r\n", true),
            ("Origin: http://evil.example\r\nReferer: http://127.0.0.1:9001/\r\n", true),
            ("Origin: null\r\n", true),
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
    fn a_name_that_another_site_has_rebound_is_refused() {
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
        for host in
            ["evil.example", "evil.example:9001", "127.0.0.1.evil.example", "localhost.evil.example", "1", "[evil"]
        {
            let field = format!("Host: {host}\r\n");
            assert_eq!(refusal(&open, "GET", &field), Some(UNKNOWN_HOST), "{host}");
            // The page posts to what it takes for itself.
            let posted = format!("{field}Origin: http://{host}\r\n");
            assert_eq!(refusal(&open, "POST", &posted), Some(UNKNOWN_HOST), "{host}");
            // A program, by whatever name it found us.
            assert_eq!(refusal(&open, "POST", &field), None, "{host}");
            assert_eq!(refusal(&guard(false, &["*"], &[]), "GET", &field), None, "{host}");
            // The page has no password for its name.
            assert_eq!(refusal(&guard(true, &[], &[]), "GET", &field), None, "{host}");
        }
        assert_eq!(refusal(&open, "GET", ""), None);
        assert_eq!(refusal(&open, "POST", "Host: localhost\r\nHost: evil.example\r\n"), Some(UNKNOWN_HOST));
    }
}
