//! What is known under one key, and how an answer changes it. Pure.

mod restored;

use crate::crd::{Problem, ProblemKind};
use crate::reason::Reason;
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::older::Recency;
use connectivity_allowlist::schedule::{CompletedRequest, FetchOutcome, IntervalBounds};
use connectivity_allowlist::shrink::Acceptance;
use connectivity_allowlist::{Allowlist, Validators, growth, older, shrink};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use restored::Restored;

/// A list together with the document that it was read from.
#[derive(Clone, Debug)]
pub(super) struct CachedList {
    pub(super) document: Arc<[u8]>,
    pub(super) allowlist: Arc<Allowlist>,
    pub(super) digest: u64,
    pub(super) validators: Validators,
}

impl CachedList {
    pub(super) fn new(document: Arc<[u8]>, allowlist: Allowlist, validators: Validators) -> Self {
        let digest = allowlist.digest();
        Self { document, allowlist: Arc::new(allowlist), digest, validators }
    }
}

/// What came of a request, read as far as a document can be read by itself.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    List(CachedList),
    NotModified,
    /// No list: why, and what the schedule makes of it.
    Failed {
        reason: Reason,
        detail: String,
        outcome: FetchOutcome,
    },
}

/// Where an answer comes from.
#[derive(Clone, Debug)]
pub(super) struct ResponseMetadata {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
    pub(super) transaction_id: Option<String>,
    pub(super) fraction: f64,
    /// Whether it is the API's, whose edges may differ, and not a file that somebody has put there.
    pub(super) from_api: bool,
}

/// The condition `FeedCurrent`, as the last completed request left it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) current: bool,
    pub(super) problems: Vec<Problem>,
}

/// What is known under one key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) subscribers: BTreeSet<ResourceRef>,
    /// On its intervals: the shortest that any resource that needs it asks for.
    pub(super) bounds: IntervalBounds,
    /// Scheme, host and port that is asked.
    pub(super) host: String,
    /// The list in use.
    pub(super) accepted: Option<CachedList>,
    /// The one before it, until the one in use is confirmed.
    pub(super) previous: Option<CachedList>,
    /// One that is held back until the next fetch.
    pub(super) held_back: Option<CachedList>,
    /// Since when every answer has been older than the list in use.
    pub(super) older_since: Option<Timestamp>,
    /// Whether the list in use is from another address than is asked now: whatever that answers takes its place.
    pub(super) from_elsewhere: bool,
    pub(super) confirmations: u32,
    pub(super) fetched_at: Option<Timestamp>,
    pub(super) transaction_id: Option<String>,
    pub(super) standing: Standing,
    pub(super) last: Option<CompletedRequest>,
    /// The moment that the schedule counts from, and how much of its time had passed by then.
    anchor: Instant,
    passed: Duration,
    fraction: f64,
    /// Asked for before its time, since when.
    pub(super) urgent: Option<Instant>,
    /// About when the first fetch is, for an entry that has had none.
    pub(super) estimate: Option<Timestamp>,
    pub(super) in_flight: bool,
    /// When the request that is not answered yet was begun.
    pub(super) begun: Option<Timestamp>,
    /// How many requests in a row were begun by processes that ended before they completed.
    pub(super) interrupted: u32,
    /// Where the host says that the document is now, and how many times it has said so in a row.
    pub(super) moved: Option<(String, u32)>,
    /// Lists of single customers, where one document serves them all.
    pub(super) rendered: BTreeMap<Arc<str>, Rendered>,
    pub(super) unneeded_since: Option<Instant>,
}

/// A shared document with one customer's id in it.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) allowlist: Arc<Allowlist>,
    pub(super) digest: u64,
    pub(super) previous: Option<Arc<Allowlist>>,
}

impl Entry {
    pub(super) fn new(host: String, bounds: IntervalBounds, now: Instant, estimate: Option<Timestamp>) -> Self {
        Self {
            subscribers: BTreeSet::new(),
            bounds,
            host,
            accepted: None,
            previous: None,
            held_back: None,
            older_since: None,
            from_elsewhere: false,
            confirmations: 0,
            fetched_at: None,
            transaction_id: None,
            standing: Standing {
                reason: Reason::WaitingForFeed,
                message: "the first list has not arrived yet".to_owned(),
                current: false,
                problems: Vec::new(),
            },
            last: None,
            anchor: now,
            passed: Duration::ZERO,
            fraction: 0.0,
            urgent: None,
            estimate,
            in_flight: false,
            begun: None,
            interrupted: 0,
            moved: None,
            rendered: BTreeMap::new(),
            unneeded_since: Some(now),
        }
    }

