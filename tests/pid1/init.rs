//! The inits under test and the ways to run them.

use crate::harness::{TIMEOUT, code_of, skip, wait_for};
use rsup::sys::signals::send;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// An init that is tested.
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Rsup,
    Tini,
    DumbInit,
    Catatonit,
}

/// Makes a test of each body for each init. A body runs only with inits that are installed.
macro_rules! for_each_init {
    ($($body:ident),* $(,)?) => {
        mod ours { $(#[test] fn $body() { super::$body(crate::init::Init::Rsup) })* }
        mod tini { $(#[test] fn $body() { crate::init::Init::Tini.installed(super::$body) })* }
        mod dumb_init { $(#[test] fn $body() { crate::init::Init::DumbInit.installed(super::$body) })* }
        mod catatonit { $(#[test] fn $body() { crate::init::Init::Catatonit.installed(super::$body) })* }
    };
}

/// The binary under test: the static one that ships if `tests/run` names it, else that of cargo.
pub fn rsup() -> PathBuf {
    std::env::var_os("RSUP_STATIC").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rsup")), PathBuf::from)
}

/// Finds a program in PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The arguments of unshare(1) that make its program PID 1; for a user other than root in a user namespace.
fn unshare() -> Option<&'static [&'static str]> {
    static WORKS: OnceLock<Option<&[&str]>> = OnceLock::new();
    let try_out = || {
        let all = &["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let arguments = if nix::unistd::geteuid().is_root() { &all[2..] } else { &all[..] };
        let tried = Command::new("unshare").args(arguments).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success()).then_some(arguments)
    };
    let works = *WORKS.get_or_init(try_out);
    if works.is_none() {
        skip("unshare(1) cannot make a PID namespace");
    }
    works
}

impl Init {
    /// Runs the body if this init is installed.
    pub fn installed(self, body: fn(Self)) {
        let name = self.name();
        if which(name).is_some() { body(self) } else { skip(&format!("{name} is not installed")) }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rsup => "rsup",
            Self::Tini => "tini",
            Self::DumbInit => "dumb-init",
            Self::Catatonit => "catatonit",
        }
    }

    /// The words before the command.
    pub fn words(self) -> Vec<String> {
        match self {
            Self::Rsup => vec![rsup().display().to_string(), "--".to_owned()],
            // tini becomes a subreaper only when asked.
            Self::Tini => ["tini", "-s", "--"].map(str::to_owned).to_vec(),
            _ => [self.name(), "--"].map(str::to_owned).to_vec(),
        }
    }

    /// The init with a command, not as PID 1.
    pub fn here(self, command: &[&str]) -> Command {
        let words = self.words();
        let mut init = Command::new(&words[0]);
        init.args(&words[1..]).args(command);
        init
    }

    /// The init with a command, as PID 1 of a namespace. If that is not possible, lists the test as skipped and returns `None`.
    pub fn as_pid1(self, command: &[&str]) -> Option<Command> {
        self.as_pid1_by(&[], command)
    }

    /// The same, with a command before the init that executes it in the end.
    pub fn as_pid1_by(self, before: &[&str], command: &[&str]) -> Option<Command> {
        let mut outer = Command::new("unshare");
        outer.args(unshare()?).args(before).args(self.words()).args(command);
        Some(outer)
    }
}

/// A command that runs in the background of a test, with its output in a file.
pub struct Running {
    child: Child,
    output: PathBuf,
    _folder: tempfile::TempDir,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let file = fs::File::create(&output).unwrap();
        command.stdin(Stdio::null()).stderr(file.try_clone().unwrap()).stdout(file).process_group(0);
        Self { child: command.spawn().unwrap(), output, _folder: folder }
    }

    /// The process that was started: unshare(1), or the init itself.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The only child of [`Running::pid`]: PID 1 of the namespace, or the init's program.
    pub fn child(&self) -> i32 {
        wait_for("a child", || children(self.pid()).first().copied())
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits for a line of the output that satisfies `wanted`.
    pub fn line(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let whole = |text: &str| {
            text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect::<Vec<_>>()
        };
        let deadline = std::time::Instant::now() + TIMEOUT;
        loop {
            let text = self.text();
            if let Some(line) = whole(&text).into_iter().find(|line| wanted(line)) {
                return line;
            }
            assert!(std::time::Instant::now() < deadline, "no line {what} in {text:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits until the command exits. Returns the exit code, 128 + n for signal n.
    pub fn end(&mut self) -> i32 {
        let what = format!("the exit of {}", self.pid());
        wait_for(&what, || self.child.try_wait().unwrap()).code().unwrap_or_else(|| code_of(self.child.wait().unwrap()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            // A process that becomes an orphan by this is in the namespace that ends too, or is a descendant already.
            let mut all = vec![self.pid()];
            let mut next = 0;
            while next < all.len() {
                all.extend(children(all[next]));
                next += 1;
            }
            for pid in all {
                let _ = send(pid, libc::SIGKILL);
            }
            let _ = self.child.wait();
        }
    }
}

/// Field `n` of /proc/<pid>/stat, counted from 1 as in proc(5), for n > 2.
pub fn stat(pid: i32, n: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(") ")?.1;
    rest.split(' ').nth(n - 3).map(str::to_owned)
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|&child| stat(child, 4).as_deref() == Some(&pid.to_string())).collect()
}

/// A Python program of `tests/pid1/programs.py`, by its name.
pub fn python(name: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pid1/programs.py");
    ["python3", "-S", "-E", file.to_str().unwrap(), name].map(str::to_owned).to_vec()
}

/// The same as string slices.
pub fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}
