//! multivisor, unmodified, with both supervisors: its server, and its listener `multivisor-rpc` through which it reaches a supervisor.

use crate::harness::{Beside, free_port, third_party, wait_for};
use crate::{Run, compare_unstarted};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running multivisor server.
struct Dashboard {
    port: u16,
    _server: Beside,
}

impl Dashboard {
    fn send(&self, verb: &str, path: &str, form: &str) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let length = form.len();
        write!(stream, "{verb} {path} HTTP/1.0\r\nHost: localhost\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{form}")
            .ok()?;
        Some(stream)
    }

    /// The body of a successful answer.
    fn ask(&self, verb: &str, path: &str, form: &str) -> Option<String> {
        let mut answer = String::new();
        self.send(verb, path, form)?.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// A process as multivisor shows it; null if it shows none.
    fn process(&self, name: &str) -> Value {
        let data = self.ask("GET", "/api/data", "").and_then(|body| serde_json::from_str::<Value>(&body).ok());
        data.unwrap_or_default()["supervisors"]["lab"]["processes"][format!("lab:{name}")].take()
    }

    /// Repeats a request until it has its effect: on a slow machine multivisor may lose its listener for some seconds, and with it the request.
    fn order<T>(&self, what: &str, form: &str, mut look: impl FnMut() -> Option<T>) -> T {
        wait_for(&format!("the effect of {what} {form}"), || {
            self.ask("POST", &format!("/api/{what}"), form)?;
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline {
                if let Some(found) = look() {
                    return Some(found);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            None
        })
    }

    /// A process, if multivisor shows it in this state.
    fn shows(&self, name: &str, state: &str) -> Option<Value> {
        Some(self.process(name)).filter(|process| process["statename"] == state)
    }

    /// Waits until multivisor shows a process in this state. Returns what it shows.
    fn until(&self, name: &str, state: &str) -> Value {
        wait_for(&format!("{name} {state} in multivisor"), || self.shows(name, state))
    }

    /// The notifications that it sends to browsers from now on.
    fn notifications(&self) -> Arc<Mutex<Vec<String>>> {
        let lines = BufReader::new(self.send("GET", "/api/stream", "").unwrap()).lines();
        let notifications = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&notifications);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
                let event = event.filter(|event| event["event"] == "notification");
                shared
                    .lock()
                    .unwrap()
                    .extend(event.and_then(|event| Some(event["payload"]["message"].as_str()?.to_owned())));
            }
        });
        notifications
    }
}

/// Notes what multivisor shows about a process, without values that differ between two equal runs.
fn note(run: &mut Run, mut process: Value) {
    let fields = process.as_object_mut().unwrap();
    for name in ["now", "start", "stop", "pid"] {
        let value = fields[name].as_i64().map(|number| number > 0);
        fields.insert(name.to_owned(), value.into());
    }
    run.note("process", process);
}

#[test]
fn multivisor_shows_starts_and_stops_programs() {
    let (Some(server), Some(listener)) = (third_party("multivisor"), third_party("multivisor-rpc")) else { return };
    compare_unstarted("", |run| {
        let (rpc, web) = (free_port(), free_port());
        let conf = format!(
            "[program:x]\ncommand=/bin/sh -c \"echo hello; exec sleep 1000\"\nstartsecs=0\n\
             [program:bad]\ncommand=/bin/false\nstartsecs=30\nstartretries=0\nautostart=false\n\
             [eventlistener:multivisor-rpc]\ncommand={} --bind 127.0.0.1:{rpc}\nevents=PROCESS_STATE,SUPERVISOR_STATE_CHANGE\n",
            listener.display()
        );
        // rsup cannot load multivisor's plug-in, and warns about it. The listener does not need it.
        let plug_in = "[rpcinterface:multivisor]\nsupervisor.rpcinterface_factory=multivisor.rpc:make_rpc_interface\n";
        let conf = if run.is_rsup() { conf + plug_in } else { conf };
        run.reconfigure(&conf);
        run.write("multivisor.conf", &format!("[global]\nname=all\n[supervisor:lab]\nurl=localhost:{rpc}\n"));
        run.start();
        if run.is_rsup() {
            run.until_log("the Python plug-in multivisor.rpc:make_rpc_interface cannot be loaded", 1);
        }
        wait_for("the listener", || TcpStream::connect(("127.0.0.1", rpc)).ok());
        let out = fs::File::create(run.dir.join("multivisor.out")).unwrap();
        let mut command = run.command_of(&server);
        command.args(["-c", "multivisor.conf", "--bind", &format!("127.0.0.1:{web}")]);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let multivisor = Dashboard { port: web, _server: Beside(command.spawn().unwrap()) };

        note(run, multivisor.until("x:x", "RUNNING"));
        let notifications = multivisor.notifications();
        note(run, multivisor.order("process/stop", "uid=lab:x:x", || multivisor.shows("x:x", "STOPPED")));
        note(run, multivisor.order("process/restart", "uid=lab:x:x", || multivisor.shows("x:x", "RUNNING")));
        note(run, multivisor.order("process/restart", "uid=lab:bad:bad", || multivisor.shows("bad:bad", "FATAL")));
        let mut tail = BufReader::new(multivisor.send("GET", "/api/process/log/out/tail/lab:x:x", "").unwrap()).lines();
        let line = tail.find_map(|line| line.unwrap().strip_prefix("data: ").map(str::to_owned));
        run.note("log", line.unwrap());

        run.reconfigure(&format!("{conf}[program:new]\ncommand=/bin/sleep 1000\nstartsecs=0\n"));
        let reread = || notifications.lock().unwrap().iter().find(|text| text.contains("Reread")).cloned();
        let notification = multivisor.order("supervisor/reread", "supervisor=lab", reread);
        run.note("notifications", notification);
        multivisor.order("supervisor/update", "supervisor=lab", || (run.state("new") == "RUNNING").then_some(()));
        let shown = wait_for("the new program in multivisor", || {
            multivisor.ask("GET", "/api/refresh", "")?;
            multivisor.shows("new:new", "RUNNING")
        });
        note(run, shown);
        let pidfile = run.dir.join("supervisord.pid");
        multivisor.order("supervisor/shutdown", "supervisor=lab", || (!pidfile.exists()).then_some(()));
        assert_eq!(run.wait(), 0);
    });
}
