//! Answers that were not asked for by the table: the forwarder hears them between a pod and the upstream. Pure.

use super::{GroupId, Table};
use crate::names::addresses::RefusedAddress;
use crate::names::answer::{Answer, Family};
use crate::names::retention::Bounds;
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer is remembered for a name that the table does not have yet: longer than any answer is held.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How many such answers are remembered.
const MOST_REMEMBERED: usize = 1024;

/// Answers for names that the table does not have yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Heard(VecDeque<(Instant, DomainName, HeardAnswer)>);

/// An answer of a server for a name in one family.
#[derive(Clone, Debug)]
pub struct HeardAnswer {
    /// The server.
    pub server: SocketAddr,
    /// The family.
    pub family: Family,
    /// The answer.
    pub answer: Answer,
}

impl Table {
    /// A server answered a pod's question for a name: its addresses count as those of any answer. Resources that have to apply one
    /// are returned, to be woken at once. An answer that lacks an address takes nothing away: only a round of the table does.
    pub(in crate::names) fn hear(
        &mut self,
        name: &DomainName,
        heard: &HeardAnswer,
        now: Instant,
    ) -> (Vec<RefusedAddress>, Vec<ResourceRef>) {
        if !self.names.contains_key(name) {
            self.heard.0.retain(|(at, ..)| now.saturating_duration_since(*at) < REMEMBERED);
            if self.heard.0.len() >= MOST_REMEMBERED {
                self.heard.0.pop_front();
            }
            self.heard.0.push_back((now, name.clone(), heard.clone()));
            return Default::default();
        }
        let view = |table: &Self| table.names.get(name).map(|entry| Arc::clone(&entry.view));
        let before = view(self);
        let refused = self.take_in(name, heard, now);
        let is_same = |after: &Arc<_>| before.as_ref().is_some_and(|before| Arc::ptr_eq(before, after));
        if view(self).as_ref().is_some_and(is_same) {
            return (refused, Vec::new());
        }
        // A pod waits for it: not even for other changes is it put off.
        let groups = self.names.get(name).into_iter().flat_map(|entry| entry.groups.iter().copied());
        let groups: Vec<_> = groups.collect();
        let mut woken = Vec::new();
        for id in groups {
            self.wakes.remove(&id);
            if let Some(group) = self.groups.get_mut(&id) {
                group.woken = Some(now);
                woken.extend(group.subscribers.iter().cloned());
            }
        }
        (refused, woken)
    }

    /// Adds the addresses of an answer to a name that the table has; returns those that the guard refuses.
    fn take_in(&mut self, name: &DomainName, heard: &HeardAnswer, now: Instant) -> Vec<RefusedAddress> {
        let bounds = Bounds { room: self.room_for_addresses(name), ..self.bounds };
        let Some(entry) = self.names.get_mut(name) else { return Vec::new() };
        let judge = |address| self.guard.refuses(address);
        let HeardAnswer { server, family, answer } = heard;
        let refused = entry.cached.answered_late(*family, *server, answer, &judge, &bounds, now);
        self.changed(name, now);
        refused
    }

    /// What was heard of a group's names before the table had them. Its first subscriber reads them at once, and need not be woken.
    pub(super) fn recall(&mut self, id: GroupId, wanted: &BTreeSet<DomainName>, now: Instant) {
        let heard = std::mem::take(&mut self.heard.0);
        let (mine, others) = heard.into_iter().partition(|(_, name, _)| wanted.contains(name));
        self.heard.0 = others;
        let is_woken = self.wakes.get(&id).is_some();
        for (at, name, heard) in mine {
            if now.saturating_duration_since(at) >= REMEMBERED {
                continue;
            }
            self.take_in(&name, &heard, now);
        }
        if !is_woken {
            self.wakes.remove(&id);
        }
    }
}
