use super::*;
use crate::crd::{ADDITIONAL_ANNOTATION, FIELD_MANAGER, SELECTION_ANNOTATION};
use crate::engines::network_policy::{NETWORK_POLICY, body, fold};
use crate::export;
use crate::objects::desired::Desired;
use crate::objects::observed::fold_answer;
use crate::objects::owner::owner_reference;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

fn managed(manager: &str, fields: Value) -> Value {
    json!({ "manager": manager, "operation": "Apply", "fieldsV1": fields })
}

fn ours() -> Value {
    let spec = json!({ "f:egress": {}, "f:podSelector": {}, "f:policyTypes": {} });
    managed(FIELD_MANAGER, json!({ "f:spec": spec }))
}

/// A rule for the peers of a network; `side` is `to` or `from`.
fn rule(side: &str, cidr: &str) -> Value {
    json!({ side: [{ "ipBlock": { "cidr": cidr } }], "ports": [{ "protocol": "TCP", "port": 443 }] })
}

fn policy(managed_fields: Value, more: Value) -> NetworkPolicy {
    let egress = [rule("to", "20.1.2.3/32")];
    let mut spec = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": egress });
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let object = json!({ "metadata": { "name": "kitsune-egress", "managedFields": managed_fields }, "spec": spec });
    serde_json::from_value(object).expect("a policy")
}

