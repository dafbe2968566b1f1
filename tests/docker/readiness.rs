//! Readiness of real programs in containers: a chain from PostgreSQL to nginx, and programs that speak sd_notify(3).

use crate::examples::page;
use crate::{Container, build, images};
use std::fs;

/// The lines that rsup itself has logged, without the output of programs.
fn own_lines(container: &Container) -> Vec<String> {
    container.logs().lines().filter(|line| !line.contains(" | ")).map(str::to_owned).collect()
}

/// The place of the first line with this text, after that of another.
fn after(lines: &[String], text: &str, from: usize) -> usize {
    let rest = lines.iter().skip(from).position(|line| line.contains(text));
    from + rest.unwrap_or_else(|| panic!("no {text:?} after line {from} of\n{}", lines.join("\n")))
}

fn pids(container: &Container, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| container.until_running(name, "")).collect()
}

fn kill(container: &Container, pid: &str) {
    assert_eq!(container.exec(&["kill", "-9", pid]).code, 0);
}

/// A container of the example whose configuration has these replacements.
fn variant(image: &str, replacements: &[(&str, &str)]) -> (Container, tempfile::TempDir) {
    let mut conf = fs::read_to_string("docker/examples/database/supervisord.conf").unwrap();
    for (from, to) in replacements {
        assert!(conf.contains(from), "{from}");
        conf = conf.replacen(from, to, 1);
    }
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("supervisord.conf"), conf).unwrap();
    let mount = format!("{}:/conf:ro", temp.path().display());
    (Container::start(&["-v", &mount, image, "-c", "/conf/supervisord.conf"]), temp)
}

#[test]
fn a_chain_from_postgresql_to_nginx_starts_in_order_and_stops_in_reverse() {
    if !images(&["rsup", "rsup-base-database"]) {
        return;
    }
    let image = build("database", "docker/examples/database", Some("rsup-base-database"));
    let container = Container::start(&[&image]);
    assert!(page(&container, "http://127.0.0.1/").starts_with("visits: "));
    container.until_running("worker", "");
    let lines = own_lines(&container);
    // Each program starts in the moment in which what it needs is ready: the next line says so.
    let mut place = 0;
    for (ready, next) in [
        ("success: postgres entered RUNNING state, it is ready (exec:pg_isready -q)", "spawned: 'migrate'"),
        ("exited: migrate (exit status 0; expected)", "spawned: 'app'"),
        ("success: app entered RUNNING state, it is ready (http://127.0.0.1:8000/)", "spawned: 'nginx'"),
        ("success: nginx entered RUNNING state, it is ready (http://127.0.0.1/)", ""),
    ] {
        place = after(&lines, ready, place);
        assert!(lines.get(place + 1).is_none_or(|line| line.contains(next)), "after {ready}:\n{}", lines.join("\n"));
    }
    assert!(after(&lines, "spawned: 'worker'", 0) > after(&lines, "exited: migrate", 0), "{}", lines.join("\n"));

    let names = ["postgres", "app", "nginx", "worker"];
    for name in ["app", "nginx", "worker"] {
        let before = pids(&container, &names);
        let of = names.iter().position(|each| *each == name).unwrap();
        kill(&container, &before[of]);
        container.until_running(name, &before[of]);
        let mut now = pids(&container, &names);
        now[of].clone_from(&before[of]);
        assert_eq!(now, before, "only {name} has restarted");
        assert!(page(&container, "http://127.0.0.1/").starts_with("visits: "), "after kill -9 of {name}");
    }
    // The worker restarts with the database; the others are left alone.
    let before = pids(&container, &names);
    kill(&container, &before[0]);
    container.until_running("postgres", &before[0]);
    container.until_running("worker", &before[3]);
    assert_eq!(pids(&container, &["app", "nginx"]), before[1..3]);
    assert!(page(&container, "http://127.0.0.1/").starts_with("visits: "), "after kill -9 of postgres");
    assert_eq!(container.exec(&["rsup", "health"]).code, 0);

    assert_eq!(container.stop(), 0);
    let lines = own_lines(&container);
    let spawned = lines.iter().filter(|line| line.contains("spawned: 'migrate'")).count();
    assert_eq!(spawned, 1, "a migration that is done does not run again:\n{}", lines.join("\n"));
    let mut place = after(&lines, "received SIGTERM", 0);
    for name in ["nginx (exit status 0)", "app (terminated by SIGTERM)", "postgres (exit status 0)"] {
        place = after(&lines, &format!("stopped: {name}"), place);
    }
    assert!(after(&lines, "stopped: worker", 0) < place, "{}", lines.join("\n"));
}

