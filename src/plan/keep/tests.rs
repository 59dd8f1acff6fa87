use super::*;
use serde_json::{Value, json};

fn spec(fields: Value) -> CitrixAllowlistSpec {
    let mut spec = json!({ "customerId": "kitsune" });
    for (field, value) in fields.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).expect("a spec")
}

fn digests(fields: Value) -> [SelectionDigest; 2] {
    Direction::ALL.map(|direction| SelectionDigest::of(&spec(fields.clone()), direction))
}

/// Policies in clusters carry it: a version with another digest would take an upgrade for an edit.
#[test]
fn a_digest_is_the_same_in_every_version() {
    let all = json!({
        "cloud": "Japan", "geo": "jp", "direction": "all",
        "podSelector": { "matchLabels": { "app": "vda" }, "matchExpressions": [{ "key": "x", "operator": "Exists" }] },
        "services": { "include": ["DaaS", "Gateway*"], "exclude": ["WEM"], "requiredOnly": true },
        "wildcards": [{ "pattern": "*.example.com", "names": ["a.example.com"] }],
        "additional": [
            { "name": "idp", "fqdns": ["login.example.com"], "tcpPorts": "443" },
            { "name": "admin", "direction": "inbound", "cidrs": ["10.0.0.0/8"], "tcpPorts": 443, "profile": "ActiveDirectory" },
        ],
        "inboundPorts": [{ "listed": 443, "pod": 8443 }],
    });
    let texts = |fields| digests(fields).map(|digest| digest.to_string());
    assert_eq!(texts(json!({})), ["v1-9fcfbc0ff546ddf7", "v1-9fcfbc0ff546ddf7"]);
    assert_eq!(texts(all), ["v1-69bb3106f5bba37b", "v1-345e51d4c689f287"]);
}

#[test]
fn only_selecting_fields_change_the_digest_of_a_direction() {
    let plain = digests(json!({}));
    let changed = |fields: Value| {
        let now = digests(fields);
        [now[0] != plain[0], now[1] != plain[1]]
    };
    for (fields, expected) in [
        (json!({ "customerId": "tanuki" }), [true, true]),
        (json!({ "cloud": "Global" }), [true, true]),
        (json!({ "geo": "eu" }), [true, true]),
        (json!({ "services": { "include": ["DaaS"] } }), [true, true]),
        (json!({ "services": { "exclude": ["DaaS"] } }), [true, true]),
        (json!({ "services": { "requiredOnly": true } }), [true, true]),
        (json!({ "wildcards": [{ "pattern": "*.x.com", "names": ["a.x.com"] }] }), [true, true]),
        (json!({ "podSelector": { "matchLabels": { "app": "vda" } } }), [true, true]),
        (json!({ "additional": [{ "name": "a", "cidrs": ["10.0.0.0/8"], "tcpPorts": 1 }] }), [true, false]),
        (
            json!({ "additional": [{ "name": "a", "direction": "inbound", "cidrs": ["10.0.0.0/8"], "tcpPorts": 1 }] }),
            [false, true],
        ),
        (json!({ "inboundPorts": [{ "listed": 443, "pod": 8443 }] }), [false, true]),
        // Other code decides these.
        (json!({ "direction": "all" }), [false, false]),
        (json!({ "mode": "Audit" }), [false, false]),
        (json!({ "suspend": true }), [false, false]),
        (json!({ "dnsEgress": "None" }), [false, false]),
        (json!({ "expandWildcards": "None" }), [false, false]),
        (json!({ "ipFamilies": "Dual" }), [false, false]),
        (json!({ "addressRetention": "2h" }), [false, false]),
        (json!({ "refresh": { "minInterval": "1s" } }), [false, false]),
    ] {
        assert_eq!(changed(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn reordered_lists_and_explicit_defaults_are_no_edit() {
    let services = |include: [&str; 2]| json!({ "services": { "include": include } });
    assert_eq!(digests(services(["A", "B"])), digests(services(["B", "A"])));
    assert_eq!(digests(json!({ "geo": "all", "cloud": "Auto", "podSelector": {} })), digests(json!({})));
    let wildcard = |first: &str, second: &str| {
        let entry =
            |letter: &str| json!({ "pattern": format!("*.{letter}.com"), "names": [format!("a.{letter}.com")] });
        json!({ "wildcards": [entry(first), entry(second)] })
    };
    assert_eq!(digests(wildcard("x", "y")), digests(wildcard("y", "x")));
}

#[test]
fn written_text_is_read_back_and_other_text_is_unknown() {
    let [digest, _] = digests(json!({}));
    assert_eq!(digest.to_string().parse(), Ok(digest));
    for text in ["", "v1-", "v2-0123456789abcdef", "v1-0123", "v1-0123456789abcdeg", "0123456789abcdef"] {
        assert_eq!(text.parse::<SelectionDigest>(), Err(UnknownDigest), "{text}");
    }
}

#[test]
fn only_a_new_selection_without_match_releases_last_policies() {
    let ([was, _], [now, _]) = (digests(json!({})), digests(json!({ "geo": "eu" })));
    for failure in [EmptyReason::EmptyList, EmptyReason::Unusable, EmptyReason::Unresolved] {
        assert!(keeps(failure, [Some(was)], now), "{failure:?} is not the user's word");
    }
    assert!(keeps(EmptyReason::NoMatch, [Some(now)], now), "the list changed, and not the spec");
    assert!(!keeps(EmptyReason::NoMatch, [Some(was)], now), "the user selects otherwise");
    assert!(keeps(EmptyReason::NoMatch, [None], now), "what was selected is not known");
    assert!(keeps(EmptyReason::NoMatch, [Some(was), Some(now)], now), "one of them was written for it");
    assert!(!keeps(EmptyReason::NoMatch, [Some(was), Some(was)], now));
}
