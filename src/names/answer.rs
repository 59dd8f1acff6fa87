//! Reads one server's reply to one query. Pure.

use connectivity_allowlist::net::DomainName;
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How many CNAMEs are followed in one reply: more than the 11 after which BIND and Unbound give up by default.
const LONGEST_CHAIN: usize = 16;

/// The kind of address a query asks for. A and AAAA records are queried, answered and kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// Both, in the order of queries.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family an address belongs to.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The record type: `A` or `AAAA`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }

    /// The record type as hickory names it.
    #[must_use]
    pub const fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A definitive answer: the name's addresses in one family, or that it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name's addresses; never empty.
    Addresses {
        /// The addresses of the queried family at the end of the CNAME chain.
        addresses: BTreeSet<IpAddr>,
        /// How long the answer may be kept: the least TTL along the chain.
        ttl: Duration,
    },
    /// The name has none: NXDOMAIN, or an empty answer.
    Absent {
        /// Whether the server said that the name does not exist at all.
        nxdomain: bool,
        /// How long that may be kept: the SOA's minimum or its TTL, whichever is less (RFC 2308), and no longer than the CNAMEs
        /// that led there. None without an SOA: it may not be kept at all.
        ttl: Option<Duration>,
    },
}

impl Answer {
    /// The metric label of the answer.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Addresses { .. } => "answered",
            Self::Absent { nxdomain: true, .. } => "nxdomain",
            Self::Absent { nxdomain: false, .. } => "nodata",
        }
    }
}

/// A reply without information about the name, or no reply at all. Failure is not absence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing came back in time.
    #[error("no answer in time")]
    Timeout,
    /// The server could not be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(Arc<str>),
    /// The server failed or refused: SERVFAIL, REFUSED, ...
    #[error("answered {0}")]
    Code(Arc<str>),
    /// The reply contradicts itself, or is no reply to the question.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Failure {
    /// The metric label of the failure.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Code(_) => "failed",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// The outcome of one query to one server.
pub type LookupOutcome = Result<Answer, Failure>;

/// The name as hickory spells it: absolute, so that no search domain is ever tried.
///
/// # Errors
/// The name cannot be put on the wire; a [`DomainName`] always can.
pub fn absolute(name: &DomainName) -> Result<Name, Failure> {
    let mut absolute =
        Name::from_ascii(name.as_str()).map_err(|_| Failure::Malformed("the name cannot be put on the wire"))?;
    absolute.set_fqdn(true);
    Ok(absolute)
}

/// The failure that a response code stands for.
#[must_use]
pub fn failure_of(code: ResponseCode) -> Failure {
    match code {
        ResponseCode::ServFail => Failure::Code("SERVFAIL".into()),
        ResponseCode::Refused => Failure::Code("REFUSED".into()),
        other => Failure::Code(other.to_string().into()),
    }
}

/// Reads a reply: follows the CNAMEs from `name`, and takes the addresses of `family` along that chain. Records of other
/// names are ignored.
///
/// # Errors
/// An opcode other than QUERY, a code other than NOERROR and NXDOMAIN, a truncated reply, a CNAME loop, a chain too long, a
/// referral.
pub fn read(message: &Message, name: &Name, family: Family) -> LookupOutcome {
    if message.metadata.op_code != OpCode::Query {
        return Err(Failure::Malformed("no answer to a question: another kind of message (opcode)"));
    }
    if message.metadata.truncation {
        return Err(Failure::Malformed("a truncated answer, over TCP too"));
    }
    let nxdomain = match message.metadata.response_code {
        ResponseCode::NoError => false,
        ResponseCode::NXDomain => true,
        code => return Err(failure_of(code)),
    };
    let (chain, mut ttl) = follow(message, name)?;
    let mut addresses = BTreeSet::new();
    for record in message.answers.iter().filter(|record| chain.contains(&&record.name)) {
        let address = match (&record.data, family) {
            (RData::A(address), Family::V4) => IpAddr::V4(address.0),
            (RData::AAAA(address), Family::V6) => IpAddr::V6(address.0),
            _ => continue,
        };
        addresses.insert(address);
        ttl = Some(least(ttl, record.ttl));
    }
    if addresses.is_empty() {
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        let delegates = message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
        return absent(nxdomain, soa.map(|negative| least(ttl, negative)), delegates);
    }
    Ok(Answer::Addresses { addresses, ttl: Duration::from_secs(u64::from(ttl.unwrap_or_default())) })
}

/// An empty answer: definitive, unless it only refers the client to another server (RFC 2308, section 2.2).
///
/// # Errors
/// The answer is such a referral, which a resolver should never give.
pub fn absent(nxdomain: bool, ttl: Option<u32>, delegates: bool) -> LookupOutcome {
    if !nxdomain && ttl.is_none() && delegates {
        return Err(Failure::Malformed("refers to other servers instead of answering"));
    }
    Ok(Answer::Absent { nxdomain, ttl: ttl.map(|ttl| Duration::from_secs(u64::from(ttl))) })
}

fn least(ttl: Option<u32>, other: u32) -> u32 {
    ttl.map_or(other, |ttl| ttl.min(other))
}

/// The names from `name` along its CNAMEs, in any order of records, and the least TTL of these.
///
/// # Errors
/// A loop, or a chain too long.
pub fn follow<'a>(message: &'a Message, name: &'a Name) -> Result<(Vec<&'a Name>, Option<u32>), Failure> {
    let mut chain = vec![name];
    let mut ttl = None;
    let mut owner = name;
    loop {
        let next = message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, target_ttl)) = next else { return Ok((chain, ttl)) };
        if chain.contains(&target) {
            return Err(Failure::Malformed("a loop of CNAMEs"));
        }
        if chain.len() > LONGEST_CHAIN {
            return Err(Failure::Malformed("a chain of more than 16 CNAMEs"));
        }
        ttl = Some(least(ttl, target_ttl));
        chain.push(target);
        owner = target;
    }
}

#[cfg(test)]
mod tests;
