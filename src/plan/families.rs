//! IP families, and IPv4 through NAT64 where pods have only IPv6.

use crate::crd::IpFamilies;
use crate::facts::ClusterFacts;
use connectivity_allowlist::net::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The IP families of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// Whether IPv4 peers are written.
    pub ipv4: bool,
    /// Whether IPv6 peers are written.
    pub ipv6: bool,
    /// The prefix of the translator through which pods reach IPv4, if IPv4 is not written.
    pub nat64: Option<Nat64>,
}

impl Families {
    /// The families of a spec's choice in a cluster.
    #[must_use]
    pub fn new(choice: IpFamilies, facts: &ClusterFacts) -> Self {
        let (ipv4, ipv6) = match choice {
            IpFamilies::Auto => facts.families(),
            IpFamilies::Ipv4 => (true, false),
            IpFamilies::Ipv6 => (false, true),
            IpFamilies::Dual => (true, true),
        };
        let nat64 = if ipv4 { None } else { facts.nat64_prefix.and_then(Nat64::new) };
        Self { ipv4, ipv6, nat64 }
    }

    /// The written form of a network that pods reach, or that reaches them; `None` if its family is not written. NAT64 hides no
    /// incoming connections, so it does not matter there.
    #[must_use]
    pub fn written(&self, direction: Direction, network: IpNet) -> Option<IpNet> {
        match (network, self.nat64) {
            (IpNet::V4(network), Some(nat64)) if direction == Direction::Outbound => {
                Some(IpNet::V6(nat64.embed(network)))
            }
            (IpNet::V4(_), _) => self.ipv4.then_some(network),
            (IpNet::V6(_), _) => self.ipv6.then_some(network),
        }
    }
}

/// A NAT64 prefix of one of the lengths that RFC 6052 (section 2.2) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64(Ipv6Net);

/// RFC 6052 keeps bits 64 to 71 zero.
const RESERVED: std::ops::Range<u8> = 64..72;

impl Nat64 {
    /// The prefix; `None` for a length that no translator uses.
    #[must_use]
    pub fn new(prefix: Ipv6Net) -> Option<Self> {
        matches!(prefix.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96).then(|| Self(prefix.trunc()))
    }

    /// The position in the IPv6 address of the embedded address' bit `index`, 0 the highest.
    const fn position(self, index: u8) -> u8 {
        let plain = self.0.prefix_len() + index;
        if self.0.prefix_len() <= RESERVED.start && plain >= RESERVED.start {
            plain + (RESERVED.end - RESERVED.start)
        } else {
            plain
        }
    }

    /// The IPv6 network under which pods reach an IPv4 network. A single address stays a single address.
    #[must_use]
    pub fn embed(self, network: Ipv4Net) -> Ipv6Net {
        let embedded = u32::from(network.network());
        let mut bits = u128::from(self.0.network());
        for index in (0..32u8).filter(|index| embedded >> (31 - index) & 1 == 1) {
            bits |= 1 << (127 - self.position(index));
        }
        let length = match network.prefix_len() {
            0 => self.0.prefix_len(),
            32 => 128,
            length => self.position(length - 1) + 1,
        };
        Ipv6Net::new(Ipv6Addr::from(bits), length).unwrap_or_else(|_| Ipv6Net::from(Ipv6Addr::from(bits)))
    }

    /// The IPv4 network that an IPv6 network embeds; `None` outside the prefix.
    #[must_use]
    pub fn extract(self, network: Ipv6Net) -> Option<Ipv4Net> {
        if !self.0.contains(&network) {
            return None;
        }
        let bits = u128::from(network.network());
        let fixed = (0..32u8).take_while(|index| self.position(*index) < network.prefix_len());
        let length = u8::try_from(fixed.clone().count()).ok()?;
        let embedded = fixed.fold(0u32, |embedded, index| {
            let bit = u32::from(bits >> (127 - self.position(index)) & 1 == 1);
            embedded | bit << (31 - index)
        });
        Ipv4Net::new(Ipv4Addr::from(embedded), length).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Nat64 {
        Nat64::new(text.parse().expect("a prefix")).expect("a NAT64 prefix")
    }

    #[test]
    fn addresses_embed_as_rfc_6052_tabulates() {
        // RFC 6052, section 2.4, table 1.
        for (nat64, embedded) in [
            ("2001:db8::/32", "2001:db8:c000:221::/128"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::/128"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::/128"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::/128"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::/128"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33/128"),
        ] {
            let address: Ipv4Net = "192.0.2.33/32".parse().expect("an address");
            let expected: Ipv6Net = embedded.parse().expect("a network");
            assert_eq!(prefix(nat64).embed(address), expected, "{nat64}");
        }
        assert_eq!(Nat64::new("64:ff9b::/95".parse().expect("a prefix")), None);
    }

    #[test]
    fn families_follow_the_cluster_unless_set() {
        let pod_networks = vec!["fd00::/48".parse().expect("a network")];
        let facts = ClusterFacts { pod_networks, ..Default::default() };
        let nat64_prefix = Some("64:ff9b::/96".parse().expect("a prefix"));
        let translated = ClusterFacts { nat64_prefix, ..facts.clone() };
        let written = |choice, facts, network: &str| {
            let families = Families::new(choice, facts);
            let written = |direction| families.written(direction, network.parse().expect("a network"));
            Direction::ALL.map(|direction| written(direction).map(|network| network.to_string()))
        };
        let none = [None, None];
        let [v4, v6] = ["20.1.2.0/24", "2603::/32"].map(|text| [Some(text.to_owned()), Some(text.to_owned())]);
        assert_eq!(written(IpFamilies::Auto, &facts, "20.1.2.0/24"), none);
        assert_eq!(written(IpFamilies::Auto, &facts, "2603::/32"), v6);
        let nat64 = [Some("64:ff9b::1401:200/120".to_owned()), None];
        assert_eq!(written(IpFamilies::Auto, &translated, "20.1.2.0/24"), nat64, "nobody comes in through NAT64");
        assert_eq!(written(IpFamilies::Dual, &translated, "20.1.2.0/24"), v4);
        assert_eq!(written(IpFamilies::Dual, &translated, "2603::/32"), v6);
        assert_eq!(written(IpFamilies::Ipv4, &translated, "2603::/32"), none);
    }

    proptest! {
        #[test]
        fn what_is_embedded_comes_back(
            address: u32,
            length in 0u8..=32,
            prefix_length in prop::sample::select(vec![32u8, 40, 48, 56, 64, 96]),
        ) {
            let network = Ipv4Net::new(Ipv4Addr::from(address), length).expect("a network").trunc();
            let nat64 = Nat64::new(Ipv6Net::new("2001:db8:1:2::".parse().expect("an address"), prefix_length).expect("a prefix")).expect("a NAT64 prefix");
            prop_assert_eq!(nat64.extract(nat64.embed(network)), Some(network));
        }
    }
}
