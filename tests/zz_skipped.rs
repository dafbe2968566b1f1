//! Runs last in `cargo test`, and prints the skipped tests with their reasons. `tests/run` has its own list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "harness/mod.rs"]
#[allow(clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod harness;

use std::collections::BTreeSet;

fn main() {
    // A test runner that asks for the list of tests gets an empty one.
    if std::env::args().any(|argument| argument == "--list") || std::env::var_os("RSUP_SKIPS").is_some() {
        return;
    }
    let path = harness::skips();
    let list = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    let skipped: BTreeSet<&str> = list.lines().collect();
    let compared = if harness::oracle().is_some() {
        ""
    } else {
        "\nNothing was compared with the real Supervisor: tests/run makes build/oracle."
    };
    if !skipped.is_empty() {
        println!("\n{} tests were skipped:", skipped.len());
        skipped.iter().for_each(|line| println!("  {line}"));
    }
    println!("{compared}");
}
