//! Networks as lists write them: CIDRs, bare addresses, ranges. Pure.

use crate::net::cidr::between;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// How many bits of addresses a range may span: as many as the guard's widest default network, /8 and /16. A range becomes several
/// networks, and each of them looks narrow to the guard.
const MOST_IPV4_BITS: u32 = 24;
const MOST_IPV6_BITS: u32 = 112;

/// Reads one item: a CIDR (host bits cleared), an address, or a range `first-last`. Never empty.
///
/// # Errors
/// Why the text is none of these.
pub(super) fn read(text: &str) -> Result<Vec<IpNet>, String> {
    let text = text.trim();
    if let Some((first, last)) = text.split_once('-') {
        return range(first.trim(), last.trim());
    }
    if let Some((address, mask)) = text.split_once('/') {
        return network(address.trim(), mask.trim()).map(|network| vec![network.trunc()]);
    }
    address(text).map(|address| vec![IpNet::from(address)])
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        format!("`{text}` is not an address: a CIDR, an IPv4 or IPv6 address, or a range `first-last` is needed")
    })
}

fn network(address_text: &str, mask: &str) -> Result<IpNet, String> {
    let address = address(address_text)?;
    let refused = || format!("`{address_text}/{mask}` has no prefix length of its family");
    if let (IpAddr::V4(_), Ok(netmask)) = (address, mask.parse::<Ipv4Addr>()) {
        return IpNet::with_netmask(address, IpAddr::V4(netmask)).map_err(|_| refused());
    }
    let digits = !mask.is_empty() && mask.bytes().all(|b| b.is_ascii_digit());
    match mask.parse::<u8>() {
        Ok(length) if digits => IpNet::new(address, length).map_err(|_| refused()),
        _ => Err(refused()),
    }
}

fn range(first: &str, last: &str) -> Result<Vec<IpNet>, String> {
    let reversed = || format!("`{first}-{last}` is a reversed range: the first address may not be above the last");
    let wide = || format!("`{first}-{last}` is wider than any network that may be opened");
    let (from, to, most_bits) = match (address(first)?, address(last)?) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (from.to_bits().into(), to.to_bits().into(), MOST_IPV4_BITS),
        (IpAddr::V6(from), IpAddr::V6(to)) => (from.to_bits(), to.to_bits(), MOST_IPV6_BITS),
        _ => return Err(format!("`{first}-{last}` mixes IPv4 and IPv6")),
    };
    if u128::checked_sub(to, from).ok_or_else(reversed)? >> most_bits > 0 {
        return Err(wide());
    }
    Ok(between(most_bits == MOST_IPV6_BITS, from, to))
}
