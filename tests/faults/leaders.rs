//! Two and three replicas whose leader leaves, dies, or sleeps.

use super::common::eventually;
use super::matrix::Row;
use super::trial::{Closed, RESOURCE, Trial, seconds};
use citrix_allowlist::reason::Reason;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use test_support::dns::Behaviour;
use test_support::fault_proxy::{ApiFault, FaultProxy, Verb, Which};
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::Fault;
use test_support::stepped_clock::SteppedClock;

/// Several replicas, the first of which leads, each by a way of its own so that its requests can be told apart.
async fn replicas(count: usize) -> Trial {
    replicas_as(count, |_, config| config).await
}

/// As [`replicas`], each started with what `adjust` makes of its configuration.
async fn replicas_as(count: usize, adjust: impl Fn(usize, OperatorConfig) -> OperatorConfig) -> Trial {
    replicas_on(Trial::bare().await, count, adjust).await
}

/// As [`replicas_as`], in a trial that has none yet.
pub async fn replicas_on(
    mut trial: Trial,
    count: usize,
    adjust: impl Fn(usize, OperatorConfig) -> OperatorConfig,
) -> Trial {
    for index in 0..count {
        let way = FaultProxy::start(trial.rights.kubeconfig()).await.expect("a proxy");
        let config = adjust(index, trial.replica_by(&format!("replica-{index}"), &way));
        let operator = Operator::start(&config).await.expect("a replica");
        if index == 0 {
            let leads = eventually(Duration::from_secs(30), async || leads(&operator).await.then_some(()));
            leads.await.expect("the first leads");
        }
        trial.operators.push(operator);
        trial.ways.push(way);
    }
    trial.create().await;
    trial.right(Duration::from_secs(30)).await;
    trial.recorder.may_be_absent(false);
    for (operator, way) in trial.operators.iter().zip(&trial.ways).skip(1) {
        assert!(!leads(operator).await, "one leads");
        operator.get("/readyz").await.expect("a standby is ready");
        let written = way.requests().iter().filter(|passed| passed.asked.is_write()).count();
        assert_eq!(written, 0, "a standby writes nothing");
    }
    trial
}

async fn leads(operator: &Operator) -> bool {
    operator.metric("citrix_allowlist_leader").await.ok().flatten() == Some(1.0)
}

pub async fn holder(trial: &Trial) -> Option<String> {
    let leases = Api::<Lease>::namespaced(trial.client.clone(), trial.namespace.name());
    leases.get_opt("citrix-allowlist-operator").await.ok()??.spec?.holder_identity
}

/// Waits until another replica holds the Lease.
pub async fn handed_over(trial: &Trial, from: &str, within: Duration) -> Duration {
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
    let mut trial = replicas(2).await;
    trial.fault();
    let from = holder(&trial).await.expect("a holder");
    let fetched = trial.world.standin.requests().len();
    let mut leader = trial.operators.remove(0);
    leader.process().signal("TERM").expect("sent");
    let took = handed_over(&trial, &from, Duration::from_secs(5)).await;
    // It is handed over, and not left to expire: a Lease holds for fifteen seconds.
    println!("hand-over on SIGTERM: {took:?}");
    assert!(leader.process().wait(Duration::from_secs(10)).await.expect("it leaves").success());
    assert_eq!(requests_are_the_leaders(&trial, fetched), 0, "the saved list is enough for a new leader");
    trial.advance().await;
    trial.close(row).await
}

pub async fn leader_dies(row: &Row) -> Closed {
    let mut trial = replicas(2).await;
    trial.fault();
    let from = holder(&trial).await.expect("a holder");
    trial.operators.remove(0).process().signal("KILL").expect("sent");
    trial.advance().await;
    let took = handed_over(&trial, &from, Duration::from_secs(25)).await;
    println!("taken over after {took:?}");
    trial.close(row).await
}

