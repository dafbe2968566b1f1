//! Checks docker/kubernetes with the schemas of Kubernetes, and runs its pod with `podman kube play`.
//!
//! No Kubernetes runs on the test machine: its packages are not in Debian. Podman runs the pod, with these limits:
//!
//! - Its pods have no network of their own here (no bridge, no iptables), so the pod uses the host's network, and a free port.
//! - There is no registry: the image is loaded from Docker.
//! - It does not make the termination message file, so the pod mounts one there.
//! - Podman 4.3 takes the liveness probe as the container's health check. Without systemd it has no timer, so the test runs the check.
//!   It ignores the startup and readiness probes, so the test runs their commands.
//! - It ignores `terminationGracePeriodSeconds`, so the test passes this time to `podman pod stop`.
//! - The Service, `replicas` and the rolling update need a cluster.

use crate::harness::{Ran, block, free_port, run, skip, wait_for};
use crate::{build, docker, images, which};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = "docker/kubernetes/deployment.yaml";

/// Runs tests/python/kubernetes.py on a file. `None`: its Python environment is missing, and the test is skipped.
fn validate(file: &Path) -> Option<Ran> {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("build/kubernetes");
    let python = std::env::var_os("RSUP_KUBERNETES").map_or_else(made, PathBuf::from).join("bin/python");
    if !python.exists() {
        skip("no schemas of Kubernetes (tests/run makes build/kubernetes)");
        return None;
    }
    Some(run(Command::new(python).arg("tests/python/kubernetes.py").arg(file)))
}

/// The documents of the manifest, if they are valid.
fn documents() -> Option<Vec<Value>> {
    let ran = validate(Path::new(MANIFEST))?;
    assert_eq!(ran.code, 0, "{ran:?}");
    let all: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(all["versions"].as_array().unwrap().len() > 5, "{}", all["versions"]);
    Some(all["documents"].as_array().unwrap().clone())
}

#[test]
fn the_manifest_fits_kubernetes_schemas_and_its_own_configuration() {
    let Some(documents) = documents() else { return };
    let deployment = &documents[0];
    assert_eq!(deployment["kind"], "Deployment");
    let (spec, template) = (&deployment["spec"], &deployment["spec"]["template"]);
    assert_eq!(spec["selector"]["matchLabels"], template["metadata"]["labels"]);
    assert_eq!(documents[1]["spec"]["selector"], template["metadata"]["labels"]);
    let conf = fs::read_to_string("docker/kubernetes/supervisord.conf").unwrap();
    let budget = conf.split("stop_budget=").nth(1).unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap();
    let grace = template["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= budget + 2, "rsup needs {budget} s of {grace} s");
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["lifecycle"], Value::Null, "rsup's hooks do what a preStop would do");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let (words, probe) = (command(container, probe), &container[probe]);
        let limit: u64 = words.last().unwrap().parse().unwrap();
        assert!(
            limit < probe["timeoutSeconds"].as_u64().unwrap(),
            "rsup gives the reason before Kubernetes gives up: {probe}"
        );
    }
    // The check finds mistakes.
    let temp = tempfile::tempdir().unwrap();
    let wrong = temp.path().join("wrong.yaml");
    fs::write(&wrong, fs::read_to_string(MANIFEST).unwrap().replace("readinessProbe:", "readyProbe:")).unwrap();
    let ran = validate(&wrong).unwrap();
    assert!(ran.code == 1 && ran.err.contains("'readyProbe' was unexpected"), "{ran:?}");
}

/// The command of a probe.
fn command(container: &Value, probe: &str) -> Vec<String> {
    let words = container[probe]["exec"]["command"].as_array().unwrap();
    words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Podman with storage of its own, and one pod.
struct Podman {
    dir: tempfile::TempDir,
    pod: String,
}

impl Podman {
    /// `None`: it cannot run here, and the test is skipped with the reason.
    fn new() -> Option<Podman> {
        for program in ["podman", "runc"] {
            if !which(program) {
                skip(&format!("no {program} (tests/run --install installs it)"));
                return None;
            }
        }
        if !nix::unistd::geteuid().is_root() {
            skip("podman runs the pod with cgroups, which needs root");
            return None;
        }
        let podman = Podman { dir: tempfile::tempdir().unwrap(), pod: format!("rsup-test-{}", std::process::id()) };
        // Files instead of systemd's journal and shared memory. The limits are those that every machine allows.
        let conf = "[containers]\ndefault_ulimits=[\"nofile=20000:20000\",\"nproc=20000:20000\"]\nlog_driver=\"k8s-file\"\n\
                    [engine]\nruntime=\"runc\"\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nlock_type=\"file\"\n";
        fs::write(podman.path("containers.conf"), conf).unwrap();
        Some(podman)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.path("containers.conf")).args(["--storage-driver", "overlay"]);
        for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.path(name));
        }
        run(command.args(args))
    }

    fn must(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "podman {args:?}: {ran:?}");
        ran.out.trim().to_owned()
    }

    /// Copies an image of Docker. Returns its name.
    fn load(&self, image: &str) -> String {
        let file = self.path("image.tar");
        let file = file.to_str().unwrap();
        assert_eq!(docker(&["save", "-o", file, image]).code, 0);
        let loaded = self.must(&["load", "-q", "-i", file]);
        loaded.rsplit("Loaded image: ").next().unwrap().to_owned()
    }

    /// `podman kube play` of a pod with this specification.
    fn play(&self, spec: &Value) {
        use std::os::unix::fs::PermissionsExt as _;
        let (message, file) = (self.path("message"), self.path("pod.json"));
        fs::write(&message, "").unwrap();
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666)).unwrap();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.pod}, "spec": spec});
        fs::write(&file, pod.to_string()).unwrap();
        self.must(&["kube", "play", file.to_str().unwrap()]);
    }

    fn container(&self) -> String {
        format!("{}-hello", self.pod)
    }

    fn exec(&self, args: &[impl AsRef<str>]) -> Ran {
        let container = self.container();
        let mut all = vec!["exec", container.as_str()];
        all.extend(args.iter().map(AsRef::as_ref));
        self.run(&all)
    }

    fn inspect(&self, field: &str) -> String {
        self.must(&["inspect", "--format", &format!("{{{{.{field}}}}}"), &self.container()])
    }

    /// The termination message.
    fn message(&self) -> String {
        fs::read_to_string(self.path("message")).unwrap()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- podman logs: {:?}", self.run(&["logs", &self.container()]));
        }
        self.run(&["pod", "rm", "-f", "-t", "0", &self.pod]);
        self.run(&["volume", "rm", "-a", "-f"]);
        // Podman mounts its storage on itself, and leaves it so.
        run(Command::new("umount").arg(self.path("root/overlay")));
    }
}

