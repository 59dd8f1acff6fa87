//! The shared table: an entry per name. Pure: `now` is an argument, and everything outside is reported to it.

mod enforced;
mod heard;
mod late;
mod room;
mod rounds;

use enforced::Enforced;
pub use enforced::{AddressState, Enforcement, InUse};
use heard::Heard;
pub use heard::HeardAnswer;
use late::Stretch;
use room::{Admitted, Shortage, Space};
use rounds::Asking;

use super::NamesSettings;
use super::addresses::{Addresses, NameAddresses, NameState};
use super::answer::Family;
use super::learned::Learned;
use super::places::Places;
use super::retention::{Bounds, CachedAddress, CachedName};
use super::schedule::{Agenda, Group};
use super::snapshot::{AddressSnapshot, NameSnapshot, ServerHealth};
use super::zones::Zones;
use crate::counts::uncount;
use crate::guard::Guard;
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the queries are spread that a new server makes necessary.
const NEW_SERVER_SPREAD: Duration = Duration::from_secs(1);

type GroupId = u64;

/// A name in the table.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) cached: CachedName,
    pub(super) view: Arc<NameAddresses>,
    groups: BTreeSet<GroupId>,
    pub(super) retention: Duration,
    /// How many addresses it was last counted with.
    counted: usize,
    /// The open round.
    asking: Option<Asking>,
    /// Whether to start the next round as soon as that one is over.
    repeat: bool,
    /// What timed out last time, and at which server.
    silent: Vec<(SocketAddr, Family)>,
}

pub(super) struct Table {
    bounds: Bounds,
    guard: Guard,
    /// The servers that pods are given.
    pub(super) servers: Arc<[SocketAddr]>,
    /// The servers that are asked for names of the served zones, instead of those; none while nothing is forwarded.
    upstreams: Arc<[SocketAddr]>,
    pub(super) zones: Zones,
    pub(super) learned: Learned,
    enforced: Enforced,
    heard: Heard,
    timeout: Duration,
    questions_per_second: u32,
    places: BTreeMap<SocketAddr, Places>,
    /// How many rounds are open for each namespace.
    rounds: BTreeMap<Arc<str>, usize>,
    pub(super) health: BTreeMap<SocketAddr, ServerHealth>,
    /// Boxed: a map has room for up to twice as many as it holds.
    pub(super) names: HashMap<DomainName, Box<Entry>>,
    groups: HashMap<GroupId, Group>,
    group_of_wanted: HashMap<(Arc<BTreeSet<DomainName>>, Duration), GroupId>,
    group_of_subscriber: HashMap<ResourceRef, GroupId>,
    pub(super) questions: Agenda<DomainName>,
    sweeps: Agenda<DomainName>,
    wakes: Agenda<GroupId>,
    /// What each namespace has.
    spaces: HashMap<Arc<str>, Space>,
    /// How many addresses are cached in all.
    addresses: usize,
    shortage: Shortage,
    stretch: Stretch,
    epoch: Instant,
    next_number: u64,
    random: fastrand::Rng,
}

impl Table {
    pub(super) fn new(settings: &NamesSettings, now: Instant) -> Self {
        let bounds = Bounds::within_reason(settings);
        Self {
            bounds,
            guard: settings.guard.clone(),
            servers: Arc::default(),
            upstreams: Arc::default(),
            zones: Zones::default(),
            learned: Learned::new(settings.learned_retention),
            enforced: Enforced::default(),
            heard: Heard::default(),
            timeout: settings.timeout,
            questions_per_second: settings.questions_per_second,
            places: BTreeMap::new(),
            rounds: BTreeMap::new(),
            health: BTreeMap::new(),
            names: HashMap::new(),
            groups: HashMap::new(),
            group_of_wanted: HashMap::new(),
            group_of_subscriber: HashMap::new(),
            questions: Agenda::default(),
            sweeps: Agenda::default(),
            wakes: Agenda::default(),
            spaces: HashMap::new(),
            addresses: 0,
            shortage: Shortage::default(),
            stretch: Stretch::default(),
            epoch: now,
            next_number: 0,
            random: fastrand::Rng::new(),
        }
    }