pub async fn list_not_saved(row: &Row) -> Closed {
    let mut trial = replicas(2).await;
    trial.fault();
    let lists = Which::of(&[Verb::Patch], &["configmaps"]).named("citrix-allowlist-feed-global");
    let denied = ApiFault::status(403, "Forbidden", "denied by a policy of the cluster");
    trial.ways.iter().for_each(|way| way.inject(lists.clone(), denied.clone()));
    let from = holder(&trial).await.expect("a holder");
    trial.advance().await;
    trial.right(Duration::from_secs(20)).await;
    // The vendor is away as well: the successor knows the older list alone.
    trial.world.standin.fail(Fault::status(503));
    trial.operators.remove(0).process().signal("KILL").expect("sent");
    handed_over(&trial, &from, Duration::from_secs(25)).await;
    let says_so = eventually(Duration::from_secs(20), async || {
        let message = trial.condition_now("FeedCurrent").await?.message;
        message.contains("could not be saved").then_some(())
    });
    assert!(says_so.await.is_some(), "{:?}\n{}", trial.condition_now("FeedCurrent").await, trial.logs());
    seconds(3).await;
    assert!(trial.recorder.is_newest(), "what was applied stays: {}", trial.recorder.difference());
    trial.ways.iter().for_each(FaultProxy::heal);
    trial.world.standin.clear_faults();
    trial.ask().await;
    trial.close(row).await
}

pub async fn leader_sleeps(row: &Row) -> Closed {
    let mut trial = replicas(3).await;
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
    let written: Vec<_> = trial.ways[0]
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

/// How far a clock jumps, in seconds: a day.
const JUMP: i64 = 24 * 3600;

pub async fn clock_jumps(row: &Row) -> Closed {
    let clocks = [SteppedClock::new().expect("a clock"), SteppedClock::new().expect("a clock")];
    let mut trial = replicas_as(2, |index, config| {
        clocks[index].environment().into_iter().fold(config, |config, (name, value)| config.variable(name, value))
    })
    .await;
    // Lists are asked for every three seconds, so that a schedule that stands still shows, and one that runs wild.
    refresh_within(&trial, "3s").await;
    trial.fault();
    let from = holder(&trial).await.expect("a holder");
    for (of_leader, of_standby) in [(JUMP, 0), (-JUMP, 0), (0, JUMP), (0, -JUMP), (0, 0)] {
        let (since, fetched) = (Instant::now(), trial.world.standin.requests().len());
        clocks[0].set(of_leader).expect("set");
        clocks[1].set(of_standby).expect("set");
        // The list moves on and nobody asks for it: the schedule alone has to find that.
        trial.world.advance(&trial.recorder);
        trial.right(Duration::from_secs(30)).await;
        let fetched = trial.world.standin.requests().len() - fetched;
        let most = since.elapsed().as_secs() + 2;
        assert!(fetched as u64 <= most, "{fetched} fetches in {:?}, one a second at most", since.elapsed());
        let ahead = fetched_at(&trial).await.duration_since(Timestamp::now()).as_secs() - of_leader;
        assert!(ahead.abs() < 60, "the leader goes by the clock that was set, but for {ahead} s");
        // A name that fails meanwhile keeps what it had, however old the wall clock makes it.
        trial.world.dns.set("steady.example.com", Behaviour::servfail());
        seconds(3).await;
        assert!(trial.recorder.is_newest(), "{}", trial.recorder.difference());
        assert_eq!(holder(&trial).await.as_deref(), Some(&*from), "who leads, leads on");
    }
    assert!(trial.began.elapsed() > Duration::from_secs(15), "longer than a Lease lasts");
    refresh_within(&trial, "24h").await;
    trial.advance().await;
    trial.close(row).await
}

async fn refresh_within(trial: &Trial, longest: &str) {
    let spec = Patch::Merge(json!({ "spec": { "refresh": { "maxInterval": longest } } }));
    trial.resources().patch(RESOURCE, &PatchParams::default(), &spec).await.expect("edited");
}

/// When the list in use was fetched, as status says.
async fn fetched_at(trial: &Trial) -> Timestamp {
    let resource = trial.resources().get(RESOURCE).await.expect("the resource");
    let feed = resource.status.and_then(|status| status.feed).expect("a list");
    feed.fetched_at.and_then(|at| at.parse().ok()).expect("a time")
}

/// Two that both lead, and do not agree on one address: as two releases would, whose guards differ. What both allow stays.
pub async fn two_lead(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    let disputed: Ipv4Addr = "20.64.0.11".parse().expect("an address");
    let agreed = trial.world.openings().into_iter().filter(|(address, _)| *address != disputed).collect();
    trial.recorder.publish(agreed);
    trial.recorder.publish(trial.world.openings());
    trial.fault();
    let second = Operator::start(&trial.single().flag("deny-cidr", format!("{disputed}/32"))).await.expect("a second");
    let message = trial.says("Ready", "False", Reason::Conflict.as_str()).await;
    assert!(message.contains("most likely a second operator"), "{message}");
    seconds(5).await;
    drop(second);
    // It is looked at again after the pause; a person who has stopped the second need not wait.
    trial.ask().await;
    trial.close(row).await
}
