//! Many resources at once; then quiet; then a new list; then a restart.

use super::single::policy_after;
use super::{CONFIG_MAP, LIMIT, POLICY, seconds};
use crate::bench::candidate::{Running, mebibytes};
use crate::bench::counts::{self, ApiCalls};
use crate::bench::figures::{Measured, Report};
use crate::bench::floor::{self, Written};
use crate::bench::list::TTL;
use crate::bench::stage::{Seen, Stage};
use serde_json::json;
use std::time::{Duration, Instant};

/// Measures `count` resources, on as many stages as are given, one after the other.
///
/// # Errors
/// Where something does not come about.
pub async fn crowd(
    candidate: &crate::bench::candidate::Candidate,
    report: &mut Report,
    count: usize,
    quiet: Duration,
    repeats: usize,
) -> anyhow::Result<()> {
    let mut measured = Measured::default();
    for repeat in 0..repeats {
        eprintln!("  {count} resources, {} of {repeats}", repeat + 1);
        // A control plane of its own each: what an earlier crowd left behind would be part of the figure.
        let stage = Stage::set(candidate).await?;
        once(&stage, &mut measured, count, quiet).await?;
    }
    told(report, &measured, count, candidate.own);
    Ok(())
}

async fn once(stage: &Stage, measured: &mut Measured, count: usize, quiet: Duration) -> anyhow::Result<()> {
    let namespace = "crowd";
    stage.namespace(namespace).await?;
    let mut operator = stage.operator().await?;
    policy_after(stage, namespace, "known", "benchcust").await?;
    let names: Vec<String> = (0..count).map(|index| format!("r{index}")).collect();
    let own = stage.candidate.own;
    if own {
        until_ready(stage, namespace, 1).await?;
    }
    let (used, asked) = (operator.usage()?, ApiCalls::so_far(&stage.client, &stage.candidate.plural).await?);

    let started = Instant::now();
    stage.create_all(&names, |name| stage.create(namespace, name, "benchcust")).await?;
    let created = started.elapsed();
    let policy = |name: &String| stage.candidate.policy_of(name);
    let visible = |seen: &Seen| names.iter().all(|name| seen.first(POLICY, namespace, &policy(name)).is_some());
    stage.until("policies", LIMIT, visible).await?;
    measured.add("created_s", seconds(created));
    measured.add("policies_s", seconds(started.elapsed()));
    if own {
        let visible = |seen: &Seen| {
            names.iter().all(|name| seen.first(CONFIG_MAP, namespace, &format!("{name}-cidrs")).is_some())
        };
        stage.until("ConfigMaps", LIMIT, visible).await?;
        until_ready(stage, namespace, count + 1).await?;
        let everything = started.elapsed();
        measured.add("everything_s", seconds(everything));
        let busy = operator.usage()?.processor.saturating_sub(used.processor);
        measured.add("processor_s", seconds(busy));
        let calls = ApiCalls::so_far(&stage.client, &stage.candidate.plural).await?.since(asked);
        // The resources themselves were created by somebody else.
        measured.add("writes_each", calls.writes / count as f64 - 1.0);
    }
    quiet_time(stage, measured, quiet, &mut operator).await?;
    if own {
        new_list(stage, measured, count, namespace, &names).await?;
        drop(operator);
        restart(stage, measured, namespace).await?;
        let written = Written::read(&stage.client, namespace, &stage.resources(namespace), "known").await?;
        let floor = floor::bulk(&stage.client, namespace, &written, &stage.resources(namespace), &names).await?;
        measured.add("floor_policies_s", seconds(floor.policies));
        measured.add("floor_applied_s", seconds(floor.applied));
        measured.add("floor_s", seconds(created + floor.everything));
        let everything = measured.of("everything_s").last();
        measured.add("floor_ratio", everything / seconds(created + floor.everything));
    }
    Ok(())
}

