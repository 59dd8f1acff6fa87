//! The queue of one server: its 64 places for queries in flight, shared fairly by namespaces. Pure.
//!
//! A tenant can name thousands of names that no server answers, and each query occupies a place until it times out. So each
//! namespace has a queue of its own, and places go round the queues. No namespace occupies all of them. Queries that timed
//! out last time wait in separate queues with a small share. Waiting for a place is no failure of the name.

use super::answer::Family;
use crate::counts::{count, uncount};
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many queries one server gets at once. More would overflow its socket's buffer and have to be sent again.
pub(crate) const IN_FLIGHT_PER_SERVER: usize = 64;
/// How many of these one namespace may occupy: the last quarter is free at once for others.
const MOST_PER_NAMESPACE: usize = IN_FLIGHT_PER_SERVER / 4 * 3;
/// How many of these may be queries that timed out last time.
const MOST_SILENT: usize = IN_FLIGHT_PER_SERVER / 8;

/// One query to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The server.
    pub server: SocketAddr,
    /// The name.
    pub name: DomainName,
    /// The records.
    pub family: Family,
    /// The number of its round.
    pub number: u64,
    /// The namespace in whose queue it waits.
    pub namespace: Arc<str>,
    /// Whether this server let the same query time out last time.
    pub silent: bool,
}

/// A server gets one query at a time for each.
type Key = (DomainName, Family);

/// A waiting query.
#[derive(Debug)]
struct Waiting {
    /// The newest round that wants it.
    number: u64,
    namespace: Arc<str>,
    silent: bool,
    /// Its place in the queue.
    place: u64,
}

/// The queues of one sort, each in order of arrival.
#[derive(Debug, Default)]
struct Lines {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<u64, Key>>,
    /// The namespace that was served last.
    last: Option<Arc<str>>,
}

