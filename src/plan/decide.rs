//! Decides what a selection allows once DNS has answered.

use super::families::Families;
use super::inherited::Inherited;
use super::problems::{absent, refused, report, undeclared, without_ipv4};
use super::rules::{self, DirectionPlan};
use super::select::{SelectedEndpoint, Selection, Target, WildcardUse};
use super::{bounds, dns};
use crate::crd::{CitrixAllowlistSpec, DnsEgress, Problem, ProblemKind};
use crate::facts::ClusterFacts;
use crate::guard::{Guard, Origin};

use crate::names::{Addresses, InUse};
use connectivity_allowlist::Directions;
use connectivity_allowlist::net::{Direction, DomainName, PortSet, Protocol, canonical_set, cidr};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Everything a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct PlanInputs<'a> {
    /// The user's spec.
    pub spec: &'a CitrixAllowlistSpec,
    /// What the spec selects from the list.
    pub selection: &'a Selection,
    /// What is known of its names.
    pub addresses: &'a Addresses,
    /// The facts of the cluster.
    pub facts: &'a ClusterFacts,
    /// What may be opened.
    pub guard: &'a Guard,
    /// Networks that applied policies allow and no name explains.
    pub inherited: &'a Inherited,
    /// Ports that containers of the selected pods declare; `None` if unknown, or if no pod is selected.
    pub declared_ports: Option<&'a BTreeSet<(Protocol, u16)>>,
}

/// What the policies must allow, and what could not be honoured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What selected pods may reach; `None` if not requested, or absent.
    pub outbound: Option<DirectionPlan>,
    /// What may reach selected pods; `None` if not requested, or absent.
    pub inbound: Option<DirectionPlan>,
    /// Requested directions that have nothing to allow, and why.
    pub absences: Vec<(Direction, EmptyReason)>,
    /// Everything that could not be honoured, sorted and distinct; the caller cuts it to the status' bound.
    pub problems: Vec<Problem>,
    /// Every endpoint with what is known of it, sorted.
    pub records: Vec<EndpointRecord>,
    /// Every wildcard within the filters, sorted.
    pub wildcard_uses: Vec<WildcardUse>,
    /// Names without a definitive answer so far, sorted: a first policy waits for them.
    pub waiting: Vec<DomainName>,
    /// Services of the list with at least one endpoint in use.
    pub services: usize,
    /// Distinct names wanted.
    pub names: usize,
    /// Of these, names with at least one address in use.
    pub names_resolved: usize,
    /// Distinct addresses in use from names.
    pub addresses: usize,
    /// Networks that applied policies allowed before a restart, that nothing explains, and that stay for now.
    pub inherited: usize,
}

impl Plan {
    /// What one direction allows.
    #[must_use]
    pub const fn direction(&self, direction: Direction) -> Option<&DirectionPlan> {
        match direction {
            Direction::Outbound => self.outbound.as_ref(),
            Direction::Inbound => self.inbound.as_ref(),
        }
    }

    /// Why a requested direction has nothing to allow; `None` if it has, or was not requested.
    #[must_use]
    pub fn absence(&self, direction: Direction) -> Option<EmptyReason> {
        self.absences.iter().find(|(absent, _)| *absent == direction).map(|(_, absence)| *absence)
    }

    /// The addresses that are allowed for each name: as peers for what pods open, and else for what is opened to them.
    #[must_use]
    pub fn in_use(&self) -> InUse {
        let mut in_use = InUse::new();
        for record in &self.records {
            let Some(name) = record.endpoint.target.name() else { continue };
            match record.endpoint.direction {
                Direction::Outbound => drop(in_use.insert(name.clone(), Arc::clone(&record.addresses))),
                Direction::Inbound => drop(in_use.entry(name.clone()).or_insert_with(|| Arc::clone(&record.addresses))),
            }
        }
        in_use
    }

    /// The exact names of one direction, sorted and distinct.
    #[must_use]
    pub fn fqdns(&self, direction: Direction) -> BTreeSet<&DomainName> {
        let endpoints = self.records.iter().map(|record| &record.endpoint);
        endpoints.filter(|endpoint| endpoint.direction == direction).filter_map(|it| it.target.name()).collect()
    }
}

/// Why a direction has nothing to allow. Then it gets no object, rather than a policy that cuts everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyReason {
    /// The spec matches nothing of the list: the user's word, to be obeyed.
    NoMatch,
    /// The list has no entry at all: the vendor's failure; applied policies stay.
    EmptyList,
    /// The list has entries for the spec, but none can be opened: without ports, or refused by the guard. The vendor's failure,
    /// or the administrator's word. Applied policies stay, since without them everything would be open.
    Unusable,
    /// The spec matches nothing of a list that the resource has never followed, and no second fetch has confirmed the list: it may be
    /// the vendor's failure. Applied policies stay until then.
    Unconfirmed,
    /// There are endpoints, but none has a usable address: DNS's failure; applied policies stay.
    Unresolved,
}

