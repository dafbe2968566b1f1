//! Event listeners: the events that they receive, byte for byte except numbers and times, and the effect of their answers.

use super::{Run, compare};
use crate::harness::{skip, wait_for};
use serde_json::json;
use std::os::unix::process::CommandExt as _;

/// Writes each event to the file of the first argument, and answers OK. With a second argument, answers that to the first sending of each
/// event.
const LISTENER: &str = r"
import sys
out = open(sys.argv[1], 'ab', buffering=0)
seen = set()
while True:
    sys.stdout.write('READY\n')
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        break
    headers = dict(pair.split(':', 1) for pair in line.split())
    data = sys.stdin.read(int(headers['len']))
    out.write((line + data + '\n---\n').encode())
    answer = 'RESULT 2\nOK'
    if len(sys.argv) > 2 and headers['serial'] not in seen:
        seen.add(headers['serial'])
        answer = sys.argv[2].replace('_', '\n')
    sys.stdout.write(answer)
    sys.stdout.flush()
";

fn listener(events: &str, more: &str) -> String {
    format!(
        "[eventlistener:l]\ncommand=python3 {{dir}}/listener.py {{dir}}/got\nevents={events}\nbuffer_size=100\n{more}\n"
    )
}

/// The type and the text of each event, without numbers and times.
fn got(run: &Run) -> Vec<(String, String)> {
    let text = run.read("got");
    let events = text.split("\n---\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            let number = |word: &str| {
                let (key, value) = word.split_once(':')?;
                let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let is_chance = ["serial", "poolserial", "pid", "when", "len"].contains(&key) && value != "0";
                (is_number && is_chance).then(|| format!("{key}:#"))
            };
            let words = event.split(' ').map(|word| match word.split_once('\n') {
                Some((first, rest)) => format!(
                    "{}\n{}",
                    number(first).unwrap_or_else(|| first.into()),
                    number(rest).unwrap_or_else(|| rest.into())
                ),
                None => number(word).unwrap_or_else(|| word.into()),
            });
            let name = event.split("eventname:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            (name.to_owned(), words.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

fn until_got(run: &Run, text: &str, times: usize) {
    wait_for(&format!("{times} times {text:?} at the listener"), || {
        (run.read("got").matches(text).count() >= times).then_some(())
    });
}

/// Compares with a listener that is READY before the body runs.
fn compare_with_listener(conf: &str, body: impl Fn(&mut Run) + Sync) {
    super::compare_unstarted(conf, |run| {
        run.sandbox.write("listener.py", LISTENER);
        run.sandbox.start();
        run.until("l", "RUNNING");
        body(run);
    });
}

#[test]
fn events_of_processes_groups_clients_and_the_supervisor() {
    let conf = "[program:x]\ncommand=/bin/sleep 1000\nautostart=false\n\
                [program:bad]\ncommand=/bin/false\nstartretries=1\nautostart=false\n\
                [program:missing]\ncommand=/nonexistent/x\nstartretries=0\nautostart=true\n\
                [program:once]\ncommand=/bin/sh -c \"sleep 1.5; exit 3\"\nautorestart=false\nautostart=false\n\
                [program:slow]\ncommand=/bin/sh -c \"trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done\"\n\
                [program:good]\ncommand=/bin/sleep 1.5\nautorestart=false\nautostart=false\n";
    let conf = format!("{conf}{}", listener("EVENT", ""));
    compare_with_listener(&conf, |run| {
        for name in ["x", "bad", "once", "good"] {
            let _ = run.rpc("supervisor.startProcess", json!([name, false]));
        }
        run.until("x", "RUNNING");
        run.rpc("supervisor.stopProcess", json!(["x"])).unwrap();
        run.until("bad", "FATAL");
        run.until("once", "EXITED");
        run.until("good", "EXITED");
        run.rpc("supervisor.removeProcessGroup", json!(["x"])).unwrap();
        run.rpc("supervisor.addProcessGroup", json!(["x"])).unwrap();
        run.rpc("supervisor.sendRemoteCommEvent", json!(["kind", "d\u{e4}ta\nline"])).unwrap();
        until_got(run, "REMOTE_COMMUNICATION", 1);
        // Bytes ("b\u{e4}se64") are text.
        let call = "<methodCall><methodName>supervisor.sendRemoteCommEvent</methodName><params><param><value>kind</value></param>\
                    <param><value><base64>YsOkc2U2NA==</base64></value></param></params></methodCall>";
        let (status, answer) = run.http("POST", "/RPC2", "", call).unwrap();
        assert!(status == 200 && answer.contains("<boolean>1</boolean>"), "{answer}");
        until_got(run, "REMOTE_COMMUNICATION", 2);
        assert_eq!(run.stop(), 0);
        let got = got(run);
        for name in ["x", "bad", "missing", "once", "good"] {
            for (_, event) in got.iter().filter(|(_, event)| event.contains(&format!("processname:{name} "))) {
                run.note(name, event);
            }
        }
        for kind in ["PROCESS_GROUP", "REMOTE", "SUPERVISOR"] {
            for (_, event) in got.iter().filter(|(name, _)| name.starts_with(kind)) {
                run.note(kind, event);
            }
        }
        // There is one event of each type, and the listener received those of the shutdown too.
        for kind in ["STARTING", "RUNNING", "BACKOFF", "FATAL", "EXITED", "STOPPING", "STOPPED"] {
            assert!(got.iter().any(|(name, _)| *name == format!("PROCESS_STATE_{kind}")), "{kind}: {got:?}");
        }
        for kind in ["GROUP_ADDED", "GROUP_REMOVED", "CHANGE_RUNNING", "CHANGE_STOPPING"] {
            assert!(got.iter().any(|(name, _)| name.ends_with(kind)), "{kind}: {got:?}");
        }
    });
}

#[test]
fn a_parent_type_delivers_all_its_subtypes() {
    // A program that is slow to stop, so that the listener receives the events of the shutdown.
    let conf = "[program:x]\ncommand=/bin/sleep 1000\nautostart=false\n\
                [program:slow]\ncommand=/bin/sh -c \"trap 'sleep 3; exit' TERM; while :; do sleep 0.1; done\"\n";
    let conf = format!("{conf}{}", listener("process_group,SUPERVISOR_STATE_CHANGE,PROCESS_STATE", ""));
    compare_with_listener(&conf, |run| {
        run.until("slow", "RUNNING");
        run.rpc("supervisor.startProcess", json!(["x"])).unwrap();
        run.rpc("supervisor.stopProcess", json!(["x"])).unwrap();
        run.rpc("supervisor.removeProcessGroup", json!(["x"])).unwrap();
        run.rpc("supervisor.addProcessGroup", json!(["x"])).unwrap();
        run.rpc("supervisor.sendRemoteCommEvent", json!(["not", "subscribed"])).unwrap();
        until_got(run, "groupname:x\n", 3);
        assert_eq!(run.stop(), 0);
        let got = got(run);
        assert!(!run.read("got").contains("REMOTE"));
        for wanted in ["processname:x ", "eventname:PROCESS_GROUP", "eventname:SUPERVISOR"] {
            for (_, event) in got.iter().filter(|(_, event)| event.contains(wanted)) {
                run.note(wanted, event);
            }
        }
        assert!(got.iter().any(|(name, _)| name == "SUPERVISOR_STATE_CHANGE_STOPPING"), "{got:?}");
    });
}

#[test]
fn output_becomes_events_where_that_is_enabled() {
    let conf = "[program:x]\nautostart=false\nstdout_events_enabled=true\nstderr_events_enabled=true\n\
                command=/bin/sh -c \"until_got() { until grep -qs $1 {dir}/got; do sleep 0.05; done; }; \
                echo some words; until_got words; printf '\\303\\244 no newline' >&2; until_got newline; \
                printf '\\377\\n'; exec sleep 1000\"\n\
                [program:quiet]\ncommand=/bin/sh -c \"echo quiet; exec sleep 1000\"\nautostart=false\n";
    let conf = format!("{conf}{}", listener("PROCESS_LOG", "stdout_events_enabled=true\n"));
    compare_with_listener(&conf, |run| {
        for name in ["quiet", "x"] {
            run.rpc("supervisor.startProcess", json!([name])).unwrap();
        }
        until_got(run, "eventname:PROCESS_LOG", 3);
        for (_, event) in got(run) {
            run.note("event", event);
        }
        run.stop();
    });
}

#[test]
fn captured_output_becomes_events_and_is_not_logged() {
    let text = "outside, and long enough\\\\n<!--XSUPERVISOR:BEGIN-->caught<!--XSUPERVISOR:END-->again outside, and long enough\\\\n";
    let conf = format!(
        "[program:x]\ncommand=/bin/sh -c \"printf '{text}'; \
         until grep -qs caught {{dir}}/got; do sleep 0.05; done; printf '{text}' >&2; exec sleep 1000\"\n\
         autostart=false\nstdout_capture_maxbytes=1MB\nstderr_capture_maxbytes=1MB\n\
         stdout_logfile={{dir}}/x.out\nstderr_logfile={{dir}}/x.err\n{}",
        listener("PROCESS_COMMUNICATION", "")
    );
    compare_with_listener(&conf, |run| {
        run.rpc("supervisor.startProcess", json!(["x"])).unwrap();
        until_got(run, "eventname:PROCESS_COMMUNICATION", 2);
        for (_, event) in got(run) {
            run.note("event", event);
        }
        run.stop();
        for name in ["x.out", "x.err"] {
            run.note(name, run.read(name));
        }
    });
}

#[test]
fn ticks_come_at_whole_multiples_of_five_seconds() {
    compare_with_listener(&listener("TICK_5", ""), |run| {
        until_got(run, "eventname:TICK_5", 2);
        let text = run.read("got");
        let when = |event: &str| event.split("when:").nth(1).and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
        let times: Vec<u64> = text.split("\n---\n").filter_map(when).collect();
        assert!(times[0] < times[1] && times.iter().all(|when| when.is_multiple_of(5)), "{times:?}");
        run.note("tick", &got(run)[0].1);
        run.stop();
    });
}

/// Debian's libfaketime, which gives a program another clock.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn minutes_and_hours_are_ticks_too() {
    if !std::fs::exists(FAKETIME).unwrap() {
        return skip("no libfaketime (tests/run --install installs it)");
    }
    // The supervisor's clock starts shortly before a full hour. Its children have the real time.
    let conf = format!("[supervisord]\nenvironment=LD_PRELOAD=\"\"\n{}", listener("TICK", ""));
    super::compare_unstarted(&conf, |run| {
        run.write("listener.py", LISTENER);
        let plain = run.command("supervisord");
        // The binary that ships is static, so LD_PRELOAD does not work with it. This one is linked dynamically.
        let program = if run.is_rsup() { env!("CARGO_BIN_EXE_rsup").into() } else { plain.get_program().to_owned() };
        let mut command = std::process::Command::new(program);
        command.arg0("supervisord").args(["-n", "-c", "supervisord.conf"]).current_dir(&run.dir).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", "@2026-01-02 03:59:50").env("TZ", "UTC");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_RESET", "1");
        run.launch_as(command);
        for name in ["TICK_3600", "TICK_60", "TICK_5"] {
            until_got(run, &format!("eventname:{name} "), 1);
        }
        let text = run.read("got");
        let hour = "when:1767326400\n";
        for name in ["TICK_3600", "TICK_60"] {
            let event = text.split("---\n").find(|event| event.contains(&format!("eventname:{name} "))).unwrap();
            assert!(event.contains(hour), "{event}");
            let event = got(run).into_iter().find(|(is, _)| is == name).unwrap().1;
            run.note(name, event);
        }
        run.stop();
    });
}

