//! What is measured, one function for each question.

use super::figures::{Report, Sample, milliseconds};
use super::floor::{self, Written};
use super::stage::{Stage, TTL, usage};
use crate::fixture;
use crate::operator::Operator;
use crate::standin::Cloud;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const POLICY: &str = "NetworkPolicy";
const CONFIG_MAP: &str = "ConfigMap";
/// The longest that anything may take.
const LIMIT: Duration = Duration::from_secs(180);

fn spec(customer: &str) -> Value {
    json!({ "customerId": customer, "geo": "us", "podSelector": { "matchLabels": { "app": "vda" } } })
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

async fn policy_after(stage: &Stage, namespace: &str, name: &str, customer: &str) -> anyhow::Result<Duration> {
    let sent = stage.create(namespace, name, spec(customer)).await?;
    let policy = format!("{name}-egress");
    stage.until(&policy, LIMIT, |seen| seen.first(POLICY, namespace, &policy).is_some()).await?;
    let seen = stage.seen.first(POLICY, namespace, &policy).context("seen")?;
    Ok(seen.saturating_duration_since(sent))
}

/// The first resource, the next ones, and one whose list has to be fetched.
///
/// # Errors
/// Where something does not come about.
pub async fn single(stage: &Stage, report: &mut Report, runs: usize) -> anyhow::Result<()> {
    stage.namespace("first").await?;
    let mut first = Sample::default();
    for run in 0..runs.div_ceil(5) {
        // A new process has the list saved, and knows no name.
        let operator = stage.operator().await?;
        if run == 0 {
            policy_after(stage, "first", "warm", "benchcust").await?;
            stage.resources("first").delete("warm", &kube::api::DeleteParams::default()).await?;
            drop(operator);
            continue;
        }
        first.add(policy_after(stage, "first", &format!("first-{run}"), "benchcust").await?);
        stage.resources("first").delete(&format!("first-{run}"), &kube::api::DeleteParams::default()).await?;
        drop(operator);
    }
    report.note(
        "first resource → policy visible, names asked for the first time, list cached",
        first.text(),
        "60 ms p50",
        &[("p50_ms", milliseconds(first.percentile(50))), ("p99_ms", milliseconds(first.percentile(99)))],
    );

    let operator = stage.operator().await?;
    stage.namespace("next").await?;
    policy_after(stage, "next", "known", "benchcust").await?;
    let written = Written::read(&stage.client, "next", "known").await?;
    let mut next = Sample::default();
    for run in 0..runs {
        next.add(policy_after(stage, "next", &format!("next-{run}"), "benchcust").await?);
    }
    let bare = floor::creates(&stage.client, "next", &written, runs).await?;
    let ratio = |percent| seconds(next.percentile(percent)) / seconds(bare.percentile(percent)).max(1e-9);
    report.note(
        "next resource over the same names → policy visible",
        format!(
            "{}; {:.2} times one bare create of {} peers at p50, {:.2} at p99",
            next.text(),
            ratio(50),
            written.peers(),
            ratio(99)
        ),
        "1.5 times one bare write",
        &[
            ("p50_ms", milliseconds(next.percentile(50))),
            ("p99_ms", milliseconds(next.percentile(99))),
            ("bare_p50_ms", milliseconds(bare.percentile(50))),
            ("ratio_p50", ratio(50)),
        ],
    );
    let mut fetched = Sample::default();
    for run in 0..runs.div_ceil(5) {
        fetched.add(policy_after(stage, "next", &format!("fetched-{run}"), &format!("new{run}")).await?);
    }
    report.note(
        "next resource of a new customer, list to fetch → policy visible",
        fetched.text(),
        "one round trip to the API more",
        &[("p50_ms", milliseconds(fetched.percentile(50)))],
    );
    drop(operator);
    Ok(())
}

/// Many resources at once, then quiet, then a new list, then a restart.
///
/// # Errors
/// Where something does not come about.
pub async fn many(stage: &Stage, report: &mut Report, count: usize, quiet: Duration) -> anyhow::Result<()> {
    let namespace = format!("many-{count}");
    stage.namespace(&namespace).await?;
    let mut operator = stage.operator().await?;
    policy_after(stage, &namespace, "known", "benchcust").await?;
    let written = Written::read(&stage.client, &namespace, "known").await?;
    let names: Vec<String> = (0..count).map(|index| format!("r{index}")).collect();
    let process = operator.process().program_id()?;
    let before = usage(process)?;

    let started = Instant::now();
    create_all(stage, &namespace, &names).await?;
    let created = started.elapsed();
    let visible = |seen: &super::stage::Seen, kind, suffix: &str| {
        names.iter().all(|name| seen.first(kind, &namespace, &format!("{name}-{suffix}")).is_some())
    };
    stage.until("policies", LIMIT, |seen| visible(seen, POLICY, "egress")).await?;
    let policies = started.elapsed();
    stage.until("ConfigMaps", LIMIT, |seen| visible(seen, CONFIG_MAP, "cidrs")).await?;
    while stage.ready(&namespace).await? < count {
        anyhow::ensure!(started.elapsed() < LIMIT, "status not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let everything = started.elapsed();
    let busy = usage(process)?.processor.saturating_sub(before.processor);
    let (floor_policies, floor_all) =
        floor::bulk(&stage.client, &namespace, &written, &stage.resources(&namespace), &names, 16).await?;
    // The bare client is given the resources; creating them is part of both.
    let ratio = seconds(everything) / seconds(created + floor_all);
    report.note(
        &format!("{count} resources created at once → all policies visible; with ConfigMaps and status"),
        format!(
            "{:.2} s; {:.2} s, {ratio:.2} times the floor ({:.2} s to create them, {:.2} s and {:.2} s for the bare writes); {:.2} s of processor",
            seconds(policies),
            seconds(everything),
            seconds(created),
            seconds(floor_policies),
            seconds(floor_all),
            seconds(busy),
        ),
        if count >= 1000 { "10 s; 1.3 times the floor" } else { "1 s; 1.3 times the floor" },
        &[
            ("policies_s", seconds(policies)),
            ("everything_s", seconds(everything)),
            ("floor_ratio", ratio),
            ("processor_s", seconds(busy)),
        ],
    );
    quiet_time(stage, report, count, quiet, &mut operator).await?;
    new_list(stage, report, count, &namespace, &names).await?;
    drop(operator);
    restart(stage, report, count).await
}

async fn create_all(stage: &Stage, namespace: &str, names: &[String]) -> anyhow::Result<()> {
    use futures::StreamExt as _;
    let results: Vec<anyhow::Result<Instant>> = futures::stream::iter(names)
        .map(|name| stage.create(namespace, name, spec("benchcust")))
        .buffer_unordered(16)
        .collect()
        .await;
    results.into_iter().try_for_each(|result| result.map(drop))
}

async fn writes(operator: &Operator) -> anyhow::Result<f64> {
    let text = operator.get("/metrics").await?;
    let lines = text.lines().filter(|line| line.starts_with("citrix_allowlist_writes_total{"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

async fn quiet_time(
    stage: &Stage,
    report: &mut Report,
    count: usize,
    quiet: Duration,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    // What the creation left to be done is no part of the quiet.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let process = operator.process().program_id()?;
    let (writes_before, usage_before) = (writes(operator).await?, usage(process)?);
    stage.dns.clear_questions();
    tokio::time::sleep(quiet).await;
    let (writes_after, usage_after) = (writes(operator).await?, usage(process)?);
    let questions = stage.dns.questions().len();
    let share = seconds(usage_after.processor.saturating_sub(usage_before.processor)) / seconds(quiet) * 100.0;
    let resident = usage_after.resident as f64 / f64::from(1 << 20);
    let per_minute = questions as f64 * 60.0 / seconds(quiet);
    report.note(
        &format!("{count} resources, a quiet minute at TTL {TTL} s: writes / DNS questions / memory / processor"),
        format!("{} / {per_minute:.0} / {resident:.1} MiB / {share:.2} %", writes_after - writes_before),
        if count >= 1000 { "0 / 800 / 60 MiB / 1 %" } else { "0 / 800 / 25 MiB / 0.3 %" },
        &[
            ("writes", writes_after - writes_before),
            ("questions_per_minute", per_minute),
            ("memory_mib", resident),
            ("processor_percent", share),
        ],
    );
    Ok(())
}

async fn new_list(
    stage: &Stage,
    report: &mut Report,
    count: usize,
    namespace: &str,
    names: &[String],
) -> anyhow::Result<()> {
    stage.standin.edit(Cloud::Global, |document| {
        // One network more for everybody, in an entry that has networks.
        let endpoint = document.services.iter_mut().flat_map(|service| &mut service.endpoints);
        if let Some(endpoint) = endpoint.into_iter().find(|endpoint| !endpoint.ips.is_empty()) {
            let added: IpAddr = [20, 200, 1, u8::try_from(endpoint.ips.len() % 250).unwrap_or(1)].into();
            endpoint.ips.push(added.to_string());
        }
    });
    let published = Instant::now();
    let request = json!({ "metadata": { "annotations": {
        "citrix-allowlist.io/refresh-requested-at": format!("{published:?}"),
    } } });
    let patch = kube::api::Patch::Merge(request);
    stage.resources(namespace).patch(&names[0], &kube::api::PatchParams::default(), &patch).await?;
    stage.until("the new list", LIMIT, |seen| seen.changed_since(POLICY, namespace, published).0 > count).await?;
    let took = published.elapsed();
    report.note(
        &format!("list changed → policies of {count} resources of one customer updated"),
        format!("{:.2} s", seconds(took)),
        "10 s for 1,000",
        &[("seconds", seconds(took))],
    );
    Ok(())
}

async fn restart(stage: &Stage, report: &mut Report, count: usize) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.standin.clear_requests();
    let started = Instant::now();
    let operator = stage.operator().await?;
    let ready = started.elapsed();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (writes, requests) = (writes(&operator).await?, stage.standin.requests().len());
    report.note(
        &format!("start → ready with {count} resources in place; writes and requests to the API in the 10 s after"),
        format!("{:.2} s; {writes} writes, {requests} requests", seconds(ready)),
        "3 s; 0, 0",
        &[("ready_s", seconds(ready)), ("writes", writes), ("requests", requests as f64)],
    );
    Ok(())
}

/// A new answer of DNS until the policy says it.
///
/// # Errors
/// Where it does not.
pub async fn answer(stage: &Stage, report: &mut Report, runs: usize) -> anyhow::Result<()> {
    stage.namespace("answer").await?;
    let name =
        fixture::exact_names_of(Cloud::Global, "benchcust", "us", "outbound").into_iter().next().context("a name")?;
    let base = fixture::pool(&name, runs + 1);
    stage.dns.set_addresses(&name, &base[..1], 1);
    let operator = stage.operator().await?;
    policy_after(stage, "answer", "one", "benchcust").await?;
    let mut sample = Sample::default();
    for run in 0..runs {
        stage.dns.clear_questions();
        let changed = Instant::now();
        stage.dns.set_addresses(&name, &base[..run + 2], 1);
        stage
            .until("the answer", LIMIT, |seen| seen.last(POLICY, "answer", "one-egress").is_some_and(|at| at > changed))
            .await?;
        let seen = stage.seen.last(POLICY, "answer", "one-egress").context("seen")?;
        let questions = stage.dns.questions();
        let asked = questions
            .iter()
            .find(|question| question.name.trim_end_matches('.') == name && question.instant >= changed);
        if let Some(asked) = asked {
            sample.add(seen.saturating_duration_since(asked.instant));
        }
    }
    drop(operator);
    report.note(
        "new answer of DNS → policy updated",
        sample.text(),
        "100 ms at p99",
        &[("p50_ms", milliseconds(sample.percentile(50))), ("p99_ms", milliseconds(sample.percentile(99)))],
    );
    Ok(())
}
