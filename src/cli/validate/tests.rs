use super::*;
use crate::crd::GeoChoice;

fn resource(spec: Value) -> Value {
    json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1",
        "kind": "CitrixAllowlist",
        "metadata": { "name": "daas-us", "namespace": "citrix" },
        "spec": spec,
    })
}

fn refused(spec: Value) -> Vec<String> {
    let validator = Validator::new().expect("a schema");
    validator.check(resource(spec)).expect_err("refused").iter().map(Invalid::sentence).collect()
}

#[test]
fn defaults_are_the_servers() {
    let validator = Validator::new().expect("a schema");
    let read = validator.check(resource(json!({ "customerId": "abc", "geo": null }))).expect("valid");
    assert_eq!(read.spec.geo, GeoChoice::All);
    assert_eq!(read.spec.refresh.max_interval.to_string(), "24h");
}

#[test]
fn what_the_schema_refuses_names_field_value_and_what_is_allowed() {
    assert_eq!(
        refused(json!({ "customerId": "test-customer", "geo": "usa", "wildcard": [] })),
        [
            "spec.customerId: \"test-customer\" is not allowed: it must match ^[a-zA-Z0-9]{1,12}$",
            "spec.geo: \"usa\" is not allowed: one of us, eu, ap-s, jp, all is",
            "spec.wildcard: there is no such field; `kubectl explain citrixallowlist` and docs list those there are",
        ]
    );
    assert_eq!(refused(json!({})), ["spec.customerId: is missing, and required"]);
    assert_eq!(refused(json!({ "customerId": 12 })), ["spec.customerId: 12 is not allowed: a text is needed"]);
    let twice = json!([{ "listed": 443, "pod": 8443 }, { "listed": 443, "pod": 9443 }]);
    assert_eq!(
        refused(json!({ "customerId": "abc", "inboundPorts": twice })),
        ["spec.inboundPorts[1]: listed: 443 stands here twice: once is allowed"]
    );
    let ports = json!([{ "name": "a", "cidrs": ["10.0.0.0/8"], "tcpPorts": 70000, "udpPorts": true }]);
    assert_eq!(
        refused(json!({ "customerId": "abc", "additional": ports })),
        [
            "spec.additional[0].tcpPorts: 70000 is too large: at most 65535 is allowed",
            "spec.additional[0].udpPorts: true is not allowed: a whole number or a text is needed",
        ]
    );
}

#[test]
fn what_cel_refuses_says_where() {
    let spec = json!({ "customerId": "abc", "refresh": { "minInterval": "2h", "maxInterval": "1h" } });
    assert_eq!(refused(spec), ["spec.refresh: refresh.minInterval may not be longer than refresh.maxInterval"]);
    let wildcard = json!([{ "pattern": "*.example.com", "names": ["a.example.org"] }]);
    let found = refused(json!({ "customerId": "abc", "wildcards": wildcard }));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("spec.wildcards[0]: each of wildcards.names must match"), "{found:?}");
}

#[test]
fn a_selector_that_cannot_be_used_is_refused() {
    let selector = json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": [] }] });
    let found = refused(json!({ "customerId": "abc", "podSelector": selector }));
    assert_eq!(found, ["spec.podSelector.matchExpressions[0].values: In and NotIn need values"]);
}

#[test]
fn only_our_kind_is_ours() {
    let ours = |version: &str, kind: &str| {
        is_ours(json!({ "apiVersion": version, "kind": kind }).as_object().expect("an object"))
    };
    assert_eq!(ours("citrix-allowlist.io/v1alpha1", "CitrixAllowlist"), Ok(true));
    assert_eq!(ours("v1", "ConfigMap"), Ok(false));
    assert!(ours("citrix-allowlist.io/v2", "CitrixAllowlist").is_err());
}

#[test]
fn the_schema_that_is_checked_by_is_that_of_the_definition() {
    assert!(WRITTEN == written_schema(), "the resource changed, and `make generate` was not run");
}
