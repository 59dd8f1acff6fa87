//! Close to its limit the operator sheds load, and what answers in the vendor's place does not end it.

use crate::common::group::{Filler, Group, LIMIT};
use crate::common::{Stage, eventually, holds};
use citrix_allowlist::crd::REFRESH_ANNOTATION;
use citrix_allowlist::memory::SHED_FROM;
use std::time::Duration;
use test_support::operator::Operator;
use test_support::standin::{Fault, Injection};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An operator in the group.
async fn limited(stage: &Stage, group: &Group) -> Operator {
    Operator::start(&group.around(stage.operator_config())).await.expect("an operator")
}

async fn figure(operator: &Operator, name: &str) -> f64 {
    let name = format!("citrix_allowlist_memory_{name}");
    operator.metric(&name).await.expect("metrics").expect("a figure")
}

async fn becomes(operator: &Operator, name: &str, wanted: impl Fn(f64) -> bool) {
    let found = eventually(PATIENCE, async || wanted(figure(operator, name).await).then_some(())).await;
    assert!(found.is_some(), "{name} is {}", figure(operator, name).await);
}

/// Formerly memory had no bound: one tenant's resource had both replicas killed again and again, and another tenant's change was
/// followed after up to 151 s.
#[tokio::test(flavor = "multi_thread")]
async fn near_the_memory_limit_only_new_resources_wait() {
    let Some(group) = Group::for_test("near_the_memory_limit_only_new_resources_wait") else {
        return;
    };
    let stage = Stage::set().await;
    let operator = limited(&stage, &group).await;
    stage.apply("applied", "{ customerId: testcustomer }").await;
    stage.ready("applied").await;
    becomes(&operator, "limit_bytes", |limit| limit == 268_435_456.0).await;
    assert_eq!(figure(&operator, "short").await, 0.0);

    let filled = LIMIT * (SHED_FROM + 6) / 100;
    let used = figure(&operator, "used_bytes").await;
    let filler = Filler::new(&group, filled - used as u64);
    becomes(&operator, "short", |short| short == 1.0).await;
    stage.apply("new", "{ customerId: testcustomer }").await;
    let message = stage.reason("new", "Ready", "WaitingForMemory").await;
    assert!(
        message.starts_with("the first policy waits: the operator is close to its memory limit of 256 MiB"),
        "{message}"
    );
    assert_eq!(stage.status("new").await.problems.len(), 1, "and a problem says so");
    let address = "20.99.1.1".parse().expect("an address");
    stage.dns.set_addresses("testcustomer.xendesktop.net", &[address], 5);
    let policies = stage.watch_policies().await;
    policies.until("another's change is followed", |policies| holds(&policies["applied-egress"], address)).await;
    assert!(!policies.now().contains_key("new-egress"));
    assert!(operator.log().contains("close to the memory limit"), "it is logged");

    drop(filler);
    stage.ready("new").await;
    assert_eq!(figure(&operator, "short").await, 0.0);
}

/// Formerly 8,196 bytes of gzip took 436 MiB, and a list of 90,000 names 494 MiB: in a cgroup of 256 MiB the operator was killed a
/// second or two after each fetch.
#[tokio::test(flavor = "multi_thread")]
async fn what_answers_in_the_vendors_place_ends_nothing() {
    let Some(group) = Group::for_test("what_answers_in_the_vendors_place_ends_nothing") else { return };
    let stage = Stage::set().await;
    let mut operator = limited(&stage, &group).await;
    stage.apply("applied", "{ customerId: testcustomer }").await;
    stage.ready("applied").await;
    let process = operator.process().program_id().expect("it runs");

    let mut bomb = "{\"services\":[".to_owned();
    while bomb.len() < (4 << 20) - 64 {
        bomb.push_str("{\"a\":{\"\":0}},");
    }
    bomb.push_str("{}]}");
    let names: Vec<String> = (0..90_000).map(|number| format!("n{number}.example.com")).collect();
    let service = serde_json::json!({ "name": "S", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": names }] });
    let names = serde_json::json!({ "services": [service] }).to_string();
    for (token, body, why) in [("1", bomb, "16 MiB of memory"), ("2", names, "10000 names")] {
        stage.standin.clear_faults();
        let content_type = "application/json".to_owned();
        stage.standin.inject(Injection::always(Fault::Answer { status: 200, content_type, body }));
        stage.annotate("applied", REFRESH_ANNOTATION, token).await;
        stage.says("applied", "FeedCurrent", why).await;
        assert_eq!(operator.process().program_id().expect("it runs"), process);
    }
    if let Some(peak) = group.peak() {
        println!("at most {} MiB", peak >> 20);
        assert!(peak < LIMIT / 2, "at most {} MiB", peak >> 20);
    }
    stage.ready("applied").await;
}
