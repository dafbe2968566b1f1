//! The formats that client and server share: bytes to values and back. Pure: no sockets, no clock, no state.
#![forbid(unsafe_code)]

pub mod http;
pub mod xmlrpc;
