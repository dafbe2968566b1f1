//! Replaces `line_editor` in a build without the feature `shell`: the shell reads plain lines.
use std::path::Path;

use super::client::RpcClient;
use super::session::Line;

/// There is no line editor, and no value of this type.
pub enum LineEditor {}

impl LineEditor {
    /// Always `None`.
    pub fn new(_: Option<&Path>) -> Option<Self> {
        None
    }

    /// Never called.
    pub fn next(&mut self, _: &RpcClient, _: &str) -> Line {
        match *self {}
    }
}
