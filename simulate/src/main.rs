//! `cargo run -p simulate`: replays years of faults by seeds.

mod seeded;

use clap::Parser;
use serde_json::Value;
use simulate::world::{Size, World};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The operator's own definition, as the chart and `crd` install it.
const DEFINITION: &str = include_str!("../../crds/citrixallowlists.yaml");

/// Replays faults by seeds, faster than time: the real operator in a simulated cluster.
#[derive(Parser)]
struct Arguments {
    /// The seed; a fresh one if there is none, and another after each run until --minutes are over
    #[arg(long)]
    seed: Option<u64>,
    /// How many hours each seed's world has
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// How many minutes seeds are tried
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Prints the end of the history, in this many lines
    #[arg(long, value_name = "LINES", num_args = 0..=1, default_missing_value = "200")]
    explain: Option<usize>,
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    #[arg(long, default_value_t = 50)]
    resources: usize,
    /// Names on each customer's list
    #[arg(long, default_value_t = 5)]
    names: usize,
    #[arg(long, default_value_t = 4)]
    customers: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(seed) = seeded::seed() else { return drive(&arguments) };
    let size = Size {
        replicas: arguments.replicas,
        resources: arguments.resources,
        names: arguments.names,
        customers: arguments.customers,
    };
    fastrand::seed(seed);
    let definition: Value = serde_saphyr::from_str(DEFINITION).expect("the definition");
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    let (began, result, history) = runtime.block_on(async {
        let began = Instant::now();
        let mut world = World::new(seed, size, &[definition]);
        let result = world.run(arguments.hours).await;
        (began, result, world.history())
    });
    println!("seed {seed}: {} hours in {:.1?}, history {:016x}", arguments.hours, began.elapsed(), history.digest());
    if let Some(lines) = arguments.explain {
        history.last(lines).iter().for_each(|line| println!("{line}"));
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            println!("seed {seed}: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one process for each seed.
fn drive(arguments: &Arguments) -> ExitCode {
    if let Some(seed) = arguments.seed {
        return if seeded::run(seed) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let end = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let mut failed = Vec::new();
    while Instant::now() < end {
        let seed = fastrand::u64(..1 << 32);
        if !seeded::run(seed) {
            failed.push(seed);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}; `cargo run -p simulate -- --seed N --explain` shows one");
    ExitCode::FAILURE
}
