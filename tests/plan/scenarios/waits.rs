//! When a first policy may appear.

use super::*;

#[test]
fn a_first_policy_waits_for_the_names() {
    let mut scene = Scene::new();
    scene.no_answer(B, NameState::Waiting);
    let decision = scene.decide();
    assert_eq!(decision.requeue_after, Some(WAIT));
    assert!(decision.objects.is_none() && decision.has_unasked_names);
    assert_eq!(scene.carry_out(&decision), "WaitingForNames");
    scene.answer(B, &["13.64.0.2"]);
    assert!(scene.apply().starts_with("Applied"));
}

#[test]
fn a_name_that_is_absent_is_an_answer() {
    let mut scene = Scene::new();
    scene.answer(B, &[]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24");
    assert_eq!(scene.problems(), [format!("Unresolved {B}")]);
}

#[test]
fn a_name_that_fails_is_waited_for_so_long_and_no_longer() {
    let mut scene = Scene::new();
    scene.no_answer(B, failing());
    scene.apply();
    scene.pass(WAIT - Duration::from_secs(1));
    let decision = scene.decide();
    assert_eq!(decision.requeue_after, Some(Duration::from_secs(1)));
    scene.carry_out(&decision);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24");
}

#[test]
fn where_nothing_is_answered_the_wait_has_no_end() {
    let mut scene = Scene::new();
    scene.no_answer(A, failing());
    scene.no_answer(B, failing());
    scene.apply();
    scene.pass(WAIT * 1000);
    let decision = scene.decide();
    assert_eq!(decision.requeue_after, None);
    assert_eq!(scene.carry_out(&decision), "WaitingForNames");
}

#[test]
fn networks_alone_wait_for_nothing() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[], &[NETWORK])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 20.0.0.0/24");
}

#[test]
fn one_direction_waits_for_the_other_to_be_usable() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[A], &[]), inbound("Cloud", &["20.9.0.0/24"])]);
    scene.edit("direction", json!("all"));
    scene.answer(A, &[]);
    assert_eq!(scene.apply(), "NothingUsable");
    scene.answer(A, &["13.64.0.1"]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 | daas-ingress 20.9.0.0/24");
}

#[test]
fn a_direction_that_is_applied_goes_on_while_the_other_waits() {
    let mut scene = Scene::applied();
    scene.publish(&[service("DaaS", &[A, B], &[NETWORK]), inbound("Cloud", &["20.9.0.0/24"])]);
    scene.edit("direction", json!("all"));
    scene.answer(A, &["13.64.0.7"]);
    scene.no_answer(B, failing());
    assert_eq!(scene.apply(), "WaitingForNames | daas-egress 13.64.0.7/32 20.0.0.0/24");
    scene.pass(WAIT);
    assert!(scene.apply().starts_with("Applied") && scene.objects.len() == 3);
}

#[test]
fn a_write_that_failed_does_not_begin_the_wait_again() {
    let mut scene = Scene::new();
    scene.no_answer(B, failing());
    scene.apply();
    scene.pass(WAIT);
    // Decided, and not written.
    scene.carry = scene.decide().next;
    assert!(scene.apply().starts_with("Applied"));
}

#[test]
fn audit_waits_once_and_reports_from_then_on() {
    let mut scene = Scene::new();
    scene.edit("mode", json!("Audit"));
    scene.no_answer(B, NameState::Waiting);
    assert_eq!(scene.apply(), "WaitingForNames");
    scene.answer(B, &["13.64.0.2"]);
    assert_eq!(scene.apply(), "Audit");
    scene.no_answer(B, failing());
    assert_eq!(scene.apply(), "Audit");
}

#[test]
fn audit_says_that_nothing_would_be_applied() {
    let mut scene = Scene::new();
    scene.edit("mode", json!("Audit"));
    scene.begin_with(&[service("DaaS", &[A], &[])]);
    scene.answer(A, &[]);
    assert_eq!(scene.apply(), "Audit");
}

#[test]
fn a_name_that_there_is_no_room_for_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.no_answer(
        B,
        NameState::LeftOut(citrix_allowlist::bound::Full { level: citrix_allowlist::bound::Level::Resource, bound: 1 }),
    );
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24");
}
