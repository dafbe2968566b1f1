//! Signals: blocks them, reads them from a descriptor, sends and forwards them.
//!
//! ```text
//! let signals = Signals::take_over(Ignored::Reset)?;   // before anything else is started
//! poll on signals.fd();  for received in signals.pending() { … received.signo … }
//! SpawnPlan { mask: signals.original_mask(), … }
//! ```
//!
//! All 64 signals are blocked, the synchronous ones too. A fault of rsup itself still kills it, since the kernel unblocks a signal that
//! it forces; a SIGSEGV or SIGABRT that a process sent can be read and forwarded. A supervisor installs no handler, so a child has nothing
//! to reset between fork and exec.
//!
//! Signal numbers are the kernel's. SIGRTMIN is 34, as with glibc and Python; musl calls 35 SIGRTMIN.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Pid;

/// The highest signal number.
pub const MAX: i32 = 64;

/// What to do with the signals that the parent of rsup ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Reset all to their default action, in rsup and in its children.
    // Differs from Supervisor: its children ignore what its parent ignored, except HUP, INT, QUIT, TERM, USR1, USR2 and CHLD. They also
    // ignore SIGPIPE and SIGXFSZ, which Python ignores.
    Reset,
    /// The child ignores the same signals. In rsup only SIGCHLD is reset: while it is ignored, the kernel reaps children by itself.
    PassedOn,
}

/// A set of signals in the kernel's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);
    /// No signal.
    pub const EMPTY: Self = Self(0);

    /// The set for a mask in the format of /proc: bit n - 1 is signal n.
    pub const fn from_mask(mask: u64) -> Self {
        Self(mask)
    }

    /// This set without `signo`.
    pub const fn without(self, signo: i32) -> Self {
        Self(self.0 & !Self::EMPTY.with(signo).0)
    }

    /// The signals in both sets.
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set with `signo`. Numbers outside 1..=64 change nothing.
    pub const fn with(self, signo: i32) -> Self {
        if signo < 1 || signo > MAX { self } else { Self(self.0 | 1_u64.rotate_left(signo.wrapping_sub(1) as u32)) }
    }

    /// Whether `signo` is in the set.
    pub const fn contains(self, signo: i32) -> bool {
        self.0 & Self::EMPTY.with(signo).0 != 0
    }

    /// A pointer to the set for system calls; its size is [`SignalSet::SIZE`].
    pub(super) const fn as_ptr(&self) -> *const u64 {
        &raw const self.0
    }

    /// sizeof(sigset_t) in the kernel.
    pub(super) const SIZE: usize = size_of::<u64>();
}

/// Changes the calling thread's mask by `how` (SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK), and returns the old mask.
///
/// A direct system call, since libc's wrappers reserve the signals 32 to 34.
pub fn change_mask(how: i32, set: SignalSet) -> io::Result<SignalSet> {
    let mut old = SignalSet::EMPTY;
    // SAFETY: both pointers are to live 8-byte sets, and 8 is the size given.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set.as_ptr(), &raw mut old.0, SignalSet::SIZE) };
    if done == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's struct sigaction on amd64 and arm64 (elsewhere it is shorter). Only the handler is used here.
#[repr(C)]
#[derive(Default)]
struct SigAction {
    handler: usize,
    rest: [u64; 3],
}

/// Resets `signo` to its default action if it is ignored; returns whether it was. A direct system call, for the signals that libc
/// reserves.
fn reset_if_ignored(signo: i32) -> io::Result<bool> {
    let (default, mut before) = (SigAction::default(), SigAction::default());
    if matches!(signo, libc::SIGKILL | libc::SIGSTOP) {
        return Ok(false);
    }
    let none = std::ptr::null::<SigAction>();
    // SAFETY: the pointers are null or to live records at least as large as the kernel's.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, none, &raw mut before, SignalSet::SIZE) };
    let is_ignored = done == 0 && before.handler == libc::SIG_IGN;
    if is_ignored {
        // SAFETY: as above; this sets the default action, not a handler.
        let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, &raw const default, none, SignalSet::SIZE) };
        return if done == 0 { Ok(true) } else { Err(io::Error::last_os_error()) };
    }
    Ok(false)
}

