//! A seeded schedule of everything at once: the list and DNS move on, specs are edited, objects are touched, and the API
//! server answers wrongly. `make soak` runs it; SOAK_MINUTES says how long, SOAK_SEED which schedule.

use super::trial::{RESOURCE, Trial};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::fault_proxy::{ApiFault, Verb, Which};

/// How much more memory the operator may hold at the end than in the middle.
const GROWTH: f64 = 1.10;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The operator's resident memory in KiB: its own process's, not that of the shell that tends it.
fn resident(listen: &str) -> u64 {
    let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let of_operator = processes.filter(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.starts_with(super::common::BINARY) && command.contains(listen)
    });
    let status = of_operator.filter_map(|process| std::fs::read_to_string(process.path().join("status")).ok()).next();
    let status = status.expect("the operator runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// One step of the schedule.
async fn disturb(trial: &mut Trial, random: &mut fastrand::Rng) {
    match random.u8(0..9) {
        0 | 1 => trial.advance().await,
        2 => trial.proxy.cut_watches(),
        3 => trial.proxy.cut_connections(),
        4 => {
            let minutes = random.u8(1..60);
            let spec = Patch::Merge(json!({ "spec": { "refresh": { "maxInterval": format!("{minutes}m") } } }));
            trial.resources().patch(RESOURCE, &PatchParams::default(), &spec).await.expect("edited");
        }
        5 => {
            trial.recorder.may_be_absent(true);
            let name = format!("{RESOURCE}-egress");
            // It may be away just now.
            let _ = trial.policies().delete(&name, &DeleteParams::default()).await;
        }
        6 => trial.proxy.inject_percent(30, Which::all(), ApiFault::status(500, "InternalError", "it hurts")),
        7 => {
            let writes = Which::of(&[Verb::Patch, Verb::Create, Verb::Update], &[]);
            trial.proxy.inject_percent(50, writes, ApiFault::status(409, "Conflict", "modified"));
        }
        _ => trial.proxy.inject_percent(20, Which::all(), ApiFault::Late(Duration::from_millis(500))),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: make soak"]
async fn soak() {
    let minutes = variable("SOAK_MINUTES").unwrap_or(3).max(1);
    let seed = variable("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SOAK_SEED={seed} SOAK_MINUTES={minutes}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut trial = Trial::begin().await;
    let listen = trial.operators[0].listen();
    let (start, whole) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut middle, mut steps) = (None, 0);
    while start.elapsed() < whole {
        for _ in 0..random.u8(1..5) {
            disturb(&mut trial, &mut random).await;
            steps += 1;
            tokio::time::sleep(Duration::from_millis(random.u64(50..1500))).await;
        }
        trial.proxy.heal();
        trial.ask().await;
        // A deletion that came back too often is paused over, for ten minutes at most.
        trial.right(Duration::from_secs(150)).await;
        trial.recorder.may_be_absent(false);
        if middle.is_none() && start.elapsed() >= whole / 2 {
            middle = Some(resident(&listen));
        }
    }
    let (middle, end) = (middle.expect("a middle"), resident(&listen));
    let tally = trial.recorder.verdict();
    println!("{steps} disturbances, {tally:?}, resident {middle} KiB in the middle and {end} KiB at the end");
    #[expect(clippy::cast_precision_loss, reason = "KiB of memory")]
    let grown = end as f64 / middle as f64;
    assert!(grown <= GROWTH, "memory grew by {grown:.2} from the middle to the end; SOAK_SEED={seed}");
}