fn recovered(policy: &NetworkPolicy) -> Vec<String> {
    match fold(policy).memory.as_deref() {
        Some(RecoveredState::Rules { rules, .. }) => {
            rules.iter().map(|(direction, ports, networks)| format!("{direction} {ports} {networks:?}")).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn rules_that_are_still_ours_are_recovered() {
    let kept = ["outbound TCP 443 [20.1.2.3/32]"];
    assert_eq!(recovered(&policy(json!([ours()]), json!({}))), kept);
    let edited = managed("kubectl-edit", json!({ "f:spec": { "f:egress": {} } }));
    let rest = managed(FIELD_MANAGER, json!({ "f:spec": { "f:podSelector": {}, "f:policyTypes": {} } }));
    assert!(recovered(&policy(json!([rest, edited]), json!({}))).is_empty());
    let ingress = json!({ "ingress": [rule("from", "66.6.6.6/32")] });
    let stranger = managed("kubectl-edit", json!({ "f:spec": { "f:ingress": {} } }));
    assert_eq!(recovered(&policy(json!([ours(), stranger]), ingress)), kept, "the policy governs no ingress");
}

#[test]
fn rules_without_a_known_writer_are_not_ours() {
    assert!(recovered(&policy(json!([]), json!({}))).is_empty(), "managed fields can be cleared");
    let map = json!({ "metadata": { "name": "kitsune-cidrs" }, "data": { "endpoints.json": "{}" } });
    let map: ConfigMap = serde_json::from_value(map).expect("a ConfigMap");
    assert_eq!(export::fold(&map).memory, None);
}

/// A policy of the resource `den/kitsune` in some version, with one network.
fn of_kitsune(version: &str, cidr: &str) -> NetworkPolicy {
    let mut policy = policy(json!([ours()]), json!({ "egress": [rule("to", cidr)] }));
    policy.metadata.namespace = Some("den".to_owned());
    policy.metadata.uid = Some("2".to_owned());
    policy.metadata.resource_version = Some(version.to_owned());
    policy.metadata.owner_references = Some(vec![owner_reference("kitsune", "1")]);
    policy
}

#[test]
fn a_sent_object_counts_until_the_watch_shows_it() {
    let (sent, altered) = (of_kitsune("7", "20.1.2.3/32"), of_kitsune("7", "66.6.6.0/24"));
    let key = ObjectKey::new(&NETWORK_POLICY, "den", "kitsune-egress");
    let body = body(sent.spec.as_ref().expect("a spec"));
    let desired = Desired { metadata: sent.metadata.clone(), body };
    let answer = fold_answer(&sent.metadata, &desired);
    let kitsune = ResourceRef::new("den", "kitsune");
    let (same, other) = (fold(&sent), fold(&altered));

    let owned = OwnedObjects::default();
    assert_eq!(owned.observe(key.clone(), answer.clone()), std::slice::from_ref(&kitsune));
    assert!(!owned.knows(&key, &sent.metadata), "the watch has yet to show it");
    assert_eq!(owned.observe(key.clone(), same.clone()), [], "it is as it was sent");
    assert!(owned.knows(&key, &sent.metadata));
    assert_eq!(owned.get(&key), Some(same.clone()));
    // The watch may be faster than the answer.
    assert_eq!(owned.observe(key.clone(), answer.clone()), []);
    assert_eq!(owned.get(&key), Some(same), "a seen object, not merely a sent one");

    // Something between us and the cluster altered it.
    let owned = OwnedObjects::default();
    owned.observe(key.clone(), answer.clone());
    assert_eq!(owned.observe(key.clone(), other.clone()), [kitsune]);
    assert_eq!(owned.observe(key.clone(), answer), []);
    assert_eq!(owned.get(&key), Some(other));
}

/// No policy recorded which entries were the user's own. Entries they removed while the operator was away, along with the
/// ConfigMap, stayed for a whole retention.
#[test]
fn an_annotation_is_read_only_where_the_operator_wrote_it() {
    let digest = "v1-0123456789abcdef";
    let read = |fields: Value| {
        let mut policy = policy(json!([ours(), managed(FIELD_MANAGER, json!({ "f:metadata": fields }))]), json!({}));
        let listed = "20.8.0.0/16,nonsense,2603:1030::/64".to_owned();
        policy.metadata.annotations = Some(
            [(ADDITIONAL_ANNOTATION.to_owned(), listed), (SELECTION_ANNOTATION.to_owned(), digest.to_owned())].into(),
        );
        match fold(&policy).memory.as_deref() {
            Some(RecoveredState::Rules { users, selection, .. }) => (users.len(), selection.is_some()),
            memory => panic!("{memory:?}"),
        }
    };
    let path = |key: &str| format!("f:{key}");
    let both = json!({ "f:annotations": { path(ADDITIONAL_ANNOTATION): {}, path(SELECTION_ANNOTATION): {} } });
    assert_eq!(read(both), (2, true));
    assert_eq!(read(json!({ "f:annotations": { path(SELECTION_ANNOTATION): {} } })), (0, true));
    assert_eq!(read(json!({})), (0, false), "another manager wrote it");
}

#[test]
fn what_is_older_than_a_list_or_gone_from_it_is_not_current() {
    let key = || ObjectKey::new(&NETWORK_POLICY, "den", "kitsune-egress");
    let known = |version: &str| {
        let owned = OwnedObjects::default();
        owned.observe(key(), fold(&of_kitsune(version, "20.1.2.3/32")));
        owned
    };
    let listed = |at: &str, version: Option<&str>| ListedVersions {
        at: at.to_owned(),
        objects: version.map(|version| (key(), version.to_owned())).into_iter().collect(),
    };
    let has_all = |owned: &OwnedObjects, listed: &ListedVersions| owned.has_all(&NETWORK_POLICY, None, listed);
    assert!(has_all(&known("7"), &listed("9", Some("7"))));
    assert!(has_all(&known("8"), &listed("7", Some("7"))), "a write came after the list");
    assert!(!has_all(&known("6"), &listed("9", Some("7"))), "the watch is behind");
    assert!(!has_all(&OwnedObjects::default(), &listed("9", Some("7"))), "it was not seen");
    assert!(!has_all(&known("7"), &listed("9", None)), "its deletion was not seen");
    assert!(has_all(&known("8"), &listed("7", None)), "it was created after the list");
    assert!(known("6").has_all(&NETWORK_POLICY, Some("other"), &listed("9", None)), "another namespace's list");
}

/// What a recorder is told about `den/kitsune`, each step as its networks before and after, and by whom.
fn told(events: &mut tokio::sync::mpsc::UnboundedReceiver<TrailEvent>) -> Vec<String> {
    let networks = |policies: &[Arc<PolicyAllows>]| {
        let rules = policies.iter().flat_map(|policy| &policy.0).flat_map(|governed| &governed.rules);
        rules.flat_map(|rule| rule.networks.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
    };
    let text = |event| match event {
        TrailEvent::Begins(allowed) => {
            let all: Vec<String> = allowed.values().map(|policies| networks(policies)).collect();
            format!("begins: {}", all.join("; "))
        }
        TrailEvent::Step(resource, step) => {
            let who = match &step.origin {
                ChangedBy::Written(cause) => format!("written for {:?}", cause.causes),
                ChangedBy::Edited(by) => format!("edited by {}", by.as_deref().unwrap_or("somebody")),
                other => format!("{other:?}"),
            };
            format!("{resource}: {} -> {}, {who}", networks(&step.before), networks(&step.after))
        }
        TrailEvent::Adopted(resource, _) => format!("{resource} adopted"),
        TrailEvent::Ends => "ends".to_owned(),
    };
    std::iter::from_fn(|| events.try_recv().ok()).map(text).collect()
}

#[test]
fn every_change_is_told_once_and_by_whom() {
    let (owned, key) = (OwnedObjects::default(), ObjectKey::new(&NETWORK_POLICY, "den", "kitsune-egress"));
    let (to, mut events) = tokio::sync::mpsc::unbounded_channel();
    owned.record_to(to);
    let seen = |version, cidr| drop(owned.observe(key.clone(), fold(&of_kitsune(version, cidr))));
    seen("1", "20.1.2.3/32");
    owned.begin_trail();
    assert_eq!(told(&mut events), ["begins: 20.1.2.3/32"], "nothing is told before a begin");

    // The answer to a write comes first, then the watch shows it, or the reverse.
    let cause = Arc::new(WriteCause { causes: vec![crate::trail::Cause::List], ..WriteCause::default() });
    let write = |version, cidr, is_watch_first: bool| {
        let written = of_kitsune(version, cidr);
        let desired =
            Desired { metadata: written.metadata.clone(), body: body(written.spec.as_ref().expect("a spec")) };
        owned.writes(&key, desired.allows(), &cause);
        if is_watch_first {
            seen(version, cidr);
        }
        owned.observe(key.clone(), fold_answer(&written.metadata, &desired));
        owned.wrote(&key);
        seen(version, cidr);
    };
    write("2", "20.1.2.4/32", false);
    assert_eq!(told(&mut events), ["den/kitsune: 20.1.2.3/32 -> 20.1.2.4/32, written for [List]"]);
    write("3", "20.1.2.5/32", true);
    assert_eq!(told(&mut events), ["den/kitsune: 20.1.2.4/32 -> 20.1.2.5/32, written for [List]"]);

    let mut edited = of_kitsune("4", "66.6.6.0/24");
    let stranger = managed("kubectl-edit", json!({ "f:spec": { "f:egress": {} } }));
    edited.metadata.managed_fields = Some(vec![serde_json::from_value(stranger).expect("an entry")]);
    owned.observe(key.clone(), fold(&edited));
    assert_eq!(told(&mut events), ["den/kitsune: 20.1.2.5/32 -> 66.6.6.0/24, edited by kubectl-edit"]);
    let mut released = edited.clone();
    (released.metadata.resource_version, released.metadata.owner_references) = (Some("5".to_owned()), None);
    owned.observe(key.clone(), fold(&released));
    assert_eq!(told(&mut events), ["den/kitsune: 66.6.6.0/24 -> , Released"]);
    seen("6", "20.1.2.3/32");
    owned.forget(&key, "2");
    let back = "den/kitsune:  -> 20.1.2.3/32, edited by somebody";
    assert_eq!(told(&mut events), [back, "den/kitsune: 20.1.2.3/32 -> , Deleted"]);

    // What another leader did meanwhile is in no step: the next begin says what is in force.
    owned.start_over();
    seen("9", "20.1.2.9/32");
    owned.begin_trail();
    assert_eq!(told(&mut events), ["ends", "begins: 20.1.2.9/32"]);
}
