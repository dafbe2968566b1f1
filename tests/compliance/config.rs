//! Whole configurations: includes, sections, and files that are refused at start.

use crate::{compare, compare_unstarted};

#[test]
fn includes_are_read_in_order() {
    let conf = "[include]\nfiles=conf.d/*.conf other.ini missing/*.x\n";
    compare_unstarted(conf, |run| {
        std::fs::create_dir(run.dir.join("conf.d")).unwrap();
        run.write("conf.d/b.conf", "[program:b]\ncommand=/bin/sleep 1000\nautostart=false\n");
        run.write(
            "conf.d/a.conf",
            "[program:a]\ncommand=/bin/sh -c \"echo %(here)s; exec sleep 1000\"\nstdout_logfile=%(here)s/a.out\n",
        );
        run.write("other.ini", "[program:b]\npriority=3\n[program:c]\ncommand=/bin/cat\nautostart=false\n");
        run.start();
        run.until("a", "RUNNING");
        run.until_file("conf.d/a.out", "/conf.d");
        run.ctl(&["avail"]);
        for text in [
            "Included extra file \"{dir}/conf.d/a.conf\" during parsing",
            "No file matches via include \"{dir}/missing/*.x\"",
        ] {
            assert!(run.log().contains(&run.fill(text)), "{text}");
        }
    });
}

#[test]
fn names_with_and_without_groups() {
    let conf = "[program:solo]\ncommand=/bin/cat\nautostart=false\n[program:b]\ncommand=/bin/cat\nautostart=false\npriority=1\n\
                [program:a]\ncommand=/bin/cat\nautostart=false\npriority=2\n[group:grp]\nprograms=a,b\npriority=5\n\
                [program:named]\ncommand=/bin/cat\nautostart=false\nprocess_name=%(group_name)s-x\n";
    compare(conf, |run| {
        run.ctl(&["status"]);
        run.ctl(&["avail"]);
    });
}

#[test]
fn comments_continuations_and_odd_spacing() {
    let conf = "; a comment\n# another\n[program:x] ; behind a section\ncommand : /bin/sh -c \"echo a;b#c; exec sleep 1000\" ; behind a value\n\
                AutoStart = TRUE\nstdout_logfile={dir}/x.out\nenvironment =\n    A=1,\n    ; inside\n    B=2\n\n[Program:ignored]\ncommand=/bin/cat\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        run.until_file("x.out", "\n");
        run.note("output", run.read("x.out"));
        run.ctl(&["avail"]);
    });
}

/// Both refuse to start: exit code 2 and a message on stderr. rsup's wording differs.
fn refused(conf: &str) {
    compare_unstarted(conf, |run| {
        run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
        assert_eq!(run.wait(), 2);
        assert!(!run.read("stderr").is_empty());
    });
}

#[test]
fn refuses_a_program_without_command() {
    refused("[program:x]\nautostart=true\n");
}

#[test]
fn refuses_a_line_without_delimiter() {
    refused("[program:x]\ncommand=/bin/cat\nnonsense\n");
}

#[test]
fn refuses_a_bad_number() {
    refused("[program:x]\ncommand=/bin/cat\nstartsecs=soon\n");
}

#[test]
fn refuses_an_unknown_expansion() {
    refused("[program:x]\ncommand=/bin/cat %(bogus)s\n");
}

#[test]
fn refuses_numprocs_without_process_num() {
    refused("[program:x]\ncommand=/bin/cat\nnumprocs=2\n");
}

#[test]
fn refuses_an_unknown_group_member() {
    refused("[group:g]\nprograms=nobody\n");
}

#[test]
fn refuses_a_bad_signal() {
    refused("[program:x]\ncommand=/bin/cat\nstopsignal=BOGUS\n");
}

#[test]
fn refuses_a_log_in_no_directory() {
    refused("[program:x]\ncommand=/bin/cat\nstdout_logfile=/no/such/dir/x.log\n");
}

#[test]
fn refuses_stopasgroup_without_killasgroup() {
    refused("[program:x]\ncommand=/bin/cat\nstopasgroup=true\nkillasgroup=false\n");
}

#[test]
fn refuses_half_a_password() {
    refused("[unix_http_server]\nusername=joe\n");
}

#[test]
fn refuses_a_name_with_a_colon() {
    refused("[program:a:b]\ncommand=/bin/cat\n");
}

#[test]
fn command_line_errors() {
    compare_unstarted("", |run| {
        for args in [
            &["-Z"][..],
            &["--foo"],
            &["-c"],
            &["--nodaemon=1"],
            &["foo"],
            &["-n", "-n"],
            &["-e", "bogus"],
            &["-z", "many"],
        ] {
            let ran = crate::harness::run(run.command("supervisord").args(args));
            assert_eq!(ran.code, 2, "{args:?} {ran:?}");
            run.note(&format!("{args:?}"), ran.err.lines().next().unwrap_or(""));
        }
        let ran = crate::harness::run(run.command("supervisord").args(["-c", "/no/such/file"]));
        assert!(ran.code == 2 && ran.err.contains("could not find config file /no/such/file"), "{ran:?}");
        let ran = crate::harness::run(run.command("supervisord").arg("-v"));
        run.note("-v", format!("{ran:?}"));
        assert_eq!(crate::harness::run(run.command("supervisord").arg("-h")).code, 0);
    });
}

#[test]
fn the_command_line_wins_over_the_file() {
    compare_unstarted("[supervisord]\nidentifier=file\n", |run| {
        run.launch(&["-n", "-c", "{dir}/supervisord.conf", "-i", "line", "-j", "{dir}/other.pid"]);
        crate::harness::wait_for("the pid file", || run.read("other.pid").ends_with('\n').then_some(()));
        assert_eq!(run.read("other.pid"), format!("{}\n", run.pid()));
        crate::harness::wait_for("the server", || run.rpc("supervisor.getIdentification", serde_json::json!([])).ok());
        run.call("supervisor.getIdentification", serde_json::json!([])).unwrap();
    });
}
