//! `cargo run -p simulate`: replays years of faults by seeds.

mod regressions;
mod seeded;
mod shrink;

use clap::Parser;
use seeded::{Run, RunOutcome};
use serde_json::Value;
use simulate::world::{FaultPlan, History, SimulatedWorld, Size};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The operator's own definition, as the chart and `crd` install it.
const DEFINITION: &str = include_str!("../../crds/citrixallowlists.yaml");

/// Replays faults by seeds, faster than time: the real operator in a simulated cluster.
#[derive(Clone, Parser)]
struct Arguments {
    /// The seed; without one, the regressions and then fresh seeds until --minutes are over
    #[arg(long)]
    seed: Option<u64>,
    /// How many hours of faults each world has at least
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// Only these faults of the seed, by number, such as 3,17; none if it is empty
    #[arg(long, value_parser = numbers)]
    only: Option<Numbers>,
    /// Not further than this, in seconds since the world began
    #[arg(long)]
    until: Option<u64>,
    /// Prints the end of the history, in this many lines
    #[arg(long, value_name = "LINES", num_args = 0..=1, default_missing_value = "200")]
    explain: Option<usize>,
    /// How many minutes fresh seeds are tried
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Stops at the first seed that fails, without shrinking it
    #[arg(long)]
    first: bool,
    /// Replicas of the operator
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Resources
    #[arg(long, default_value_t = 50)]
    resources: usize,
    /// Names on each customer's list
    #[arg(long, default_value_t = 5)]
    names: usize,
    /// Customers, each with a list
    #[arg(long, default_value_t = 4)]
    customers: usize,
}

impl Arguments {
    fn size(&self) -> Size {
        let Self { replicas, resources, names, customers, .. } = *self;
        Size { replicas, resources, names, customers }
    }
}

/// Numbers of faults.
#[derive(Clone, Debug)]
struct Numbers(Vec<usize>);

fn numbers(text: &str) -> Result<Numbers, std::num::ParseIntError> {
    let numbers = text.split(',').map(str::trim).filter(|number| !number.is_empty());
    Ok(Numbers(numbers.map(str::parse).collect::<Result<_, _>>()?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = seeded::seed() {
        return simulate(&arguments, seed);
    }
    if let Some(seed) = arguments.seed {
        let again = Run::of(seed, &arguments);
        return if again.outcome(arguments.explain).law.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    drive(&arguments)
}

/// One world, in a process whose random numbers follow from the seed.
fn simulate(arguments: &Arguments, seed: u64) -> ExitCode {
    let size = arguments.size();
    fastrand::seed(seed);
    let definition: Value = serde_saphyr::from_str(DEFINITION).expect("the definition");
    let plan = FaultPlan::pick(&mut fastrand::Rng::with_seed(seed), size, arguments.hours);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    let began = Instant::now();
    let (result, history, hours) = runtime.block_on(async {
        let mut world = SimulatedWorld::new(seed, size, &[definition]);
        let history = world.history();
        if arguments.explain.is_some() {
            log_to(&history);
        }
        let until = arguments.until.map(Duration::from_secs);
        let result = world.run(&plan, arguments.only.as_ref().map(|only| &*only.0), until).await;
        let hours = history.elapsed().as_secs_f64() / 3600.0;
        (result, history, hours)
    });
    if let Some(lines) = arguments.explain {
        history.last(lines).iter().for_each(|line| println!("{line}"));
    }
    let (steps, digest) = (plan.steps.len(), history.digest());
    println!("seed {seed}: {hours:.1} hours, {steps} faults, in {:.1?}; history {digest:016x}", began.elapsed());
    let outcome = RunOutcome::of(result, hours, digest, &plan);
    if let Some(what) = &outcome.what {
        println!("seed {seed}: {what}");
    }
    outcome.report();
    if outcome.law.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Puts the operator's log between the lines of the history.
fn log_to(history: &History) {
    let (writer, level) = (Arc::new(history.clone()), tracing_subscriber::filter::LevelFilter::INFO);
    let log = tracing_subscriber::fmt().with_writer(move || Lines(Arc::clone(&writer))).with_max_level(level);
    log.without_time().with_ansi(false).init();
}

struct Lines(Arc<History>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The regressions, then fresh seeds, each in a process of its own.
fn drive(arguments: &Arguments) -> ExitCode {
    let mut failed = regressions::run();
    let end = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let (mut hours, mut seeds) = (0.0, 0_usize);
    while Instant::now() < end && (failed.is_empty() || !arguments.first) {
        let run = Run::of(fastrand::u64(..1 << 32), arguments);
        let outcome = run.outcome(None);
        hours += outcome.hours;
        seeds += 1;
        if outcome.law.is_some() {
            let run = if arguments.first { run } else { shrink::shrink(&run, &outcome) };
            failed.push(run.command());
        }
    }
    println!("{seeds} fresh seeds, {hours:.0} hours; {} failed", failed.len());
    for command in &failed {
        println!("failed: {command}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
