//! A process whose every random number follows from a seed.

use std::process::Command;

/// The library that answers in the kernel's place; the C compiler that links Rust programs makes it in a moment.
const SOURCE: &str = include_str!("getrandom.c");
const SEED: &str = "SIMULATE_SEED";

/// The seed of this process, if it is such a one.
pub fn seed() -> Option<u64> {
    std::env::var(SEED).ok()?.parse().ok()
}

/// Runs this program again with its arguments and a seed; returns whether it succeeded.
///
/// # Panics
/// Without a C compiler `cc`.
pub fn run(seed: u64) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, library) = (folder.path().join("getrandom.c"), folder.path().join("getrandom.so"));
    std::fs::write(&source, SOURCE).expect("a file");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().expect("cc").success(), "cc");
    let program = std::env::current_exe().expect("this program");
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).env("LD_PRELOAD", &library).env(SEED, seed.to_string());
    again.status().expect("this program").success()
}
