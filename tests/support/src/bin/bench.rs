//! `make bench`: measures the operator, and writes `docs/benchmarks.md` with its numbers and its plot beside it.
//!
//! Environment: `BENCH_SHIPPED` names the operator's binary as a release has it, `BENCH_OPERATOR` another; `QUICK=1`
//! measures less; `CANDIDATE` is a file that describes another operator, which is measured too, as far as both can be
//! asked the same, and both are written to `bench-results/benchmarks-<name>.md`; `BENCH_OUT` names the folder to write
//! to; `BENCH_ONLY` names the parts to measure (single, crowd, large, growth, program, forwarder), with commas between, and
//! puts them into the report that is there (a part that does not exist writes its page again); `BENCH_CROWD` is how many
//! resources a crowd has, measured once, rather than the extent's own crowds; `BENCH_NOTE` is a remark for the report.

use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use test_support::bench::candidate::Candidate;
use test_support::bench::figures::{Beside, Report};
use test_support::bench::{files, scenarios, scenarios::ForwarderExtent, stage::Stage, stations};
use test_support::control_plane::{Component, Kubernetes};
use test_support::tools::{target_folder, workspace_root};

/// How much is measured.
struct Extent {
    runs: usize,
    answers: usize,
    /// How many resources at once, and how often.
    crowds: &'static [(usize, usize)],
    quiet: Duration,
    growth: &'static [usize],
    names_of_large: usize,
    forwarder: ForwarderExtent,
}

const QUICK: Extent = Extent {
    runs: 20,
    answers: 20,
    crowds: &[(100, 1)],
    quiet: Duration::from_secs(30),
    growth: &[50, 200],
    names_of_large: 20,
    forwarder: ForwarderExtent { pairs: 4, slice: Duration::from_secs(2), unseen: 100, many: 1000 },
};

const FULL: Extent = Extent {
    runs: 100,
    answers: 40,
    crowds: &[(100, 3), (1000, 3)],
    quiet: Duration::from_secs(60),
    growth: &[100, 300, 1000, 3000, 10_000],
    names_of_large: 20,
    forwarder: ForwarderExtent { pairs: 10, slice: Duration::from_secs(5), unseen: 300, many: 10_000 },
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let started = Instant::now();
    let quick = variable("QUICK").is_some();
    let extent = if quick { QUICK } else { FULL };
    let shipped = variable("BENCH_SHIPPED").map(PathBuf::from);
    let binary = shipped.clone().or_else(|| variable("BENCH_OPERATOR").map(PathBuf::from));
    let binary = binary.context("BENCH_SHIPPED or BENCH_OPERATOR names the operator's binary")?;
    let own = Candidate::own(&binary);
    let peer = variable("CANDIDATE").map(|file| Candidate::read(Path::new(&file))).transpose()?;
    let only = variable("BENCH_ONLY");
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only.split(',').any(|wanted| wanted == part));
    let alone = |part: &str| peer.is_none() && wanted(part);
    let mut report = Report { circumstances: circumstances(quick), ..Report::default() };
    let built = match &shipped {
        Some(_) => "as it is shipped: static, for size where it is cold",
        None => "built for speed alone: not as it is shipped",
    };
    report.circumstances.insert("operator".to_owned(), format!("{}, {built}", own.name));
    if let Some(peer) = &peer {
        let remark = peer.remark.as_ref().map(|remark| format!(": {remark}")).unwrap_or_default();
        report.circumstances.insert("operator beside it".to_owned(), format!("{}{remark}", peer.name));
    }
    if let Some(note) = variable("BENCH_NOTE") {
        report.circumstances.insert("note".to_owned(), note);
    }

    // Each part of both, one after the other, before the next part: so that both meet the same machine.
    let mut of_peer = Report::default();
    if wanted("single") {
        let both = [(Some(&own), &mut report), (peer.as_ref(), &mut of_peer)];
        for (candidate, report) in both.into_iter().filter_map(|(of, report)| Some((of?, report))) {
            part(started, &format!("one resource at a time: {}", candidate.name));
            let stage = Stage::set(candidate).await?;
            scenarios::single(&stage, report, extent.runs).await?;
        }
    }
    if alone("single") {
        part(started, "a new answer of DNS");
        let stage = Stage::set(&own).await?;
        scenarios::answer(&stage, &mut report, extent.answers).await?;
    }
    if wanted("crowd") {
        let crowd =
            variable("BENCH_CROWD").map(|count| count.parse().context("BENCH_CROWD is a number")).transpose()?;
        let chosen = crowd.map(|count| [(count, 1)]);
        for (count, repeats) in chosen.as_ref().map_or(extent.crowds, |chosen| chosen) {
            let both = [(Some(&own), &mut report), (peer.as_ref(), &mut of_peer)];
            for (candidate, report) in both.into_iter().filter_map(|(of, report)| Some((of?, report))) {
                part(started, &format!("{count} resources: {}", candidate.name));
                scenarios::crowd(candidate, report, *count, extent.quiet, *repeats).await?;
            }
        }
    }
    if alone("large") {
        part(started, "one large resource");
        let stage = Stage::set(&own).await?;
        scenarios::large(&stage, &mut report, extent.names_of_large, 5).await?;
    }
    if alone("growth") {
        part(started, "ever more resources");
        scenarios::growth(&own, &mut report, extent.growth).await?;
    }
    let target = target_folder();
    if alone("program") {
        part(started, "the program itself");
        scenarios::program(&binary, shipped.is_some(), &mut report)?;
        stations::times(&target.join("stations.txt"), &mut report)?;
        stations::instructions(&target.join("instructions.json"), &mut report)?;
        stations::growth(&mut report);
    }
    if alone("forwarder") {
        part(started, "the forwarder");
        scenarios::forwarder(&own, &mut report, extent.forwarder).await?;
        stations::learned(&target.join("learned.json"), &mut report)?;
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    report.circumstances.insert("took".to_owned(), format!("{minutes:.0} minutes beside the micro-benchmarks"));
    report.beside = peer.map(|peer| Beside { name: peer.name, figures: of_peer.figures });
    write(report, only.as_deref())
}

