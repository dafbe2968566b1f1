//! The web page in a real browser: headless Chromium, controlled through WebDriver. RSUP_PICTURES names a directory for screenshots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    missing_docs
)]

mod harness;

use base64::Engine;
use harness::{Sandbox, Subject, TIMEOUT, skip, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// The key that WebDriver uses for the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser and its driver; both are ended on drop.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts a browser. `None` if Chromium is not installed.
    fn open(javascript: bool) -> Option<Browser> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = started else {
            skip("no chromedriver (Debian's chromium-driver)");
            return None;
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map(Result::unwrap).find_map(|line| {
            line.split("successfully on port ").nth(1).map(|port| port.trim_end_matches('.').parse().unwrap())
        });
        let mut browser = Browser { driver, port: port.expect("a port"), session: String::new() };
        // root has no sandbox. The browser loads only pages of these tests.
        let mut options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,640"],
        });
        if !javascript {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let made = browser.ask("POST", "/session", &wanted).expect("a session");
        browser.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        Some(browser)
    }

    /// Sends a WebDriver command. Returns its value, or the name of the error.
    fn ask(&self, verb: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if verb == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (session, length) = (&self.session, body.len());
        write!(
            stream,
            "{verb} {session}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut reply = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while reply.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reply.read_exact(&mut body).unwrap();
        let value = serde_json::from_slice::<Value>(&body).unwrap()["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.ask("POST", path, &body)
    }

    fn go(&self, url: &str) {
        self.post("/url", json!({"url": url})).unwrap();
    }

    /// The text of the first element that a CSS selector finds.
    fn text(&self, selector: &str) -> Option<String> {
        let element = self.find(selector)?;
        Some(self.ask("GET", &format!("/element/{element}/text"), &Value::Null).ok()?.as_str()?.to_owned())
    }

    fn find(&self, selector: &str) -> Option<String> {
        let found = self.post("/element", json!({"using": "css selector", "value": selector})).ok()?;
        Some(found[ELEMENT].as_str()?.to_owned())
    }

    /// Waits for an element, and clicks on it.
    fn click(&self, selector: &str) {
        wait_for(&format!("a click on {selector}"), || {
            let element = self.find(selector)?;
            self.post(&format!("/element/{element}/click"), json!({})).ok()
        });
    }

    fn until(&self, selector: &str, text: &str) {
        wait_for(&format!("{text:?} in {selector}"), || (self.text(selector)? == text).then_some(()));
    }

    fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []})).unwrap()
    }

    fn resize(&self, width: u32, height: u32) {
        self.post("/window/rect", json!({"width": width, "height": height})).unwrap();
    }

    /// Takes a screenshot if RSUP_PICTURES is set.
    fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("RSUP_PICTURES") {
            let picture = self.ask("GET", "/screenshot", &Value::Null).unwrap();
            let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
            std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.ask("DELETE", "", &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Starts rsup with a TCP port. Also returns the address of its page.
fn served(extra: &str) -> (Sandbox, String) {
    served_at("127.0.0.1", extra)
}

fn served_at(address: &str, extra: &str) -> (Sandbox, String) {
    // The kernel does not give a port that was just free to another process so soon.
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    let conf = format!(
        "[inet_http_server]\nport={address}:{port}\n\
         [program:web]\ncommand=/bin/sh -c \"echo 'served <b>nobody</b>'; exec sleep 1000\"\nstdout_logfile={{dir}}/web.out\n\
         [program:broken]\ncommand=/nonexistent/broken\nstartretries=0\nautostart=true\n{extra}"
    );
    let mut sandbox = Sandbox::new(Subject::Rsup, &conf);
    sandbox.start();
    sandbox.until("web", "RUNNING");
    sandbox.until_file("web.out", "nobody");
    (sandbox, format!("http://{address}:{port}"))
}

/// Uses the page: starts, stops, restarts, shows a log, and checks the messages.
fn drive(browser: &Browser, url: &str) {
    browser.go(&format!("{url}/"));
    assert_eq!(browser.ask("GET", "/title", &Value::Null).unwrap(), "Supervisor Status");
    browser.until("#web .status", "running");
    browser.until("#broken .status", "fatal");
    browser.click("#web button[name=Stop]");
    browser.until(".status_msg", "Process web stopped");
    browser.until("#web .status", "stopped");
    browser.click("#web button[name=Start]");
    browser.until(".status_msg", "Process web started");
    browser.until("#web .status", "running");
    browser.click("#broken button[name=Start]");
    browser.until(".status_msg", "ERROR: Process broken: no such file");
    browser.click("button[formaction='index.html?action=restartall']");
    wait_for("the message", || browser.text(".status_msg")?.starts_with("All restarted at ").then_some(()));
    browser.click("#web button[name='Clear Log']");
    browser.until(".status_msg", "Log for web cleared");
}

#[test]
fn the_page_works_with_and_without_javascript() {
    for javascript in [true, false] {
        let (mut sandbox, url) = served("");
        let Some(browser) = Browser::open(javascript) else { return };
        // Markup in a log is shown as text.
        browser.go(&format!("{url}/tail.html?processname=web"));
        assert_eq!(browser.text("pre").unwrap().trim(), "served <b>nobody</b>");
        drive(&browser, &url);
        assert_eq!(sandbox.stop(), 0);
    }
}

#[test]
fn the_page_refreshes_itself_and_fits_a_phone() {
    let extra = "[program:worker]\ncommand=sleep 1000\nnumprocs=3\nprocess_name=%(program_name)s_%(process_num)02d\n\
                 [program:a-name-that-is-rather-long-for-a-telephone]\ncommand=sleep 1000\nautostart=false\n";
    let (mut sandbox, url) = served(extra);
    sandbox.until("worker:worker_02", "RUNNING");
    let Some(browser) = Browser::open(true) else { return };
    browser.go(&url);
    browser.until("#web .status", "running");
    browser.picture("web-page.png");
    for width in [390, 600, 1000] {
        browser.resize(width, 800);
        browser.go(&url);
        let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
        assert_eq!(browser.script(fits), true, "at {width} pixels");
        if width == 390 {
            browser.picture("web-page-phone.png");
        }
    }
    browser.script("window.loaded_once = true");
    browser.script("document.querySelector('#web a').focus()");
    // Another client changes a row and adds one.
    assert_eq!(sandbox.ctl(&["stop", "web"]).code, 0);
    browser.until("#web .status", "stopped");
    assert_eq!(browser.script("return window.loaded_once"), true, "the page was not loaded again");
    assert_eq!(browser.script("return document.activeElement.innerText"), "web", "the focus stays");
    sandbox.reconfigure("[program:new]\ncommand=sleep 1000\n");
    assert_eq!(sandbox.ctl(&["update"]).code, 0);
    browser.until("#new .status", "running");
    assert_eq!(sandbox.stop(), 0);
}

/// Another site, which answers every request with this page.
fn serve(listener: TcpListener, page: String) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
            );
        }
    });
}

