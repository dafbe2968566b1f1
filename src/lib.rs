//! rsup: PID 1 of a container and the supervisor of everything in it.
//!
//! The map, one line a module, and who may use whom (an arrow not drawn is forbidden; `tests/layers.rs` checks it):
//!
//! ```text
//! main ─► daemon ─► supervision ─► config::model      rpc ─► supervision, wire, config::model, logs::tail, sys::clock
//!    │        └──► server, rpc, events, config, machine, logs, sys
//!    │               server ─► rpc, web, supervision (replies), wire, config::model, logs::tail, sys
//!    │               web ─► rpc, supervision, wire, sys::clock
//!    ├──► init, pidproxy ─► launch ─► sys             logs ─► sys        machine ─► config (the trait), sys
//!    ├──► ctl ─► wire, config, machine, sys           config, wire ─► nothing of ours
//!    └──► check ─► config, machine, wire              sys ─► nothing of ours
//! (`time`, `posix`, `fault`, `events`, `getopt` and `stdout` are leaves that others may use)
//! ```
//!
//! `supervision` decides (pure: state, event, now → state, actions), `daemon` does,
//! `sys` alone may say `unsafe`, everything else turns bytes into values or back.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods
    )
)]

// `rsup check`: all that is wrong with a configuration, and what it comes to.
pub mod check;
// What the file says: bytes → `Config` and a list of problems. Pure: the machine is reached through `config::Machine`.
pub mod config;
// The client: what `rsupctl` and `rsup health` do.
pub mod ctl;
// The shell around `supervision`: the loop, children.
pub mod daemon;
// Event types, capture mode, listeners and their pools. Pure.
pub mod events;
// Why a request fails: Supervisor's codes. Plain data.
pub mod fault;
// Command lines by Python's rules. Pure.
pub mod getopt;
// `rsup -- COMMAND`: one program in tini's manner, without a configuration.
pub mod init;
// A command line started as a shell would, for `init` and `pidproxy`.
pub mod launch;
// Where log bytes go: sinks, rotation, the supervisor's own journal.
pub mod logs;
// The real machine behind `config::Machine`.
pub mod machine;
// `pidproxy PIDFILE COMMAND`: forwards signals to a daemon that left its parent.
pub mod pidproxy;
// What a verb prints: written to the end, or reported.
pub mod stdout;
// How processes end, names of signals: plain data.
pub mod posix;
// The table of XML-RPC methods.
pub mod rpc;
// Clients: listening sockets, connections, HTTP.
pub mod server;
// The brain: states, transitions, groups, waits. Pure.
pub mod supervision;
// Thin safe wrappers over the kernel, without policy.
pub mod sys;
// Points in time, as plain data.
pub mod time;
// The page for browsers: tables and tails as HTML. Pure.
pub mod web;
// Formats that both ends share: HTTP heads and bodies, XML-RPC values. Pure.
pub mod wire;
