//! The text of an answer, which may need more memory than there is. A long one is sent in pieces.
#![forbid(unsafe_code)]

use crate::supervision::{Fault, FaultCode};
use crate::sys::memory;
use crate::wire::xmlrpc::{self, Append};
use std::fmt;
use std::ops::Deref;

/// The text of an answer. It grows as long as there is memory. From then on it drops what is appended, and [`Answer::failure`] is the
/// fault to answer with instead.
#[derive(Debug, Default)]
pub struct Answer {
    text: String,
    /// The length of the pieces that were taken, in bytes.
    taken: usize,
    failure: Option<Fault>,
}

impl Answer {
    /// Takes the text so far. What is appended from now on is the next piece.
    pub fn take(&mut self) -> String {
        self.taken = self.taken.saturating_add(self.text.len());
        std::mem::take(&mut self.text)
    }

    /// The length with all pieces, in bytes.
    pub(super) fn total(&self) -> usize {
        self.taken.saturating_add(self.text.len())
    }

    /// The memory that it holds, in bytes.
    pub fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Makes room for so many more bytes, if there is memory for them.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if memory::fallible(|| self.text.try_reserve(bytes)).is_err() {
            self.fail(out_of_memory("answer"));
        }
    }

    /// The reason, if it cannot be completed.
    pub fn failure(&self) -> Option<&Fault> {
        self.failure.as_ref()
    }

    /// Drops the text, which cannot be completed.
    pub(super) fn fail(&mut self, why: Fault) {
        (self.text, self.failure) = (String::new(), Some(why));
    }

    /// Replaces the text with a fault; `false`: pieces were taken, so that the answer cannot be replaced.
    pub(super) fn replace_with(&mut self, fault: &Fault) -> bool {
        if self.taken > 0 {
            self.fail(fault.clone());
            return false;
        }
        let fault = xmlrpc::RpcFault { code: i64::from(fault.code as i32), text: fault.text() };
        *self = Self { text: xmlrpc::write_fault(&fault), ..Self::default() };
        true
    }
}

/// The text so far, without the pieces that were taken.
impl Deref for Answer {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// The fault of a call for whose `part` there is no memory.
pub(super) fn out_of_memory(part: &str) -> Fault {
    Fault::new(FaultCode::Failed, format!("not enough memory for the {part}"))
}

impl fmt::Write for Answer {
    // Inlined, so that a constant is not copied by a call of memcpy: an answer has thirty pieces for each process. After a failure
    // there is no capacity, so that nothing is appended here.
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.text.capacity().saturating_sub(self.text.len()) {
            if self.failure.is_none() {
                self.reserve(text.len());
            }
            if self.failure.is_some() {
                return Err(fmt::Error);
            }
        }
        self.text.push_str(text);
        Ok(())
    }
}

impl Append for Answer {
    #[inline(always)]
    fn push_str(&mut self, text: &str) {
        let _ = fmt::Write::write_str(self, text);
    }
}
