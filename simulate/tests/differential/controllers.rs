//! Garbage collection and the end of a namespace: the same steps on both, and the objects that are left when the controllers
//! have done their work.

use super::{MODEL_ACCOUNT, model_with};
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use test_support::ControlPlane;

/// How long the real controllers may take: they hear of changes at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the names of a namespace's objects are, with those of their owners.
type Left = BTreeSet<(String, Vec<String>)>;

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let gvk = match kind {
        "NetworkPolicy" => GroupVersionKind::gvk("networking.k8s.io", "v1", kind),
        "CitrixAllowlist" => GroupVersionKind::gvk("citrix-allowlist.io", "v1alpha1", kind),
        _ => GroupVersionKind::gvk("", "v1", kind),
    };
    let plural = match kind {
        "NetworkPolicy" => "networkpolicies",
        "CitrixAllowlist" => "citrixallowlists",
        _ => "configmaps",
    };
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, plural))
}

const KINDS: [&str; 3] = ["ConfigMap", "NetworkPolicy", "CitrixAllowlist"];

/// An owner in a scene: how it is deleted, and which objects it has.
const OWNERS: [(&str, &str, Option<&str>); 6] = [
    ("CitrixAllowlist", "background", Some("Background")),
    ("CitrixAllowlist", "foreground", Some("Foreground")),
    ("CitrixAllowlist", "orphan", Some("Orphan")),
    ("CitrixAllowlist", "default", None),
    ("ConfigMap", "map", Some("Background")),
    ("ConfigMap", "stays", Some("")),
];

/// Creates owners and dependents, and deletes owners.
async fn play(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let mut uids = BTreeMap::new();
    let create = async |kind: &str, name: &str, owners: &[(&str, &str, &str)]| -> anyhow::Result<String> {
        let owners: Vec<_> = owners
            .iter()
            .map(|(kind, name, uid)| {
                let version = if *kind == "ConfigMap" { "v1" } else { "citrix-allowlist.io/v1alpha1" };
                json!({ "apiVersion": version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": true })
            })
            .collect();
        let mut object = json!({ "metadata": { "name": name, "ownerReferences": owners } });
        let version = match kind {
            "NetworkPolicy" => "networking.k8s.io/v1",
            "CitrixAllowlist" => "citrix-allowlist.io/v1alpha1",
            _ => "v1",
        };
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        match kind {
            "NetworkPolicy" => object["spec"] = json!({ "podSelector": {}, "policyTypes": ["Egress"] }),
            "CitrixAllowlist" => object["spec"] = json!({ "customerId": "acme" }),
            _ => object["data"] = json!({ "k": "v" }),
        }
        let object: DynamicObject = serde_json::from_value(object)?;
        let made = api(client, namespace, kind).create(&PostParams::default(), &object).await?;
        Ok(made.uid().unwrap_or_default())
    };
    for (kind, name, _) in OWNERS {
        uids.insert(name, create(kind, name, &[]).await?);
    }
    for (kind, name, _) in OWNERS {
        let (owner, stays) = ((kind, name, &*uids[name]), ("ConfigMap", "stays", &*uids["stays"]));
        create("NetworkPolicy", &format!("of-{name}"), &[owner]).await?;
        create(
            "ConfigMap",
            &format!("of-{name}-and-stays"),
            &if name == "stays" { vec![owner] } else { vec![owner, stays] },
        )
        .await?;
    }
    create("ConfigMap", "of-nobody", &[("ConfigMap", "gone", "11111111-0000-0000-0000-000000000000")]).await?;
    create("ConfigMap", "of-another", &[("ConfigMap", "map", "11111111-0000-0000-0000-000000000000")]).await?;
    for (kind, name, policy) in OWNERS {
        let parameters = match policy {
            Some("Background") => DeleteParams::background(),
            Some("Foreground") => DeleteParams::foreground(),
            Some("Orphan") => DeleteParams::orphan(),
            None => DeleteParams::default(),
            Some(_) => continue,
        };
        api(client, namespace, kind).delete(name, &parameters).await?;
    }
    Ok(())
}

async fn left(client: &Client, namespace: &str) -> anyhow::Result<Left> {
    let mut left = Left::new();
    for kind in KINDS {
        let list = api(client, namespace, kind).list(&ListParams::default()).await?;
        // The cluster puts one of its own into every namespace.
        left.extend(list.iter().filter(|object| object.name_any() != "kube-root-ca.crt").map(|object| {
            let owners = object.owner_references().iter().map(|owner| owner.name.clone()).collect();
            (format!("{kind}/{}", object.name_any()), owners)
        }));
    }
    Ok(left)
}

/// Where the servers differ in the end.
pub async fn difference(real: &ControlPlane) -> anyhow::Result<Option<String>> {
    let namespace = real.fresh_namespace("controllers").await?;
    let (client, server) = (real.client().await?, model_with(&namespace));
    let model = server.client(MODEL_ACCOUNT, &namespace);
    play(&model, &namespace).await?;
    while server.with(|store| store.collect_garbage()) {}
    let of_model = left(&model, &namespace).await?;
    play(&client, &namespace).await?;
    if let Some(found) = settle(&client, &namespace, &of_model).await? {
        return Ok(Some(found));
    }
    let namespaces = |client: &Client| Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone());
    namespaces(&model).delete(&namespace, &DeleteParams::default()).await?;
    while server.with(|store| store.terminate_namespaces() || store.collect_garbage()) {}
    namespaces(&client).delete(&namespace, &DeleteParams::default()).await?;
    let empty = left(&model, &namespace).await?;
    let found = settle(&client, &namespace, &empty).await?;
    let gone = namespaces(&model).get_opt(&namespace).await?.is_none() && empty.is_empty();
    Ok(found.or_else(|| (!gone).then(|| "the namespace of the model stays".to_owned())))
}

/// Waits until the real server has the same objects; returns what differs if it never has.
async fn settle(client: &Client, namespace: &str, expected: &Left) -> anyhow::Result<Option<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = left(client, namespace).await?;
        if found == *expected {
            return Ok(None);
        }
        if Instant::now() > deadline {
            let (real, model) = (found.difference(expected), expected.difference(&found));
            return Ok(Some(format!(
                "only real: {:?}\nonly model: {:?}",
                real.collect::<Vec<_>>(),
                model.collect::<Vec<_>>()
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
