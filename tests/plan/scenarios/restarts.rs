//! The cluster is the memory.

use super::*;

const ALL: &str = "daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24";

#[test]
fn a_restart_keeps_the_addresses_of_names() {
    let mut scene = Scene::applied();
    scene.restart();
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
}

#[test]
fn a_restart_writes_nothing() {
    let mut scene = Scene::applied();
    scene.restart();
    let decision = scene.decide();
    assert!(decision.changes(&scene.existing()).writes.is_empty());
}

#[test]
fn silent_dns_takes_nothing_away_for_ever() {
    let mut scene = Scene::applied();
    scene.restart();
    for name in [A, B] {
        scene.no_answer(name, failing());
    }
    for _ in 0..10 {
        scene.pass(RETENTION);
        assert_eq!(scene.apply(), format!("Applied | {ALL}"));
    }
}

#[test]
fn an_address_goes_a_retention_after_answers_lack_it() {
    let mut scene = Scene::applied();
    scene.restart();
    scene.apply();
    scene.answer(A, &["13.64.0.9"]);
    scene.answer(B, &["13.64.0.2"]);
    scene.apply();
    scene.pass(RETENTION - Duration::from_secs(1));
    assert!(scene.apply().contains("13.64.0.1/32"));
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.2/32 13.64.0.9/32 20.0.0.0/24");
}

#[test]
fn it_is_decided_again_when_an_address_may_go() {
    let mut scene = Scene::applied();
    scene.restart();
    scene.answer(A, &["13.64.0.9"]);
    scene.answer(B, &["13.64.0.2"]);
    let requeue = scene.decide().requeue_after.expect("a time");
    assert!(requeue >= RETENTION && requeue <= RETENTION * 2, "{requeue:?}");
}

#[test]
fn a_name_that_was_published_away_meanwhile_is_not_kept() {
    let mut scene = Scene::applied();
    scene.publish(&[service("DaaS", &[B], &[NETWORK])]);
    scene.restart();
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.2/32 20.0.0.0/24");
}

/// The policy holds more than the ConfigMap explains: as after a ConfigMap that was lost.
#[test]
fn what_nothing_explains_stays_for_a_retention() {
    let mut scene = Scene::applied();
    scene.objects.retain(|key, _| key.is_policy());
    scene.restart();
    assert!(scene.apply().ends_with(ALL));
    scene.answer(A, &["13.64.0.1"]);
    scene.answer(B, &["13.64.0.3"]);
    scene.apply();
    scene.pass(RETENTION);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 13.64.0.3/32 20.0.0.0/24");
}

#[test]
fn what_nothing_explains_is_counted() {
    let mut scene = Scene::applied();
    scene.objects.retain(|key, _| key.is_policy());
    scene.restart();
    let summary = scene.decide().summary.expect("counts");
    assert_eq!(summary.inherited, 2, "the addresses of two names");
}

#[test]
fn an_address_that_the_guard_refuses_by_now_is_not_kept() {
    let mut scene = Scene::applied();
    scene.restart();
    let network = "13.64.0.1/32".parse().expect("a network");
    scene.facts = Arc::new(ClusterFacts { service_networks: vec![network], ..ClusterFacts::default() });
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.2/32 20.0.0.0/24");
}

#[test]
fn a_config_map_adds_no_address_that_no_policy_holds() {
    let mut scene = Scene::applied();
    scene.answer(A, &["13.64.0.1", "13.64.0.99"]);
    let policy =
        scene.objects.iter().find(|(key, _)| key.is_policy()).map(|(key, object)| (key.clone(), object.clone()));
    scene.apply();
    // The ConfigMap is the newer one, the policy that of before.
    scene.objects.extend(policy);
    scene.restart();
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
}

/// The ConfigMap stays with the direction that is kept, and says that the address is another name's, no longer wanted: it
/// was dropped by a restart.
#[test]
fn a_restart_keeps_the_other_direction_of_a_kept_one() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[A, B], &[]), inbound("Cloud", &["20.9.0.0/24"])]);
    scene.edit("direction", json!("all"));
    scene.apply();
    scene.publish(&[service("DaaS", &[A], &[])]);
    scene.confirm();
    scene.answer(A, &["13.64.0.2"]);
    let applied = "LastPolicyKept | daas-egress 13.64.0.2/32 | daas-ingress 20.9.0.0/24";
    assert_eq!(scene.apply(), applied);
    scene.restart();
    assert_eq!(scene.apply(), applied);
}

#[test]
fn a_restart_in_audit_waits_for_the_names_once_more() {
    let mut scene = Scene::new();
    scene.edit("mode", json!("Audit"));
    scene.apply();
    scene.restart();
    assert_eq!(scene.apply(), "WaitingForNames");
    assert_eq!(scene.objects.len(), 1, "the ConfigMap is as it was");
}

#[test]
fn the_memory_is_taken_over_once() {
    let mut scene = Scene::applied();
    scene.restart();
    scene.apply();
    assert!(scene.carry.recovered.is_some());
    // The user takes the name out: what the process remembers of it does not bring it back.
    scene.edit("services", json!({ "exclude": ["DaaS"] }));
    assert_eq!(scene.apply(), "NoMatch");
}