    /// One name at one moment.
    pub(super) fn snapshot(&self, name: &DomainName, entry: &Entry, now: Instant) -> NameSnapshot {
        let address = |(address, seen): (IpAddr, &CachedAddress)| AddressSnapshot {
            address,
            server: seen.server,
            first_seen: now.saturating_duration_since(seen.first_seen),
            last_seen: now.saturating_duration_since(seen.last_seen),
            ttl: seen.ttl,
            missing: entry.cached.missing(address, seen),
            refused: seen.refused.clone(),
            in_force: None,
        };
        NameSnapshot {
            name: name.clone(),
            state: entry.view.state.clone(),
            retention: entry.retention,
            evicted: entry.view.evicted,
            next_question: self.next_question(name, now),
            addresses: entry.cached.cached().map(address).collect(),
            learned: self.learned.known(name, now),
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Subscribes a resource to the `wanted` names that have room, instead of its earlier ones, and returns what is known. Names
    /// `applied` by an earlier process come first.
    pub(super) fn watch(
        &mut self,
        resource: &ResourceRef,
        wanted: &Arc<BTreeSet<DomainName>>,
        retention: Duration,
        applied: &dyn Fn(&DomainName) -> bool,
        now: Instant,
    ) -> Arc<Addresses> {
        let before = self.group_of_subscriber.get(resource).copied();
        if let Some(id) = before.filter(|id| self.is_of(*id, wanted, retention)) {
            self.note_shortage(resource, &[]);
            return self.seen_by(id);
        }
        let Admitted { names, left_out } = self.admit(resource, wanted, before, applied);
        let id = if let Some(id) = before.filter(|id| self.is_of(*id, &names, retention)) {
            id
        } else {
            let id = self.join(resource, &names, retention, now);
            if let Some(before) = before {
                self.leave(resource, before, now);
            }
            id
        };
        self.note_shortage(resource, &left_out);
        self.enforced.left_out(resource, left_out.iter().map(|(name, _)| name));
        let known = self.seen_by(id);
        self.with_left_out(&known, left_out)
    }

    /// Whether a group has these names and this retention.
    fn is_of(&self, id: GroupId, names: &Arc<BTreeSet<DomainName>>, retention: Duration) -> bool {
        self.groups.get(&id).is_some_and(|group| {
            group.retention == retention && (Arc::ptr_eq(&group.names, names) || group.names == *names)
        })
    }

    fn join(
        &mut self,
        resource: &ResourceRef,
        wanted: &Arc<BTreeSet<DomainName>>,
        retention: Duration,
        now: Instant,
    ) -> GroupId {
        let id = match self.group_of_wanted.get(&(wanted.clone(), retention)) {
            Some(id) => *id,
            None => self.new_group(wanted, retention, now),
        };
        if self.groups.get_mut(&id).is_some_and(|group| group.add(resource)) {
            self.enter(&resource.namespace, wanted);
            self.change_lines(id);
        }
        self.group_of_subscriber.insert(resource.clone(), id);
        self.recall(id, wanted, now);
        self.enforced.touch();
        id
    }

    fn new_group(&mut self, wanted: &Arc<BTreeSet<DomainName>>, retention: Duration, now: Instant) -> GroupId {
        let id = self.number();
        let mut group = Group { names: wanted.clone(), retention, ..Group::default() };
        for name in wanted.iter() {
            let entry = self.names.entry(name.clone()).or_default();
            if entry.groups.is_empty() {
                self.questions.set(name.clone(), now);
            }
            entry.groups.insert(id);
            entry.retention = entry.retention.max(retention);
            group.waiting += usize::from(entry.view.state == NameState::Waiting);
            group.addresses += entry.counted;
        }
        self.groups.insert(id, group);
        self.group_of_wanted.insert((wanted.clone(), retention), id);
        id
    }

    fn leave(&mut self, resource: &ResourceRef, id: GroupId, now: Instant) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let is_last_here = group.remove(resource);
        let is_last = group.subscribers.is_empty();
        let names = Arc::clone(&group.names);
        if is_last_here {
            self.exit(&resource.namespace, &names, now);
        }
        if !is_last {
            return;
        }
        let Some(group) = self.groups.remove(&id) else { return };
        self.wakes.remove(&id);
        self.group_of_wanted.remove(&(group.names.clone(), group.retention));
        for name in group.names.iter() {
            let Some(entry) = self.names.get_mut(name) else { continue };
            entry.groups.remove(&id);
            if entry.groups.is_empty() {
                self.forget(name);
            } else if entry.retention == group.retention {
                let longest =
                    entry.groups.iter().filter_map(|id| self.groups.get(id)).map(|group| group.retention).max();
                entry.retention = longest.unwrap_or_default();
            }
        }
    }

    fn forget(&mut self, name: &DomainName) {
        if let Some(entry) = self.names.remove(name) {
            self.addresses = self.addresses.saturating_sub(entry.counted);
            if let Some(asking) = entry.asking {
                uncount(&mut self.rounds, &asking.namespace);
            }
        }
        self.questions.remove(name);
        self.sweeps.remove(name);
        self.enforced.forget_name(name);
    }

    pub(super) fn unwatch(&mut self, resource: &ResourceRef, now: Instant) {
        self.note_shortage(resource, &[]);
        if let Some(id) = self.group_of_subscriber.remove(resource) {
            self.leave(resource, id, now);
        }
        self.zones.remove(resource, now);
        self.learned.forget_resource(resource);
        self.enforced.forget_resource(resource);
    }

    fn seen_by(&mut self, id: GroupId) -> Arc<Addresses> {
        let Some(group) = self.groups.get_mut(&id) else { return Arc::default() };
        let names = &self.names;
        let seen = group.seen.get_or_insert_with(|| {
            let known = |name: &DomainName| names.get(name).map(|entry| (name.clone(), entry.view.clone()));
            Arc::new(Addresses { by_name: group.names.iter().filter_map(known).collect() })
        });
        seen.clone()
    }

    /// Every server that is asked for something.
    pub(super) fn all_servers(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = self.servers.iter().chain(&*self.upstreams).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The servers that are asked for a name. What pods are given for a served zone comes from the upstream, so the upstream is asked:
    /// the cluster's servers would ask the forwarder.
    fn servers_of(&self, name: &DomainName) -> Arc<[SocketAddr]> {
        let is_forwarded = !self.upstreams.is_empty() && self.zones.serve(name);
        Arc::clone(if is_forwarded { &self.upstreams } else { &self.servers })
    }

    pub(super) fn set_servers(&mut self, servers: Vec<SocketAddr>, now: Instant) {
        self.replace_servers(servers, self.upstreams.to_vec(), now);
    }

    /// Names of served zones are asked at `upstreams` from now on.
    pub(super) fn forward_to(&mut self, upstreams: Vec<SocketAddr>, now: Instant) {
        self.replace_servers(self.servers.to_vec(), upstreams, now);
    }

    fn replace_servers(&mut self, mut servers: Vec<SocketAddr>, mut upstreams: Vec<SocketAddr>, now: Instant) {
        for list in [&mut servers, &mut upstreams] {
            list.sort_unstable();
            list.dedup();
        }
        let before = self.all_servers();
        (self.servers, self.upstreams) = (servers.into(), upstreams.into());
        let servers = self.all_servers();
        let added = servers.iter().any(|server| !before.contains(server));
        let none_before = before.is_empty();
        self.health.retain(|server, _| servers.contains(server));
        self.places.retain(|server, _| servers.contains(server));
        for server in &servers {
            self.health.entry(*server).or_default();
            self.places.entry(*server).or_insert_with(|| Places::new(*server, self.questions_per_second));
        }
        self.give_up_those_gone(now);
        if !added {
            return;
        }
        for (name, entry) in self.names.iter_mut().filter(|(_, entry)| !entry.groups.is_empty()) {
            if entry.asking.is_some() {
                entry.repeat = true;
            } else {
                entry.cached.ask_at_once();
                let spread = if none_before { 0.0 } else { self.random.f64() };
                self.questions.set_by(name.clone(), now + NEW_SERVER_SPREAD.mul_f64(spread));
            }
        }
    }

    pub(super) fn set_guard(&mut self, guard: Guard, now: Instant) {
        if guard == self.guard {
            return;
        }
        self.guard = guard;
        let names: Vec<DomainName> = self.names.keys().cloned().collect();
        for name in names {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.cached.judge_again(&|address| self.guard.refuses(address), &self.bounds);
            }
            self.changed(&name, now);
        }
    }

    /// Compares the cached addresses with the shown ones. If they differ, subscribers will be woken.
    fn changed(&mut self, name: &DomainName, now: Instant) {
        self.count_addresses(name);
        let Some(entry) = self.names.get_mut(name) else { return };
        let view = entry.cached.view();
        if view == *entry.view {
            return;
        }
        let was_waiting = entry.view.state == NameState::Waiting && view.state != NameState::Waiting;
        entry.view = Arc::new(view);
        self.enforced.touch();
        for id in &entry.groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.seen = None;
            group.waiting -= usize::from(was_waiting && group.waiting > 0);
            let moment = if was_waiting && group.waiting == 0 { now } else { group.wake_at(now) };
            self.wakes.set_by(*id, moment);
        }
    }