/// Ignores the signals of `set`. Makes only system calls, so it may run between fork and exec.
pub(super) fn ignore(set: SignalSet) {
    let ignore = SigAction { handler: libc::SIG_IGN, ..SigAction::default() };
    for signo in (1..=MAX).filter(|&signo| set.contains(signo)) {
        let none = std::ptr::null_mut::<SigAction>();
        // SAFETY: as in `reset_if_ignored`; this does not set a handler.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, &raw const ignore, none, SignalSet::SIZE) };
    }
}

/// The signals that this process receives, readable from a descriptor.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    original: SignalSet,
    childs_ignored: SignalSet,
}

impl Signals {
    /// Blocks every signal and opens the descriptor. Call it first: until then signals have their default action.
    pub fn take_over(ignored: Ignored) -> io::Result<Self> {
        let original = change_mask(libc::SIG_SETMASK, SignalSet::ALL)?;
        let reset = match ignored {
            Ignored::Reset => 1..=MAX,
            Ignored::PassedOn => libc::SIGCHLD..=libc::SIGCHLD,
        };
        let mut childs_ignored = SignalSet::EMPTY;
        for signo in reset {
            if reset_if_ignored(signo)? && ignored == Ignored::PassedOn {
                childs_ignored = childs_ignored.with(signo);
            }
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let all = SignalSet::ALL;
        // SAFETY: the pointer is to a live 8-byte set, and 8 is the size given.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, all.as_ptr(), SignalSet::SIZE, flags) };
        let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just returned this descriptor; nothing else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, original, childs_ignored })
    }

    /// Becomes readable when a signal is pending.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The mask that rsup was started with, which children get.
    pub const fn original_mask(&self) -> SignalSet {
        self.original
    }

    /// The signals that the child must ignore although rsup does not.
    pub const fn childs_ignored(&self) -> SignalSet {
        self.childs_ignored
    }

    /// Restores the original mask, so that signals have their default action again.
    pub fn unblock(&self) {
        let _ = change_mask(libc::SIG_SETMASK, self.original);
    }

    /// The pending signals in the kernel's order (low numbers first). Never blocks.
    pub fn pending(&self) -> PendingSignals<'_> {
        PendingSignals { signals: self, batch: Batch([const { [0; SIGINFO] }; BATCH]), next: 0, filled: 0, more: true }
    }

    /// Waits until a signal is pending, at most `timeout_ms` milliseconds; returns whether one is. An interruption ends the wait early.
    pub fn wait(&self, timeout_ms: Option<u16>) -> io::Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let timeout = timeout_ms.map_or(PollTimeout::NONE, PollTimeout::from);
        match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Ignores SIGPIPE, so that a write to a pipe without a reader fails with EPIPE. For clients; a supervisor blocks every signal.
pub fn ignore_broken_pipes() {
    // SAFETY: this does not set a handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Makes HUP, QUIT and TERM end a command that runs as PID 1, for which the kernel has no default action: without a handler it could
/// not be ended while it waits, such as for room in a pipe.
pub fn end_as_pid1() {
    for signo in [libc::SIGHUP, libc::SIGQUIT, libc::SIGTERM].into_iter().filter(|_| std::process::id() == 1) {
        let always = Arc::new(AtomicBool::new(true));
        let _ = signal_hook::flag::register_conditional_shutdown(signo, signo.saturating_add(128), always);
    }
}

/// A received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which signal.
    pub signo: i32,
    /// `si_code`: SI_USER for kill(2), SI_QUEUE for sigqueue(3), SI_KERNEL for the terminal, …
    pub code: i32,
    /// The sender; 0: the kernel, or a process outside this PID namespace.
    pub pid: Pid,
    /// The sender's real user.
    pub uid: u32,
    /// The value that was queued with the signal (`union sigval`); valid with SI_QUEUE.
    pub value: u64,
}

