//! rsup in real containers: the examples, the README and the guides, and the ways in which people start containers.
//!
//! Needs a Docker daemon, the image `rsup` (`docker/build`) and the base images (`docker/base`); `tests/run` makes all three.
//! No container has a network: requests are made in the container, over its loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../harness/mod.rs"]
mod harness;

mod containers;
mod examples;
mod guide;
mod healthcheck;
mod kubernetes;
mod migrating;
mod readiness;
mod swarm;

use harness::{Ran, run, skip, wait_for};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs the docker client until it exits.
pub fn docker(args: &[&str]) -> Ran {
    run(Command::new("docker").args(args).env("DOCKER_BUILDKIT", "0"))
}

/// Whether a program is in PATH.
fn which(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether these images exist. If not, lists the test as skipped with the reason.
pub fn images(names: &[&str]) -> bool {
    if !which("docker") {
        skip("no docker command (tests/run --install installs it)");
        return false;
    }
    if docker(&["version"]).code != 0 {
        skip("no Docker daemon answers (tests/run starts one, as root)");
        return false;
    }
    for name in names {
        if docker(&["image", "inspect", name]).code != 0 {
            let reason = match *name {
                "rsup" => "docker/build makes it",
                "rsup-base-busybox" => "docker/base makes it from Debian's busybox-static",
                _ if which("mmdebstrap") => "docker/base makes it",
                _ => "docker/base makes it with mmdebstrap, which is not installed (tests/run --install)",
            };
            skip(&format!("no image {name}: {reason}"));
            return false;
        }
    }
    true
}

/// Builds an image from a directory with a Dockerfile. Returns its name.
pub fn build(name: &str, dir: &str, base: Option<&str>) -> String {
    let tag = format!("rsup-test-{name}");
    let base = base.map(|base| format!("BASE={base}"));
    let mut args = vec!["build", "-q", "--network", "none", "-t", &tag];
    if let Some(base) = &base {
        args.extend(["--build-arg", base]);
    }
    args.push(dir);
    let built = docker(&args);
    assert_eq!(built.code, 0, "docker build {dir}: {built:?}");
    tag
}

/// A container, which is removed at the end.
pub struct Container(pub String);

impl Container {
    /// `docker run -d` with these options, image and command.
    pub fn start(args: &[&str]) -> Container {
        let container = Container(Container::name());
        let mut all = vec!["run", "-d", "--network", "none", "--name", &container.0];
        all.extend(args);
        let started = docker(&all);
        assert_eq!(started.code, 0, "docker {all:?}: {started:?}");
        container
    }

    /// A name that no other container has.
    pub fn name() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("rsup-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// `docker exec`.
    pub fn exec(&self, args: &[&str]) -> Ran {
        let mut all = vec!["exec", self.0.as_str()];
        all.extend(args);
        docker(&all)
    }

    /// The output of the container so far, both streams.
    pub fn logs(&self) -> String {
        let ran = docker(&["logs", &self.0]);
        ran.out + &ran.err
    }

    /// Waits until the container's output has this text.
    pub fn until_logs(&self, text: &str) {
        wait_for(&format!("{text:?} in docker logs"), || self.logs().contains(text).then_some(()));
    }

    /// Waits until `rsupctl status NAME` shows RUNNING and another pid than `not_pid`. Returns the pid.
    pub fn until_running(&self, name: &str, not_pid: &str) -> String {
        wait_for(&format!("{name} RUNNING"), || {
            let status = self.exec(&["rsupctl", "status", name]).out;
            let pid = status.split_once("pid ")?.1.split_once(',')?.0.to_owned();
            (status.contains(" RUNNING ") && pid != not_pid).then_some(pid)
        })
    }

    /// Runs `docker stop`. Returns the exit code. Panics if Docker had to send SIGKILL (code 137).
    pub fn stop(&self) -> i32 {
        let stopped = docker(&["stop", "-t", "10", &self.0]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        let code = self.code();
        assert_ne!(code, 137, "docker had to kill it");
        code
    }

    /// Waits until the container exits. Returns the exit code.
    pub fn wait(&self) -> i32 {
        wait_for("the exit of the container", || {
            (docker(&["inspect", "--format", "{{.State.Running}}", &self.0]).out.trim() == "false").then_some(())
        });
        self.code()
    }

    fn code(&self) -> i32 {
        docker(&["inspect", "--format", "{{.State.ExitCode}}", &self.0]).out.trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- docker logs {}\n{}", self.0, self.logs());
        }
        docker(&["rm", "-f", &self.0]);
    }
}
