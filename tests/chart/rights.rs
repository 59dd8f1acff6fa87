//! Rights: what the chart's roles give, what the operator did with them, and whether it would miss each.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use test_support::ControlPlane;

/// What a rule gives, or a request needs: one verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Empty: in every namespace, or to what is in none.
    pub namespace: String,
    /// Empty: Kubernetes' core.
    pub group: String,
    /// `networkpolicies`, `citrixallowlists/status`.
    pub resource: String,
    /// `get`, `patch`.
    pub verb: String,
    /// The one object that it is about; empty for all.
    pub name: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, group, resource, verb, name } = self;
        write!(f, "{verb} {resource}")?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        if !name.is_empty() {
            write!(f, "/{name}")?;
        }
        if namespace.is_empty() { f.write_str(" everywhere") } else { write!(f, " in {namespace}") }
    }
}

impl Right {
    /// Whether this, given, is enough for that, needed.
    fn covers(&self, needed: &Self) -> bool {
        (self.namespace.is_empty() || self.namespace == needed.namespace)
            && (self.name.is_empty() || self.name == needed.name)
            && (&self.group, &self.resource, &self.verb) == (&needed.group, &needed.resource, &needed.verb)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The rights of one rule of a role in `namespace`.
fn of_rule(namespace: &str, rule: &Value) -> Vec<Right> {
    let list = |key: &str| rule[key].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let mut names = list("resourceNames");
    if names.is_empty() {
        names.push(String::new());
    }
    let mut rights = Vec::new();
    for group in list("apiGroups") {
        for resource in list("resources") {
            for verb in list("verbs") {
                rights.extend(names.iter().map(|name| Right {
                    namespace: namespace.to_owned(),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    rights
}

fn rules(role: &Value) -> impl Iterator<Item = &Value> {
    role.get("rules").and_then(Value::as_array).into_iter().flatten()
}

/// What the rendered roles give.
pub fn granted(rendered: &[Value]) -> BTreeSet<Right> {
    let roles = rendered.iter().map(|role| (text(&role["metadata"]["namespace"]), role));
    roles
        .flat_map(|(namespace, role)| rules(role).flat_map(|rule| of_rule(&namespace, rule)).collect::<Vec<_>>())
        .collect()
}

/// A request as the API server wrote it down.
#[derive(Clone, Debug)]
pub struct Request {
    right: Right,
    code: i64,
    message: String,
    /// Whether it made an object that blocks the deletion of its owner.
    blocks: bool,
}

impl Request {
    fn of(event: &Value) -> Option<Self> {
        let reference = &event["objectRef"];
        let resource = reference["resource"].as_str()?;
        let resource = match reference["subresource"].as_str() {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource.to_owned(),
        };
        let owners = event["requestObject"]["metadata"]["ownerReferences"].as_array();
        Some(Self {
            right: Right {
                namespace: text(&reference["namespace"]),
                group: text(&reference["apiGroup"]),
                resource,
                verb: text(&event["verb"]),
                name: text(&reference["name"]),
            },
            code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
            message: text(&event["responseStatus"]["message"]),
            blocks: owners.into_iter().flatten().any(|owner| owner["blockOwnerDeletion"] == true),
        })
    }

    fn is_refused(&self) -> bool {
        self.code == 403
    }

    /// What it takes to carry it out: its own verb, and what the API server asks for beside it.
    fn needs(&self) -> Vec<Right> {
        let mut needs = vec![self.right.clone()];
        let made = self.code == 201;
        if made && self.right.verb == "patch" {
            // An apply that makes the object.
            needs.push(Right { verb: "create".to_owned(), ..self.right.clone() });
        }
        if made && self.blocks {
            // OwnerReferencesPermissionEnforcement.
            needs.push(Right {
                group: "citrix-allowlist.io".to_owned(),
                resource: "citrixallowlists/finalizers".to_owned(),
                verb: "update".to_owned(),
                name: String::new(),
                ..self.right.clone()
            });
        }
        needs
    }
}

/// Everything in an audit log, written at the level `Request`.
pub fn requests(audit: &Path) -> Vec<Request> {
    let log = std::fs::read_to_string(audit).unwrap();
    // The last line may still be on its way.
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(|event| Request::of(&event)).collect()
}

/// What was refused, each with the API server's words.
pub fn refused(requests: &[Request]) -> BTreeSet<String> {
    let refused = requests.iter().filter(|request| request.is_refused());
    refused.map(|request| format!("{}: {}", request.right, request.message)).collect()
}

/// What all that was carried out took, once each. Objects' names matter only where a role names them.
fn needed(requests: &[Request]) -> BTreeSet<Right> {
    let done = requests.iter().filter(|request| !request.is_refused());
    let needs = done.flat_map(Request::needs).map(|right| match right.resource.as_str() {
        "leases" => right,
        _ => Right { name: String::new(), ..right },
    });
    needs.collect()
}

/// What the roles give and nothing used.
pub fn unused(rendered: &[Value], requests: &[Request]) -> BTreeSet<String> {
    let needed = needed(requests);
    let idle = granted(rendered).into_iter().filter(|right| !needed.iter().any(|need| right.covers(need)));
    idle.map(|right| right.to_string()).collect()
}

/// The roles without one right, bound to a user of the given name and to nobody else.
fn without(rendered: &[Value], lost: &Right, user: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    for role in rendered.iter().filter(|role| role.get("rules").is_some()) {
        let namespace = text(&role["metadata"]["namespace"]);
        let left: Vec<Value> = rules(role)
            .flat_map(|rule| of_rule(&namespace, rule))
            .filter(|right| right != lost)
            .map(|right| {
                let mut rule =
                    json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb] });
                if !right.name.is_empty() {
                    rule["resourceNames"] = json!([right.name]);
                }
                rule
            })
            .collect();
        let kind = text(&role["kind"]);
        let name = format!("{}-{user}", text(&role["metadata"]["name"]));
        let metadata = match &*namespace {
            "" => json!({ "name": name }),
            namespace => json!({ "name": name, "namespace": namespace }),
        };
        let api = "rbac.authorization.k8s.io";
        let version = format!("{api}/v1");
        objects.push(json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "rules": left }));
        objects.push(json!({ "apiVersion": version, "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": { "apiGroup": api, "kind": kind, "name": name },
            "subjects": [{ "apiGroup": api, "kind": "User", "name": user }] }));
    }
    objects
}

/// Takes each right out of the roles in turn and asks the API server's own authorizer, for everything that the operator
/// did, whether it would have been refused. Returns the rights that would not have been missed, and what would have been
/// refused although another right was taken.
pub async fn not_missed(cluster: &ControlPlane, rendered: &[Value], requests: &[Request]) -> Vec<String> {
    let needed = needed(requests);
    let granted: Vec<Right> = granted(rendered).into_iter().collect();
    let user = |index: usize| format!("without-{index}");
    let objects: Vec<Value> =
        granted.iter().enumerate().flat_map(|(index, lost)| without(rendered, lost, &user(index))).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster.apply(&list.to_string()).await.unwrap();
    let reviews = Api::<SubjectAccessReview>::all(cluster.client().await.unwrap());
    let (reviews, needed) = (&reviews, &needed);
    let denied = async |user: &str| {
        stream::iter(needed)
            .map(async |need| {
                let answer = reviews.create(&PostParams::default(), &review(user, need)).await.unwrap();
                (!answer.status.unwrap_or_default().allowed).then(|| need.clone())
            })
            .buffered(8)
            .filter_map(async |denied| denied)
            .collect::<Vec<Right>>()
            .await
    };
    let mut found = Vec::new();
    for (index, lost) in granted.iter().enumerate() {
        let mut missed = denied(&user(index)).await;
        // The API server watches its own roles: all of a user's are in force a moment after they are written.
        for _ in 0..300 {
            if missed.iter().all(|need| lost.covers(need)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            missed = denied(&user(index)).await;
        }
        if missed.is_empty() {
            found.push(format!("nobody would miss {lost}"));
        }
        let other = missed.iter().filter(|need| !lost.covers(need));
        found.extend(other.map(|need| format!("without {lost}, {need} is refused")));
    }
    println!("{} rights, each needed by some of {} kinds of requests", granted.len(), needed.len());
    found
}

fn review(user: &str, need: &Right) -> SubjectAccessReview {
    let (resource, subresource) = match need.resource.split_once('/') {
        Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
        None => (need.resource.clone(), None),
    };
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        namespace: given(&need.namespace),
        group: Some(need.group.clone()),
        resource: Some(resource),
        subresource,
        verb: Some(need.verb.clone()),
        name: given(&need.name),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}
