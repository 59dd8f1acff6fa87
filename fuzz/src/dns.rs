//! A DNS server's answer, as it comes over UDP or TCP: a message of the wire, to a question that it repeats or not.

use super::sight::is_inside;
use citrix_allowlist::bound::Level;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings, Origin};
use citrix_allowlist::names::answer::{Answer, Failure, Family, LookupOutcome, absolute};
use citrix_allowlist::names::light::lighten;
use citrix_allowlist::names::retention::{Bounds, CachedName};
use citrix_allowlist::names::spelling::{Echo, Spelling, echo};
use citrix_allowlist::names::{NamesSettings, lookup};
use connectivity_allowlist::net::DomainName;
use hickory_proto::op::DnsResponse;
use hickory_proto::rr::{Name, RData, Record};
use hickory_resolver::net::{DnsError, NetError};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// A cluster with a NAT64 prefix of its own, where pods and nodes have public addresses.
static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    let facts = ClusterFacts {
        service_networks: vec!["10.96.0.0/12".parse().expect("a network")],
        pod_networks: vec!["20.99.0.0/16".parse().expect("a network")],
        node_addresses: vec![IpAddr::from([20, 98, 0, 1])],
        nat64_prefix: Some("fd64:ff9b::/96".parse().expect("a prefix")),
        ..ClusterFacts::default()
    };
    Guard::new(GuardSettings::default(), &facts)
});

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10)), 53);
/// How many addresses a name may have here.
const MOST_ADDRESSES: usize = 20;

/// Reads an answer as the operator does, and believes it as far as it does.
pub fn judge(input: &[u8]) {
    let Ok(response) = DnsResponse::from_buffer(input.to_vec()) else { return };
    let name = asked(&response);
    let sent = Spelling::default().spell(&name);
    assert!(sent == name, "a name in random case is the same name");
    let question = response.queries.first().map(|query| query.name().clone());
    let records = response.answers.clone();
    let reply = hickory(response);
    if let Some(found) = lookup::echo(&reply, &sent) {
        let (after, believed) = Spelling::Kept.after(found);
        assert_eq!(after, Spelling::Kept, "who kept the case does not lose it");
        assert_eq!(believed, found != Echo::Other);
    }
    assert_eq!(echo(&sent, question.as_ref()) == Echo::Same, question.is_some_and(|asked| asked.eq_case(&sent)));
    for family in Family::ALL {
        let outcome = lookup::read(&reply, &name, family);
        check_outcome(&outcome, &name, &records, family);
        if let Ok(answer) = &outcome {
            check_belief(answer, family);
        }
        check_writing(&reply, &outcome, &name, family);
    }
}

/// What the library makes of an answer before the operator sees it.
fn hickory(mut response: DnsResponse) -> Result<DnsResponse, NetError> {
    lighten(&mut response);
    DnsError::from_response(response).map_err(NetError::Dns)
}

/// The name that was asked for: the one that the answer repeats, where that is one that can be asked for.
fn asked(response: &DnsResponse) -> Name {
    let repeated = response.queries.first().and_then(|query| DomainName::parse(&query.name().to_ascii()).ok());
    let name = repeated.unwrap_or_else(|| DomainName::parse("host.example.com").expect("a name"));
    let absolute = absolute(&name).expect("each name can be put on the wire");
    assert!(absolute.is_fqdn());
    absolute
}

/// Only records of the name, and of names that CNAMEs lead to, speak, and none of them longer than it says.
fn check_outcome(outcome: &LookupOutcome, name: &Name, records: &[Record], family: Family) {
    let Ok(Answer::Addresses { addresses, ttl }) = outcome else { return };
    assert!(!addresses.is_empty() && addresses.len() <= records.len());
    let mut owners = vec![name];
    let mut at = 0;
    while let Some(owner) = owners.get(at).copied() {
        at += 1;
        for record in records.iter().filter(|record| record.name == *owner) {
            if let RData::CNAME(target) = &record.data
                && !owners.contains(&&target.0)
            {
                owners.push(&target.0);
            }
        }
    }
    for address in addresses {
        assert_eq!(Family::of(*address), family);
        let says = |record: &&Record| match (&record.data, address) {
            (RData::A(of), IpAddr::V4(address)) => of.0 == *address,
            (RData::AAAA(of), IpAddr::V6(address)) => of.0 == *address,
            _ => false,
        };
        let mut said = records.iter().filter(says).filter(|record| owners.contains(&&record.name));
        assert!(said.any(|record| *ttl <= Duration::from_secs(record.ttl.into())), "{address} for {ttl:?}");
    }
}

/// What is held of an answer passes the guard, and is no more than is allowed.
fn check_belief(answer: &Answer, family: Family) {
    let settings = NamesSettings { addresses_per_name: MOST_ADDRESSES, ..NamesSettings::new(GUARD.clone()) };
    let bounds = Bounds { room: (MOST_ADDRESSES / 2, Level::Namespace), ..Bounds::within_reason(&settings) };
    let judge = |address: IpAddr| -> Option<Arc<str>> {
        GUARD.check_address(address, Origin::Vendor).err().map(|refusal| refusal.reason.into())
    };
    let (mut held, now) = (CachedName::default(), Instant::now());
    held.begin(&Family::ALL);
    let refused = held.answered(family, SERVER, answer, &judge, &bounds, now);
    Family::ALL
        .into_iter()
        .filter(|other| *other != family)
        .for_each(|other| held.failed(other, SERVER, Failure::Timeout));
    let wait = held.finish(&bounds, 0.5, now);
    assert!(wait >= Duration::from_millis(100), "asked again after {wait:?}");
    let view = held.view();
    assert!(view.addresses.len() <= MOST_ADDRESSES / 2, "{} addresses", view.addresses.len());
    let kept = held.cached().len();
    assert!(kept <= 2 * MOST_ADDRESSES + 64, "{kept} are kept");
    for address in &view.addresses {
        assert!(!is_inside(translated(*address)), "{address}");
        assert!(!matches!(address, IpAddr::V4(address) if address.octets()[..2] == [20, 99]), "{address} is a pod's");
        assert!(!view.refused.iter().any(|refused| refused.address == *address));
    }
    for refused in view.refused.iter().chain(&refused) {
        assert!(judge(refused.address).is_some());
    }
}

/// What an address behind the cluster's own NAT64 prefix stands for.
fn translated(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if address.segments()[..6] == [0xfd64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::from([a, b, c, d])
        }
        other => other,
    }
}

/// An answer that is written again says the same.
fn check_writing(reply: &Result<DnsResponse, NetError>, outcome: &LookupOutcome, name: &Name, family: Family) {
    let Some(written) = reply.as_ref().ok().and_then(|response| response.to_vec().ok()) else { return };
    let again = DnsResponse::from_buffer(written).expect("what was written can be read");
    if again.truncation {
        return;
    }
    assert_eq!(lookup::read(&hickory(again), name, family), *outcome);
}