    /// Takes an answer in; says whether the list in use says something else now.
    pub(super) fn take(&mut self, answer: Answer, arrival: &ResponseMetadata) -> bool {
        self.transaction_id.clone_from(&arrival.transaction_id);
        self.urgent = None;
        self.moved = None;
        (self.begun, self.interrupted) = (None, 0);
        let (outcome, changed) = match answer {
            Answer::List(list) => self.take_list(list, arrival),
            Answer::NotModified => match self.accepted.clone() {
                Some(accepted) => (self.confirm(accepted, arrival), false),
                None => (self.fail(Reason::FeedMalformed, "the API answers 304 to a request without condition"), false),
            },
            Answer::Failed { reason, detail, outcome } => {
                self.fail(reason, &detail);
                (outcome, false)
            }
        };
        self.last = Some(CompletedRequest::after(self.last.as_ref(), outcome, arrival.at, self.bounds));
        (self.anchor, self.passed, self.fraction) = (arrival.instant, Duration::ZERO, arrival.fraction);
        changed
    }

    fn take_list(&mut self, list: CachedList, arrival: &ResponseMetadata) -> (FetchOutcome, bool) {
        let Some(accepted) = self.accepted.clone() else {
            return self.accept_or_hold_back(list, arrival);
        };
        if let Some(outcome) = self.keep_newer(&accepted.allowlist, &list.allowlist, arrival) {
            return (outcome, false);
        }
        if accepted.digest == list.digest {
            return (self.confirm(list, arrival), false);
        }
        let held_back = self.held_back.as_ref().map(|held| &*held.allowlist);
        match shrink::judge(&accepted.allowlist, held_back, &list.allowlist) {
            Acceptance::Accept => self.accept_or_hold_back(list, arrival),
            Acceptance::HoldBack { lost, of } => {
                let message = format!(
                    "the newest list drops {lost} of {of} names, wildcards and networks: it is held back until the next \
                     fetch says the same; the list of {} stays in use",
                    moment(self.fetched_at)
                );
                let problem = Problem::new(ProblemKind::FeedShrank, "the list", None, &message);
                self.standing =
                    Standing { reason: Reason::FeedShrank, message, current: false, problems: vec![problem] };
                self.held_back = Some(list);
                (FetchOutcome::HeldBack, false)
            }
            Acceptance::Empty => {
                (self.fail(Reason::FeedMalformed, "the newest list holds nothing, where the last one was full"), false)
            }
        }
    }

    /// Accepts a list that nothing else speaks against, unless it opens so much more that it waits for a second opinion.
    fn accept_or_hold_back(&mut self, list: CachedList, arrival: &ResponseMetadata) -> (FetchOutcome, bool) {
        let in_use = self.accepted.as_ref().map(|held| &*held.allowlist);
        let held_back = self.held_back.as_ref().map(|held| &*held.allowlist);
        let Some(growth) = growth::judge(in_use, held_back, &list.allowlist) else {
            let is_confirmed = self.held_back.as_ref().is_some_and(|held| held.digest == list.digest);
            return (self.accept(list, if is_confirmed { 2 } else { 1 }, arrival), true);
        };
        let meanwhile = match in_use {
            None => "no policy is written from it before".to_owned(),
            Some(_) => format!("the list of {} stays in use", moment(self.fetched_at)),
        };
        let message = format!("{growth}: it is held back until the next fetch says the same; {meanwhile}");
        let problem = Problem::new(ProblemKind::Limit, "the list", None, &message);
        self.standing = Standing { reason: Reason::FeedGrew, message, current: false, problems: vec![problem] };
        self.held_back = Some(list);
        (FetchOutcome::HeldBack, false)
    }

    /// Keeps the list in use where the answer is an older one; `None` where its age does not stand in the way.
    fn keep_newer(
        &mut self,
        in_use: &Allowlist,
        answer: &Allowlist,
        arrival: &ResponseMetadata,
    ) -> Option<FetchOutcome> {
        if !arrival.from_api || self.from_elsewhere {
            return None;
        }
        let Recency::Keep { since, until } = older::judge(in_use, answer, self.older_since, arrival.at) else {
            return None;
        };
        self.older_since = Some(since);
        if self.held_back.is_some() {
            // A newer one waits for its confirmation, which this is not, nor a refusal.
            return Some(FetchOutcome::HeldBack);
        }
        let Standing { reason, current, message, .. } = usable_standing(in_use, arrival.at);
        let message = format!(
            "{message}; the newest answer is an older list, {}, as every one since {}: it takes nothing back, and is \
             followed if none newer has come by {}",
            answer.version.as_deref().unwrap_or_default(),
            moment(Some(since)),
            moment(Some(until)),
        );
        self.standing = Standing { reason, message, current, problems: Vec::new() };
        Some(FetchOutcome::Usable { valid_until: in_use.valid_until, changed: false })
    }