impl Lines {
    /// The next waiting namespace in turn that `may` be served.
    fn next(&self, may: impl Fn(&Arc<str>) -> bool) -> Option<Arc<str>> {
        let after = match &self.last {
            Some(last) => (Bound::Excluded(Arc::clone(last)), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let waiting = self.by_namespace.range(after).chain(self.by_namespace.iter());
        waiting.map(|(namespace, _)| namespace).find(|namespace| may(namespace)).cloned()
    }

    fn put(&mut self, namespace: &Arc<str>, place: u64, key: Key) {
        self.by_namespace.entry(Arc::clone(namespace)).or_default().insert(place, key);
    }

    fn strike_out(&mut self, namespace: &Arc<str>, place: u64) {
        let Some(line) = self.by_namespace.get_mut(namespace) else { return };
        line.remove(&place);
        if line.is_empty() {
            self.by_namespace.remove(namespace);
        }
    }

    fn first(&self, namespace: &Arc<str>) -> Option<Key> {
        self.by_namespace.get(namespace)?.first_key_value().map(|(_, key)| key.clone())
    }
}

/// The places of one server, and the queries that wait for them.
#[derive(Debug)]
pub struct Places {
    server: SocketAddr,
    /// A query waits once.
    waiting: HashMap<Key, Waiting>,
    next_place: u64,
    prompt: Lines,
    silent: Lines,
    /// Whether the silent come first the next time: they and the others take turns.
    silent_first: bool,
    in_flight: BTreeMap<Arc<str>, usize>,
    all_in_flight: usize,
    silent_in_flight: usize,
    budget: Budget,
}

impl Places {
    /// The places of `server`, all free, with at most `per_second` queries a second.
    #[must_use]
    pub fn new(server: SocketAddr, per_second: u32) -> Self {
        Self {
            server,
            waiting: HashMap::new(),
            next_place: 0,
            prompt: Lines::default(),
            silent: Lines::default(),
            silent_first: false,
            in_flight: BTreeMap::new(),
            all_in_flight: 0,
            silent_in_flight: 0,
            budget: Budget::new(per_second),
        }
    }

    /// How many queries wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Queues a query. One that waits already keeps its place, and belongs to the newer round.
    pub fn join(&mut self, question: &Question) {
        let key = (question.name.clone(), question.family);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.number = question.number;
            self.change_line(&key, &question.namespace);
            return;
        }
        self.next_place += 1;
        let Question { number, silent, .. } = *question;
        let (place, namespace) = (self.next_place, Arc::clone(&question.namespace));
        self.lines(silent).put(&namespace, place, key.clone());
        self.waiting.insert(key, Waiting { number, namespace, silent, place });
    }

    /// Moves a waiting query to the queue of `namespace`, before all that came after it.
    pub fn change_line(&mut self, key: &Key, namespace: &Arc<str>) {
        let Some(waiting) = self.waiting.get_mut(key).filter(|waiting| waiting.namespace != *namespace) else { return };
        let before = std::mem::replace(&mut waiting.namespace, Arc::clone(namespace));
        let (silent, place) = (waiting.silent, waiting.place);
        let lines = self.lines(silent);
        lines.strike_out(&before, place);
        lines.put(namespace, place, key.clone());
    }

    fn lines(&mut self, silent: bool) -> &mut Lines {
        if silent { &mut self.silent } else { &mut self.prompt }
    }

    /// Gives the next query a free place, unless this second's queries are used up. Drops queries for names that are no longer
    /// `wanted` on the way.
    pub fn next(&mut self, wanted: impl Fn(&DomainName) -> bool, now: Instant) -> Option<Question> {
        while !self.waiting.is_empty() && self.all_in_flight < IN_FLIGHT_PER_SERVER && self.budget.has(now) {
            let sorts = if self.silent_first { [true, false] } else { [false, true] };
            let (silent, namespace) = sorts.into_iter().find_map(|silent| Some((silent, self.turn(silent)?)))?;
            let key = self.lines(silent).first(&namespace)?;
            let Waiting { number, place, .. } = self.waiting.remove(&key)?;
            let lines = self.lines(silent);
            lines.strike_out(&namespace, place);
            lines.last = Some(Arc::clone(&namespace));
            let (name, family) = key;
            if !wanted(&name) {
                continue;
            }
            self.silent_first = !silent;
            self.budget.left -= 1.0;
            count(&mut self.in_flight, &namespace);
            self.all_in_flight += 1;
            self.silent_in_flight += usize::from(silent);
            return Some(Question { server: self.server, name, family, number, namespace, silent });
        }
        None
    }

    /// The namespace whose turn it is among the queues of one sort; `None` if none waits there or may be served.
    fn turn(&self, silent: bool) -> Option<Arc<str>> {
        if silent && self.silent_in_flight >= MOST_SILENT {
            return None;
        }
        let lines = if silent { &self.silent } else { &self.prompt };
        lines.next(|namespace| self.in_flight.get(namespace).is_none_or(|count| *count < MOST_PER_NAMESPACE))
    }

    /// Frees the place of a query.
    pub fn leave(&mut self, question: &Question) {
        if self.in_flight.contains_key(&question.namespace) {
            uncount(&mut self.in_flight, &question.namespace);
            self.all_in_flight = self.all_in_flight.saturating_sub(1);
            self.silent_in_flight = self.silent_in_flight.saturating_sub(usize::from(question.silent));
        }
    }

    /// When the next query may be sent, if only this second's queries are used up.
    #[must_use]
    pub fn next_moment(&self) -> Option<Instant> {
        let blocked = self.waiting.is_empty()
            || self.all_in_flight >= IN_FLIGHT_PER_SERVER
            || [false, true].into_iter().all(|silent| self.turn(silent).is_none());
        if blocked { None } else { self.budget.next() }
    }
}

/// What counts as one query: sums of fractions fall short of a whole by a little.
const WHOLE: f64 = 1.0 - 1e-6;

/// Queries a second: after a quiet second, those of a whole one may be sent at once.
#[derive(Debug)]
struct Budget {
    per_second: f64,
    left: f64,
    seen: Option<Instant>,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, left: per_second, seen: None }
    }

    fn has(&mut self, now: Instant) -> bool {
        let passed = self.seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        self.left = passed.as_secs_f64().mul_add(self.per_second, self.left).min(self.per_second);
        self.seen = Some(now);
        self.left >= WHOLE
    }

    fn next(&self) -> Option<Instant> {
        let missing = ((1.0 - self.left) / self.per_second).max(0.0);
        self.seen.map(|seen| seen + Duration::from_secs_f64(missing))
    }
}

#[cfg(test)]
mod tests;
