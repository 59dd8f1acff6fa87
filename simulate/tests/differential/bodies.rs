//! Random content of objects and patches: small, so that steps collide in the same fields.

use fastrand::Rng;
use serde_json::{Map, Value, json};

fn pick<T: Clone>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())].clone()
}

fn once_in(random: &mut Rng, times: u8) -> bool {
    random.u8(..times) == 0
}

fn map(random: &mut Rng, keys: &[&str], values: &[&str]) -> Value {
    let mut map = Map::new();
    for key in keys {
        if random.bool() {
            map.insert((*key).to_owned(), pick(random, values).into());
        }
    }
    map.into()
}

/// An object's metadata and content, without version, kind and name.
pub fn object(random: &mut Rng, kind: &str, subresource: &str) -> Value {
    let mut object = json!({ "metadata": metadata(random) });
    if subresource == "status" {
        object["status"] = status(random);
        if once_in(random, 4) {
            object["spec"] = resource_spec(random);
        }
        return object;
    }
    match kind {
        "ConfigMap" => {
            object["data"] = map(random, &["k0", "k1", "k2"], &["v0", "v1"]);
            if once_in(random, 5) {
                object["binaryData"] = json!({ "b": pick(random, &["AAA=", "AAE="]) });
            }
        }
        "NetworkPolicy" => object["spec"] = policy(random),
        "CitrixAllowlist" => {
            object["spec"] = resource_spec(random);
            if once_in(random, 6) {
                object["status"] = status(random);
            }
        }
        "Lease" => object["spec"] = lease(random),
        _ => event(random, &mut object),
    }
    object
}

fn metadata(random: &mut Rng) -> Value {
    let mut metadata = json!({});
    if !once_in(random, 3) {
        metadata["labels"] = map(random, &["app", "tier"], &["x", "y"]);
    }
    if once_in(random, 3) {
        metadata["annotations"] = map(random, &["note", "citrix-allowlist.io/adopt"], &["true", "false"]);
    }
    if once_in(random, 5) {
        let owner =
            |uid: &str, name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid });
        let owners =
            [owner("11111111-0000-0000-0000-000000000000", "o"), owner("22222222-0000-0000-0000-000000000000", "p")];
        metadata["ownerReferences"] = owners[random.usize(..2)..].to_vec().into();
    }
    if once_in(random, 8) {
        metadata["finalizers"] = pick(random, &[json!(["example.com/f"]), json!(["example.com/f", "example.com/g"])]);
    }
    metadata
}

fn policy(random: &mut Rng) -> Value {
    let selector =
        pick(random, &[json!({}), json!({ "matchLabels": { "app": "x" } }), json!({ "matchLabels": { "app": "y" } })]);
    let mut spec = json!({ "podSelector": selector });
    let peer = |random: &mut Rng| {
        pick(
            random,
            &[
                json!({ "ipBlock": { "cidr": "192.0.2.0/24" } }),
                json!({ "ipBlock": { "cidr": "198.51.100.0/24", "except": ["198.51.100.7/32"] } }),
                json!({ "podSelector": {} }),
                json!({ "namespaceSelector": { "matchLabels": { "a": "b" } } }),
            ],
        )
    };
    let rule = |random: &mut Rng, of: &str| {
        let mut rule = json!({});
        if random.bool() {
            rule[of] = (0..random.usize(..3)).map(|_| peer(random)).collect();
        }
        if random.bool() {
            rule["ports"] = pick(
                random,
                &[
                    json!([{ "port": 443 }]),
                    json!([{ "port": 443, "protocol": "UDP" }, { "port": 8000, "endPort": 8010 }]),
                    json!([{ "port": "web", "protocol": "TCP" }]),
                    json!([]),
                ],
            );
        }
        rule
    };
    for (rules, of) in [("egress", "to"), ("ingress", "from")] {
        if random.bool() {
            spec[rules] = (0..random.usize(..3)).map(|_| rule(random, of)).collect();
        }
    }
    if random.bool() {
        spec["policyTypes"] =
            pick(random, &[json!(["Egress"]), json!(["Ingress"]), json!(["Ingress", "Egress"]), json!([])]);
    }
    spec
}

/// Items of one name have their required parts in common: a manager who leaves its part would else break a CEL rule, and the model
/// has none.
fn resource_spec(random: &mut Rng) -> Value {
    let mut spec = json!({ "customerId": pick(random, &["acme", "other"]) });
    let mut put = |random: &mut Rng, times: u8, field: &str, values: &[Value]| {
        if once_in(random, times) {
            spec[field] = pick(random, values);
        }
    };
    put(random, 3, "geo", &[json!("us"), json!("eu")]);
    put(random, 3, "suspend", &[json!(true), json!(false)]);
    put(
        random,
        4,
        "podSelector",
        &[json!({ "matchLabels": { "app": "x" } }), json!({ "matchLabels": { "app": "y", "b": "c" } })],
    );
    put(
        random,
        3,
        "additional",
        &[
            json!([{ "name": "one", "cidrs": ["192.0.2.0/24"], "tcpPorts": 443 }]),
            json!([{ "name": "one", "cidrs": ["192.0.2.0/24"], "tcpPorts": 443, "direction": "inbound" }, { "name": "two", "fqdns": ["a.example"], "udpPorts": "53" }]),
            json!([{ "name": "two", "fqdns": ["a.example"], "udpPorts": "53", "tcpPorts": 80, "direction": "outbound" }]),
        ],
    );
    put(random, 4, "wildcards", &[json!([{ "pattern": "*.example.com", "names": ["a.example.com"] }])]);
    put(random, 4, "refresh", &[json!({ "maxInterval": "12h" }), json!({})]);
    put(random, 4, "services", &[json!({ "include": ["A", "B"] }), json!({ "exclude": ["A"], "requiredOnly": true })]);
    // At most one is wrong: Go reports several in no order, and not always all.
    match random.u8(..100) {
        0..4 => spec["geo"] = "mars".into(),
        4..8 => spec["suspend"] = "yes".into(),
        8..12 => spec["unknown"] = 1.into(),
        12..16 => spec["additional"] = json!([{ "cidrs": ["192.0.2.0/24"], "tcpPorts": 443 }]),
        _ => {}
    }
    spec
}

