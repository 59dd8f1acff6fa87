//! Rounds of questions: which are due, and what becomes of their answers. Pure.

use super::{GroupId, Table};
use crate::names::addresses::RefusedAddress;
use crate::names::answer::{Failure, Family, LookupOutcome};
use crate::names::places::{Places, Question};
use crate::names::retention::{CachedName, sweep_interval};
use crate::names::schedule::next_tick;
use crate::names::snapshot::ServerHealth;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that has failed so many questions in a row, and answered none for [`SILENCE`], is not waited for.
const FAILURES_OF_SILENT_SERVER: u64 = 64;
/// How long a server must not have answered to be taken for silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A round of questions that is due: `name`, in each of `families`, of each of `servers`.
#[derive(Clone, Debug)]
pub struct Round {
    /// The name to ask for.
    pub name: DomainName,
    /// The round's number, unique in the process.
    pub number: u64,
    /// What of it is to be asked: the families whose last answer may be kept no longer.
    pub families: Vec<Family>,
    /// Who is to be asked.
    pub servers: Arc<[SocketAddr]>,
    /// In whose line it waits: of the namespaces that want the name the one with the fewest open rounds.
    pub namespace: Arc<str>,
    /// What of it timed out when it was last asked, and of whom.
    pub silent: Vec<(SocketAddr, Family)>,
}

/// An open round.
#[derive(Debug)]
pub(super) struct Asking {
    number: u64,
    namespace: Arc<str>,
    /// Whose answers are still out.
    outstanding: Vec<(SocketAddr, Family)>,
}

/// One server's answer or failure, within a round.
#[derive(Clone, Debug)]
pub struct RoundReport {
    /// The name asked for.
    pub name: DomainName,
    /// The number of its round.
    pub number: u64,
    /// The server.
    pub server: SocketAddr,
    /// The family asked for.
    pub family: Family,
    /// What came of it.
    pub outcome: LookupOutcome,
}

impl Table {
    /// Asking starts, or starts again: rounds that were open are lost, and time that passed unasked says nothing.
    pub(in crate::names) fn resume(&mut self, now: Instant) {
        self.rounds.clear();
        for (server, places) in &mut self.places {
            *places = Places::new(*server, self.questions_per_second);
        }
        for (name, entry) in &mut self.names {
            entry.held.interrupt();
            if entry.asking.take().is_some() {
                self.questions.set(name.clone(), now);
            }
            if !entry.groups.is_empty() && self.questions.get(name).is_none() {
                self.questions.set(name.clone(), now);
            }
        }
    }

    /// The questions to ask now: rounds that are due join the lines of each server, and the one whose turn it is gets a place.
    pub(in crate::names) fn questions_due(&mut self, now: Instant) -> Vec<Question> {
        self.stretch(now);
        for round in self.due(now) {
            let Round { name, number, families, servers, namespace, silent } = round;
            for server in servers.iter() {
                let Some(places) = self.places.get_mut(server) else { continue };
                for family in &families {
                    let silent = silent.contains(&(*server, *family));
                    let (name, namespace) = (name.clone(), Arc::clone(&namespace));
                    places.join(&Question { server: *server, name, family: *family, number, namespace, silent });
                }
            }
        }
        let names = &self.names;
        let mut questions = Vec::new();
        for places in self.places.values_mut() {
            questions.extend(std::iter::from_fn(|| places.next(|name| names.contains_key(name), now)));
        }
        questions
    }

    /// How many questions wait for a place at a server.
    pub(in crate::names) fn waiting(&self, server: SocketAddr) -> usize {
        self.places.get(&server).map_or(0, Places::waiting)
    }

    /// A question that had a place is over.
    pub(in crate::names) fn leave_place(&mut self, question: &Question) {
        if let Some(places) = self.places.get_mut(&question.server) {
            places.leave(question);
        }
    }

    /// The rounds that are due, most overdue first.
    pub(in crate::names) fn due(&mut self, now: Instant) -> Vec<Round> {
        let mut rounds = Vec::new();
        while let Some(name) = self.questions.pop_due(now) {
            let number = self.number();
            let namespace = self.line_of(&name);
            let Some(entry) = self.names.get_mut(&name) else { continue };
            if let Some(asking) = &entry.asking {
                if may_end(asking, &entry.held, &self.health, now) {
                    self.finish(&name, now);
                } else {
                    self.questions.set(name, now + self.timeout);
                }
                continue;
            }
            let families = entry.held.due(now);
            if families.is_empty() {
                self.questions.set(name, now + entry.held.next_question(now));
                continue;
            }
            entry.again = false;
            entry.held.begin(&families);
            let servers = self.servers.iter();
            let outstanding = servers.flat_map(|server| families.iter().map(|family| (*server, *family))).collect();
            entry.asking = Some(Asking { number, namespace: Arc::clone(&namespace), outstanding });
            *self.rounds.entry(Arc::clone(&namespace)).or_default() += 1;
            if self.servers.is_empty() {
                self.finish(&name, now);
            } else {
                let silent = entry.silent.clone();
                // To see whether those that have not answered by then are worth waiting for.
                self.questions.set(name.clone(), now + self.timeout);
                rounds.push(Round { name, number, families, servers: self.servers.clone(), namespace, silent });
            }
        }
        rounds
    }

