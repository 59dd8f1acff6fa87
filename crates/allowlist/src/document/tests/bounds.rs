//! Documents larger than a list may be.

use super::*;

#[test]
fn problems_are_bounded() {
    let mut services = vec![names(Value::Array(vec![json!(7); 5000]))["services"][0].clone()];
    services.push(names(json!(["z.example.net"]))["services"][0].clone());
    let document = read_as(&json!({ "services": services }), &Reading::default());
    assert_eq!(document.allowlist.problems.len(), MOST_LIST_PROBLEMS + 1);
    assert!(document.allowlist.problems[MOST_LIST_PROBLEMS].message.starts_with("4000 more parts"));
}

#[test]
fn a_small_document_cannot_become_a_huge_list() {
    let many = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let named: Vec<String> = many("n", 3000).iter().map(|name| format!("{name}.example.com")).collect();
    let endpoint = json!({ "geo": many("g", 3000).join(","), "fqdns": named });
    let read = |document: &Value| parse(document.to_string().as_bytes(), &Reading::default());
    assert_eq!(read(&service(endpoint, json!({}))), Err(DocumentError::TooLong), "3,000 names in as many regions");
    let odd = |count: usize| (0..count).map(|n| (2 * n + 1).to_string()).collect::<Vec<_>>().join(",");
    let ports_of = |count: usize| {
        let document = service(json!({ "fqdns": ["a.example.com"] }), json!({ "tcpPorts": odd(count) }));
        let list = read(&document).expect("a list").allowlist;
        (list.entries[0].ports.as_ref().map(PortSet::len), list.problems.len())
    };
    assert_eq!(ports_of(128), (Some(128), 0));
    assert_eq!(ports_of(129), (None, 1), "every endpoint would carry them");
    let version = read(&json!({ "meta": { "version": "7".repeat(100_000) }, "services": [] })).expect("a list");
    assert_eq!(version.allowlist.version.map(|version| version.len()), Some(64), "every status contains it");
}

/// Formerly a hundred thousand were accepted: 494 MiB, and 6,228 DNS queries a second.
#[test]
fn a_list_of_more_names_than_any_known_is_refused_in_every_form() {
    let names = |count: usize| (0..count).map(|n| format!("n{n}.example.com")).collect::<Vec<_>>();
    let forms: [fn(Vec<String>) -> Value; 3] = [
        |names| json!({ "services": [{ "name": "S", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": names }] }] }),
        |names| json!({ "services": [{ "id": "s-outbound-us-tcp-ipv4", "protocol": "tcp", "ports": ["443"], "domains": names }] }),
        |names| json!({ "Product": { "AllowList": names } }),
    ];
    for form in forms {
        let read = |count: usize| parse(form(names(count)).to_string().as_bytes(), &Reading::default());
        assert!(read(MOST_TARGETS).is_ok());
        assert_eq!(read(MOST_TARGETS + 1), Err(DocumentError::TooLong));
        assert!(read(90_000).is_err());
    }
}

/// Formerly this document, 8,196 bytes of gzip, took 436 MiB. In UTF-16 it is half as many objects, and still too many.
#[test]
fn a_bomb_of_small_objects_is_refused_before_it_is_built() {
    let mut bomb = "{\"services\":[".to_owned();
    while bomb.len() < 4 << 20 {
        bomb.push_str("{\"a\":{\"\":0}},");
    }
    bomb.push_str("{}]}");
    assert_eq!(parse(bomb.as_bytes(), &Reading::default()), Err(DocumentError::TooHeavy));
    let utf16: Vec<u8> = bomb[..2 << 20].encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse(&utf16, &Reading::default()), Err(DocumentError::TooHeavy));
    assert_eq!(
        DocumentError::TooHeavy.to_string(),
        "it would take more than 16 MiB of memory, fifty times what the longest list known takes: it is no list"
    );
}
