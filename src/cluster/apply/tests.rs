use super::*;
use crate::cluster::fake_api;
use crate::engines::network_policy::{NETWORK_POLICY, body, fold};
use crate::lock::lock;
use crate::resource_ref::ResourceRef;
use axum::http::{Method, Uri};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use std::sync::Mutex;

const UID: &str = "0b6f6d0c-5a5e-4a39-9f0b-1f1d3b1c5a11";

impl WriteObserver for () {
    fn wrote(&self, _: &'static str, _: &'static str, _: &'static str) {}
}

fn policy() -> Value {
    let owner = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "kitsune", "uid": UID,
        "controller": true,
    });
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "name": "kitsune-egress", "namespace": "den", "uid": "1", "resourceVersion": "7", "ownerReferences": [owner],
        },
        "spec": { "podSelector": {}, "policyTypes": ["Egress"] },
    })
}

/// A writer to an API server that answers each request: see [`fake_api::client`].
fn writer_to(answer: impl Fn(&Method, &Uri, Value) -> (u16, Value) + Send + Sync + 'static) -> Writer {
    Writer::new(fake_api::client(answer), Leadership::always(), Arc::default(), Arc::new(()))
}

/// To an API server that answers by verb: creations with `create`, everything else with the policy.
fn writer(create: (u16, Value)) -> Writer {
    writer_to(move |method, _, _| if method == Method::POST { create.clone() } else { (200, policy()) })
}

async fn create(writer: &Writer) -> Result<Done, WriteError> {
    let owner = named("kitsune", UID);
    let key = ObjectKey::new(&NETWORK_POLICY, "den", "kitsune-egress");
    let policy: NetworkPolicy = serde_json::from_value(policy()).expect("a policy");
    let body = body(&policy.spec.expect("a spec"));
    let desired = Desired { metadata: policy.metadata, body };
    writer.carry_out(&owner, &Change::Create(key, desired), &Arc::default()).await
}

#[tokio::test]
async fn a_policy_that_existed_before_is_not_created() {
    assert_eq!(create(&writer((201, policy()))).await.expect("created"), Done::Created);
    let exists =
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409 });
    let taken_over = create(&writer((409, exists))).await.expect("ours by the uid of its owner");
    assert_eq!(taken_over, Done::Changed, "or a failure of its sibling would take it back, and open everything");
}

/// To an API server with one living resource, and one policy of a previous owner of its name, which `controller` controls by
/// now. Also returns the patches it is sent.
fn previous_owner(living: &str, controller: &str) -> (Writer, ObjectKey, Arc<Mutex<Vec<Value>>>) {
    let mut left = policy();
    let sibling = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "9" });
    left["metadata"]["ownerReferences"].as_array_mut().expect("references").push(sibling);
    let resource = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": { "name": "kitsune", "namespace": "den", "uid": living, "resourceVersion": "8" },
    });
    let resources = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": [resource],
    });
    let patches = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut object) = (Arc::clone(&patches), left.clone());
    object["metadata"]["ownerReferences"][0]["name"] = json!(controller);
    let writer = writer_to(move |method, uri, patch| {
        let is_list = uri.path().ends_with("/citrixallowlists");
        let mut body = if is_list { resources.clone() } else { object.clone() };
        if method == Method::PATCH {
            body["metadata"]["ownerReferences"] = patch["metadata"]["ownerReferences"].clone();
            body["metadata"]["resourceVersion"] = json!("8");
            lock(&seen).push(patch);
        }
        (200, body)
    });
    let key = ObjectKey::new(&NETWORK_POLICY, "den", "kitsune-egress");
    let left: NetworkPolicy = serde_json::from_value(left).expect("a policy");
    writer.owned.observe(key.clone(), fold(&left));
    (writer, key, patches)
}

const SUCCESSOR: &str = "c3d1a1de-1111-4a39-9f0b-1f1d3b1c5a11";

fn named(name: &str, uid: &str) -> OwnerRef {
    OwnerRef { resource: ResourceRef::new("den", name), uid: uid.into() }
}

#[tokio::test]
async fn a_previous_owners_object_is_adopted_and_nothing_else_changes() {
    let (writer, key, patches) = previous_owner(SUCCESSOR, "kitsune");
    let successor = named("kitsune", SUCCESSOR);
    assert!(writer.owned.of(&successor.resource, SUCCESSOR).is_empty());
    assert_eq!(writer.adopt_previous(&successor).await.expect("the living one"), 1);
    let owned = writer.owned.of(&successor.resource, SUCCESSOR);
    assert_eq!(owned.keys().collect::<Vec<_>>(), [&key], "to be kept right, or deleted, like any other");
    let references = json!([
        {
            "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "kitsune",
            "uid": SUCCESSOR, "controller": true, "blockOwnerDeletion": true,
        },
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "9" },
    ]);
    let patch = json!({ "metadata": { "uid": "1", "resourceVersion": "7", "ownerReferences": references } });
    assert_eq!(*lock(&patches), [patch]);
    assert_eq!(writer.adopt_previous(&successor).await.expect("done already"), 0);
    assert_eq!(writer.adopt_previous(&named("tanuki", SUCCESSOR)).await.expect("nothing of its name"), 0);
}

#[tokio::test]
async fn a_gone_resource_or_a_changed_owner_adopts_nothing() {
    for (living, controller) in [(UID, "kitsune"), (SUCCESSOR, "tanuki")] {
        let (writer, _, patches) = previous_owner(living, controller);
        let refused = writer.adopt_previous(&named("kitsune", SUCCESSOR)).await;
        assert!(matches!(refused, Err(WriteError::Changed(_))), "{refused:?}");
        assert!(lock(&patches).is_empty());
    }
}
