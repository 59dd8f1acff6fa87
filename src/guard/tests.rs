use super::*;
use proptest::prelude::*;

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().expect("a network or an address")))
}

fn facts() -> ClusterFacts {
    ClusterFacts {
        service_networks: vec![net("34.118.224.0/20"), net("10.96.0.0/12"), net("2600:1901:8100::/108")],
        pod_networks: vec![net("45.1.0.0/16"), net("fd00:1::/48")],
        node_addresses: vec![net("20.7.7.7").addr(), net("2603:1030::7").addr()],
        api_servers: vec![net("20.8.8.8").addr()],
        nat64_prefix: Some("2001:67c:2960:6464::/96".parse().expect("a prefix")),
        ..ClusterFacts::default()
    }
}

fn guard() -> Guard {
    let settings = GuardSettings {
        allow_private: vec![net("10.20.0.0/16"), net("fd00:20::/32"), net("10.96.7.0/24")],
        deny: vec![net("20.9.0.0/16"), net("2a00:9::/32")],
        ..GuardSettings::default()
    };
    Guard::new(settings, &facts())
}

const METADATA: &str = "the cloud's own address 169.254.169.254 (instance metadata of AWS, Azure, Google Cloud, Oracle Cloud, IBM Cloud, DigitalOcean, Hetzner, Huawei Cloud, OpenStack and others), which nothing opens";

/// The verdicts on a network of the vendor and on a user's own; empty if it passes.
fn verdicts(text: &str) -> (String, String) {
    let verdict = |origin| {
        guard().check_network(net(text), origin).map_or_else(|refusal| refusal.to_string(), |()| String::new())
    };
    (verdict(Origin::Vendor), verdict(Origin::User))
}

#[test]
fn every_range_is_refused_from_its_first_to_its_last_address() {
    for (special, severity, what) in SPECIAL {
        let (first, last) = (special.network(), special.broadcast());
        for address in [first, last] {
            // An earlier, wider entry may speak first (`::` is IPv4-compatible too); one of them must.
            let vendor = Guard::new(GuardSettings::default(), &ClusterFacts::default())
                .check_address(address, Origin::Vendor)
                .expect_err(what);
            assert!(!vendor.reason.is_empty());
            let user = guard().check_address(address, Origin::User);
            assert_eq!(user.is_ok(), *severity == Severity::Private, "{address} ({what}): {user:?}");
        }
    }
}

#[test]
fn just_beyond_each_range_is_open() {
    let open = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
                169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 \
                192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 \
                203.0.114.0 223.255.255.255 13.107.6.152/31 2001:200:: 2001:db7::1 2001:db9::1 2003::1 2603:1030::1 \
                2606:4700::/32 3ffe::1";
    for text in open.split(' ') {
        assert_eq!(verdicts(text), (String::new(), String::new()), "{text}");
    }
}

