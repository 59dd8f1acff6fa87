//! The addresses in an upstream's reply, and the reply without those that are not in force. Pure.

use super::question::ForwardedQuestion;
use crate::names::HeardAnswer;
use crate::names::answer::{Answer, Family, absolute, follow, read};
use connectivity_allowlist::net::DomainName;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Every address in the answer section of a reply, hints included, sorted.
#[must_use]
pub fn addresses(reply: &Message) -> BTreeSet<IpAddr> {
    reply.answers.iter().flat_map(of_record).collect()
}

/// What a reply says of a name's addresses: those at the end of its chain of CNAMEs. Records of other names are ignored.
#[must_use]
pub fn heard(question: &ForwardedQuestion, name: &DomainName, reply: &Message, server: SocketAddr) -> Vec<HeardAnswer> {
    let families: &[Family] = match question.kind {
        RecordType::A => &[Family::V4],
        RecordType::AAAA => &[Family::V6],
        RecordType::ANY => &Family::ALL,
        RecordType::HTTPS | RecordType::SVCB => return hints(name, reply, server),
        _ => return Vec::new(),
    };
    let Ok(absolute) = absolute(name) else { return Vec::new() };
    let answer = |family: &Family| match read(reply, &absolute, *family) {
        Ok(answer @ Answer::Addresses { .. }) => Some(HeardAnswer { server, family: *family, answer }),
        _ => None,
    };
    families.iter().filter_map(answer).collect()
}

/// The hints for a name, at the end of its chain of CNAMEs.
fn hints(name: &DomainName, reply: &Message, server: SocketAddr) -> Vec<HeardAnswer> {
    let Ok(absolute) = absolute(name) else { return Vec::new() };
    let Ok((chain, _)) = follow(reply, &absolute) else { return Vec::new() };
    let records: Vec<&Record> = reply.answers.iter().filter(|record| chain.contains(&&record.name)).collect();
    let ttl = Duration::from_secs(u64::from(records.iter().map(|record| record.ttl).min().unwrap_or_default()));
    let all: BTreeSet<IpAddr> =
        records.iter().copied().filter(|record| svcb(record).is_some()).flat_map(of_record).collect();
    let of_family = |family: Family| {
        let addresses: BTreeSet<IpAddr> =
            all.iter().copied().filter(|address| Family::of(*address) == family).collect();
        let answer = (!addresses.is_empty()).then_some(Answer::Addresses { addresses, ttl })?;
        Some(HeardAnswer { server, family, answer })
    };
    Family::ALL.into_iter().filter_map(of_family).collect()
}

/// Whether a reply is signed.
#[must_use]
pub fn is_signed(question: &ForwardedQuestion, reply: &Message) -> bool {
    question.wants_signatures && reply.answers.iter().any(|record| record.record_type() == RecordType::RRSIG)
}

/// The reply with `given` addresses only: in its answers, in hints, and among additional records. It no longer counts as validated.
#[must_use]
pub fn cut(mut reply: Message, given: &BTreeSet<IpAddr>) -> Message {
    for section in [&mut reply.answers, &mut reply.additionals] {
        section.retain(|record| match &record.data {
            RData::A(address) => given.contains(&IpAddr::V4(address.0)),
            RData::AAAA(address) => given.contains(&IpAddr::V6(address.0)),
            _ => true,
        });
        section.iter_mut().for_each(|record| cut_hints(&mut record.data, given));
    }
    reply.metadata.authentic_data = false;
    reply
}

/// A truncated reply without what is left of its records: some clients use them all the same.
#[must_use]
pub fn emptied(mut reply: Message) -> Message {
    for section in [&mut reply.answers, &mut reply.authorities, &mut reply.additionals] {
        section.clear();
    }
    reply
}

/// Whether a reply has addresses beside its answers, as those of services do.
#[must_use]
pub fn has_additional_addresses(reply: &Message) -> bool {
    reply.additionals.iter().any(|record| matches!(record.data, RData::A(_) | RData::AAAA(_)))
}

fn of_record(record: &Record) -> Vec<IpAddr> {
    match &record.data {
        RData::A(address) => vec![IpAddr::V4(address.0)],
        RData::AAAA(address) => vec![IpAddr::V6(address.0)],
        _ => svcb(record)
            .map(|svcb| svcb.svc_params.iter().flat_map(|(_, value)| of_hint(value)).collect())
            .unwrap_or_default(),
    }
}

fn svcb(record: &Record) -> Option<&SVCB> {
    match &record.data {
        RData::HTTPS(https) => Some(&https.0),
        RData::SVCB(svcb) => Some(svcb),
        _ => None,
    }
}

fn of_hint(value: &SvcParamValue) -> Vec<IpAddr> {
    match value {
        SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|address| IpAddr::V4(address.0)).collect(),
        SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|address| IpAddr::V6(address.0)).collect(),
        _ => Vec::new(),
    }
}

/// A hint without addresses is malformed: it is left out, and no longer named as mandatory, since clients ignore a record whose
/// mandatory parameters are not there (RFC 9460, section 8).
fn cut_hints(data: &mut RData, given: &BTreeSet<IpAddr>) {
    let svcb = match data {
        RData::HTTPS(https) => &mut https.0,
        RData::SVCB(svcb) => svcb,
        _ => return,
    };
    let mut gone: Vec<SvcParamKey> = Vec::new();
    svcb.svc_params.retain_mut(|(key, value)| {
        let is_left = match value {
            SvcParamValue::Ipv4Hint(hint) => {
                hint.0.retain(|address| given.contains(&IpAddr::V4(address.0)));
                !hint.0.is_empty()
            }
            SvcParamValue::Ipv6Hint(hint) => {
                hint.0.retain(|address| given.contains(&IpAddr::V6(address.0)));
                !hint.0.is_empty()
            }
            _ => true,
        };
        gone.extend((!is_left).then_some(*key));
        is_left
    });
    svcb.svc_params.retain_mut(|(_, value)| match value {
        SvcParamValue::Mandatory(mandatory) => {
            mandatory.0.retain(|key| !gone.contains(key));
            !mandatory.0.is_empty()
        }
        _ => true,
    });
}

#[cfg(test)]
mod tests;
