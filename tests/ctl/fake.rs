//! A server on a Unix socket that gives the answers of a test.

use rsup::wire::http::{ParsedRequest, Response, parse_request};
use rsup::wire::xmlrpc::{RESPONSE_CLOSE, RESPONSE_OPEN, RpcFault, Value, parse_call, write_fault, write_value};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

/// The answer to a call.
pub enum Answer {
    Value(Value),
    Fault(i64, &'static str),
    /// An HTTP status with its usual body.
    Http(u16),
    /// These bytes; then the connection is closed.
    Raw(&'static str),
}

/// A server that runs until the test process exits.
pub struct Fake {
    dir: tempfile::TempDir,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    methods: Vec<String>,
    connections: usize,
}

impl Fake {
    pub fn start(answer: impl Fn(&str, &[Value]) -> Answer + Send + Sync + 'static) -> Fake {
        let dir = tempfile::Builder::new().prefix("rf").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (noted, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                noted.lock().unwrap().connections += 1;
                let (noted, answer) = (noted.clone(), answer.clone());
                std::thread::spawn(move || serve(connection.unwrap(), &*answer, &noted));
            }
        });
        Fake { dir, seen }
    }

    pub fn url(&self) -> String {
        format!("unix://{}/s", self.dir.path().display())
    }

    /// The methods called so far.
    pub fn methods(&self) -> Vec<String> {
        self.seen.lock().unwrap().methods.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

fn serve(mut stream: UnixStream, answer: &impl Fn(&str, &[Value]) -> Answer, seen: &Mutex<Seen>) {
    let mut buffer = Vec::new();
    loop {
        match parse_request(&buffer) {
            Ok(ParsedRequest::Complete { request, consumed }) => {
                buffer.drain(..consumed);
                let call = parse_call(&request.body).unwrap();
                seen.lock().unwrap().methods.push(call.method.clone());
                let response = match answer(&call.method, &call.params) {
                    Answer::Value(value) => {
                        let mut body = String::from(RESPONSE_OPEN);
                        write_value(&value, &mut body);
                        Response::xml(body + RESPONSE_CLOSE)
                    }
                    Answer::Fault(code, text) => Response::xml(write_fault(&RpcFault { code, text: text.into() })),
                    Answer::Http(status) => Response::error(status),
                    Answer::Raw(bytes) => return stream.write_all(bytes.as_bytes()).unwrap(),
                };
                let mut out = Vec::new();
                response.write_head(request.framing, "now", &mut out);
                out.extend(response.body.iter().flatten());
                if stream.write_all(&out).is_err() || response.closes(request.framing) {
                    return;
                }
            }
            Ok(ParsedRequest::Partial { .. }) => {
                let mut piece = [0; 4096];
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => return,
                    Ok(length) => buffer.extend_from_slice(&piece[..length]),
                }
            }
            Err(why) => panic!("{why}"),
        }
    }
}
