//! The state under one key, and how an answer changes it. Pure.

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

/// A 304 with nothing to which it could refer.
pub(super) const UNASKED_304: &str = "the API answers 304 to a request without condition";

/// A list with its document.
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

/// The outcome of a request, read without any earlier state.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    List(CachedList),
    NotModified,
    /// No list: why, and the outcome for the schedule.
    Failed {
        reason: Reason,
        detail: String,
        outcome: FetchOutcome,
    },
}

impl Answer {
    /// A failure that may pass by itself.
    pub(super) fn failed(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Failed { reason, detail: detail.into(), outcome: FetchOutcome::Failed }
    }
}

/// The source of an answer.
#[derive(Clone, Debug)]
pub(super) struct ResponseMetadata {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
    pub(super) transaction_id: Option<String>,
    pub(super) fraction: f64,
    /// Whether it comes from the API, whose edges may differ, and not from a file of the administrator's.
    pub(super) from_api: bool,
}

/// The condition `FeedCurrent` after the last completed request.
#[derive(Clone, Debug)]
pub(super) struct FeedCondition {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) current: bool,
    pub(super) problems: Vec<Problem>,
}

/// The state under one key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) subscribers: BTreeSet<ResourceRef>,
    /// Bounds on its intervals: the shortest of all its resources.
    pub(super) bounds: IntervalBounds,
    /// Scheme, host and port of its requests.
    pub(super) host: String,
    /// The list in use.
    pub(super) accepted: Option<CachedList>,
    /// The one before it, until the one in use is confirmed.
    pub(super) previous: Option<CachedList>,
    /// One that is held back until the next fetch.
    pub(super) held_back: Option<CachedList>,
    /// Since when every answer has been older than the list in use.
    pub(super) older_since: Option<Timestamp>,
    /// Whether the list in use is from another address than now: any answer of the new address replaces it.
    pub(super) from_elsewhere: bool,
    pub(super) confirmations: u32,
    pub(super) fetched_at: Option<Timestamp>,
    pub(super) transaction_id: Option<String>,
    pub(super) condition: FeedCondition,
    pub(super) last: Option<CompletedRequest>,
    /// The start of the schedule, when the last request completed or the entry was created, and how much of its time had passed
    /// by then.
    pub(super) anchor: Instant,
    passed: Duration,
    fraction: f64,
    /// Since when a request is wanted before its time.
    pub(super) urgent: Option<Instant>,
    /// About when the first fetch is, for an entry that has had none.
    pub(super) estimate: Option<Timestamp>,
    pub(super) in_flight: bool,
    /// When the request in flight was begun.
    pub(super) begun: Option<Timestamp>,
    /// How many requests in a row were begun by processes that ended before they completed.
    pub(super) interrupted: u32,
    /// The address to which the host redirects, and how many times it has done so in a row.
    pub(super) redirect: Option<(String, u32)>,
    /// Lists of single customers, if one document serves them all.
    pub(super) rendered: BTreeMap<Arc<str>, Rendered>,
    pub(super) unneeded_since: Option<Instant>,
}

