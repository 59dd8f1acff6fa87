//! One resource with very many addresses, of which one changes.

use super::{LIMIT, POLICY, seconds};
use crate::bench::candidate::mebibytes;
use crate::bench::figures::{Report, Sample};
use crate::bench::stage::Stage;
use crate::fixture;
use serde_json::json;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many addresses one name may have.
const OF_A_NAME: usize = 1000;
/// TTL of the name that changes, in seconds: few questions are asked for it while the change is followed, for they are no
/// part of it.
const TTL: u32 = 6;
/// The name that changes.
const CHANGING: &str = "changing.citrix-bench.net";

/// A resource of 20,000 addresses; one more each time, `runs` times.
///
/// # Errors
/// Where the policies do not follow.
pub async fn large(stage: &Stage, report: &mut Report, names: usize, runs: usize) -> anyhow::Result<()> {
    let namespace = "large";
    stage.namespace(namespace).await?;
    let mut fqdns: Vec<String> = (1..names).map(|index| format!("large-{index}.citrix-bench.net")).collect();
    for (index, name) in fqdns.iter().enumerate() {
        stage.scripted.set_addresses(name, &block(index + 1, OF_A_NAME), 3600);
    }
    let spare = OF_A_NAME - runs - 1;
    stage.scripted.set_addresses(CHANGING, &apart(spare), TTL);
    fqdns.push(CHANGING.to_owned());
    let mut operator = stage.operator_asking(stage.scripted.addr()).await?;
    let additional: Vec<_> = fqdns
        .chunks(16)
        .enumerate()
        .map(|(index, chunk)| json!({ "name": format!("large {index}"), "fqdns": chunk, "tcpPorts": "443" }))
        .collect();
    let spec = json!({
        "customerId": "benchcust", "geo": "us", "services": { "include": ["Small"] }, "additional": additional,
    });
    let started = stage.create_own(namespace, "large", spec).await?;
    let policies = |seen: &crate::bench::stage::Seen| seen.changed_since(POLICY, namespace, started).0;
    stage.until("the large policies", LIMIT, |seen| policies(seen) > 0).await?;
    settle(stage, namespace).await?;
    let objects = policies(&stage.seen);
    let (mut processor, mut writes) = (Sample::default(), Sample::default());
    for run in 0..runs {
        let (used, before, changed) = (operator.usage()?, stage.seen.changes(POLICY, namespace), Instant::now());
        stage.scripted.set_addresses(CHANGING, &apart(spare + run + 1), TTL);
        stage.until("the address", LIMIT, |seen| seen.changed_since(POLICY, namespace, changed).0 > 0).await?;
        settle(stage, namespace).await?;
        processor.add(1000.0 * seconds(operator.usage()?.processor.saturating_sub(used.processor)));
        writes.add((stage.seen.changes(POLICY, namespace) - before) as f64);
    }
    let used = operator.usage()?;
    report.note(
        &format!(
            "one resource of {} addresses in {objects} policies; one address more",
            (names - 1) * OF_A_NAME + spare
        ),
        format!(
            "{writes:.0} policies written, {processor:.0} ms of processor; {:.0} MiB, {:.0} at most",
            mebibytes(used.resident),
            mebibytes(used.peak)
        ),
        "one object written; 50 ms of processor",
        Some(writes.percentile(100) <= 1.0 && processor.median() <= 50.0),
        &[
            ("policies_written", writes.median()),
            ("processor_ms", processor.median()),
            ("memory_mib", mebibytes(used.resident)),
            ("policies", objects as f64),
        ],
    );
    Ok(())
}

/// Waits until no policy has changed for two seconds.
async fn settle(stage: &Stage, namespace: &str) -> anyhow::Result<()> {
    let mut before = usize::MAX;
    loop {
        let now = stage.seen.changes(POLICY, namespace);
        if now == before {
            return Ok(());
        }
        before = now;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Addresses that lie together in no network, so that none can be merged.
fn block(number: usize, count: usize) -> Vec<IpAddr> {
    fixture::pool(&format!("block {number}"), count)
}

/// Addresses that are in no block, so that each more is one that no other name has: every other one of a network.
fn apart(count: usize) -> Vec<IpAddr> {
    let first = u32::from(std::net::Ipv4Addr::new(23, 100, 0, 0));
    (0..count).map(|index| IpAddr::V4((first + 2 * index as u32).into())).collect()
}