#[test]
fn each_refusal_names_its_range() {
    let table = [
        ("127.0.0.1", "loopback (127.0.0.0/8)"),
        ("169.254.1.1", "link-local (169.254.0.0/16)"),
        ("169.254.64.0/18", "link-local (169.254.0.0/16)"),
        ("169.254.169.254", METADATA),
        ("100.64.0.1", "shared by carrier-grade NAT (100.64.0.0/10)"),
        ("224.0.0.251", "multicast (224.0.0.0/4)"),
        ("255.255.255.255", "reserved (240.0.0.0/4)"),
        ("0.0.0.0", "unspecified (0.0.0.0/8)"),
        ("::", "unspecified (::/128)"),
        ("::1", "loopback (::1/128)"),
        ("::7f00:1", "IPv4-compatible (::/96)"),
        ("::ffff:20.1.2.3", "IPv4-mapped (::ffff:0.0.0.0/96)"),
        ("::ffff:0:20.1.2.3", "reserved (outside 2000::/3)"),
        ("4000::1", "reserved (outside 2000::/3)"),
        ("fe80::1", "link-local (fe80::/10)"),
        ("fd12::1", "private (unique local) (fc00::/7)"),
        ("ff02::fb", "multicast (ff00::/8)"),
        ("2002:7f00:1::", "6to4 (2002::/16)"),
        ("20.9.1.1", "denied by --deny-cidr 20.9.0.0/16"),
        ("20.0.0.0/8", "denied by --deny-cidr 20.9.0.0/16"),
        ("34.118.224.10", "the cluster's own Service range 34.118.224.0/20"),
        ("45.1.2.3", "the cluster's own pod range 45.1.0.0/16"),
        ("20.7.7.7", "the cluster's own node's address 20.7.7.7"),
        ("20.7.0.0/16", "the cluster's own node's address 20.7.7.7"),
        ("2603:1030::/32", "the cluster's own node's address 2603:1030::7"),
        ("64:ff9b::1407:707", "the cluster's own node's address 20.7.7.7"),
        ("20.8.8.8", "the cluster's own API server's address 20.8.8.8"),
        ("2600:1901:8100::a", "the cluster's own Service range 2600:1901:8100::/108"),
        ("64:ff9b::7f00:1", "loopback (127.0.0.0/8)"),
        ("64:ff9b::a9fe:a9fe", METADATA),
        ("64:ff9b::2d01:203", "the cluster's own pod range 45.1.0.0/16"),
        ("2001:67c:2960:6464::a9fe:a9fe", METADATA),
        ("2001:67c:2960:6464::1409:101", "denied by --deny-cidr 20.9.0.0/16"),
        ("64:ff9b::/32", "wider than the NAT64 prefix 64:ff9b::/96"),
        ("2001:67c::/32", "wider than the NAT64 prefix 2001:67c:2960:6464::/96"),
        ("168.0.0.0/7", "wider than /8"),
        ("2000::/15", "wider than /16"),
        ("0.0.0.0/0", "denied by --deny-cidr 20.9.0.0/16"),
    ];
    for (text, reason) in table {
        assert_eq!(verdicts(text).0, reason, "{text}");
    }
}

#[test]
fn nat64_passes_the_form_of_a_public_address() {
    for text in ["64:ff9b::1401:203", "2001:67c:2960:6464::1401:203", "64:ff9b::1401:200/120"] {
        assert_eq!(verdicts(text), (String::new(), String::new()), "{text}");
    }
}

#[test]
fn nat64_prefixes_of_every_length_of_the_rfc_are_read() {
    // RFC 6052, section 2.4: 192.0.2.33 under each length, here 169.254.169.254 under a public prefix.
    let table = [
        ("2a00:db8::/32", "2a00:db8:a9fe:a9fe::"),
        ("2a00:db8:100::/40", "2a00:db8:1a9:fea9:fe::"),
        ("2a00:db8:122::/48", "2a00:db8:122:a9fe:a9:fe00::"),
        ("2a00:db8:122:300::/56", "2a00:db8:122:3a9:fe:a9fe::"),
        ("2a00:db8:122:344::/64", "2a00:db8:122:344:a9:fea9:fe00::"),
        ("2a00:db8:122:344::/96", "2a00:db8:122:344::a9fe:a9fe"),
    ];
    for (prefix, address) in table {
        let facts = ClusterFacts { nat64_prefix: prefix.parse().ok(), ..ClusterFacts::default() };
        let refusal = Guard::new(GuardSettings::default(), &facts).check_network(net(address), Origin::Vendor);
        assert_eq!(refusal.map_err(|refusal| refusal.reason), Err(METADATA.into()), "{prefix}");
    }
    let facts = ClusterFacts { nat64_prefix: "2a00:db8::/33".parse().ok(), ..ClusterFacts::default() };
    assert!(Guard::new(GuardSettings::default(), &facts).check_network(net("2a00:db8::1"), Origin::Vendor).is_err());
}

#[test]
fn the_administrator_opens_private_ranges_to_answers() {
    for opened in ["10.20.1.1", "10.20.0.0/16", "fd00:20::1", "10.96.7.9", "64:ff9b::a14:101"] {
        assert_eq!(verdicts(opened), (String::new(), String::new()), "{opened}");
    }
    assert_eq!(verdicts("10.0.0.0/8").0, "private (10.0.0.0/8)", "opened in part is not opened");
    assert_eq!(verdicts("10.21.0.1").0, "private (10.0.0.0/8)");
}

