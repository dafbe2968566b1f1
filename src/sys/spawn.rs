//! Starts a child. Everything is prepared as C data before the fork; the child then makes only system calls.
//!
//! ```text
//! let (argv, env) = (CStringList::of(["/bin/cat", "-u"])?, CStringList::of(["PATH=/bin"])?);
//! let plan = SpawnPlan { stdio: [Some(pipe.childs.as_fd()), None, None], ..SpawnPlan::new(&programs, &argv, &env, mask) };
//! let started = spawn(&plan)?;                   // errors of clone(2): EAGAIN, ENOMEM
//! if let Some(failure) = started.failure { … }   // a step failed; the child exits with 127
//! ```
//!
//! The child shares rsup's memory until it executes its program (CLONE_VM|CLONE_VFORK: no page table is copied, and rsup is suspended
//! until then). It runs on its own stack, allocates nothing, and writes only to that stack, errno and its `Report`. It makes direct
//! system calls to change user and groups, since libc's wrappers would try to change all threads. It prints nothing, since a write to a
//! full stderr would suspend rsup until stderr is read.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::fmt;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::Resource;

use super::fds::Limit;
use super::signals::{self, SignalSet, change_mask};
use super::{Pid, errno};
use arena::{ARENA, SpawnArena};

mod arena;

/// A list of C strings in one block of memory: argv or an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CStringList {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CStringList {
    /// A list of these strings. Fails if one contains a NUL.
    pub fn of<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> io::Result<Self> {
        let mut list = Self::default();
        words.into_iter().try_for_each(|word| list.push(&[word.as_ref()]))?;
        Ok(list)
    }

    /// Appends one string made of these pieces (`[name, b"=", value]`). If a piece contains a NUL, fails and appends nothing.
    pub fn push(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        if pieces.iter().any(|piece| memchr::memchr(0, piece).is_some()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "embedded null byte"));
        }
        self.starts.push(self.bytes.len());
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.bytes.push(0);
        Ok(())
    }

    /// The strings without their NUL.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().filter_map(|&start| self.bytes.get(start..)?.split(|&byte| byte == 0).next())
    }

    /// An array of pointers for execve(2), valid as long as the list.
    fn pointers(&self) -> Vec<*const c_char> {
        let at = |&start: &usize| self.bytes.get(start..).map_or(ptr::null(), |word| word.as_ptr().cast());
        self.starts.iter().map(at).chain([ptr::null()]).collect()
    }
}

/// An environment variable with the child's process id, which is known only after the fork.
#[derive(Debug)]
pub struct PidVariable(Box<[AtomicU8]>);

/// Room for the digits of the largest process id, and a NUL.
const PID_BYTES: usize = 11;

impl PidVariable {
    /// The variable `name`. Fails if the name contains a NUL.
    pub fn named(name: &[u8]) -> io::Result<Self> {
        let name = CString::new(name)?;
        Ok(Self(name.to_bytes().iter().chain(b"=").copied().chain([0; PID_BYTES]).map(AtomicU8::new).collect()))
    }

    /// Writes the process id. Runs in the child, so it allocates nothing.
    fn set(&self, pid: Pid) {
        let count =
            std::iter::successors(Some(pid), |rest| Some(rest.wrapping_div(10)).filter(|&rest| rest > 0)).count();
        let unused = PID_BYTES.saturating_sub(count);
        let mut rest = pid;
        // From the last digit to the first; the bytes after them are NUL already.
        for digit in self.0.iter().rev().skip(unused).take(count) {
            digit.store(b'0'.wrapping_add(u8::try_from(rest.wrapping_rem(10)).unwrap_or(0)), Ordering::Relaxed);
            rest = rest.wrapping_div(10);
        }
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// The user and groups of a child.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// User number. As under Supervisor, nothing is changed if rsup runs as this user.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// All groups, `gid` among them.
    pub groups: &'a [u32],
}

/// What to do with a program file that the kernel does not recognise (ENOEXEC), such as a script without `#!`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrecognized {
    /// Fail.
    Fails,
    /// Run it with /bin/sh, as execvp(3) does.
    RunsInShell,
}

