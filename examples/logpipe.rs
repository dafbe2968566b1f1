//! Copies its input to a log as the daemon would, to measure the log path, or to test it as another user.
//!
//! `logpipe PATH [MAXBYTES [BACKUPS [raw|prefix]]] <input`. Writes `blocked` to stderr when the log first accepts no more
//! bytes, and the errors at the end.
#![allow(clippy::unwrap_used)]

use rsup::logs::{ChildLog, Errno, Flow, LineFormat, LogSpec, RotationLimits, Sinks};
use rsup::sys::clock;
use rsup::sys::poll::{Interest, Poll};
use std::path::Path;

fn main() -> Result<(), Errno> {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(0);
    let spec = LogSpec {
        path: args.get(1).map(Path::new),
        syslog: None,
        limits: RotationLimits { maxbytes: number(2), backups: number(3), private: false },
        strip_ansi: false,
        format: if args.get(4).is_some_and(|format| format == "prefix") { LineFormat::Prefix } else { LineFormat::Raw },
        label: "logpipe stdin",
    };
    let mut sinks = Sinks::new();
    let mut log = ChildLog::open(&spec, &mut sinks)?;
    let input = std::io::stdin();
    let mut buffer = vec![0; 64 * 1024];
    let mut is_reported = false;
    loop {
        let now = clock::now();
        if let Flow::Blocked(at) = log.flow(&sinks) {
            if !std::mem::replace(&mut is_reported, true) {
                eprintln!("blocked");
            }
            wait_for_writability(&sinks);
            sinks.flush(at, now);
            continue;
        }
        match nix::unistd::read(&input, &mut buffer) {
            Ok(0) => break,
            Ok(count) => drop(log.write(buffer.get(..count).unwrap_or_default(), &mut sinks, now)),
            Err(Errno::EINTR) => {}
            Err(why) => return Err(why),
        }
    }
    log.close(&mut sinks, clock::now());
    for trouble in sinks.finish(clock::mono().after_ms(20_000)) {
        eprintln!("{trouble}");
    }
    Ok(())
}

fn wait_for_writability(sinks: &Sinks) {
    let waiting = Poll::new().unwrap();
    for (_, fd) in sinks.wants_write() {
        waiting.add_raw(fd, 0, Interest::Write).unwrap();
    }
    waiting.wait(clock::mono(), None, &mut Vec::new()).unwrap();
}
