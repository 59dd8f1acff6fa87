//! What a resource asks for, and the modes in which it is done.

use super::*;

#[test]
fn a_list_and_its_answers_become_a_policy() {
    let mut scene = Scene::new();
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24");
    assert!(scene.problems().is_empty());
}

#[test]
fn deciding_twice_writes_nothing_more() {
    let mut scene = Scene::applied();
    let decision = scene.decide();
    assert!(decision.changes(&scene.existing()).writes.is_empty());
    assert_eq!(decision.requeue_after, None);
}

#[test]
fn without_a_list_it_waits_for_one() {
    let mut scene = Scene::new();
    scene.lacks_list = true;
    assert_eq!(scene.apply(), "WaitingForFeed");
}

#[test]
fn a_list_that_went_away_leaves_what_is_applied() {
    let mut scene = Scene::applied();
    scene.lacks_list = true;
    assert_eq!(scene.apply(), "WaitingForFeed | daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24");
}

#[test]
fn suspended_nothing_is_written() {
    let mut scene = Scene::new();
    scene.edit("suspend", json!(true));
    assert_eq!(scene.apply(), "Suspended");
}

#[test]
fn suspended_what_is_applied_stays() {
    let mut scene = Scene::applied();
    scene.edit("suspend", json!(true));
    scene.publish(&[]);
    assert_eq!(scene.apply(), "Suspended | daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24");
}

#[test]
fn a_protected_namespace_gets_no_policy() {
    let mut scene = Scene::new();
    scene.resource["metadata"]["namespace"] = json!("kube-system");
    assert_eq!(scene.apply(), "Protected");
}

#[test]
fn the_operators_own_pods_are_never_isolated() {
    let mut scene = Scene::new();
    scene.own_pod = OwnPod::Known { namespace: "web".into(), labels: [("app".into(), "operator".into())].into() };
    assert_eq!(scene.apply(), "Protected");
    scene.edit("podSelector", json!({ "matchLabels": { "app": "citrix" } }));
    assert!(scene.apply().starts_with("Applied"));
}

#[test]
fn the_own_namespace_waits_for_the_labels_of_the_own_pod() {
    let mut scene = Scene::new();
    scene.own_pod = OwnPod::Unknown { namespace: "web".into() };
    let decision = scene.decide();
    assert_eq!(decision.requeue_after, Some(Duration::from_secs(2)));
    assert_eq!(scene.carry_out(&decision), "Unavailable");
    scene.own_pod = OwnPod::Unknown { namespace: "elsewhere".into() };
    assert!(scene.apply().starts_with("Applied"));
}

#[test]
fn audit_writes_the_config_map_alone_and_says_the_rest() {
    let mut scene = Scene::new();
    scene.edit("mode", json!("Audit"));
    let decision = scene.decide();
    let audit = decision.objects.as_ref().and_then(|desired| desired.audit.clone()).expect("a report");
    assert_eq!((audit.policies, audit.peers), (vec!["daas-egress".to_owned()], 3));
    assert_eq!(scene.carry_out(&decision), "Audit");
    assert_eq!(scene.objects.keys().map(|key| &*key.name).collect::<Vec<_>>(), ["daas-cidrs"]);
}

#[test]
fn audit_takes_policies_away_by_the_users_word() {
    let mut scene = Scene::applied();
    scene.edit("mode", json!("Audit"));
    assert_eq!(scene.apply(), "Audit");
}

#[test]
fn a_new_resource_waits_while_memory_is_short() {
    let mut scene = Scene::new();
    scene.lacks_memory = true;
    let decision = scene.decide();
    assert_eq!(decision.requeue_after, Some(citrix_allowlist::memory::LOOK_AGAIN));
    assert_eq!(scene.carry_out(&decision), "WaitingForMemory");
    scene.lacks_memory = false;
    assert!(scene.apply().starts_with("Applied"));
}

#[test]
fn what_is_applied_is_kept_current_while_memory_is_short() {
    let mut scene = Scene::applied();
    scene.restart();
    scene.lacks_memory = true;
    scene.answer(A, &["13.64.0.1", "13.64.0.9"]);
    assert!(scene.apply().contains("13.64.0.9/32"));
}

#[test]
fn both_directions_have_policies_of_their_own() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[A], &[]), inbound("Cloud", &["20.9.0.0/24"])]);
    scene.edit("direction", json!("all"));
    assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 | daas-ingress 20.9.0.0/24");
}

#[test]
fn an_edit_of_the_spec_is_followed_at_once() {
    let mut scene = Scene::applied();
    scene.publish(&[service("DaaS", &[A, B], &[NETWORK]), service("Other", &[], &["20.5.0.0/24"])]);
    scene.edit("services", json!({ "include": ["Other"] }));
    assert_eq!(scene.apply(), "Applied | daas-egress 20.5.0.0/24");
}

#[test]
fn a_stray_object_of_ours_is_deleted() {
    let mut scene = Scene::applied();
    let (key, object) =
        scene.objects.first_key_value().map(|(key, object)| (key.clone(), object.clone())).expect("one");
    let stray = ObjectKey::new(key.kind, "web", "daas-egress-7");
    let mut object = object;
    object.metadata.name = Some("daas-egress-7".to_owned());
    scene.objects.insert(stray, object);
    scene.apply();
    assert_eq!(scene.objects.keys().filter(|key| key.is_policy()).count(), 1);
}

#[test]
fn an_address_in_a_cloud_metadata_range_is_refused_and_reported() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &[], &["169.254.169.254/32", NETWORK])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 20.0.0.0/24");
    assert_eq!(scene.problems().len(), 1);
}

#[test]
fn a_wildcard_is_reported_and_opens_nothing() {
    let mut scene = Scene::new();
    scene.begin_with(&[service("DaaS", &["*.example.net"], &[NETWORK])]);
    assert_eq!(scene.apply(), "Applied | daas-egress 20.0.0.0/24");
    assert_eq!(scene.problems().len(), 1);
}

#[test]
fn the_config_map_says_the_same_as_the_policies() {
    let scene = Scene::applied();
    let map = scene.objects.iter().find(|(key, _)| !key.is_policy()).expect("a ConfigMap").1;
    assert!(map.body.json.get().contains(r"13.64.0.1/32\n13.64.0.2/32\n20.0.0.0/24"), "{}", map.body.json);
}
