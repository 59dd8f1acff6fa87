//! Published and saved documents: limits of a form, certificate hosts, placeholders, encodings.

use super::*;
use std::sync::Arc;

fn required(value: &Value) -> Vec<Option<bool>> {
    read_as(value, &Reading::for_customer("Acme1")).allowlist.entries.iter().map(|entry| entry.required).collect()
}

#[test]
fn a_form_that_cannot_say_what_is_required_says_nothing() {
    let of = |words: &[Value]| {
        let service = |required: &Value| json!({ "name": "S", "required": required, "direction": "outbound", "endpoints": [{ "fqdns": ["a.example.net"] }] });
        json!({ "services": words.iter().map(service).collect::<Vec<_>>() })
    };
    assert_eq!(required(&of(&[json!(true), json!(null)])), [Some(true), Some(false)], "not said where another is");
    assert_eq!(required(&of(&[json!(false), json!(null)])), [Some(false), Some(false)]);
    let silent = of(&[json!(null), json!(null)]);
    assert_eq!(required(&silent), [None, None], "nothing is said at all");
    let read = read_as(&silent, &Reading::default());
    assert_eq!(read_as(&to_json(&read.allowlist), &Reading::default()).allowlist, read.allowlist);
    let zscaler = json!({ "usage": {}, "services": [
        { "id": "daas-outbound-us-tcp-ipv4", "protocol": "tcp", "ports": "443", "domains": ["a.example.net"] }] });
    assert_eq!(required(&zscaler), [None]);
    assert_eq!(required(&json!({ "DaaS": { "AllowList": ["a.example.net"] } })), [None]);
    let documents = [of(&[]), zscaler, json!({ "DaaS": { "AllowList": [] } })];
    let forms = documents.map(|document| read_as(&document, &Reading::default()).allowlist.form);
    assert_eq!(forms, [ListForm::Json, ListForm::Zscaler, ListForm::StaticList]);
}

/// The hosts as "Certificate validation requirements" of Citrix Cloud Japan's documentation lists them.
const CERTIFICATE_HOSTS: [&str; 10] = [
    "http://cacerts.digicert.com/",
    "http://dl.cacerts.digicert.com/",
    "http://crl3.digicert.com",
    "http://crl4.digicert.com",
    "http://ocsp.digicert.com",
    "http://www.d-trust.net",
    "http://root-c3-ca2-2009.ocsp.d-trust.net",
    "http://crl.microsoft.com",
    "http://oneocsp.microsoft.com",
    "http://ocsp.msocsp.com",
];

#[test]
fn a_static_list_opens_80_and_443_for_certificate_hosts() {
    let mut listed = CERTIFICATE_HOSTS.to_vec();
    listed.extend(["*.digicert.com", "crl5.digicert.com:80", "notdigicert.com", "a.cloud.com"]);
    listed.extend(["*.citrixdata.com", "d-trust.net"]);
    let document = json!({ "Connector": { "AllowList": listed } });
    let ports = |reading: &Reading<'_>| -> std::collections::BTreeMap<String, String> {
        let list = read_as(&document, reading).allowlist;
        assert_eq!(list.problems, []);
        let targets = |entry: &Arc<Entry>| {
            let names = entry.names.iter().map(ToString::to_string);
            let texts: Vec<String> = names.chain(entry.patterns.iter().map(ToString::to_string)).collect();
            let ports = entry.ports.as_ref().map_or_else(String::new, ToString::to_string);
            texts.into_iter().map(move |text| (text, ports.clone())).collect::<Vec<_>>()
        };
        list.entries.iter().flat_map(targets).collect()
    };
    let by_default = ports(&Reading::default());
    assert_eq!(by_default.len(), 16);
    for (name, ports) in &by_default {
        let expected = match name.as_str() {
            "notdigicert.com" | "a.cloud.com" | "*.citrixdata.com" | "d-trust.net" => "TCP 443",
            "crl5.digicert.com" => "TCP 80",
            _ => "TCP 80,443",
        };
        assert_eq!(ports, expected, "{name}");
    }
    let wide = PortRange::single(8443).map(|range| (Protocol::Tcp, range));
    let static_list = StaticListDefaults { ports: PortSet::new(wide), ..StaticListDefaults::default() };
    let chosen = ports(&Reading { static_list, ..Reading::default() });
    assert_eq!((&*chosen["a.cloud.com"], &*chosen["ocsp.msocsp.com"]), ("TCP 8443", "TCP 80,443,8443"));
}

fn zscaler(domains: Value) -> Value {
    json!({ "usage": { "update_interval": 84 }, "services": [{
        "id": "daas-outbound-us-tcp-ipv4", "protocol": "tcp", "ports": "80,443", "domains": domains, "cidrs": []
    }] })
}

