//! Answers of the API server that are late, wrong or missing.

use super::common::eventually;
use super::matrix::Row;
use super::trial::{Closed, RESOURCE, Trial, seconds};
use std::time::{Duration, Instant};
use test_support::fault_proxy::{ApiFault, Verb, Which};

const POLICIES: &str = "networkpolicies";
const STATUS: &str = "citrixallowlists/status";

/// Puts a fault on for some seconds in which the list moves on.
async fn through(row: &Row, which: Which, fault: ApiFault, lasting: u64) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.proxy.inject(which, fault);
    trial.proxy.cut_watches();
    trial.advance().await;
    seconds(lasting).await;
    trial.operators[0].get("/livez").await.expect("no restart would help");
    trial.proxy.heal();
    trial.close(row).await
}

pub async fn server_errors(row: &Row) -> Closed {
    through(row, Which::all(), ApiFault::status(500, "InternalError", "it hurts"), 5).await
}

pub async fn too_many_requests(row: &Row) -> Closed {
    let fault = ApiFault::Status {
        code: 429,
        reason: "TooManyRequests".to_owned(),
        message: "the server has received too many requests and has asked us to try again later".to_owned(),
        retry_after: Some(1),
    };
    through(row, Which::all(), fault, 5).await
}

pub async fn token_expired(row: &Row) -> Closed {
    through(row, Which::all(), ApiFault::status(401, "Unauthorized", "Unauthorized"), 5).await
}

pub async fn slow(row: &Row) -> Closed {
    through(row, Which::all(), ApiFault::Late(Duration::from_millis(1500)), 8).await
}

pub async fn silent(row: &Row) -> Closed {
    through(row, Which::all(), ApiFault::Hang, 10).await
}

pub async fn watches_gone(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.proxy.inject_times(12, Which::of(&[Verb::Watch], &[]), ApiFault::GoneEvent);
    trial.proxy.inject_times(12, Which::of(&[Verb::Watch], &[]), ApiFault::status(410, "Expired", "too old"));
    trial.proxy.cut_watches();
    trial.advance().await;
    seconds(5).await;
    trial.proxy.heal();
    trial.close(row).await
}

pub async fn watches_cut(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    for _ in 0..3 {
        trial.proxy.cut_watches();
        trial.advance().await;
        // A deletion that no watch shows.
        trial.recorder.may_be_absent(true);
        let policies = trial.policies();
        // On a busy machine the one before may not be written again yet.
        let name = format!("{RESOURCE}-egress");
        let deleted = async || policies.delete(&name, &Default::default()).await.ok();
        eventually(Duration::from_secs(20), deleted).await.expect("deleted");
        seconds(1).await;
    }
    trial.right(Duration::from_secs(20)).await;
    trial.recorder.may_be_absent(false);
    trial.close(row).await
}

pub async fn conflicts(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    let before = trial.condition_now("Ready").await.expect("Ready");
    trial.fault();
    let conflict = ApiFault::status(409, "Conflict", "the object has been modified");
    trial.proxy.inject_times(3, Which::of(&[Verb::Patch], &[POLICIES]), conflict.clone());
    trial.proxy.inject_times(2, Which::of(&[Verb::Patch], &[STATUS]), conflict);
    trial.advance().await;
    trial.right(Duration::from_secs(row.within)).await;
    let after = trial.condition_now("Ready").await.expect("Ready");
    assert_eq!(after.last_transition_time, before.last_transition_time, "a conflict is no failure to tell of");
    trial.close(row).await
}

pub async fn answer_lost(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.proxy.inject_times(1, Which::of(&[Verb::Patch], &[POLICIES]), ApiFault::Unanswered);
    trial.proxy.inject_times(1, Which::of(&[Verb::Patch], &[STATUS]), ApiFault::Unanswered);
    trial.advance().await;
    seconds(1).await;
    trial.close(row).await
}

/// Refuses some writes, sees what is said, and lets them through again.
async fn refused(row: &Row, which: Which, fault: ApiFault, named: &str) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.proxy.inject(which, fault);
    trial.advance().await;
    let message = trial.says("Ready", "False", "ApplyFailed").await;
    assert!(message.contains(named), "{message}");
    seconds(3).await;
    trial.proxy.heal();
    trial.close(row).await
}

pub async fn too_large(row: &Row) -> Closed {
    let fault = ApiFault::status(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728");
    refused(row, Which::of(&[Verb::Patch], &[POLICIES]), fault, "too large").await
}

pub async fn term_in_a_write(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.proxy.inject(Which::of(&[Verb::Patch], &[POLICIES]), ApiFault::Late(Duration::from_secs(2)));
    trial.advance().await;
    let begun = Instant::now();
    let in_flight = eventually(Duration::from_secs(10), async || {
        trial.proxy.since(begun).iter().any(|passed| passed.asked.resource == POLICIES && passed.faulted).then_some(())
    });
    in_flight.await.expect("a write in flight");
    let mut operator = trial.operators.remove(0);
    let asked = Instant::now();
    operator.process().signal("TERM").expect("sent");
    let status = operator.process().wait(Duration::from_secs(10)).await.expect("it leaves in time");
    println!("left {:?} after SIGTERM: {status}", asked.elapsed());
    assert!(status.success(), "{status}\n{}", operator.log());
    assert!(!operator.log().contains("did not end in time"), "{}", operator.log());
    let in_flight =
        trial.proxy.since(begun).into_iter().find(|passed| passed.asked.resource == POLICIES && passed.faulted);
    assert_eq!(in_flight.and_then(|passed| passed.status), Some(200), "the write in flight was finished");
    let since = Instant::now();
    seconds(1).await;
    assert_eq!(trial.proxy.since(since).len(), 0, "nothing outlives it");
    trial.proxy.heal();
    let config = trial.single();
    trial.operators.push(test_support::operator::Operator::start(&config).await.expect("an operator"));
    trial.close(row).await
}
