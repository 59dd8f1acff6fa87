//! Selects from a list what a spec wants.

mod additional;
mod filter;
mod inbound_ports;
mod opened;
mod unsaid;
mod wildcards;

pub use additional::profile_ports;

use crate::crd::{CitrixAllowlistSpec, Problem, ProblemKind};
use crate::guard::{Guard, Origin};
use crate::names::{ObservedPattern, zones};
use connectivity_allowlist::net::{Direction, DomainName, NamePattern, PortSet};
use connectivity_allowlist::{Allowlist, Entry, EntryGeo};
use filter::Filter;
use inbound_ports::InboundPorts;
use ipnet::IpNet;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use wildcards::{StandIns, Wildcards};

/// What a spec wants of a list: endpoints to open, names to resolve for them, and what cannot be honoured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Endpoints to open, sorted and distinct, whatever the order of the list.
    pub endpoints: Vec<SelectedEndpoint>,
    /// The exact names among them, to be resolved.
    pub names: Arc<BTreeSet<DomainName>>,
    /// Wildcards of the list within the spec's filters, sorted and distinct.
    pub wildcard_uses: Vec<WildcardUse>,
    /// What cannot be honoured, sorted and distinct.
    pub problems: Vec<Problem>,
    /// The wildcards under which names are learned, sorted.
    pub observed: Arc<[ObservedPattern]>,
    /// The zones of the list's names and wildcards, sorted.
    pub zones: Arc<BTreeSet<DomainName>>,
    /// Services of the list with at least one endpoint in use.
    pub services: usize,
    /// Directions with entries of the list that are left out for lack of ports, or by the guard.
    pub unusable: BTreeSet<Direction>,
    /// Whether the list has no entry at all: then an empty selection is the vendor's failure, not the user's word.
    pub list_is_empty: bool,
}

impl Selection {
    /// Whether it has anything for a direction.
    #[must_use]
    pub fn has(&self, direction: Direction) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.direction == direction)
    }

    /// How many endpoints the list and the spec give. Learned names say nothing of whether a list shrank.
    #[must_use]
    pub fn listed(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| !endpoint.learned).count()
    }

    /// How many names and networks the list and the spec give.
    #[must_use]
    pub fn targets(&self) -> usize {
        let listed = self.endpoints.iter().filter(|endpoint| !endpoint.learned);
        listed.map(|endpoint| &endpoint.target).collect::<BTreeSet<_>>().len()
    }
}

/// One thing to open: a target on its ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectedEndpoint {
    /// The direction of connections.
    pub direction: Direction,
    /// The list's service, or the name of the `additional` entry.
    pub service: Arc<str>,
    /// The region it serves.
    pub geo: EntryGeo,
    /// What is reached, or reaches in.
    pub target: Target,
    /// Ports as the selected pods see them: inbound ones are mapped by `inboundPorts`.
    pub ports: PortSet,
    /// Its source.
    pub origin: Origin,
    /// Whether the vendor calls it required; false if the list does not say. The user's own always are.
    pub required: bool,
    /// The vendor's remark.
    pub notes: Option<Arc<str>>,
    /// The wildcard that this name expands.
    pub stands_in_for: Option<NamePattern>,
    /// Whether the name was learned from what pods ask for.
    pub learned: bool,
}

/// What an endpoint opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The addresses of a name.
    Name(DomainName),
    /// A network, canonical and accepted by the guard.
    Network(IpNet),
}

impl Target {
    /// The name, if it is one.
    #[must_use]
    pub const fn name(&self) -> Option<&DomainName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Network(_) => None,
        }
    }
}

/// A wildcard of the list, and its treatment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WildcardUse {
    /// The direction of connections.
    pub direction: Direction,
    /// The list's service.
    pub service: Arc<str>,
    /// The region it serves.
    pub geo: EntryGeo,
    /// The wildcard.
    pub pattern: NamePattern,
    /// Ports as the selected pods see them.
    pub ports: PortSet,
    /// Whether the vendor calls the entry required; false if the list does not say.
    pub required: bool,
    /// The vendor's remark.
    pub notes: Option<Arc<str>>,
    /// Whether the spec's `wildcards` names it.
    pub honoured: bool,
    /// Names that expand it, sorted: from the spec, and with `expandWildcards` from the list.
    pub expansions: Vec<DomainName>,
    /// How many learned names stand in for it besides.
    pub learned: usize,
    /// Learned names that are only suggested, sorted.
    pub suggested: Vec<DomainName>,
}

/// Selects what `spec` wants of `allowlist`; networks that `guard` refuses are left out and reported. `learned` names stand in for
/// the wildcards that they match.
#[must_use]
pub fn select(
    spec: &CitrixAllowlistSpec,
    allowlist: &Allowlist,
    guard: &Guard,
    learned: &Arc<BTreeSet<DomainName>>,
) -> Selection {
    let filter = Filter::new(spec);
    let mut problems = filter.unmatched(allowlist);
    problems.extend(unsaid::problems(spec, allowlist, &filter));
    problems.extend(allowlist.problems.iter().filter(|listed| filter.concerns(listed)).map(Problem::from));
    let mut collected = Collected {
        guard,
        ports: InboundPorts::new(&spec.inbound_ports),
        wildcards: Wildcards::new(spec, allowlist, &filter, learned),
        selection: Selection { problems, list_is_empty: allowlist.entries.is_empty(), ..Selection::default() },
    };
    for entry in allowlist.entries.iter().filter(|entry| filter.matches(entry)) {
        collected.add(entry);
    }
    let selection = &mut collected.selection;
    let services: BTreeSet<&str> = selection.endpoints.iter().map(|endpoint| &*endpoint.service).collect();
    selection.services = services.len();
    additional::add(spec, guard, selection);
    collected.finish()
}

