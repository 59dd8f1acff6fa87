//! Faults, picked by the seed: what each does when it begins, and when it is over.

use super::admission::altering;
use super::calls::{CallFault, CallRule, replica_of};
use super::dns::DnsFault;
use super::tenants::{POLICIES, Tenant};
use super::vendor::{ListContent, VendorFault};
use super::{SERVERS, SimulatedWorld, Size, customer_of, name_of, namespace_of};
use crate::api::{Call, Stored, WatchFault, quota};
use citrix_allowlist::crd::{ADDITIONAL_ANNOTATION, ALLOWLIST_LABEL, FIELD_MANAGER, SELECTION_ANNOTATION};
use fastrand::Rng;
use std::time::Duration;

/// One thing that goes wrong, or only changes.
#[derive(Clone, Debug)]
pub enum WorldFault {
    /// A replica is killed, and started again when this is over.
    Crash(usize),
    /// A replica dies in the middle of its write number so and so, before or after that is carried out.
    CrashInWrite(usize, u32, bool),
    /// A replica is asked to stop, and killed and started again when this is over.
    Stop(usize),
    /// Requests fail.
    Calls(CallRule),
    /// The open watches of a replica, or of all, meet this.
    Watches(Option<usize>, WatchFault),
    /// The server forgets all but its newest revision.
    Compact,
    /// The vendor fails.
    Vendor(VendorFault),
    /// A customer's list changes.
    Publish(usize, ListChange),
    /// A DNS server fails.
    Dns(usize, DnsFault),
    /// A name moves to other addresses, with another TTL (in seconds).
    Move(usize, usize, u64),
    /// A replica's wall clock is set, by so many seconds.
    Clock(usize, i64),
    /// The process comes near its limit of memory.
    Memory,
    /// The lists that the operator saved are deleted.
    Forget,
    /// Somebody in the cluster does something.
    Tenant(Tenant),
    /// Nothing arrives from a replica, nor at it: no request, no answer, no event.
    CutOff(usize),
    /// Nothing arrives on the watches of one kind of object, of a replica or of all: others overtake it.
    HoldKind(Option<usize>, &'static str),
    /// Another controller puts a label and an annotation on each policy of a namespace as it is written.
    Alter(usize),
    /// A namespace may have no more policies than it has.
    Quota(usize),
    /// An upgrade from 0.1.0: all replicas end, and begin again with the objects that it left when this is over.
    Upgrade,
}

/// How a list changes.
#[derive(Clone, Copy, Debug)]
pub enum ListChange {
    /// One more name.
    AddName,
    /// A name less.
    RemoveName,
    /// One more network.
    AddNetwork,
    /// The same networks, spelled as two halves or as one; and the lower neighbour of another network comes or goes, with which it
    /// is joined, and so moves to another policy.
    Respell,
    /// Back to what it was at first.
    Withdraw,
}

fn one_of<T: Copy>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(..all.len())]
}

impl WorldFault {
    /// The next fault of a seed.
    pub fn pick(random: &mut Rng, size: Size) -> Self {
        let replica = random.usize(..size.replicas);
        let customer = random.usize(..size.customers);
        match random.u8(..20) {
            0 => Self::Crash(replica),
            1 | 2 => Self::CrashInWrite(replica, random.u32(1..30), random.bool()),
            3 => Self::Stop(replica),
            4..=7 => Self::Calls(pick_calls(random, replica)),
            8 => {
                let all = [WatchFault::Held, WatchFault::Ended, WatchFault::Broken, WatchFault::Repeated];
                let watch = one_of(random, &all);
                Self::Watches(random.bool().then_some(replica), watch)
            }
            9 => Self::Compact,
            10 => Self::Vendor(one_of(random, &VendorFault::ALL)),
            11 | 12 => {
                let all = [
                    ListChange::AddName,
                    ListChange::RemoveName,
                    ListChange::AddNetwork,
                    ListChange::Respell,
                    ListChange::Respell,
                    ListChange::Withdraw,
                ];
                Self::Publish(customer, one_of(random, &all))
            }
            13 => Self::Dns(random.usize(..SERVERS.len()), one_of(random, &DnsFault::ALL)),
            14 => {
                Self::Move(customer, random.usize(..size.names), one_of(random, &[0, 5, 60, 300, 300, 3600, 604_800]))
            }
            15 => Self::Clock(replica, random.i64(-100_000..100_000)),
            16 if random.bool() => Self::Memory,
            16 => Self::Forget,
            _ => Self::Tenant(Tenant::pick(random, size)),
        }
    }
}

