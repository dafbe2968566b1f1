//! Runs docker/swarm on a Swarm of one node: a container whose program is unhealthy is replaced, and an update waits for health.
//!
//! Two lines of stack.yml are changed for this machine. Its kernel has no IPVS, so Swarm cannot publish ports, and the test's Docker
//! daemon has no iptables: each container gets the network `bridge`, which is only loopback here. There is no registry: the image is
//! named by its id.

use crate::harness::{block, free_port, skip, wait_for};
use crate::{build, docker, images};
use std::collections::BTreeSet;
use std::fs;

/// The label of the node of a test's Swarm: the process id of the test.
const LABEL: &str = "rsup-test";

/// What the docker client prints, if it succeeds.
fn said(args: &[&str]) -> Option<String> {
    let ran = docker(args);
    (ran.code == 0).then(|| ran.out.trim().to_owned())
}

/// Runs the docker client, which must succeed.
fn must(args: &[&str]) -> String {
    let ran = docker(args);
    assert_eq!(ran.code, 0, "docker {args:?}: {ran:?}");
    ran.out.trim().to_owned()
}

/// A Swarm with one stack. At the end the daemon leaves the Swarm.
struct Swarm {
    stack: String,
    service: String,
    had_gateway: bool,
}

impl Swarm {
    /// Makes the daemon the manager of a new Swarm, on loopback.
    fn init() -> Option<Swarm> {
        let state = || must(&["info", "--format", "{{.Swarm.LocalNodeState}}"]);
        if state() != "inactive" {
            let label = format!("{{{{index .Spec.Labels \"{LABEL}\"}}}}");
            let owner = said(&["node", "inspect", "self", "--format", &label]).unwrap_or_default();
            if owner.is_empty() {
                skip("the Docker daemon is part of a Swarm already (tests/run starts one that is not)");
                return None;
            }
            // Another run of this test, or what is left of one that was killed.
            wait_for("the end of another test's Swarm", || {
                let is_over = state() == "inactive" || !std::path::Path::new("/proc").join(&owner).exists();
                is_over.then(|| docker(&["swarm", "leave", "--force"]))
            });
        }
        let had_gateway = docker(&["network", "inspect", "docker_gwbridge"]).code == 0;
        let listen = format!("127.0.0.1:{}", free_port());
        must(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", &listen]);
        let stack = format!("rsup-test-{}", std::process::id());
        let swarm = Swarm { service: format!("{stack}_web"), stack, had_gateway };
        let node = must(&["info", "--format", "{{.Swarm.NodeID}}"]);
        must(&["node", "update", "--label-add", &format!("{LABEL}={}", std::process::id()), &node]);
        Some(swarm)
    }

    /// `docker stack deploy` of docker/swarm/stack.yml with this image.
    fn deploy(&self, image: &str) {
        let mut stack = fs::read_to_string("docker/swarm/stack.yml").unwrap();
        for (line, here) in [
            ("    image: registry.example.com/hello:1\n", format!("    image: {image}\n")),
            ("    ports: [\"8080:8080\"]\n", "    networks: [bridge]\n".to_owned()),
        ] {
            assert!(stack.contains(line), "{stack}");
            stack = stack.replacen(line, &here, 1);
        }
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("stack.yml");
        fs::write(&file, stack + "networks:\n  bridge: {external: true, name: bridge}\n").unwrap();
        must(&["stack", "deploy", "--resolve-image", "never", "-c", file.to_str().unwrap(), &self.stack]);
    }

    /// The containers of the service for which this filter of `docker ps` holds.
    fn containers(&self, filter: &str) -> BTreeSet<String> {
        let service = format!("label=com.docker.swarm.service.name={}", self.service);
        let ids = must(&["ps", "--no-trunc", "-q", "--filter", &service, "--filter", filter]);
        ids.lines().map(str::to_owned).collect()
    }

    /// `docker service update` with these options, which does not wait for the update.
    fn update(&self, options: &[&str]) {
        must(&[&["service", "update", "-q", "--detach", "--no-resolve-image"], options, &[&self.service]].concat());
    }

    fn update_state(&self) -> String {
        must(&["service", "inspect", "--format", "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}", &self.service])
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for args in [&["stack", "ps", "--no-trunc", &self.stack][..], &["ps", "-a"]] {
                eprintln!("---- docker {args:?}\n{}", docker(args).out);
            }
        }
        docker(&["stack", "rm", &self.stack]);
        docker(&["swarm", "leave", "--force"]);
        let stack = format!("label=com.docker.stack.namespace={}", self.stack);
        for id in docker(&["ps", "-a", "-q", "--filter", &stack]).out.lines() {
            docker(&["rm", "-f", id]);
        }
        if !self.had_gateway {
            docker(&["network", "rm", "docker_gwbridge"]);
        }
    }
}