/// The specification of the Deployment's pod, with what this machine needs.
fn pod_spec(podman: &Podman, image: &str, template: &Value) -> Value {
    let mut spec = template["spec"].clone();
    spec["hostNetwork"] = json!(true);
    let message = json!({"name": "message", "hostPath": {"path": podman.path("message"), "type": "File"}});
    spec["volumes"].as_array_mut().unwrap().push(message);
    let container = &mut spec["containers"][0];
    container["image"] = json!(image);
    container["imagePullPolicy"] = json!("Never");
    container.as_object_mut().unwrap().remove("ports").unwrap();
    container["env"].as_array_mut().unwrap().push(json!({"name": "PORT", "value": free_port().to_string()}));
    let mount = json!({"name": "message", "mountPath": container["terminationMessagePath"]});
    container["volumeMounts"].as_array_mut().unwrap().push(mount);
    spec
}

#[test]
fn the_pod_starts_recovers_stops_in_time_and_reports_why_it_ended() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let Some(podman) = Podman::new() else { return };
    let Some(documents) = documents() else { return };
    let template = &documents[0]["spec"]["template"];
    let image = podman.load(&build("kubernetes", "docker/kubernetes", Some("rsup-base-busybox")));
    let mut spec = pod_spec(&podman, &image, template);
    let container = spec["containers"][0].clone();
    let probe = |name: &str| podman.exec(&command(&container, name));
    let live = || podman.run(&["healthcheck", "run", &podman.container()]).code;

    podman.play(&spec);
    for name in ["startupProbe", "readinessProbe"] {
        wait_for(name, || (probe(name).code == 0).then_some(()));
    }
    wait_for("the liveness probe", || (live() == 0).then_some(()));
    let port = container["env"].as_array().unwrap().iter().find(|pair| pair["name"] == "PORT").unwrap();
    let url = format!("http://127.0.0.1:{}/", port["value"].as_str().unwrap());
    assert_eq!(podman.exec(&["wget", "-qO-", &url]).out, "hello from Kubernetes\n");
    let status = podman.exec(&["grep", "-E", "^(Uid|CapEff|NoNewPrivs)", "/proc/1/status"]).out;
    for line in ["Uid:\t10001\t10001\t10001\t10001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    assert!(podman.exec(&["touch", "/srv"]).err.contains("Read-only file system"));

    // A program that is stuck: the probes fail until rsup has restarted it. Six failures in a row would restart the container.
    let pid = || podman.exec(&["rsupctl", "pid", "web"]).out;
    let stuck = pid();
    assert_eq!(podman.exec(&["rsupctl", "signal", "STOP", "web"]).code, 0);
    wait_for("a failure of the liveness probe", || (live() == 1).then_some(()));
    let ready = probe("readinessProbe");
    assert_eq!((ready.code, ready.out), (1, format!("web STOPPING unhealthy ({url}: timed out)\n")));
    wait_for("the readiness probe", || (probe("readinessProbe").code == 0).then_some(()));
    wait_for("the liveness probe", || (live() == 0).then_some(()));
    assert_ne!(pid(), stuck);
    assert_eq!(podman.inspect("RestartCount"), "0");

    // The end by request, within the grace period: not SIGKILL, which is exit code 137.
    podman.must(&["pod", "stop", "-t", &spec["terminationGracePeriodSeconds"].to_string(), &podman.pod]);
    assert_eq!(
        (podman.inspect("State.ExitCode").as_str(), podman.message().as_str()),
        ("0", "rsup: received SIGTERM; exit code 0\n")
    );
    podman.must(&["pod", "rm", "-f", &podman.pod]);

    // A start that fails. Without a restart of the container, its exit code stays.
    spec["restartPolicy"] = json!("Never");
    spec["containers"][0]["env"].as_array_mut().unwrap().retain(|pair| pair["name"] != "GREETING");
    podman.play(&spec);
    wait_for("the end of the container", || (podman.inspect("State.Status") == "exited").then_some(()));
    assert_eq!(podman.inspect("State.ExitCode"), "127");
    assert_eq!(podman.message(), block("docs/guide/kubernetes.md", "text", 0));
}
