//! The arm64 build under qemu's user emulation: it starts, answers its client, and stops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "harness/mod.rs"]
mod harness;

use harness::{Sandbox, Subject, run, skip, wait_for};
use std::path::PathBuf;
use std::process::Command;

const QEMU: &str = "/usr/bin/qemu-aarch64-static";

#[test]
fn starts_answers_and_stops() {
    let binary = std::env::var_os("RSUP_ARM64").map(PathBuf::from).filter(|path| path.exists());
    let Some(binary) = binary else { return skip("no arm64 build (tests/run makes it and names it in RSUP_ARM64)") };
    if !std::path::Path::new(QEMU).exists() {
        return skip("no qemu-aarch64-static (Debian: qemu-user-static)");
    }
    let emulated = |words: &[&str]| {
        let mut command = Command::new(QEMU);
        command.arg(&binary).args(words);
        command
    };
    let mut sandbox = Sandbox::new(Subject::Rsup, "[program:x]\ncommand=/bin/sleep 1000\n");
    let conf = sandbox.fill("{dir}/supervisord.conf");
    // The emulator has no child subreaper; rsup works without. The sandbox finds orphans by its tag, and kills them.
    let mut command = emulated(&["-n", "-c", &conf]);
    command.envs(sandbox.command("rsup").get_envs().filter_map(|(name, value)| Some((name, value?))));
    sandbox.launch_as(command);
    let ctl = |words: &[&str]| run(emulated(&["ctl", "-c", &conf]).args(words));
    wait_for("x RUNNING", || ctl(&["status", "x"]).out.contains(" RUNNING ").then_some(()));
    assert_eq!(ctl(&["stop", "x"]).out, "x: stopped\n");
    assert_eq!(sandbox.stop(), 0);
}
