//! What a verb prints on stdout: written to the end, or reported.
//!
//! `println!` panics where stdout is full, and std's stdout hides that it is closed.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::errno;

/// The exit code of a verb that succeeded but could not print its result.
const UNWRITTEN: u8 = 1;

/// Writes `text` to stdout and returns the exit code of `program`, which is `code` if all went well.
///
/// A reader that has gone (`| head`) is no error. Any other failure is one line on stderr, and then the exit code is never 0.
/// Blocks as long as stdout does: for clients only, not for a running supervisor.
#[must_use]
pub fn print(program: &str, text: &str, code: u8) -> u8 {
    match write_all(io::stdout(), text.as_bytes()) {
        Ok(()) | Err(Errno::EPIPE) => code,
        Err(why) => {
            let _ = writeln!(io::stderr(), "{program}: cannot write to stdout: {}", errno::ErrnoName(why as i32));
            if code == 0 { UNWRITTEN } else { code }
        }
    }
}

/// Writes all of `bytes` to a descriptor, past any buffer. Waits where the descriptor is non-blocking and full.
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
    fn a_full_non_blocking_pipe_is_waited_for() {
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
