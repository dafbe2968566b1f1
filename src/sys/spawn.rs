//! Starting a child: everything is prepared as C data first, then the child only makes system calls.
//!
//! ```text
//! let (argv, env) = (Words::of(["/bin/cat", "-u"])?, Words::of(["PATH=/bin"])?);
//! let plan = SpawnPlan { stdio: [Some(pipe.childs.as_fd()), None, None], ..SpawnPlan::new(program, &argv, &env, mask) };
//! let pid = spawn(&plan)?;                       // fails only as clone(2) does: EAGAIN, ENOMEM
//! ```
//!
//! What goes wrong in the child is said on its stderr, and it exits 127 (census §4.5/7), so that it is found in its log.
//!
//! The child shares our memory until it has executed its program (CLONE_VM|CLONE_VFORK: no page table is copied; we are suspended
//! meanwhile). It runs on a stack of its own, allocates nothing, writes nothing but that stack and errno, and uses the
//! system calls themselves for user and groups: libc's wrappers would try to tell "all threads".

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::Resource;

use super::fds::Limit;
use super::signals::{SignalSet, change_mask};
use super::{Pid, errno};
use ground::{GROUND, Ground};

mod ground;

/// A list of C strings in one piece of memory: argv, or an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Words {
    /// A list of these words. Fails where one has a NUL inside.
    pub fn of<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> io::Result<Self> {
        let mut list = Self::default();
        words.into_iter().try_for_each(|word| list.push(&[word.as_ref()]))?;
        Ok(list)
    }

    /// Appends one word made of these pieces (`[name, b"=", value]`). Fails, and appends nothing, where one has a NUL inside.
    pub fn push(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        if pieces.iter().any(|piece| memchr::memchr(0, piece).is_some()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "embedded null byte"));
        }
        self.starts.push(self.bytes.len());
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.bytes.push(0);
        Ok(())
    }

    /// How many words.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The words, without their NUL.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().filter_map(|&start| self.bytes.get(start..)?.split(|&byte| byte == 0).next())
    }

    /// As execve(2) wants them; valid as long as the list is.
    fn pointers(&self) -> Vec<*const c_char> {
        let at = |&start: &usize| self.bytes.get(start..).map_or(ptr::null(), |word| word.as_ptr().cast());
        self.starts.iter().map(at).chain([ptr::null()]).collect()
    }
}

/// Whom a child becomes.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// User number. If it is ours already, nothing is changed at all, as Supervisor does.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// All groups, `gid` among them.
    pub groups: &'a [u32],
}

/// Who tells the user what went wrong in the child, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Supervisor's two lines, exit code 127.
    Supervisor,
    /// A shell's one line, prefixed by our name, for a program that was found before; exit code 127 where the program is not there and 126 where it cannot be executed; and a
    /// script without `#!` is run by /bin/sh, as execvp(3) does.
    Shell,
}

/// All about a child that is to be. The order in the child is Supervisor's (census §4.5/6): own group, stdin/stdout/stderr, the rest of the
/// descriptors, groups and user, directory, umask, signal mask, program.
#[derive(Debug, Clone, Copy)]
pub struct SpawnPlan<'a> {
    /// The file to execute: no search is done.
    pub program: &'a CStr,
    /// Its arguments, the program's own name first.
    pub argv: &'a Words,
    /// Its whole environment, `NAME=value`.
    pub env: &'a Words,
    /// chdir(2) as the new user.
    pub directory: Option<&'a CStr>,
    /// umask(2).
    pub umask: Option<u32>,
    /// User and groups.
    pub credentials: Option<Credentials<'a>>,
    /// Limits to set, while still privileged; a failure is passed over.
    pub limits: &'a [(Resource, Limit)],
    /// What becomes 0, 1 and 2; `None`: as we have it. May be 0..=2 themselves, in any order.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// Whether descriptors from 3 on that lack close-on-exec are closed too. Ours have it.
    pub close_others: bool,
    /// setpgid(0, 0).
    pub own_group: bool,
    /// A terminal whose foreground group the child's own becomes, if it is our controlling one.
    pub foreground: Option<BorrowedFd<'a>>,
    /// The child's signal mask.
    pub mask: SignalSet,
    /// How failures are told.
    pub manner: Manner,
}

