use super::*;
use crate::facts::ClusterFacts;
use crate::guard::tests::net;
use crate::guard::{Guard, GuardSettings, Origin};

fn facts() -> ClusterFacts {
    let nat64_prefix = Some("2001:67c:2960:6464::/96".parse().expect("a prefix"));
    ClusterFacts { nat64_prefix, ..ClusterFacts::default() }
}

/// Opens everything that a flag can open.
fn open() -> Guard {
    let allow_private = vec![net("0.0.0.0/0"), net("::/0")];
    let settings =
        GuardSettings { allow_private, shortest_ipv4_prefix: 1, shortest_ipv6_prefix: 1, ..Default::default() };
    Guard::new(settings, &facts())
}

/// All forms of an address in policies.
fn forms_of(address: IpAddr) -> Vec<String> {
    let IpAddr::V4(ipv4) = address else { return vec![address.to_string()] };
    let [a, b, c, d] = ipv4.octets();
    vec![
        address.to_string(),
        format!("64:ff9b::{a:x}{b:02x}:{c:x}{d:02x}"),
        format!("2001:67c:2960:6464::{a:x}{b:02x}:{c:x}{d:02x}"),
        format!("64:ff9b:1::{a:x}{b:02x}:{c:x}{d:02x}"),
        format!("64:ff9b:1:77:1:2:{a:x}{b:02x}:{c:x}{d:02x}"),
        format!("64:ff9b:1:{a:x}{b:02x}:{c:02x}:{d:x}00::"),
        format!("64:ff9b:1:77:{a:02x}:{b:x}{c:02x}:{d:x}00:0"),
        format!("64:ff9b:1:0{a:02x}:{b:02x}:{c:x}{d:02x}::"),
        format!("::ffff:{ipv4}"),
        format!("::ffff:0:{ipv4}"),
        format!("::{ipv4}"),
        format!("2002:{a:x}{b:02x}:{c:x}{d:02x}::1"),
    ]
}

/// By DNS and the list passed 168.63.129.16 and its NAT64 form; by `additional.cidrs` all of the others outside
/// 169.254.0.0/16 too, such as `fd00:ec2::254`, `100.100.100.200` and `64:ff9b:1::a9fe:a9fe`.
#[test]
fn platform_addresses_are_never_opened_in_any_form() {
    for platform in PLATFORM_ADDRESSES {
        for form in forms_of(platform.address) {
            for origin in [Origin::Vendor, Origin::User] {
                for guard in [open(), Guard::new(GuardSettings::default(), &facts())] {
                    assert!(guard.check_network(net(&form), origin).is_err(), "{form} of {platform:?} by {origin:?}");
                }
            }
            let refusal = open().check_network(net(&form), Origin::Vendor).expect_err("refused");
            assert!(refusal.reason.contains(&format!("the cloud's own address {}", platform.address)), "{refusal}");
        }
    }
}

/// As with every range that is never opened, a network around such an address is refused as a whole.
#[test]
fn networks_around_them_are_refused_and_those_next_to_them_pass() {
    let around = "168.63.0.0/16 100.64.0.0/10 fd00::/8 fd00:ec2::/32 192.0.0.0/24 64:ff9b:1::/96 2002:a9fe::/32 \
                  64:ff9b:1::a9fe:0/112";
    for around in around.split(' ') {
        assert!(open().check_network(net(around), Origin::User).is_err(), "{around}");
        assert!(open().check_network(net(around), Origin::Vendor).is_err(), "{around}");
    }
    let next = "168.63.129.17 168.63.128.0/24 100.64.0.0/11 fd00:ec2::253 fd12::/16 192.0.0.193 64:ff9b:1::1401:203 \
                2002:1401:203::/48";
    for next in next.split(' ') {
        assert_eq!(open().check_network(net(next), Origin::User), Ok(()), "{next}");
    }
    // A network around a whole embedding prefix is not searched.
    let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    assert_eq!(guard.check_network(net("2000::/3"), Origin::User), Ok(()));
}

#[test]
fn each_platform_address_is_listed_once_cited_and_documented() {
    let page = include_str!("../../../docs/security.md");
    let rows: Vec<String> = PLATFORM_ADDRESSES
        .iter()
        .map(|PlatformAddress { address, what, source }| format!("| `{address}` | {what} | <{source}> |"))
        .collect();
    let written: Vec<&str> = page.lines().filter(|line| line.ends_with("> |") && line.starts_with("| `")).collect();
    assert_eq!(written, rows);
    let mut addresses: Vec<IpAddr> = PLATFORM_ADDRESSES.iter().map(|platform| platform.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), PLATFORM_ADDRESSES.len());
    assert!(PLATFORM_ADDRESSES.iter().all(|platform| platform.source.starts_with("https://")));
}
