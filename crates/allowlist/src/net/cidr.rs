//! CIDRs in their canonical form, and sets of them merged without widening. Pure.

use ipnet::{IpNet, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use std::net::{IpAddr, Ipv6Addr};

/// How many addresses IPv4 has.
pub const IPV4_ADDRESSES: u128 = 1 << 32;
/// All of IANA's global unicast allocations (RFC 4291, section 2.4).
pub const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// A text that is no CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no CIDR: {why}; one such as 10.20.0.0/24 or 2001:db8::/64 is allowed")]
pub struct CidrError {
    text: String,
    why: &'static str,
}

/// Reads a CIDR like Go's `netip.ParsePrefix` and the CEL of Kubernetes. They refuse leading zeros, which some programs read as
/// octal and [`IpNet`] accepts, and IPv4 addresses written as IPv6.
///
/// # Errors
/// Why the text is none.
pub fn parse(text: &str) -> Result<IpNet, CidrError> {
    let refused = |why| CidrError { text: text.to_owned(), why };
    let (address, length) = text.split_once('/').ok_or_else(|| refused("it has no `/` with a length after it"))?;
    let address: IpAddr = address.parse().map_err(|_| refused("it starts with no IPv4 or IPv6 address"))?;
    if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err(refused("it is an IPv4 address written as IPv6"));
    }
    let is_plain = length.bytes().all(|byte| byte.is_ascii_digit()) && (length.len() == 1 || !length.starts_with('0'));
    let length = length.parse().ok().filter(|_| is_plain);
    let bounds =
        if address.is_ipv4() { "its prefix length must be 0 to 32" } else { "its prefix length must be 0 to 128" };
    length.and_then(|length| IpNet::new(address, length).ok()).ok_or_else(|| refused(bounds))
}

/// A network as text, `20.1.2.0/24`. Its `Display` takes many times as long for IPv4, and a resource may write twenty thousand
/// of them several times.
#[must_use]
pub fn text(network: &IpNet) -> String {
    let IpNet::V4(network) = network else { return network.to_string() };
    let mut text = String::with_capacity("255.255.255.255/32".len());
    for (octet, separator) in network.addr().octets().into_iter().zip(['.', '.', '.', '/']) {
        push_decimal(&mut text, octet);
        text.push(separator);
    }
    push_decimal(&mut text, network.prefix_len());
    text
}

fn push_decimal(text: &mut String, number: u8) {
    let digit = |digit: u8| char::from(b'0' + digit);
    if number >= 100 {
        text.push(digit(number / 100));
    }
    if number >= 10 {
        text.push(digit(number / 10 % 10));
    }
    text.push(digit(number % 10));
}

/// A sort key of networks that gives their own order. Comparing them field by field takes several times as long, and tens of
/// thousands are sorted whenever one address changes.
#[must_use]
pub fn order(network: &IpNet) -> (bool, u128, u8) {
    match network {
        IpNet::V4(network) => (false, network.addr().to_bits().into(), network.prefix_len()),
        IpNet::V6(network) => (true, network.addr().to_bits(), network.prefix_len()),
    }
}

/// Whether a network is IPv6, and its first and last address.
#[must_use]
pub fn span(network: &IpNet) -> (bool, u128, u128) {
    match network {
        IpNet::V4(network) => (false, network.network().to_bits().into(), network.broadcast().to_bits().into()),
        IpNet::V6(network) => (true, network.network().to_bits(), network.broadcast().to_bits()),
    }
}

/// The fewest networks with exactly the addresses from `first` to `last`: the reverse of [`span`].
#[must_use]
pub fn between(is_v6: bool, first: u128, last: u128) -> Vec<IpNet> {
    if is_v6 {
        return Ipv6Subnets::new(first.into(), last.into(), 0).map(IpNet::from).collect();
    }
    let address = |bits: u128| u32::try_from(bits).unwrap_or(u32::MAX).into();
    Ipv4Subnets::new(address(first), address(last), 0).map(IpNet::from).collect()
}

/// The canonical form of a set of networks: host bits cleared, contained networks dropped, adjacent halves joined, sorted with IPv4
/// first. It covers exactly the addresses of the input.
#[must_use]
pub fn canonical_set(networks: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    let networks: Vec<IpNet> = networks.into_iter().map(|network| network.trunc()).collect();
    let mut merged = IpNet::aggregate(&networks);
    merged.sort_unstable_by_key(order);
    merged
}

/// How many addresses a network has; all of IPv6 counts as one less.
#[must_use]
pub fn addresses(network: &IpNet) -> u128 {
    let bits = network.max_prefix_len() - network.prefix_len();
    1u128.checked_shl(bits.into()).unwrap_or(u128::MAX)
}

/// Whether `network` lies within one of the networks of a canonical set.
#[must_use]
pub fn covers(canonical: &[IpNet], network: &IpNet) -> bool {
    // Canonical networks are disjoint and sorted: only the last one at or before this one can contain it.
    let next = canonical.partition_point(|known| known <= network);
    next.checked_sub(1).and_then(|before| canonical.get(before)).is_some_and(|known| known.contains(network))
}

