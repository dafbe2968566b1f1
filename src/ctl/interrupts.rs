//! Ctrl-C, once something has wanted to be interrupted and not to end with it.
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGINT;
use signal_hook::{flag, low_level::pipe};

/// Ctrl-C: ends us, but while something is followed it is only noted.
pub struct Interrupts {
    noted: UnixStream,
    /// What it does now.
    pub ends_us: Arc<AtomicBool>,
}

impl Interrupts {
    /// Notes each from now on, and ends us as before.
    pub fn new() -> io::Result<Self> {
        let (noted, note) = UnixStream::pair()?;
        noted.set_nonblocking(true)?;
        let ends_us = Arc::new(AtomicBool::new(true));
        flag::register_conditional_default(SIGINT, ends_us.clone())?;
        pipe::register(SIGINT, note)?;
        Ok(Self { noted, ends_us })
    }

    /// Whether there was one since the last look.
    pub fn take(&mut self) -> bool {
        matches!(self.noted.read(&mut [0; 64]), Ok(1..))
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.noted.as_fd()
    }
}