/// A shared document for one customer's id.
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
            condition: FeedCondition {
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
            redirect: None,
            rendered: BTreeMap::new(),
            unneeded_since: Some(now),
        }
    }

    /// Takes an answer in. Returns whether the content of the list in use changed.
    pub(super) fn take(&mut self, answer: Answer, arrival: &ResponseMetadata) -> bool {
        self.transaction_id.clone_from(&arrival.transaction_id);
        self.urgent = None;
        self.redirect = None;
        (self.begun, self.interrupted) = (None, 0);
        let (outcome, changed) = match answer {
            Answer::List(list) => self.take_list(list, arrival),
            Answer::NotModified => match self.accepted.clone() {
                Some(accepted) => (self.confirm(accepted, arrival), false),
                None => (self.fail(Reason::FeedMalformed, UNASKED_304), false),
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
            if list.allowlist.entries.is_empty() {
                // There is no earlier list that would show what is missing: it is asked for again soon, not when it expires.
                return (self.fail(Reason::FeedMalformed, "the list holds nothing"), false);
            }
            return self.accept_or_hold_back(list, arrival);
        };
        if let Some(outcome) = self.keep_newer(&accepted.allowlist, &list.allowlist, arrival) {
            return (outcome, false);
        }
        if accepted.digest == list.digest {
            return (self.confirm(list, arrival), false);
        }
        match shrink::judge(&accepted.allowlist, self.waiting_list(), &list.allowlist) {
            Acceptance::Accept => self.accept_or_hold_back(list, arrival),
            Acceptance::HoldBack { lost, of } => {
                let why = format!("the newest list drops {lost} of {of} names, wildcards and networks");
                self.hold_back(list, Reason::FeedShrank, ProblemKind::FeedShrank, &why)
            }
            Acceptance::Empty => {
                (self.fail(Reason::FeedMalformed, "the newest list holds nothing, where the last one was full"), false)
            }
        }
    }

    fn waiting_list(&self) -> Option<&Allowlist> {
        self.held_back.as_ref().map(|list| &*list.allowlist)
    }

    /// Accepts a list without other objections, unless it opens so much more that it waits for a second fetch.
    fn accept_or_hold_back(&mut self, list: CachedList, arrival: &ResponseMetadata) -> (FetchOutcome, bool) {
        let in_use = self.accepted.as_ref().map(|list| &*list.allowlist);
        let Some(growth) = growth::judge(in_use, self.waiting_list(), &list.allowlist) else {
            let is_confirmed = self.held_back.as_ref().is_some_and(|waiting| waiting.digest == list.digest);
            return (self.accept(list, if is_confirmed { 2 } else { 1 }, arrival), true);
        };
        self.hold_back(list, Reason::FeedGrew, ProblemKind::Limit, &growth.to_string())
    }

    /// Holds a list back until the next fetch.
    fn hold_back(&mut self, list: CachedList, reason: Reason, kind: ProblemKind, why: &str) -> (FetchOutcome, bool) {
        let meanwhile = self.stays().unwrap_or_else(|| "no policy is written from it before".to_owned());
        let message = format!("{why}: it is held back until the next fetch says the same; {meanwhile}");
        let problem = Problem::new(kind, "the list", None, &message);
        self.condition = FeedCondition { reason, message, current: false, problems: vec![problem] };
        self.held_back = Some(list);
        (FetchOutcome::HeldBack, false)
    }

    /// That the list in use stays, where there is one.
    fn stays(&self) -> Option<String> {
        self.accepted.as_ref().map(|_| format!("the list of {} stays in use", moment(self.fetched_at)))
    }

    /// Keeps the list in use if the answer is an older one; `None` if its age does not matter.
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
            // A newer list waits for its confirmation; this answer neither confirms nor refuses it.
            return Some(FetchOutcome::HeldBack);
        }
        let FeedCondition { reason, current, message, .. } = usable_condition(in_use, arrival.at);
        let message = format!(
            "{message}; the newest answer is an older list, {}, as every one since {}: it takes nothing back, and is \
             followed if none newer has come by {}",
            answer.version.as_deref().unwrap_or_default(),
            moment(Some(since)),
            moment(Some(until)),
        );
        self.condition = FeedCondition { reason, message, current, problems: Vec::new() };
        Some(FetchOutcome::Usable { valid_until: in_use.valid_until, changed: false })
    }

    fn accept(&mut self, list: CachedList, confirmations: u32, arrival: &ResponseMetadata) -> FetchOutcome {
        self.previous = self.accepted.take().filter(|_| confirmations < 2);
        self.rendered.clear();
        self.use_list(list, confirmations, true, arrival)
    }

    fn confirm(&mut self, list: CachedList, arrival: &ResponseMetadata) -> FetchOutcome {
        let is_same = |accepted: &CachedList| accepted.allowlist == list.allowlist;
        if self.previous.take().is_some() || !self.accepted.as_ref().is_some_and(is_same) {
            self.rendered.clear();
        }
        self.use_list(list, self.confirmations.saturating_add(1), false, arrival)
    }

    fn use_list(
        &mut self,
        list: CachedList,
        confirmations: u32,
        changed: bool,
        arrival: &ResponseMetadata,
    ) -> FetchOutcome {
        let valid_until = list.allowlist.valid_until;
        self.condition = usable_condition(&list.allowlist, arrival.at);
        self.accepted = Some(list);
        self.confirmations = confirmations;
        self.held_back = None;
        (self.older_since, self.from_elsewhere) = (None, false);
        self.fetched_at = Some(arrival.at);
        FetchOutcome::Usable { valid_until, changed }
    }

    fn fail(&mut self, reason: Reason, detail: &str) -> FetchOutcome {
        let in_use = self.stays().unwrap_or_else(|| "there is no earlier list, so no policy is written".to_owned());
        let message = format!("{detail}; {in_use}");
        self.condition = FeedCondition { reason, message, current: false, problems: Vec::new() };
        FetchOutcome::Failed
    }

    /// When the next request is due.
    pub(super) fn due(&self, floor: Duration, now: Instant, wall: Timestamp) -> Instant {
        let due = match &self.last {
            None => self.anchor,
            Some(last) => {
                let wait = last.delay(self.bounds).jittered(self.fraction);
                // The monotonic clock stops while a machine sleeps, and the wall clock may be set. The first of them counts, but
                // the wall clock allows only one request in the operator's shortest time.
                let by_wall = last.at.saturating_add(wait).unwrap_or(Timestamp::MAX) <= wall
                    && now.saturating_duration_since(self.anchor) >= floor.min(wait);
                if by_wall { now } else { self.anchor + wait.saturating_sub(self.passed) }
            }
        };
        // A fetch that may have ended the process is not hurried.
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

    /// Requests the list before its time, by `moment` at the latest.
    pub(super) fn request_by(&mut self, moment: Instant) {
        self.urgent = Some(self.urgent.map_or(moment, |urgent| urgent.min(moment)));
    }

    /// The conditions under which the server may answer 304. None while a list is held back, or answers are older: these have to
    /// come again. None either once a list is past its own `validUntil`, which 304 would leave for ever: a server need not
    /// take a new one for a change.
    pub(super) fn validators(&self, now: Timestamp) -> Validators {
        let Some(accepted) = &self.accepted else { return Validators::default() };
        let has_to_come = self.held_back.is_some() || self.older_since.is_some() || self.from_elsewhere;
        let states_until = accepted.allowlist.valid_until.filter(|_| accepted.allowlist.form.states_expiry());
        if has_to_come || states_until.is_some_and(|until| until <= now) {
            return Validators::default();
        }
        accepted.validators.clone()
    }
}

fn usable_condition(list: &Allowlist, at: Timestamp) -> FeedCondition {
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
    FeedCondition { reason, message, current, problems: Vec::new() }
}

fn moment(at: Option<Timestamp>) -> String {
    // To the second, like times in status.
    let seconds = at.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    seconds.map_or_else(|| "an earlier time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
