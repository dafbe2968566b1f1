//! The program's entry point: C's `main`, instead of the start-up code of Rust's runtime.
//!
//! Rust's start-up code aborts if descriptor 0, 1 or 2 is closed and /dev/null cannot be opened, ignores SIGPIPE, and installs handlers
//! for SIGSEGV and SIGBUS. An init must run anywhere and pass on the settings of its parent.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

use super::fds;

/// Defines C's `main`, which calls `$run: fn(&[OsString]) -> u8` with the words of the command line and ends with its exit code.
#[macro_export]
macro_rules! entry_point {
    ($run:path) => {
        // SAFETY: no other function in the executable is called `main`, and libc expects this signature.
        #[allow(unsafe_code, missing_docs)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(argc: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: libc passes the process's arguments, before any other thread exists.
            unsafe { $crate::sys::entry::enter(argc, argv, $run) }
        }
    };
}

/// Opens a placeholder for each closed descriptor of 0, 1 and 2, and calls `run` with the process's arguments; returns its exit code.
///
/// # Safety
/// `argv` must hold `argc` pointers to NUL-terminated strings that live as long as the process; no other thread may run.
pub unsafe fn enter(argc: c_int, argv: *const *const c_char, run: fn(&[OsString]) -> u8) -> c_int {
    fds::occupy_standard();
    let count = usize::try_from(argc).unwrap_or(0);
    // With musl, std::env::args is empty here: only Rust's start-up code fills it.
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

/// The environment exactly as inherited: every string, even without a name or without `=`.
#[must_use]
pub fn environment() -> Vec<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut found = Vec::new();
    // SAFETY: `environ` is null or points to an array of NUL-terminated strings that ends with a null pointer. One thread runs, and
    // rsup never changes the environment.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            found.push(CStr::from_ptr(*next).to_bytes().to_vec());
            next = next.wrapping_add(1);
        }
    }
    found
}
