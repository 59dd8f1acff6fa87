//! A history as rows, one for each network: what `citrix-allowlist history` prints. Pure.

use super::allows::ANY_ADDRESS;
use super::difference::{Difference, Isolation, ScopeChange};
use super::history::ResourceHistory;
use super::record::TrailRecord;
use crate::direction::PolicyDirection as _;
use connectivity_allowlist::net::cidr;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// What happened to one network, or to the pods of one selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum RowChange {
    /// It was allowed already when the history begins, or at the time that was asked for.
    Before,
    /// The pods became isolated.
    Isolated,
    /// It is allowed since then.
    Added,
    /// It is not allowed since then.
    Removed,
    /// The pods lost their last policy of this resource.
    Opened,
    /// A policy does not belong to the resource any more, and stays in the cluster.
    Released,
}

impl RowChange {
    /// The word of tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Isolated => "isolated",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Opened => "opened",
            Self::Released => "released",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub change: RowChange,
    /// `egress` or `ingress`.
    pub direction: &'static str,
    /// The selector of the pods, as JSON.
    pub pods: Arc<str>,
    /// The ports; empty where pods were isolated or opened.
    pub ports: Arc<str>,
    /// The network, or another peer as JSON; empty where pods were isolated or opened.
    pub peer: String,
    /// The host names whose addresses lie in the network.
    pub names: Vec<String>,
    /// Why; empty for what was there before.
    pub causes: Vec<String>,
    /// The field manager that caused it.
    pub by: Option<Arc<str>>,
    /// The version of the list.
    pub list: Option<Arc<str>>,
    /// The id of the request that brought the list.
    pub transaction_id: Option<Arc<str>>,
    /// The resource's generation.
    pub generation: Option<i64>,
    /// The policy that changed.
    pub policy: Option<Arc<str>>,
    /// Its resourceVersion.
    pub resource_version: Option<Arc<str>>,
}

/// The rows of a history, the oldest first: those since `since`, after what was allowed then, and those of networks that contain
/// `address`. Without an address, what was allowed before is left out.
#[must_use]
pub fn rows(history: &ResourceHistory, address: Option<IpAddr>, since: Option<Timestamp>) -> Vec<HistoryRow> {
    let shown = Shown(address);
    let mut rows = Vec::new();
    let (mut state, mut begins) = (history.start().clone(), history.since());
    let mut records = history.records().peekable();
    while let Some(record) = records.next_if(|record| since.is_some_and(|since| record.at < since)) {
        state.replay(record);
        begins = since;
    }
    if let (Some(at), Some(_)) = (begins, address) {
        let before = Difference::between(&Default::default(), &state);
        let record = TrailRecord::without_cause(super::Cause::Restart, before, at);
        let all = of_record(&record, shown);
        rows.extend(all.into_iter().filter(|row| row.change == RowChange::Added).map(|row| HistoryRow {
            change: RowChange::Before,
            causes: Vec::new(),
            ..row
        }));
    }
    records.for_each(|record| rows.extend(of_record(record, shown)));
    rows
}

/// The peers that are shown: those that contain an address, or all.
#[derive(Clone, Copy)]
struct Shown(Option<IpAddr>);

impl Shown {
    fn network(self, network: &IpNet) -> bool {
        self.0.is_none_or(|address| network.contains(&address))
    }

    /// Whether another peer is shown: pods are none of an address, exceptions are not looked into.
    fn other(self, peer: &str) -> bool {
        let Some(address) = self.0 else { return true };
        let block: Option<serde_json::Value> = serde_json::from_str(peer).ok();
        let network = block.as_ref().and_then(|peer| peer["ipBlock"]["cidr"].as_str()?.parse::<IpNet>().ok());
        peer == ANY_ADDRESS || network.is_some_and(|network| network.contains(&address))
    }
}

fn of_record(record: &TrailRecord, shown: Shown) -> Vec<HistoryRow> {
    let mut rows = Vec::new();
    for (scope, change) in &record.scopes.0 {
        let row = |change, ports: &Arc<str>, peer: String, names| HistoryRow {
            at: record.at,
            change,
            direction: scope.direction.object_suffix(),
            pods: Arc::clone(&scope.selector),
            ports: Arc::clone(ports),
            peer,
            names,
            causes: record.causes.iter().map(ToString::to_string).collect(),
            by: record.by.clone(),
            list: record.list.clone(),
            transaction_id: record.transaction_id.clone(),
            generation: record.generation,
            policy: record.policy.clone(),
            resource_version: record.resource_version.clone(),
        };
        let ScopeChange { isolation, added, removed } = change;
        let none: Arc<str> = "".into();
        if record.released {
            rows.push(row(RowChange::Released, &none, String::new(), Vec::new()));
            continue;
        }
        rows.extend(isolation.map(|isolation| {
            let change = if isolation == Isolation::Began { RowChange::Isolated } else { RowChange::Opened };
            row(change, &none, String::new(), Vec::new())
        }));
        for (change, by_ports) in [(RowChange::Added, added), (RowChange::Removed, removed)] {
            for (ports, peers) in by_ports {
                let networks = peers.networks.iter().filter(|network| shown.network(network));
                rows.extend(networks.map(|network| {
                    let names = if change == RowChange::Added { names(record, network) } else { Vec::new() };
                    row(change, ports, cidr::text(network), names)
                }));
                let others = peers.others.iter().filter(|peer| shown.other(peer));
                rows.extend(others.map(|peer| row(change, ports, peer.to_string(), Vec::new())));
            }
        }
    }
    rows
}

/// The names whose addresses lie in a network that a record added; sorted.
fn names(record: &TrailRecord, network: &IpNet) -> Vec<String> {
    let of = record.names.iter().filter(|(address, _)| network.contains(*address));
    let mut names: Vec<String> = of.flat_map(|(_, names)| names.iter().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
