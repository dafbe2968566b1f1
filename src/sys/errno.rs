//! Symbolic names of error numbers (`ENOENT`), for Supervisor's messages.

use nix::errno::Errno;
use std::fmt;

/// Displays the symbolic name of an error number, or `errno <n>` if it has none. Allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrnoName(pub i32);

impl fmt::Display for ErrnoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Errno::from_raw(self.0) {
            Errno::UnknownErrno => write!(f, "errno {}", self.0),
            known => fmt::Debug::fmt(&known, f),
        }
    }
}

/// The name of the error number in an [`std::io::Error`], or the error's text if it has no number.
pub fn name(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| ErrnoName(number).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_symbolic() {
        assert_eq!(ErrnoName(libc::ENOENT).to_string(), "ENOENT");
        assert_eq!(ErrnoName(libc::ENOEXEC).to_string(), "ENOEXEC");
        assert_eq!(ErrnoName(4095).to_string(), "errno 4095");
        assert_eq!(name(&std::io::Error::from_raw_os_error(libc::EAGAIN)), "EAGAIN");
        assert_eq!(name(&std::io::Error::other("no number")), "no number");
    }
}