impl<'a> SpawnPlan<'a> {
    /// A supervised child in a group of its own that inherits 0, 1, 2, user, directory, umask and limits.
    #[must_use]
    pub const fn new(program: &'a CStr, argv: &'a Words, env: &'a Words, mask: SignalSet) -> Self {
        Self {
            program,
            argv,
            env,
            directory: None,
            umask: None,
            credentials: None,
            limits: &[],
            stdio: [None; 3],
            close_others: true,
            own_group: true,
            foreground: None,
            mask,
            manner: Manner::Supervisor,
        }
    }
}

/// Starts the child; returns once it has executed its program or failed to. Fails as clone(2) does.
pub fn spawn(plan: &SpawnPlan<'_>) -> io::Result<Pid> {
    let argv = plan.argv.pointers();
    let env = plan.env.pointers();
    let mut script = Vec::new();
    if plan.manner == Manner::Shell {
        script.extend([c"/bin/sh".as_ptr(), plan.program.as_ptr()]);
        script.extend(argv.iter().skip(1));
    }
    // A child of another user makes the kernel clear "dumpable" of the memory that we share with it, and then
    // /proc/1/cwd and /proc/1/environ are closed even to our own user.
    let dumpable = plan.credentials.is_some().then(prctl::get_dumpable);
    let mut ground = GROUND.lock().unwrap_or_else(PoisonError::into_inner);
    let before = change_mask(libc::SIG_SETMASK, SignalSet::ALL)?;
    let stdio = plan.stdio.map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd()));
    let low = if plan.close_others { ground.put_low(stdio) } else { None };
    let refused = AtomicBool::new(false);
    let child = Child { plan, stdio, argv: &argv, env: &env, script: &script, keep: None, refused: &refused };
    let mut result = None;
    if let Some((stdio, keep)) = low {
        let started = clone(&mut ground, &Child { stdio, keep: Some(keep), ..child });
        ground.take_back();
        match started {
            Ok(pid) if !refused.load(Ordering::Relaxed) => result = Some(Ok(pid)),
            Ok(pid) => {
                // SAFETY: our own child, which has done nothing but exit; its status is not asked for.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                ground.give_up();
            }
            // An emulator that does not know it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => ground.give_up(),
            Err(error) => result = Some(Err(error)),
        }
    }
    let result = result.unwrap_or_else(|| clone(&mut ground, &child));
    // These cannot fail with valid arguments, and a child is there: its number must not be lost.
    let _ = change_mask(libc::SIG_SETMASK, before);
    if let Some(Ok(true)) = dumpable {
        let _ = prctl::set_dumpable(true);
    }
    result
}

/// clone(2) of a child that does what `child` says; returns when it has executed its program or ended.
fn clone(ground: &mut Ground, child: &Child<'_>) -> io::Result<Pid> {
    let top = ground.stack_top()?;
    let files = if child.keep.is_some() { libc::CLONE_FILES } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | files;
    // SAFETY: the child runs `run_child` on a stack that is its own (`ground` is ours until it has left it: CLONE_VFORK returns
    // after exec or exit), with a `Child` that lives until then. It only makes system calls, so our memory stays as it is, and it leaves a
    // shared table of descriptors before it changes any; the caller has blocked all signals, so no handler runs in it.
    let pid = unsafe { libc::clone(run_child, top, flags, ptr::from_ref(child).cast_mut().cast()) };
    if pid > 0 { Ok(pid) } else { Err(io::Error::last_os_error()) }
}

/// What the child reads.
#[derive(Clone, Copy)]
struct Child<'a> {
    plan: &'a SpawnPlan<'a>,
    /// Where what becomes 0, 1, 2 is now; -1: as it is.
    stdio: [RawFd; 3],
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    /// argv of /bin/sh for a script without `#!`; empty: not wanted.
    script: &'a [*const c_char],
    /// The table of descriptors is shared, and what is below this number is to become the child's own copy.
    keep: Option<RawFd>,
    /// Set by the child: it could not get its copy.
    refused: &'a AtomicBool,
}

/// What went wrong in the child.
enum Failure {
    Setuid(Why),
    Chdir(i32),
    Exec(i32),
    Prepare(i32),
}

