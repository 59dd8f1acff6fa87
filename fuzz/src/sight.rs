//! What may be shown to a person, and what may be opened: told apart by other means than the operator's own.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether nothing in a text moves a cursor, colours a terminal, turns the direction of writing or hides.
pub fn is_calm(text: &str) -> bool {
    !text.chars().any(|character| {
        character.is_control()
            || matches!(u32::from(character),
                0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
    })
}

/// Fails where a text is not.
pub fn assert_calm(text: &str) {
    assert!(is_calm(text), "what acts on a terminal is passed on: {text:?}");
}

/// Whether an address is one of this machine, of a network of one's own, or of several machines at once, in whichever form.
pub fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || address.octets()[0] == 0
                || address.octets()[0] >= 240
                || address == Ipv4Addr::new(168, 63, 129, 16)
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            let last = Ipv4Addr::from((u128::from(address) & 0xffff_ffff) as u32);
            let is_translated = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.to_ipv4_mapped().is_some()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || is_translated && is_inside(last.into())
        }
    }
}

/// Fails where a network of a list, or an address of an answer, is one that nothing from outside may open.
pub fn assert_outside(network: &IpNet) {
    let shortest = if matches!(network, IpNet::V4(_)) { 8 } else { 16 };
    assert!(network.prefix_len() >= shortest, "{network} is wider than /{shortest}");
    for address in [network.network(), network.broadcast()] {
        assert!(!is_inside(address), "{network} holds {address}");
    }
    let metadata = [Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(168, 63, 129, 16)].map(IpAddr::V4);
    let of_aws = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));
    assert!(!metadata.iter().chain([&of_aws]).any(|address| network.contains(address)), "{network}");
}
