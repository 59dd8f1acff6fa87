//! Port ranges, protocols, and sets of them that are never empty. Pure.

use std::fmt;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
}

impl Protocol {
    /// The protocol in capitals: `TCP` or `UDP`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An inclusive range of ports, 1 to 65535, its first never above its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is not a list of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a whole number from 1 to 65535.
    #[error("`{0}` is not a port: a whole number from 1 to 65535 is allowed")]
    NotAPort(String),
    /// A range whose first port is above its last.
    #[error("`{0}` is a reversed range: the first port may not be above the last")]
    Reversed(String),
}

impl PortRange {
    /// A range from `first` to `last`, both included; `None` if `first` is 0 or above `last`.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// One port; `None` for port 0, which is never used.
    #[must_use]
    pub const fn single(port: u16) -> Option<Self> {
        Self::new(port, port)
    }

    /// The lowest port of the range.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port of the range.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Reads one item of a list, `443` or `8080-8090`, with white space around its parts.
    ///
    /// # Errors
    /// The text, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let number = |part: &str| {
            let part = part.trim();
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            match part.parse::<u16>() {
                Ok(port) if digits && port > 0 => Ok(port),
                _ => Err(PortError::NotAPort(part.to_owned())),
            }
        };
        match text.split_once('-') {
            None => number(text).map(|port| Self { first: port, last: port }),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                Self::new(first, last).ok_or_else(|| PortError::Reversed(text.trim().to_owned()))
            }
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Ports of both protocols: sorted, merged losslessly. Never empty, since an empty port list in a NetworkPolicy means every port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    ranges: Vec<(Protocol, PortRange)>,
}

impl PortSet {
    /// The union of the given ranges, touching and overlapping ones merged; `None` without any.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = (Protocol, PortRange)>) -> Option<Self> {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(Protocol, PortRange)> = Vec::with_capacity(ranges.len());
        for (protocol, range) in ranges {
            match merged.last_mut() {
                Some((of, last)) if *of == protocol && u32::from(range.first) <= u32::from(last.last) + 1 => {
                    last.last = last.last.max(range.last);
                }
                _ => merged.push((protocol, range)),
            }
        }
        (!merged.is_empty()).then_some(Self { ranges: merged })
    }

    /// The ranges in order: TCP before UDP, low before high.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, PortRange)> + '_ {
        self.ranges.iter().copied()
    }

    /// How many ranges there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a port set is never empty")]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether the set allows `port` of `protocol`.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.ranges.iter().any(|(of, range)| *of == protocol && range.contains(port))
    }

    /// The ports that both sets allow; `None` if they share none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let shared = self.iter().flat_map(|(protocol, range)| {
            let same = other.iter().filter(move |(of, _)| *of == protocol);
            let overlap =
                move |other: PortRange| PortRange::new(range.first.max(other.first), range.last.min(other.last));
            same.filter_map(move |(_, other)| overlap(other).map(|shared| (protocol, shared)))
        });
        Self::new(shared)
    }

    /// Whether everything that `other` allows is allowed here too.
    #[must_use]
    pub fn is_superset(&self, other: &Self) -> bool {
        // Ranges of a set neither touch nor overlap, so a single one contains a covered range.
        other.iter().all(|(protocol, range)| {
            self.iter().any(|(of, wider)| of == protocol && wider.first <= range.first && range.last <= wider.last)
        })
    }

    /// The set's ranges of one protocol as the vendor writes them, `80,443,8080-8090`; `None` without any.
    #[must_use]
    pub fn listed(&self, protocol: Protocol) -> Option<String> {
        let ranges = self.iter().filter(|(of, _)| *of == protocol).map(|(_, range)| range.to_string());
        let ranges: Vec<String> = ranges.collect();
        (!ranges.is_empty()).then(|| ranges.join(","))
    }

    /// The ports that this set allows and `other` does not; `None` without any.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Self> {
        let mut left: Vec<(Protocol, PortRange)> = self.ranges.clone();
        for (protocol, taken) in other.iter() {
            let mut rest = Vec::with_capacity(left.len() + 1);
            for (of, range) in left {
                if of != protocol || taken.last < range.first || range.last < taken.first {
                    rest.push((of, range));
                    continue;
                }
                let below = taken.first.checked_sub(1).and_then(|last| PortRange::new(range.first, last));
                let above = taken.last.checked_add(1).and_then(|next| PortRange::new(next, range.last));
                rest.extend([below, above].into_iter().flatten().map(|range| (of, range)));
            }
            left = rest;
        }
        Self::new(left)
    }

    /// The ports that either set allows.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter())).unwrap_or_else(|| self.clone())
    }
}

