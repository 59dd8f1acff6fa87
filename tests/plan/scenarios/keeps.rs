//! Law 1: a failure never shrinks a policy, and the last policy of a direction goes only by the user's word.

use super::*;

const ALL: &str = "daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24";

#[test]
fn an_empty_list_keeps_the_last_policy() {
    let mut scene = Scene::applied();
    scene.publish(&[]);
    scene.confirm();
    assert_eq!(scene.apply(), format!("LastPolicyKept | {ALL}"));
}

#[test]
fn a_list_that_matches_nothing_keeps_the_last_policy() {
    let mut scene = Scene::applied();
    scene.publish(&[json!({ "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
        "endpoints": [{ "geo": "united-states", "ips": [NETWORK] }] })]);
    scene.confirm();
    let decision = scene.decide();
    assert_eq!(decision.keep.len(), 1);
    assert_eq!(scene.carry_out(&decision), format!("LastPolicyKept | {ALL}"));
}

#[test]
fn a_list_without_ports_keeps_the_last_policy() {
    let mut scene = Scene::applied();
    scene.publish(&[json!({ "name": "DaaS", "direction": "outbound",
        "endpoints": [{ "geo": "us", "ips": [NETWORK] }] })]);
    scene.confirm();
    assert_eq!(scene.apply(), format!("LastPolicyKept | {ALL}"));
}

#[test]
fn names_without_addresses_keep_the_last_policy() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[A], &[])]);
    scene.apply();
    scene.answer(A, &[]);
    assert_eq!(scene.apply(), "LastPolicyKept | daas-egress 13.64.0.1/32");
}

#[test]
fn what_is_kept_is_reported_with_the_edit_that_lets_it_go() {
    let mut scene = Scene::applied();
    scene.publish(&[]);
    scene.confirm();
    let problems = scene.problems();
    assert!(problems.iter().any(|problem| problem.contains("daas-egress")), "{problems:?}");
}

#[test]
fn the_config_map_stays_with_the_policy_that_is_kept() {
    let mut scene = Scene::applied();
    let before = scene.objects.clone();
    scene.publish(&[]);
    scene.confirm();
    scene.apply();
    assert_eq!(scene.objects, before);
}

#[test]
fn one_direction_is_kept_while_the_other_is_followed() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[], &[NETWORK]), inbound("Cloud", &["20.9.0.0/24"])]);
    scene.edit("direction", json!("all"));
    scene.apply();
    scene.publish(&[service("DaaS", &[], &["20.4.0.0/24"])]);
    scene.confirm();
    assert_eq!(scene.apply(), "LastPolicyKept | daas-egress 20.4.0.0/24 | daas-ingress 20.9.0.0/24");
}

#[test]
fn a_user_who_selects_otherwise_lets_it_go() {
    let mut scene = Scene::applied();
    scene.edit("services", json!({ "include": ["Nothing"] }));
    assert_eq!(scene.apply(), "NoMatch");
}

#[test]
fn another_edit_lets_nothing_go() {
    let mut scene = Scene::applied();
    scene.publish(&[]);
    scene.confirm();
    scene.apply();
    scene.edit("addressRetention", json!("2h"));
    assert_eq!(scene.apply(), format!("LastPolicyKept | {ALL}"));
}

#[test]
fn a_changed_selection_of_an_empty_list_lets_nothing_go() {
    let mut scene = Scene::applied();
    scene.publish(&[]);
    scene.confirm();
    scene.edit("services", json!({ "include": ["Other"] }));
    assert_eq!(scene.apply(), format!("LastPolicyKept | {ALL}"));
}

#[test]
fn a_direction_that_is_no_longer_asked_for_goes() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[], &[NETWORK]), inbound("Cloud", &["20.9.0.0/24"])]);
    scene.edit("direction", json!("all"));
    scene.apply();
    scene.edit("direction", json!("inbound"));
    assert_eq!(scene.apply(), "Applied | daas-ingress 20.9.0.0/24");
}

#[test]
fn a_policy_of_0_1_0_is_kept_as_well() {
    let mut scene = Scene::applied();
    scene.says_selection = false;
    scene.restart();
    scene.publish(&[service("Renamed", &[], &["20.4.0.0/24"])]);
    scene.edit("services", json!({ "include": ["DaaS"] }));
    scene.confirm();
    assert_eq!(scene.apply(), format!("LastPolicyKept | {ALL}"));
}

#[test]
fn a_policy_of_0_1_0_goes_by_an_edit_that_this_process_sees() {
    let mut scene = Scene::applied();
    scene.says_selection = false;
    scene.restart();
    scene.publish(&[service("Renamed", &[], &["20.4.0.0/24"])]);
    scene.edit("services", json!({ "include": ["DaaS"] }));
    scene.confirm();
    scene.apply();
    scene.edit("services", json!({ "include": ["Nothing"] }));
    assert_eq!(scene.apply(), "NoMatch");
}

#[test]
fn what_was_kept_is_known_again_when_the_list_is_back() {
    let mut scene = Scene::applied();
    let services = [service("DaaS", &[A, B], &[NETWORK])];
    scene.publish(&[]);
    scene.confirm();
    scene.apply();
    // Nobody asked for the names meanwhile.
    for name in [A, B] {
        scene.no_answer(name, NameState::Waiting);
    }
    scene.publish(&services);
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
}

/// It was read again from the policy that was kept, counted as an answer, and lost a retention later: over and over.
#[test]
fn an_address_that_is_gone_does_not_come_back_from_what_is_kept() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[A], &[])]);
    scene.apply();
    scene.answer(A, &[]);
    for _ in 0..3 {
        assert_eq!(scene.apply(), "LastPolicyKept | daas-egress 13.64.0.1/32");
    }
}

#[test]
fn a_name_that_fails_keeps_what_it_had() {
    let mut scene = Scene::applied();
    let failing = NameState::Failing { error: "SERVFAIL".into(), stale: true, ever_answered: true };
    scene.answers.insert(A.to_owned(), (vec!["13.64.0.1"], failing));
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
}

#[test]
fn nothing_is_written_for_a_spec_that_matches_nothing() {
    let mut scene = Scene::new();
    scene.edit("services", json!({ "include": ["Nothing"] }));
    assert_eq!(scene.apply(), "NoMatch");
}

#[test]
fn a_first_policy_that_would_cut_everything_is_not_written() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[A], &[])]);
    scene.answer(A, &[]);
    assert_eq!(scene.apply(), "NothingUsable");
}

/// The vendor's answer for a new customer may be for another region, or cut off.
#[test]
fn a_list_that_is_new_here_opens_nothing_before_it_is_confirmed() {
    let mut scene = Scene::new();
    scene.edit("direction", json!("all"));
    scene.begin_with(&[service("DaaS", &[], &[NETWORK]), inbound("Callback", &["20.3.0.0/24"])]);
    scene.apply();
    scene.edit("customerId", json!("other"));
    scene.begin_with(&[service("DaaS", &[], &["20.4.0.0/24"])]);
    let kept = "LastPolicyKept | daas-egress 20.4.0.0/24 | daas-ingress 20.3.0.0/24";
    assert_eq!(scene.apply(), kept);
    assert_eq!(scene.apply(), kept, "nor at the second look");
    scene.confirm();
    assert_eq!(scene.apply(), "Applied | daas-egress 20.4.0.0/24");
}
