//! Faults, picked by the seed.

use super::dns::DnsFault;
use super::vendor::{Content, VendorFault};
use super::{Fate, SERVERS, Size, World, customer_of, name_of};
use crate::api::{ApiFailure, Call, WatchFault};
use fastrand::Rng;
use std::time::Duration;

/// One thing that goes wrong, or only changes.
#[derive(Clone, Debug)]
pub struct Fault {
    what: What,
    /// How long until it is over.
    pub lasts: Duration,
}

#[derive(Clone, Debug)]
enum What {
    /// A replica is killed, and started again when this is over.
    Crash(usize),
    /// A replica is asked to stop, and started again when this is over.
    Stop(usize),
    /// Calls of these replicas meet this fate, this often of 256.
    Calls(Option<usize>, CallFault, u8),
    /// The open watches of a replica meet this.
    Watches(Option<usize>, WatchFault),
    /// The server forgets all but its newest revision.
    Compact,
    Vendor(VendorFault),
    /// A customer's list changes.
    Publish(usize, Change),
    Dns(usize, DnsFault),
    /// A name moves to other addresses.
    Move(usize, usize),
    /// Somebody deletes every policy of a namespace.
    Vandal(usize),
}

#[derive(Clone, Copy, Debug)]
enum CallFault {
    Slow(Duration),
    Refused,
    Throttled,
    Broken,
    AnswerBroken,
    Silent,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    AddName,
    RemoveName,
    AddNetwork,
    Withdraw,
}

impl Fault {
    /// The next fault of a seed.
    pub fn pick(random: &mut Rng, size: Size) -> Self {
        let replica = random.usize(..size.replicas);
        let some = random.bool().then_some(replica);
        let calls = [
            CallFault::Slow(Duration::from_millis(random.u64(1..4000))),
            CallFault::Refused,
            CallFault::Throttled,
            CallFault::Broken,
            CallFault::AnswerBroken,
            CallFault::Silent,
        ];
        let watches = [WatchFault::Held, WatchFault::Ended, WatchFault::Broken];
        let vendor = [VendorFault::Unavailable, VendorFault::Silent, VendorFault::Nonsense, VendorFault::Empty, VendorFault::Stale];
        let dns = [DnsFault::Silent, DnsFault::Failing, DnsFault::Flapping, DnsFault::Lying];
        let changes = [Change::AddName, Change::RemoveName, Change::AddNetwork, Change::Withdraw];
        let customer = random.usize(..size.customers);
        let what = match random.u8(..10) {
            0 => What::Crash(replica),
            1 => What::Stop(replica),
            2 | 3 => What::Calls(some, calls[random.usize(..calls.len())], random.u8(16..)),
            4 => What::Watches(some, watches[random.usize(..watches.len())]),
            5 => What::Compact,
            6 => What::Vendor(vendor[random.usize(..vendor.len())]),
            7 => What::Publish(customer, changes[random.usize(..changes.len())]),
            8 if random.bool() => What::Dns(random.usize(..SERVERS.len()), dns[random.usize(..dns.len())]),
            8 => What::Move(customer, random.usize(..size.names)),
            _ => What::Vandal(random.usize(..5)),
        };
        Self { what, lasts: Duration::from_secs(random.u64(1..300)) }
    }
}

impl World {
    pub(super) fn inflict(&mut self, fault: &Fault) {
        match &fault.what {
            What::Crash(number) => {
                if let Some(replica) = self.replicas[*number].take() {
                    replica.task.abort();
                }
            }
            What::Stop(number) => {
                if let Some(replica) = &self.replicas[*number] {
                    replica.stop.cancel();
                }
            }
            What::Calls(replica, fault, often) => {
                let account = replica.map(|number| format!("replica-{number}"));
                let (fault, often) = (*fault, *often);
                let mut random = self.random.fork();
                let fates = move |call: &Call| {
                    if account.as_ref().is_some_and(|account| *account != call.account) || random.u8(..) > often {
                        return Fate::Served;
                    }
                    match fault {
                        CallFault::Slow(time) => Fate::Slow { request: time / 2, answer: time / 2 },
                        CallFault::Refused => Fate::Refused(ApiFailure::internal("an outage")),
                        CallFault::Throttled => Fate::Refused(ApiFailure::too_many_requests(1)),
                        CallFault::Broken => Fate::Broken,
                        CallFault::AnswerBroken => Fate::AnswerBroken,
                        CallFault::Silent => Fate::Silent,
                    }
                };
                self.api.set(|hooks| hooks.fates = Some(Box::new(fates)));
            }
            What::Watches(replica, fault) => {
                let account = replica.map(|number| format!("replica-{number}"));
                let meant = |call: &Call| account.as_ref().is_none_or(|account| *account == call.account);
                self.api.fault_watches(*fault, meant);
            }
            What::Compact => {
                self.watcher.look(false);
                self.api.with(|store| store.compact(store.revision()));
            }
            What::Vendor(fault) => self.vendor.fault(*fault),
            What::Publish(customer, change) => self.publish(*customer, *change),
            What::Dns(server, fault) => self.dns.fault(SERVERS[*server], *fault),
            What::Move(customer, name) => {
                let addresses = (0..4).map(|_| self.address()).collect();
                self.dns.set(&name_of(*customer, *name), addresses, 2, Duration::from_secs(300));
            }
            What::Vandal(namespace) => {
                let namespace = format!("tenant-{namespace}");
                self.watcher.look(false);
                self.api.delete_all("networking.k8s.io", "networkpolicies", &namespace);
                self.watcher.look(true);
            }
        }
    }

    fn publish(&mut self, customer: usize, change: Change) {
        let name = customer_of(customer);
        let versions = self.vendor.versions(&name);
        let Some(mut content) = versions.last().map(|version| version.content.clone()) else { return };
        match change {
            Change::AddName => {
                let added = format!("more{}.c{customer}.example.com", versions.len());
                let addresses = (0..3).map(|_| self.address()).collect();
                self.dns.set(&added, addresses, 2, Duration::from_secs(60));
                content.names.insert(added);
            }
            Change::RemoveName => {
                content.names.pop_last();
            }
            Change::AddNetwork => {
                content.networks.insert(format!("20.{}.{}.0/24", 100 + customer, versions.len() % 250));
            }
            Change::Withdraw => content = versions.first().map_or_else(Content::default, |first| first.content.clone()),
        }
        self.vendor.publish(&name, content);
    }

    pub(super) fn heal(&mut self, fault: &Fault) {
        match &fault.what {
            What::Crash(number) | What::Stop(number) => {
                if let Some(replica) = self.replicas[*number].take() {
                    replica.task.abort();
                }
                self.start_replica(*number);
            }
            What::Calls(..) => self.api.set(|hooks| hooks.fates = None),
            What::Watches(..) => {
                self.api.fault_watches(WatchFault::None, |_| true);
            }
            What::Vendor(_) => self.vendor.fault(VendorFault::None),
            What::Dns(server, _) => self.dns.fault(SERVERS[*server], DnsFault::None),
            What::Compact | What::Publish(..) | What::Move(..) | What::Vandal(_) => {}
        }
    }
}
