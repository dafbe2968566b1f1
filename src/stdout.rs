//! Prints the result of a command on stdout, and its error messages on stderr.
//!
//! `println!` panics if the write fails, and std ignores a closed stdout.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::{errno, output};
use crate::text;

/// The exit code of a command that succeeded but could not print its result.
const UNWRITTEN: u8 = 1;

/// Writes `text` (see [`crate::text`]) to stdout and returns the exit code for the process: `code` if the write succeeded.
///
/// A closed pipe (`| head`) is not an error. Any other failure prints one line on stderr, and the exit code is not 0. Blocks as long
/// as stdout does, so a running supervisor must not use it.
#[must_use]
pub fn print(program: &str, text: &str, code: u8) -> u8 {
    match write_all(io::stdout(), &text::encode(text)) {
        Ok(()) | Err(Errno::EPIPE) => code,
        Err(why) => {
            report(&format!("{program}: cannot write to stdout: {}\n", errno::ErrnoName(why as i32)));
            if code == 0 { UNWRITTEN } else { code }
        }
    }
}

/// Reports an error of a command line, or of a file that it names, on stderr; returns the exit code for it.
#[must_use]
pub fn misused(program: &str, why: &str) -> u8 {
    report(&format!("Error: {}\nFor help, use {} -h\n", text::shown(why), text::shown(program)));
    2
}

/// Writes a message to stderr. It is lost if stderr is closed or has no room for 50 ms: every verb can run as PID 1, where a blocked
/// write would make the container ignore SIGTERM.
pub fn report(message: &str) {
    let _ = output::to_stderr(message);
}

/// Writes all of `bytes` to a descriptor without a buffer. Waits for room if the descriptor is non-blocking and full.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match nix::unistd::write(&fd, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_write_to_a_full_non_blocking_pipe_waits() {
        let (mut reader, writer) = io::pipe().unwrap();
        crate::sys::fds::set_nonblocking(&writer).unwrap();
        let text: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = text.clone();
        let thread = std::thread::spawn(move || write_all(&writer, &text));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert!(got == expected);
    }

    #[test]
    fn failures_are_returned() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write_all(&full, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write_all(&full, b""), Ok(()));
    }
}