/// The addresses of `networks` outside a canonical set, as a canonical set.
#[must_use]
pub fn subtract(networks: impl IntoIterator<Item = IpNet>, canonical: &[IpNet]) -> Vec<IpNet> {
    let mut left = Vec::new();
    let mut undecided = canonical_set(networks);
    while let Some(network) = undecided.pop() {
        // As in `covers`, only the last one at or before this one can contain it. Only the next can be the first inside it: a network
        // that starts where this one does and is narrower sorts after it.
        let next = canonical.partition_point(|known| *known <= network);
        if next.checked_sub(1).and_then(|before| canonical.get(before)).is_some_and(|known| known.contains(&network)) {
            continue;
        }
        if !canonical.get(next).is_some_and(|known| network.contains(known)) {
            left.push(network);
        } else if let Ok(halves) = network.subnets(network.prefix_len() + 1) {
            undecided.extend(halves);
        }
    }
    canonical_set(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn set(texts: &[&str]) -> Vec<IpNet> {
        canonical_set(texts.iter().map(|text| text.parse::<IpNet>().expect("a CIDR")))
    }

    #[test]
    fn cidrs_are_read_as_the_api_server_reads_them() {
        for text in "10.20.0.0/24 10.1.2.3/8 0.0.0.0/0 2001:DB8::/64 ::/0 1:2:3:4:5:6:7::/112 ::1.2.3.4/128".split(' ')
        {
            assert_eq!(parse(text), Ok(text.parse().expect(text)), "{text}");
        }
        let bad = "010.0.0.0/24|10.0.0.00/24|::/064|10.0.0.0/08|10.0.0.0/00|10.0.0.0/+8|10.0.0.0/33|::/129|\
                   ::ffff:10.0.0.0/120|fe80::1%eth0/64|10.0.0/8|10.0.0.0|10.0.0.0/|/8|10.0.0.0/8/8| 10.0.0.0/8|\
                   10.0.0.0/ 8|somewhere|00001::/64";
        for text in bad.split('|') {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("`{text}` is no CIDR: ")), "{error}");
        }
    }

    #[test]
    fn halves_join_contained_vanish_and_families_stay_apart() {
        let merged = set(&["20.1.2.3/24", "20.1.3.0/24", "20.1.2.9/32", "2603:1030::1/32", "13.107.6.152/31"]);
        let texts: Vec<String> = merged.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["13.107.6.152/31", "20.1.2.0/23", "2603:1030::/32"]);
        assert_eq!(set(&[]), []);
    }

    proptest! {
        #[test]
        fn a_text_is_what_display_says(bits: u32, length in 0u8..=32, bits_of_v6: u128, length_of_v6 in 0u8..=128) {
            let v4 = IpNet::new(IpAddr::V4(bits.into()), length).expect("a valid length");
            let v6 = IpNet::new(IpAddr::V6(bits_of_v6.into()), length_of_v6).expect("a valid length");
            prop_assert_eq!(text(&v4), v4.to_string());
            prop_assert_eq!(text(&v6), v6.to_string());
        }

        #[test]
        fn networks_are_ordered_as_they_order_themselves(
            a: u32, b in prop_oneof![Just(None), any::<u32>().prop_map(Some)], lengths in (0u8..=32, 0u8..=32), wide: bool,
        ) {
            let network = |bits: u32, length: u8, wide: bool| match wide {
                false => IpNet::new(IpAddr::V4(bits.into()), length).expect("a valid length"),
                true => IpNet::new(IpAddr::V6((u128::from(bits) << 96).into()), length).expect("a valid length"),
            };
            // The same address half the time, so that the lengths decide.
            let (a, b) = (network(a, lengths.0, false), network(b.unwrap_or(a), lengths.1, wide));
            prop_assert_eq!(order(&a).cmp(&order(&b)), a.cmp(&b));
        }

        #[test]
        fn the_union_is_kept_exactly(
            networks in prop::collection::vec((0u32..512, 23u8..=32), 0..40),
            probe in 0u32..600,
        ) {
            let address = |offset: u32| IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(20, 0, 0, 0)) + offset));
            let network = |(offset, length)| IpNet::new(address(offset), length).expect("a valid length");
            let networks: Vec<IpNet> = networks.into_iter().map(network).collect();
            let probe = address(probe);
            let merged = canonical_set(networks.iter().copied());
            let is_covered = networks.iter().any(|network| network.contains(&probe));
            prop_assert_eq!(merged.iter().any(|network| network.contains(&probe)), is_covered);
            prop_assert_eq!(covers(&merged, &IpNet::from(probe)), is_covered);
            prop_assert!(merged.len() <= networks.len());
        }

        #[test]
        fn subtracting_leaves_what_is_outside(
            networks in prop::collection::vec((any::<u8>(), 0u8..7), 0..12),
            others in prop::collection::vec((any::<u8>(), 0u8..7), 0..12),
            is_v6: bool,
        ) {
            let network = |(offset, width): (u8, u8)| match is_v6 {
                true => IpNet::new(IpAddr::V6((0x2603_1030 << 96 | u128::from(offset)).into()), 128 - width),
                false => IpNet::new(IpAddr::V4(Ipv4Addr::new(20, 1, 2, offset)), 32 - width),
            };
            let network = |parts| network(parts).expect("a valid length");
            let [networks, others] = [networks, others].map(|parts| parts.into_iter().map(network).collect::<Vec<_>>());
            let left = subtract(networks.iter().copied(), &canonical_set(others.iter().copied()));
            for offset in 0..=255 {
                let probe = network((offset, 0));
                let within = |set: &[IpNet]| set.iter().any(|network| network.contains(&probe));
                prop_assert_eq!(within(&left), within(&networks) && !within(&others), "{}", probe);
            }
        }
    }
}
