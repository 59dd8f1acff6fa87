//! What a name may do when it is asked.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The SOA minimum, in seconds, of negative answers that say nothing else.
pub const NEGATIVE_TTL: u32 = 30;

/// When a rotation moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At every question.
    ReceivedQuery,
    /// So often, counted from when it was scripted.
    Every(Duration),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// These addresses, of the family asked for; an empty answer with a SOA where there is none.
    Addresses {
        /// Of both families.
        addresses: Vec<IpAddr>,
        /// In seconds.
        ttl: u32,
    },
    /// A chain of CNAMEs and the addresses of the last name in it.
    Chain {
        /// Each next name and the TTL, in seconds, of the record that leads to it.
        links: Vec<(String, u32)>,
        /// Of both families.
        addresses: Vec<IpAddr>,
        /// In seconds.
        ttl: u32,
    },
    /// CNAMEs that lead from the name through these ones back to the first of them; with none, back to itself.
    Loop {
        /// The names.
        links: Vec<String>,
        /// In seconds.
        ttl: u32,
    },
    /// Some of many addresses, a window that moves.
    Rotation {
        /// Every address.
        pool: Vec<IpAddr>,
        /// How many an answer holds.
        width: usize,
        /// By how many the window moves.
        advance: usize,
        /// In seconds.
        ttl: u32,
        /// When it moves.
        pace: Pace,
    },
    /// One reply after the other, a question each; then the last one, or the first again.
    Sequence {
        /// In order. An empty one answers like [`Reply::NoData`].
        replies: Vec<Reply>,
        /// Whether the first follows on the last.
        repeat: bool,
    },
    /// Exactly these records, of any owner: what a broken or a lying server sends. Signatures (RRSIG) go to those who set DO.
    Records(Vec<Record>),
    /// There is no such name.
    NxDomain {
        /// The SOA minimum, in seconds; no SOA without.
        minimum: Option<u32>,
    },
    /// The name has nothing of this type.
    NoData {
        /// The SOA minimum, in seconds; no SOA without.
        minimum: Option<u32>,
    },
    /// This error and nothing else: SERVFAIL, REFUSED, ...
    Error(ResponseCode),
    /// No answer.
    Silence,
}

/// Whether an answer is truncated over UDP. Over TCP it never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// Where it does not fit what the client takes: 512 bytes, or what its EDNS record offers, at most 1,232.
    #[default]
    WhenLarge,
    /// Always, with the first half of its records.
    Always,
    /// Always, without any record.
    AlwaysEmpty,
}

/// What a name does when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// The answer.
    pub reply: Reply,
    /// How long it takes.
    pub delay: Duration,
    /// Whether it is truncated over UDP.
    pub truncation: Truncation,
}

impl From<Reply> for Behaviour {
    fn from(reply: Reply) -> Self {
        Self { reply, delay: Duration::ZERO, truncation: Truncation::default() }
    }
}

impl Behaviour {
    /// These addresses.
    #[must_use]
    pub fn addresses(addresses: &[IpAddr], ttl: u32) -> Self {
        Reply::Addresses { addresses: addresses.to_vec(), ttl }.into()
    }

    /// A chain of CNAMEs: next names with their TTLs, then addresses.
    #[must_use]
    pub fn chain(links: &[(&str, u32)], addresses: &[IpAddr], ttl: u32) -> Self {
        let links = links.iter().map(|(name, ttl)| ((*name).to_owned(), *ttl)).collect();
        Reply::Chain { links, addresses: addresses.to_vec(), ttl }.into()
    }

    /// A window of `width` addresses that moves by its own width at every question.
    #[must_use]
    pub fn rotating(pool: &[IpAddr], width: usize, ttl: u32) -> Self {
        Reply::Rotation { pool: pool.to_vec(), width, advance: width, ttl, pace: Pace::ReceivedQuery }.into()
    }

    /// A window of `width` addresses that moves by its own width so often.
    #[must_use]
    pub fn rotating_every(every: Duration, pool: &[IpAddr], width: usize, ttl: u32) -> Self {
        Reply::Rotation { pool: pool.to_vec(), width, advance: width, ttl, pace: Pace::Every(every) }.into()
    }

    /// One reply after the other, then the last one for good.
    #[must_use]
    pub fn sequence(replies: Vec<Reply>) -> Self {
        Reply::Sequence { replies, repeat: false }.into()
    }

    /// One reply after the other, over and over.
    #[must_use]
    pub fn cycle(replies: Vec<Reply>) -> Self {
        Reply::Sequence { replies, repeat: true }.into()
    }

    /// NXDOMAIN with a SOA of [`NEGATIVE_TTL`].
    #[must_use]
    pub fn nxdomain() -> Self {
        Reply::NxDomain { minimum: Some(NEGATIVE_TTL) }.into()
    }

    /// An empty answer with a SOA of [`NEGATIVE_TTL`].
    #[must_use]
    pub fn nodata() -> Self {
        Reply::NoData { minimum: Some(NEGATIVE_TTL) }.into()
    }

    /// SERVFAIL.
    #[must_use]
    pub fn servfail() -> Self {
        Reply::Error(ResponseCode::ServFail).into()
    }