enum Why {
    Text(&'static str),
    Errno(i32),
}

/// A system call; the error is its number.
macro_rules! system_call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        match libc::syscall($number $(, $argument)*) {
            -1 => Err(Errno::last_raw()),
            value => Ok::<c_long, i32>(value),
        }
    };
}

/// The child's whole life before its program. From here on: system calls only.
extern "C" fn run_child(data: *mut c_void) -> c_int {
    // SAFETY: `spawn` passed a pointer to a `Child`, which outlives us.
    let child = unsafe { &*data.cast::<Child<'_>>() };
    if let Some(keep) = child.keep {
        // SAFETY: closes nothing of ours: the flag makes a copy first, and only its upper part is left out.
        if unsafe { system_call!(libc::SYS_close_range, keep, RawFd::MAX, libc::CLOSE_RANGE_UNSHARE) }.is_err() {
            child.refused.store(true, Ordering::Relaxed);
            // SAFETY: ends this process without running anything of libc's.
            unsafe { libc::syscall(libc::SYS_exit_group, 127) };
        }
    }
    let failure = match child.prepare() {
        Ok(()) => child.execute(),
        Err(failure) => failure,
    };
    let code = child.complain(&failure);
    // SAFETY: ends this process without running anything of libc's.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    code
}

impl Child<'_> {
    fn prepare(&self) -> Result<(), Failure> {
        let plan = self.plan;
        if plan.own_group {
            // SAFETY: no memory is involved. It can fail for a session leader only, which a new child is not.
            let _ = unsafe { system_call!(libc::SYS_setpgid, 0, 0) };
        }
        if let Some(terminal) = plan.foreground {
            // SAFETY: the pointer is to a live int. It fails where this is not our terminal: then there is nothing to hand over.
            unsafe {
                let own = system_call!(libc::SYS_getpid).unwrap_or(0) as Pid;
                let _ = system_call!(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSPGRP, &raw const own);
            }
        }
        self.place_stdio().map_err(Failure::Prepare)?;
        for (resource, limit) in plan.limits {
            let wanted = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
            let none = ptr::null_mut::<libc::rlimit64>();
            // SAFETY: the pointer is to a live rlimit64; the old value is not asked for.
            let _ = unsafe { system_call!(libc::SYS_prlimit64, 0, *resource as c_long, &raw const wanted, none) };
        }
        if plan.close_others {
            // SAFETY: only marks; nothing is closed before exec. An old kernel's refusal is passed over: ours are marked anyway.
            let _ = unsafe { system_call!(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        }
        if let Some(credentials) = &plan.credentials {
            become_user(credentials).map_err(Failure::Setuid)?;
        }
        if let Some(directory) = plan.directory {
            // SAFETY: a NUL-terminated string.
            unsafe { system_call!(libc::SYS_chdir, directory.as_ptr()) }.map_err(Failure::Chdir)?;
        }
        if let Some(umask) = plan.umask {
            // SAFETY: no memory is involved.
            let _ = unsafe { system_call!(libc::SYS_umask, umask) };
        }
        Ok(())
    }

    /// dup2 to 0, 1, 2. A source below 3 is first moved out of the way of what will take its place.
    fn place_stdio(&self) -> Result<(), i32> {
        let mut sources = self.stdio;
        for (target, source) in (0..).zip(&mut sources) {
            if (0..3).contains(source) && *source != target {
                // SAFETY: no memory is involved.
                *source = unsafe { system_call!(libc::SYS_fcntl, *source, libc::F_DUPFD_CLOEXEC, 3) }? as c_int;
            }
        }
        for (target, &source) in (0..).zip(&sources) {
            // SAFETY: no memory is involved.
            unsafe {
                if source == target {
                    system_call!(libc::SYS_fcntl, source, libc::F_SETFD, 0)?;
                } else if source >= 0 {
                    system_call!(libc::SYS_dup3, source, target, 0)?;
                }
            }
        }
        Ok(())
    }

    /// Executes the program; returns only when it cannot.
    fn execute(&self) -> Failure {
        let program = self.plan.program.as_ptr();
        let (argv, env) = (self.argv.as_ptr(), self.env.as_ptr());
        let none = ptr::null_mut::<u64>();
        // SAFETY: argv, env and script are arrays of NUL-terminated strings that end with a null pointer; the mask is 8 live bytes.
        let error = unsafe {
            let _ = system_call!(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                self.plan.mask.as_ptr(),
                none,
                SignalSet::SIZE
            );
            match system_call!(libc::SYS_execve, program, argv, env) {
                Err(libc::ENOEXEC) if !self.script.is_empty() => {
                    let _ = system_call!(libc::SYS_execve, c"/bin/sh".as_ptr(), self.script.as_ptr(), env);
                    libc::ENOEXEC
                }
                Err(error) => error,
                Ok(_) => 0,
            }
        };
        Failure::Exec(error)
    }

    /// Says on fd 2 what went wrong; returns the exit code.
    fn complain(&self, failure: &Failure) -> c_int {
        let argv0 = self.argv.first().filter(|word| !word.is_null()).map_or(b"".as_slice(), |&word| {
            // SAFETY: a NUL-terminated string of the plan's argv.
            unsafe { CStr::from_ptr(word) }.to_bytes()
        });
        let (mut number, mut name) = (Short::default(), Short::default());
        let (what, object, error): (&[u8], &[u8], i32) = match failure {
            Failure::Setuid(why) => {
                number.write(&self.plan.credentials.map_or(0, |to| to.uid));
                match why {
                    Why::Text(text) => {
                        name.write(text);
                        (b"setuid to ", number.bytes(), 0)
                    }
                    Why::Errno(error) => (b"setuid to ", number.bytes(), *error),
                }
            }
            Failure::Chdir(error) => (b"chdir to ", self.plan.directory.map_or(b"", CStr::to_bytes), *error),
            Failure::Exec(error) => (b"exec ", argv0, *error),
            Failure::Prepare(error) => (b"set up stdin, stdout and stderr of ", argv0, *error),
        };
        if error != 0 {
            name.write(&errno::Name(error));
        }
        let supervisor = self.plan.manner == Manner::Supervisor;
        let prefix: &[u8] = if supervisor { b"supervisor: couldn't " } else { b"rsup: couldn't " };
        let last: &[u8] = match error {
            _ if supervisor => b"\nsupervisor: child process was not spawned\n",
            // The program itself was found before.
            libc::ENOENT => b" (its interpreter or loader is missing)\n",
            _ => b"\n",
        };
        let pieces = [prefix, what, object, b": ", name.bytes(), last];
        let vectors =
            pieces.map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() });
        // SAFETY: as many live byte ranges as are given; writev only reads them.
        let _ = unsafe { system_call!(libc::SYS_writev, 2, vectors.as_ptr(), vectors.len()) };
        if supervisor || matches!(error, libc::ENOENT | libc::ENOTDIR) { 127 } else { 126 }
    }
}

