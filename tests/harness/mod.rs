//! Code that black-box tests share: a sandbox in which one supervisor, the real one or rsup, runs one configuration.
//!
//! The client here is written from the protocol alone and uses nothing of `src/`, so that a mistake in `src/` cannot hide itself.
#![allow(dead_code, clippy::disallowed_methods)]

pub mod terminal;
pub mod xmlrpc;

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails. Generous: only an event that never comes takes this long.
pub const TIMEOUT: Duration = Duration::from_secs(100);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Every process of a sandbox inherits this variable, so that orphans are found too.
const TAG: &str = "RSUP_TEST_SANDBOX";

/// Which supervisor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Supervisor,
    Rsup,
}

/// The virtual environment with the real Supervisor: `$RSUP_ORACLE`, or the one that `tests/run` has made.
pub fn oracle() -> Option<PathBuf> {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/oracle");
    let venv = std::env::var_os("RSUP_ORACLE").map_or_else(made, PathBuf::from);
    venv.join("bin/supervisord").exists().then_some(venv)
}

/// A third-party program from the virtual environment `$RSUP_THIRD_PARTY`, or from the one that `tests/run` has made.
/// If it is missing, lists the running test as skipped.
pub fn third_party(program: &str) -> Option<PathBuf> {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/third-party");
    let venv = std::env::var_os("RSUP_THIRD_PARTY").map_or_else(made, PathBuf::from);
    let path = venv.join("bin").join(program);
    if !path.exists() {
        skip(&format!("no {program} (tests/run makes build/third-party)"));
        return None;
    }
    Some(path)
}

/// The binary under test: `$RSUP_STATIC` (`tests/run` names the static one that ships), or the one that cargo has just built.
pub fn rsup() -> PathBuf {
    std::env::var_os("RSUP_STATIC").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rsup")), PathBuf::from)
}

/// The file that lists skipped tests: `$RSUP_SKIPS`, or a file of the `cargo test` that started this process, which
/// `tests/zz_skipped.rs` prints at the end.
pub fn skips() -> PathBuf {
    let of_cargo =
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skips.{}", std::os::unix::process::parent_id()));
    std::env::var_os("RSUP_SKIPS").map_or_else(of_cargo, PathBuf::from)
}

/// Lists the running test as skipped, with the reason.
pub fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("skipped: {name}: {reason}");
    let mut list = fs::OpenOptions::new().append(true).create(true).open(skips()).unwrap();
    writeln!(list, "{name}: {reason}").unwrap();
}

/// The n-th block of a document with this language, from 0: the text between ```` ```LANGUAGE ```` and the next fence.
pub fn block(document: &str, language: &str, n: usize) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{document}: {why}"));
    let fence = format!("\n```{language}\n");
    let rest = text.split(&fence).nth(n + 1).unwrap_or_else(|| panic!("{document} has no block {n} of {language}"));
    rest.split("```").next().unwrap().to_owned()
}