impl WorldFault {
    /// A fault of those kinds that were added later.
    pub fn pick_later(random: &mut Rng, size: Size) -> Self {
        let (replica, namespace) = (random.usize(..size.replicas), random.usize(..super::NAMESPACES));
        match random.u8(..10) {
            0 | 1 => Self::CutOff(replica),
            2..=4 => {
                let plural = one_of(random, &["networkpolicies", "configmaps", "citrixallowlists", "leases"]);
                Self::HoldKind(random.bool().then_some(replica), plural)
            }
            5 => Self::Alter(namespace),
            6 => Self::Quota(namespace),
            7 => Self::Vendor(VendorFault::Slow),
            8 => Self::Dns(random.usize(..SERVERS.len()), one_of(random, &[DnsFault::Slow, DnsFault::Truncating])),
            _ => Self::Tenant(Tenant::Rename(random.usize(..size.resources))),
        }
    }
}

fn pick_calls(random: &mut Rng, replica: usize) -> CallRule {
    let fault = match random.u8(..8) {
        // Requests that arrive later than the lease's fence allows are assumed away: see docs/reliability.md.
        0 => CallFault::Slow(Duration::from_millis(random.u64(1..4000))),
        1 => CallFault::Refused,
        2 => CallFault::Throttled,
        3 => CallFault::Forbidden,
        4 => CallFault::Broken,
        5 => CallFault::AnswerBroken,
        6 => CallFault::Silent,
        _ => CallFault::AnswerSilent,
    };
    let namespace = random.bool().then(|| random.usize(..super::NAMESPACES));
    let plural = one_of(random, &["networkpolicies", "networkpolicies", "citrixallowlists", "configmaps", "leases"]);
    CallRule {
        replica: random.bool().then_some(replica),
        about: random.bool().then_some((plural, namespace)),
        writes: random.bool(),
        fault,
        often: one_of(random, &[20, 120, 255, 255]),
    }
}

impl SimulatedWorld {
    pub(super) fn begin(&mut self, number: usize, fault: &WorldFault) {
        match fault {
            WorldFault::Crash(replica) => self.kill(*replica),
            WorldFault::CrashInWrite(replica, writes, carried_out) => {
                if let Some(process) = &self.replicas[*replica] {
                    self.calls.trap(&process.account, *writes, *carried_out);
                }
            }
            WorldFault::Stop(replica) => {
                if let Some(process) = &self.replicas[*replica] {
                    process.stop.cancel();
                }
            }
            WorldFault::Calls(rule) => self.calls.add(number, rule.clone()),
            WorldFault::Watches(replica, fault) => {
                let meant = |call: &Call| replica.is_none() || replica_of(&call.account) == *replica;
                self.api.fault_watches(*fault, meant);
            }
            WorldFault::CutOff(replica) => {
                let replica = *replica;
                self.calls.cut_off(number, replica);
                self.api.hold_watches(number, Box::new(move |call| replica_of(&call.account) == Some(replica)));
            }
            WorldFault::HoldKind(replica, plural) => {
                let (replica, plural) = (*replica, *plural);
                let is_meant = move |call: &Call| {
                    let of = replica_of(&call.account);
                    call.plural == plural && of.is_some() && (replica.is_none() || of == replica)
                };
                self.api.hold_watches(number, Box::new(is_meant));
            }
            WorldFault::Alter(namespace) => self.admission.add(number, altering(*namespace)),
            WorldFault::Quota(namespace) => {
                let namespace = namespace_of(*namespace);
                let used = self.api.read(|store| {
                    let kind = store.kinds().find(POLICIES.0, POLICIES.1);
                    kind.map_or(0, |kind| store.objects(kind, Some(&namespace)).count())
                });
                self.admission.add(number, quota("policies", &namespace, POLICIES.1, used));
            }
            WorldFault::Compact => self.compact(),
            WorldFault::Vendor(fault) => self.vendor.fault(*fault),
            WorldFault::Publish(customer, change) => self.publish(*customer, *change),
            WorldFault::Dns(server, fault) => self.dns.fault(SERVERS[*server], *fault),
            WorldFault::Move(customer, name, ttl) => {
                let addresses = (0..4).map(|_| self.address()).collect();
                // What rotates slowly shows everything at once: otherwise news would come in quiet times.
                let shown = if *ttl > 600 { 4 } else { 2 };
                self.dns.set(&name_of(*customer, *name), addresses, shown, Duration::from_secs(*ttl));
            }
            WorldFault::Clock(replica, seconds) => self.set_clock(*replica, *seconds),
            WorldFault::Memory => super::memory::short(true),
            WorldFault::Forget => {
                let saved = |stored: &Stored| {
                    stored.value["metadata"]["labels"][citrix_allowlist::cluster::saved_lists::SAVED_LABEL] == "list"
                };
                self.api.delete_all(("", "configmaps"), super::HOME, saved);
            }
            WorldFault::Tenant(tenant) => self.act(tenant),
            WorldFault::Upgrade => {
                (0..self.replicas.len()).for_each(|replica| self.kill(replica));
                self.leave_older_objects();
            }
        }
    }