/// Everything about a child to start. The order of the steps in the child is Supervisor's (supervisor-behaviour.md §4.5, step 6):
/// process group, stdin/stdout/stderr, other descriptors, groups and user, directory, umask, signals, program.
#[derive(Debug, Clone, Copy)]
pub struct SpawnPlan<'a> {
    /// The paths of the program: the child executes the first one that it can, by execvp(3)'s rules.
    pub programs: &'a [CString],
    /// What to do with a file that the kernel does not recognise.
    pub unrecognized: Unrecognized,
    /// The arguments, of which the first is the program's name.
    pub argv: &'a CStringList,
    /// The environment, `NAME=value`.
    pub env: &'a CStringList,
    /// Variables with the child's process id, added to the environment.
    pub pid_variables: &'a [PidVariable],
    /// The working directory, entered as the new user; `None`: inherited.
    pub directory: Option<&'a CStr>,
    /// The umask; `None`: inherited.
    pub umask: Option<u32>,
    /// User and groups; `None`: inherited.
    pub credentials: Option<Credentials<'a>>,
    /// Limits to set, before the user changes.
    pub limits: &'a [(Resource, Limit)],
    /// The descriptors that become 0, 1 and 2; `None`: inherited. They may be 0, 1 and 2 in any order.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// A descriptor that the child gets under this number, 3 or more.
    pub extra: Option<(BorrowedFd<'a>, RawFd)>,
    /// Whether to close descriptors from 3 on that are not close-on-exec too. Those of rsup are.
    pub close_others: bool,
    /// Whether the child leads a new process group.
    pub own_group: bool,
    /// The child's signal mask.
    pub mask: SignalSet,
    /// The signals that the child ignores although rsup does not.
    pub ignored: SignalSet,
}

impl<'a> SpawnPlan<'a> {
    /// A supervised child that leads a new process group and inherits 0, 1, 2, user, directory, umask and limits.
    pub const fn new(programs: &'a [CString], argv: &'a CStringList, env: &'a CStringList, mask: SignalSet) -> Self {
        Self {
            programs,
            unrecognized: Unrecognized::Fails,
            argv,
            env,
            pid_variables: &[],
            directory: None,
            umask: None,
            credentials: None,
            limits: &[],
            stdio: [None; 3],
            extra: None,
            close_others: true,
            own_group: true,
            mask,
            ignored: SignalSet::EMPTY,
        }
    }
}

/// A step of the child between fork and exec that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum SpawnStep {
    /// dup3(2) of stdin, stdout and stderr.
    Stdio = 1,
    /// setrlimit(2).
    Limits,
    /// The change to another user is not possible, since rsup is not root.
    NotRoot,
    /// setgroups(2).
    Groups,
    /// setgid(2).
    Gid,
    /// setuid(2).
    Uid,
    /// chdir(2).
    Directory,
    /// execve(2).
    Execute,
    /// close_range(2), which gives the child its own table of descriptors. The spawn is repeated without this step.
    Unshare,
    /// dup3(2) of `extra`.
    Extra,
}

impl SpawnStep {
    const ALL: [Self; 10] = [
        Self::Stdio,
        Self::Limits,
        Self::NotRoot,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Directory,
        Self::Execute,
        Self::Unshare,
        Self::Extra,
    ];
}

/// Why a child could not execute its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub step: SpawnStep,
    /// errno.
    pub errno: i32,
    /// The file that could not be executed.
    pub program: CString,
    argv0: CString,
    directory: CString,
    uid: u32,
}

/// Supervisor's message (supervisor-behaviour.md §4.5, step 7) without its `couldn't`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&self.argv0))
    }
}

impl Failure {
    /// Like `Display`, but with the path of the file and the [hint](Failure::hint).
    pub fn reason(&self) -> String {
        self.describe(&self.program) + &self.hint()
    }

    fn describe(&self, program: &CStr) -> String {
        let (uid, errno, program) = (self.uid, errno::ErrnoName(self.errno), program.to_string_lossy());
        match self.step {
            SpawnStep::Stdio | SpawnStep::Unshare => format!("set up stdin, stdout and stderr of {program}: {errno}"),
            SpawnStep::Extra => {
                format!("give {program} the descriptor of ready=fd (is its number too large?): {errno}")
            }
            SpawnStep::Limits => format!("set the limits of {program}: {errno}"),
            SpawnStep::NotRoot => format!("setuid to {uid}: Can't drop privilege as nonroot user"),
            SpawnStep::Groups => format!("setuid to {uid}: Could not set groups of effective user"),
            SpawnStep::Gid => format!("setuid to {uid}: Could not set group id of effective user"),
            SpawnStep::Uid => format!("setuid to {uid}: {errno}"),
            SpawnStep::Directory => format!("chdir to {}: {errno}", self.directory.to_string_lossy()),
            SpawnStep::Execute => format!("exec {program}: {errno}"),
        }
    }