impl fmt::Display for PortSet {
    /// `TCP 80,443; UDP 443`, as tables and messages print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |protocol| self.listed(protocol).map(|ports| format!("{protocol} {ports}"));
        let listed: Vec<String> = [Protocol::Tcp, Protocol::Udp].into_iter().filter_map(listed).collect();
        f.write_str(&listed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).expect("a valid range")
    }

    fn part((tcp, first, width): (bool, u16, u16)) -> (Protocol, PortRange) {
        (if tcp { Protocol::Tcp } else { Protocol::Udp }, range(first, first + width))
    }

    #[test]
    fn items_are_read_or_refused_by_name() {
        assert_eq!(PortRange::parse(" 443 "), Ok(range(443, 443)));
        assert_eq!(PortRange::parse("8080 - 8090"), Ok(range(8080, 8090)));
        assert_eq!(PortRange::parse("90-80"), Err(PortError::Reversed("90-80".into())));
        for bad in ["", "0", "65536", "+1", "http", "1-", "-5", "1-2-3"] {
            assert!(matches!(PortRange::parse(bad), Err(PortError::NotAPort(_))), "{bad}");
        }
    }

    #[test]
    fn touching_ranges_become_one_but_protocols_stay_apart() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let ranges = [(udp, range(443, 443)), (tcp, range(81, 90)), (tcp, range(80, 80)), (tcp, range(443, 443))];
        let set = PortSet::new(ranges).expect("not empty");
        assert_eq!(set.to_string(), "TCP 80-90,443; UDP 443");
        assert_eq!(PortSet::new([]), None);
        assert_eq!(set.listed(Protocol::Tcp).as_deref(), Some("80-90,443"));
        assert_eq!(PortSet::new([(Protocol::Tcp, range(1, 1))]).and_then(|set| set.listed(Protocol::Udp)), None);
    }

    proptest! {
        #[test]
        fn a_set_allows_exactly_what_its_ranges_allow(
            parts in prop::collection::vec((any::<bool>(), 1u16..200, 0u16..40), 1..12),
            port in 1u16..260,
        ) {
            let parts: Vec<_> = parts.into_iter().map(part).collect();
            let set = PortSet::new(parts.clone()).expect("not empty");
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let expected = parts.iter().any(|(p, r)| *p == protocol && r.contains(port));
                prop_assert_eq!(set.contains(protocol, port), expected);
            }
            prop_assert!(set.len() <= parts.len());
        }

        #[test]
        fn shared_and_contained_ports_are_judged_port_by_port(
            ours in prop::collection::vec((any::<bool>(), 1u16..60, 0u16..20), 1..6),
            theirs in prop::collection::vec((any::<bool>(), 1u16..60, 0u16..20), 1..6),
        ) {
            let set = |parts: Vec<(bool, u16, u16)>| PortSet::new(parts.into_iter().map(part)).expect("not empty");
            let (ours, theirs) = (set(ours), set(theirs));
            let (shared, beyond) = (ours.intersection(&theirs), ours.difference(&theirs));
            let allows = |set: &Option<PortSet>, protocol, port| set.as_ref().is_some_and(|set| set.contains(protocol, port));
            let mut contained = true;
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in 1..90 {
                    let (here, there) = (ours.contains(protocol, port), theirs.contains(protocol, port));
                    prop_assert_eq!(allows(&shared, protocol, port), here && there);
                    prop_assert_eq!(allows(&beyond, protocol, port), here && !there);
                    contained &= here || !there;
                }
            }
            prop_assert_eq!(ours.is_superset(&theirs), contained);
        }
    }
}
