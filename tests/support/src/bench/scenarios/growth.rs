//! Ever more resources on one control plane: what each stage costs.

use super::{CONFIG_MAP, LIMIT, POLICY, seconds};
use crate::bench::candidate::{Candidate, mebibytes};
use crate::bench::figures::{Point, Report, Series};
use crate::bench::stage::{Seen, Stage};
use serde_json::json;
use std::time::{Duration, Instant};

/// Resources of 50 peers: up to as many as the last of `counts` says, with a restart at each.
///
/// # Errors
/// Where something does not come about.
pub async fn growth(candidate: &Candidate, report: &mut Report, counts: &[usize]) -> anyhow::Result<()> {
    let stage = Stage::set(candidate).await?;
    let namespace = "growth";
    stage.namespace(namespace).await?;
    let mut series = [
        ("memory while running, in MiB", Vec::new()),
        ("most memory of a start, in MiB", Vec::new()),
        ("start → ready, in s", Vec::new()),
        ("processor of a start, in s", Vec::new()),
    ];
    let mut exists = 0;
    let mut took = 0.0;
    for count in counts {
        let mut operator = stage.operator().await?;
        let names: Vec<String> = (exists..*count).map(|index| format!("r{index}")).collect();
        let started = Instant::now();
        let spec = json!({ "customerId": "benchcust", "geo": "us", "services": { "include": ["Small"] } });
        stage.create_all(&names, |name| stage.create_own(namespace, name, spec.clone())).await?;
        let visible = |seen: &Seen| {
            let all = |kind, suffix: &str| {
                names.iter().all(|name| seen.first(kind, namespace, &format!("{name}-{suffix}")).is_some())
            };
            all(POLICY, "egress") && all(CONFIG_MAP, "cidrs")
        };
        stage.until("policies and ConfigMaps", LIMIT, visible).await?;
        took += seconds(started.elapsed());
        while stage.ready(namespace).await? < *count {
            anyhow::ensure!(started.elapsed() < LIMIT, "status not within {LIMIT:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let x = *count as f64;
        series[0].1.push(Point { x, y: mebibytes(operator.usage()?.resident) });
        drop(operator);
        let mut operator = stage.operator().await?;
        let ready = seconds(operator.ready_after);
        // Everything is looked at once after a start.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let used = operator.usage()?;
        series[1].1.push(Point { x, y: mebibytes(used.peak) });
        series[2].1.push(Point { x, y: ready });
        series[3].1.push(Point { x, y: seconds(used.processor) });
        eprintln!("  {count} resources of 50 peers: ready after {ready:.2} s, {:.0} MiB", mebibytes(used.resident));
        exists = *count;
    }
    let series: Vec<Series> = series
        .into_iter()
        .map(|(name, points)| Series { name: name.to_owned(), of: "resources of 50 peers".to_owned(), points })
        .collect();
    let last = |index: usize| series[index].points.last().map_or(0.0, |point| point.y);
    // Between the last two points: what is there without any resource hides how the rest grows.
    let steepness = |index: usize| {
        let points = &series[index].points;
        let from = points.len().saturating_sub(2);
        Series { points: points[from..].to_vec(), ..series[index].clone() }.exponent()
    };
    let linear = [0, 2].into_iter().all(|index| steepness(index).is_none_or(|exponent| exponent <= 1.1));
    report.note(
        &format!("{exists} resources of 50 peers"),
        format!(
            "works; written in {took:.0} s; {:.0} MiB; {:.2} s to start, {:.0} MiB at most then",
            last(0),
            last(2),
            last(1)
        ),
        "works; memory and start linear or better",
        Some(linear),
        &[("written_s", took), ("memory_mib", last(0)), ("start_s", last(2)), ("start_peak_mib", last(1))],
    );
    report.series.extend(series);
    Ok(())
}
