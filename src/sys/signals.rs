//! Signals: blocked and read from a descriptor, sent, and named.
//!
//! ```text
//! let signals = Signals::take_over(Ignored::Reset)?;   // before anything else is started
//! poll on signals.fd();  for received in signals.pending() { … received.signo … }
//! SpawnPlan { mask: signals.original_mask(), … }
//! ```
//!
//! All 64 are blocked, the synchronous ones too: a fault of our own still kills us (the kernel unblocks what it forces),
//! while a SEGV or ABRT that a process sent can be read and forwarded. No handler is ever installed, so that a child
//! needs nothing reset between fork and exec.
//!
//! Numbers are the kernel's: SIGRTMIN is 34 here as for glibc and Python, though musl calls 35 so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Pid;

/// The highest signal number.
pub const MAX: i32 = 64;

/// What becomes of the signals that our parent ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// All act by default again, in us and in our children.
    // Differs from Supervisor: its children find ignored what its parent ignored but for HUP, INT, QUIT, TERM, USR1, USR2 and CHLD,
    // and SIGPIPE and SIGXFSZ, which Python ignores.
    Reset,
    /// Our child gets them as they were. Only SIGCHLD acts by default in us: where it is ignored, the kernel reaps before we can.
    HandedOn,
}

/// A set of signals in the kernel's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);
    /// No signal.
    pub const EMPTY: Self = Self(0);

    /// The set of a mask as /proc has it: bit n - 1 is signal n.
    #[must_use]
    pub const fn from_mask(mask: u64) -> Self {
        Self(mask)
    }

    /// This set without `signo`.
    #[must_use]
    pub const fn without(self, signo: i32) -> Self {
        Self(self.0 & !Self::EMPTY.with(signo).0)
    }

    /// The signals that both sets have.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set and `signo`; numbers out of 1..=64 change nothing.
    #[must_use]
    pub const fn with(self, signo: i32) -> Self {
        if signo < 1 || signo > MAX { self } else { Self(self.0 | 1_u64.rotate_left(signo.wrapping_sub(1) as u32)) }
    }

    /// Whether `signo` is in the set.
    #[must_use]
    pub const fn contains(self, signo: i32) -> bool {
        self.0 & Self::EMPTY.with(signo).0 != 0
    }

    /// For system calls: where the set lies; its size is [`SignalSet::SIZE`].
    pub(super) const fn as_ptr(&self) -> *const u64 {
        &raw const self.0
    }

    /// sizeof(sigset_t) in the kernel.
    pub(super) const SIZE: usize = size_of::<u64>();
}

/// Applies `how` (SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK) to the calling thread's mask and returns the old one.
///
/// The system call itself, since libc's wrappers hold back the numbers 32 to 34 for themselves.
pub fn change_mask(how: i32, set: SignalSet) -> io::Result<SignalSet> {
    let mut old = SignalSet::EMPTY;
    // SAFETY: both pointers are to live 8-byte sets, and 8 is the size given.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set.as_ptr(), &raw mut old.0, SignalSet::SIZE) };
    if done == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

/// struct sigaction as the kernel has it on amd64 and arm64 (elsewhere it is shorter): only the handler's place matters here.
#[repr(C)]
#[derive(Default)]
struct SigAction {
    handler: usize,
    rest: [u64; 3],
}

/// Gives `signo` its default action where it is ignored; whether it was. The system call itself, for the numbers that libc keeps.
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
        // SAFETY: as above; no handler is set by this, only the default action.
        let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, &raw const default, none, SignalSet::SIZE) };
        return if done == 0 { Ok(true) } else { Err(io::Error::last_os_error()) };
    }
    Ok(false)
}

/// Ignores the signals of `set`, between fork and exec: makes system calls only.
pub(super) fn ignore(set: SignalSet) {
    let ignore = SigAction { handler: libc::SIG_IGN, ..SigAction::default() };
    for signo in (1..=MAX).filter(|&signo| set.contains(signo)) {
        let none = std::ptr::null_mut::<SigAction>();
        // SAFETY: as in `reset_if_ignored`; no handler is set by this.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, &raw const ignore, none, SignalSet::SIZE) };
    }
}

/// The signals of this process, readable from a descriptor.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    original: SignalSet,
    childs_ignored: SignalSet,
}

