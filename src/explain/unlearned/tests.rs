use super::*;
use serde_json::{Value, json};

const PATTERN: &str = "*.blob.example.com";
const NAME: &str = "a.blob.example.com";
/// What names it in any case.
const NAMED: &str = "name a.blob.example.com under spec.wildcards for the pattern *.blob.example.com";

/// Why a name is not allowed, and what can be done, with these fields of spec and status.
fn why(name: &str, spec: &Value, status: &Value) -> (String, String) {
    let mut fields = json!({ "customerId": "testcustomer" });
    fields.as_object_mut().expect("fields").extend(spec.as_object().cloned().unwrap_or_default());
    let spec = serde_json::from_value(fields).expect("a spec");
    let status = serde_json::from_value(status.clone()).expect("a status");
    let (name, pattern) = (DomainName::parse(name).expect("a name"), NamePattern::parse(PATTERN).expect("a pattern"));
    let text = UnlearnedName { name: &name, pattern: &pattern, service: "DaaS" }.why_not(&spec, &status);
    let start = format!("only the wildcard {PATTERN} of DaaS covers {name}, and ");
    let (why, remedy) = text.strip_prefix(&start).and_then(|text| text.split_once("; ")).expect("why, and what to do");
    (why.to_owned(), remedy.to_owned())
}

/// A status whose wildcard is covered so, and whose forwarder has these fields.
fn status(covered_by: &str, forwarder: &Value) -> Value {
    let wildcard = json!({ "pattern": PATTERN, "coveredBy": covered_by, "suggested": ["asked.blob.example.com"] });
    json!({ "wildcards": [wildcard], "forwarder": forwarder })
}

fn forwarded() -> Value {
    status("Observed", &json!({ "zones": ["blob.example.com"] }))
}

fn with_remedy(or: &str) -> String {
    format!("{NAMED}{or}")
}

#[test]
fn without_a_forwarder_a_name_has_to_be_named() {
    let expected = ("DNS cannot enumerate it".to_owned(), NAMED.to_owned());
    assert_eq!(why(NAME, &json!({}), &json!({})), expected);
    assert_eq!(why(NAME, &json!({ "observeWildcards": "Off" }), &json!({})), expected);
}

#[test]
fn a_zone_that_is_not_forwarded_is_named_with_its_remedy() {
    let asked = |forwarder: Value| why(NAME, &json!({}), &status("Nobody", &forwarder));
    let (why, remedy) = asked(json!({ "zones": ["blob.example.com"], "missing": ["blob.example.com"] }));
    assert_eq!(why, "the cluster's DNS does not forward blob.example.com to the operator");
    assert_eq!(remedy, with_remedy(", or write the block that `citrix-allowlist forwarder config` prints"));
    let (why, remedy) = asked(json!({ "zones": ["example.com"], "looping": ["example.com"] }));
    assert_eq!(why, "the forwarder's upstream leads back to it for example.com");
    assert_eq!(remedy, with_remedy(", or give --forward-upstream a resolver that does not forward example.com"));
    let (why, remedy) = asked(json!({ "zones": ["a.example.net"], "notServed": ["blob.example.com"] }));
    assert_eq!(why, "the operator does not serve blob.example.com, which is not among --forward-zone");
    assert_eq!(remedy, with_remedy(", or add blob.example.com to --forward-zone"));
    let (why, _) = asked(json!({ "zones": ["blob.example.com"] }));
    assert_eq!(why, "it is not known yet whether the cluster's DNS forwards its zone to the operator");
    // The innermost zone counts: of the other one, this part is served.
    let (why, _) = asked(json!({ "zones": ["blob.example.com"], "notServed": ["example.com"] }));
    assert!(why.starts_with("it is not known yet"), "{why}");
}

#[test]
fn the_spec_that_keeps_a_name_out_is_named() {
    let observing = |observe: &str| json!({ "observeWildcards": observe });
    let for_it = |fields: Value| {
        let mut entry = json!({ "pattern": PATTERN });
        entry.as_object_mut().expect("fields").extend(fields.as_object().cloned().unwrap_or_default());
        json!({ "observeWildcards": "Off", "wildcards": [entry] })
    };
    let off = "observe: Off has no name learned under it".to_owned();
    assert_eq!(why(NAME, &observing("Off"), &forwarded()), (off, with_remedy(", or set observe: Allow for it")));
    let (allowed, _) = why(NAME, &for_it(json!({ "observe": "Allow" })), &forwarded());
    assert_eq!(allowed, "no pod has asked the cluster's DNS for it yet", "its own entry counts before the others'");
    let (left_out, remedy) = why(NAME, &for_it(json!({ "observe": "Allow", "within": ["citrix*"] })), &forwarded());
    assert_eq!(
        (&*left_out, remedy),
        ("within leaves it out", with_remedy(", or add to within a glob that it matches"))
    );
    let (suggested, _) = why("asked.blob.example.com", &observing("Suggest"), &forwarded());
    assert_eq!(suggested, "pods asked for it, and observe: Suggest does not allow it");
    assert_eq!(why(NAME, &observing("Suggest"), &forwarded()).0, "observe: Suggest allows no name that pods ask for");
    let (stars, _) = why("a.b.blob.example.com", &json!({}), &forwarded());
    assert_eq!(stars, "it is not learned, since each star stands for one label there");
}

#[test]
fn a_full_pattern_and_a_name_never_asked_for_are_told_apart() {
    let asked_for = ", or have a pod ask: it is allowed then";
    let (never, remedy) = why(NAME, &json!({}), &forwarded());
    assert_eq!((&*never, remedy), ("no pod has asked the cluster's DNS for it yet", with_remedy(asked_for)));
    let mut full = forwarded();
    let limit = |subject: &str| json!([{ "kind": "Limit", "subject": subject, "message": "256 names are learned" }]);
    full["problems"] = limit(PATTERN);
    let (why_full, remedy) = why(NAME, &json!({}), &full);
    assert_eq!(why_full, "it is not among the 256 names learned under it, as many as may be");
    assert!(remedy.contains(", or narrow within"), "{remedy}");
    full["problems"] = limit("*.other.example.com");
    assert_eq!(why(NAME, &json!({}), &full).0, never);
}
