//! Verbs that are missing from the operator's roles: taken out of them, and given back.

use super::common::eventually;
use super::matrix::Row;
use super::trial::{Closed, Trial, seconds};
use std::time::Duration;
use test_support::operator::Operator;

/// A resource and a verb on it.
type Right = (&'static str, &'static str);

/// Takes rights away from a running operator, sees what is said, and gives them back.
async fn refused(row: &Row, taken: &[Right], named: &str) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.take_away(taken).await;
    trial.advance().await;
    let message = trial.says("Ready", "False", "ApplyFailed").await;
    assert!(message.contains(named), "{message}");
    seconds(3).await;
    trial.give_back(taken).await;
    trial.close(row).await
}

/// Takes rights away before the operator starts, sees what is said, and gives them back.
async fn refused_at_first(row: &Row, taken: &[Right], named: &str) -> Closed {
    let mut trial = Trial::bare().await;
    trial.fault();
    trial.take_away(taken).await;
    let config = trial.single();
    trial.operators.push(Operator::start(&config).await.expect("an operator"));
    trial.create().await;
    let message = trial.says("Ready", "False", "ApplyFailed").await;
    assert!(message.contains(named), "{message}");
    seconds(2).await;
    trial.give_back(taken).await;
    trial.close(row).await
}

/// Takes away what a watch needs, and breaks the watches off that there are.
async fn unseen(row: &Row, taken: &[Right]) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.take_away(taken).await;
    trial.proxy.cut_watches();
    trial.advance().await;
    let refused = eventually(Duration::from_secs(30), async || {
        let all = taken.iter().all(|(resource, _)| trial.was_refused(resource));
        all.then_some(())
    });
    assert!(refused.await.is_some(), "nothing was refused");
    trial.logged("is forbidden").await;
    seconds(3).await;
    trial.operators[0].get("/livez").await.expect("no restart would help");
    trial.give_back(taken).await;
    trial.close(row).await
}

pub async fn may_not_create(row: &Row) -> Closed {
    refused_at_first(row, &[("networkpolicies", "create")], "cannot create resource \"networkpolicies\"").await
}

pub async fn may_not_own(row: &Row) -> Closed {
    refused_at_first(row, &[("citrixallowlists/finalizers", "update")], "can't set finalizers").await
}

pub async fn may_not_patch(row: &Row) -> Closed {
    refused(row, &[("networkpolicies", "patch")], "cannot patch resource \"networkpolicies\"").await
}

pub async fn may_not_watch(row: &Row) -> Closed {
    let [policies, maps] = ["networkpolicies", "configmaps"];
    unseen(row, &[(policies, "list"), (policies, "watch"), (maps, "list"), (maps, "watch")]).await
}

pub async fn may_not_watch_resources(row: &Row) -> Closed {
    unseen(row, &[("citrixallowlists", "list"), ("citrixallowlists", "watch")]).await
}

pub async fn may_not_patch_status(row: &Row) -> Closed {
    let taken = [("citrixallowlists/status", "patch")];
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.take_away(&taken).await;
    trial.advance().await;
    // Policies follow although nothing can be said of it.
    let followed = eventually(Duration::from_secs(30), async || trial.recorder.is_newest().then_some(()));
    assert!(followed.await.is_some(), "{}", trial.recorder.difference());
    trial.logged("citrixallowlists/status").await;
    trial.give_back(&taken).await;
    trial.close(row).await
}

pub async fn may_not_create_events(row: &Row) -> Closed {
    let taken = [("events", "create"), ("events", "patch")];
    let mut trial = Trial::begin().await;
    trial.fault();
    trial.take_away(&taken).await;
    trial.advance().await;
    trial.right(Duration::from_secs(row.within)).await;
    let reported = eventually(Duration::from_secs(30), async || trial.was_refused("events").then_some(())).await;
    assert!(reported.is_some(), "{}", trial.logs());
    trial.logged("an event could not be published").await;
    let series = "citrix_allowlist_writes_total{kind=\"Event\",verb=\"create\",result=\"refused\"}";
    let failed = trial.operators[0].metric(series).await.expect("metrics");
    assert!(failed.is_some_and(|failed| failed >= 1.0), "{failed:?}");
    trial.give_back(&taken).await;
    trial.close(row).await
}