#[test]
fn a_process_that_cannot_be_signalled_is_unknown() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can start programs of another user");
    }
    let conf = format!(
        "[program:x]\ncommand=/bin/sleep 1000\nuser=games\n[program:y]\ncommand=/bin/sleep 1000\nuser=games\n\
         [program:z]\ncommand=/bin/sleep 1000\nuser=games\n{}",
        listener("PROCESS_STATE_UNKNOWN", "")
    );
    super::compare_unstarted(&conf, |run| {
        run.write("listener.py", LISTENER);
        let plain = run.command("supervisord");
        // root, but without the right to signal others.
        let mut command = std::process::Command::new("setpriv");
        command.args(["--bounding-set=-kill", "--inh-caps=-kill"]).arg(plain.get_program());
        command.args(["-n", "-c", "supervisord.conf"]).current_dir(&run.dir).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run.launch_as(command);
        wait_for("an answer", || run.rpc("supervisor.getState", json!([])).ok());
        for name in ["x", "y", "z", "l"] {
            run.until(name, "RUNNING");
        }
        for (method, params) in
            [("stopProcess", json!(["x"])), ("stopProcess", json!(["y", false])), ("startProcess", json!(["x"]))]
        {
            let (code, text) = run.rpc(&format!("supervisor.{method}"), params.clone()).unwrap_err();
            // Supervisor adds a traceback.
            run.note(&format!("{method}{params}"), format!("{code} {}", text.split(' ').next().unwrap_or_default()));
        }
        until_got(run, "eventname:PROCESS_STATE_UNKNOWN", 2);
        for (_, event) in got(run) {
            run.note("event", event);
        }
        // In Supervisor this makes the process UNKNOWN too.
        let (code, _) = run.rpc("supervisor.signalProcess", json!(["z", "USR1"])).unwrap_err();
        run.note("signal", code);
        run.ctl(&["status", "x", "y"]);
    });
}

