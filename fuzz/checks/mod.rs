//! The properties that must hold for any input. Shared by the fuzz targets and by `tests/corpus.rs`, which replays the corpora.

pub mod config;
pub mod events;
pub mod notify;
pub mod wire;

/// Panics if a property does not hold for the input.
pub type Check = fn(&[u8]);

/// Every target; its corpus has the same name.
pub const TARGETS: [(&str, Check); 8] = [
    ("ini", config::ini),
    ("expand", config::expand),
    ("environment", config::environment),
    ("capture", events::capture),
    ("listener", events::listener),
    ("notify", notify::notify),
    ("http", wire::http),
    ("xmlrpc", wire::xmlrpc),
];

/// Cuts `bytes` into pieces of these lengths, used in turn; a length of 0 gives an empty piece. Does not cut if all are 0.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    if lengths.iter().all(|length| *length == 0) {
        return vec![bytes];
    }
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(usize::from(*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
