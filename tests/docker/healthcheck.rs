//! Docker's own HEALTHCHECK with `rsup health`.

use crate::harness::wait_for;
use crate::{Container, build, docker, images};
use std::fs;

const CONF: &str = "[program:web]\ncommand=/bin/httpd -f -p 8080 -h /etc\nready=http://127.0.0.1:8080/passwd\n\
     healthcheck=http://127.0.0.1:8080/passwd\nhealthcheck_interval=0.5\nhealthcheck_timeout=2\nhealthcheck_retries=2\n\
     stopwaitsecs=10\n";
const DOCKERFILE: &str = "FROM rsup-base-busybox\nCOPY --from=rsup /sbin/ /sbin/\nCOPY supervisord.conf /etc/supervisord.conf\n\
     ENV PATH=/bin:/sbin\nHEALTHCHECK --interval=1s --timeout=5s --retries=1 CMD [\"/sbin/rsup\", \"health\"]\n\
     ENTRYPOINT [\"/sbin/rsup\"]\n";

/// A stopped process does not handle SIGTERM, so rsup sends SIGKILL after `stopwaitsecs`: Docker sees these ten seconds.
#[test]
fn a_stuck_program_makes_the_container_unhealthy_until_rsup_has_restarted_it() {
    if !images(&["rsup", "rsup-base-busybox"]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("supervisord.conf"), CONF).unwrap();
    fs::write(temp.path().join("Dockerfile"), DOCKERFILE).unwrap();
    let container = Container::start(&[&build("healthcheck", temp.path().to_str().unwrap(), None)]);
    let until_health = |wanted: &str| {
        wait_for(&format!("the container to be {wanted}"), || {
            let health = docker(&["inspect", "--format", "{{json .State.Health}}", &container.0]).out;
            health.contains(&format!("\"Status\":\"{wanted}\"")).then_some(health)
        })
    };
    until_health("healthy");
    let pid = container.until_running("web", "");
    assert_eq!(container.exec(&["kill", "-STOP", &pid]).code, 0);
    let health = until_health("unhealthy");
    assert!(health.contains("web STOPPING unhealthy (http://127.0.0.1:8080/passwd: timed out)"), "{health}");
    container.until_running("web", &pid);
    until_health("healthy");
    assert_eq!(container.stop(), 0);
}