/// A node's own public addresses and the API server's passed like any other public address: one lie in DNS opened kubelets and
/// NodePorts.
#[test]
fn only_the_flag_opens_machines_of_the_cluster() {
    for machine in ["20.7.7.7", "2603:1030::7", "20.8.8.8"] {
        let (vendor, user) = verdicts(machine);
        assert!(vendor.starts_with("the cluster's own "), "{vendor}");
        assert_eq!(user, "", "as the cluster's Services and pods, which a user may name");
        let settings = GuardSettings { allow_private: vec![net(machine)], ..GuardSettings::default() };
        assert_eq!(Guard::new(settings, &facts()).check_network(net(machine), Origin::Vendor), Ok(()));
    }
    assert_eq!(verdicts("20.7.7.8").0, "", "no other address");
}

#[test]
fn advice_is_given_only_where_a_flag_helps() {
    let guard = guard();
    for address in ["10.1.1.1", "20.7.7.7", "34.118.224.10", "169.254.1.1"] {
        assert!(guard.could_be_opened(net(address).addr()), "{address}");
    }
    for address in ["20.9.1.1", "64:ff9b::1409:101", "169.254.169.254", "64:ff9b::a9fe:a9fe", "168.63.129.16"] {
        assert!(!guard.could_be_opened(net(address).addr()), "{address}");
    }
}

/// Any name could be queried: `additional` was a way out by DNS for pods that have none.
#[test]
fn users_names_must_be_under_the_administrators_domains() {
    let domain = |text: &str| DomainName::parse(text).expect("a name");
    let settings = GuardSettings {
        additional_suffixes: vec![domain("corp.example.com"), domain("example.org")],
        ..GuardSettings::default()
    };
    let guard = Guard::new(settings, &ClusterFacts::default());
    for name in ["corp.example.com", "idp.corp.example.com", "a.b.example.org"] {
        assert_eq!(guard.check_additional_name(&domain(name)), Ok(()), "{name}");
    }
    for name in ["example.com", "notcorp.example.com", "corp.example.com.evil.net", "secret.tunnel.net"] {
        let refusal = guard.check_additional_name(&domain(name)).expect_err(name);
        assert_eq!(refusal.reason, "under none of --additional-suffix corp.example.com, example.org");
    }
    let open = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    assert_eq!(open.check_additional_name(&domain("anything.example.net")), Ok(()));
}

#[test]
fn a_user_may_name_private_ranges_but_never_everything() {
    assert_eq!(verdicts("192.168.0.0/16").1, "");
    assert_eq!(verdicts("112.0.0.0/4").1, "loopback (127.0.0.0/8)");
    assert_eq!(verdicts("0.0.0.0/0").1, "denied by --deny-cidr 20.9.0.0/16");
    let open = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    for everything in ["0.0.0.0/0", "::/0"] {
        let refusal = open.check_network(net(everything), Origin::User).expect_err(everything);
        assert_eq!(refusal.reason, "wider than /1");
    }
    for half in ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"] {
        assert!(open.check_network(net(half), Origin::User).is_err(), "{half}");
    }
}

/// An independent reading of special IPv4 addresses: the standard library's, and the rest by hand.
fn is_special(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || address == Ipv4Addr::new(168, 63, 129, 16)
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
}

/// Addresses near the edges of ranges as well as anywhere.
fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    let edges = SPECIAL.iter().filter_map(|(special, ..)| match special {
        IpNet::V4(special) => Some([u32::from(special.network()), u32::from(special.broadcast())]),
        IpNet::V6(_) => None,
    });
    let edges: Vec<u32> = edges.flatten().collect();
    let near = (prop::sample::select(edges), -2i32..=2).prop_map(|(edge, offset)| edge.wrapping_add_signed(offset));
    prop_oneof![near, any::<u32>()].prop_map(Ipv4Addr::from)
}