impl EmptyReason {
    /// Whether it is a failure of the vendor or DNS, and not the user's word: then applied policies stay.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::NoMatch => false,
            Self::EmptyList | Self::Unusable | Self::Unconfirmed | Self::Unresolved => true,
        }
    }

    /// The problem that it is.
    #[must_use]
    pub const fn kind(self) -> ProblemKind {
        match self {
            Self::Unresolved => ProblemKind::Unresolved,
            Self::NoMatch | Self::EmptyList | Self::Unusable | Self::Unconfirmed => ProblemKind::NoMatch,
        }
    }

    /// Why nothing can be allowed, for a message.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoMatch => "the spec matches nothing of the list that could be allowed",
            Self::EmptyList => "the list is empty",
            Self::Unusable => "nothing that the list has for the spec can be opened",
            Self::Unconfirmed => {
                "a list that is new here has nothing for the spec, and waits for the next fetch to confirm that"
            }
            Self::Unresolved => "none of its names has an address that may be opened",
        }
    }
}

/// An endpoint with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRecord {
    /// The endpoint.
    pub endpoint: SelectedEndpoint,
    /// The addresses of its name that are in use, sorted; empty for a network.
    pub addresses: Arc<[IpAddr]>,
    /// Whether it opens anything: its name has an address in use, or its network is of a family in use.
    pub in_use: bool,
}

/// The addresses of a name in one direction.
#[derive(Clone, Default)]
struct Found {
    addresses: Arc<[IpAddr]>,
    peers: Arc<[IpNet]>,
}

/// What the endpoints of one direction need.
#[derive(Default)]
struct Needs<'a> {
    required: Vec<(IpNet, &'a PortSet)>,
    /// The ports of all names.
    name_ports: Option<PortSet>,
    by_user: Vec<IpNet>,
    by_vendor: Vec<IpNet>,
    without_ipv4: usize,
}

impl<'a> Needs<'a> {
    fn add(
        &mut self,
        endpoint: &'a SelectedEndpoint,
        found: &BTreeMap<(Direction, &DomainName), Found>,
        families: Families,
    ) -> EndpointRecord {
        let before = self.required.len();
        let (addresses, in_use) = match &endpoint.target {
            Target::Name(name) => {
                let found = found.get(&(endpoint.direction, name)).cloned().unwrap_or_default();
                self.required.extend(found.peers.iter().map(|peer| (*peer, &endpoint.ports)));
                match &mut self.name_ports {
                    Some(ports) if ports.is_superset(&endpoint.ports) => {}
                    Some(ports) => *ports = ports.union(&endpoint.ports),
                    none => *none = Some(endpoint.ports.clone()),
                }
                let in_use = !found.addresses.is_empty();
                (found.addresses, in_use)
            }
            Target::Network(network) => {
                let written = families.written(endpoint.direction, *network);
                self.required.extend(written.map(|network| (network, &endpoint.ports)));
                self.without_ipv4 += usize::from(written.is_none() && matches!(network, IpNet::V4(_)));
                (Arc::default(), written.is_some())
            }
        };
        // A name for a wildcard is mostly the user's.
        let is_users = endpoint.origin == Origin::User || endpoint.stands_in_for.is_some();
        let by_origin = if is_users { &mut self.by_user } else { &mut self.by_vendor };
        by_origin.extend(self.required.iter().skip(before).map(|(network, _)| *network));
        EndpointRecord { endpoint: endpoint.clone(), addresses, in_use }
    }
}

