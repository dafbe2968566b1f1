//! Reaps children, and queries those that have ended or stopped. Each function makes one system call and allocates nothing.
//!
//! ```text
//! while let Some((pid, exit)) = reap_any() { … }                     // simple
//! while let Some((pid, exit)) = peek_any() { sweep(pid); reap(pid) }   // the ids of the child and its group stay reserved until reap
//! ```

use nix::errno::Errno;

use super::Pid;

pub use crate::posix::Exit;

fn exit_of(status: i32) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    } else {
        Exit::Signal { number: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
    }
}

/// Reaps any child that has ended; `None`: there is none.
pub fn reap_any() -> Option<(Pid, Exit)> {
    wait(-1).map(|(pid, status)| (pid, exit_of(status)))
}

/// Reaps the child `pid` if it has ended.
pub fn reap(pid: Pid) -> Option<Exit> {
    (pid > 0).then(|| wait(pid)).flatten().map(|(_, status)| exit_of(status))
}

/// Blocks until the child `pid`, which is about to end, has ended, and reaps it.
pub fn wait_for(pid: Pid) {
    // SAFETY: the null pointer means that the status is not returned.
    while pid > 0 && unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0 && Errno::last() == Errno::EINTR {}
}

/// The signal that has stopped the child `pid`; `None`: the child is not stopped.
pub fn stop_signal_of(pid: Pid) -> Option<i32> {
    let info = query(libc::P_PID, libc::id_t::try_from(pid).ok()?, libc::WSTOPPED)?;
    // SAFETY: waitid filled the fields of a SIGCHLD.
    Some(unsafe { info.si_status() })
}

/// Whether this process has children, ended or not.
pub fn has_children() -> bool {
    // SAFETY: the null pointer means that nothing is returned.
    let done =
        unsafe { libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
    done == 0
}

/// The next child that has ended. Does not reap it: the ids of the child and its process group stay reserved, and the next call
/// returns the same child.
pub fn peek_any() -> Option<(Pid, Exit)> {
    ended_child(libc::P_ALL, 0)
}

/// How the child `pid` has ended; `None`: it runs. Does not reap it.
pub fn peek(pid: Pid) -> Option<Exit> {
    ended_child(libc::P_PID, libc::id_t::try_from(pid).ok()?).map(|(_, exit)| exit)
}

/// waitpid(2) that never blocks.
fn wait(pid: Pid) -> Option<(Pid, i32)> {
    let mut status = 0;
    // SAFETY: the pointer is to a live int.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// A child that has ended and is not reaped.
fn ended_child(kind: libc::idtype_t, id: libc::id_t) -> Option<(Pid, Exit)> {
    let info = query(kind, id, libc::WEXITED)?;
    // SAFETY: waitid filled the fields of a SIGCHLD.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        code => Exit::Signal { number: status, core: code == libc::CLD_DUMPED },
    };
    Some((pid, exit))
}

/// waitid(2) that neither blocks nor changes anything; `None`: no such child is in one of these states.
fn query(kind: libc::idtype_t, id: libc::id_t, states: i32) -> Option<libc::siginfo_t> {
    // SAFETY: all zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live siginfo_t.
    if unsafe { libc::waitid(kind, id, &raw mut info, states | libc::WNOHANG | libc::WNOWAIT) } != 0 {
        return None;
    }
    // SAFETY: waitid filled the fields of a SIGCHLD, or left them zero.
    (unsafe { info.si_pid() } > 0).then_some(info)
}