#[test]
fn a_pool_of_several_shares_its_events() {
    let conf = listener("REMOTE_COMMUNICATION", "numprocs=2\nprocess_name=l%(process_num)d")
        .replace("/got\n", "/got%(process_num)d\n");
    super::compare_unstarted(&conf, |run| {
        run.write("listener.py", LISTENER);
        run.start();
        for name in ["l:l0", "l:l1"] {
            run.until(name, "RUNNING");
        }
        for n in 0..6 {
            run.rpc("supervisor.sendRemoteCommEvent", json!(["t", format!("event-{n}")])).unwrap();
        }
        let both = |run: &Run| run.read("got0") + &run.read("got1");
        wait_for("all", || (both(run).matches("event-").count() == 6).then_some(()));
        let mut of_each: Vec<bool> = (0..6).map(|n| both(run).matches(&format!("event-{n}\n")).count() == 1).collect();
        of_each.push(both(run).matches("pool:l ").count() == 6);
        run.note("each came once", format!("{of_each:?}"));
        run.stop();
    });
}

#[test]
fn a_rejected_event_is_sent_again() {
    let conf = listener("REMOTE_COMMUNICATION", "").replace("/got\n", "/got RESULT_4_FAIL\n").replace(
        "RESULT_4_FAIL",
        // Underscores of the argument become newlines; the first one is not wanted.
        "RESULT\\ 4_FAIL",
    );
    compare_with_listener(&conf, |run| {
        for data in ["one", "two"] {
            run.rpc("supervisor.sendRemoteCommEvent", json!(["t", data])).unwrap();
            until_got(run, &format!("\n{data}\n"), 2);
        }
        for (_, event) in got(run) {
            run.note("event", event);
        }
        run.until_log("WARN l: event was rejected", 2);
        run.stop();
    });
}