/// Decides what the policies must allow.
#[must_use]
pub fn decide(inputs: &PlanInputs) -> Plan {
    let PlanInputs { spec, selection, addresses, facts, guard, inherited, declared_ports } = *inputs;
    let families = Families::new(spec.ip_families, facts);
    let mut plan = Plan {
        problems: selection.problems.clone(),
        wildcard_uses: selection.wildcard_uses.clone(),
        services: selection.services,
        names: selection.names.len(),
        ..Plan::default()
    };
    plan.problems.extend(bounds::problems(&selection.names, addresses));
    let found = find(&mut plan, selection, addresses, families, guard);
    let mut needs: BTreeMap<Direction, Needs> = BTreeMap::new();
    for endpoint in &selection.endpoints {
        let record = needs.entry(endpoint.direction).or_default().add(endpoint, &found, families);
        plan.records.push(record);
    }
    for (direction, needs) in needs.iter().filter(|(_, needs)| needs.without_ipv4 > 0) {
        plan.problems.push(without_ipv4(*direction, needs.without_ipv4));
    }
    if !families.ipv4 && facts.nat64_prefix.is_some() && families.nat64.is_none() {
        let message = "no NAT64 prefix has this length (RFC 6052 knows 32, 40, 48, 56, 64 and 96): IPv4 is left out";
        let subject = facts.nat64_prefix.map_or_else(String::new, |prefix| prefix.to_string());
        plan.problems.push(Problem::new(ProblemKind::Limit, subject, None, message));
    }
    for direction in Directions::from(spec.direction).each().iter().copied() {
        let needs = needs.remove(&direction).unwrap_or_default();
        let recovered = inherited.requirements(direction, needs.name_ports.as_ref(), families, guard);
        let rules = needs.required.into_iter().chain(recovered.iter().map(|(network, ports)| (*network, ports)));
        let rules = rules::assemble(rules);
        let dns = match (direction, spec.dns_egress) {
            (Direction::Outbound, DnsEgress::Auto) => dns::rules(facts, families),
            _ => Vec::new(),
        };
        // Recovered networks count as the vendor's: their source is not known.
        let others = needs.by_vendor.into_iter().chain(recovered.iter().map(|(network, _)| *network));
        let users = cidr::subtract(needs.by_user, &canonical_set(others));
        let decided = DirectionPlan::new(rules, dns, users);
        plan.inherited += recovered.len();
        if decided.is_none() {
            let absence = absence(selection, direction);
            plan.problems.push(absent(direction, absence));
            plan.absences.push((direction, absence));
        }
        match direction {
            Direction::Outbound => plan.outbound = decided,
            Direction::Inbound => plan.inbound = decided,
        }
    }
    if let (Some(inbound), Some(declared)) = (&plan.inbound, declared_ports) {
        plan.problems.extend(undeclared(inbound, declared));
    }
    plan.problems.sort_unstable();
    plan.problems.dedup();
    plan
}

fn absence(selection: &Selection, direction: Direction) -> EmptyReason {
    if selection.has(direction) {
        EmptyReason::Unresolved
    } else if selection.list_is_empty {
        EmptyReason::EmptyList
    } else if selection.unusable.contains(&direction) {
        EmptyReason::Unusable
    } else {
        EmptyReason::NoMatch
    }
}

/// The addresses of each name in each direction, with their problems, and the plan's counts of names.
fn find<'a>(
    plan: &mut Plan,
    selection: &'a Selection,
    addresses: &Addresses,
    families: Families,
    guard: &Guard,
) -> BTreeMap<(Direction, &'a DomainName), Found> {
    // A name may serve several endpoints; its problems are reported once, under the first service that wants it.
    let mut wanted: BTreeMap<&DomainName, (&Arc<str>, BTreeSet<Direction>)> = BTreeMap::new();
    for endpoint in &selection.endpoints {
        if let Target::Name(name) = &endpoint.target {
            let (service, directions) = wanted.entry(name).or_insert((&endpoint.service, BTreeSet::new()));
            *service = (*service).min(&endpoint.service);
            directions.insert(endpoint.direction);
        }
    }
    let mut distinct: Vec<IpAddr> = Vec::new();
    let mut all = BTreeMap::new();
    for (name, (service, directions)) in wanted {
        let known = addresses.by_name.get(name);
        if !known.is_some_and(|known| known.state.is_definitive()) {
            plan.waiting.push(name.clone());
        }
        let mut allowed: Vec<IpAddr> = Vec::new();
        for address in known.iter().flat_map(|known| &known.addresses) {
            match guard.check_address(*address, Origin::Vendor) {
                Ok(()) => allowed.push(*address),
                // The cluster's ranges became known after the answer was accepted.
                Err(refusal) => plan.problems.push(refused(name, service, *address, &refusal.reason, guard)),
            }
        }
        allowed.sort_unstable();
        allowed.dedup();
        let mut in_use = false;
        for direction in directions {
            let used = allowed.iter().copied().filter_map(|address| {
                families.written(direction, IpNet::from(address)).map(|network| (address, network))
            });
            let (addresses, peers): (Vec<IpAddr>, Vec<IpNet>) = used.unzip();
            in_use |= !addresses.is_empty();
            distinct.extend(&addresses);
            all.insert((direction, name), Found { addresses: addresses.into(), peers: peers.into() });
        }
        plan.names_resolved += usize::from(in_use);
        report(plan, name, service, known.map(Arc::as_ref), !allowed.is_empty(), in_use);
        let refusals = known.iter().flat_map(|known| &known.refused);
        plan.problems.extend(refusals.map(|it| refused(name, service, it.address, &it.reason, guard)));
    }
    distinct.sort_unstable_by_key(|address| cidr::order(&IpNet::from(*address)));
    distinct.dedup();
    plan.addresses = distinct.len();
    all
}
