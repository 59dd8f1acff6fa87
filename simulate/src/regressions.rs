//! Runs that once broke a law, and must not again.

use crate::seeded::Run;
use simulate::world::Size;

/// A run that broke a law.
struct Regression {
    seed: u64,
    hours: u32,
    /// All of its faults without it.
    only: Option<&'static [usize]>,
    /// Not further than this, in seconds since the world began.
    until: Option<u64>,
    size: Size,
    /// What went wrong.
    what: &'static str,
}

const USUAL: Size = Size { replicas: 3, resources: 50, names: 5, customers: 4 };

const ALL: [Regression; 3] = [
    Regression {
        seed: 1,
        hours: 1,
        only: Some(&[]),
        until: None,
        size: USUAL,
        what: "resources that exist before the operator starts are reconciled",
    },
    Regression {
        // Of every trait: it forwards, has latency, and refreshes.
        seed: 4,
        hours: 4,
        only: None,
        until: Some(12_000),
        size: Size { replicas: 3, resources: 12, names: 3, customers: 2 },
        what: "equal seeds give equal histories, with faults of every kind",
    },
    Regression {
        seed: 1_419_665_131,
        hours: 24,
        only: Some(&[233, 234, 235, 238, 239, 241, 242, 243, 245]),
        until: Some(28_500),
        size: USUAL,
        what: "a new customer's first list that is of another region takes no policy away",
    },
];

/// Runs all of them; returns the commands of those that fail. The first also shows that equal seeds give equal histories.
pub fn run() -> Vec<String> {
    let mut failed = Vec::new();
    for (number, Regression { seed, hours, only, until, size, what }) in ALL.iter().enumerate() {
        let run = Run { seed: *seed, hours: *hours, only: only.map(<[usize]>::to_vec), until: *until, size: *size };
        println!("{what}:");
        let outcome = run.outcome(None);
        let differs = number == 1 && run.quietly(None).0.digest != outcome.digest;
        if differs {
            println!("seed {seed}: two runs have different histories");
        }
        if outcome.law.is_some() || differs {
            failed.push(run.command());
        }
    }
    failed
}
