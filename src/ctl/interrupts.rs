//! Receives Ctrl-C, so that it ends a wait of the client instead of the client.
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use signal_hook::consts::SIGINT;
use signal_hook::{flag, low_level::pipe};

/// Records each Ctrl-C. It also ends the client, unless an [`InterruptHold`] exists.
pub struct Interrupts {
    noted: UnixStream,
    ends_client: Arc<AtomicBool>,
}

/// While it exists, Ctrl-C does not end the client.
pub struct InterruptHold {
    ends_client: Arc<AtomicBool>,
    before: bool,
}

impl Interrupts {
    /// Starts to record Ctrl-C, which still ends the client.
    pub fn new() -> io::Result<Self> {
        let (noted, note) = UnixStream::pair()?;
        noted.set_nonblocking(true)?;
        let ends_client = Arc::new(AtomicBool::new(true));
        flag::register_conditional_default(SIGINT, ends_client.clone())?;
        pipe::register(SIGINT, note)?;
        Ok(Self { noted, ends_client })
    }

    /// Makes Ctrl-C only recorded, until the result is dropped.
    #[must_use]
    pub fn hold(&self) -> InterruptHold {
        InterruptHold { ends_client: self.ends_client.clone(), before: self.ends_client.swap(false, SeqCst) }
    }

    /// Whether Ctrl-C was pressed since the last call.
    pub fn take(&self) -> bool {
        matches!((&self.noted).read(&mut [0; 64]), Ok(1..))
    }
}

impl Drop for InterruptHold {
    fn drop(&mut self) {
        self.ends_client.store(self.before, SeqCst);
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.noted.as_fd()
    }
}
