//! The first resource, the next ones, and one whose list has to be fetched.

use super::{LIMIT, POLICY};
use crate::bench::figures::{Report, Sample, milliseconds};
use crate::bench::floor::{self, Written};
use crate::bench::stage::Stage;
use anyhow::Context as _;
use std::time::{Duration, Instant};

/// How soon a policy follows its resource.
pub(super) struct Followed {
    /// After the API server was asked to create the resource.
    pub asked: Duration,
    /// After it said that it had.
    pub created: Duration,
}

/// Creates a resource, and waits for its policy.
pub(super) async fn policy_after(
    stage: &Stage,
    namespace: &str,
    name: &str,
    customer: &str,
) -> anyhow::Result<Followed> {
    let asked = stage.create(namespace, name, customer).await?;
    let created = Instant::now();
    let policy = stage.candidate.policy_of(name);
    stage.until(&policy, LIMIT, |seen| seen.first(POLICY, namespace, &policy).is_some()).await?;
    let seen = stage.seen.first(POLICY, namespace, &policy).context("seen")?;
    let after = |moment| seen.saturating_duration_since(moment);
    Ok(Followed { asked: after(asked), created: after(created) })
}

/// Each `runs` times, the first a fifth as often.
///
/// # Errors
/// Where something does not come about.
pub async fn single(stage: &Stage, report: &mut Report, runs: usize) -> anyhow::Result<()> {
    let mut first = Sample::default();
    for run in 0..=runs.div_ceil(5) {
        // A namespace each, and no other resource anywhere: nothing but the list is known when the operator starts.
        let namespace = format!("first-{run}");
        stage.namespace(&namespace).await?;
        let operator = stage.operator().await?;
        let took = policy_after(stage, &namespace, "one", "benchcust").await?;
        // The first of all brings the list.
        if run > 0 {
            first.add_time(took.asked);
        }
        // What is saved is saved after the answer is used.
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(operator);
        remove(stage, &namespace, "one").await?;
    }
    report.note(
        "first resource → policy visible; names asked for the first time, list cached",
        first.times(),
        "60 ms p50",
        Some(first.median() <= 60.0),
        &[("p50_ms", first.median()), ("p99_ms", first.percentile(99)), ("runs", first.count() as f64)],
    );

    let operator = stage.operator().await?;
    stage.namespace("next").await?;
    policy_after(stage, "next", "known", "benchcust").await?;
    let written = Written::policy(&stage.client, "next", &stage.candidate.policy_of("known")).await?;
    let (mut next, mut since_created) = (Sample::default(), Sample::default());
    for run in 0..runs {
        let took = policy_after(stage, "next", &format!("next-{run}"), "benchcust").await?;
        next.add_time(took.asked);
        since_created.add_time(took.created);
    }
    let bare = floor::bare_writes(&stage.client, "next", &written, runs).await?;
    let ratio = |percent| next.percentile(percent) / bare.applied.percentile(percent).max(1e-6);
    report.note(
        "next resource over the same names → policy visible",
        format!(
            "{}, of which p50 {:.1} ms after the resource itself was there; one bare apply of its {} peers: p50 {:.1} \
             ms, p99 {:.1} ms (a bare create: {:.1} and {:.1}); {:.2} and {:.2} times the apply",
            next.times(),
            since_created.median(),
            written.peers(),
            bare.applied.median(),
            bare.applied.percentile(99),
            bare.created.median(),
            bare.created.percentile(99),
            ratio(50),
            ratio(99)
        ),
        "1.5 times one bare apply",
        Some(ratio(50) <= 1.5 && ratio(99) <= 1.5),
        &[
            ("p50_ms", next.median()),
            ("p99_ms", next.percentile(99)),
            ("since_created_p50_ms", since_created.median()),
            ("since_created_p99_ms", since_created.percentile(99)),
            ("bare_apply_p50_ms", bare.applied.median()),
            ("bare_apply_p99_ms", bare.applied.percentile(99)),
            ("bare_create_p50_ms", bare.created.median()),
            ("bare_create_p99_ms", bare.created.percentile(99)),
            ("ratio_p50", ratio(50)),
            ("ratio_p99", ratio(99)),
        ],
    );
    if stage.candidate.own {
        fetched(stage, report, &next, runs).await?;
    }
    drop(operator);
    Ok(())
}

async fn fetched(stage: &Stage, report: &mut Report, next: &Sample, runs: usize) -> anyhow::Result<()> {
    let mut fetched = Sample::default();
    stage.standin.clear_requests();
    for run in 0..runs.div_ceil(4) {
        fetched.add_time(policy_after(stage, "next", &format!("fetched-{run}"), &format!("new{run}")).await?.asked);
    }
    let requests = stage.standin.requests().len() as f64 / fetched.count() as f64;
    let mut trips = Sample::default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    for run in 0..runs.div_ceil(4) {
        let started = Instant::now();
        let url = format!("{}/v2/allowlist?customerId=trip{run}", stage.standin.base_url_global());
        client.get(url).send().await?.error_for_status()?.bytes().await?;
        trips.add(milliseconds(started.elapsed()));
    }
    // Before a request is sent it is noted in a ConfigMap, so that no crash sends more than the vendor allows.
    let notes = floor::small_applies(&stage.client, "next", runs.div_ceil(4)).await?;
    let more = fetched.median() - next.median();
    report.note(
        "next resource of a customer whose list has to be fetched → policy visible",
        format!(
            "{}; {requests:.2} requests each; {more:.1} ms more than without, a round trip to the API is {:.1} ms, and an apply of a small ConfigMap, in \
             which each request is noted before it is sent, {:.1} ms",
            fetched.times(),
            trips.median(),
            notes.median()
        ),
        "one round trip to the API more",
        Some(requests <= 1.0),
        &[
            ("requests_each", requests),
            ("p50_ms", fetched.median()),
            ("more_ms", more),
            ("round_trip_ms", trips.median()),
            ("note_ms", notes.median()),
        ],
    );
    Ok(())
}

/// Deletes a resource and its policy, which no operator is there to prune.
async fn remove(stage: &Stage, namespace: &str, name: &str) -> anyhow::Result<()> {
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use kube::api::{Api, DeleteParams, Patch, PatchParams};
    let resources = stage.resources(namespace);
    if resources.delete(name, &DeleteParams::default()).await?.is_left() {
        // It is kept for finalizers, whose operator does not run.
        let released = serde_json::json!({ "metadata": { "finalizers": null } });
        resources.patch(name, &PatchParams::default(), &Patch::Merge(released)).await?;
    }
    let policies: Api<NetworkPolicy> = Api::namespaced(stage.client.clone(), namespace);
    match policies.delete(&stage.candidate.policy_of(name), &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
