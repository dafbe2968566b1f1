//! One channel (stdout or stderr) of one program: filters and frames its bytes on their way to a sink.

use super::ansi::Ansi;
use super::file::RotationLimits;
use super::framing::Framing;
use super::sinks::{SinkId, Sinks, WriterId};
use crate::time::Now;
use nix::errno::Errno;
use std::path::Path;

/// What is written before each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// Nothing.
    #[default]
    Raw,
    /// `2026-11-21 10:15:42,123 web stdout | text` (Supervisor's issue 553).
    Prefix,
    /// `web stdout | text`.
    Label,
}

/// The settings of a channel.
#[derive(Debug, Clone, Copy)]
pub struct LogSpec<'a> {
    /// The file, or `/dev/stdout` and the like; `None`: output is discarded.
    pub path: Option<&'a Path>,
    /// The socket of syslog and the program's name, to send a copy there.
    pub syslog: Option<(&'a Path, &'a str)>,
    /// When to rotate a file; ignored for streams.
    pub limits: RotationLimits,
    /// Remove terminal escapes.
    pub strip_ansi: bool,
    /// What is written before each line.
    pub format: LineFormat,
    /// Program and channel in the prefix: `web stdout`.
    pub label: &'a str,
}

/// Whether the daemon may go on reading a channel's pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Open,
    /// No: call `Sinks::park` with a token, and read again when `Sinks::flush` returns that token.
    Blocked(SinkId),
}

/// The open log of a channel. Call `close`: dropping it keeps the file open.
#[derive(Debug)]
#[must_use]
pub struct ChildLog {
    /// `None`: discarded, or closed.
    sink: Option<(SinkId, WriterId)>,
    /// syslog, and the framing of its messages.
    syslog: Option<Box<(SinkId, WriterId, Framing)>>,
    ansi: Option<Ansi>,
    framing: Framing,
}

impl ChildLog {
    /// Opens the log. The error belongs in `unknown error making dispatchers for '<program>': <name of errno>`.
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

    /// Whether the pipe may be read now. Call it before each read: it keeps the queue of a stream within its limit.
    #[must_use]
    pub fn flow(&self, sinks: &Sinks) -> Flow {
        let syslog = self.syslog.as_deref().map(|syslog| syslog.0);
        let mut targets = self.sink.map(|sink| sink.0).into_iter().chain(syslog);
        targets.find(|&at| sinks.is_full(at)).map_or(Flow::Open, Flow::Blocked)
    }

    /// Writes all bytes of one read. Returns them as they are in the log, without a prefix.
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

    /// Writes bytes whose source cannot wait. If the stream has no room, their lines are counted instead, and the count is written
    /// once it has room.
    pub fn write_or_count(&mut self, bytes: &[u8], sinks: &mut Sinks, now: Now) {
        if !self.sink.is_some_and(|(at, _)| sinks.is_lost(at, bytes)) {
            self.write(bytes, sinks, now);
        }
    }

    /// The bytes as they would be in the log, for captured text.
    pub fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut stripped = Vec::new();
        match &mut self.ansi {
            Some(ansi) => ansi.strip(bytes, &mut stripped),
            None => stripped.extend_from_slice(bytes),
        }
        stripped
    }

    /// Writes bytes that were held back and closes the log, at the end of the pipe. Later writes are discarded.
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

    /// Opens a file again by its name. Leaves streams as they are.
    pub fn reopen(&self, sinks: &mut Sinks) -> Result<(), Errno> {
        self.sink.map_or(Ok(()), |(at, _)| sinks.reopen(at))
    }

    /// Replaces a file by an empty one. Leaves streams as they are.
    pub fn clear(&self, sinks: &mut Sinks) -> Result<(), Errno> {
        self.sink.map_or(Ok(()), |(at, _)| sinks.clear(at))
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path<'s>(&self, sinks: &'s Sinks) -> Option<&'s Path> {
        self.sink.and_then(|(at, _)| sinks.path(at))
    }
}
