//! Prints the output of many programs on stdout, with the program's name before each line.

use super::child::{ChildLog, LineFormat, LogSpec};
use super::file::RotationLimits;
use super::sinks::Sinks;
use crate::time::Now;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::path::Path;

/// A writer for each label.
#[derive(Debug, Default)]
pub struct LabelledStdout {
    writers: BTreeMap<Box<str>, ChildLog>,
}

/// The most labels that are kept at a time.
const MAX_LABELS: usize = 1024;

impl LabelledStdout {
    /// Writes `bytes` in whole lines, with `LABEL | ` before each. It never waits: lines for which stdout has no room are counted.
    pub fn write(&mut self, label: &str, bytes: &[u8], sinks: &mut Sinks, now: Now) -> Result<(), Errno> {
        if let Some(writer) = self.writers.get_mut(label) {
            writer.write_or_count(bytes, sinks, now);
            return Ok(());
        }
        if self.writers.len() >= MAX_LABELS {
            self.close(sinks, now);
        }
        let spec = LogSpec {
            path: Some(Path::new("/dev/stdout")),
            syslog: None,
            limits: RotationLimits::default(),
            strip_ansi: false,
            format: LineFormat::Label,
            label,
        };
        let mut writer = ChildLog::open(&spec, sinks)?;
        writer.write_or_count(bytes, sinks, now);
        self.writers.insert(label.into(), writer);
        Ok(())
    }

    /// Writes held parts of lines, and forgets the labels.
    pub fn close(&mut self, sinks: &mut Sinks, now: Now) {
        for mut writer in std::mem::take(&mut self.writers).into_values() {
            writer.close(sinks, now);
        }
    }
}
