//! Rounds of questions: which are due, and what becomes of their answers. Pure.

use super::{Table, judge};
use crate::names::addresses::RefusedAddress;
use crate::names::answer::{Failure, Family, Outcome};
use crate::names::retention::sweep_interval;
use crate::names::schedule::next_tick;
use crate::net::DomainName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

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
}

/// One server's answer or failure, within a round.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name asked for.
    pub name: DomainName,
    /// The number of its round.
    pub number: u64,
    /// The server.
    pub server: SocketAddr,
    /// The family asked for.
    pub family: Family,
    /// What came of it.
    pub outcome: Outcome,
}

impl Table {
    /// Asking starts, or starts anew: rounds that were under way are lost, and time that passed unasked says nothing.
    pub(in crate::names) fn resume(&mut self, now: Instant) {
        for (name, entry) in &mut self.names {
            entry.held.interrupt();
            entry.asking = None;
            if !entry.groups.is_empty() && self.questions.get(name).is_none() {
                self.questions.set(name.clone(), now);
            }
        }
    }

    /// The rounds that are due, most overdue first.
    pub(in crate::names) fn due(&mut self, now: Instant) -> Vec<Round> {
        let mut rounds = Vec::new();
        while let Some(name) = self.questions.pop_due(now) {
            let number = self.number();
            let Some(entry) = self.names.get_mut(&name) else { continue };
            if entry.asking.is_some() {
                continue;
            }
            let families = entry.held.due(now);
            if families.is_empty() {
                self.questions.set(name, now + entry.held.next_question(now));
                continue;
            }
            entry.again = false;
            entry.held.begin(&families);
            entry.asking = Some((number, self.servers.len() * families.len()));
            if self.servers.is_empty() {
                self.finish(&name, now);
            } else {
                rounds.push(Round { name, number, families, servers: self.servers.clone() });
            }
        }
        rounds
    }

    /// Takes one server's answer or failure in, and returns the addresses of it that were refused.
    pub(in crate::names) fn report(&mut self, report: &Report, now: Instant) -> Vec<RefusedAddress> {
        if let Some(health) = self.health.get_mut(&report.server) {
            health.note(&report.outcome, now);
        }
        let Some(entry) = self.names.get_mut(&report.name) else { return Vec::new() };
        let Some((number, outstanding)) = &mut entry.asking else { return Vec::new() };
        if *number != report.number {
            return Vec::new();
        }
        *outstanding = outstanding.saturating_sub(1);
        let is_last = *outstanding == 0;
        let guard = &self.guard;
        let refused = match &report.outcome {
            Ok(answer) => entry.held.answered(
                report.family,
                report.server,
                answer,
                &|address| judge(guard, address),
                &self.bounds,
                now,
            ),
            Err(failure) => {
                entry.held.failed(report.family, report.server, Failure::clone(failure));
                Vec::new()
            }
        };
        if is_last {
            self.finish(&report.name, now);
        } else if report.outcome.is_ok() {
            self.changed(&report.name, now);
        }
        refused
    }

    fn finish(&mut self, name: &DomainName, now: Instant) {
        let Some(entry) = self.names.get_mut(name) else { return };
        entry.asking = None;
        entry.held.finish(&self.bounds, self.random.f64(), now);
        if entry.again {
            entry.held.ask_at_once();
        }
        self.questions.set_by(name.clone(), now + entry.held.next_question(now));
        if entry.held.needs_sweep(entry.retention, now) {
            let tick = next_tick(self.epoch, sweep_interval(entry.retention), now);
            self.sweeps.set_by(name.clone(), tick);
        }
        self.changed(name, now);
    }
}
