//! Runs the commands of README.md and docs/guide with the files that they show. Only the public images are replaced by those of
//! `docker/base`, and the container's name by a unique one.

use crate::harness::{block, run, wait_for};
use crate::{Container, build, images};
use std::fs;
use std::process::Command;

/// A directory with the first `supervisord.conf` of the README and one of its Dockerfiles.
fn context(dockerfile: &str) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("supervisord.conf"), block("README.md", "ini", 0)).unwrap();
    let local =
        dockerfile.replace("debian:bookworm-slim", "rsup-base-supervisor").replace("busybox:musl", "rsup-base-busybox");
    assert_ne!(local, dockerfile);
    fs::write(temp.path().join("Dockerfile"), local).unwrap();
    temp
}

/// Runs the commands of a document in a directory, with `first` replaced by this container's name. After a start of the container, waits
/// until its programs run.
fn follow(commands: &str, dir: &std::path::Path, container: &Container) {
    for line in commands.lines().map(|line| line.replace("first", &container.0)) {
        let ran = run(Command::new("sh").args(["-ec", &line]).current_dir(dir).env("DOCKER_BUILDKIT", "0"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        if ["docker run ", "docker start "].iter().any(|start| line.starts_with(start)) {
            for program in ["clock", "worker"] {
                container.until_running(program, "");
            }
        }
    }
}

#[test]
fn the_first_container_of_the_readme() {
    if !images(&["rsup", "rsup-base-supervisor"]) {
        return;
    }
    let temp = context(&block("README.md", "dockerfile", 0));
    assert_eq!(fs::read_to_string(temp.path().join("supervisord.conf")).unwrap().lines().count(), 6);
    let container = Container(Container::name());
    follow(&block("README.md", "sh", 0), temp.path(), &container);
    assert_eq!(container.wait(), 0);
    assert!(container.logs().contains("success: clock entered RUNNING state"));
    assert!(container.logs().lines().any(|line| line.contains(" UTC ")), "the clock's output is in docker logs");
}

#[test]
fn the_readmes_container_from_scratch() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let dockerfile = block("README.md", "dockerfile", 1);
    assert!(dockerfile.starts_with("FROM scratch\n"), "{dockerfile}");
    let temp = context(&dockerfile);
    let image = build("readme", temp.path().to_str().unwrap(), None);
    let container = Container::start(&[&image]);
    wait_for("health", || (container.exec(&["rsup", "health"]).code == 0).then_some(()));
    let status = container.exec(&["rsupctl", "status"]);
    assert!(status.code == 0 && status.out.matches(" RUNNING ").count() == 2, "{status:?}");
    assert_eq!(container.stop(), 0);
}

/// The guides that start from the README's image.
#[test]
fn the_guides_for_the_first_container_and_for_non_root() {
    if !images(&["rsup", "rsup-base-supervisor"]) {
        return;
    }
    let temp = context(&block("README.md", "dockerfile", 0));
    let container = Container(Container::name());
    let page = "docs/guide/first-container.md";
    follow(&block("README.md", "sh", 0), temp.path(), &container);
    follow(&block(page, "sh", 0), temp.path(), &container);
    follow(block(page, "sh", 1).lines().next().unwrap(), temp.path(), &container);
    for line in block(page, "text", 0).lines() {
        container.until_logs(line);
    }
    follow(block(page, "sh", 1).lines().last().unwrap(), temp.path(), &container);
    follow(&block(page, "sh", 2), temp.path(), &container);
    let page = "docs/guide/non-root.md";
    follow(&block(page, "sh", 0), temp.path(), &container);
    let ids = container.exec(&["grep", "-E", "^(Uid|CapEff)", "/proc/1/status"]).out;
    assert!(ids.contains("10001") && ids.contains("0000000000000000"), "{ids}");
    assert_eq!(container.stop(), 0);
}