    /// REFUSED.
    #[must_use]
    pub fn refused() -> Self {
        Reply::Error(ResponseCode::Refused).into()
    }

    /// No answer: the client's timeout.
    #[must_use]
    pub fn silent() -> Self {
        Reply::Silence.into()
    }

    /// The same after a while.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same, truncated over UDP so.
    #[must_use]
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation, ..self }
    }
}

/// A message's content, before its encoding.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) soa: Option<Record>,
}

/// What a reply comes to for the `asked`th question (from 0) for `name`, `scripted` before; none for silence.
pub(super) fn content(
    reply: &Reply,
    name: &Name,
    record_type: RecordType,
    asked: usize,
    scripted: Instant,
    now: Instant,
) -> Option<Content> {
    let positive = |answers| Content { code: ResponseCode::NoError, answers, soa: None };
    Some(match reply {
        Reply::Addresses { addresses, ttl } => found(positive(of(name, record_type, addresses, *ttl)), name),
        Reply::Chain { links, addresses, ttl } => {
            let (mut answers, last) = cnames(name, links);
            let ends = of(&last, record_type, addresses, *ttl);
            let soa = ends.is_empty().then(|| soa(&last, NEGATIVE_TTL));
            answers.extend(ends);
            Content { soa, ..positive(answers) }
        }
        Reply::Loop { links, ttl } => {
            let back = links.first().cloned().unwrap_or_else(|| name.to_ascii());
            let links: Vec<(String, u32)> = links.iter().cloned().chain([back]).map(|link| (link, *ttl)).collect();
            positive(cnames(name, &links).0)
        }
        Reply::Rotation { pool, width, advance, ttl, pace } => {
            let step = match pace {
                Pace::ReceivedQuery => asked,
                Pace::Every(every) => {
                    let passed = now.saturating_duration_since(scripted).as_nanos();
                    (passed / every.as_nanos().max(1)) as usize
                }
            };
            found(positive(of(name, record_type, &window(pool, record_type, *width, step * advance), *ttl)), name)
        }
        Reply::Sequence { replies, repeat } => {
            let index = if *repeat { asked % replies.len().max(1) } else { asked.min(replies.len().saturating_sub(1)) };
            let none = Reply::NoData { minimum: Some(NEGATIVE_TTL) };
            return content(replies.get(index).unwrap_or(&none), name, record_type, asked, scripted, now);
        }
        Reply::Records(records) => positive(records.clone()),
        Reply::NxDomain { minimum } => Content {
            code: ResponseCode::NXDomain,
            answers: Vec::new(),
            soa: minimum.map(|minimum| soa(name, minimum)),
        },
        Reply::NoData { minimum } => Content { soa: minimum.map(|minimum| soa(name, minimum)), ..positive(Vec::new()) },
        Reply::Error(code) => Content { code: *code, answers: Vec::new(), soa: None },
        Reply::Silence => return None,
    })
}

/// An answer without records says how long that holds.
fn found(content: Content, name: &Name) -> Content {
    let soa = content.answers.is_empty().then(|| soa(name, NEGATIVE_TTL));
    Content { soa, ..content }
}

/// The window of a rotation, over the addresses of the family asked for.
fn window(pool: &[IpAddr], record_type: RecordType, width: usize, start: usize) -> Vec<IpAddr> {
    let family: Vec<IpAddr> = pool.iter().copied().filter(|address| is_of(*address, record_type)).collect();
    (0..width.min(family.len())).map(|offset| family[(start + offset) % family.len()]).collect()
}

fn is_of(address: IpAddr, record_type: RecordType) -> bool {
    match address {
        IpAddr::V4(_) => record_type == RecordType::A,
        IpAddr::V6(_) => record_type == RecordType::AAAA,
    }
}

fn of(name: &Name, record_type: RecordType, addresses: &[IpAddr], ttl: u32) -> Vec<Record> {
    addresses
        .iter()
        .filter(|address| is_of(**address, record_type))
        .map(|address| {
            let data = match address {
                IpAddr::V4(address) => RData::A(A(*address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
            };
            Record::from_rdata(name.clone(), ttl, data)
        })
        .collect()
}

/// CNAME records from `name` along the links, and the name they end at.
fn cnames(name: &Name, links: &[(String, u32)]) -> (Vec<Record>, Name) {
    let mut owner = name.clone();
    let mut records = Vec::with_capacity(links.len());
    for (link, ttl) in links {
        let next = absolute(link);
        records.push(Record::from_rdata(owner, *ttl, RData::CNAME(CNAME(next.clone()))));
        owner = next;
    }
    (records, owner)
}

/// A name of a script.
///
/// # Panics
/// If it is not a name: the test is wrong, and had better end.
pub(super) fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap_or_else(|error| panic!("{name} is not a DNS name: {error}"));
    name.set_fqdn(true);
    name
}

/// The SOA record of the zone above a name, its own TTL the minimum too (RFC 2308, section 3).
fn soa(name: &Name, minimum: u32) -> Record {
    let zone = name.base_name();
    let host = absolute("ns.test.invalid");
    Record::from_rdata(zone, minimum, RData::SOA(SOA::new(host.clone(), host, 1, 3600, 600, 86400, minimum)))
}