impl Signals {
    /// Blocks every signal and opens the descriptor. To be called before anything else is started: what came earlier acted by
    /// default.
    pub fn take_over(ignored: Ignored) -> io::Result<Self> {
        let original = change_mask(libc::SIG_SETMASK, SignalSet::ALL)?;
        let reset = match ignored {
            Ignored::Reset => 1..=MAX,
            Ignored::HandedOn => libc::SIGCHLD..=libc::SIGCHLD,
        };
        let mut childs_ignored = SignalSet::EMPTY;
        for signo in reset {
            if reset_if_ignored(signo)? && ignored == Ignored::HandedOn {
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
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The mask that we were started with: what children get.
    #[must_use]
    pub const fn original_mask(&self) -> SignalSet {
        self.original
    }

    /// What our child is to ignore though we do not.
    #[must_use]
    pub const fn childs_ignored(&self) -> SignalSet {
        self.childs_ignored
    }

    /// Restores the mask of before, so that signals act on us again.
    pub fn let_through(&self) {
        let _ = change_mask(libc::SIG_SETMASK, self.original);
    }

    /// What is pending now, in the kernel's order (low numbers first); never blocks.
    #[must_use]
    pub fn pending(&self) -> PendingSignals<'_> {
        PendingSignals { signals: self, batch: Batch([const { [0; SIGINFO] }; BATCH]), next: 0, filled: 0, more: true }
    }

    /// Waits until a signal is pending, at most `timeout_ms` milliseconds; whether one is. Interruptions end the wait early.
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

/// Makes a write to a pipe without a reader fail with EPIPE instead of ending us. For clients: a supervisor blocks every signal.
pub fn ignore_broken_pipes() {
    // SAFETY: no handler is set by this.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// One signal as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which signal.
    pub signo: i32,
    /// `si_code`: SI_USER for kill(2), SI_QUEUE for sigqueue(3), SI_KERNEL for the terminal's, …
    pub code: i32,
    /// The sender, 0 where it is the kernel or outside our PID namespace.
    pub pid: Pid,
    /// The sender's real user.
    pub uid: u32,
    /// What was queued with it (`union sigval`); meaningful with SI_QUEUE.
    pub value: u64,
}

/// How many signals one read takes at most.
const BATCH: usize = 8;
/// Bytes of one record.
const SIGINFO: usize = size_of::<libc::signalfd_siginfo>();

/// Whole records as read(2) leaves them.
struct Batch([[u8; SIGINFO]; BATCH]);

/// Iterator over the pending signals.
pub struct PendingSignals<'a> {
    signals: &'a Signals,
    batch: Batch,
    next: usize,
    filled: usize,
    /// Whether the last read filled the batch, so that another may find more.
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
    /// Whether the kernel sent it, not a process.
    #[must_use]
    pub const fn is_kernels(&self) -> bool {
        self.code > 0
    }

    /// Whether we sent it ourselves, or caused it: SIGPIPE.
    #[must_use]
    pub fn is_our_own(&self) -> bool {
        !self.is_kernels() && self.pid.unsigned_abs() == std::process::id()
    }

    /// Whether it is one that a terminal's driver sends to a whole process group.
    #[must_use]
    pub const fn is_terminals(&self) -> bool {
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
        is_known && self.is_kernels()
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

/// `N` bytes of a record from `at` on.
fn field<const N: usize>(record: &[u8; SIGINFO], at: usize) -> [u8; N] {
    record.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// kill(2) of one process; signal 0 only asks whether it is there. `pid` must be positive: what kill(2) does with other
/// numbers is [`send_group`]'s, or not offered.
pub fn send(pid: Pid, signo: i32) -> io::Result<()> {
    if pid < 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, signo) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// kill(2) of a process group; `group` must be above 1 (1 would mean everybody).
pub fn send_group(group: Pid, signo: i32) -> io::Result<()> {
    let target = group.checked_neg().filter(|&target| target < -1).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(target, signo) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Passes a received signal on to `pid`: as it came, with the value that was queued with it and its sender.
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
    // A full queue (RLIMIT_SIGPENDING) loses the value rather than the signal.
    if done == 0 { Ok(()) } else { send(pid, received.signo) }
}

/// siginfo_t of a queued signal: libc's type hides these fields.
#[repr(C)]
struct QueuedInfo {
    signo: i32,
    errno: i32,
    code: i32,
    /// The union begins where a pointer may.
    _align: [usize; 0],
    pid: i32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<QueuedInfo>() == size_of::<libc::siginfo_t>());

/// Stops us with `signo` (SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU) if `is_wanted` holds, and returns when we are continued. A SIGCONT that
/// comes after `is_wanted` was asked is not missed (with SIGSTOP it can be). Returns at once where the kernel does not stop us: in an
/// orphaned process group, and as PID 1.
pub fn stop_ourselves(signo: i32, is_wanted: impl FnOnce() -> bool) -> io::Result<()> {
    let own = std::process::id() as Pid;
    if signo == libc::SIGSTOP {
        return if is_wanted() { send(own, signo) } else { Ok(()) };
    }
    reset_if_ignored(signo)?;
    // It is pending, since we block it, until a SIGCONT takes it back; it acts when let in.
    send(own, signo)?;
    if !is_wanted() {
        return Ok(());
    }
    let before = change_mask(libc::SIG_UNBLOCK, SignalSet::EMPTY.with(signo))?;
    change_mask(libc::SIG_SETMASK, before).map(drop)
}

/// The signals that wait for this thread or process, unread.
#[must_use]
pub fn waiting() -> SignalSet {
    let mut set = SignalSet::EMPTY;
    // SAFETY: the pointer is to a live 8-byte set, and 8 is the size given.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set.0, SignalSet::SIZE) };
    if done == 0 { set } else { SignalSet::EMPTY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
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

    /// Queued real-time signals arrive all, in order, with value and sender; directed at this thread only, since tests share a process.
    #[test]
    fn pending_reads_more_than_one_batch() {
        let signals = Signals::take_over(Ignored::HandedOn).unwrap();
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
