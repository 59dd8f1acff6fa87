//! The operator dies and comes back: the cluster is its memory, and only what is its own in there is believed.

mod common;

use common::watched::generations;
use common::{Stage, cidrs, holds};
use ipnet::IpNet;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::dns::Behaviour;
use test_support::fixture;
use test_support::operator::Operator;
use test_support::standin::{StandinConfig, Validity};

const POLICY: &str = "daas-us-egress";

/// Ends an operator as the loss of its machine would: nothing is finished, nothing said.
async fn kill(mut operator: Operator) {
    operator.process().signal("KILL").expect("it runs");
    operator.process().wait(Duration::from_secs(60)).await.expect("it is dead");
}

/// A list that is valid for an hour, so that nothing is due while a test lasts.
fn valid() -> StandinConfig {
    StandinConfig { validity: Validity::Rolling(Duration::from_secs(3600)), ..StandinConfig::unlimited() }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_within_a_rotation_with_dns_down_it_drops_nothing() {
    let stage = Stage::with(valid()).await;
    let name = "accounts.cloud.com";
    let pool = fixture::pool(name, 16);
    stage.dns.set(name, Behaviour::rotating(&pool, 4, 1));
    let config = stage.operator_config().flag("dns-min-ttl", "1s");
    let operator = Operator::start(&config).await.expect("an operator");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let seen = |policy: &_| pool.iter().filter(|address| holds(policy, **address)).count();
    policies.until("half of the rotation", |now| seen(&now[POLICY]) >= 8).await;
    stage.dns.set_silent(true);
    kill(operator).await;
    // What it had sent when it died may still be arriving.
    let before = policies.now();
    assert_eq!(before.len(), 2);

    let _again = Operator::start(&config).await.expect("an operator");
    stage.dns.clear_questions();
    stage.reason("daas-us", "NamesResolved", "Unresolved").await;
    assert!(!stage.dns.questions().is_empty(), "it asks");
    assert_eq!(generations(&policies.now()), generations(&before), "a generation tells every change of a policy");
    assert_eq!(policies.now()[POLICY].spec, before[POLICY].spec);

    // DNS is back: what is left of the rotation is added, and nothing of before is dropped for it.
    stage.dns.set_silent(false);
    let all = |policy: &_| seen(policy) == pool.len();
    policies.until("the whole rotation", |now| all(&now[POLICY])).await;
    let lost: Vec<IpNet> = cidrs(&before[POLICY])
        .into_iter()
        .filter(|network| {
            !holds(&policies.now()[POLICY], network.network()) || !holds(&policies.now()[POLICY], network.broadcast())
        })
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_while_it_was_down_is_gone_when_it_is_back() {
    let stage = Stage::with(valid()).await;
    let operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let before = policies.now()[POLICY].clone();
    kill(operator).await;

    let everything = json!({ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] });
    let foreign =
        json!({ "to": [{ "ipBlock": { "cidr": "8.8.8.8/32" } }], "ports": [{ "port": 443, "protocol": "TCP" }] });
    let mut rules = serde_json::to_value(before.spec.clone().and_then(|spec| spec.egress)).expect("JSON");
    rules.as_array_mut().expect("rules").extend([everything, foreign]);
    // And one among the peers of a rule that is there already.
    let peers = rules.as_array_mut().and_then(|rules| rules[4]["to"].as_array_mut()).expect("peers");
    peers.push(json!({ "ipBlock": { "cidr": "9.9.9.9/32" } }));
    let stranger = PatchParams { field_manager: Some("somebody-else".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "spec": { "egress": rules } }));
    let edited = stage.policies().patch(POLICY, &stranger, &patch).await.expect("patched");
    let open: IpAddr = "1.2.3.4".parse().expect("an address");
    assert!(holds(&edited, open));
    // The map that attributes addresses to names may not add one either.
    let lie = json!({ "data": { "egress.cidrs": "9.9.9.9/32\n" } });
    stage.config_maps().patch("daas-us-cidrs", &stranger, &Patch::Merge(&lie)).await.expect("patched");

    let _again = stage.operator().await;
    policies
        .until("the policy as it was", |now| {
            now[POLICY].resource_version() != edited.resource_version() && now[POLICY].spec == before.spec
        })
        .await;
    for address in ["1.2.3.4", "8.8.8.8", "9.9.9.9"] {
        assert!(!holds(&policies.now()[POLICY], address.parse().expect("an address")), "{address}");
    }
    stage.ready("daas-us").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_does_not_come_true_even_while_dns_is_down() {
    let stage = Stage::with(valid()).await;
    let operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    kill(operator).await;
    stage.dns.set_silent(true);
    let mut spec = serde_json::to_value(policies.now()[POLICY].spec.clone()).expect("JSON");
    spec["egress"].as_array_mut().expect("rules").push(json!({ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }));
    let stranger = PatchParams { field_manager: Some("somebody-else".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "spec": { "egress": spec["egress"] } }));
    stage.policies().patch(POLICY, &stranger, &patch).await.expect("patched");
    let started = Instant::now();
    let open: IpAddr = "1.2.3.4".parse().expect("an address");
    policies.until("the edit", |now| holds(&now[POLICY], open)).await;

    let _again = stage.operator().await;
    policies.until("it is gone", |now| !holds(&now[POLICY], open)).await;
    assert!(policies.since(started).iter().all(|now| now.contains_key(POLICY)), "and the policy stands all the while");
}

