//! Documents of every form, each with what was read and what was reported.

use super::*;
use serde_json::json;

/// An entry in one line: service, direction, geo, names and wildcards and networks, ports, marks.
fn line(entry: &Entry) -> String {
    let geo = entry.geo.as_str();
    let names = entry.names.iter().map(ToString::to_string);
    let patterns = entry.patterns.iter().map(ToString::to_string);
    let targets: Vec<String> = names.chain(patterns).chain(entry.networks.iter().map(ToString::to_string)).collect();
    let ports = entry.ports.as_ref().map_or_else(|| "no ports".to_owned(), ToString::to_string);
    let required = if entry.required == Some(true) { " required" } else { "" };
    let notes = entry.notes.as_deref().map(|notes| format!(" ({notes})")).unwrap_or_default();
    format!("{} {} {geo} [{}] {ports}{required}{notes}", entry.service, entry.direction, targets.join(" "))
}

/// A problem in one line: service, direction, geo, subject, message.
fn problem_line(problem: &ListProblem) -> String {
    let geo = problem.geo.as_str();
    let direction = problem.direction.map_or("both", Direction::as_str);
    let ListProblem { service, subject, message, .. } = problem;
    format!("{} {direction} {geo}: {subject}: {message}", service.as_deref().unwrap_or("-"))
}

fn read_as(value: &Value, reading: &Reading<'_>) -> ParsedDocument {
    parse(value.to_string().as_bytes(), reading).expect("a list")
}

#[track_caller]
fn expect(value: &Value, entries: &[&str], problems: &[&str]) {
    let document = read_as(value, &Reading::for_customer("Acme1"));
    let read: Vec<String> = document.allowlist.entries.iter().map(|entry| line(entry)).collect();
    assert_eq!(read, entries, "entries");
    let reported: Vec<String> = document.allowlist.problems.iter().map(problem_line).collect();
    assert_eq!(reported.len(), problems.len(), "{reported:#?}");
    for (reported, expected) in reported.iter().zip(problems) {
        assert!(reported.contains(expected), "{reported} does not hold {expected}");
    }
}

/// One outbound service with one endpoint, and the fields of `more` in place of its own.
fn service(endpoint: Value, more: Value) -> Value {
    let mut service = json!({ "name": "Svc", "direction": "outbound", "endpoints": [endpoint], "tcpPorts": "443" });
    for (field, value) in more.as_object().expect("an object") {
        service[field] = value.clone();
    }
    json!({ "services": [service] })
}

fn names(names: Value) -> Value {
    service(json!({ "geo": "us", "fqdns": names }), json!({}))
}

fn ips(ips: Value) -> Value {
    service(json!({ "geo": "us", "ips": ips }), json!({}))
}

fn ports(ports: Value) -> Value {
    service(json!({ "fqdns": ["a.example.net"] }), json!({ "tcpPorts": ports }))
}

#[test]
fn the_overviews_example_of_format_json() {
    let document = json!({
        "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2026-06-04T12:00:00Z" },
        "services": [{
            "name": "DaaS",
            "direction": "outbound",
            "endpoints": [{ "geo": "us", "fqdns": ["testcustomer.xendesktop.net"], "ips": ["13.107.6.152/31"] }],
            "tcpPorts": "80,443",
            "required": true,
            "notes": "Citrix Cloud control plane access"
        }]
    });
    expect(
        &document,
        &["DaaS outbound us [testcustomer.xendesktop.net 13.107.6.152/31] TCP 80,443 required \
           (Citrix Cloud control plane access)"],
        &[],
    );
    let read = read_as(&document, &Reading::default());
    assert_eq!((read.allowlist.form, read.lifetime), (ListForm::Json, None));
    assert_eq!(read.allowlist.version.as_deref(), Some("2026-06-01T00:00:00Z"));
    assert_eq!(read.allowlist.valid_until, "2026-06-04T12:00:00Z".parse().ok());
}

#[test]
fn the_overviews_example_of_format_zscaler() {
    let document = json!({
        "usage": { "update_interval": 84 },
        "services": [{
            "id": "daas-outbound-us-tcp-ipv4", "name": "DaaS outbound us tcp ipv4", "type": "non-real-time",
            "protocol": "tcp", "ports": "80,443", "domains": ["*.xendesktop.net"], "cidrs": ["13.107.6.152/31"]
        }],
        "ipv6_services": [{
            "id": "gateway-service-inbound-ap-s-udp-ipv6-2", "type": "non-real-time",
            "protocol": "UDP", "ports": "443", "domains": [], "cidrs": ["2603:1030::1/32"]
        }]
    });
    expect(
        &document,
        &[
            "DaaS outbound us [acme1.xendesktop.net 13.107.6.152/31] TCP 80,443",
            "gateway-service inbound ap-s [2603:1030::/32] UDP 443",
        ],
        &[],
    );
    let read = read_as(&document, &Reading::default());
    assert_eq!((read.allowlist.form, read.lifetime), (ListForm::Zscaler, Some(Duration::from_secs(84 * 3600))));
    let received: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
    assert_eq!(read.received_at(received).valid_until, "2026-06-04T12:00:00Z".parse().ok());
}