/// Builds docker/swarm with these lines after its configuration. Returns the id of the image.
fn image(name: &str, more: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    for entry in fs::read_dir("docker/swarm").unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), temp.path().join(entry.file_name())).unwrap();
    }
    let conf = temp.path().join("supervisord.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(conf, text + more).unwrap();
    let tag = build(name, temp.path().to_str().unwrap(), Some("rsup-base-busybox"));
    must(&["image", "inspect", "--format", "{{.Id}}", &tag])
}

/// Runs a command in a container. It may have ended already.
fn exec(id: &str, args: &[&str]) -> String {
    docker(&[&["exec", id], args].concat()).out
}

#[test]
fn a_container_with_an_unhealthy_program_is_replaced_and_an_update_waits_for_health() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let Some(swarm) = Swarm::init() else { return };
    swarm.deploy(&image("swarm", ""));
    let two_healthy = |without: &str| {
        wait_for("two healthy containers", || {
            let healthy = swarm.containers("health=healthy");
            (healthy.len() == 2 && !healthy.contains(without)).then_some(healthy)
        })
    };
    let first = two_healthy("");

    // A program that is stuck makes its container unhealthy, and Swarm replaces the container.
    let stuck = first.first().unwrap();
    assert_eq!(exec(stuck, &["rsupctl", "signal", "STOP", "web"]), "web: signalled\n");
    let problem = "unhealthy (http://127.0.0.1:8080/: timed out)";
    wait_for("the problem in Docker's log of health checks", || {
        must(&["inspect", "--format", "{{json .State.Health}}", stuck]).contains(problem).then_some(())
    });
    two_healthy(stuck);
    assert_eq!(must(&["inspect", "--format", "{{.State.ExitCode}}", stuck]), "0", "rsup ended in time");
    let shown = block("docs/guide/swarm.md", "text", 0);
    assert!(shown.contains(problem), "the guide shows it: {shown}");

    // A container of the next version is healthy only after its gate was opened; until then no old container is stopped.
    let gate =
        "\n[program:gate]\ncommand=/bin/sh -c \"trap 'exit 0' USR1; while :; do sleep 0.1; done\"\noneshot=true\n";
    let next = image("swarm-next", gate);
    swarm.update(&["--image", &next]);
    let is_next = format!("ancestor={next}");
    let held = wait_for("a container of the next version that is not ready", || {
        let ids = swarm.containers(&is_next);
        ids.into_iter().find(|id| exec(id, &["rsupctl", "status", "gate"]).contains(" STARTING "))
    });
    assert_eq!(must(&["inspect", "--format", "{{.State.Health.Status}}", &held]), "starting");
    assert_eq!((swarm.containers("health=healthy").len(), swarm.update_state().as_str()), (2, "updating"));
    wait_for("the end of the update", || {
        for id in swarm.containers(&is_next) {
            exec(&id, &["rsupctl", "signal", "USR1", "gate"]);
        }
        let healthy = swarm.containers("health=healthy");
        assert!(healthy.len() >= 2, "a container was stopped before its successor was healthy: {healthy:?}");
        (swarm.update_state() == "completed").then_some(())
    });
    let updated = wait_for("only the next version", || {
        let healthy = swarm.containers("health=healthy");
        (healthy.len() == 2 && healthy == swarm.containers(&is_next)).then_some(healthy)
    });

    // A version that ends at once is rolled back, and the containers that run are left alone.
    swarm.update(&["--args", "-- /bin/false"]);
    wait_for("the rollback", || (swarm.update_state() == "rollback_completed").then_some(()));
    assert_eq!(swarm.containers("health=healthy"), updated);
}