    fn accept(&mut self, list: CachedList, confirmations: u32, arrival: &ResponseMetadata) -> FetchOutcome {
        let valid_until = list.allowlist.valid_until;
        self.standing = usable_standing(&list.allowlist, arrival.at);
        self.previous = self.accepted.replace(list).filter(|_| confirmations < 2);
        self.confirmations = confirmations;
        self.held_back = None;
        (self.older_since, self.from_elsewhere) = (None, false);
        self.fetched_at = Some(arrival.at);
        self.rendered.clear();
        FetchOutcome::Usable { valid_until, changed: true }
    }

    fn confirm(&mut self, list: CachedList, arrival: &ResponseMetadata) -> FetchOutcome {
        let valid_until = list.allowlist.valid_until;
        self.standing = usable_standing(&list.allowlist, arrival.at);
        let same =
            self.previous.is_none() && self.accepted.as_ref().is_some_and(|held| held.allowlist == list.allowlist);
        if !same {
            self.rendered.clear();
        }
        self.accepted = Some(list);
        self.previous = None;
        self.confirmations = self.confirmations.saturating_add(1);
        self.held_back = None;
        (self.older_since, self.from_elsewhere) = (None, false);
        self.fetched_at = Some(arrival.at);
        FetchOutcome::Usable { valid_until, changed: false }
    }

    fn fail(&mut self, reason: Reason, detail: &str) -> FetchOutcome {
        let held = match &self.accepted {
            None => "; there is no earlier list, so no policy is written".to_owned(),
            Some(_) => format!("; the list of {} stays in use", moment(self.fetched_at)),
        };
        let message = format!("{detail}{held}");
        self.standing = Standing { reason, message, current: false, problems: Vec::new() };
        FetchOutcome::Failed
    }

    /// When the last request completed, or the entry came about.
    pub(super) const fn anchor(&self) -> Instant {
        self.anchor
    }

    /// When the next request is due.
    pub(super) fn due(&self, floor: Duration, now: Instant, wall: Timestamp) -> Instant {
        let due = match &self.last {
            None => self.anchor,
            Some(last) => {
                let wait = last.delay(self.bounds).jittered(self.fraction);
                // The monotonic clock stands still while a machine sleeps; the wall clock may be set. Whichever comes
                // first counts, but the wall clock never for more than one request in the operator's shortest time.
                let by_wall = last.at.saturating_add(wait).unwrap_or(Timestamp::MAX) <= wall
                    && now.saturating_duration_since(self.anchor) >= floor.min(wait);
                if by_wall { now } else { self.anchor + wait.saturating_sub(self.passed) }
            }
        };
        // What may have ended the process is not hurried.
        let is_interrupted = self.last.is_some_and(|last| last.outcome == FetchOutcome::Interrupted);
        self.urgent.filter(|_| !is_interrupted).map_or(due, |urgent| due.min(urgent))
    }

    /// About when the next request is, without jitter.
    pub(super) fn next_fetch(&self) -> Option<Timestamp> {
        match &self.last {
            None => self.estimate,
            Some(last) => Some(last.at.saturating_add(last.delay(self.bounds).planned).unwrap_or(Timestamp::MAX)),
        }
    }

    /// Whether the API refused the last request.
    pub(super) fn is_rejected(&self) -> bool {
        self.last.is_some_and(|last| last.outcome == FetchOutcome::Rejected)
    }

    /// Asks before its time, by `moment` at the latest.
    pub(super) fn ask_by(&mut self, moment: Instant) {
        self.urgent = Some(self.urgent.map_or(moment, |urgent| urgent.min(moment)));
    }

    /// The conditions under which the server may answer 304. None while a list is held back, or older ones are answered:
    /// these have to come again. None either once a list is past the `validUntil` that stands in it, which 304 would
    /// leave as it is for ever: a server need not take a new one for a change.
    pub(super) fn validators(&self, now: Timestamp) -> Validators {
        let Some(held) = &self.accepted else { return Validators::default() };
        let has_to_come = self.held_back.is_some() || self.older_since.is_some() || self.from_elsewhere;
        let says_until = held.allowlist.valid_until.filter(|_| held.allowlist.form.states_expiry());
        if has_to_come || says_until.is_some_and(|until| until <= now) {
            return Validators::default();
        }
        held.validators.clone()
    }
}

fn usable_standing(list: &Allowlist, at: Timestamp) -> Standing {
    let version = list.version.as_deref().unwrap_or("without a version");
    let (reason, current, message) = match list.valid_until {
        Some(until) if until <= at => (
            Reason::FeedExpired,
            false,
            format!("the list {version} is the newest there is, but past its validity ({until}); it stays in use"),
        ),
        Some(until) => (Reason::Fetched, true, format!("the list {version} is in use, valid until {until}")),
        None => (Reason::Fetched, true, format!("the list {version} is in use; it does not say until when")),
    };
    Standing { reason, message, current, problems: Vec::new() }
}

fn moment(at: Option<Timestamp>) -> String {
    // To the second, as status writes times.
    at.and_then(|at| Timestamp::from_second(at.as_second()).ok())
        .map_or_else(|| "an earlier time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
