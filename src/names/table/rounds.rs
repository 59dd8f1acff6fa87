//! Rounds of queries: which are due, and what their answers change. Pure.

use super::{GroupId, Table};
use crate::counts::{count, uncount};
use crate::names::addresses::RefusedAddress;
use crate::names::answer::{Failure, Family, LookupOutcome};
use crate::names::places::{Places, Question};
use crate::names::retention::{Bounds, CachedName, sweep_interval};
use crate::names::schedule::next_tick;
use crate::names::snapshot::ServerHealth;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that has failed this many queries in a row, and answered none for [`SILENCE`], is not waited for.
const FAILURES_OF_SILENT_SERVER: u64 = 64;
/// How long a server must not have answered to count as silent.
const SILENCE: Duration = Duration::from_secs(30);

/// An open round: one name, queried at every server.
#[derive(Debug)]
pub(super) struct Asking {
    number: u64,
    pub(super) namespace: Arc<str>,
    /// The queries without an answer yet.
    outstanding: Vec<(SocketAddr, Family)>,
}

impl Table {
    /// Queries start, or start again: open rounds are lost, and time without queries does not count.
    pub(in crate::names) fn resume(&mut self, now: Instant) {
        self.rounds.clear();
        for (server, places) in &mut self.places {
            *places = Places::new(*server, self.questions_per_second);
        }
        for (name, entry) in &mut self.names {
            entry.cached.interrupt();
            let was_asked = entry.asking.take().is_some();
            if was_asked || (!entry.groups.is_empty() && self.questions.get(name).is_none()) {
                self.questions.set(name.clone(), now);
            }
        }
    }

    /// The queries to send now: rounds that are due join the queue of each server, and free places go to the next in turn.
    pub(in crate::names) fn questions_due(&mut self, now: Instant) -> Vec<Question> {
        self.stretch(now);
        while let Some(name) = self.questions.pop_due(now) {
            self.begin_round(name, now);
        }
        let names = &self.names;
        let mut questions = Vec::new();
        for places in self.places.values_mut() {
            questions.extend(std::iter::from_fn(|| places.next(|name| names.contains_key(name), now)));
        }
        questions
    }

    /// How many queries wait for a place at a server.
    pub(in crate::names) fn waiting(&self, server: SocketAddr) -> usize {
        self.places.get(&server).map_or(0, Places::waiting)
    }

    /// Starts the round of a name that is due, or ends an open one that has nothing worth waiting for.
    fn begin_round(&mut self, name: DomainName, now: Instant) {
        let number = self.number();
        let namespace = self.line_of(&name);
        let servers = self.servers_of(&name);
        let Some(entry) = self.names.get_mut(&name) else { return };
        if let Some(asking) = &entry.asking {
            if may_end(asking, &entry.cached, &self.health, now) {
                self.finish(&name, now);
            } else {
                self.questions.set(name, now + self.timeout);
            }
            return;
        }
        let families = entry.cached.due(now);
        if families.is_empty() {
            self.questions.set(name, now + entry.cached.next_question(now));
            return;
        }
        entry.repeat = false;
        entry.cached.begin(&families);
        let mut outstanding = Vec::new();
        for server in servers.iter().copied() {
            let Some(places) = self.places.get_mut(&server) else { continue };
            for family in families.iter().copied() {
                let queried = (server, family);
                outstanding.push(queried);
                let (name, namespace, silent) = (name.clone(), Arc::clone(&namespace), entry.silent.contains(&queried));
                places.join(&Question { server, name, family, number, namespace, silent });
            }
        }
        count(&mut self.rounds, &namespace);
        entry.asking = Some(Asking { number, namespace, outstanding });
        if servers.is_empty() {
            self.finish(&name, now);
        } else {
            // To see whether answers that are still outstanding by then are worth waiting for.
            self.questions.set(name, now + self.timeout);
        }
    }

    /// The namespace in whose queue a name waits: of those that want it, the one with the fewest open rounds. So a tenant that
    /// shares a name with one that has thousands does not wait longer.
    fn line_of(&self, name: &DomainName) -> Arc<str> {
        let groups = self.names.get(name).into_iter().flat_map(|entry| &entry.groups);
        let namespaces = groups.filter_map(|id| self.groups.get(id)).flat_map(|group| group.namespaces.keys());
        let least =
            namespaces.min_by_key(|namespace| (self.rounds.get(*namespace).copied().unwrap_or_default(), *namespace));
        least.cloned().unwrap_or_default()
    }