/// The most signals that one read returns.
const BATCH: usize = 8;
/// Size of one record in bytes.
const SIGINFO: usize = size_of::<libc::signalfd_siginfo>();

/// A buffer of whole records for read(2).
struct Batch([[u8; SIGINFO]; BATCH]);

/// Iterator over the pending signals.
pub struct PendingSignals<'a> {
    signals: &'a Signals,
    batch: Batch,
    next: usize,
    filled: usize,
    /// Whether the last read filled the batch, so that more signals may be pending.
    more: bool,
}

impl Iterator for PendingSignals<'_> {
    type Item = Received;

    fn next(&mut self) -> Option<Received> {
        if self.next >= self.filled {
            if !std::mem::replace(&mut self.more, false) {
                return None;
            }
            let bytes = self.batch.0.as_flattened_mut();
            let read = nix::unistd::read(&self.signals.fd, bytes).unwrap_or(0);
            self.filled = read.checked_div(SIGINFO).unwrap_or(0);
            self.more = self.filled == BATCH;
            self.next = 0;
        }
        let record = self.batch.0.get(..self.filled)?.get(self.next)?;
        self.next = self.next.saturating_add(1);
        Some(Received::parse(record))
    }
}

impl Received {
    /// Whether the kernel sent the signal, not a process.
    pub const fn is_from_kernel(&self) -> bool {
        self.code > 0
    }

    /// Whether this process sent the signal itself, or caused it (SIGPIPE).
    pub fn is_from_self(&self) -> bool {
        !self.is_from_kernel() && self.pid.unsigned_abs() == std::process::id()
    }

    /// Whether the terminal driver sent the signal, to a whole process group.
    pub const fn is_from_terminal(&self) -> bool {
        let is_known = matches!(
            self.signo,
            libc::SIGINT
                | libc::SIGQUIT
                | libc::SIGTSTP
                | libc::SIGTTIN
                | libc::SIGTTOU
                | libc::SIGWINCH
                | libc::SIGHUP
                | libc::SIGCONT
        );
        is_known && self.is_from_kernel()
    }

    fn parse(record: &[u8; SIGINFO]) -> Self {
        use std::mem::offset_of;
        type Info = libc::signalfd_siginfo;
        Self {
            signo: i32::from_ne_bytes(field(record, offset_of!(Info, ssi_signo))),
            code: i32::from_ne_bytes(field(record, offset_of!(Info, ssi_code))),
            pid: i32::from_ne_bytes(field(record, offset_of!(Info, ssi_pid))),
            uid: u32::from_ne_bytes(field(record, offset_of!(Info, ssi_uid))),
            value: u64::from_ne_bytes(field(record, offset_of!(Info, ssi_ptr))),
        }
    }
}

