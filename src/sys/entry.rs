//! The program's entry point, in place of the start-up of Rust's own run time.
//!
//! That start-up aborts where descriptor 0, 1 or 2 is closed and /dev/null cannot be opened, ignores SIGPIPE, and installs handlers for
//! SIGSEGV and SIGBUS. An init must run anywhere, and hand on what its parent set. So C's `main` is defined here: libc calls it first.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

use super::fds;

/// Defines C's `main`, which calls `$run: fn(&[OsString]) -> u8` with the words of the command line and ends with its exit code.
#[macro_export]
macro_rules! entry_point {
    ($run:path) => {
        // SAFETY: nothing else in the executable is called `main`, and libc expects this signature.
        #[allow(unsafe_code, missing_docs)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(argc: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: libc passes the process's arguments, before any other thread exists.
            unsafe { $crate::sys::entry::enter(argc, argv, $run) }
        }
    };
}

/// Occupies 0, 1 and 2 where they are closed, and runs `run` with the process's arguments; returns its exit code.
///
/// # Safety
/// `argv` must hold `argc` pointers to NUL-terminated strings that live as long as the process; no other thread may run.
pub unsafe fn enter(argc: c_int, argv: *const *const c_char, run: fn(&[OsString]) -> u8) -> c_int {
    fds::occupy_standard();
    let count = usize::try_from(argc).unwrap_or(0);
    // std::env::args is empty here with musl: only Rust's own start-up fills it in.
    let word = |at| {
        // SAFETY: the caller's promise; `at` is below `argc`.
        let word = unsafe { CStr::from_ptr(*argv.wrapping_add(at)) };
        OsStr::from_bytes(word.to_bytes()).to_owned()
    };
    let words: Vec<OsString> = (0..count).map(word).collect();
    let code = run(&words);
    let _ = std::io::stdout().flush();
    c_int::from(code)
}

/// Our environment as our parent gave it: every string, also one without a name or without `=`.
#[must_use]
pub fn environment() -> Vec<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut found = Vec::new();
    // SAFETY: `environ` is null or points to NUL-terminated strings behind which stands a null pointer; one thread runs, and we never
    // change it.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            found.push(CStr::from_ptr(*next).to_bytes().to_vec());
            next = next.wrapping_add(1);
        }
    }
    found
}