    /// One more namespace wants the names of a group: queries for them may have a shorter queue now.
    pub(super) fn change_lines(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        let names = Arc::clone(&group.names);
        for name in names.iter() {
            if self.names.get(name).is_none_or(|entry| entry.asking.is_none()) {
                continue;
            }
            let namespace = self.line_of(name);
            let Some(asking) = self.names.get_mut(name).and_then(|entry| entry.asking.as_mut()) else { continue };
            if asking.namespace == namespace {
                continue;
            }
            let before = std::mem::replace(&mut asking.namespace, Arc::clone(&namespace));
            for (server, family) in &asking.outstanding {
                if let Some(places) = self.places.get_mut(server) {
                    places.change_line(&(name.clone(), *family), &namespace);
                }
            }
            uncount(&mut self.rounds, &before);
            count(&mut self.rounds, &namespace);
        }
    }

    /// Rounds no longer wait for removed servers.
    pub(super) fn give_up_those_gone(&mut self, now: Instant) {
        let servers = self.all_servers();
        let mut over = Vec::new();
        for (name, entry) in &mut self.names {
            entry.silent.retain(|(server, _)| servers.contains(server));
            let Some(asking) = &mut entry.asking else { continue };
            asking.outstanding.retain(|(server, _)| servers.contains(server));
            if asking.outstanding.is_empty() {
                over.push(name.clone());
            }
        }
        for name in over {
            self.finish(&name, now);
        }
    }

    /// Frees the query's place, takes its answer or failure in, and returns its refused addresses.
    pub(in crate::names) fn report(
        &mut self,
        question: &Question,
        outcome: &LookupOutcome,
        now: Instant,
    ) -> Vec<RefusedAddress> {
        let Question { server, name, family, number, .. } = question;
        let (server, family) = (*server, *family);
        if let Some(places) = self.places.get_mut(&server) {
            places.leave(question);
        }
        if let Some(health) = self.health.get_mut(&server) {
            health.note(outcome, now);
        }
        let bounds = Bounds { room: self.room_for_addresses(name), ..self.bounds };
        let Some(entry) = self.names.get_mut(name) else { return Vec::new() };
        let queried = (server, family);
        entry.silent.retain(|silent| *silent != queried);
        if matches!(outcome, Err(Failure::Timeout)) {
            entry.silent.push(queried);
        }
        let asking = entry.asking.as_mut().filter(|asking| asking.number == *number);
        let awaited = asking.and_then(|asking| {
            let before = asking.outstanding.len();
            asking.outstanding.retain(|outstanding| *outstanding != queried);
            (asking.outstanding.len() < before).then_some(asking.outstanding.is_empty())
        });
        let judge = |address| self.guard.refuses(address);
        let mut refused = Vec::new();
        match (outcome, awaited) {
            (Ok(answer), Some(_)) => refused = entry.cached.answered(family, server, answer, &judge, &bounds, now),
            (Ok(answer), None) => refused = entry.cached.answered_late(family, server, answer, &judge, &bounds, now),
            (Err(failure), Some(_)) => entry.cached.failed(family, server, failure.clone()),
            (Err(_), None) => {}
        }
        if awaited == Some(true) {
            self.finish(name, now);
        } else if outcome.is_ok() {
            self.changed(name, now);
        }
        refused
    }

    fn finish(&mut self, name: &DomainName, now: Instant) {
        let Some(factor) = self.names.get(name).map(|entry| self.factor(entry)) else { return };
        let bounds = Bounds { stretch: factor.max(1.0), ..self.bounds };
        let Some(entry) = self.names.get_mut(name) else { return };
        let asking = entry.asking.take();
        entry.cached.finish(&bounds, self.random.f64(), now);
        if entry.repeat {
            entry.cached.ask_at_once();
        }
        self.questions.set(name.clone(), now + entry.cached.next_question(now));
        if entry.cached.needs_sweep(entry.retention, now) {
            let tick = next_tick(self.epoch, sweep_interval(entry.retention), now);
            self.sweeps.set_by(name.clone(), tick);
        }
        if let Some(asking) = asking {
            uncount(&mut self.rounds, &asking.namespace);
        }
        self.changed(name, now);
    }
}

/// Whether a round may end without its outstanding answers: each is of a family that another server has answered, or that has
/// failed and is outstanding only at servers that are silent to everyone. If servers answer but places are short, it waits.
fn may_end(asking: &Asking, cached: &CachedName, health: &BTreeMap<SocketAddr, ServerHealth>, now: Instant) -> bool {
    asking.outstanding.iter().all(|(server, family)| {
        let silent =
            || health.get(server).is_none_or(|health| health.is_silent(FAILURES_OF_SILENT_SERVER, SILENCE, now));
        cached.is_answered(*family) || (cached.is_failed(*family) && silent())
    })
}
