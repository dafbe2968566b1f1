//! rsup: PID 1 of a container, and the supervisor of the programs in it.
//!
//! `supervision` decides: it is pure, and turns (state, event, time) into (state, actions). `daemon` carries the actions out.
//! `sys` is the only module that may contain `unsafe`. The modules marked as pure turn bytes into values, or values into bytes.
//!
//! This table lists each module with its job and the modules that it may use. `tests/layers.rs` reads the table. It fails if a `use`
//! is not allowed here, or if an entry is no longer needed. A *pure* module has no I/O, no clock and no `unsafe`, and uses only pure
//! modules. docs/ARCHITECTURE.md lists the files.
//!
//! | module | job | may use |
//! |---|---|---|
//! | `main` | chooses the command by the name or the first word of the command line | check, ctl, daemon, entry_point, init, pidproxy, sys::signals, text |
//! | `daemon` | the event loop and the children: carries out what `supervision` decides | config, events, logs, machine, posix, probes, rpc, server, stdout, supervision, sys, text, time |
//! | `supervision` (pure) | states, transitions, groups, waiting requests, ordered shutdown | config::compare, config::model, config::policy, fault, posix, protocol, time |
//! | `server` | listening sockets, connections, HTTP | config::model, logs::tail, protocol, rpc, supervision, sys, time, web, wire |
//! | `rpc` | the table of XML-RPC methods; reads log files through `logs::tail` | config::model, config::values, logs::tail, posix, protocol, supervision, sys::clock, sys::errno, sys::memory, text, time, wire |
//! | `web` | the web page: process table and log tails as HTML; local time comes from `sys::clock` | rpc, supervision, sys::clock, sys::memory, time, wire |
//! | `events` (pure) | event types, capture mode, listeners and their pools | time |
//! | `logs` | destinations of log bytes, rotation, rsup's own log | config::model, sys, text, time |
//! | `config` (pure) | configuration files: bytes to [`config::model::Config`] and a list of problems | events, getopt, posix, protocol, text |
//! | `machine` | the real file system, users and environment behind [`config::Machine`] | config, sys, text |
//! | `check` | `rsup check`: prints the problems of a configuration, or its effective form; `rsup sample-config` | config, getopt, json, machine, stdout, text, wire::xmlrpc |
//! | `ctl` | the client: `rsupctl` and `rsup health` | config, fault, getopt, json, machine, posix, protocol, stdout, sys::errno, sys::hosts, text, wire |
//! | `init` | `rsup -- COMMAND`: a minimal init for one program, without a configuration | launch, posix, sys |
//! | `pidproxy` | `pidproxy PIDFILE COMMAND`: forwards signals to a daemon that left its parent | launch, posix, stdout, sys |
//! | `launch` | starts a command as a shell does, for `init` and `pidproxy` | sys |
//! | `wire` (pure) | formats that client and server share: HTTP heads and bodies, XML-RPC values | text |
//! | `json` (pure) | writes values as JSON | wire::xmlrpc |
//! | `probes` | tries probes without waiting; receives signs of readiness | config::model, config::probe, logs::ansi, sys, time, wire |
//! | `sys` | safe wrappers over the kernel, without policy | posix, time |
//! | `protocol` (pure) | what client and server share besides `wire`: states, names, default sockets | |
//! | `stdout` | writes what a command prints and its error messages | sys, text |
//! | `fault` (pure) | Supervisor's fault codes and their texts | |
//! | `getopt` (pure) | command lines by Python's rules | text |
//! | `posix` (pure) | how processes end, names of signals | |
//! | `text` (pure) | bytes as text and back, without loss: for paths, arguments and variables | |
//! | `time` (pure) | points in time, as plain data | |
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

pub mod check;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod events;
pub mod fault;
pub mod getopt;
pub mod init;
pub mod json;
pub mod launch;
pub mod logs;
pub mod machine;
pub mod pidproxy;
pub mod posix;
pub mod probes;
pub mod protocol;
pub mod rpc;
pub mod server;
pub mod stdout;
pub mod supervision;
pub mod sys;
pub mod text;
pub mod time;
pub mod web;
pub mod wire;