fn part(started: Instant, what: &str) {
    eprintln!("[{:>4} s] {what}", started.elapsed().as_secs());
}

/// Writes a report; one of some parts `only` is put into the report that is there.
fn write(report: Report, only: Option<&str>) -> anyhow::Result<()> {
    let folder = files::folder(&report, variable("BENCH_OUT").map(PathBuf::from), &workspace_root());
    let earlier = if only.is_some() { files::earlier(&report, &folder)? } else { None };
    let report = match (only, earlier) {
        (Some(parts), Some(earlier)) => report.within(earlier, parts),
        _ => report,
    };
    eprintln!("written to {}", files::write(&report, &folder)?.display());
    println!("{}", report.markdown());
    Ok(())
}

/// Where, when and of what.
fn circumstances(quick: bool) -> BTreeMap<String, String> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let of_tool = |program: &str, arguments: &[&str]| {
        let program = test_support::tool(program).ok()?.display().to_string();
        let text = output(&program, arguments)?;
        text.lines().next().map(str::to_owned)
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let dirty = output("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    let now = jiff::Timestamp::now().round(jiff::Unit::Second).ok();
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut put = |name: &str, value: Option<String>| known.insert(name.to_owned(), value);
    put("date", now.map(|now| now.to_string()));
    put("commit", commit.map(|commit| if dirty { format!("{commit}, with changes") } else { commit }));
    put(
        "machine",
        Some(format!(
            "{cores} cores, {}, {:.0} GiB",
            model.trim_start_matches([' ', '\t', ':']),
            memory.unwrap_or(0.0) / f64::from(1 << 20)
        )),
    );
    put("load when it began", load.split_whitespace().next().map(|load| format!("{load} (0 on a quiet machine)")));
    put("compiler", output("rustc", &["--version"]));
    put("etcd", of_tool("etcd", &["--version"]));
    let kubernetes = Kubernetes::chosen().ok();
    put("kube-apiserver", kubernetes.and_then(|of| of_tool(of.program(Component::ApiServer), &["--version"])));
    put("CoreDNS", of_tool("coredns", &["-version"]));
    put("extent", Some(if quick { "quick" } else { "full" }.to_owned()));
    known.into_iter().map(|(name, value)| (name, value.unwrap_or_else(|| "unknown".to_owned()))).collect()
}
