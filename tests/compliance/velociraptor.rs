//! Velociraptor's `proc_publisher` (vr.agent), unmodified, with both supervisors: a listener that publishes to a real Redis.

use crate::harness::{Beside, TIMEOUT, free_port, skip, third_party, wait_for};
use crate::{Run, compare_unstarted};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

const REDIS: &str = "/usr/bin/redis-server";

/// vr.agent 2.0.0 was written for Python 2: it encodes a string as base64, which Python 3 allows for bytes only, and creates a transport
/// without an argument that Python 3 needs, so with Python 3 it reaches no supervisor. This adds both to the interpreter.
const PYTHON_2: &str = "import base64, codecs, encodings, xmlrpc.client
class Text(bytes):
    def replace(self, old, new):
        return self.decode().replace(old, new)
def encode(text, errors='strict'):
    return Text(base64.encodebytes(text.encode())), len(text)
encodings._cache['base64'] = codecs.CodecInfo(encode, None, name='base64')
xmlrpc.client.Transport._use_builtin_types = False
";

/// The name has the parts that Velociraptor's programs have.
const NODE: &str = "node-v2-local-f96054b7-web-5003";

/// A connection to Redis.
struct Redis(BufReader<TcpStream>);

impl Redis {
    fn connect(port: u16) -> Option<Redis> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        Some(Redis(BufReader::new(stream)))
    }

    fn ask(&mut self, command: &str) -> Value {
        self.0.get_ref().set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(self.0.get_mut(), "{command}\r\n").unwrap();
        self.answer().expect("an answer of Redis")
    }

    /// The next answer or message; `None` at end of file.
    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().unwrap();
        Some(match kind {
            "+" => rest.into(),
            ":" => number().into(),
            "$" if number() < 0 => Value::Null,
            "$" => {
                let mut text = vec![0; usize::try_from(number()).unwrap() + 2];
                self.0.read_exact(&mut text).ok()?;
                String::from_utf8(text).unwrap().trim_end_matches("\r\n").into()
            }
            "*" => (0..number()).map(|_| self.answer()).collect::<Option<Vec<_>>>()?.into(),
            _ => panic!("unexpected answer of Redis: {line:?}"),
        })
    }
}

/// Starts a Redis server. Returns its port.
fn redis(run: &Run) -> (u16, Beside) {
    wait_for("a Redis server", || {
        let port = free_port();
        let mut command = run.command_of(REDIS.as_ref());
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        let mut server = Beside(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let own = format!("process_id:{}\r\n", server.0.id());
        // If another process has taken the port meanwhile, Redis exits at once, and another port is tried.
        let runs = wait_for("Redis, or its exit", || {
            let answers =
                Redis::connect(port).is_some_and(|mut redis| redis.ask("INFO server").as_str().unwrap().contains(&own));
            let ended = server.0.try_wait().unwrap().is_some();
            (answers || ended).then_some(answers)
        });
        runs.then_some((port, server))
    })
}

/// The published messages, in order.
struct Published(Arc<Mutex<Vec<Value>>>, usize);

impl Published {
    fn subscribe(port: u16) -> Published {
        let mut redis = Redis::connect(port).unwrap();
        redis.ask("SUBSCRIBE proc_events");
        redis.0.get_ref().set_read_timeout(None).unwrap();
        let all = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&all);
        std::thread::spawn(move || {
            while let Some(message) = redis.answer() {
                kept.lock().unwrap().push(serde_json::from_str(message[2].as_str().unwrap()).unwrap());
            }
        });
        Published(all, 0)
    }

    /// Waits for this event of a program. Notes all messages since the last call: only the names of earlier events, since the publisher
    /// asks for the state a moment later; all of the last event, except values that differ between equal runs.
    fn note_until(&mut self, run: &mut Run, event: &str, name: &str) {
        let messages = wait_for(&format!("{event} of {name}"), || {
            let all = self.0.lock().unwrap();
            let is_it = |message: &Value| message["event"] == event && message["name"] == name;
            let found = all.iter().skip(self.1).position(is_it)?;
            Some(all[self.1..=self.1 + found].to_vec())
        });
        self.1 += messages.len();
        for message in &messages {
            run.note("published", format!("{} {}", message["event"], message["name"]));
        }
        run.note("the last", steady(messages.last().unwrap().clone()));
    }
}