fn status(random: &mut Rng) -> Value {
    let condition = |random: &mut Rng, kind: &str| {
        json!({
            "type": kind,
            "status": pick(random, &["True", "False"]),
            "reason": pick(random, &["Applied", "Fetched"]),
            "message": "m",
            "lastTransitionTime": "2026-06-01T00:00:00Z",
        })
    };
    let mut status = json!({ "observedGeneration": random.u8(1..3) });
    let kinds: &[&str] = pick(random, &[&["Ready"][..], &["Ready", "Fetched"], &["Fetched", "Ready"], &[]]);
    status["conditions"] = kinds.iter().map(|kind| condition(random, kind)).collect();
    if random.bool() {
        status["policies"] = pick(random, &[json!(["a-egress"]), json!([]), json!(["a-egress", "a-ingress"])]);
    }
    if random.bool() {
        status["feed"] =
            pick(random, &[Value::Null, json!({ "cloud": "Global", "fetchedAt": null }), json!({ "version": "7" })]);
    }
    if once_in(random, 3) {
        status["problems"] = json!([{ "kind": "Wildcard", "subject": "*.example", "message": "m" }]);
        status["problemsTotal"] = 1.into();
    }
    status
}

fn lease(random: &mut Rng) -> Value {
    let mut spec = json!({
        "holderIdentity": pick(random, &["p", "q"]),
        "leaseDurationSeconds": pick(random, &[15, 20]),
        "leaseTransitions": random.u8(..3),
        "renewTime": pick(random, &["2026-06-01T00:00:00.000000Z", "2026-06-01T00:00:01.500000Z"]),
    });
    if random.bool() {
        spec["acquireTime"] = "2026-06-01T00:00:00.123456Z".into();
    }
    if once_in(random, 20) {
        spec["leaseDurationSeconds"] = 0.into();
    }
    if once_in(random, 20) {
        spec["renewTime"] = "2026-06-01T00:00:01.5Z".into();
    }
    spec
}

fn event(random: &mut Rng, object: &mut Value) {
    let content = json!({
        "action": "Apply",
        "eventTime": "2026-06-01T00:00:00.123456Z",
        "note": pick(random, &["n", "o"]),
        "reason": "Applied",
        "regarding": { "kind": "ConfigMap", "namespace": "@namespace", "name": "a" },
        "reportingController": "example.com/operator",
        "reportingInstance": "operator-0",
        "type": pick(random, &["Normal", "Warning"]),
    });
    if let (Some(object), Value::Object(content)) = (object.as_object_mut(), content) {
        object.extend(content);
    }
}

/// A merge patch.
pub fn merge_patch(random: &mut Rng, kind: &str, subresource: &str) -> Value {
    let mut patch = json!({});
    match random.u8(..5) {
        0 => {
            patch["metadata"]["labels"] =
                pick(random, &[json!({ "app": "x" }), json!({ "app": null }), json!({ "tier": "y" }), Value::Null])
        }
        1 => patch["metadata"]["finalizers"] = pick(random, &[Value::Null, json!([]), json!(["example.com/f"])]),
        2 => patch["metadata"]["ownerReferences"] = metadata(random)["ownerReferences"].clone(),
        _ => {
            patch = object(random, kind, subresource);
            if kind == "Event" {
                patch = json!({ "series": { "count": random.u8(2..5), "lastObservedTime": "2026-06-01T00:00:02.500000Z" } });
            } else if kind == "ConfigMap" && random.bool() {
                patch["data"]["k0"] = Value::Null;
            }
        }
    }
    if once_in(random, 4) {
        patch["metadata"]["resourceVersion"] = pick(random, &["@rv", "@rv", "@old-rv"]).into();
    }
    if once_in(random, 6) {
        patch["metadata"]["uid"] = pick(random, &["@uid", "@uid", "@old-uid"]).into();
    }
    patch
}

/// A JSON patch that fits most objects, or none.
pub fn json_patch(random: &mut Rng) -> Value {
    pick(
        random,
        &[
            json!([{ "op": "add", "path": "/metadata/labels", "value": { "app": "x" } }]),
            json!([{ "op": "add", "path": "/metadata/annotations", "value": { "note": "j" } }]),
            json!([{ "op": "remove", "path": "/metadata/finalizers" }]),
            json!([{ "op": "test", "path": "/metadata/name", "value": "a" }, { "op": "add", "path": "/metadata/labels", "value": { "tier": "y" } }]),
            json!([{ "op": "test", "path": "/metadata/uid", "value": "@old-uid" }, { "op": "add", "path": "/metadata/labels", "value": {} }]),
        ],
    )
}

/// Options of a deletion.
pub fn delete_options(random: &mut Rng) -> Value {
    let mut options = json!({});
    if once_in(random, 3) {
        options["preconditions"]["uid"] = pick(random, &["@uid", "@uid", "@old-uid"]).into();
    }
    if once_in(random, 3) {
        options["preconditions"]["resourceVersion"] = pick(random, &["@rv", "@rv", "@old-rv"]).into();
    }
    if once_in(random, 3) {
        options["propagationPolicy"] = pick(random, &["Background", "Foreground", "Orphan"]).into();
    }
    if once_in(random, 12) {
        options["dryRun"] = json!(["All"]);
    }
    options
}