#[test]
fn zscaler_entries_without_telling_ids_need_the_scope_asked_for() {
    let odd = json!({ "usage": {}, "services": [
        { "id": "odd", "protocol": "tcp", "ports": "443", "domains": ["a.example.net"] },
        { "id": "daas-all-all-tcp-ipv4", "protocol": "tcp", "ports": "443", "domains": ["b.example.net"] },
        { "id": "daas-outbound-us-icmp-ipv4", "name": "DaaS outbound us tcp ipv4", "protocol": "icmp", "domains": ["c.example.net"] },
    ] });
    expect(
        &odd,
        &["daas outbound all [b.example.net] TCP 443", "daas inbound all [b.example.net] TCP 443"],
        &["- both all: odd: its id names no direction", "DaaS outbound us: icmp: the protocol is neither"],
    );
    let scope = Some((Geo::Jp, Directions::Outbound));
    let read = read_as(&odd, &Reading { scope, ..Reading::default() });
    assert_eq!(line(&read.allowlist.entries[0]), "odd outbound jp [a.example.net] TCP 443");
}

#[test]
fn static_lists_have_ports_and_a_lifetime_from_settings() {
    let document = json!({
        // A space in the name would be another service's than the one that a spec includes.
        " DaaS": { "AllowList": ["<CUSTOMER_ID>.xendesktop.net", "*.citrixdata.com"], "LatestChangeLog": "none" },
        "Broken": { "AllowList": "a.example.net" },
        "Empty": {},
    });
    expect(
        &document,
        &["DaaS outbound all [acme1.xendesktop.net *.citrixdata.com] TCP 443 (none)"],
        &["Broken outbound all: Broken: AllowList is an array", "Empty outbound all: Empty: the product has no"],
    );
    let read = read_as(&document, &Reading::default());
    assert_eq!((read.allowlist.form, read.lifetime), (ListForm::StaticList, Some(Duration::from_secs(24 * 3600))));
}

#[test]
fn ports_in_every_spelling() {
    for (spelling, read) in [
        (json!("80,443"), "TCP 80,443"),
        (json!(" 443 , 8080-8090 "), "TCP 443,8080-8090"),
        (json!(443), "TCP 443"),
        (json!([80, "443"]), "TCP 80,443"),
        (json!("443-443"), "TCP 443"),
        (json!("443,,"), "TCP 443"),
        (json!("79-80,81"), "TCP 79-81"),
        (json!(""), "no ports"),
        (json!(null), "no ports"),
    ] {
        expect(&ports(spelling), &[&format!("Svc outbound all [a.example.net] {read}")], &[]);
    }
    for (spelling, read, problem) in [
        (json!("90-80,443"), "TCP 443", "Svc outbound all: 90-80: tcpPorts: `90-80` is a reversed range"),
        (json!("443,65536"), "TCP 443", "65536: tcpPorts: `65536` is not a port"),
        (json!("0,443"), "TCP 443", "0: tcpPorts: `0` is not a port"),
        (json!("any"), "no ports", "any: tcpPorts: `any` is not a port"),
        (json!("*"), "no ports", "`*` is not a port"),
        (json!(443.5), "no ports", "443.5: tcpPorts"),
        (json!(-1), "no ports", "-1: tcpPorts"),
        (json!({ "from": 1 }), "no ports", "this is an object"),
        (json!(true), "no ports", "this is a boolean"),
    ] {
        expect(&ports(spelling), &[&format!("Svc outbound all [a.example.net] {read}")], &[problem]);
    }
}

#[test]
fn udp_ports_stand_beside_tcp_ports() {
    let both = service(json!({ "fqdns": ["a.example.net"] }), json!({ "udpPorts": "443, 3478-3481" }));
    expect(&both, &["Svc outbound all [a.example.net] TCP 443; UDP 443,3478-3481"], &[]);
}