/// Process information without values that differ between two equal runs: of ids and times only whether they are set.
fn steady(mut info: Value) -> Value {
    for (name, value) in info.as_object_mut().unwrap() {
        let is_chance = ["pid", "now", "start", "stop", "start_time", "stop_time", "time"].contains(&name.as_str());
        if is_chance {
            *value = (!value.is_null() && *value != 0).into();
        }
    }
    info
}

#[test]
fn velociraptor_publishes_to_redis() {
    let Some(publisher) = third_party("proc_publisher") else { return };
    if !fs::exists(REDIS).unwrap() {
        return skip("no redis-server (tests/run --install installs it)");
    }
    compare_unstarted("", |run| {
        let (port, _server) = redis(run);
        let conf = format!(
            "[program:{NODE}]\ncommand=/bin/sleep 1000\nautostart=false\n\
             [program:once]\ncommand=/bin/true\nautostart=false\nstartsecs=0\nautorestart=false\n\
             [program:bad]\ncommand=/bin/false\nautostart=false\nstartsecs=30\nstartretries=0\n\
             [eventlistener:publisher]\ncommand={}\nevents=PROCESS_STATE,PROCESS_GROUP,TICK_60\nstderr_logfile={{dir}}/publisher.err\n\
             environment=REDIS_URL=\"redis://127.0.0.1:{port}/0\",HOSTNAME=\"here\",PYTHONPATH=\"{{dir}}/python\"\n",
            publisher.display()
        );
        run.reconfigure(&conf);
        fs::create_dir(run.dir.join("python")).unwrap();
        run.write("python/sitecustomize.py", PYTHON_2);
        let mut published = Published::subscribe(port);
        run.start();
        published.note_until(run, "PROCESS_STATE_RUNNING", "publisher");
        run.call("supervisor.startProcess", json!([NODE])).unwrap();
        published.note_until(run, "PROCESS_STATE_RUNNING", NODE);
        run.call("supervisor.stopProcess", json!([NODE])).unwrap();
        published.note_until(run, "PROCESS_STATE_STOPPED", NODE);
        // Whether a program that exits at once counts as started is random.
        let _ = run.rpc("supervisor.startProcess", json!(["bad"]));
        published.note_until(run, "PROCESS_STATE_FATAL", "bad");
        let _ = run.rpc("supervisor.startProcess", json!(["once"]));
        published.note_until(run, "PROCESS_STATE_EXITED", "once");

        // An added group changes only the cache of the host; a removed one is published too.
        let mut redis = Redis::connect(port).unwrap();
        run.reconfigure(&format!("{conf}[program:more]\ncommand=/bin/sleep 1000\nautostart=false\n"));
        run.call("supervisor.reloadConfig", json!([])).unwrap();
        run.call("supervisor.addProcessGroup", json!(["more"])).unwrap();
        let cached = |redis: &mut Redis, name: &str| {
            serde_json::from_str(redis.ask(&format!("HGET host_procs:here {name}")).as_str()?).ok()
        };
        let more = wait_for("the new program in the cache", || cached(&mut redis, "more"));
        run.note("cached", steady(more));
        run.call("supervisor.removeProcessGroup", json!(["more"])).unwrap();
        published.note_until(run, "PROCESS_GROUP_REMOVED", "more");
        run.until_file("publisher.err", "'PROCESS_GROUP_REMOVED'");

        // The cache is rebuilt at the next full minute.
        let ticks = run.read("publisher.err").matches("TICK_60").count();
        redis.ask("DEL host_procs:here");
        let mut names = wait_for("the cache after a minute", || {
            let names = redis.ask("HKEYS host_procs:here").as_array().unwrap().clone();
            (!names.is_empty()).then_some(names)
        });
        names.sort_by_key(Value::to_string);
        run.note("cached", json!(names));
        wait_for("TICK_60", || (run.read("publisher.err").matches("TICK_60").count() > ticks).then_some(()));
        let when =
            run.read("publisher.err").rsplit("'when': '").next().unwrap().split('\'').next().unwrap().parse::<u64>();
        assert_eq!(when.unwrap() % 60, 0);
        run.note("the publisher", run.state("publisher"));
        assert!(!run.read("publisher.err").contains("Traceback"));
    });
}
