//! What each platform refuses; `tests/platforms` compares the texts.

use super::*;
use crate::crd::CitrixAllowlist;
use crate::export::ENDPOINTS_KEY;
use crate::objects::owner::owner_reference;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

fn zones(names: &[&str]) -> BTreeSet<DomainName> {
    names.iter().map(|name| DomainName::parse(name).expect("a name")).collect()
}

fn forwarded(fallback: Fallback) -> ForwardedZones {
    let forwarder = "10.96.0.77:53".parse().expect("an address");
    ForwardedZones { zones: zones(&["example.com"]), forwarder, fallback }
}

fn servers(addresses: &[&str]) -> Fallback {
    Fallback::Servers(addresses.iter().map(|address| address.parse().expect("an address")).collect())
}

#[test]
fn each_error_names_the_flag_the_value_and_what_is_allowed() {
    let refused =
        |platform: Platform, fallback: Fallback| forwarded(fallback).configuration(platform).expect_err("an error");
    assert_eq!(
        refused(Platform::Openshift, Fallback::ResolvConf),
        "--for openshift needs --fallback IP: its DNS operator takes addresses only, not the nodes' resolv.conf"
    );
    assert!(refused(Platform::Gke, Fallback::ResolvConf).starts_with("--for gke needs --fallback IP: "));
    assert!(refused(Platform::ActiveDirectory, Fallback::ResolvConf).starts_with("--for active-directory needs "));
    assert_eq!(
        refused(Platform::Aks, Fallback::Nobody),
        "--fallback none is not for aks: DNS of these zones would fail with the operator; an address is allowed"
    );
    assert_eq!(
        refused(Platform::Aks, servers(&["10.0.0.2:53", "10.96.0.77:53"])),
        "--fallback 10.96.0.77 is the forwarder itself: another resolver's address is allowed"
    );
    assert_eq!(
        refused(Platform::ActiveDirectory, servers(&["10.0.0.2:5353"])),
        "--fallback 10.0.0.2:5353: domain controllers ask port 53 only; an address without a port is allowed"
    );
    let many: Vec<String> = (1..=15).map(|number| format!("10.0.0.{number}:53")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(refused(Platform::Eks, servers(&many)), "--fallback is given 15 times: at most 14 are allowed");
    assert!(forwarded(servers(&many[..14])).configuration(Platform::Eks).is_ok());
}

#[test]
fn a_platform_is_named_as_its_flag_has_it() {
    for platform in Platform::ALL {
        let value = platform.to_possible_value().expect("a value");
        assert_eq!(value.get_name(), platform.as_str());
    }
    assert_eq!(Platform::value_variants(), Platform::ALL);
}

/// The ConfigMap of the resource `citrix/daas`, written by the operator or by another.
fn config_map(document: &Value, manager: &str) -> ConfigMap {
    let fields = json!({ "f:data": { format!("f:{ENDPOINTS_KEY}"): {} } });
    let managed = json!([{ "manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields }]);
    let metadata = json!({
        "name": "daas-cidrs", "namespace": "citrix", "ownerReferences": [owner_reference("daas", "1")], "managedFields": managed,
    });
    let data = json!({ ENDPOINTS_KEY: document.to_string() });
    serde_json::from_value(json!({ "metadata": metadata, "data": data })).expect("a ConfigMap")
}

fn resource() -> CitrixAllowlist {
    let own = json!([{ "name": "identity", "fqdns": ["Login.example.org"], "tcpPorts": "443" }]);
    let metadata = json!({ "name": "daas", "namespace": "citrix", "uid": "1" });
    let resource = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "metadata": metadata,
        "spec": { "customerId": "testcustomer", "additional": own },
    });
    serde_json::from_value(resource).expect("a resource")
}

#[test]
fn only_the_vendors_names_and_wildcards_make_zones() {
    let document = json!({ "schema": "x", "endpoints": [
        { "direction": "outbound", "service": "DaaS", "name": "a.example.com" },
        { "direction": "inbound", "service": "Probe", "name": "probe.example.net" },
        { "direction": "outbound", "service": "DaaS", "cidr": "20.42.0.0/24" },
        { "direction": "outbound", "service": "DaaS", "wildcard": "*.blob.example.com", "honoured": false },
        { "direction": "outbound", "service": "DaaS", "name": "b.blob.example.com", "learned": true },
        { "direction": "outbound", "service": "DaaS", "name": "c.elsewhere.example", "learned": true },
        { "direction": "outbound", "service": "identity", "name": "login.example.org" },
    ]});
    let found = zones_in_use(&[resource()], &[config_map(&document, "citrix-allowlist-operator")]);
    let expected = zones(&["a.example.com", "blob.example.com", "probe.example.net"]);
    assert_eq!(found, ZonesInUse { zones: expected, notes: vec![] });
}

/// A block for such a zone would have the operator refuse its names.
#[test]
fn zones_that_the_operator_does_not_serve_get_no_block() {
    let document = json!({ "schema": "x", "endpoints": [
        { "direction": "outbound", "service": "DaaS", "name": "a.example.com" },
        { "direction": "outbound", "service": "DaaS", "wildcard": "*.example.net", "honoured": false },
    ]});
    let mut resource = resource();
    let status =
        json!({ "forwarder": { "zones": ["a.example.com", "blob.example.net"], "notServed": ["example.net"] } });
    resource.status = Some(serde_json::from_value(status).expect("a status"));
    let found = zones_in_use(&[resource], &[config_map(&document, "citrix-allowlist-operator")]);
    let note = "the operator does not serve example.net: left out; add them to --forward-zone (forwarder.zones in the chart's values)";
    let expected = zones(&["a.example.com", "blob.example.net"]);
    assert_eq!(found, ZonesInUse { zones: expected, notes: vec![note.to_owned()] });
}

#[test]
fn what_is_not_known_of_the_zones_is_noted() {
    let document = json!({ "schema": "x", "omitted": 7, "endpoints": [
        { "direction": "outbound", "service": "DaaS", "name": "a.example.com" },
    ]});
    let found = zones_in_use(&[resource()], &[config_map(&document, "citrix-allowlist-operator")]);
    let note = "ConfigMap citrix/daas-cidrs: 7 endpoints are left out for its size: their zones may be missing; --zone names them";
    assert_eq!(found, ZonesInUse { zones: zones(&["a.example.com"]), notes: vec![note.to_owned()] });

    // The cluster's DNS does not follow what another client has written there, nor a resource of the same name that is gone.
    let mut successor = resource();
    successor.metadata.uid = Some("2".to_owned());
    let of_predecessor = zones_in_use(&[successor], &[config_map(&document, "citrix-allowlist-operator")]);
    let found = zones_in_use(&[resource()], &[config_map(&document, "kubectl")]);
    assert_eq!(of_predecessor, found);
    let note = "citrixallowlist citrix/daas has no ConfigMap of the operator yet: its zones are missing; `explain daas -n citrix` says why";
    assert_eq!(found, ZonesInUse { zones: BTreeSet::new(), notes: vec![note.to_owned()] });
}
