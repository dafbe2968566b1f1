//! The same test bodies run against the real Supervisor 4.3.0 and against rsup; what they note must be equal.
//!
//! A body asserts what docs/supervisor-behaviour.md says, and notes what it observes (`run.note`). It runs once for each subject,
//! both at the same time. The assertions must hold for both, so that a wrong belief about Supervisor fails too. Then the notes are
//! compared. `RSUP_SUBJECTS=supervisor` (or `rsup`) runs one subject alone.
//!
//! The real Supervisor does not always behave the same, since its slow loop races with the programs. So when the notes differ, or an
//! assertion fails with Supervisor, it runs a few more times, and the notes of rsup's only run must be equal to those of one of its
//! runs. The notes of the other runs are printed.
//!
//! A known gap is a test with `#[ignore = "reason"]`; `tests/run --strict` fails when one passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../harness/mod.rs"]
mod harness;

mod ansible_and_salt;
mod background;
mod both_clients;
mod buildout;
mod bytes;
mod config;
mod control;
mod events;
mod fcgi;
mod http;
mod lifecycle;
mod logs;
mod multivisor;
mod nagios;
mod options;
mod pidproxy;
mod reread;
mod rpc;
mod signals;
mod spawning;
mod superlance;
mod twiddler;
mod velociraptor;
mod web;

use harness::{Sandbox, Subject};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// One run of a body against one subject.
pub struct Run {
    sandbox: Sandbox,
    notes: Vec<String>,
}

impl Run {
    /// Notes an observation for the comparison, without the parts that differ between equal runs (ids, times).
    pub fn note(&mut self, what: &str, observed: impl std::fmt::Display) {
        let line = self.sandbox.normal(&format!("{what}: {observed}"));
        self.notes.push(line);
    }

    /// Notes the life-cycle messages of a process in the main log.
    pub fn note_history(&mut self, name: &str) {
        for line in self.sandbox.history(name) {
            self.note("log", line);
        }
    }

    /// Runs the subject's control client, and notes its exit code and output. Returns its standard output.
    pub fn ctl(&mut self, args: &[&str]) -> String {
        let ran = self.sandbox.supervisorctl(args);
        self.note(&format!("ctl {args:?}"), format!("{} {:?} {:?}", ran.code, ran.out, ran.err));
        ran.out
    }

    /// The same for an output that rsup words differently after the first line (help texts) or after the class of an error (Python
    /// exceptions).
    pub fn ctl_roughly(&mut self, args: &[&str]) {
        let ran = self.sandbox.supervisorctl(args);
        let first = ran.out.lines().next().unwrap_or_default();
        let known = first.split("error: <class").next().unwrap_or_default();
        let known = if first.starts_with("error: ") { "error" } else { known };
        self.note(&format!("ctl {args:?}"), format!("{} {known:?} {:?}", ran.code, ran.err));
    }

    /// Calls a method, and notes and returns the answer.
    pub fn call(&mut self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, (i64, String)> {
        let answer = self.sandbox.rpc(method, params.clone());
        self.note(&format!("{method}{params}"), format!("{answer:?}"));
        answer
    }

    /// Whether this is rsup. Only for deliberate differences, each with a row in docs/compat.md.
    pub fn is_rsup(&self) -> bool {
        self.sandbox.subject == Subject::Rsup
    }
}

impl Deref for Run {
    type Target = Sandbox;
    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }
}

/// How often the real Supervisor runs a body at most.
const RUNS_MAX: usize = 4;

/// Starts both subjects with this configuration (see [`Sandbox::new`]), runs the body against each, and compares the notes.
pub fn compare(conf: &str, body: impl Fn(&mut Run) + Sync) {
    let started = |run: &mut Run| {
        run.sandbox.start();
        body(run);
    };
    compare_unstarted(conf, started);
}

/// The same for a body that starts its supervisor itself, or not at all.
pub fn compare_unstarted(conf: &str, body: impl Fn(&mut Run) + Sync) {
    let only = std::env::var("RSUP_SUBJECTS").unwrap_or_default();
    if harness::oracle().is_none() {
        harness::skip("no real Supervisor (tests/run makes build/oracle)");
    }
    let subjects = [Subject::Supervisor, Subject::Rsup].into_iter().filter(|subject| match only.as_str() {
        "supervisor" => *subject == Subject::Supervisor,
        "rsup" => *subject == Subject::Rsup,
        _ => *subject == Subject::Rsup || harness::oracle().is_some(),
    });
    let once = |subject: Subject| {
        let mut run = Run { sandbox: Sandbox::new(subject, conf), notes: Vec::new() };
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut run)));
        if let Err(cause) = outcome {
            run.sandbox.dump();
            eprintln!("---- failed against {subject:?}");
            return Err(cause);
        }
        Ok(run.notes)
    };
    let one = |subject: Subject| match subject {
        Subject::Rsup => once(subject),
        // The assertions must hold for Supervisor, but not in every run.
        Subject::Supervisor => (1..RUNS_MAX).find_map(|_| once(subject).ok()).map_or_else(|| once(subject), Ok),
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = subjects.map(|subject| scope.spawn(move || one(subject))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let notes: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|cause| resume_unwind(cause))).collect();
    let [theirs, ours] = notes.as_slice() else { return };
    let mut histories = vec![theirs.clone()];
    while !histories.contains(ours) && histories.len() < RUNS_MAX {
        eprintln!("Supervisor showed:\n  {}", histories[histories.len() - 1].join("\n  "));
        histories.push(one(Subject::Supervisor).unwrap_or_else(|cause| resume_unwind(cause)));
    }
    let differs = |(a, b): &(&String, &String)| a != b;
    let first = theirs.iter().zip(ours).find(differs);
    assert!(
        histories.contains(ours),
        "rsup showed:\n  {}\nwhich Supervisor did not in {RUNS_MAX} runs; first difference: {first:#?}",
        ours.join("\n  ")
    );
    // The assertions count as one more answer.
    harness::compared(ours.len() + 1);
}
