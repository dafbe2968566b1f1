//! A daemon for tests: the real `Supervision`, with scripted children.

use crate::config::model::{Config, GroupConfig, GroupKind, LogLevel, LogPlace, ProcessConfig};
use crate::posix::Exit;
use crate::rpc::{Channel, Host, Pairs};
use crate::supervision::{
    Command, Effect, Fault, FaultCode, GroupChanges, Input, ProcId, Purpose, Reply, SignalResult, Supervision, Ticket,
};
use crate::time::{Mono, Now, Wall};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

/// A daemon whose programs behave as their names say: `missing` has no command, `unspawnable` cannot be forked, `stubborn`
/// does not stop; all others run.
pub(crate) struct FakeHost {
    pub(crate) supervision: Supervision,
    pub(crate) now: Now,
    pub(crate) main_log: Option<PathBuf>,
    pub(crate) next: Result<Config, String>,
    pub(crate) replies: VecDeque<(Ticket, Reply)>,
    pub(crate) cancelled: Vec<Ticket>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) cleared: Vec<ProcId>,
}

pub(crate) fn program(name: &str, change: impl FnOnce(&mut ProcessConfig)) -> Rc<GroupConfig> {
    group(name, vec![process(name, change)])
}

pub(crate) fn process(name: &str, change: impl FnOnce(&mut ProcessConfig)) -> Rc<ProcessConfig> {
    let mut process = ProcessConfig { name: name.into(), command: format!("/bin/{name}"), ..ProcessConfig::default() };
    process.autostart = false;
    change(&mut process);
    Rc::new(process)
}

pub(crate) fn group(name: &str, processes: Vec<Rc<ProcessConfig>>) -> Rc<GroupConfig> {
    Rc::new(GroupConfig { name: name.into(), priority: 999, kind: GroupKind::Programs, processes })
}

pub(crate) fn config(groups: Vec<Rc<GroupConfig>>) -> Config {
    Config { groups, ..Config::default() }
}

impl FakeHost {
    pub(crate) fn new(groups: Vec<Rc<GroupConfig>>) -> FakeHost {
        let now = Now { mono: Mono(0), wall: Wall { secs: 1_700_000_000, nanos: 0 } };
        let mut fake = FakeHost {
            supervision: Supervision::new(config(groups)),
            now,
            main_log: None,
            next: Err("no such file".into()),
            replies: VecDeque::new(),
            cancelled: Vec::new(),
            stdin: Vec::new(),
            cleared: Vec::new(),
        };
        fake.input(Input::Booted);
        fake
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.supervision.handle(input, self.now);
        while let Some(effect) = self.supervision.next_effect() {
            if let Some(outcome) = self.perform(effect) {
                self.supervision.handle(outcome, self.now);
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        let name = |id| self.supervision.process(id).map(|process| process.config.name.clone()).unwrap_or_default();
        Some(match effect {
            Effect::Spawn(id) if name(id) == "unspawnable" => Input::SpawnFailed(id, "no room".into()),
            Effect::Spawn(id) => Input::Spawned(id, 1000 + i32::try_from(id).unwrap()),
            Effect::Probe(item, id) if name(id) == "missing" => {
                Input::Probed(item, Err(Fault::new(FaultCode::NoFile, "can't find command '/bin/missing'")))
            }
            Effect::Probe(item, _) => Input::Probed(item, Ok(())),
            Effect::Signal { id, purpose: Purpose::Stop, .. } if name(id) != "stubborn" => {
                Input::Exited(id, Exit::Signal { number: 15, core: false }, false)
            }
            Effect::Signal { id, purpose, .. } => Input::Signalled(id, purpose, SignalResult::Sent),
            Effect::Reply(ticket, reply) => {
                self.replies.push_back((ticket, reply));
                return None;
            }
            _ => return None,
        })
    }

    pub(crate) fn pass(&mut self, secs: u32) {
        self.now.mono = self.now.mono.after_ms(u64::from(secs) * 1000);
        self.now.wall.secs += i64::from(secs);
        self.input(Input::TimePassed);
    }

    pub(crate) fn id(&self, name: &str) -> ProcId {
        self.supervision.all().find(|(_, process)| process.namespec() == name).unwrap().0
    }
}

impl Host for FakeHost {
    fn supervision(&self) -> &Supervision {
        &self.supervision
    }
    fn now(&self) -> Now {
        self.now
    }
    fn identifier(&self) -> &str {
        "the <one>"
    }
    fn submit(&mut self, ticket: Ticket, command: Command) {
        self.input(Input::Command(ticket, command));
    }
    fn cancel(&mut self, ticket: Ticket) {
        self.cancelled.push(ticket);
        self.input(Input::CancelRequest(ticket));
    }
    fn log_line(&mut self, _: LogLevel, _: &str) {}
    fn processes(&self, program: &str, _: &str, _: &Pairs) -> Result<Vec<Rc<ProcessConfig>>, String> {
        Ok(vec![process(program, |_| {})])
    }
    fn reread(&mut self) -> Result<GroupChanges, String> {
        Ok(self.supervision.reread(self.next.clone()?))
    }
    fn restart(&mut self) -> Result<(), String> {
        self.next.clone()?;
        self.input(Input::Reload);
        Ok(())
    }
    fn main_log(&self) -> Option<PathBuf> {
        self.main_log.clone()
    }
    fn clear_main_log(&mut self) -> Result<(), Fault> {
        if self.main_log.take().is_some() { Ok(()) } else { Err(Fault::new(FaultCode::NoFile, "")) }
    }
    fn process_log(&self, id: ProcId, channel: Channel) -> Option<PathBuf> {
        let config = &self.supervision.process(id)?.config;
        let channel = if channel == Channel::Stdout { &config.stdout } else { &config.stderr };
        if let LogPlace::File(path) = &channel.logfile { Some(path.clone()) } else { None }
    }
    fn clear_process_logs(&mut self, id: ProcId) -> Result<(), Fault> {
        self.cleared.push(id);
        if id == 0 { Err(Fault::new(FaultCode::Failed, "EIO")) } else { Ok(()) }
    }
    fn write_stdin(&mut self, _id: ProcId, bytes: &[u8]) -> Result<(), Fault> {
        self.stdin.extend_from_slice(bytes);
        Ok(())
    }
    fn send_remote_event(&mut self, kind: &str, data: &str) {
        self.stdin.extend_from_slice(format!("{kind}={data}").as_bytes());
    }
}