#[test]
fn a_listener_that_breaks_the_protocol_gets_no_more_events() {
    let conf = listener("REMOTE_COMMUNICATION", "").replace("/got\n", "/got nonsense_\n");
    compare_with_listener(&conf, |run| {
        run.rpc("supervisor.sendRemoteCommEvent", json!(["t", "one"])).unwrap();
        run.until_log("WARN l: bad result line: 'nonsense'", 1);
        run.until_log(
            "WARN l: has entered the UNKNOWN state and will no longer receive events, this usually indicates the process \
             violated the eventlistener protocol",
            1,
        );
        // Started again it gets what it had in hand.
        run.rpc("supervisor.stopProcess", json!(["l"])).unwrap();
        run.rpc("supervisor.startProcess", json!(["l"])).unwrap();
        until_got(run, "\none\n", 2);
        run.stop();
    });
}

#[test]
fn a_full_buffer_logs_the_events_it_drops() {
    let conf = "[eventlistener:l]\ncommand=/bin/sleep 1000\nevents=REMOTE_COMMUNICATION\nbuffer_size=2\n";
    compare(conf, |run| {
        for data in ["a", "b", "c", "d"] {
            run.call("supervisor.sendRemoteCommEvent", json!(["t", data])).unwrap();
        }
        run.until_log("ERRO pool l event buffer overflowed, discarding event 0", 1);
        run.until_log("ERRO pool l event buffer overflowed, discarding event 1", 1);
        run.stop();
    });
}