    /// The probable cause of the error, in parentheses after a space; empty: unknown.
    pub fn hint(&self) -> String {
        let interpreter = || interpreter_of(&self.program);
        match (self.step, self.errno) {
            (SpawnStep::Groups | SpawnStep::Gid, errno) => format!(" ({})", errno::ErrnoName(errno)),
            (SpawnStep::Execute, libc::ENOENT) => {
                interpreter().map_or_else(String::new, |it| format!(" (its {it} is missing)"))
            }
            (SpawnStep::Execute, libc::EACCES) => match interpreter() {
                Some(it) if it != LOADER => format!(" (it, or its {it}, may not be executed)"),
                _ => String::new(),
            },
            (SpawnStep::Execute, libc::ENOEXEC) => " (neither a program for this machine nor a script with #!)".into(),
            _ => String::new(),
        }
    }
}

const LOADER: &str = "ELF loader";

/// The program that the kernel needs to execute this file, if the file exists: `interpreter /bin/x` for a script with `#!`, else the
/// loader.
fn interpreter_of(program: &CStr) -> Option<String> {
    let path = std::ffi::OsStr::from_bytes(program.to_bytes());
    std::fs::metadata(path).ok()?.is_file().then_some(())?;
    let mut start = Vec::new();
    let file = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let _ = file.and_then(|file| file.take(256).read_to_end(&mut start));
    let Some(line) = start.strip_prefix(b"#!") else { return Some(LOADER.into()) };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let name = line.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty()).unwrap_or_default();
    Some(format!("interpreter {}", String::from_utf8_lossy(name)))
}

/// A child that was created.
#[derive(Debug)]
pub struct Spawned {
    /// The child's process id.
    pub pid: Pid,
    /// Why the child exits with 127 instead of executing its program. Always `None` under an emulator in which the child does not share
    /// memory with rsup (qemu-user).
    pub failure: Option<Failure>,
}

/// Starts the child. Returns when the child has executed its program or has failed to.
///
/// # Errors
/// The errors of clone(2).
pub fn spawn(plan: &SpawnPlan<'_>) -> io::Result<Spawned> {
    let argv = plan.argv.pointers();
    let mut env = plan.env.pointers();
    env.splice(0..0, plan.pid_variables.iter().map(PidVariable::as_ptr));
    let mut script = Vec::new();
    if plan.unrecognized == Unrecognized::RunsInShell {
        script.extend([c"/bin/sh".as_ptr(), ptr::null()].map(Cell::new));
        script.extend(argv.iter().skip(1).copied().map(Cell::new));
    }
    // When the child changes its user, the kernel clears "dumpable" of the shared memory. Then even processes of rsup's own user may not
    // read /proc/1/cwd and /proc/1/environ.
    let dumpable = plan.credentials.is_some().then(prctl::get_dumpable);
    let report = Report::default();
    let stdio = plan.stdio.map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd()));
    let mut arena = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    let before = change_mask(libc::SIG_SETMASK, SignalSet::ALL)?;
    let child = ChildTask { plan, stdio, argv: &argv, env: &env, script: &script, keep: None, report: &report };
    let result = clone_from_low(&mut arena, &child).unwrap_or_else(|| clone(&mut arena, &child));
    // These calls cannot fail with valid arguments. The child's process id must be returned in any case.
    let _ = change_mask(libc::SIG_SETMASK, before);
    if let Some(Ok(true)) = dumpable {
        let _ = prctl::set_dumpable(true);
    }
    Ok(Spawned { pid: result?, failure: report.failure(plan) })
}

/// Creates the child with a copy of only the low part of a large table of descriptors; `None`: the table is small, or the kernel does
/// not support it.
fn clone_from_low(arena: &mut SpawnArena, child: &ChildTask<'_>) -> Option<io::Result<Pid>> {
    if !child.plan.close_others || child.plan.extra.is_some() {
        return None;
    }
    let (stdio, keep) = arena.put_low(child.stdio)?;
    let started = clone(arena, &ChildTask { stdio, keep: Some(keep), ..*child });
    arena.take_back();
    match started {
        Ok(pid) if child.report.step() == Some(SpawnStep::Unshare) => {
            // SAFETY: a child of this process that only exits; the null pointer means that its status is not returned.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            child.report.clear();
            arena.give_up();
            None
        }
        // An emulator that does not support CLONE_FILES here.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            arena.give_up();
            None
        }
        result => Some(result),
    }
}

