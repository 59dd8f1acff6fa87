//! `make bench`: measures the operator, and writes `docs/benchmarks.md` and a JSON file beside it.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use test_support::bench::figures::{Report, milliseconds};
use test_support::bench::{scenarios, stage::Stage};
use test_support::tools::workspace_root;

/// How much is measured.
struct Extent {
    runs: usize,
    crowds: &'static [usize],
    quiet: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let quick = std::env::var_os("QUICK").is_some();
    let extent = if quick {
        Extent { runs: 20, crowds: &[100], quiet: Duration::from_secs(30) }
    } else {
        Extent { runs: 100, crowds: &[100, 1000], quiet: Duration::from_secs(60) }
    };
    let binary = PathBuf::from(std::env::var("BENCH_OPERATOR").context("BENCH_OPERATOR names the operator's binary")?);
    let mut report = Report { circumstances: circumstances(quick), ..Report::default() };

    eprintln!("one resource at a time");
    let stage = Stage::set(&binary).await?;
    scenarios::single(&stage, &mut report, extent.runs).await?;
    scenarios::answer(&stage, &mut report, extent.runs.div_ceil(2)).await?;
    drop(stage);
    for count in extent.crowds {
        eprintln!("{count} resources");
        // A control plane of its own each: what an earlier crowd left behind would be part of the figure.
        let stage = Stage::set(&binary).await?;
        scenarios::many(&stage, &mut report, *count, extent.quiet).await?;
    }
    eprintln!("the program itself");
    program(&binary, &mut report)?;

    let folder = workspace_root().join("docs");
    std::fs::write(folder.join("benchmarks.md"), report.markdown())?;
    std::fs::write(folder.join("benchmarks.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    println!("{}", report.markdown());
    Ok(())
}

fn program(binary: &Path, report: &mut Report) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(binary)?.len();
    let size = bytes as f64 / f64::from(1 << 20);
    let mut starts: Vec<f64> = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        let status = Command::new(binary).arg("--version").stdout(std::process::Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "--version failed");
        starts.push(milliseconds(started.elapsed()));
    }
    starts.sort_by(f64::total_cmp);
    report.note(
        "binary / start of a command",
        format!("{size:.1} MiB / {:.1} ms", starts[starts.len() / 2]),
        "15 MB / 10 ms",
        &[("binary_mib", size), ("start_ms", starts[starts.len() / 2])],
    );
    Ok(())
}

fn circumstances(quick: bool) -> Vec<(String, String)> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let unknown = || "unknown".to_owned();
    vec![
        (
            "date".to_owned(),
            jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| unknown(), |now| now.to_string()),
        ),
        ("commit".to_owned(), output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(unknown)),
        ("machine".to_owned(), format!("{cores} cores,{}", model.trim_start_matches([' ', '\t', ':']))),
        ("compiler".to_owned(), output("rustc", &["--version"]).unwrap_or_else(unknown)),
        ("extent".to_owned(), if quick { "quick" } else { "full" }.to_owned()),
    ]
}