/// A selection in the making.
struct Collected<'a> {
    guard: &'a Guard,
    ports: InboundPorts,
    wildcards: Wildcards,
    selection: Selection,
}

impl Collected<'_> {
    fn add(&mut self, entry: &Entry) {
        let selection = &mut self.selection;
        let Some(listed) = &entry.ports else {
            selection.problems.push(without_ports(entry));
            selection.unusable.insert(entry.direction);
            entry.patterns.iter().for_each(|pattern| self.wildcards.seen(pattern));
            return;
        };
        let ports = match entry.direction {
            Direction::Outbound => listed.clone(),
            Direction::Inbound => self.ports.map(listed),
        };
        let endpoint = |target: Target, stands_in_for: Option<&NamePattern>, learned: bool| SelectedEndpoint {
            direction: entry.direction,
            service: entry.service.clone(),
            geo: entry.geo.clone(),
            target,
            ports: ports.clone(),
            origin: Origin::Vendor,
            required: entry.required.unwrap_or(false),
            notes: entry.notes.clone(),
            stands_in_for: stands_in_for.cloned(),
            learned,
        };
        selection.endpoints.extend(entry.names.iter().map(|name| endpoint(Target::Name(name.clone()), None, false)));
        for network in &entry.networks {
            let network = network.trunc();
            match self.guard.check_network(network, Origin::Vendor) {
                Ok(()) => selection.endpoints.push(endpoint(Target::Network(network), None, false)),
                Err(refusal) => {
                    selection.unusable.insert(entry.direction);
                    let message = format!("the listed network is not opened: {refusal}");
                    let subject = network.to_string();
                    selection.problems.push(Problem::new(ProblemKind::Refused, subject, Some(&entry.service), message));
                }
            }
        }
        if entry.patterns.is_empty() {
            return;
        }
        let listed: HashSet<&DomainName> = entry.names.iter().collect();
        for pattern in &entry.patterns {
            let StandIns { names, learned, suggested, honoured } = self.wildcards.stand_ins(pattern);
            for (names, is_learned) in [(&names, false), (&learned, true)] {
                // A name that the same entry lists anyway expands nothing.
                for name in names.iter().filter(|name| !listed.contains(name)) {
                    selection.endpoints.push(endpoint(Target::Name(name.clone()), Some(pattern), is_learned));
                }
            }
            selection.wildcard_uses.push(WildcardUse {
                direction: entry.direction,
                service: entry.service.clone(),
                geo: entry.geo.clone(),
                pattern: pattern.clone(),
                ports: ports.clone(),
                required: entry.required.unwrap_or(false),
                notes: entry.notes.clone(),
                honoured,
                expansions: names,
                learned: learned.len(),
                suggested,
            });
        }
    }

    fn finish(self) -> Selection {
        let Self { ports, mut wildcards, mut selection, .. } = self;
        selection.endpoints.sort_unstable();
        selection.endpoints.dedup();
        selection.wildcard_uses.sort_unstable();
        selection.wildcard_uses.dedup();
        selection.problems.extend(ports.unmatched());
        selection.problems.extend(wildcards.problems());
        selection.problems.sort_unstable();
        selection.problems.dedup();
        let names = selection.endpoints.iter().filter_map(|endpoint| endpoint.target.name().cloned());
        selection.names = Arc::new(names.collect());
        let is_listed = |endpoint: &&SelectedEndpoint| endpoint.origin == Origin::Vendor && !endpoint.learned;
        let listed = selection.endpoints.iter().filter(is_listed).filter_map(|endpoint| endpoint.target.name());
        let patterns = selection.wildcard_uses.iter().map(|wildcard| &wildcard.pattern);
        selection.zones = Arc::new(zones::zones_of(listed, patterns));
        selection.observed = wildcards.observed();
        selection
    }
}

/// An entry without ports is one problem, however many endpoints it has.
fn without_ports(entry: &Entry) -> Problem {
    let mut targets: Vec<String> = entry.names.iter().map(ToString::to_string).collect();
    targets.extend(entry.patterns.iter().map(ToString::to_string));
    targets.extend(entry.networks.iter().map(ToString::to_string));
    targets.sort_unstable();
    let subject = targets.first().map_or(&*entry.service, String::as_str);
    let message = format!(
        "the list gives no ports for this {} entry (endpoints: {}): nothing is opened, since no ports would mean every port; an entry of additional can name them",
        entry.direction,
        targets.len()
    );
    Problem::new(ProblemKind::NoPorts, subject, Some(&entry.service), message)
}
