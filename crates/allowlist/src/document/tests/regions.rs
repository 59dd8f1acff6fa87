//! Regions and directions of endpoints, in every spelling.

use super::*;

#[test]
fn regions_and_directions() {
    for (geo, read) in [
        (json!(null), vec!["all"]),
        (json!("all"), vec!["all"]),
        (json!(" US "), vec!["us"]),
        (json!("moon"), vec!["moon"]),
        (json!(["us", "eu"]), vec!["eu", "us"]),
        (json!("us, eu"), vec!["eu", "us"]),
        (json!(["us", "all"]), vec!["all"]),
        (json!(""), vec!["all"]),
        (json!([" "]), vec!["all"]),
        // A comma too many must not open every region.
        (json!("us,,eu, "), vec!["eu", "us"]),
        (json!(["us", ""]), vec!["us"]),
    ] {
        let lines: Vec<String> = read.iter().map(|geo| format!("Svc outbound {geo} [a.example.net] TCP 443")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        expect(&service(json!({ "geo": geo, "fqdns": ["a.example.net"] }), json!({})), &lines, &[]);
    }
    let directed = |direction: Value| service(json!({ "fqdns": ["a.example.net"] }), json!({ "direction": direction }));
    let outbound = "Svc outbound all [a.example.net] TCP 443";
    let inbound = "Svc inbound all [a.example.net] TCP 443";
    expect(&directed(json!("INBOUND")), &[inbound], &[]);
    expect(&directed(json!("all")), &[outbound, inbound], &[]);
    expect(&directed(json!(null)), &[outbound, inbound], &[]);
    assert!(matches!(
        parse(directed(json!("sideways")).to_string().as_bytes(), &Reading::default()),
        Err(DocumentError::NothingUsable(1, message)) if message.contains("none of inbound, outbound, all")
    ));
}

#[test]
fn an_id_may_name_several_regions() {
    let of = |id: &str| {
        let service = json!({ "id": id, "protocol": "tcp", "ports": "443", "domains": ["a.example.net"] });
        json!({ "usage": {}, "services": [service] })
    };
    let (eu, us) = ("daas outbound eu [a.example.net] TCP 443", "daas outbound us [a.example.net] TCP 443");
    expect(&of("daas-outbound-us,eu-tcp-ipv4"), &[eu, us], &[]);
    expect(&of("daas-outbound-us,-tcp-ipv4"), &[us], &[]);
    expect(&of("daas-outbound-us,all-tcp-ipv4"), &["daas outbound all [a.example.net] TCP 443"], &[]);
    expect(&of("daas -outbound-us-tcp-ipv4"), &[us], &[]);
    // Without a region it opens none.
    for id in ["daas-outbound-,-tcp-ipv4", "daas-outbound--tcp-ipv4"] {
        assert!(parse(of(id).to_string().as_bytes(), &Reading::default()).is_err(), "{id}");
    }
}
