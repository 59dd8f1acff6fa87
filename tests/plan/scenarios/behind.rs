//! A former leader followed a newer list than the one that it could save.

use super::*;

const OLDER: &str = "2026-06-01T00:00:00Z";
const NEWER: &str = "2026-06-01T12:00:00Z";
const NEWEST: &str = "2026-06-02T00:00:00Z";
/// What the newer list allows, with the answers for its names.
const ALL: &str = "daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24 20.1.0.0/24";

/// It has more that was withdrawn since.
fn older() -> [Value; 2] {
    [service("DaaS", &[A], &[NETWORK]), service("Withdrawn", &["old.example.com"], &["20.9.0.0/24"])]
}

/// It adds a name, a network and a port.
fn newer() -> [Value; 3] {
    let mut more = service("More", &[], &[NETWORK, "20.1.0.0/24"]);
    more["tcpPorts"] = json!("8443");
    [service("DaaS", &[A], &[NETWORK]), service("Gateway", &[B], &[]), more]
}

/// The successor, which knows the older list and what status says.
fn successor() -> Scene {
    let mut scene = Scene::new();
    scene.list = list_of(NEWER, &newer());
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
    scene.resource["status"] = json!({ "observedGeneration": 1, "feed": { "cloud": "Global", "version": NEWER } });
    scene.list = list_of(OLDER, &older());
    scene.restart();
    scene.answer(A, &["13.64.0.1"]);
    scene.answer("old.example.com", &["13.64.0.7"]);
    scene
}

/// What the policy allows on TCP 8443.
fn on_8443(scene: &Scene) -> Vec<String> {
    let policies = scene.objects.iter().filter(|(key, _)| key.is_policy());
    let specs = policies.map(|(_, object)| serde_json::from_str::<NetworkPolicySpec>(object.body.json.get()));
    let rules: Vec<_> = specs.flat_map(|spec| network_policy::rules(&spec.expect("a spec"))).collect();
    let of_port = rules.iter().filter(|(_, ports, _)| ports.to_string().contains("8443"));
    of_port.flat_map(|(.., networks)| networks).map(cidr::text).collect()
}

#[test]
fn what_only_the_newer_list_has_stays_however_long() {
    let mut scene = successor();
    for _ in 0..10 {
        assert_eq!(scene.apply(), format!("Applied | {ALL}"));
        assert_eq!(on_8443(&scene), [NETWORK, "20.1.0.0/24"]);
        scene.pass(RETENTION);
        // Our own status names the list in use.
        scene.resource["status"]["feed"]["version"] = json!(OLDER);
    }
}

#[test]
fn new_answers_for_names_of_both_lists_are_followed() {
    let mut scene = successor();
    scene.answer(A, &["13.64.0.9"]);
    assert_eq!(scene.apply(), format!("Applied | {}", ALL.replace("0.2/32", "0.2/32 13.64.0.9/32")));
}

/// No policy of the direction was applied: what is first applied is better than nothing.
#[test]
fn a_direction_without_a_policy_follows_the_older_list() {
    let mut scene = successor();
    scene.objects.retain(|key, _| !key.is_policy());
    assert!(scene.apply().contains("20.9.0.0/24"));
}

#[test]
fn status_says_why_and_counts_what_stays() {
    let decision = successor().decide();
    let message = decision.feed.expect("findings").message;
    assert!(message.contains("followed the list 2026-06-01T12:00:00Z, which could not be saved"), "{message}");
    assert_eq!(decision.summary.expect("counts").inherited, 3, "both networks and the address of a name");
}

#[test]
fn when_the_newer_list_comes_again_nothing_is_inherited() {
    let mut scene = successor();
    scene.apply();
    scene.list = list_of(NEWER, &newer());
    scene.answer(B, &["13.64.0.2"]);
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
    assert_eq!(scene.decide().summary.expect("counts").inherited, 0);
}

#[test]
fn what_the_next_list_has_no_more_goes_after_a_retention() {
    let mut scene = successor();
    scene.apply();
    scene.list = list_of(NEWEST, &older()[..1]);
    scene.apply();
    scene.pass(RETENTION);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24");
    assert!(on_8443(&scene).is_empty());
}

/// 84 hours are a list's usual validity.
#[test]
fn a_list_that_the_vendor_withdrew_is_not_waited_for() {
    let mut scene = successor();
    scene.answered = Some(time("2026-06-05T00:00:00Z"));
    scene.apply();
    scene.pass(RETENTION);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 13.64.0.7/32 20.0.0.0/24 20.9.0.0/24");
}

#[test]
fn a_version_far_ahead_of_the_clock_holds_nothing() {
    let mut scene = successor();
    scene.resource["status"]["feed"]["version"] = json!("2027-06-01T12:00:00Z");
    scene.apply();
    assert!(on_8443(&scene).is_empty());
}