/// clone(2) of a child that runs `child`. Returns when it has executed its program or ended.
fn clone(arena: &mut SpawnArena, child: &ChildTask<'_>) -> io::Result<Pid> {
    let top = arena.stack_top()?;
    let files = if child.keep.is_some() { libc::CLONE_FILES } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | files;
    // SAFETY: the child runs `run_child` on its own stack, with a `ChildTask` that lives until the child has left both: CLONE_VFORK
    // returns after exec or exit, and `arena` is borrowed until then. The child makes only system calls, and writes only to atomics and
    // `Cell`s that this process does not use in the meantime. It leaves a shared table of descriptors before it changes one. The caller
    // has blocked all signals, so no handler runs in the child.
    let pid = unsafe { libc::clone(run_child, top, flags, ptr::from_ref(child).cast_mut().cast()) };
    if pid > 0 { Ok(pid) } else { Err(io::Error::last_os_error()) }
}

/// The input of the child.
#[derive(Clone, Copy)]
struct ChildTask<'a> {
    plan: &'a SpawnPlan<'a>,
    /// The descriptors that become 0, 1 and 2; -1: inherited.
    stdio: [RawFd; 3],
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    /// The argv of /bin/sh for a script without `#!`; the child fills in the second word. Empty: such a script fails.
    script: &'a [Cell<*const c_char>],
    /// `Some`: the table of descriptors is shared, and the child copies the part below this number.
    keep: Option<RawFd>,
    report: &'a Report,
}

/// The failure of the child, written by it and read by this process: the memory is shared.
#[derive(Default)]
struct Report {
    /// A [`SpawnStep`]; 0: no step has failed.
    step: AtomicI32,
    errno: AtomicI32,
    /// Index in the plan's programs.
    program: AtomicUsize,
}

impl Report {
    fn set(&self, step: SpawnStep, errno: i32) {
        self.step.store(step as i32, Ordering::Relaxed);
        self.errno.store(errno, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.step.store(0, Ordering::Relaxed);
    }

    fn step(&self) -> Option<SpawnStep> {
        let number = self.step.load(Ordering::Relaxed);
        SpawnStep::ALL.into_iter().find(|&step| step as i32 == number)
    }

    fn failure(&self, plan: &SpawnPlan<'_>) -> Option<Failure> {
        Some(Failure {
            step: self.step()?,
            errno: self.errno.load(Ordering::Relaxed),
            program: plan.programs.get(self.program.load(Ordering::Relaxed)).cloned().unwrap_or_default(),
            argv0: plan.argv.iter().next().and_then(|word| CString::new(word).ok()).unwrap_or_default(),
            directory: plan.directory.map(CStr::to_owned).unwrap_or_default(),
            uid: plan.credentials.map_or(0, |to| to.uid),
        })
    }
}

/// A direct system call; the error is its errno.
macro_rules! system_call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        match libc::syscall($number $(, $argument)*) {
            -1 => Err(Errno::last_raw()),
            value => Ok::<c_long, i32>(value),
        }
    };
}

