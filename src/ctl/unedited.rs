//! A build without line editing: no terminal is edited, so that the shell reads plain lines.
use std::path::Path;

use super::client::Client;
use super::session::Line;

/// There is none.
pub enum Edited {}

impl Edited {
    /// None, whatever stdin is.
    pub fn new(_: Option<&Path>) -> Option<Self> {
        None
    }

    /// Never called.
    pub fn next(&mut self, _: &Client, _: &str) -> Line {
        match *self {}
    }
}
