//! Events and their listeners (supervisor-behaviour.md §9): types and payloads, capture mode, the listener protocol, pools with buffers.
//!
//! ```text
//! state changes ─► types: name, payload ─► Events: a buffer for each pool ─► ListenerAction::Send, to a listener that is READY
//! a program's output ─► Capture ─► text between the tokens        a listener's stdout ─► Listener: READY, RESULT …
//! ```
//!
//! Pure: it uses no clock and no descriptor. The daemon moves the bytes and carries out the [`ListenerAction`]s.
#![forbid(unsafe_code)]

mod capture;
mod handler;
mod listener;
mod pools;
mod types;

pub use capture::{Capture, Piece};
pub use handler::{LabelledOutput, ResultHandler};
pub use pools::{Events, ListenerAction};
pub use types::{names, python_bytes, text_of};