    /// Does what is due besides queries, and returns the resources to wake now.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<ResourceRef> {
        while let Some(name) = self.sweeps.pop_due(now) {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.cached.sweep(entry.retention, now);
                self.changed(&name, now);
            }
        }
        let mut woken: Vec<ResourceRef> = self.try_again(now).into_iter().collect();
        let zones = &self.zones;
        woken.extend(self.learned.forget_due(&|name| zones.is_forwarded(name), now));
        while let Some(id) = self.wakes.pop_due(now) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.woken = Some(now);
                woken.extend(group.subscribers.iter().cloned());
            }
        }
        woken
    }

    /// When `tick` or, while `asking`, `questions_due` has something to do.
    pub(super) fn next_moment(&self, asking: bool) -> Option<Instant> {
        let questions = if asking { self.questions.first() } else { None };
        let places = self.places.values().filter(|_| asking).filter_map(Places::next_moment).min();
        let rest = [self.shortage.next, self.sweeps.first(), self.wakes.first(), self.learned.next_moment()];
        [questions, places].into_iter().chain(rest).flatten().min()
    }

    pub(super) fn allowed(&mut self, addresses: &Addresses, now: Instant) -> Vec<(DomainName, Duration)> {
        let mut waits = Vec::new();
        for (name, view) in &addresses.by_name {
            let Some(entry) = self.names.get_mut(name) else { continue };
            if entry.cached.has_pending() {
                let late = entry.cached.allowed(&view.addresses, now);
                waits.extend(late.into_iter().map(|wait| (name.clone(), wait)));
            }
        }
        waits
    }

    /// How long until a name is queried again; `None` during a query.
    pub(super) fn next_question(&self, name: &DomainName, now: Instant) -> Option<Duration> {
        let asking = self.names.get(name).is_some_and(|entry| entry.asking.is_some());
        let next = self.questions.get(name).filter(|_| !asking);
        next.map(|next| next.saturating_duration_since(now))
    }
}
