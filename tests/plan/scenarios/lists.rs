//! Which list is followed.

use super::*;

fn shrunk() -> Scene {
    let mut scene = Scene::applied();
    scene.publish(&[service("DaaS", &[A], &[])]);
    scene
}

#[test]
fn a_list_that_halves_the_rules_waits_for_a_second_fetch() {
    let mut scene = shrunk();
    assert!(scene.apply().ends_with("13.64.0.1/32 13.64.0.2/32 20.0.0.0/24"));
    assert_eq!(scene.problems(), ["FeedShrank list v1"]);
    scene.confirm();
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32");
}

#[test]
fn a_list_that_loses_less_is_followed_at_once() {
    let mut scene = Scene::applied();
    scene.publish(&[service("DaaS", &[A], &[NETWORK])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 20.0.0.0/24");
}

#[test]
fn a_changed_spec_is_read_against_the_newest_list() {
    let mut scene = shrunk();
    scene.edit("addressRetention", json!("2h"));
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32");
}

#[test]
fn a_held_list_is_followed_while_the_names_move_on() {
    let mut scene = shrunk();
    scene.apply();
    scene.answer(B, &["13.64.0.9"]);
    assert!(scene.apply().contains("13.64.0.9/32"));
}

#[test]
fn a_list_that_is_whole_again_is_followed_at_once() {
    let mut scene = shrunk();
    scene.apply();
    scene.publish(&[service("DaaS", &[A, B], &[NETWORK, "20.7.0.0/24"])]);
    assert!(scene.apply().ends_with("20.0.0.0/24 20.7.0.0/24"));
    assert!(scene.problems().is_empty());
}

#[test]
fn a_new_process_compares_with_the_list_before() {
    let mut scene = shrunk();
    scene.restart();
    for (name, address) in [(A, "13.64.0.1"), (B, "13.64.0.2")] {
        scene.answer(name, &[address]);
    }
    assert!(scene.apply().ends_with("13.64.0.1/32 13.64.0.2/32 20.0.0.0/24"));
}

#[test]
fn a_name_that_the_list_drops_goes_at_once() {
    let mut scene = Scene::applied();
    scene.publish(&[service("DaaS", &[B], &[NETWORK])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.2/32 20.0.0.0/24");
}

#[test]
fn another_spelling_of_a_network_changes_nothing() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[], &["20.0.0.0/25", "20.0.0.128/25"])]);
    scene.apply();
    scene.publish(&[service("DaaS", &[], &[NETWORK])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 20.0.0.0/24");
}

#[test]
fn half_is_not_less_than_half() {
    assert!(!loses_most(4, 2));
    assert!(loses_most(4, 1));
    assert!(loses_most(5, 2));
    assert!(!loses_most(0, 0));
}
