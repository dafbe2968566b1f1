//! The environment, limits and signal mask that every child gets.

use crate::config::model::{ProcessConfig, ServerUrl};
use crate::supervision::Process;
use crate::sys::fds::Limit;
use crate::sys::signals::SignalSet;
use crate::sys::spawn::CStringList;
use crate::text;
use nix::sys::resource::Resource;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Defaults that all children share.
#[derive(Debug)]
pub struct ChildDefaults {
    /// rsup's own environment.
    pub environment: Vec<(OsString, OsString)>,
    /// SUPERVISOR_SERVER_URL of processes with `serverurl=AUTO`.
    pub server_url: Option<String>,
    /// The limits of children that differ from rsup's own.
    pub limits: Vec<(Resource, Limit)>,
    /// The signal mask with which rsup was started.
    pub mask: SignalSet,
}

impl ChildDefaults {
    /// The environment of one process: rsup's own, SUPERVISOR_*, that of `[supervisord]`, its own, `more`. Later ones win
    /// (supervisor-behaviour.md §4.5).
    pub fn environment_of(&self, process: &Process, more: &[(&str, String)]) -> io::Result<CStringList> {
        let config = &process.config;
        let ours = self.environment.iter();
        let mut all: BTreeMap<Cow<'_, [u8]>, Cow<'_, [u8]>> =
            ours.map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())).collect();
        all.insert(b"SUPERVISOR_ENABLED".into(), b"1".into());
        let url = match &config.serverurl {
            ServerUrl::Auto => self.server_url.as_deref(),
            ServerUrl::Unset => None,
            ServerUrl::Fixed(url) => Some(url.as_str()),
        };
        if let Some(url) = url {
            all.insert(b"SUPERVISOR_SERVER_URL".into(), text::encode(url));
        }
        all.insert(b"SUPERVISOR_PROCESS_NAME".into(), text::encode(&config.name));
        all.insert(b"SUPERVISOR_GROUP_NAME".into(), text::encode(&process.group.name));
        for (name, value) in config.variables() {
            all.insert(text::encode(name), text::encode(value));
        }
        all.extend(more.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())));
        let mut words = CStringList::default();
        for (name, value) in all {
            words.push(&[&name, b"=", &value])?;
        }
        Ok(words)
    }

    /// The PATH in which the command is searched: from `environment=` of the program or of `[supervisord]`, else rsup's own.
    pub fn path_of<'a>(&'a self, config: &'a ProcessConfig) -> Option<Cow<'a, OsStr>> {
        let given = config.variables().rev().find(|(name, _)| name == "PATH");
        let ours = || self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        given.map(|(_, value)| text::to_os(value).into()).or_else(|| ours().map(Cow::Borrowed))
    }
}