#[test]
fn the_exit_code_of_the_chain_is_that_of_the_program_that_failed() {
    if !images(&["rsup", "rsup-base-database"]) {
        return;
    }
    let image = build("database-code", "docker/examples/database", Some("rsup-base-database"));
    let migrate = "command=/usr/bin/psql -q -v ON_ERROR_STOP=1 -f /app/schema.sql\n";
    let fails = "command=/bin/sh -c \"exit 3\"\nstartretries=0\nessential=true\n";
    let (container, _conf) = variant(&image, &[(migrate, fails)]);
    assert_eq!(container.wait(), 3);
    let reason = "rsup: migrate, which is essential, ended (exit status 3); exit code 3";
    assert!(container.logs().contains(reason), "{}", container.logs());

    // The port is open before the database accepts queries: the migration is tried again.
    let once = "depends_on=postgres,migrate\nready=http://127.0.0.1:8000/\nstartsecs=0\nautorestart=";
    let essential = [
        ("ready=exec:pg_isready -q", "ready=tcp:5432"),
        (&format!("{once}true"), &format!("essential=true\n{once}false")),
    ];
    let (container, _conf) = variant(&image, &essential.map(|(from, to)| (from, to)));
    assert!(page(&container, "http://127.0.0.1/").starts_with("visits: "));
    let logs = container.logs();
    assert!(logs.contains("success: postgres entered RUNNING state, it is ready (tcp:127.0.0.1:5432)"), "{logs}");
    kill(&container, &container.until_running("app", ""));
    assert_eq!(container.wait(), 128 + 9);
    let lines = own_lines(&container);
    assert!(after(&lines, "stopped: nginx", 0) < after(&lines, "stopped: postgres (exit status 0)", 0));
}

/// Runs a configuration in a base image, and waits until each program is RUNNING because of `READY=1` and shows its `STATUS=`.
fn notifies(base: &str, conf: &str, programs: &[(&str, &str)]) {
    let temp = tempfile::tempdir().unwrap();
    let server = "[supervisord]\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n";
    fs::write(temp.path().join("supervisord.conf"), format!("{server}{conf}")).unwrap();
    let image = build_from(base, &temp);
    let container = Container::start(&[&image]);
    for (name, status) in programs {
        container.until_logs(&format!("success: {name} entered RUNNING state, it is ready (notify)"));
        crate::harness::wait_for(&format!("{status:?} in the status of {name}"), || {
            container.exec(&["rsupctl", "status", name]).out.contains(status).then_some(())
        });
    }
    assert_eq!(container.stop(), 0);
}

/// An image from a base image, with rsup and the `supervisord.conf` of a directory.
fn build_from(base: &str, dir: &tempfile::TempDir) -> String {
    let dockerfile = format!(
        "FROM {base}\nCOPY --from=rsup /sbin/ /sbin/\nCOPY supervisord.conf /etc/supervisord.conf\n\
         RUN install -d -o mysql -g mysql /run/mysqld 2>/dev/null || install -d /run/php\nENTRYPOINT [\"/sbin/rsup\"]\n"
    );
    fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    build(&format!("notify-{base}"), dir.path().to_str().unwrap(), None)
}

#[test]
fn mariadb_and_redis_say_when_they_are_ready() {
    if !images(&["rsup", "rsup-base-app"]) {
        return;
    }
    let conf = "[program:mariadb]\ncommand=/usr/sbin/mariadbd --user=mysql\nready=notify\nready_timeout=90\nstartsecs=0\n\
                [program:redis]\ncommand=/usr/bin/redis-server --bind 127.0.0.1 --supervised systemd --dir /tmp\nuser=redis\n\
                ready=notify\nstartsecs=0\n";
    notifies(
        "rsup-base-app",
        conf,
        &[("mariadb", "Taking your SQL requests now"), ("redis", "Ready to accept connections")],
    );
}

#[test]
fn php_fpm_says_when_it_is_ready() {
    if !images(&["rsup", "rsup-base-web"]) {
        return;
    }
    let conf = "[program:php]\ncommand=/usr/sbin/php-fpm8.2 --nodaemonize\nready=notify\nstartsecs=0\n";
    notifies("rsup-base-web", conf, &[("php", "Processes active: 0, idle: 2")]);
}
