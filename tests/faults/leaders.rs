//! Two and three replicas whose leader leaves, dies, or sleeps.

use super::common::eventually;
use super::matrix::Row;
use super::trial::{Closed, Trial, seconds};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use std::time::{Duration, Instant};
use test_support::fault_proxy::FaultProxy;
use test_support::operator::Operator;

/// Several replicas, the first of which leads, each by a way of its own so that its requests can be told apart.
async fn replicas(count: usize) -> (Trial, Vec<FaultProxy>) {
    let mut trial = Trial::bare().await;
    let mut ways = Vec::new();
    for index in 0..count {
        let way = FaultProxy::start(trial.cluster.kubeconfig_path()).await.expect("a proxy");
        let config = trial.replica_by(&format!("replica-{index}"), &way);
        let operator = Operator::start(&config).await.expect("a replica");
        if index == 0 {
            let leads = eventually(Duration::from_secs(10), async || leads(&operator).await.then_some(()));
            leads.await.expect("the first leads");
        }
        trial.operators.push(operator);
        ways.push(way);
    }
    trial.create().await;
    trial.right(Duration::from_secs(30)).await;
    trial.recorder.may_be_absent(false);
    for (operator, way) in trial.operators.iter().zip(&ways).skip(1) {
        assert!(!leads(operator).await, "one leads");
        operator.get("/readyz").await.expect("a standby is ready");
        let written = way.requests().iter().filter(|passed| passed.asked.is_write()).count();
        assert_eq!(written, 0, "a standby writes nothing");
    }
    (trial, ways)
}

async fn leads(operator: &Operator) -> bool {
    operator.metric("citrix_allowlist_leader").await.ok().flatten() == Some(1.0)
}

async fn holder(trial: &Trial) -> Option<String> {
    let leases = Api::<Lease>::namespaced(trial.client.clone(), trial.namespace.name());
    leases.get_opt("citrix-allowlist-operator").await.ok()??.spec?.holder_identity
}

/// Waits until another replica holds the Lease.
async fn handed_over(trial: &Trial, from: &str, within: Duration) -> Duration {
    let started = Instant::now();
    let taken =
        eventually(within, async || holder(trial).await.filter(|holder| !holder.is_empty() && holder != from)).await;
    assert!(taken.is_some(), "nobody took over within {within:?}\n{}", trial.logs());
    started.elapsed()
}

/// No two wrote in the same term: the vendor is asked by the leader alone.
fn requests_are_the_leaders(trial: &Trial, before: usize) -> usize {
    trial.world.standin.requests().len() - before
}

pub async fn leader_leaves(row: &Row) -> Closed {
    let (mut trial, _ways) = replicas(2).await;
    trial.fault();
    let from = holder(&trial).await.expect("a holder");
    let fetched = trial.world.standin.requests().len();
    let mut leader = trial.operators.remove(0);
    leader.process().signal("TERM").expect("sent");
    let took = handed_over(&trial, &from, Duration::from_secs(5)).await;
    println!("hand-over on SIGTERM: {took:?}");
    assert!(took < Duration::from_secs(1), "hand-over took {took:?}");
    assert!(leader.process().wait(Duration::from_secs(10)).await.expect("it leaves").success());
    assert_eq!(requests_are_the_leaders(&trial, fetched), 0, "the saved list is enough for a new leader");
    trial.advance().await;
    trial.close(row).await
}

pub async fn leader_dies(row: &Row) -> Closed {
    let (mut trial, _ways) = replicas(2).await;
    trial.fault();
    let from = holder(&trial).await.expect("a holder");
    trial.operators.remove(0).process().signal("KILL").expect("sent");
    trial.advance().await;
    let took = handed_over(&trial, &from, Duration::from_secs(25)).await;
    println!("taken over after {took:?}");
    trial.close(row).await
}

pub async fn leader_sleeps(row: &Row) -> Closed {
    let (mut trial, ways) = replicas(3).await;
    trial.fault();
    let from = holder(&trial).await.expect("a holder");
    trial.operators[0].process().signal("STOP").expect("sent");
    trial.advance().await;
    handed_over(&trial, &from, Duration::from_secs(25)).await;
    trial.right(Duration::from_secs(20)).await;
    let woken = Instant::now();
    trial.operators[0].process().signal("CONT").expect("sent");
    trial.advance().await;
    seconds(5).await;
    let written: Vec<_> = ways[0]
        .since(woken)
        .into_iter()
        .filter(|passed| {
            passed.asked.is_write()
                && passed.asked.resource != "leases"
                && passed.status.is_some_and(|status| status < 300)
        })
        .collect();
    assert!(written.is_empty(), "a leader that slept through its lease wrote: {written:?}");
    assert!(!leads(&trial.operators[0]).await);
    trial.close(row).await
}
