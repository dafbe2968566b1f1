//! Bytes that are not UTF-8: in the environment, in paths, in names of files. Supervisor keeps them (as surrogates), but answers
//! HTTP 500 if an answer has one, so these tests compare files.

use crate::{Run, compare_unstarted};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::Command;

/// "gehéim" in Latin-1.
const WORD: &[u8] = b"geh\xe9im";

fn os(parts: &[&[u8]]) -> OsString {
    OsString::from_vec(parts.concat())
}

/// A path in the sandbox.
fn at(run: &Run, name: &[u8]) -> PathBuf {
    run.dir.join(OsStr::from_bytes(name))
}

/// Waits until the file has this many lines. Returns them, escaped.
fn lines_of(run: &Run, name: &[u8], count: usize) -> String {
    let path = at(run, name);
    let bytes = crate::harness::wait_for(&format!("{count} lines in {}", path.display()), || {
        fs::read(&path).ok().filter(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count() >= count)
    });
    bytes.escape_ascii().to_string()
}

fn supervisord(run: &Run, args: &[&OsStr]) -> Command {
    let mut command = run.command("supervisord");
    command.env("PW", OsStr::from_bytes(WORD)).args(args);
    command
}

#[test]
fn variables_keep_their_bytes_wherever_they_are_used() {
    let conf = "[program:a]\ncommand=sh -c 'for v in \"$@\"; do echo \"$v\"; done; echo \"$PW $COPY $SHARED $SUPERVISOR_PROCESS_NAME $SUPERVISOR_GROUP_NAME\"; exec sleep 50' \
                sh \"%(ENV_PW)s\" %(ENV_PW)s '%(ENV_PW)s' \"%(ENV_PW).4s|%(ENV_PW)8s|%(ENV_PW)-8s|\" %(ENV_COPY)s %(ENV_PW)r\n\
                process_name=p%(ENV_PW)s\nenvironment=COPY=\"<%(ENV_PW)s>\"\ndirectory={dir}\n\
                stdout_logfile={dir}/log-%(ENV_PW)s.txt\nstderr_logfile={dir}/err-%(ENV_COPY)s.txt\n\
                [eventlistener:l]\ncommand=sh -c 'echo \"$PW $COPY\" >&2; exec sleep 50'\nevents=TICK_60\nenvironment=COPY=\"%(ENV_PW)s\"\n\
                stderr_logfile={dir}/l-%(ENV_PW)s\nstdout_logfile=NONE\n";
    let conf = conf.replace(" \\\n", " ");
    compare_unstarted(&conf, |run| {
        let text = run
            .read("supervisord.conf")
            .replace("[supervisord]\n", "[supervisord]\nenvironment=SHARED=\"%(ENV_PW)s\"\n");
        run.write("supervisord.conf", &text);
        let command = supervisord(run, ["-n", "-c", "supervisord.conf"].map(OsStr::new).as_slice());
        run.launch_as(command);
        let seen = lines_of(run, &[b"log-", WORD, b".txt"].concat(), 7);
        run.note("a", &seen);
        assert!(
            seen.starts_with(
                "geh\\xe9im\\ngeh\\xe9im\\ngeh\\xe9im\\ngeh\\xe9|  geh\\xe9im|geh\\xe9im  |\\n<geh\\xe9im>\\n"
            ),
            "{seen}"
        );
        assert!(seen.contains("geh\\xe9im <geh\\xe9im> geh\\xe9im pgeh\\xe9im a\\n"), "{seen}");
        assert!(at(run, &[b"err-<", WORD, b">.txt"].concat()).exists());
        let listener = lines_of(run, &[b"l-", WORD].concat(), 1);
        run.note("l", listener);
        run.stop();
    });
}