/// Over http to an address other than loopback, a browser does not send `Sec-Fetch-Site`, and the page can suppress `Referer`.
/// The test needs such an address, so it runs itself again in a new network namespace.
#[test]
fn a_link_to_an_address_off_loopback_acts_only_after_a_click() {
    const NAME: &str = "a_link_to_an_address_off_loopback_acts_only_after_a_click";
    if std::env::var_os("RSUP_OWN_NETWORK").is_some() {
        return follow_a_link_off_loopback();
    }
    let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--map-root-user"] };
    let inside = |command: &[&std::ffi::OsStr]| {
        let mut unshare = Command::new("unshare");
        unshare.args(user).arg("--net").args(command).env("RSUP_OWN_NETWORK", "1");
        unshare.status().is_ok_and(|status| status.success())
    };
    if !inside(&["ip", "link", "set", "lo", "up"].map(AsRef::as_ref)) {
        return skip("unshare(1) and ip(8) cannot make a network");
    }
    let own = std::env::current_exe().unwrap();
    assert!(inside(&[own.as_os_str(), "--exact".as_ref(), NAME.as_ref(), "--nocapture".as_ref()]));
}

fn follow_a_link_off_loopback() {
    for args in ["link set lo up", "address add 10.9.9.9/32 dev lo"] {
        assert!(Command::new("ip").args(args.split(' ')).status().unwrap().success(), "ip {args}");
    }
    let (mut sandbox, url) = served_at("10.9.9.9", "");
    let pid = sandbox.pid_of("web");
    let Some(browser) = Browser::open(true) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let link = format!("{url}/index.html?action=stopall");
    let picture = format!("<img src='{link}' referrerpolicy=no-referrer onerror='document.title=\"tried\"'>");
    serve(listener, format!("<!DOCTYPE html><title>evil</title>{picture}<a href='{link}' rel=noreferrer>cats</a>"));
    browser.go(&elsewhere);
    wait_for("the picture", || (browser.ask("GET", "/title", &Value::Null).ok()? == "tried").then_some(()));
    assert_eq!((sandbox.state("web").as_str(), sandbox.pid_of("web")), ("RUNNING", pid), "{}", sandbox.log());
    // A user who follows the link gets the page with a button.
    browser.click("a");
    browser.until(
        ".status_msg",
        "Nothing has been done yet: this request may not come from this page. Click the button below to confirm it.",
    );
    assert_eq!((sandbox.state("web").as_str(), sandbox.pid_of("web")), ("RUNNING", pid), "{}", sandbox.log());
    browser.click("#confirm button");
    wait_for("the message", || browser.text(".status_msg")?.starts_with("All stopped at ").then_some(()));
    assert_eq!(sandbox.state("web"), "STOPPED");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_page_of_another_site_can_do_nothing() {
    let (mut sandbox, url) = served("");
    let pid = sandbox.pid_of("web");
    let Some(browser) = Browser::open(true) else { return };
    // Another site has another name and port.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let call = "<?xml version='1.0'?><methodCall><methodName>supervisor.stopAllProcesses</methodName></methodCall>";
    let page = format!(
        "<!DOCTYPE html><title>evil</title><form method=post action='{url}/index.html?action=stopall'></form>\
         <img src='{url}/index.html?processname=web&amp;action=stop'>\
         <script>fetch('{url}/RPC2', {{method: 'POST', mode: 'no-cors', headers: {{'Content-Type': 'text/plain'}}, body: \"{}\"}})\
         .finally(() => {{ document.title = 'tried'; }});</script>",
        call.replace('"', "'")
    );
    serve(listener, page);
    browser.go(&elsewhere);
    wait_for("the call", || (browser.ask("GET", "/title", &Value::Null).ok()? == "tried").then_some(()));
    browser.script("document.forms[0].submit()");
    wait_for("the answer to the form", || {
        let at = browser.ask("GET", "/url", &Value::Null).ok()?;
        at.as_str()?.starts_with("http://127.0.0.1").then_some(())
    });
    assert_eq!((sandbox.state("web").as_str(), sandbox.pid_of("web")), ("RUNNING", pid), "{}", sandbox.log());
    // The same form works on the page itself, so it was refused because of the other site.
    browser.go(&url);
    browser.click("button[formaction='index.html?action=stopall']");
    wait_for("the message", || browser.text(".status_msg")?.starts_with("All stopped at ").then_some(()));
    assert_eq!(sandbox.state("web"), "STOPPED");
    assert_eq!(sandbox.stop(), 0);
}
