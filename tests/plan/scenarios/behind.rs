//! The only list that a new leader knows is older, or much shorter, than the one that was applied.

use super::*;

const OLDER: &str = "2026-06-01T00:00:00Z";
const NEWER: &str = "2026-06-01T12:00:00Z";
/// What the newer list allows, with the answers for its names.
const ALL: &str = "daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24 20.1.0.0/24";
/// What the older one does.
const OLD: &str = "daas-egress 13.64.0.1/32 20.0.0.0/24 20.9.0.0/24";

/// A list with a network that was withdrawn since.
fn older() -> [Value; 2] {
    [service("DaaS", &[A], &[NETWORK]), service("Withdrawn", &[], &["20.9.0.0/24"])]
}

/// A name and a network more.
fn newer() -> [Value; 2] {
    [service("DaaS", &[A], &[NETWORK]), service("More", &[B], &["20.1.0.0/24"])]
}

/// The successor of a leader that followed the newer list and could not save it.
fn successor() -> Scene {
    let mut scene = Scene::new();
    scene.list = list_of(NEWER, &newer());
    assert_eq!(scene.apply(), format!("Applied | {ALL}"));
    scene.resource["status"] = json!({ "observedGeneration": 1, "feed": { "cloud": "Global", "version": NEWER } });
    scene.list = list_of(OLDER, &older());
    scene.restart();
    scene.answer(A, &["13.64.0.1"]);
    scene
}

#[test]
fn an_older_list_than_status_names_takes_nothing_away() {
    let mut scene = successor();
    for _ in 0..10 {
        assert_eq!(scene.apply(), format!("WaitingForFeed | {ALL}"));
        scene.pass(RETENTION);
    }
    let feed = scene.decide().feed.expect("findings");
    assert_eq!((feed.reason, feed.current), (Reason::FeedUnavailable, false));
    assert!(feed.message.starts_with("the list 2026-06-01T12:00:00Z was in use before"), "{}", feed.message);
}

#[test]
fn a_second_hand_over_takes_nothing_away_either() {
    let mut scene = successor();
    for _ in 0..3 {
        assert_eq!(scene.apply(), format!("WaitingForFeed | {ALL}"));
        scene.restart();
    }
    // To suspend it, or to change its mode, is no word on what it selects.
    scene.edit("addressRetention", json!("2h"));
    assert_eq!(scene.apply(), format!("WaitingForFeed | {ALL}"));
}

#[test]
fn the_newer_list_is_followed_when_it_comes_again() {
    let mut scene = successor();
    scene.apply();
    scene.list = list_of(NEWER, &newer());
    scene.answer(B, &["13.64.0.2", "13.64.0.9"]);
    assert_eq!(scene.apply(), format!("Applied | {}", ALL.replace("0.2/32", "0.2/32 13.64.0.9/32")));
}

#[test]
fn what_the_next_list_has_no_more_goes_at_once() {
    let mut scene = successor();
    scene.apply();
    scene.list = list_of("2026-06-02T00:00:00Z", &[service("DaaS", &[A], &[NETWORK, "20.1.0.0/24"])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24 20.1.0.0/24");
}

/// 84 hours are a list's usual validity.
#[test]
fn a_list_that_the_vendor_withdrew_is_not_waited_for() {
    let mut scene = successor();
    scene.answered = Some(time("2026-06-05T00:00:00Z"));
    assert_eq!(scene.apply(), format!("Applied | {OLD}"));
}

#[test]
fn a_version_far_ahead_of_the_clock_holds_nothing() {
    let mut scene = successor();
    scene.resource["status"]["feed"]["version"] = json!("2027-06-01T12:00:00Z");
    assert_eq!(scene.apply(), format!("Applied | {OLD}"));
}

#[test]
fn an_edited_spec_follows_the_older_list_at_once() {
    let mut scene = successor();
    scene.edit("services", json!({ "include": ["DaaS"] }));
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24");
}

#[test]
fn without_a_policy_the_older_list_is_better_than_none() {
    let mut scene = successor();
    scene.objects.retain(|key, _| !key.is_policy());
    assert!(scene.apply().contains("20.9.0.0/24"));
}

/// Nothing else knows what the vendor listed before: an answer without most of it would take that away.
#[test]
fn without_saved_lists_a_shrunken_list_waits_for_confirmation() {
    let mut scene = Scene::applied();
    let all = "WaitingForFeed | daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24";
    scene.begin_with(&[service("DaaS", &[A], &[])]);
    scene.restart();
    assert_eq!(scene.apply(), all);
    assert_eq!(scene.decide().feed.expect("findings").reason, Reason::FeedShrank);
    // The next one is cut off elsewhere.
    scene.publish(&[service("DaaS", &[B], &[])]);
    assert_eq!(scene.apply(), all);
    scene.confirm();
    scene.answer(B, &["13.64.0.2"]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.2/32");
}

#[test]
fn without_saved_lists_an_edited_spec_follows_a_list_at_once() {
    let mut scene = Scene::applied();
    scene.begin_with(&[service("DaaS", &[A], &[])]);
    scene.edit("services", json!({ "include": ["DaaS"] }));
    scene.restart();
    scene.answer(A, &["13.64.0.1"]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32");
}