/// Adds a line to one of the lists that `tests/run` shows at its end: `$RSUP_REPORT/KIND`.
pub fn report(kind: &str, line: &str) {
    println!("{kind}: {line}");
    if let Some(folder) = std::env::var_os("RSUP_REPORT") {
        let path = Path::new(&folder).join(kind);
        let mut list = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        list.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Reports how many answers this test has compared with Supervisor, in the area of its module.
pub fn compared(answers: usize) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let file = std::env::args().next().unwrap_or_default();
    let file = file.rsplit('/').next().unwrap_or_default();
    let file = file.rsplit_once('-').map_or(file, |(file, _)| file);
    let area = name.rsplit_once("::").map_or(file.to_owned(), |(module, _)| format!("{file}/{module}"));
    report("compared", &format!("{area} {name} {answers}"));
}

/// Writes an executable file. A child process writes it: a descriptor of this process may be inherited by a child of another test, and
/// a file that is open for writing cannot be executed (ETXTBSY).
pub fn executable(path: &Path, bytes: &[u8]) {
    let script = r#"cat >"$0" && chmod 755 "$0""#;
    let mut child = Command::new("sh").args(["-c", script]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Makes the file of a Unix socket on which no process listens. A child of another test may hold the socket for a moment.
pub fn stale_socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    wait_for("a stale socket", || UnixStream::connect(path).is_err().then_some(()));
}

/// Calls `f` until it returns a value. Panics with `what` after [`TIMEOUT`].
pub fn wait_for<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The result of a finished command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end; a death by signal n is code 128+n.
pub fn run(command: &mut Command) -> Ran {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Ran {
        code: code_of(done.status),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// The exit code as a shell reports it: 128 + n for signal n.
pub fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

const COMMON: &str = "[supervisord]
logfile={dir}/main.log
pidfile={dir}/supervisord.pid
childlogdir={dir}
user=root
[unix_http_server]
file={dir}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{dir}/sock
";

/// A temporary directory with a configuration, and the supervisor that runs it.
pub struct Sandbox {
    pub dir: PathBuf,
    pub subject: Subject,
    daemon: Option<Child>,
    _temp: tempfile::TempDir,
}

impl Sandbox {
    /// A sandbox with the common sections (logs, socket, RPC interface) and `conf`, in which `{dir}` is the sandbox's directory.
    pub fn new(subject: Subject, conf: &str) -> Sandbox {
        let sandbox = Sandbox::bare(subject);
        sandbox.write("supervisord.conf", &format!("{}{conf}", sandbox.common()));
        sandbox
    }

    /// An empty sandbox, for a test that writes the whole configuration itself.
    pub fn bare(subject: Subject) -> Sandbox {
        let temp = tempfile::Builder::new().prefix("rs").tempdir_in("/tmp").unwrap();
        let dir = temp.path().to_path_buf();
        // Programs of other users need access too.
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(dir.join("bin")).unwrap();
        for name in ["supervisord", "supervisorctl", "rsup", "rsupctl", "pidproxy"] {
            let target = match (subject, oracle()) {
                (Subject::Supervisor, Some(venv)) if !name.starts_with("rsup") => venv.join("bin").join(name),
                _ => rsup(),
            };
            std::os::unix::fs::symlink(target, dir.join("bin").join(name)).unwrap();
        }
        Sandbox { dir, subject, daemon: None, _temp: temp }
    }

    /// The common sections; for a user other than root without `user=root`.
    pub fn common(&self) -> String {
        let root = nix::unistd::geteuid().is_root();
        if root { COMMON.to_owned() } else { COMMON.replace("user=root\n", "") }
    }

    /// Replaces `{dir}` by the sandbox's directory.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{dir}", self.dir.to_str().unwrap())
    }

    /// Writes a file of the sandbox, with `{dir}` filled in.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), self.fill(text)).unwrap();
    }

    /// Replaces the part of the configuration after the common sections.
    pub fn reconfigure(&self, conf: &str) {
        self.write("supervisord.conf", &format!("{}{conf}", self.common()));
    }

    /// A file of the sandbox as text; empty if it does not exist.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join(name)).unwrap_or_default()).into_owned()
    }

    /// A command of the sandbox's `bin`, in its directory, with the sandbox's environment.
    pub fn command(&self, name: &str) -> Command {
        self.command_of(&self.dir.join("bin").join(name))
    }

    /// The same for any program. Processes that it leaves running are killed with the sandbox.
    pub fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().env(TAG, &self.dir);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/root").env("LANG", "C.UTF-8");
        command
    }

    /// Starts the supervisor in the foreground and waits until it answers.
    pub fn start(&mut self) {
        self.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
        wait_for("an answer on the control socket", || {
            let daemon = self.daemon.as_mut().unwrap();
            if let Some(status) = daemon.try_wait().unwrap() {
                panic!("the supervisor ended at once: {status}");
            }
            self.rpc("supervisor.getState", serde_json::json!([])).ok()
        });
    }

    /// Starts the supervisor with these arguments, without waiting.
    pub fn launch(&mut self, args: &[&str]) {
        let mut command = self.command("supervisord");
        command.args(args.iter().map(|arg| self.fill(arg)));
        self.launch_as(command);
    }

    /// Starts this command as the sandbox's supervisor: its output goes to `{dir}/stdout` and `{dir}/stderr`.
    pub fn launch_as(&mut self, mut command: Command) {
        let file = |name: &str| fs::OpenOptions::new().append(true).create(true).open(self.dir.join(name)).unwrap();
        let daemon = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        self.daemon = Some(daemon);
    }

    /// The supervisor's process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.daemon.as_ref().expect("the supervisor was started").id()).unwrap()
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits until the supervisor exits. Returns its exit code.
    pub fn wait(&mut self) -> i32 {
        let daemon = self.daemon.as_mut().expect("the supervisor was started");
        let status = wait_for("the exit of the supervisor", || daemon.try_wait().unwrap());
        code_of(status)
    }

    /// Sends SIGTERM. Returns the exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait()
    }

    /// Runs the subject's own control client.
    pub fn ctl(&self, args: &[&str]) -> Ran {
        self.ctl_of(self.subject, args)
    }

    /// Runs the subject's own control client under the name supervisorctl, so that rsup's prints Supervisor's texts.
    pub fn supervisorctl(&self, args: &[&str]) -> Ran {
        let mut command = self.ctl_command(self.subject, args);
        if self.subject == Subject::Rsup {
            let rest: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            command = Command::new(self.dir.join("bin/supervisorctl"));
            command.current_dir(&self.dir).env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").args(rest);
        }
        run(&mut command)
    }

    /// Runs either control client against this sandbox's server.
    pub fn ctl_of(&self, client: Subject, args: &[&str]) -> Ran {
        run(&mut self.ctl_command(client, args))
    }

    /// The command for [`Sandbox::ctl_of`], not started.
    pub fn ctl_command(&self, client: Subject, args: &[&str]) -> Command {
        let theirs = oracle().map(|venv| venv.join("bin/supervisorctl"));
        let program = match (client, theirs) {
            (Subject::Supervisor, Some(program)) => program,
            _ => self.dir.join("bin/rsupctl"),
        };
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.arg("-c").arg(self.dir.join("supervisord.conf")).args(args);
        command
    }

    /// Makes an XML-RPC call over the socket. Returns the answer, or the fault's code and text; a status other than 200 is a negative code.
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value, (i64, String)> {
        let body = xmlrpc::call(method, &params);
        let reply = self.http("POST", "/RPC2", "Content-Type: text/xml\r\n", &body);
        match reply {
            Ok((200, text)) => xmlrpc::response(&text),
            Ok((status, text)) => Err((-i64::from(status), text)),
            Err(error) => Err((0, error.to_string())),
        }
    }

    /// Makes an HTTP request over the socket. Returns status and body. Each of `headers` ends with `\r\n`.
    pub fn http(&self, verb: &str, path: &str, headers: &str, body: &str) -> std::io::Result<(u16, String)> {
        let reply = self.raw(&format!(
            "{verb} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))?;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }

    /// Sends these bytes, and reads until the server closes the connection.
    pub fn raw(&self, request: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.dir.join("sock"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// The answer of getProcessInfo for a process, or null.
    pub fn info(&self, name: &str) -> Value {
        self.rpc("supervisor.getProcessInfo", serde_json::json!([name])).unwrap_or_default()
    }

    /// The name of a process's state; empty if there is no such process.
    pub fn state(&self, name: &str) -> String {
        self.info(name)["statename"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a process is in this state.
    pub fn until(&self, name: &str, state: &str) {
        wait_for(&format!("{name} {state}"), || (self.state(name) == state).then_some(()));
    }

    /// Waits until the main log has this text this many times.
    pub fn until_log(&self, text: &str, times: usize) {
        wait_for(&format!("{text:?} in the main log"), || (self.log().matches(text).count() >= times).then_some(()));
    }

    /// Waits until a file of the sandbox has this text.
    pub fn until_file(&self, name: &str, text: &str) {
        wait_for(&format!("{text:?} in {name}"), || self.read(name).contains(text).then_some(()));
    }

    /// A running process's id.
    pub fn pid_of(&self, name: &str) -> i32 {
        i32::try_from(self.info(name)["pid"].as_i64().unwrap_or(0)).unwrap()
    }

    /// The main log, without its rotated files.
    pub fn log(&self) -> String {
        self.read("main.log")
    }

    /// The messages of the main log with their levels, without times, normalised.
    pub fn messages(&self) -> Vec<String> {
        self.log().lines().map(|line| self.normal(line.get(24..).unwrap_or(line))).collect()
    }

    /// The life-cycle messages of a process in the main log, in order; of all processes if `name` is empty.
    pub fn history(&self, name: &str) -> Vec<String> {
        const KINDS: [&str; 7] =
            ["spawned: ", "success: ", "exited: ", "stopped: ", "gave up: ", "spawnerr: ", "killing "];
        let of_life = |text: &str| KINDS.iter().any(|kind| text.get(5..).is_some_and(|text| text.starts_with(kind)));
        let of_name = |text: &str| text.contains(name) || text.contains("spawnerr: ");
        self.messages().into_iter().filter(|text| of_life(text) && of_name(text)).collect()
    }

    /// Replaces the parts of a text that differ between two equal runs: the directory, process ids, times.
    pub fn normal(&self, text: &str) -> String {
        normal(&text.replace(self.dir.to_str().unwrap(), "{dir}"))
    }

    /// Prints the outputs and the log, for a failed test.
    pub fn dump(&self) {
        eprintln!("---- {:?} in {}", self.subject, self.dir.display());
        for name in ["stdout", "stderr", "main.log"] {
            eprintln!("---- {name}\n{}", self.read(name));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump();
        }
        // Twice: a process that was being forked during the first search is found by the second.
        for _ in 0..2 {
            for pid in tagged(&self.dir) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
        if let Some(daemon) = self.daemon.as_mut() {
            let _ = daemon.wait();
        }
    }
}

/// A program that a test runs beside its supervisor; killed when it goes out of scope.
pub struct Beside(pub Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A free TCP port, outside of the range that the kernel gives to clients.
pub fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    // Test processes that run at the same time start at different ports.
    let first = std::process::id() % 1_000 * 64;
    let next = || (first + u32::from(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))) % 20_000 + 10_000;
    let ports = std::iter::repeat_with(|| u16::try_from(next()).unwrap());
    ports.take(20_000).find(|port| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port")
}

/// Sends these bytes to a TCP port on loopback, and reads until the server closes the connection.
pub fn over_tcp(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// The processes with this sandbox's tag in their environment.
fn tagged(dir: &Path) -> Vec<i32> {
    let tag = format!("{TAG}={}", dir.display()).into_bytes();
    let carries = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|pair| pair == tag)
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(carries).collect()
}

/// Replaces the numbers that differ between two equal runs: `pid 123`, `(123)`, `0:00:01`, and clock times of status lines.
pub fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        out.push_str(before);
        let (digits, after) = from.split_at(end);
        let is_pid =
            out.ends_with("pid ") || out.ends_with("\"pid\":") || (out.ends_with(" (") && after.starts_with(')'));
        let is_time = (digits.len() <= 2 && after.starts_with(':')) || out.ends_with("{T}:");
        out.push_str(if is_pid {
            "{pid}"
        } else if is_time {
            "{T}"
        } else {
            digits
        });
        rest = after;
    }
    out.push_str(rest);
    // The random part of an AUTO log's name.
    let mut parts = out.split("---supervisor-");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out += "---supervisor-{random}";
        out += part.get(8..).unwrap_or_default();
    }
    out.replace("{T}:{T}:{T}", "{T}").replace("{T}:{T}", "{T}")
}

#[test]
fn normal_replaces_pids_times_and_random_names() {
    assert_eq!(normal("spawned: 'x' with pid 123"), "spawned: 'x' with pid {pid}");
    assert_eq!(normal("killing 'x' (77) with SIGKILL"), "killing 'x' ({pid}) with SIGKILL");
    assert_eq!(normal("RUNNING   pid 5, uptime 0:00:29"), "RUNNING   pid {pid}, uptime {T}");
    assert_eq!(normal("EXITED    Nov 21 08:04 AM"), "EXITED    Nov 21 {T} AM");
    assert_eq!(normal("/tmp/x-stdout---supervisor-a1_zzzz9.log"), "/tmp/x-stdout---supervisor-{random}.log");
    assert_eq!(normal("exited: x (exit status 3; not expected)"), "exited: x (exit status 3; not expected)");
}
