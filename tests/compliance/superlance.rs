//! superlance's listeners, unmodified, with both supervisors.

use super::Run;
use crate::compare_unstarted;
use crate::harness::{oracle, skip, wait_for};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A mail server that accepts everything. Returns its address, and the mails that it received.
fn mail_server() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let mails = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&mails);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = stream.write_all(b"220 mail\r\n");
            let mut in_data = false;
            for line in lines.map_while(Result::ok) {
                if in_data {
                    in_data = line != ".";
                    *kept.lock().unwrap() += &format!("{line}\n");
                    if in_data {
                        continue;
                    }
                }
                in_data = line.eq_ignore_ascii_case("data");
                let answer: &[u8] = if in_data { b"354 go on\r\n" } else { b"250 well\r\n" };
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    (address, mails)
}

/// The lines of a mail that must be the same, without numbers and times.
fn lines_with(text: &str, words: &[&str]) -> Vec<String> {
    let lines = text.lines().filter(|line| words.iter().any(|word| line.contains(word)));
    let without_digits = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "#");
    lines.map(|line| without_digits(line).replace("##", "#").replace("##", "#")).collect()
}

#[test]
fn httpok_memmon_crashmail_and_fatalmailbatch() {
    let Some(bin) = oracle().map(|oracle| oracle.join("bin")) else {
        return skip("no superlance (tests/run makes build/oracle)");
    };
    if !bin.join("httpok").exists() {
        return skip("no superlance in $RSUP_ORACLE (tests/python/requirements.txt)");
    }
    let bin = bin.display();
    // No server listens on this free port.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = format!(
        "[program:fat]\ncommand=/bin/sleep 1000\n[program:web]\ncommand=/bin/sleep 1000\n\
         [program:crash]\ncommand=/bin/sh -c \"sleep 1.5; exit 3\"\nautorestart=false\nautostart=false\n\
         [program:fatal]\ncommand=/bin/false\nstartretries=0\nautostart=false\n\
         [eventlistener:crashmail]\ncommand={bin}/crashmail -a -m to@example.org -s \"cat >>{{dir}}/crash.mail\"\nevents=PROCESS_STATE_EXITED\n\
         [eventlistener:memmon]\ncommand={bin}/memmon -p fat=1KB -m to@example.org -s \"cat >>{{dir}}/memory.mail\"\nevents=TICK_5\n\
         [eventlistener:httpok]\ncommand={bin}/httpok -p web -t 1 -m to@example.org -s \"cat >>{{dir}}/http.mail\" http://127.0.0.1:{closed}/\nevents=TICK_5\n"
    );
    compare_unstarted(&conf, |run: &mut Run| {
        let (address, mails) = mail_server();
        let batch = format!(
            "[eventlistener:fatalmailbatch]\ncommand={bin}/fatalmailbatch -i 0.01 -e TICK_5 -H {address} -t to@example.org -f from@example.org\n\
             events=PROCESS_STATE,TICK_5\n"
        );
        let whole = run.read("supervisord.conf") + &batch;
        run.sandbox.write("supervisord.conf", &whole);
        run.sandbox.start();
        for name in ["fat", "web", "crashmail", "memmon", "httpok", "fatalmailbatch"] {
            run.until(name, "RUNNING");
        }
        let before = ["fat", "web"].map(|name| run.pid_of(name));
        run.rpc("supervisor.startProcess", json!(["crash"])).unwrap();
        let _ = run.rpc("supervisor.startProcess", json!(["fatal"]));
        run.until("crash", "EXITED");
        run.until("fatal", "FATAL");
        for (n, name) in ["fat", "web"].into_iter().enumerate() {
            wait_for(&format!("{name}'s restart"), || {
                let info = run.info(name);
                (info["statename"] == "RUNNING" && info["pid"] != before[n]).then_some(())
            });
        }
        run.until_file("crash.mail", "unexpectedly");
        run.until_file("http.mail", "error contacting");
        run.until_file("memory.mail", "Subject:");
        wait_for("fatalmailbatch's mail", || mails.lock().unwrap().contains("fatal").then_some(()));
        let crash = lines_with(&run.read("crash.mail"), &["Subject:", "To:", "unexpectedly"]);
        run.note("crashmail", format!("{crash:?}"));
        let http = lines_with(&run.read("http.mail"), &["Subject:", "error contacting"]);
        run.note("httpok", format!("{:?}", http.first()));
        let memory = lines_with(&run.read("memory.mail"), &["Subject:"]);
        run.note("memmon", format!("{:?}", memory.first()));
        let batch = lines_with(&mails.lock().unwrap(), &["Subject:", "failed to start"]);
        run.note("fatalmailbatch", format!("{:?}", &batch[..batch.len().min(2)]));
        assert!(
            crash.len() >= 3 && !http.is_empty() && !memory.is_empty() && batch.len() >= 2,
            "{crash:?} {http:?} {memory:?} {batch:?}"
        );
    });
}