/// Both stayed for a whole `addressRetention`, 189 hours at 168h, with `Ready=True Applied` and not a word of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_removed_while_down_goes_even_without_config_map() {
    let stage = Stage::with(valid()).await;
    let own: IpAddr = "20.66.7.7".parse().expect("an address");
    stage.dns.set("own.example.com", Behaviour::addresses(&[own], 5));
    let operator = stage.operator().await;
    let additional = "[{ name: own, tcpPorts: 443, cidrs: [20.8.0.0/16], fqdns: [own.example.com] }]";
    stage.apply("daas-us", &format!("{{ customerId: testcustomer, geo: us, additional: {additional} }}")).await;
    stage.ready("daas-us").await;
    let policies = stage.watch_policies().await;
    let named: IpAddr = "20.8.1.1".parse().expect("an address");
    policies.until("what the user names", |now| holds(&now[POLICY], named) && holds(&now[POLICY], own)).await;
    let listed: Vec<IpNet> = cidrs(&policies.now()[POLICY])
        .into_iter()
        .filter(|network| !network.contains(&named) && !network.contains(&own))
        .collect();
    kill(operator).await;
    stage.config_maps().delete("daas-us-cidrs", &DeleteParams::default()).await.expect("deleted");
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    let started = Instant::now();

    let _again = stage.operator().await;
    policies.until("it is gone", |now| !holds(&now[POLICY], named) && !holds(&now[POLICY], own)).await;
    stage.ready("daas-us").await;
    for now in policies.since(started) {
        let missing = listed.iter().filter(|network| !holds(&now[POLICY], network.network())).count();
        assert_eq!(missing, 0, "and nothing else goes with it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_in_place_nothing_is_written_or_fetched() {
    let stage = Stage::with(valid()).await;
    // EmptyReason, too, is known only when DNS has said it again.
    stage.dns.set("accounts.cloud.com", Behaviour::nxdomain());
    let operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: all }").await;
    stage.apply("daas-eu", "{ customerId: testcustomer, geo: eu, mode: Audit }").await;
    stage.ready("daas-us").await;
    stage.ready("daas-eu").await;
    assert_eq!(stage.standin.requests().len(), 1, "one customer, one request");
    // Its last write may still be in flight: the list it saves.
    tokio::time::sleep(Duration::from_secs(2)).await;
    kill(operator).await;
    let versions = async || {
        let printed = stage
            .cluster
            .kubectl(&["-n", stage.namespace.name(), "get", "cal,netpol,cm,secrets,events.events.k8s.io", "-o", "json"])
            .await;
        let list: serde_json::Value = serde_json::from_str(&printed.expect("a list")).expect("JSON");
        let objects = list["items"].as_array().expect("items").iter();
        let version = |object: &serde_json::Value| {
            let metadata = &object["metadata"];
            format!("{} {} {} {}", object["kind"], metadata["name"], metadata["uid"], metadata["resourceVersion"])
        };
        objects.map(version).collect::<Vec<_>>()
    };
    let before = versions().await;
    assert!(before.len() >= 6, "{before:?}");
    stage.dns.clear_questions();

    let again = stage.operator().await;
    let every = fixture::exact_names_of(test_support::standin::StandinCloud::Global, "testcustomer", "us", "outbound");
    let asked = |name: &String| stage.dns.count(name, test_support::dns::RecordType::A) >= 2;
    let deadline = Instant::now() + Duration::from_secs(60);
    // Two rounds of questions: whatever the first has to say has been said by then.
    while !asked(&every[0]) {
        assert!(Instant::now() < deadline, "names are asked: {}", again.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(versions().await, before, "{}", again.log());
    assert_eq!(stage.standin.requests().len(), 1, "the list is in the cluster");
    let policy = stage.policies().get(POLICY).await.expect("the policy");
    assert_eq!(policy.metadata.generation, Some(1), "{}", policy.name_any());
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_leave_it_leaves_at_once_and_cleanly() {
    let stage = Stage::with(valid()).await;
    let mut operator = stage.operator().await;
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us }").await;
    stage.ready("daas-us").await;
    operator.process().signal("TERM").expect("it runs");
    let status = operator.process().wait(Duration::from_secs(60)).await.expect("it leaves");
    assert!(status.success(), "{status}: {}", operator.log());
    assert_eq!(stage.all_policies().await.len(), 1, "and what it has applied stays");
}
