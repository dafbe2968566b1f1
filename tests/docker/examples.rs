//! Builds and runs the examples of `docker/examples`, kills each program, and stops the container in time.

use crate::harness::{oracle, skip, wait_for};
use crate::{Container, build, docker, images};
use std::fs;

/// Requests a page in the container until it succeeds. Returns the body.
pub fn page(container: &Container, url: &str) -> String {
    wait_for(&format!("an answer from {url}"), || {
        let ran = container.exec(&["curl", "-sf", "-m", "5", url]);
        (ran.code == 0).then_some(ran.out)
    })
}

/// Kills the main process of a program, and waits until the program runs again.
fn kill(container: &Container, name: &str) {
    let pid = container.until_running(name, "");
    assert_eq!(container.exec(&["kill", "-9", &pid]).code, 0);
    container.until_running(name, &pid);
}

#[test]
fn web() {
    if !images(&["rsup", "rsup-base-web"]) {
        return;
    }
    let image = build("web", "docker/examples/web", Some("rsup-base-web"));
    let container = Container::start(&[&image]);
    let url = "http://127.0.0.1/page";
    assert!(page(&container, url).starts_with("hello from php"));
    for name in ["php-fpm", "nginx", "cron"] {
        kill(&container, name);
        assert!(page(&container, url).starts_with("hello from php"), "after kill -9 of {name}");
    }
    assert_eq!(container.exec(&["rsup", "health"]).code, 0);
    let logs = container.logs();
    assert!(logs.contains("GET /page HTTP/1.1\" 200"), "nginx's access log is in docker logs");
    assert!(logs.contains("served /page"), "php's log is in docker logs");
    wait_for("the minute's cron job", || container.logs().contains("cron: a minute has passed").then_some(()));
    assert_eq!(container.stop(), 0);
    assert!(container.logs().contains("gracefully shutting down"), "nginx was stopped by its own signal");
}

/// The two counters in the application's answer.
fn counts(container: &Container) -> (u64, u64) {
    let body: serde_json::Value = serde_json::from_str(&page(container, "http://127.0.0.1:8000/")).unwrap();
    (body["mariadb"].as_u64().unwrap(), body["redis"].as_u64().unwrap())
}

#[test]
fn app() {
    if !images(&["rsup", "rsup-base-app"]) {
        return;
    }
    let image = build("app", "docker/examples/app", Some("rsup-base-app"));
    let container = Container::start(&[&image]);
    let mut last = counts(&container);
    let mut again = |after: &str| {
        let now = counts(&container);
        // Neither database may lose a visit that was answered.
        assert!(now.0 > last.0 && now.1 > last.1, "after {after}: {last:?} then {now:?}");
        last = now;
    };
    again("start");
    for name in ["app", "redis", "mariadb"] {
        kill(&container, name); // the main process of mariadb is pidproxy
        again(&format!("kill -9 of {name}"));
    }
    let server = container.exec(&["cat", "/run/mysqld/mysqld.pid"]).out;
    assert_eq!(container.exec(&["kill", "-9", server.trim()]).code, 0);
    again("kill -9 of mariadbd");
    assert_eq!(container.exec(&["rsup", "health"]).code, 0);

    assert_eq!(container.stop(), 0);
    assert!(container.logs().contains("Redis is now ready to exit, bye bye"), "redis ended by itself");
    let log = docker(&["cp", &format!("{}:/var/log/mysql/error.log", container.0), "-"]).out;
    let last_life = log.rsplit("starting as process").next().unwrap();
    assert!(last_life.contains("mariadbd: Shutdown complete"), "{log}");
}

#[test]
fn essential_ends_the_container_with_the_programs_code() {
    if !images(&["rsup", "rsup-base-app"]) {
        return;
    }
    let image = build("essential", "docker/examples/app", Some("rsup-base-app"));
    let conf = fs::read_to_string("docker/examples/app/supervisord.conf").unwrap();
    let conf = conf.replace("[program:app]\n", "[program:app]\nessential=true\nexitcodes=0,7\n");
    let conf = conf.replace("command=/usr/bin/python3 -u /app/app.py", "command=/bin/sh -c \"sleep 3; exit 7\"");
    let conf = conf.replacen("priority=20\nautorestart=true", "priority=20", 1);
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("supervisord.conf"), conf).unwrap();
    let mount = format!("{}:/conf:ro", temp.path().display());
    let container = Container::start(&["-v", &mount, &image, "-c", "/conf/supervisord.conf"]);
    assert_eq!(container.wait(), 7);
    assert!(container.logs().contains("Redis is now ready to exit, bye bye"), "the others were stopped in order");
}

/// The real Supervisor runs the configurations of the examples too.
#[test]
fn the_real_supervisor_runs_the_examples_too() {
    if !images(&["rsup", "rsup-base-web", "rsup-base-app"]) {
        return;
    }
    let Some(venv) = oracle() else { return skip("no real Supervisor (tests/run makes build/oracle)") };
    let lib = fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap().path().join("site-packages");
    let temp = tempfile::tempdir().unwrap();
    let program = |module: &str| format!("#!/usr/bin/python3\nfrom supervisor.{module} import main\nmain()\n");
    for module in ["supervisord", "pidproxy"] {
        let file = temp.path().join(module);
        fs::write(&file, program(module)).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for (name, url) in [("web", "http://127.0.0.1/"), ("app", "http://127.0.0.1:8000/")] {
        let image = build(name, &format!("docker/examples/{name}"), Some(&format!("rsup-base-{name}")));
        let lib = format!("{}:/opt/supervisor:ro", lib.display());
        let bin = format!("{}:/usr/local/bin:ro", temp.path().display());
        let container = Container::start(&[
            "-v",
            &lib,
            "-v",
            &bin,
            "-e",
            "PYTHONPATH=/opt/supervisor",
            "--entrypoint",
            "supervisord",
            &image,
        ]);
        page(&container, url);
        assert_eq!(container.stop(), 0);
    }
}