/// `N` bytes of a record from offset `at` on.
fn field<const N: usize>(record: &[u8; SIGINFO], at: usize) -> [u8; N] {
    record.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Sends a signal to one process (kill(2)); signal 0 only checks that it exists. `pid` must be positive: use [`send_group`] for a
/// group.
pub fn send(pid: Pid, signo: i32) -> io::Result<()> {
    if pid < 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, signo) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to a process group (kill(2)). `group` must be above 1: for 1, kill(2) would signal every process.
pub fn send_group(group: Pid, signo: i32) -> io::Result<()> {
    let target = group.checked_neg().filter(|&target| target < -1).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(target, signo) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Forwards a received signal to `pid`, with its queued value and its sender.
pub fn forward(pid: Pid, received: &Received) -> io::Result<()> {
    if received.code != libc::SI_QUEUE || pid < 1 {
        return send(pid, received.signo);
    }
    let info = QueuedInfo {
        signo: received.signo,
        errno: 0,
        code: received.code,
        _align: [],
        pid: received.pid,
        uid: received.uid,
        value: received.value,
        rest: [0; 12],
    };
    // SAFETY: `info` is a live record of siginfo_t's size and layout; the kernel copies it.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, received.signo, &raw const info) };
    // If the queue is full (RLIMIT_SIGPENDING), the value is lost but not the signal.
    if done == 0 { Ok(()) } else { send(pid, received.signo) }
}

/// siginfo_t for a queued signal: libc's type does not expose these fields.
#[repr(C)]
struct QueuedInfo {
    signo: i32,
    errno: i32,
    code: i32,
    /// The union that follows is aligned like a pointer.
    _align: [usize; 0],
    pid: i32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<QueuedInfo>() == size_of::<libc::siginfo_t>());

/// Stops this process with `signo` (SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU) if `is_wanted` returns true, and returns when it is
/// continued. A SIGCONT after the call of `is_wanted` is not missed, except with SIGSTOP. Returns at once if the kernel does not stop
/// this process: in an orphaned process group, and as PID 1.
pub fn stop_ourselves(signo: i32, is_wanted: impl FnOnce() -> bool) -> io::Result<()> {
    let own = std::process::id() as Pid;
    if signo == libc::SIGSTOP {
        return if is_wanted() { send(own, signo) } else { Ok(()) };
    }
    reset_if_ignored(signo)?;
    // The signal is blocked, so it stays pending until it is unblocked below, or until a SIGCONT discards it.
    send(own, signo)?;
    if !is_wanted() {
        return Ok(());
    }
    let before = change_mask(libc::SIG_UNBLOCK, SignalSet::EMPTY.with(signo))?;
    change_mask(libc::SIG_SETMASK, before).map(drop)
}

/// The signals that are pending for this thread or process.
pub fn pending() -> SignalSet {
    let mut set = SignalSet::EMPTY;
    // SAFETY: the pointer is to a live 8-byte set, and 8 is the size given.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set.0, SignalSet::SIZE) };
    if done == 0 { set } else { SignalSet::EMPTY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_the_signals_that_were_added() {
        let set = SignalSet::EMPTY.with(1).with(64).with(0).with(65).with(-3);
        let held: Vec<i32> = (-5..70).filter(|&n| set.contains(n)).collect();
        assert_eq!(held, [1, 64]);
    }

    #[test]
    fn dangerous_numbers_are_refused() {
        for pid in [0, -1, i32::MIN] {
            assert!(send(pid, 0).is_err());
        }
        for group in [0, 1, -1, i32::MIN] {
            assert!(send_group(group, 0).is_err());
        }
    }

    /// All queued real-time signals arrive in order, with value and sender. They are sent to this thread only, since tests share a
    /// process.
    #[test]
    fn pending_reads_more_than_one_batch() {
        let signals = Signals::take_over(Ignored::PassedOn).unwrap();
        for value in 0..20_u64 {
            let info = QueuedInfo {
                signo: 40,
                errno: 0,
                code: libc::SI_QUEUE,
                _align: [],
                pid: 77,
                uid: 88,
                value,
                rest: [0; 12],
            };
            // SAFETY: a live record of the right layout.
            let done = unsafe {
                libc::syscall(libc::SYS_rt_tgsigqueueinfo, libc::getpid(), libc::gettid(), 40, &raw const info)
            };
            assert_eq!(done, 0);
        }
        assert!(signals.wait(None).unwrap());
        let got: Vec<Received> = signals.pending().filter(|received| received.signo == 40).collect();
        assert_eq!(got.iter().map(|received| received.value).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        assert!(got.iter().all(|received| (received.pid, received.uid, received.code) == (77, 88, libc::SI_QUEUE)));
        assert_eq!(signals.pending().count(), 0);
        change_mask(libc::SIG_SETMASK, signals.original_mask()).unwrap();
    }
}
