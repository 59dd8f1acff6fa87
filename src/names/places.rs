//! Who is asked next at one server: its places for open questions, shared by namespaces in turn. Pure.
//!
//! Who may create a resource may name thousands of names that nobody answers, and each holds a place for the whole
//! time of a question. So each namespace has a line of its own, and places go round the lines; no namespace holds all of
//! them; and questions that timed out when they were last asked wait in lines beside, which have a small share. A
//! question waits as long as it takes: that is no failure of the name.

use super::answer::Family;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many questions one server is given at once. More, and what its socket's buffer cannot take has to be sent again.
pub(crate) const IN_FLIGHT_PER_SERVER: usize = 64;
/// How many of these one namespace may hold: a quarter is left for others to find at once.
const MOST_PER_NAMESPACE: usize = IN_FLIGHT_PER_SERVER / 4 * 3;
/// How many of these questions may hold that timed out when they were last asked.
const MOST_SILENT: usize = IN_FLIGHT_PER_SERVER / 8;

/// One question to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who is asked.
    pub server: SocketAddr,
    /// The name asked for.
    pub name: DomainName,
    /// The records asked for.
    pub family: Family,
    /// The number of its round.
    pub number: u64,
    /// The namespace whose line it stands in.
    pub namespace: Arc<str>,
    /// Whether this server was silent when it was last asked this.
    pub silent: bool,
}

/// What is asked of a server once at a time.
type Key = (DomainName, Family);

/// Where a question waits.
#[derive(Debug)]
struct Waiting {
    /// The newest round that wants it.
    number: u64,
    namespace: Arc<str>,
    silent: bool,
    /// Its place in the line.
    place: u64,
}

/// The lines of one sort, in each namespace the question that came first in front.
#[derive(Debug, Default)]
struct Lines {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<u64, Key>>,
    /// Whose turn it was last.
    last: Option<Arc<str>>,
}

impl Lines {
    /// The next namespace in turn that waits and that `may` go.
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

/// The places of one server, and who waits for them.
#[derive(Debug)]
pub struct Places {
    server: SocketAddr,
    /// A question waits once.
    waiting: HashMap<Key, Waiting>,
    next_place: u64,
    prompt: Lines,
    silent: Lines,
    /// Whether the silent come first the next time: they and the others take turns.
    silent_first: bool,
    held: BTreeMap<Arc<str>, usize>,
    held_in_all: usize,
    held_by_silent: usize,
    budget: Budget,
}

impl Places {
    /// The places of `server`, all free, and at most `per_second` questions a second.
    #[must_use]
    pub fn new(server: SocketAddr, per_second: u32) -> Self {
        Self {
            server,
            waiting: HashMap::new(),
            next_place: 0,
            prompt: Lines::default(),
            silent: Lines::default(),
            silent_first: false,
            held: BTreeMap::new(),
            held_in_all: 0,
            held_by_silent: 0,
            budget: Budget::new(per_second),
        }
    }

    /// How many questions wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A question joins its line. One that waits already keeps its place there, and answers the newer round.
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

    /// A question that waits, waits in the line of `namespace` from now on, where it came before all that came after it.
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

    /// Gives the next question a place, where there is one, and the second's questions are not used up. Questions for
    /// names that are no longer `wanted` are struck out on the way.
    pub fn next(&mut self, wanted: impl Fn(&DomainName) -> bool, now: Instant) -> Option<Question> {
        while !self.waiting.is_empty() && self.held_in_all < IN_FLIGHT_PER_SERVER && self.budget.has(now) {
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
            self.budget.take();
            *self.held.entry(Arc::clone(&namespace)).or_default() += 1;
            self.held_in_all += 1;
            self.held_by_silent += usize::from(silent);
            return Some(Question { server: self.server, name, family, number, namespace, silent });
        }
        None
    }

    /// Whose turn it is among the lines of one sort; `None` where nobody waits there or none of them may go.
    fn turn(&self, silent: bool) -> Option<Arc<str>> {
        if silent && self.held_by_silent >= MOST_SILENT {
            return None;
        }
        let lines = if silent { &self.silent } else { &self.prompt };
        lines.next(|namespace| self.held.get(namespace).is_none_or(|held| *held < MOST_PER_NAMESPACE))
    }

    /// A question that had a place is over.
    pub fn leave(&mut self, question: &Question) {
        let Some(held) = self.held.get_mut(&question.namespace) else { return };
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&question.namespace);
        }
        self.held_in_all = self.held_in_all.saturating_sub(1);
        self.held_by_silent = self.held_by_silent.saturating_sub(usize::from(question.silent));
    }

    /// When the next question may be asked, where only the second's questions are used up.
    #[must_use]
    pub fn next_moment(&self) -> Option<Instant> {
        let blocked = self.waiting.is_empty()
            || self.held_in_all >= IN_FLIGHT_PER_SERVER
            || [false, true].into_iter().all(|silent| self.turn(silent).is_none());
        if blocked { None } else { self.budget.next() }
    }
}

/// What counts as one question: sums of fractions fall short of a whole by a little.
const WHOLE: f64 = 1.0 - 1e-6;

/// Questions a second: those of a whole second may be asked at once after a quiet one.
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

    fn take(&mut self) {
        self.left -= 1.0;
    }

    fn next(&self) -> Option<Instant> {
        let missing = ((1.0 - self.left) / self.per_second).max(0.0);
        self.seen.map(|seen| seen + Duration::from_secs_f64(missing))
    }
}

#[cfg(test)]
mod tests;
