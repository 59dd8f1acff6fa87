//! What the documentation and the examples say, held against the code.

use crate::builders::{Case, allows, name, ports};
use citrix_allowlist::crd::{CitrixAllowlist, PortProfile, ProblemKind};
use citrix_allowlist::explain_texts;
use citrix_allowlist::net::{Direction, DomainName, Protocol};
use citrix_allowlist::plan::profile_ports;
use citrix_allowlist::reason::Reason;
use serde_json::{Value, json};
use std::path::PathBuf;

fn text(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An example over Japan's list, every name of it answered.
fn example(file: &str) -> Case {
    let resource: CitrixAllowlist = serde_saphyr::from_str(&text(file)).expect("a CitrixAllowlist");
    let document: Value = serde_json::from_str(&text("tests/fixtures/allowlist-japan.json")).expect("JSON");
    let mut case = Case::new(json!({}), &document, &[]);
    case.spec = resource.spec;
    let names = case.select().names;
    let answers: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["52.1.2.3"][..])).collect();
    case.addresses = crate::builders::answers(&answers);
    case
}

/// Every port of the profile is open to the network, and the ones beside it are not.
fn covers(case: &Case, peer: &str, profile: PortProfile) {
    let policies = case.objects().policies;
    let peer = peer.parse().expect("an address");
    for (protocol, first, last) in profile_ports(profile) {
        for port in [*first, *last] {
            assert!(allows(&policies, Direction::Outbound, peer, *protocol, port), "{peer} {protocol} {port}");
        }
    }
    assert!(!allows(&policies, Direction::Outbound, peer, Protocol::Tcp, 22));
    assert!(!allows(&policies, Direction::Outbound, peer, Protocol::Udp, 161));
}

/// Each wildcard of the list is honoured or reported, and nothing in the example is in vain.
fn explains_every_wildcard(case: &Case) {
    let plan = case.plan();
    assert!(plan.wildcard_uses.iter().any(|wildcard| wildcard.honoured));
    for wildcard in plan.wildcard_uses.iter().filter(|wildcard| !wildcard.honoured) {
        let reported = plan
            .problems
            .iter()
            .any(|problem| problem.kind == ProblemKind::Wildcard && problem.subject == wildcard.pattern.as_str());
        assert!(reported, "{}", wildcard.pattern);
    }
    let in_vain: Vec<_> = plan
        .problems
        .iter()
        .filter(|problem| !matches!(problem.kind, ProblemKind::Wildcard | ProblemKind::NoPorts))
        .collect();
    assert!(in_vain.is_empty(), "{in_vain:?}");
}

#[test]
fn the_connector_appliance_of_japan_reaches_all_that_is_documented() {
    let case = example("examples/japan-connector-appliance.yaml");
    covers(&case, "10.20.0.7", PortProfile::ActiveDirectory);
    covers(&case, "10.20.1.7", PortProfile::ConnectorAppliance);
    explains_every_wildcard(&case);
    let plan = case.plan();
    let https = ports(Some("443"), None).expect("ports");
    for documented in [
        "iwsprodeastusuniconacr.azurecr.io",
        "iwsprodeastusuniconacr.eastus.data.azurecr.io",
        "ctxccopspacrconnappprod.azurecr.io",
        "ctxccopspacrconnappprod.eastus.data.azurecr.io",
        "citrix.citrixcloud.jp",
        "accounts.citrixcloud.jp",
        "accounts-dsauthweb.citrixcloud.jp",
        "accounts-webassets.citrixcloud.jp",
        "citrix-cloud-content.customer.pendo.io",
    ] {
        let documented: DomainName = name(documented);
        let open = plan.records.iter().any(|record| {
            record.endpoint.target == citrix_allowlist::plan::Target::Name(documented.clone())
                && record.endpoint.ports.is_superset(&https)
        });
        assert!(open, "{documented}");
    }
    let policies = case.objects().policies;
    for internal in ["169.254.0.1", "169.254.64.1", "169.254.192.1"] {
        let internal = internal.parse().expect("an address");
        assert!(!allows(&policies, Direction::Outbound, internal, Protocol::Tcp, 443), "{internal}");
    }
    assert!(plan.inbound.is_none() && plan.absence(Direction::Inbound).is_none(), "inbound is not touched");
}

#[test]
fn the_cloud_connector_of_japan_reaches_all_that_is_documented() {
    let case = example("examples/japan-cloud-connector.yaml");
    covers(&case, "10.20.9.9", PortProfile::CloudConnectorLan);
    explains_every_wildcard(&case);
}

#[test]
fn every_kind_of_problem_has_its_row() {
    let documentation = text("docs/problems.md");
    for kind in ProblemKind::ALL {
        let explained = explain_texts::problem(kind);
        let row = format!("| `{kind:?}` | {} | {} |", explained.means, explained.remedy);
        assert_eq!(documentation.matches(&row).count(), 1, "{row}");
        assert_eq!(documentation.matches(&format!("\n- **{kind:?}.** ")).count(), 1, "{kind:?} in more words");
    }
}

#[test]
fn every_reason_has_its_row_and_says_whether_it_is_an_event() {
    let documentation = text("docs/reasons.md");
    for reason in Reason::ALL {
        let explained = explain_texts::reason(reason);
        let event = if reason.is_passing() { "no" } else { "yes" };
        let row = format!("| `{reason}` | {event} | {} | {} |", explained.means, explained.remedy);
        assert_eq!(documentation.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn the_config_maps_schema_is_the_documented_one() {
    let documentation = text("docs/cidr-configmap.md");
    assert!(documentation.contains(citrix_allowlist::render::config_map::SCHEMA));
    let mut case = example("examples/japan-connector-appliance.yaml");
    case.limits.bytes = 64 * 1024;
    let map = &case.objects().config_maps[0];
    let document: Value = serde_json::from_str(&map.data.as_ref().expect("data")["endpoints.json"]).expect("JSON");
    for key in document.as_object().expect("an object").keys() {
        assert!(documentation.contains(&format!("`{key}")), "{key} is not documented");
    }
    for endpoint in document["endpoints"].as_array().expect("endpoints") {
        for field in endpoint.as_object().expect("an object").keys() {
            let documented = [format!("`endpoints[].{field}`"), format!("`{field}`")];
            assert!(documented.iter().any(|text| documentation.contains(text)), "{field} is not documented");
        }
    }
}