    /// In whose line a name waits: of the namespaces that want it the one with the fewest open rounds, so that who
    /// shares a name with somebody who names thousands waits as if alone.
    fn line_of(&self, name: &DomainName) -> Arc<str> {
        let groups = self.names.get(name).into_iter().flat_map(|entry| &entry.groups);
        let namespaces = groups.filter_map(|id| self.groups.get(id)).flat_map(|group| group.namespaces.keys());
        let least =
            namespaces.min_by_key(|namespace| (self.rounds.get(*namespace).copied().unwrap_or_default(), *namespace));
        least.cloned().unwrap_or_default()
    }

    /// One more namespace wants the names of a group: those being asked may have a shorter line now.
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
            less(&mut self.rounds, &before);
            *self.rounds.entry(namespace).or_default() += 1;
        }
    }

    pub(super) fn round_over(&mut self, asking: &Asking) {
        less(&mut self.rounds, &asking.namespace);
    }

    /// Rounds wait no longer for servers that are asked no more.
    pub(super) fn give_up_those_gone(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (name, entry) in &mut self.names {
            entry.silent.retain(|(server, _)| self.servers.contains(server));
            let Some(asking) = &mut entry.asking else { continue };
            asking.outstanding.retain(|(server, _)| self.servers.contains(server));
            if asking.outstanding.is_empty() {
                over.push(name.clone());
            }
        }
        for name in over {
            self.finish(&name, now);
        }
    }

    /// Takes one server's answer or failure in, and returns the addresses of it that were refused.
    pub(in crate::names) fn report(&mut self, report: &RoundReport, now: Instant) -> Vec<RefusedAddress> {
        if let Some(health) = self.health.get_mut(&report.server) {
            health.note(&report.outcome, now);
        }
        let (room, level) = self.room_for_addresses(&report.name);
        let bounds = self.bounds.with_room(room, level);
        let Some(entry) = self.names.get_mut(&report.name) else { return Vec::new() };
        let asked = (report.server, report.family);
        entry.silent.retain(|silent| *silent != asked);
        if matches!(report.outcome, Err(Failure::Timeout)) {
            entry.silent.push(asked);
        }
        let asking = entry.asking.as_mut().filter(|asking| asking.number == report.number);
        let awaited = asking.and_then(|asking| {
            let before = asking.outstanding.len();
            asking.outstanding.retain(|outstanding| *outstanding != asked);
            (asking.outstanding.len() < before).then_some(asking.outstanding.is_empty())
        });
        let guard = &self.guard;
        let judge = |address| guard.refuses(address);
        let refused = match (&report.outcome, awaited) {
            (Ok(answer), Some(_)) => entry.held.answered(report.family, report.server, answer, &judge, &bounds, now),
            (Ok(answer), None) => entry.held.answered_late(report.family, report.server, answer, &judge, &bounds, now),
            (Err(failure), Some(_)) => {
                entry.held.failed(report.family, report.server, Failure::clone(failure));
                Vec::new()
            }
            (Err(_), None) => Vec::new(),
        };
        if awaited == Some(true) {
            self.finish(&report.name, now);
        } else if report.outcome.is_ok() {
            self.changed(&report.name, now);
        }
        refused
    }

    fn finish(&mut self, name: &DomainName, now: Instant) {
        let Some(factor) = self.names.get(name).map(|entry| self.factor(entry)) else { return };
        let bounds = self.bounds.stretched(factor);
        let Some(entry) = self.names.get_mut(name) else { return };
        let asking = entry.asking.take();
        entry.held.finish(&bounds, self.random.f64(), now);
        if entry.again {
            entry.held.ask_at_once();
        }
        self.questions.set(name.clone(), now + entry.held.next_question(now));
        if entry.held.needs_sweep(entry.retention, now) {
            let tick = next_tick(self.epoch, sweep_interval(entry.retention), now);
            self.sweeps.set_by(name.clone(), tick);
        }
        if let Some(asking) = asking {
            self.round_over(&asking);
        }
        self.changed(name, now);
    }
}

/// One round less is open for `namespace`.
fn less(rounds: &mut BTreeMap<Arc<str>, usize>, namespace: &Arc<str>) {
    let Some(count) = rounds.get_mut(namespace) else { return };
    *count -= 1;
    if *count == 0 {
        rounds.remove(namespace);
    }
}

/// Whether a round may end without the answers that are still out: each of its families has been answered, or has failed
/// where it was asked and is out at servers alone that are silent to everybody. Where places are short, and servers
/// answer, a round waits.
fn may_end(asking: &Asking, held: &CachedName, health: &BTreeMap<SocketAddr, ServerHealth>, now: Instant) -> bool {
    asking.outstanding.iter().all(|(server, family)| {
        let silent =
            || health.get(server).is_none_or(|health| health.is_silent(FAILURES_OF_SILENT_SERVER, SILENCE, now));
        held.is_answered(*family) || (held.is_failed(*family) && silent())
    })
}
