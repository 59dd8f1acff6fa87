//! Random sequences of requests. A sequence is a value, so that it can be sent to two servers, shrunk, and printed.

use super::bodies;
use fastrand::Rng;
use serde_json::{Value, json};
use std::fmt;

/// One request. `@metadata` in its body stands for the object's newest metadata. `@uid`, `@old-uid`, `@rv` and `@old-rv` in its body stand for the newest and the first that the object's answers
/// had; `@continue` in its query for the newest token of the resource's lists.
#[derive(Clone, Debug)]
pub struct Step {
    pub verb: &'static str,
    pub resource: &'static Resource,
    pub name: &'static str,
    pub subresource: &'static str,
    pub query: Vec<(&'static str, String)>,
    pub metadata_only: bool,
    pub body: Value,
}

/// A resource that sequences write.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    pub api: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

pub static RESOURCES: [Resource; 5] = [
    Resource { api: "v1", kind: "ConfigMap", plural: "configmaps" },
    Resource { api: "networking.k8s.io/v1", kind: "NetworkPolicy", plural: "networkpolicies" },
    Resource { api: "citrix-allowlist.io/v1alpha1", kind: "CitrixAllowlist", plural: "citrixallowlists" },
    Resource { api: "coordination.k8s.io/v1", kind: "Lease", plural: "leases" },
    Resource { api: "events.k8s.io/v1", kind: "Event", plural: "events" },
];

impl Resource {
    /// The path of its objects in a namespace.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.api.contains('/') { "apis" } else { "api" };
        format!("/{root}/{}/namespaces/{namespace}/{}", self.api, self.plural)
    }
}

impl Step {
    pub fn method(&self) -> &'static str {
        match self.verb {
            "create" => "POST",
            "update" => "PUT",
            "merge" | "json" | "apply" => "PATCH",
            "delete" => "DELETE",
            _ => "GET",
        }
    }

    pub fn content_type(&self) -> &'static str {
        match self.verb {
            "merge" => "application/merge-patch+json",
            "json" => "application/json-patch+json",
            "apply" => "application/apply-patch+yaml",
            _ => "application/json",
        }
    }

    pub fn accept(&self) -> &'static str {
        match (self.metadata_only, self.verb) {
            (false, _) => "application/json",
            (true, "list") => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            (true, _) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource.plural)?;
        for part in [self.name, self.subresource].iter().filter(|part| !part.is_empty()) {
            write!(f, "/{part}")?;
        }
        for (key, value) in &self.query {
            write!(f, " {key}={value}")?;
        }
        if self.metadata_only {
            write!(f, " (metadata)")?;
        }
        if !self.body.is_null() {
            write!(f, " {}", self.body)?;
        }
        Ok(())
    }
}

/// Sequences stay with few resources and names, so that their steps meet.
pub fn sequence(random: &mut Rng, length: usize) -> Vec<Step> {
    let resource = &RESOURCES[random.usize(..RESOURCES.len())];
    let other = &RESOURCES[random.usize(..RESOURCES.len())];
    let mut next = |at| {
        let resource = if random.u8(..4) > 0 { resource } else { other };
        step(random, resource, at)
    };
    (0..length).map(&mut next).collect()
}

fn pick<T: Copy>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())]
}

fn step(random: &mut Rng, resource: &'static Resource, at: usize) -> Step {
    let verbs: &[&'static str] = match at {
        0..=1 => &["create", "apply"],
        _ => &[
            "create", "apply", "apply", "apply", "apply", "update", "update", "merge", "merge", "merge", "json",
            "delete", "delete", "get", "list", "list",
        ],
    };
    let verb = pick(random, verbs);
    let name = pick(random, &["a", "a", "a", "b"]);
    let has_status = resource.kind == "CitrixAllowlist" && matches!(verb, "apply" | "update" | "merge");
    let subresource = if has_status && random.u8(..3) == 0 { "status" } else { "" };
    let mut query = Vec::new();
    let writes = !matches!(verb, "get" | "list" | "delete");
    if writes && (verb == "apply" || random.u8(..8) > 0) {
        query.push(("fieldManager", pick(random, &["one", "one", "two", "three"]).to_owned()));
    }
    if verb == "apply" && random.u8(..3) > 0 {
        query.push(("force", "true".to_owned()));
    }
    if (writes || verb == "delete") && random.u8(..12) == 0 {
        query.push(("dryRun", "All".to_owned()));
    }
    if verb == "list" {
        query.extend(list_query(random));
    }
    let body = match verb {
        "create" => whole(random, resource, name, "", &[("resourceVersion", 20)]),
        // As a client does that read the object before.
        "update" if random.u8(..4) == 0 => {
            let mut object = whole(random, resource, name, subresource, &[]);
            object["metadata"] = "@metadata".into();
            object
        }
        "update" => whole(
            random,
            resource,
            name,
            subresource,
            &[("@rv", 2), ("resourceVersion", 8), ("@uid", 4), ("@old-uid", 8)],
        ),
        "apply" => whole(
            random,
            resource,
            name,
            subresource,
            &[("@rv", 4), ("resourceVersion", 12), ("@uid", 4), ("@old-uid", 12)],
        ),
        "merge" => bodies::merge_patch(random, resource.kind, subresource),
        "json" => bodies::json_patch(random),
        "delete" => bodies::delete_options(random),
        _ => Value::Null,
    };
    let named = !matches!(verb, "create" | "list");
    let metadata_only = random.u8(..5) == 0;
    Step { verb, resource, name: if named { name } else { "" }, subresource, query, metadata_only, body }
}

fn list_query(random: &mut Rng) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    match random.u8(..6) {
        0 => query.push((
            "labelSelector",
            pick(random, &["app=x", "app==x,tier", "app in (x, y)", "app notin (x)", "!app", "app!=x", "app"])
                .to_owned(),
        )),
        1 => query.push(("fieldSelector", pick(random, &["metadata.name=a", "metadata.name!=a"]).to_owned())),
        2 | 3 => query.push(("limit", "1".to_owned())),
        4 => query.extend([("limit", "1".to_owned()), ("continue", "@continue".to_owned())]),
        _ => {}
    }
    query
}

/// A whole object. Each of `with` is added to its metadata once in so many times.
fn whole(random: &mut Rng, resource: &Resource, name: &str, subresource: &str, with: &[(&str, u8)]) -> Value {
    let mut object = bodies::object(random, resource.kind, subresource);
    object["apiVersion"] = resource.api.into();
    object["kind"] = resource.kind.into();
    object["metadata"]["name"] = name.into();
    for (what, once_in) in with {
        if random.u8(..*once_in) != 0 {
            continue;
        }
        match *what {
            "resourceVersion" => object["metadata"]["resourceVersion"] = "@old-rv".into(),
            "@rv" => object["metadata"]["resourceVersion"] = "@rv".into(),
            uid => object["metadata"]["uid"] = uid.into(),
        }
    }
    if random.u8(..25) == 0 {
        object["metadata"]["name"] = json!("other");
    }
    object
}