async fn until_ready(stage: &Stage, namespace: &str, count: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    while stage.ready(namespace).await? < count {
        anyhow::ensure!(started.elapsed() < LIMIT, "status not within {LIMIT:?}");
        // Each look reads every resource: not so often that the API server is kept from its work.
        tokio::time::sleep(Duration::from_millis((count as u64 / 2).clamp(20, 1000))).await;
    }
    Ok(())
}

async fn quiet_time(
    stage: &Stage,
    measured: &mut Measured,
    quiet: Duration,
    operator: &mut Running,
) -> anyhow::Result<()> {
    // What the creation left to be done is no part of the quiet.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let plural = &stage.candidate.plural;
    let (calls, used) = (ApiCalls::so_far(&stage.client, plural).await?, operator.usage()?);
    let asked = counts::questions(stage.dns_metrics).await?;
    tokio::time::sleep(quiet).await;
    let calls = ApiCalls::so_far(&stage.client, plural).await?.since(calls);
    let questions = counts::questions(stage.dns_metrics).await? - asked;
    let now = operator.usage()?;
    let share = seconds(now.processor.saturating_sub(used.processor)) / seconds(quiet) * 100.0;
    let a_minute = 60.0 / seconds(quiet);
    measured.add("writes_a_minute", calls.writes * a_minute);
    measured.add("reads_a_minute", calls.reads * a_minute);
    measured.add("questions_a_minute", questions * a_minute);
    measured.add("memory_mib", mebibytes(now.resident));
    measured.add("own_memory_mib", mebibytes(now.anonymous));
    measured.add("peak_memory_mib", mebibytes(now.peak));
    measured.add("processor_percent", share);
    Ok(())
}

