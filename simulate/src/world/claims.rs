//! What may be lost, and what may be allowed: judged by everything the vendor listed and DNS answered.

use super::dns::Dns;
use super::pods::is_hidden;
use super::vendor::{Vendor, Version};
use connectivity_allowlist::net::{canonical_set, cidr};
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long an address stays allowed after its last answer: `addressRetention`, an hour by default.
const KEPT: Duration = Duration::from_secs(3600);

/// The newest list that a status has named.
#[derive(Debug)]
pub struct Newest {
    /// Whose list it is.
    pub customer: String,
    /// The resource's generation then.
    pub generation: i64,
    /// When it was published.
    pub published: Timestamp,
    /// Its networks that policies allowed then.
    pub networks: Vec<IpNet>,
}

/// Judges by what was listed and answered.
#[derive(Debug)]
pub struct Claims {
    vendor: Vendor,
    dns: Dns,
    /// What was ever allowed for a customer, with the counts of versions and answers it was computed from.
    ever: BTreeMap<String, ((usize, usize), Vec<IpNet>)>,
}

impl Claims {
    pub fn new(vendor: Vendor, dns: Dns) -> Self {
        Self { vendor, dns, ever: BTreeMap::new() }
    }

    /// The list that a resource's status names now, with those of its networks that are `allowed`; `None` while it names none for
    /// its spec, and if it is no newer than `before`.
    pub fn newest(&self, object: &Value, before: Option<&Newest>, allowed: &[IpNet]) -> Option<Newest> {
        let (customer, generation, published) = used(object)?;
        let is_same = |newest: &Newest| newest.customer == customer && newest.generation == generation;
        if before.is_some_and(|newest| is_same(newest) && newest.published >= published) {
            return None;
        }
        let versions = self.vendor.versions(customer);
        let named = versions.iter().find(|version| version.published == published);
        let mut networks = named.map(|version| networks(version)).unwrap_or_default();
        networks.retain(|network| cidr::covers(allowed, network));
        Some(Newest { customer: customer.to_owned(), generation, published, networks })
    }

    /// A network of the newest list that is lost, although no later list lacks it.
    pub fn taken_back(&self, newest: &Newest, before: &[IpNet], after: &[IpNet]) -> Option<IpNet> {
        let lost = |network: &&IpNet| cidr::covers(before, network) && !cidr::covers(after, network);
        let versions = self.vendor.versions(&newest.customer);
        let later: Vec<_> =
            versions.iter().filter(|it| it.published > newest.published).map(|it| networks(it)).collect();
        let is_listed = |network: &&IpNet| later.iter().all(|networks| cidr::covers(networks, network));
        newest.networks.iter().filter(lost).find(is_listed).copied()
    }

    /// Everything that was ever listed for a customer, or answered for its names.
    pub fn ever(&mut self, customer: &str) -> Vec<IpNet> {
        let versions = self.vendor.versions(customer);
        let counts = (versions.len(), self.dns.answered(|answered| answered.len()));
        if let Some((known, networks)) = self.ever.get(customer)
            && *known == counts
        {
            return networks.clone();
        }
        let networks =
            versions.iter().flat_map(|version| &version.content.networks).filter_map(|text| text.parse().ok());
        let names: BTreeSet<&String> = versions.iter().flat_map(|version| &version.content.names).collect();
        let addresses: Vec<IpNet> = self.dns.answered(|answered| {
            let of_names = answered.keys().filter(|(name, _)| names.contains(name) || is_hidden(name, customer));
            of_names.map(|(_, address)| IpNet::from(*address)).collect()
        });
        let networks = canonical_set(networks.chain(addresses));
        self.ever.insert(customer.to_owned(), (counts, networks.clone()));
        networks
    }

    /// The networks that may not be lost: those of every version of a customer's list, and recent answers for their names.
    pub fn kept(&self, customer: &str) -> Vec<IpNet> {
        let versions = self.vendor.versions(customer);
        let Some(last) = versions.last() else { return Vec::new() };
        // However they are spelled: one of 256 addresses, or two of 128.
        let all: Vec<Vec<IpNet>> = versions.iter().map(|version| networks(version)).collect();
        let is_in_all = |network: &IpNet| all.iter().all(|networks| cidr::covers(networks, network));
        let networks = all.iter().flatten().copied().filter(is_in_all);
        let in_all = |name: &&String| versions.iter().all(|version| version.content.names.contains(*name));
        let names: BTreeSet<&String> = last.content.names.iter().filter(in_all).collect();
        let now = Instant::now();
        let is_withdrawn = |name: &String| {
            !names.contains(name) && versions.iter().any(|version| version.content.names.contains(name))
        };
        let addresses: Vec<IpNet> = self.dns.answered(|answered| {
            // What a withdrawn name has too may go with it: that another name was answered with it need not have been written yet.
            let gone: BTreeSet<_> =
                answered.keys().filter(|(name, _)| is_withdrawn(name)).map(|(_, address)| *address).collect();
            let recent = answered.iter().filter(|((name, address), (at, _))| {
                names.contains(name) && !gone.contains(address) && now.duration_since(*at) < KEPT
            });
            recent.map(|((_, address), _)| IpNet::from(*address)).collect()
        });
        networks.chain(addresses).collect()
    }
}

/// The list that a resource's status says is in use for its spec: customer, generation, and when it was published.
fn used(object: &Value) -> Option<(&str, i64, Timestamp)> {
    let generation = object["metadata"]["generation"].as_i64()?;
    (object["status"]["observedGeneration"].as_i64() == Some(generation)).then_some(())?;
    let published = object["status"]["feed"]["version"].as_str()?.parse().ok()?;
    Some((object["spec"]["customerId"].as_str()?, generation, published))
}

fn networks(version: &Version) -> Vec<IpNet> {
    canonical_set(version.content.networks.iter().filter_map(|text| text.parse().ok()))
}