#[test]
fn a_configuration_may_be_in_a_directory_that_is_not_utf8() {
    compare_unstarted("", |run| {
        let home = at(run, b"caf\xe9");
        fs::create_dir_all(home.join(OsStr::from_bytes(b"d\xff.d"))).unwrap();
        fs::create_dir(home.join("work")).unwrap();
        fs::write(
            home.join("c.conf"),
            run.common().lines().filter(|line| !line.contains("logdir") && !line.contains("logfile") && !line.contains("pidfile")).fold(
                String::new(),
                |text, line| format!("{text}{}\n", run.fill(line).replace("[supervisord]", "[supervisord]\nlogfile=main.log\npidfile=%(here)s/main.pid\nchildlogdir=%(here)s")),
            ) + "[program:a]\ncommand=sh -c 'pwd; echo %(here)s; exec sleep 50'\nstdout_logfile=%(here)s/a.log\nstderr_logfile=a.err\n\
                 directory=%(here)s/work\n[program:auto]\ncommand=sh -c 'echo auto; exec sleep 50'\n[include]\nfiles=d*.d/n*.conf\n",
        )
        .unwrap();
        for (name, program) in [(&b"n\xefme.conf"[..], "b"), (b"name.conf", "c")] {
            fs::write(
                home.join(OsStr::from_bytes(b"d\xff.d")).join(OsStr::from_bytes(name)),
                format!("[program:{program}]\ncommand=sh -c 'echo %(here)s; exec sleep 50'\nstdout_logfile=%(here)s/{program}.log\n"),
            )
            .unwrap();
        }
        let mut command = supervisord(run, &["-n", "-c", "c.conf"].map(OsStr::new));
        command.current_dir(&home);
        run.launch_as(command);
        for (name, count) in [(&b"caf\xe9/a.log"[..], 2), (b"caf\xe9/d\xff.d/b.log", 1), (b"caf\xe9/d\xff.d/c.log", 1)]
        {
            let seen = lines_of(run, name, count);
            run.note("log", seen);
        }
        let pid = fs::read_to_string(home.join("main.pid")).unwrap();
        assert_eq!(pid.trim(), run.pid().to_string());
        let auto = |run: &Run| {
            let names = fs::read_dir(at(run, b"caf\xe9")).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.as_bytes().starts_with(b"auto-stdout---supervisor-")).count()
        };
        assert_eq!(auto(run), 1);
        assert!(home.join("a.err").exists() && home.join("main.log").exists());
        assert_eq!(run.stop(), 0);
        assert!(!home.join("main.pid").exists());
    });
}

#[test]
fn command_line_options_may_have_bytes_that_are_not_utf8() {
    compare_unstarted("[program:a]\ncommand=sh -c 'echo yes; exec sleep 50'\nstdout_logfile={dir}/a.log\n", |run| {
        let home = at(run, b"caf\xe9");
        fs::create_dir(&home).unwrap();
        let text = run.read("supervisord.conf");
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("childlogdir") && !line.contains("pidfile") && !line.starts_with("logfile"))
            .collect();
        let file = home.join("x.conf");
        fs::write(&file, text.join("\n")).unwrap();
        let dir = home.as_os_str().as_bytes();
        let (log, pid) = (os(&[dir, b"/m\xe9.log"]), os(&[dir, b"/m\xe9.pid"]));
        let args = [
            "-n".as_ref(),
            "-c".as_ref(),
            file.as_os_str(),
            "-l".as_ref(),
            &log,
            "-j".as_ref(),
            &pid,
            "-q".as_ref(),
            home.as_os_str(),
        ];
        let command = supervisord(run, &args);
        run.launch_as(command);
        lines_of(run, b"a.log", 1);
        assert_eq!(fs::read_to_string(&pid).unwrap().trim(), run.pid().to_string());
        assert!(!fs::read(&log).unwrap().is_empty());
        run.stop();
    });
}

#[test]
fn the_first_of_two_variables_with_one_name_counts() {
    let Some(venv) = crate::harness::oracle() else {
        return crate::harness::skip("no Python that can start a program with such an environment");
    };
    let conf = "[program:a]\ncommand=sh -c 'echo \"$TWICE %(ENV_TWICE)s\"; exec sleep 50'\nstdout_logfile={dir}/a.log\n\
                [program:b]\ncommand=env\nstartsecs=0\nautorestart=false\nstdout_logfile={dir}/b.log\n";
    compare_unstarted(conf, |run| {
        let script = "import ctypes, os, sys\n\
                      words = [word.encode() for word in sys.argv[1:]]\n\
                      array = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)\n\
                      env = [name + b'=' + value for name, value in os.environb.items()]\n\
                      env += [b'TWICE=first', b'X=1', b'TWICE=last']\n\
                      ctypes.CDLL(None).execve(words[0], array(words), array(env))\n";
        let mut command = run.command_of(&venv.join("bin/python"));
        command.args(["-c", script]).arg(run.dir.join("bin/supervisord")).args(["-n", "-c", "supervisord.conf"]);
        run.launch_as(command);
        let seen = lines_of(run, b"a.log", 1);
        assert_eq!(seen, "first first\\n");
        // The whole environment of a program; a shell would show one of the two.
        crate::harness::wait_for("the end of b", || run.log().contains("exited: b").then_some(()));
        let given = run.read("b.log");
        let twice: Vec<&str> = given.lines().filter(|line| line.starts_with("TWICE=")).collect();
        assert_eq!(twice, ["TWICE=first"]);
        run.stop();
    });
}

#[test]
fn a_file_that_is_not_utf8_is_refused() {
    for language in ["C", "C.UTF-8"] {
        compare_unstarted("", |run| {
            let text = [run.read("supervisord.conf").as_bytes(), b"; caf\xe9\n"].concat();
            fs::write(run.dir.join("supervisord.conf"), text).unwrap();
            let mut command = supervisord(run, &["-n", "-c", "supervisord.conf"].map(OsStr::new));
            command.env("LANG", language);
            run.launch_as(command);
            assert_eq!(run.wait(), 2);
            assert!(run.read("stderr").contains("byte 0xe9"), "{}", run.read("stderr"));
        });
    }
}