/// The main function of the child. From here on, only system calls.
extern "C" fn run_child(data: *mut c_void) -> c_int {
    // SAFETY: `spawn` passed a pointer to a `ChildTask`, which lives until the child has executed its program or ended.
    let child = unsafe { &*data.cast::<ChildTask<'_>>() };
    let done = child.prepare().and_then(|()| child.execute());
    if let Err((step, errno)) = done {
        child.report.set(step, errno);
    }
    // SAFETY: ends the child without running code of libc.
    unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    127
}

impl ChildTask<'_> {
    fn prepare(&self) -> Result<(), (SpawnStep, i32)> {
        let plan = self.plan;
        let at = |step| move |errno| (step, errno);
        if let Some(keep) = self.keep {
            // SAFETY: with this flag, the kernel copies the table first and closes only in the copy.
            unsafe { system_call!(libc::SYS_close_range, keep, RawFd::MAX, libc::CLOSE_RANGE_UNSHARE) }
                .map_err(at(SpawnStep::Unshare))?;
        }
        if plan.own_group {
            // SAFETY: no memory is involved. It fails only for a session leader, which a new child is not.
            let _ = unsafe { system_call!(libc::SYS_setpgid, 0, 0) };
        }
        self.place_stdio().map_err(at(SpawnStep::Stdio))?;
        for (resource, limit) in plan.limits {
            let wanted = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
            let none = ptr::null_mut::<libc::rlimit64>();
            // SAFETY: the pointer is to a live rlimit64; the null pointer means that the old value is not returned.
            unsafe { system_call!(libc::SYS_prlimit64, 0, *resource as c_long, &raw const wanted, none) }
                .map_err(at(SpawnStep::Limits))?;
        }
        if plan.close_others {
            // SAFETY: only marks descriptors; they are closed at exec. The error of an old kernel is ignored: rsup's own are marked.
            let _ = unsafe { system_call!(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        }
        if let Some((source, target)) = plan.extra {
            let source = source.as_raw_fd();
            // SAFETY: no memory is involved.
            let placed = unsafe {
                match source == target {
                    true => system_call!(libc::SYS_fcntl, source, libc::F_SETFD, 0),
                    false => system_call!(libc::SYS_dup3, source, target, 0),
                }
            };
            placed.map_err(at(SpawnStep::Extra))?;
        }
        if let Some(credentials) = &plan.credentials {
            become_user(credentials)?;
        }
        if let Some(directory) = plan.directory {
            // SAFETY: a NUL-terminated string.
            unsafe { system_call!(libc::SYS_chdir, directory.as_ptr()) }.map_err(at(SpawnStep::Directory))?;
        }
        if let Some(umask) = plan.umask {
            // SAFETY: no memory is involved; it cannot fail.
            let _ = unsafe { system_call!(libc::SYS_umask, umask) };
        }
        // SAFETY: no memory is involved; it cannot fail.
        let own = unsafe { system_call!(libc::SYS_getpid) }.unwrap_or(0) as Pid;
        plan.pid_variables.iter().for_each(|variable| variable.set(own));
        Ok(())
    }

    /// Moves descriptors to 0, 1 and 2. A source below 3 is first duplicated to a higher number, so that it is not overwritten.
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

    /// Executes the first program that can be executed, as execvp(3) does. Returns only if none can.
    fn execute(&self) -> Result<(), (SpawnStep, i32)> {
        signals::ignore(self.plan.ignored);
        // SAFETY: the pointer is to a live 8-byte set, and 8 is the size given.
        let _ = unsafe {
            let (mask, none) = (self.plan.mask.as_ptr(), ptr::null_mut::<u64>());
            system_call!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, mask, none, SignalSet::SIZE)
        };
        let mut first = None;
        let mut denied = None;
        for (at, program) in self.plan.programs.iter().enumerate() {
            let error = self.execute_file(program);
            let slot = if error == libc::EACCES { &mut denied } else { &mut first };
            slot.get_or_insert((at, error));
            if !matches!(
                error,
                libc::EACCES | libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT
            ) {
                denied = Some((at, error));
                break;
            }
        }
        let (at, error) = denied.or(first).unwrap_or((0, libc::ENOENT));
        self.report.program.store(at, Ordering::Relaxed);
        Err((SpawnStep::Execute, error))
    }

    /// execve(2) of a program. Returns only if it fails; the errno.
    fn execute_file(&self, program: &CStr) -> i32 {
        let env = self.env.as_ptr();
        // SAFETY: argv and env are arrays of NUL-terminated strings that end with a null pointer.
        let error = unsafe { system_call!(libc::SYS_execve, program.as_ptr(), self.argv.as_ptr(), env) }.err();
        if let (Some(libc::ENOEXEC), Some(name)) = (error, self.script.get(1)) {
            name.set(program.as_ptr());
            // SAFETY: as above; a `Cell` has the layout of its content.
            let _ = unsafe { system_call!(libc::SYS_execve, c"/bin/sh".as_ptr(), self.script.as_ptr(), env) };
        }
        error.unwrap_or(0)
    }
}

/// setgroups, setgid, setuid.
fn become_user(to: &Credentials<'_>) -> Result<(), (SpawnStep, i32)> {
    // SAFETY: no memory is involved but the group list, whose length is given.
    unsafe {
        let current = system_call!(libc::SYS_getuid).unwrap_or(0);
        if current == c_long::from(to.uid) {
            return Ok(());
        }
        if current != 0 {
            return Err((SpawnStep::NotRoot, libc::EPERM));
        }
        system_call!(libc::SYS_setgroups, to.groups.len(), to.groups.as_ptr())
            .map_err(|why| (SpawnStep::Groups, why))?;
        system_call!(libc::SYS_setgid, to.gid).map_err(|why| (SpawnStep::Gid, why))?;
        system_call!(libc::SYS_setuid, to.uid).map_err(|why| (SpawnStep::Uid, why))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
