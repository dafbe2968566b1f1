//! What must hold for any bytes: shared by the fuzz targets and by `tests/corpus.rs`, which replays the corpora.

pub mod config;
pub mod events;
pub mod wire;

/// A check: panics where something does not hold.
pub type Check = fn(&[u8]);

/// Every target; each has a corpus of its name.
pub const TARGETS: [(&str, Check); 7] = [
    ("ini", config::ini),
    ("expand", config::expand),
    ("environment", config::environment),
    ("capture", events::capture),
    ("listener", events::listener),
    ("http", wire::http),
    ("xmlrpc", wire::xmlrpc),
];

/// `bytes` in pieces of these lengths, over and over; a length of 0 is an empty piece, and they are not all 0.
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