#[test]
fn the_customers_own_name_is_known_without_a_customer() {
    let domains = ["*.xendesktop.net", "https://*.xendesktop.net:443", "*.citrixdata.com", "*.a.xendesktop.net"];
    let asked_without = zscaler(json!(domains));
    let entries = [
        "daas outbound us [acme1.xendesktop.net *.a.xendesktop.net *.citrixdata.com] TCP 80,443",
        "daas outbound us [acme1.xendesktop.net] TCP 443",
    ];
    expect(&asked_without, &entries, &[]);
    let unknown = read_as(&asked_without, &Reading::default()).allowlist;
    assert!(unknown.entries[0].names.is_empty(), "the customer is not known");
    let read = "daas outbound us [acme1.xendesktop.net *.xendesktop.net] TCP 80,443";
    expect(&zscaler(json!(["ACME1.xendesktop.net", "*.xendesktop.net"])), &[read], &[]);
    expect(&names(json!(["*.xendesktop.net"])), &["Svc outbound us [*.xendesktop.net] TCP 443"], &[]);
}

#[test]
fn every_placeholder_of_the_documents_is_the_customers_id() {
    for spelling in [
        "CUSTOMER_ID.xendesktop.net",
        "<CUSTOMER_ID>.xendesktop.net",
        "<customerId>.xendesktop.net",
        "[customerid].xendesktop.net",
        "https://[CustomerID].xendesktop.net:443",
        "[CUSTOMER_ID].xendesktop.net",
        // A zero-width space, which the one spelling of a name has no more.
        "CUSTO\u{200b}MER_ID.xendesktop.net",
    ] {
        let read = names(json!([spelling]));
        expect(&read, &["Svc outbound us [acme1.xendesktop.net] TCP 443"], &[]);
        let without = service(json!({ "fqdns": [spelling, "z.example.net"] }), json!({}));
        let without = read_as(&without, &Reading::default()).allowlist;
        assert_eq!(without.entries[0].names.len(), 1, "{spelling}");
        assert!(without.problems[0].message.contains("placeholder"), "{spelling}");
    }
}

#[test]
fn a_list_saved_in_utf_16_is_read_and_one_in_utf_32_is_named() {
    let text = json!({ "services": [{ "name": "Zürich 東京", "direction": "outbound", "tcpPorts": "443",
        "endpoints": [{ "geo": "us", "ips": ["20.1.1.0/24"] }] }] })
    .to_string();
    let read = |bytes: &[u8]| parse(bytes, &Reading::default());
    let expected = read(text.as_bytes()).expect("a list");
    let utf16 = |mark: bool, bytes_of: fn(u16) -> [u8; 2]| -> Vec<u8> {
        mark.then_some(0xfeff).into_iter().chain(text.encode_utf16()).flat_map(bytes_of).collect()
    };
    for mark in [true, false] {
        assert_eq!(read(&utf16(mark, u16::to_le_bytes)), Ok(expected.clone()), "as PowerShell 5 writes with `>`");
        assert_eq!(read(&utf16(mark, u16::to_be_bytes)), Ok(expected.clone()));
    }
    assert_eq!(read(format!("\u{feff}{text}").as_bytes()), Ok(expected));
    for mark in [Some('\u{feff}'), None] {
        let characters: Vec<char> = mark.into_iter().chain(text.chars()).collect();
        let little: Vec<u8> = characters.iter().flat_map(|c| u32::from(*c).to_le_bytes()).collect();
        let big: Vec<u8> = characters.iter().flat_map(|c| u32::from(*c).to_be_bytes()).collect();
        for bytes in [little, big] {
            let error = read(&bytes).expect_err("UTF-32").to_string();
            let expected = "it is in UTF-32, which is not read; UTF-8 is needed, or UTF-16 with its byte order mark";
            assert_eq!(error, expected);
        }
    }
    let mut broken = utf16(true, u16::to_le_bytes);
    broken.extend([0x00, 0xd8]);
    let error = read(&broken).expect_err("half a character").to_string();
    assert!(error.starts_with("it starts as UTF-16 (little endian)"), "{error}");
    broken.pop();
    assert!(read(&broken).is_err(), "half a unit");
    assert!(read(&[0xff, 0xfe]).is_err_and(|error| error.to_string().starts_with("it is not JSON (")));
}

#[test]
fn an_empty_list_is_a_list_and_a_byte_order_mark_does_no_harm() {
    let read = parse("\u{feff}{\"services\": []}".as_bytes(), &Reading::default()).expect("a list");
    assert_eq!(read.allowlist, Allowlist::default());
}