/// setgroups, setgid, setuid, with Supervisor's reasons where they fail.
fn become_user(to: &Credentials<'_>) -> Result<(), Why> {
    // SAFETY: no memory is involved but the group list, whose length is given.
    unsafe {
        let current = system_call!(libc::SYS_getuid).unwrap_or(0);
        if current == c_long::from(to.uid) {
            return Ok(());
        }
        if current != 0 {
            return Err(Why::Text("Can't drop privilege as nonroot user"));
        }
        system_call!(libc::SYS_setgroups, to.groups.len(), to.groups.as_ptr())
            .map_err(|_| Why::Text("Could not set groups of effective user"))?;
        system_call!(libc::SYS_setgid, to.gid).map_err(|_| Why::Text("Could not set group id of effective user"))?;
        system_call!(libc::SYS_setuid, to.uid).map_err(Why::Errno)?;
    }
    Ok(())
}

/// A short text on the stack; what does not fit is cut.
struct Short {
    bytes: [u8; 48],
    used: usize,
}

impl Default for Short {
    fn default() -> Self {
        Self { bytes: [0; 48], used: 0 }
    }
}

impl Short {
    fn write(&mut self, value: &dyn std::fmt::Display) {
        let _ = std::fmt::Write::write_fmt(self, format_args!("{value}"));
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(b"")
    }
}

impl std::fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for (free, byte) in self.bytes.iter_mut().skip(self.used).zip(text.bytes()) {
            *free = byte;
            self.used = self.used.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
