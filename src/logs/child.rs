//! One channel (stdout or stderr) of one program: what is done to its bytes on their way to a sink.

use super::ansi::Ansi;
use super::file::RotationLimits;
use super::framing::Framing;
use super::sinks::{SinkId, Sinks, WriterId};
use crate::time::Now;
use nix::errno::Errno;
use std::path::Path;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// As the program writes them.
    #[default]
    Raw,
    /// `2026-11-21 10:15:42,123 web stdout | text` (Supervisor's issue 553).
    Prefix,
    /// `web stdout | text`.
    Label,
}

/// What the configuration says about a channel.
#[derive(Debug, Clone, Copy)]
pub struct LogSpec<'a> {
    /// The file, or `/dev/stdout` and the like; `None`: discarded.
    pub path: Option<&'a Path>,
    /// syslog's socket and the program's name, for a copy that goes there.
    pub syslog: Option<(&'a Path, &'a str)>,
    /// When a file is rotated; means nothing for what cannot seek.
    pub limits: RotationLimits,
    /// Remove terminal escapes.
    pub strip_ansi: bool,
    /// How lines look.
    pub format: LineFormat,
    /// For the prefix: program and stream, as in `web stdout`.
    pub label: &'a str,
}

/// Whether the daemon may go on reading a channel's pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Open,
    /// Not before `Sinks::flush` returns the token with which it is to be parked (`Sinks::park`).
    Blocked(SinkId),
}

/// An open log of a channel. `close` it: a dropped one keeps its file open.
#[derive(Debug)]
#[must_use]
pub struct ChildLog {
    /// `None`: discarded, or closed.
    sink: Option<(SinkId, WriterId)>,
    /// syslog, and what its messages begin with.
    syslog: Option<Box<(SinkId, WriterId, Framing)>>,
    ansi: Option<Ansi>,
    framing: Framing,
}

impl ChildLog {
    /// Opens the log; the error is for `unknown error making dispatchers for '<program>': <name of errno>`.
    pub fn open(spec: &LogSpec<'_>, sinks: &mut Sinks) -> Result<Self, Errno> {
        let sink = match spec.path {
            Some(path) => sinks.open(path, spec.limits)?,
            None => None,
        };
        let framing = match spec.format {
            LineFormat::Prefix if sink.is_some() => Framing::text(Framing::Prefix, format!(" {} | ", spec.label)),
            LineFormat::Label if sink.is_some() => Framing::text(Framing::Label, format!("{} | ", spec.label)),
            _ => Framing::Raw,
        };
        let mut log = Self { sink, syslog: None, ansi: spec.strip_ansi.then(Ansi::default), framing };
        if let Some((path, program)) = spec.syslog {
            let (at, writer) = sinks.open_syslog(path).inspect_err(|_| log.close(sinks, Now::default()))?;
            log.syslog = Some(Box::new((at, writer, Framing::text(Framing::Syslog, format!("{program} ")))));
        }
        Ok(log)
    }

    /// Whether a read from the pipe is wanted now; asked before each read, it keeps a stream's queue in its bounds.
    #[must_use]
    pub fn flow(&self, sinks: &Sinks) -> Flow {
        let syslog = self.syslog.as_deref().map(|syslog| syslog.0);
        let mut targets = self.sink.map(|sink| sink.0).into_iter().chain(syslog);
        targets.find(|&at| sinks.is_full(at)).map_or(Flow::Open, Flow::Blocked)
    }

    /// Takes what one read gave, always all of it; returns what it looks like in the log, before any prefix.
    pub fn write<'b>(&mut self, bytes: &'b [u8], sinks: &'b mut Sinks, now: Now) -> &'b [u8] {
        let Some(ansi) = &mut self.ansi else {
            self.put(bytes, sinks, now);
            return bytes;
        };
        let mut stripped = std::mem::take(&mut sinks.stripped);
        stripped.clear();
        ansi.strip(bytes, &mut stripped);
        self.put(&stripped, sinks, now);
        sinks.stripped = stripped;
        &sinks.stripped
    }

    fn put(&self, bytes: &[u8], sinks: &mut Sinks, now: Now) {
        if let Some((at, writer)) = self.sink {
            sinks.write(at, writer, &self.framing, bytes, now);
        }
        if let Some((at, writer, framing)) = self.syslog.as_deref() {
            sinks.write(*at, *writer, framing, bytes, now);
        }
    }

    /// Takes bytes whose source cannot be made to wait. If a stream has no room for them, their lines are counted, and the
    /// count is written once it has.
    pub fn write_or_count(&mut self, bytes: &[u8], sinks: &mut Sinks, now: Now) {
        if !self.sink.is_some_and(|(at, _)| sinks.is_lost(at, bytes)) {
            self.write(bytes, sinks, now);
        }
    }

    /// What the bytes would look like in the log, for what is kept out of it.
    pub fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut stripped = Vec::new();
        match &mut self.ansi {
            Some(ansi) => ansi.strip(bytes, &mut stripped),
            None => stripped.extend_from_slice(bytes),
        }
        stripped
    }

    /// At the end of the pipe: writes what was held back and lets the file go. What comes after is discarded.
    pub fn close(&mut self, sinks: &mut Sinks, now: Now) {
        let mut rest = Vec::new();
        if let Some(ansi) = &mut self.ansi {
            ansi.finish(&mut rest);
        }
        self.put(&rest, sinks, now);
        let syslog = self.syslog.take().map(|syslog| (syslog.0, syslog.1));
        for (at, writer) in [self.sink.take(), syslog].into_iter().flatten() {
            sinks.close(at, writer, now);
        }
    }

    /// Opens a file by its name again; streams stay.
    pub fn reopen(&self, sinks: &mut Sinks) -> Result<(), Errno> {
        self.sink.map_or(Ok(()), |(at, _)| sinks.reopen(at))
    }

    /// Removes a file and makes an empty one; streams stay.
    pub fn clear(&self, sinks: &mut Sinks) -> Result<(), Errno> {
        self.sink.map_or(Ok(()), |(at, _)| sinks.clear(at))
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path<'s>(&self, sinks: &'s Sinks) -> Option<&'s Path> {
        self.sink.and_then(|(at, _)| sinks.path(at))
    }
}
