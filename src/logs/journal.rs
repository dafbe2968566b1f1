//! rsup's own log in Supervisor's format (supervisor-behaviour.md §6.1): `YYYY-MM-DD HH:MM:SS,mmm LEVL message`.

use super::file::RotationLimits;
use super::sinks::{SinkId, Sinks, WriterId};
use crate::config::model::LogLevel;
use crate::time::Now;
use nix::errno::Errno;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

/// rsup's own log.
#[derive(Debug)]
pub struct Journal {
    level: LogLevel,
    file: Option<(SinkId, WriterId)>,
    echo: Option<(SinkId, WriterId)>,
    line: Vec<u8>,
}

impl Journal {
    /// A journal without a destination, for lines at least as urgent as `level`.
    #[must_use]
    pub fn new(level: LogLevel) -> Self {
        Self { level, file: None, echo: None, line: Vec::new() }
    }

    /// Sends lines to `path` (a file, or `/dev/stdout` and the like) instead of the previous file; `None`: to no file.
    pub fn set_file(
        &mut self,
        path: Option<&Path>,
        limits: RotationLimits,
        sinks: &mut Sinks,
        now: Now,
    ) -> Result<(), Errno> {
        Self::replace(&mut self.file, path, limits, sinks, now)
    }

    /// Sends lines to syslog, which listens on the Unix socket `path`, instead of the previous file.
    pub fn set_syslog(&mut self, path: &Path, sinks: &mut Sinks, now: Now) -> Result<(), Errno> {
        let new = sinks.open_syslog(path)?;
        if let Some((at, writer)) = self.file.replace(new) {
            sinks.close(at, writer, now);
        }
        Ok(())
    }

    /// Sends lines to stdout too, or no longer.
    // Differs from Supervisor: if the file is stdout itself, each line is written once.
    pub fn set_echo(&mut self, on: bool, sinks: &mut Sinks, now: Now) -> Result<(), Errno> {
        Self::replace(&mut self.echo, on.then_some(Path::new("/dev/stdout")), RotationLimits::default(), sinks, now)
    }

    fn replace(
        target: &mut Option<(SinkId, WriterId)>,
        path: Option<&Path>,
        limits: RotationLimits,
        sinks: &mut Sinks,
        now: Now,
    ) -> Result<(), Errno> {
        let new = match path {
            Some(path) => sinks.open(path, limits)?,
            None => None,
        };
        if let Some((at, writer)) = std::mem::replace(target, new) {
            sinks.close(at, writer, now);
        }
        Ok(())
    }

    /// Changes the level.
    pub fn set_level(&mut self, level: LogLevel) {
        self.level = level;
    }

    /// Whether lines of `level` are logged.
    #[must_use]
    pub fn keeps(&self, level: LogLevel) -> bool {
        level <= self.level
    }

    /// Logs a message. Lines after a newline inside it have no time, as by Supervisor.
    pub fn log(&mut self, level: LogLevel, message: fmt::Arguments<'_>, sinks: &mut Sinks, now: Now) {
        if !self.keeps(level) {
            return;
        }
        self.line.clear();
        self.line.extend_from_slice(sinks.stamp(now));
        // Writing to a vector cannot fail.
        let _ = writeln!(self.line, " {} {message}", level.code());
        if let Some((at, writer)) = self.file {
            sinks.journal(at, writer, &self.line, now);
        }
        if let Some((at, writer)) = self.echo
            && self.file.is_none_or(|(file, _)| file != at)
        {
            sinks.journal(at, writer, &self.line, now);
        }
    }

    /// Whether lines go to a file or to syslog.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Where to read it, if it goes to a file, by name or inherited.
    #[must_use]
    pub fn source(&self, sinks: &Sinks) -> Option<PathBuf> {
        self.file.and_then(|(at, _)| sinks.source(at))
    }

    /// Whether `clear` can empty it: it goes to a file with a name, which still exists.
    #[must_use]
    pub fn can_be_cleared(&self, sinks: &Sinks) -> bool {
        self.file.and_then(|(at, _)| sinks.path(at)).is_some_and(Path::exists)
    }

    /// Opens the file again by its name.
    pub fn reopen(&self, sinks: &mut Sinks) -> Result<(), Errno> {
        self.file.map_or(Ok(()), |(at, _)| sinks.reopen(at))
    }

    /// Replaces the file by an empty one.
    pub fn clear(&self, sinks: &mut Sinks) -> Result<(), Errno> {
        self.file.map_or(Ok(()), |(at, _)| sinks.clear(at))
    }
}