    /// Version 0.1.0 did not note on its policies what the spec selected, and what is of it alone.
    fn leave_older_objects(&self) {
        for namespace in 0..super::NAMESPACES {
            let ours = |stored: &Stored| stored.value["metadata"]["labels"][ALLOWLIST_LABEL].is_string();
            self.api.edit(POLICIES, &namespace_of(namespace), FIELD_MANAGER, ours, |policy| {
                if let Some(annotations) = policy["metadata"]["annotations"].as_object_mut() {
                    annotations.retain(|name, _| ![SELECTION_ANNOTATION, ADDITIONAL_ANNOTATION].contains(&&**name));
                }
            });
        }
    }

    pub(super) fn over(&mut self, number: usize, fault: &WorldFault) {
        match fault {
            WorldFault::Crash(replica) | WorldFault::CrashInWrite(replica, ..) | WorldFault::Stop(replica) => {
                self.kill(*replica);
                self.start_replica(*replica);
            }
            WorldFault::Upgrade => {
                for replica in 0..self.replicas.len() {
                    self.kill(replica);
                    self.start_replica(replica);
                }
            }
            WorldFault::Calls(_) => self.calls.remove(number),
            WorldFault::CutOff(_) => {
                self.calls.remove(number);
                self.api.release_watches(number);
            }
            WorldFault::HoldKind(..) => self.api.release_watches(number),
            WorldFault::Alter(_) | WorldFault::Quota(_) => self.admission.remove(number),
            WorldFault::Watches(..) => {
                self.api.fault_watches(WatchFault::None, |_| true);
            }
            WorldFault::Vendor(fault) => {
                self.vendor.fault(VendorFault::None);
                // Where nothing else is known, such a list is in use until it expires, and a refused customer is asked for again in an
                // hour: people ask before.
                if matches!(fault, VendorFault::Elsewhere | VendorFault::Gone) {
                    self.refresh(number);
                }
            }
            WorldFault::Dns(server, _) => self.dns.fault(SERVERS[*server], DnsFault::None),
            WorldFault::Memory => super::memory::short(false),
            WorldFault::Tenant(tenant) => self.undo(tenant),
            WorldFault::Compact
            | WorldFault::Publish(..)
            | WorldFault::Move(..)
            | WorldFault::Clock(..)
            | WorldFault::Forget => {}
        }
    }

    fn publish(&mut self, customer: usize, change: ListChange) {
        let name = customer_of(customer);
        let versions = self.vendor.versions(&name);
        let Some(mut content) = versions.last().map(|version| version.content.clone()) else { return };
        match change {
            ListChange::AddName => {
                let added = format!("more{}.c{customer}.example.com", versions.len());
                let addresses = (0..3).map(|_| self.address()).collect();
                self.dns.set(&added, addresses, 2, Duration::from_secs(60));
                content.names.insert(added);
            }
            ListChange::RemoveName => {
                content.names.pop_last();
            }
            ListChange::AddNetwork => {
                content.networks.insert(format!("20.{}.{}.0/24", 100 + customer, versions.len() % 250));
            }
            ListChange::Respell => {
                let whole = format!("20.{}.0.0/24", 100 + customer);
                let halves = [0, 128].map(|last| format!("20.{}.0.{last}/25", 100 + customer));
                let neighbour = format!("20.{}.0.0/25", 150 + customer);
                if !content.networks.remove(&neighbour) {
                    content.networks.insert(neighbour);
                }
                match content.networks.remove(&whole) {
                    true => content.networks.extend(halves),
                    false => {
                        content.networks.retain(|network| !halves.contains(network));
                        content.networks.insert(whole);
                    }
                }
            }
            ListChange::Withdraw => {
                content = versions.first().map_or_else(ListContent::default, |first| first.content.clone())
            }
        }
        self.vendor.publish(&name, content);
    }
}
