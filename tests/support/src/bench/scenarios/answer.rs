//! A new answer of DNS until the policy says it.

use super::single::policy_after;
use super::{LIMIT, POLICY};
use crate::bench::figures::{Report, Sample};
use crate::bench::list;
use crate::bench::stage::Stage;
use crate::fixture;
use anyhow::Context as _;
use std::time::Instant;

/// Changes one name's answer `runs` times, on a server that notes when it was asked. On a stage of its own: a policy of
/// each resource over that name follows.
///
/// # Errors
/// Where the policy does not follow.
pub async fn answer(stage: &Stage, report: &mut Report, runs: usize) -> anyhow::Result<()> {
    stage.namespace("answer").await?;
    for (name, addresses) in list::records() {
        stage.scripted.set_addresses(&name, &addresses, 3600);
    }
    let name = list::names().into_iter().next().context("a name")?;
    let addresses = fixture::pool(&name, runs + 1);
    stage.scripted.set_addresses(&name, &addresses[..1], 1);
    let operator = stage.operator_asking(stage.scripted.addr()).await?;
    policy_after(stage, "answer", "one", "benchcust").await?;
    let policy = stage.candidate.policy_of("one");
    let mut sample = Sample::default();
    for run in 0..runs {
        stage.scripted.clear_questions();
        let changed = Instant::now();
        stage.scripted.set_addresses(&name, &addresses[..run + 2], 1);
        let newer =
            |seen: &crate::bench::stage::Seen| seen.last(POLICY, "answer", &policy).is_some_and(|at| at > changed);
        stage.until("the answer", LIMIT, newer).await?;
        let seen = stage.seen.last(POLICY, "answer", &policy).context("seen")?;
        let questions = stage.scripted.questions();
        let of_name = questions.iter().filter(|question| question.name.trim_end_matches('.') == name);
        if let Some(asked) = of_name.map(|question| question.instant).filter(|instant| *instant >= changed).min() {
            sample.add_time(seen.saturating_duration_since(asked));
        }
    }
    drop(operator);
    report.note(
        "new answer of DNS → policy visible",
        sample.times(),
        "100 ms at p99",
        Some(sample.percentile(99) <= 100.0),
        &[("p50_ms", sample.median()), ("p99_ms", sample.percentile(99)), ("runs", sample.count() as f64)],
    );
    Ok(())
}
