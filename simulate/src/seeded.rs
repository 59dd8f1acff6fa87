//! A process whose every random number follows from a seed, and how its world ended.

use crate::Arguments;
use serde::{Deserialize, Serialize};
use simulate::world::{FaultPlan, Size, Violation};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The library that answers in the kernel's place; the C compiler that links Rust programs makes it in a moment.
const SOURCE: &str = include_str!("getrandom.c");
const SEED: &str = "SIMULATE_SEED";
const OUTCOME: &str = "SIMULATE_OUTCOME";
/// The law that a world breaks whose process ends without an outcome.
pub const PANIC: &str = "no panic";

/// The seed of this process, if it is such a one.
pub fn seed() -> Option<u64> {
    std::env::var(SEED).ok()?.parse().ok()
}

/// How a world ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// The law that was broken, if one was.
    pub law: Option<String>,
    /// How, and when.
    pub what: Option<String>,
    /// When, in seconds since the world began.
    pub at: u64,
    /// How many hours there were.
    pub hours: f64,
    /// The digest of the history.
    pub digest: u64,
    /// The faults that had begun when it ended.
    pub begun: Vec<usize>,
}

impl RunOutcome {
    pub fn of(result: Result<(), Violation>, hours: f64, digest: u64, plan: &FaultPlan) -> Self {
        let violation = result.err();
        let at = violation.as_ref().map(|violation| violation.at);
        let has_begun = |number: &usize| at.is_none_or(|at| plan.steps[*number].at <= at);
        let begun = (0..plan.steps.len()).filter(has_begun).collect();
        Self {
            law: violation.as_ref().map(|violation| violation.law.name().to_owned()),
            what: violation.as_ref().map(ToString::to_string),
            at: at.unwrap_or_default().as_secs(),
            hours,
            digest,
            begun,
        }
    }

    /// Tells the process that started this one.
    pub fn report(&self) {
        if let Some(path) = std::env::var_os(OUTCOME) {
            let text = serde_json::to_string(self).expect("an outcome in JSON");
            std::fs::write(path, text).expect("the file of the outcome");
        }
    }
}

/// One run of a world: everything that decides it.
#[derive(Clone, Debug)]
pub struct Run {
    pub seed: u64,
    /// As [`Arguments`] have them.
    pub hours: u32,
    pub only: Option<Vec<usize>>,
    pub until: Option<u64>,
    pub size: Size,
}

impl Run {
    pub fn of(seed: u64, arguments: &Arguments) -> Self {
        let (only, until) = (arguments.only.as_ref().map(|only| only.0.clone()), arguments.until);
        Self { seed, hours: arguments.hours, only, until, size: arguments.size() }
    }

    fn arguments(&self) -> Vec<String> {
        let Size { replicas, resources, names, customers } = self.size;
        let flags =
            [("--replicas", replicas), ("--resources", resources), ("--names", names), ("--customers", customers)];
        let mut arguments = vec![format!("--seed={}", self.seed), format!("--hours={}", self.hours)];
        arguments.extend(flags.iter().map(|(flag, count)| format!("{flag}={count}")));
        if let Some(only) = &self.only {
            let numbers: Vec<String> = only.iter().map(ToString::to_string).collect();
            arguments.push(format!("--only={}", numbers.join(",")));
        }
        arguments.extend(self.until.map(|until| format!("--until={until}")));
        arguments
    }

    /// The command that shows this run.
    pub fn command(&self) -> String {
        format!("cargo run -p simulate -- {} --explain", self.arguments().join(" "))
    }

    /// Runs it, and prints what it prints.
    pub fn outcome(&self, explain: Option<usize>) -> RunOutcome {
        let (outcome, printed) = self.quietly(explain);
        print!("{printed}");
        outcome
    }

    /// Runs it. Returns how it ended, and what it would print.
    ///
    /// # Panics
    /// The process does not start.
    pub fn quietly(&self, explain: Option<usize>) -> (RunOutcome, String) {
        let folder = folder();
        let path = folder.join(format!("outcome-{}", self.seed));
        let _ = std::fs::remove_file(&path);
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args(self.arguments()).args(explain.map(|lines| format!("--explain={lines}")));
        again.env("LD_PRELOAD", folder.join("getrandom.so")).env(SEED, self.seed.to_string()).env(OUTCOME, &path);
        let output = again.output().expect("this program");
        let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.push_str(&String::from_utf8_lossy(&output.stderr));
        let read = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
        let panic = || RunOutcome { law: Some(PANIC.to_owned()), ..RunOutcome::default() };
        (read.unwrap_or_else(panic), printed)
    }
}

/// The folder with the library, made once.
///
/// # Panics
/// Without a C compiler `cc`.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().expect("a folder");
        let [source, library]: [PathBuf; 2] = ["getrandom.c", "getrandom.so"].map(|name| folder.path().join(name));
        std::fs::write(&source, SOURCE).expect("a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().expect("cc").success(), "cc");
        folder
    };
    FOLDER.get_or_init(make).path()
}
