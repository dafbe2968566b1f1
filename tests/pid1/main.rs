//! What an init for one program must do. The same bodies run against `rsup --` and, if they are installed, Debian's tini,
//! dumb-init and catatonit. Where one of these behaves differently, the test says so with the reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "../harness/mod.rs"]
mod harness;

#[macro_use]
mod init;

mod exits;
mod inheritance;
mod orphans;
mod pidproxy;
mod signals;
mod subcommands;
mod terminal;
