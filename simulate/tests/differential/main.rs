//! The model API server against the real one: the same random sequences of requests to both, answers and watch events compared
//! whole. A failing sequence is shrunk and printed.
//!
//! `SIMULATE_SEED` chooses the sequences, `new` fresh ones; `SIMULATE_SEQUENCES` how many (200), and `SIMULATE_SHOW` how many failing
//! ones are shrunk and printed (1).

mod bodies;
mod cases;
mod compare;
mod controllers;
mod side;
mod steps;

use compare::{comparable, parts};
use fastrand::Rng;
use futures::StreamExt as _;
use kube::Client;
use serde_json::Value;
use side::{Answer, Side};
use simulate::api::{ApiServer, Kinds};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use steps::{Resource, Step, sequence};
use test_support::ControlPlane;

/// The seed of `make test`: one run is as good as the one before. Fresh ones find rare differences.
const SEED: u64 = 12;
/// Steps of a sequence.
const LENGTH: usize = 20;
/// The most differing parts that are printed of one answer.
const PARTS: usize = 12;
/// Sequences at a time.
const AT_A_TIME: usize = 8;

fn definitions() -> Vec<Value> {
    let text = include_str!("../../../crds/citrixallowlists.yaml");
    vec![serde_saphyr::from_str(text).expect("YAML")]
}

/// The model's user, who may do everything as the real one's.
const MODEL_ACCOUNT: &str = "admin";

fn model_with(namespace: &str) -> ApiServer {
    let server = ApiServer::new(Kinds::new(&definitions()), Arc::new(jiff::Timestamp::now), 1);
    server.add_namespace(namespace).expect("a namespace");
    server
}

/// All answers of a server to a sequence, then the events of its watches.
async fn answers(client: Client, namespace: &str, steps: &[Step]) -> anyhow::Result<Vec<Answer>> {
    let mut side = Side::new(client, namespace);
    let start = side.version().await?;
    let mut answers = Vec::new();
    for step in steps {
        answers.push(side.send(step).await?);
    }
    let resources: BTreeSet<&str> = steps.iter().map(|step| step.resource.plural).collect();
    let resources: Vec<&Resource> = steps::RESOURCES.iter().filter(|known| resources.contains(known.plural)).collect();
    for resource in resources {
        side.finish(resource).await?;
        for selector in ["", "app%3Dx"] {
            answers.extend(side.events(resource, &start, selector).await?);
        }
    }
    Ok(comparable(&answers, namespace))
}

/// Where the servers differ; `None` where they do not.
async fn difference(real: &ControlPlane, steps: &[Step]) -> anyhow::Result<Option<String>> {
    let client = real.client().await?;
    let namespace = real.fresh_namespace("differential").await?;
    let of_model = answers(model_with(&namespace).client(MODEL_ACCOUNT, &namespace), &namespace, steps).await?;
    let of_real = answers(client, &namespace, steps).await?;
    if of_model == of_real {
        return Ok(None);
    }
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        let code = |answers: &[Answer]| answers.get(at).map_or(0, |answer| answer.code);
        writeln!(text, "{at:>3}  {step} -> {} / {}", code(&of_real), code(&of_model))?;
    }
    let first = of_model.iter().zip(&of_real).position(|(model, real)| model != real);
    let at = first.unwrap_or(of_model.len().min(of_real.len()));
    writeln!(text, "answer {at} (after {} steps come watch events) differs:", steps.len())?;
    let body = |answers: &[Answer]| answers.get(at).map(|answer| answer.body.clone()).unwrap_or_default();
    for part in parts(&body(&of_real), &body(&of_model), "").iter().take(PARTS) {
        writeln!(text, "  {part}")?;
    }
    Ok(Some(text))
}

/// Drops steps for as long as the servers still differ.
async fn shrunk(real: &ControlPlane, mut steps: Vec<Step>, mut found: String) -> anyhow::Result<String> {
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Some(still) = difference(real, &fewer).await? {
            (steps, found) = (fewer, still);
        }
    }
    Ok(found)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Watches of a definition's resources show nothing older than the first request for them: it is made here.
async fn warm_up(real: &ControlPlane) -> anyhow::Result<()> {
    let namespace = real.fresh_namespace("warm").await?;
    let side = Side::new(real.client().await?, &namespace);
    for resource in &steps::RESOURCES {
        side.finish(resource).await?;
        side.events(resource, "0", "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn requests_are_answered_alike() {
    let real = ControlPlane::builder().without_controller_manager().workspace_definitions().expect("definitions");
    let real = real.start().await.expect("a control plane");
    warm_up(&real).await.expect("every resource");
    let differences = cases::differences(&real).await.expect("both servers answer");
    assert!(differences.is_empty(), "the servers differ\n{}", differences.join("\n"));
    let is_new = std::env::var("SIMULATE_SEED").is_ok_and(|seed| seed == "new");
    let seed = if is_new { fastrand::u64(..1_000_000) } else { number("SIMULATE_SEED").unwrap_or(SEED) };
    let count = number("SIMULATE_SEQUENCES").unwrap_or(200);
    println!("SIMULATE_SEED={seed} SIMULATE_SEQUENCES={count}");
    let run = |number: u64| {
        let real = &real;
        async move {
            let steps = sequence(&mut Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number)), LENGTH);
            let found = difference(real, &steps).await.expect("both servers answer");
            found.map(|found| (steps, found))
        }
    };
    let mut results = futures::stream::iter(0..count).map(run).buffer_unordered(AT_A_TIME);
    let most = number("SIMULATE_SHOW").unwrap_or(1);
    let mut failures = Vec::new();
    while let Some(result) = results.next().await {
        if let Some((steps, found)) = result {
            failures.push(shrunk(&real, steps, found).await.expect("both servers answer"));
            if failures.len() as u64 >= most {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "SIMULATE_SEED={seed}: the servers differ\n{}", failures.join("\n"));
}

#[tokio::test]
async fn controllers_leave_the_same_objects() {
    let real = ControlPlane::builder().workspace_definitions().expect("definitions");
    let real = real.start().await.expect("a control plane");
    let found = controllers::difference(&real).await.expect("both servers answer");
    assert_eq!(found, None);
}