async fn new_list(
    stage: &Stage,
    measured: &mut Measured,
    count: usize,
    namespace: &str,
    names: &[String],
) -> anyhow::Result<()> {
    let before = stage.seen.changes(POLICY, namespace);
    stage.publish_another_list();
    let published = Instant::now();
    let request = json!({ "metadata": { "annotations": {
        "citrix-allowlist.io/refresh-requested-at": format!("{published:?}"),
    } } });
    let patch = kube::api::Patch::Merge(request);
    stage.resources(namespace).patch(&names[0], &kube::api::PatchParams::default(), &patch).await?;
    stage.until("the new list", LIMIT, |seen| seen.changed_since(POLICY, namespace, published).0 > count).await?;
    measured.add("new_list_s", seconds(published.elapsed()));
    let all = |seen: &Seen| seen.changed_since(CONFIG_MAP, namespace, published).0 > count;
    stage.until("the new list's ConfigMaps", LIMIT, all).await?;
    measured.add("new_list_config_maps_s", seconds(published.elapsed()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes = stage.seen.changes(POLICY, namespace) - before;
    measured.add("new_list_policy_writes_each", writes as f64 / (count + 1) as f64);
    Ok(())
}

async fn restart(stage: &Stage, measured: &mut Measured, namespace: &str) -> anyhow::Result<()> {
    stage.standin.clear_requests();
    let (policies, calls) =
        (stage.seen.changes(POLICY, namespace), ApiCalls::so_far(&stage.client, &stage.candidate.plural).await?);
    let mut operator = stage.operator().await?;
    measured.add("start_s", seconds(operator.ready_after));
    tokio::time::sleep(Duration::from_secs(15)).await;
    let used = operator.usage()?;
    let calls = ApiCalls::so_far(&stage.client, &stage.candidate.plural).await?.since(calls);
    measured.add("start_writes", calls.writes);
    measured.add("start_policy_writes", (stage.seen.changes(POLICY, namespace) - policies) as f64);
    measured.add("start_requests", stage.standin.requests().len() as f64);
    measured.add("start_processor_s", seconds(used.processor));
    measured.add("start_memory_mib", mebibytes(used.resident));
    measured.add("start_peak_mib", mebibytes(used.peak));
    Ok(())
}

fn told(report: &mut Report, measured: &Measured, count: usize, own: bool) {
    let of = |name: &str| measured.of(name);
    let values = |names: &[&'static str]| -> Vec<(&'static str, f64)> {
        names.iter().map(|name| (*name, measured.of(name).median())).collect()
    };
    let large = count >= 1000;
    let limit = count as f64 / 100.0;
    report.note(
        &format!("{count} resources created at once → all policies visible"),
        match own {
            true => format!("{:.2} s; a bare client: {:.2} s", of("policies_s"), of("floor_policies_s")),
            false => format!("{:.2} s", of("policies_s")),
        },
        if large { "10 s" } else { "1 s" },
        Some(of("policies_s").median() <= limit),
        &values(&["created_s", "policies_s", "floor_policies_s"]),
    );
    if own {
        report.note(
            &format!("{count} resources created at once → everything written"),
            format!(
                "{:.2} s; {:.2} times the floor of {:.2} s; {:.1} writes each; {:.2} s of processor",
                of("everything_s"),
                of("floor_ratio"),
                of("floor_s"),
                of("writes_each"),
                of("processor_s")
            ),
            "1.3 times the floor",
            Some(of("floor_ratio").median() <= 1.3),
            &values(&["everything_s", "floor_s", "floor_ratio", "writes_each", "processor_s"]),
        );
    }
    let (writes, reads, questions) = (of("writes_a_minute"), of("reads_a_minute"), of("questions_a_minute"));
    report.note(
        &format!("{count} resources, a quiet minute at TTL {TTL} s: writes / reads / DNS questions"),
        format!("{writes:.0} / {reads:.0} / {questions:.0}"),
        "0 / 0 / 800",
        Some(writes.percentile(100) < 0.5 && reads.percentile(100) < 0.5 && questions.median() <= 800.0),
        &values(&["writes_a_minute", "reads_a_minute", "questions_a_minute"]),
    );
    let (memory, share) = (of("memory_mib"), of("processor_percent"));
    let (most_memory, most_share) = if large { (60.0, 1.0) } else { (25.0, 0.3) };
    report.note(
        &format!("{count} resources, the same: memory / processor"),
        format!(
            "{memory:.1} MiB, {:.1} of it its own, {:.1} at most / {share:.2} %",
            of("own_memory_mib"),
            of("peak_memory_mib")
        ),
        if large { "60 MiB / 1 %" } else { "25 MiB / 0.3 %" },
        Some(memory.median() <= most_memory && share.median() <= most_share),
        &values(&["memory_mib", "own_memory_mib", "peak_memory_mib", "processor_percent"]),
    );
    if !own {
        return;
    }
    report.note(
        &format!("list changed → policies of {count} resources of one customer updated"),
        format!(
            "{:.2} s, {:.2} policy writes each; ConfigMaps after {:.2} s; a bare client applies the policies in {:.2} s",
            of("new_list_s"),
            of("new_list_policy_writes_each"),
            of("new_list_config_maps_s"),
            of("floor_applied_s")
        ),
        "10 s for 1,000; one write each",
        Some(of("new_list_s").median() <= 10.0 && of("new_list_policy_writes_each").median() < 1.005),
        &values(&["new_list_s", "new_list_policy_writes_each", "new_list_config_maps_s", "floor_applied_s"]),
    );
    report.note(
        &format!("start → ready with {count} resources, all policies in place; writes and requests in the 15 s after"),
        format!(
            "{:.2} s; {:.0} writes ({:.0} of policies), {:.0} requests; {:.2} s of processor, {:.1} MiB, {:.1} at most",
            of("start_s"),
            of("start_writes"),
            of("start_policy_writes"),
            of("start_requests"),
            of("start_processor_s"),
            of("start_memory_mib"),
            of("start_peak_mib"),
        ),
        "3 s; 0 writes, 0 requests",
        Some(of("start_s").median() <= 3.0 && of("start_writes").median() < 0.5 && of("start_requests").median() < 0.5),
        &values(&[
            "start_s",
            "start_writes",
            "start_policy_writes",
            "start_requests",
            "start_processor_s",
            "start_memory_mib",
            "start_peak_mib",
        ]),
    );
}
