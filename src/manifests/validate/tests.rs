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

fn check(resource: Value) -> Result<CitrixAllowlist, Vec<String>> {
    let checked = Validator::new().expect("a schema").check(resource);
    checked.map_err(|found| found.iter().map(Invalid::sentence).collect())
}

fn refused(spec: Value) -> Vec<String> {
    check(resource(spec)).expect_err("refused")
}

#[test]
fn defaults_are_the_servers() {
    let read = check(resource(json!({ "customerId": "abc", "geo": null }))).expect("valid");
    assert_eq!(read.spec.geo, GeoChoice::All);
    assert_eq!(read.spec.refresh.max_interval.to_string(), "24h");
}

#[test]
fn a_schema_error_names_field_value_and_what_is_allowed() {
    let spec = json!({ "customerId": "test-customer", "geo": "usa", "wildcard": [] });
    let errors = [
        "spec.customerId: invalid value \"test-customer\": it must match ^[a-zA-Z0-9]{1,12}$",
        "spec.geo: invalid value \"usa\": expected one of us, eu, ap-s, jp, all",
        "spec.wildcard: unknown field; see `kubectl explain citrixallowlist`",
    ];
    assert_eq!(refused(spec), errors);
    assert_eq!(refused(json!({})), ["spec.customerId: is missing, and required"]);
    assert_eq!(refused(json!({ "customerId": 12 })), ["spec.customerId: invalid value 12: expected a text"]);
    let twice = json!([{ "listed": 443, "pod": 8443 }, { "listed": 443, "pod": 9443 }]);
    let error = "spec.inboundPorts[1]: listed: 443 stands here twice: once is allowed";
    assert_eq!(refused(json!({ "customerId": "abc", "inboundPorts": twice })), [error]);
    let ports = json!([{ "name": "a", "cidrs": ["10.0.0.0/8"], "tcpPorts": 70000, "udpPorts": true }]);
    let errors = [
        "spec.additional[0].tcpPorts: 70000 is too large: at most 65535 is allowed",
        "spec.additional[0].udpPorts: invalid value true: expected a whole number or a text",
    ];
    assert_eq!(refused(json!({ "customerId": "abc", "additional": ports })), errors);
}

#[test]
fn an_error_of_cel_says_where() {
    let spec = json!({ "customerId": "abc", "refresh": { "minInterval": "2h", "maxInterval": "1h" } });
    assert_eq!(refused(spec), ["spec.refresh: refresh.minInterval may not be longer than refresh.maxInterval"]);
    let wildcard = json!([{ "pattern": "*.example.com", "names": ["a.example.org"] }]);
    let found = refused(json!({ "customerId": "abc", "wildcards": wildcard }));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("spec.wildcards[0]: each of wildcards.names must match"), "{found:?}");
}

fn selector(selector: Value) -> Vec<String> {
    refused(json!({ "customerId": "abc", "podSelector": selector }))
}

#[test]
fn a_selector_that_no_server_takes_is_refused_with_its_field() {
    let expression = |key: &str, operator: &str, values: Value| {
        selector(json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }))
    };
    let at = "spec.podSelector.matchExpressions[0]";
    let needs = [format!("{at}: In and NotIn need values, Exists and DoesNotExist take none")];
    assert_eq!(expression("app", "In", json!([])), needs);
    assert_eq!(expression("app", "Exists", json!(["a"])), needs);
    assert_eq!(selector(json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn" }] })), needs);
    for key in ["a b", "a/b/c", ".a", "/a", &"a".repeat(64)] {
        let found = expression(key, "Exists", json!([]));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{at}.key: invalid value \"{key}\"")), "{found:?}");
        let found = selector(json!({ "matchLabels": { key: "c" } }));
        assert!(found.len() == 1 && found[0].starts_with("spec.podSelector.matchLabels: each key"), "{found:?}");
    }
    let long = format!("{}/a", vec!["a".repeat(50); 6].join("."));
    let found = expression(&long, "Exists", json!([]));
    assert_eq!(found, [format!("{at}: the DNS name before the slash of a key may have 253 characters at most")]);
    assert!(selector(json!({ "matchLabels": { long: "c" } }))[0].starts_with("spec.podSelector.matchLabels: each key"));
    for value in ["b c", ".a", "a-", "ä"] {
        let found = expression("app", "In", json!([value]));
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{at}.values[0]: invalid value \"{value}\"")),
            "{found:?}"
        );
        let found = selector(json!({ "matchLabels": { "app": value } }));
        assert!(found.len() == 1 && found[0].starts_with("spec.podSelector.matchLabels.app: "), "{found:?}");
    }
    let fits = json!({
        "matchLabels": { "app.kubernetes.io/name": "vda", "A-b_c.9": "" },
        "matchExpressions": [
            { "key": "example.com/tier", "operator": "In", "values": ["web", "1234e567"] },
            { "key": "debug", "operator": "DoesNotExist" },
            { "key": "trace", "operator": "Exists", "values": [] },
        ],
    });
    check(resource(json!({ "customerId": "abc", "podSelector": fits }))).expect("a selector");
}

#[test]
fn cidrs_are_refused_as_the_server_does() {
    let entry = |cidr: &str| json!({ "customerId": "abc", "additional": [{ "name": "a", "cidrs": ["10.0.0.0/8", cidr], "tcpPorts": 443 }] });
    for cidr in ["010.0.0.0/24", "::/064", "::ffff:10.0.0.0/120"] {
        let found = refused(entry(cidr));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("spec.additional[0]"), "{found:?}");
    }
}

#[test]
fn nulls_are_what_the_server_makes_of_them() {
    let mut labelled = resource(json!({ "customerId": "abc", "podSelector": { "matchLabels": { "app": null } } }));
    labelled["metadata"]["labels"] = json!({ "team": null });
    let read = check(labelled).expect("valid");
    assert_eq!(read.spec.pod_selector.match_labels, Some(Default::default()));
    assert_eq!(read.metadata.labels, Some([("team".to_owned(), String::new())].into()));
    let entry = json!([{ "name": "a", "fqdns": ["a.example.com"], "tcpPorts": null }]);
    let found = refused(json!({ "customerId": "abc", "additional": entry }));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("needs tcpPorts, udpPorts or a profile"), "{found:?}");
    assert_eq!(refused(json!({ "customerId": null })), ["spec.customerId: is missing, and required"]);
}

#[test]
fn metadata_is_checked_as_the_server_does() {
    let mut labelled = resource(json!({ "customerId": "abc" }));
    labelled["metadata"]["labels"] = json!({ "team": "b c" });
    labelled["metadata"]["label"] = json!({});
    let found = check(labelled).expect_err("refused");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("metadata.label: unknown field"), "{found:?}");
    assert!(found[1].starts_with("metadata.labels.team: invalid value \"b c\": "), "{found:?}");
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
fn the_checked_schema_is_that_of_the_definition() {
    assert!(WRITTEN == written_schema(), "the resource changed, and `make generate` was not run");
}
