//! Counts instructions with callgrind, which no other program on the machine disturbs: of one reconcile that changes
//! nothing, held against the count in `benches/instructions.json`, and of each station at growing sizes.
//!
//! `cargo bench --bench instructions` fails where a reconcile takes more than 5 % more than recorded; `RECORD=1` records
//! again, as the first run does; `QUICK=1` leaves the largest size out. Without valgrind it says so, and counts nothing.

mod quiet;
mod workload;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use test_support::tools::target_folder;
use workload::{SIZES, Workload};

/// Every station, in the order of the way.
const STATIONS: [&str; 6] = ["parse", "select", "decide", "merge", "render", "compare"];
/// Reconciles of the shorter and the longer run: what both have in common, the difference is without.
const RECONCILES: (usize, usize) = (5, 25);
/// The most that a reconcile may cost beyond what is recorded.
const ALLOWED: f64 = 1.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["child", "reconcile", count] => {
            quiet::reconciles(count.parse().expect("a count"));
            ExitCode::SUCCESS
        }
        ["child", station, peers, times] => {
            let workload = Workload::of(peers.parse().expect("peers"));
            for _ in 0..times.parse().expect("a count") {
                workload.station(station);
            }
            ExitCode::SUCCESS
        }
        _ => count_all(),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn result() -> PathBuf {
    target_folder().join("instructions.json")
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn count_all() -> ExitCode {
    // What an earlier run counted says nothing of this one.
    let _ = std::fs::remove_file(result());
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("valgrind is not on this machine: instructions are not counted, and nothing is guarded");
        return ExitCode::SUCCESS;
    }
    let (few, many) = RECONCILES;
    let difference = count(&["reconcile", &many.to_string()]) - count(&["reconcile", &few.to_string()]);
    let now = difference / (many - few) as u64;
    println!("{now} instructions for a reconcile that changes nothing");

    let mut stations: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    let sizes = if is_set("QUICK") { &SIZES[..2] } else { &SIZES[..] };
    for peers in sizes {
        let base = count(&["parse", &peers.to_string(), "0"]);
        for station in STATIONS {
            let counted = count(&[station, &peers.to_string(), "1"]).saturating_sub(base);
            println!("{counted} instructions to {station} {peers} peers");
            stations.entry(station).or_default().insert(peers.to_string(), counted);
        }
    }

    let record = root().join("benches/instructions.json");
    if is_set("RECORD") || !record.exists() {
        println!("recorded in {}: commit it", record.display());
        write(&record, &json!({ "reconcile": now }));
    }
    let recorded: Option<Value> =
        std::fs::read_to_string(&record).ok().and_then(|text| serde_json::from_str(&text).ok());
    let Some(recorded) = recorded.and_then(|recorded| recorded["reconcile"].as_u64()) else {
        println!("{} holds no count: RECORD=1 writes one", record.display());
        return ExitCode::FAILURE;
    };
    write(&result(), &json!({ "reconcile": { "now": now, "recorded": recorded }, "stations": stations }));
    let ratio = now as f64 / recorded as f64;
    println!("{:+.1} % against the {recorded} recorded", (ratio - 1.0) * 100.0);
    if ratio > ALLOWED {
        println!("a reconcile that changes nothing has become dearer by more than 5 %: find out why, or RECORD=1");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn write(file: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("JSON");
    std::fs::write(file, text + "\n").expect("the file can be written");
}

/// Instructions of this program with these arguments.
fn count(arguments: &[&str]) -> u64 {
    let out = std::env::temp_dir().join(format!("citrix-allowlist-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("this program"))
        .arg("child")
        .args(arguments)
        .output()
        .expect("valgrind runs");
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    let total = text.lines().rev().find_map(|line| {
        let counts = line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:"))?;
        counts.split_whitespace().next()?.parse().ok()
    });
    match total {
        Some(total) if output.status.success() => total,
        _ => panic!("valgrind, {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