proptest! {
    #[test]
    fn networks_overlap_where_one_contains_the_other(
        near: u8, shift in 0u32..32, lengths in (0u8..=32, 0u8..=32), wide in (0u8..=128, 0u8..=128),
    ) {
        // Few bits differ, so that both answers are met often.
        let (a, b) = (0x1464_0001_u32, 0x1464_0001_u32 ^ u32::from(near) << shift);
        let v4 = |bits: u32, length| IpNet::new(IpAddr::V4(bits.into()), length).expect("a length");
        let v6 = |bits: u32, length| IpNet::new(IpAddr::V6((u128::from(bits) << 64).into()), length).expect("a length");
        for (a, b) in [(v4(a, lengths.0), v4(b, lengths.1)), (v6(a, wide.0), v6(b, wide.1)), (v4(a, 0), v6(b, 0))] {
            prop_assert_eq!(overlaps(&a, &b), a.contains(&b) || b.contains(&a));
        }
    }

    #[test]
    fn ipv4_agrees_with_the_standard_library(address in ipv4()) {
        let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
        let passes = guard.check_address(address.into(), Origin::Vendor).is_ok();
        prop_assert_eq!(passes, !is_special(address));
        let embedded = Ipv6Addr::from((u128::from(NAT64_WELL_KNOWN.addr())) | u128::from(u32::from(address)));
        prop_assert_eq!(guard.check_address(embedded.into(), Origin::Vendor).is_ok(), passes);
        prop_assert!(guard.check_address(address.to_ipv6_mapped().into(), Origin::Vendor).is_err());
    }

    #[test]
    fn an_undisputed_network_passes_each_check(
        address in ipv4(), denied in ipv4(), service in ipv4(), lengths in (1u8..=32, 1u8..=32, 8u8..=32), user: bool,
    ) {
        let network = |address: Ipv4Addr, length| IpNet::new(address.into(), length).expect("a length");
        let deny = vec![network(denied, lengths.1)];
        let facts = ClusterFacts { service_networks: vec![network(service, lengths.2)], ..ClusterFacts::default() };
        let guard = Guard::new(GuardSettings { deny, ..GuardSettings::default() }, &facts);
        let origin = if user { Origin::User } else { Origin::Vendor };
        let network = network(address, lengths.0);
        if guard.is_undisputed(network) {
            prop_assert_eq!(guard.check_each(network, 0, origin), Ok(()));
        }
        // And no network is disputed without a reason.
        if guard.check_each(network, 0, Origin::Vendor).is_ok() {
            prop_assert!(guard.is_undisputed(network));
        }
    }

    #[test]
    fn no_network_passes_with_a_refused_address(
        address in prop_oneof![ipv4().prop_map(IpAddr::V4), any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
            any::<u64>().prop_map(|bits| IpAddr::V6((0x64_ff9b_u128 << 96 | u128::from(bits)).into()))],
        length in 1u8..=128,
        member in any::<u128>(),
        user in any::<bool>(),
    ) {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let network = IpNet::new(address, length.min(bits)).expect("a valid length").trunc();
        let member: IpAddr = match network {
            IpNet::V4(network) => Ipv4Addr::from(u32::from(network.addr()) | (member as u32 & u32::from(network.hostmask()))).into(),
            IpNet::V6(network) => Ipv6Addr::from(u128::from(network.addr()) | (member & u128::from(network.hostmask()))).into(),
        };
        let origin = if user { Origin::User } else { Origin::Vendor };
        prop_assert!(network.contains(&member));
        if guard().check_network(network, origin).is_ok() {
            prop_assert_eq!(guard().check_address(member, origin), Ok(()));
        }
    }

    #[test]
    fn a_denied_address_never_passes(last in any::<u16>(), user in any::<bool>()) {
        let origin = if user { Origin::User } else { Origin::Vendor };
        let [a, b] = last.to_be_bytes();
        prop_assert!(guard().check_address(Ipv4Addr::new(20, 9, a, b).into(), origin).is_err());
    }
}