#[test]
fn addresses_in_every_spelling() {
    for (spelling, read) in [
        ("13.107.6.152/31", "13.107.6.152/31"),
        ("13.107.6.153/31", "13.107.6.152/31"),
        (" 20.1.2.3 ", "20.1.2.3/32"),
        ("20.1.2.0/255.255.255.0", "20.1.2.0/24"),
        ("20.1.2.0-20.1.2.255", "20.1.2.0/24"),
        ("20.1.2.1 - 20.1.2.4", "20.1.2.1/32 20.1.2.2/31 20.1.2.4/32"),
        ("2603:1030::1", "2603:1030::1/128"),
        ("[2603:1030::1]", "2603:1030::1/128"),
        ("2603:1030:0:0::/32", "2603:1030::/32"),
        ("2603:1030::-2603:1030::3", "2603:1030::/126"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ] {
        expect(&ips(json!([spelling])), &[&format!("Svc outbound us [{read}] TCP 443")], &[]);
    }
    for (spelling, problem) in [
        (json!("20.1.2.3/33"), "Svc outbound us: 20.1.2.3/33: `20.1.2.3/33` has no prefix length"),
        (json!("20.1.2.3/"), "has no prefix length"),
        (json!("20.1.2.3/+8"), "has no prefix length"),
        (json!("20.1.2.3/255.0.255.0"), "has no prefix length"),
        (json!("20.1.2.9-20.1.2.3"), "is a reversed range"),
        (json!("1.0.0.0-223.255.255.255"), "is wider than any network that may be opened"),
        (json!("20.1.2.3-2603::"), "mixes IPv4 and IPv6"),
        (json!("20.1.2.*"), "is not an address"),
        (json!("20.1.2"), "is not an address"),
        (json!("020.1.2.3"), "is not an address"),
        (json!("fe80::1%eth0"), "is not an address"),
        (json!("a.example.net"), "is not an address"),
        (json!(""), "is not an address"),
        (json!(17), "an address is a text; this is a number"),
    ] {
        expect(&ips(json!([spelling, "20.9.9.9"])), &["Svc outbound us [20.9.9.9/32] TCP 443"], &[problem]);
    }
}

#[test]
fn adjacent_networks_stay_apart_until_the_guard_has_seen_them() {
    let read = "Svc outbound us [20.0.0.0/8 21.0.0.0/8] TCP 443";
    expect(&ips(json!(["21.0.0.0/8", "20.0.0.0/8", "20.0.0.0/8"])), &[read], &[]);
}

#[test]
fn names_in_every_spelling() {
    for (spelling, read) in [
        ("Accounts.CitrixCloud.JP.", "accounts.citrixcloud.jp"),
        ("https://a.example.net", "a.example.net"),
        ("wss://a.example.net/path?query#fragment", "a.example.net"),
        ("a.example.net/path", "a.example.net"),
        ("a.example.net:443", "a.example.net"),
        ("bücher.example.net", "xn--bcher-kva.example.net"),
        ("_sip._tcp.example.net", "_sip._tcp.example.net"),
        ("CUSTOMER_ID.xendesktop.net", "acme1.xendesktop.net"),
        ("<CUSTOMER_ID>.xendesktop.net", "acme1.xendesktop.net"),
        ("customer_id-a.xendesktop.net", "acme1-a.xendesktop.net"),
        ("*.citrixdata.com", "*.citrixdata.com"),
        ("*.*.nssvc.jp", "*.*.nssvc.jp"),
        (".citrixdata.com", "*.citrixdata.com"),
        ("https://*.citrixdata.com/*", "*.citrixdata.com"),
        ("13.107.6.152", "13.107.6.152/32"),
        ("13.107.6.152/31", "13.107.6.152/31"),
        ("https://13.107.6.152:443/", "13.107.6.152/32"),
        ("2603:1030::1", "2603:1030::1/128"),
    ] {
        expect(&names(json!([spelling])), &[&format!("Svc outbound us [{read}] TCP 443")], &[]);
    }
    for (spelling, problem) in [
        (json!("a.example.net:8443"), "Svc outbound us: a.example.net:8443: `a.example.net:8443` names port 8443"),
        (json!("a.example.net:0"), "is not a port"),
        (json!("a.example.net:*"), "is not a port"),
        (json!("*"), "would stand for every name there is"),
        (json!("*.*"), "would stand for every name there is"),
        (json!("exa mple.net"), "has a label DNS does not allow"),
        (json!("a..example.net"), "has a label DNS does not allow"),
        (json!("localhost"), "has a single label"),
        (json!("://a.example.net"), "is not a name"),
        (json!(""), "the name is empty"),
        (json!(["nested"]), "a name is a text; this is an array"),
        (json!(null), "a name is a text; this is null"),
    ] {
        let read = "Svc outbound us [z.example.net] TCP 443";
        expect(&names(json!([spelling, "z.example.net"])), &[read], &[problem]);
    }
}

#[test]
fn a_name_with_a_port_is_opened_on_that_port_alone() {
    let endpoint = json!({ "geo": "us", "fqdns": ["b.example.net", "a.example.net:443", "c.example.net:3478"] });
    let document = service(endpoint, json!({ "tcpPorts": "80,443", "udpPorts": "443,3478" }));
    expect(
        &document,
        &[
            "Svc outbound us [b.example.net] TCP 80,443; UDP 443,3478",
            "Svc outbound us [a.example.net] TCP 443; UDP 443",
            "Svc outbound us [c.example.net] UDP 3478",
        ],
        &[],
    );
}

#[test]
fn a_template_is_read_for_any_customer() {
    let reading = Reading { template_customer: Some("Templ8"), ..Reading::for_customer("Acme1") };
    let document = read_as(&names(json!(["templ8.xendesktop.net"])), &reading);
    assert_eq!(document.allowlist.entries[0].names[0].as_str(), "acme1.xendesktop.net");
}

#[test]
fn a_broken_part_concerns_one_entry() {
    let document = json!({
        "meta": { "version": 7, "validUntil": "soon", "new": true },
        "new": {},
        "services": [
            null,
            { "name": "A", "direction": "outbound", "tcpPorts": "443" },
            { "name": "B", "direction": "outbound", "tcpPorts": "443", "endpoints": [7, { "fqdns": "b.example.net" }] },
            { "direction": "outbound", "tcpPorts": "443", "endpoints": { "fqdns": ["c.example.net"], "new": 1 } },
            { "name": "D", "direction": "outbound", "required": "maybe", "endpoints": [{ "ips": ["20.1.1.1"] }] },
        ]
    });
    expect(
        &document,
        &[
            "B outbound all [b.example.net] TCP 443",
            "(unnamed) outbound all [c.example.net] TCP 443",
            "D outbound all [20.1.1.1/32] no ports required",
        ],
        &[
            "- both all: soon: validUntil is no time",
            "- both all: services[0]: a service is an object; this is null",
            "A outbound all: A: the service has no endpoints",
            "B outbound all: endpoints[0]: an endpoint is an object",
            "services[3]: the service has no name",
            "D outbound all: maybe: required is neither",
        ],
    );
    assert_eq!(read_as(&document, &Reading::default()).allowlist.version.as_deref(), Some("7"));
}

#[test]
fn validity_in_several_spellings() {
    for (spelling, read) in [
        (json!("2026-06-04T12:00:00Z"), Some("2026-06-04T12:00:00Z")),
        (json!("2026-06-04T14:00:00+02:00"), Some("2026-06-04T12:00:00Z")),
        (json!("2026-06-04T12:00:00"), Some("2026-06-04T12:00:00Z")),
        (json!("2026-06-04"), Some("2026-06-04T00:00:00Z")),
        (json!("9999-12-31T23:59:59Z"), Some("9999-12-30T22:00:00.999999999Z")),
        (json!("1"), None),
        (json!(1_780_000_000), None),
        (json!(null), None),
    ] {
        let document = json!({ "meta": { "validUntil": spelling }, "services": [] });
        let valid_until = read_as(&document, &Reading::default()).allowlist.valid_until;
        assert_eq!(valid_until, read.map(|text| text.parse().expect("a time")), "{spelling}");
    }
}

#[test]
fn no_list_is_refused() {
    let refused = |text: &str| parse(text.as_bytes(), &Reading::default()).expect_err(text).to_string();
    for not_json in ["", "<html>", "{\"services\": [", "\u{0}"] {
        assert!(refused(not_json).starts_with("it is not JSON ("), "{not_json}");
    }
    assert!(parse(b"{\"a\": \"\xff\"}", &Reading::default()).is_err());
    assert!(refused("[]").contains("this is an array"));
    assert!(refused("{}").contains("an object with the fields []"));
    assert!(refused("{\"error\": 1, \"message\": 2}").contains("[error, message]"));
    assert!(refused("{\"services\": {}}").contains("`services` is an object"));
    assert!(refused("{\"services\": [1, 2]}").contains("no service of 2 can be understood"));
    assert!(refused(&"[".repeat(100_000)).starts_with("it is not JSON"), "deep nesting is no stack overflow");
}

#[test]
fn each_form_is_found_by_its_name() {
    for form in ListForm::ALL {
        assert_eq!(ListForm::named(form.as_str()), Some(*form));
    }
    assert_eq!(ListForm::named("xml"), None);
}

mod bounds;
mod published;
mod regions;
