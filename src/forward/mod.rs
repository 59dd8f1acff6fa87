//! The forwarder: the cluster's DNS forwards the zones of the lists in use to it. It asks an upstream, learns names that pods ask for
//! under wildcards, and gives out addresses only once policies allow them.
//!
//! Resolution never breaks because of it: what cannot be applied in time goes out as it came, and is counted.
//!
//! It is no `hickory-server`: that one answers the questions of a connection one after another, so that a held answer would hold all
//! behind it; it has no bound on open questions; and it writes each reply itself, while most have to pass as they came.

mod exchange;
mod listen;
mod own;
mod probe;
mod question;
pub mod reply;
mod upstream;

pub use exchange::{Exchange, ExchangeError, QuestionTransport, SocketExchange};
pub use listen::Listener;
pub use own::{NotedFetch, OpenRequest, OwnHosts};
pub use probe::Prober;
pub use question::ForwardedQuestion;
pub use upstream::Upstream;

use crate::clock::Clock;
use crate::names::{AddressState, Asker, Interest, Names};
use connectivity_allowlist::net::DomainName;
use futures::future::BoxFuture;
use hickory_proto::op::{Message, ResponseCode};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a question may be held in all, its upstream included: CoreDNS turns to its next upstream after two seconds.
pub const LONGEST_HOLD: Duration = Duration::from_millis(1500);

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarded {
    /// As the upstream answered: no resource wants the name, it has no addresses, or all of them are in force.
    Passed,
    /// By a replica that does not lead, or does not know yet what resources want, as the upstream answered.
    Standby,
    /// With those addresses that are in force; the others are being applied.
    Cut,
    /// After a wait, with addresses that are in force by now.
    Waited,
    /// As the upstream answered, while the operator itself talks to that host: neither held nor learned.
    Own,
    /// As the upstream answered, since its addresses were not in force in time.
    Early,
    /// As the upstream answered, since policies will not allow its addresses.
    Barred,
    /// The upstream did not answer.
    Failed,
    /// The upstream leads back here: it got no answer, so that the cluster's DNS asks its next server.
    Looping,
    /// The operator's own question, by which it finds out whether a zone is forwarded here.
    Probe,
    /// It is in no zone that is served, or no question.
    Refused,
    /// Too many questions are open: it got no answer.
    Dropped,
}

impl Forwarded {
    /// Each.
    pub const ALL: [Self; 12] = [
        Self::Passed,
        Self::Standby,
        Self::Cut,
        Self::Waited,
        Self::Own,
        Self::Early,
        Self::Barred,
        Self::Failed,
        Self::Looping,
        Self::Probe,
        Self::Refused,
        Self::Dropped,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Standby => "standby",
            Self::Cut => "cut",
            Self::Waited => "waited",
            Self::Own => "own",
            Self::Early => "early",
            Self::Barred => "barred",
            Self::Failed => "failed",
            Self::Looping => "looping",
            Self::Probe => "probe",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts events. Every method may stay as it is.
pub trait ForwardObserver: Send + Sync {
    /// A question was answered, after `held` beyond what the upstream took.
    fn forwarded(&self, _name: Option<&DomainName>, _how: Forwarded, _held: Duration) {}

    /// The upstream took so long.
    fn upstream_took(&self, _time: Duration) {}

    /// Resources learned a name.
    fn learned(&self, _name: &DomainName, _resources: usize) {}
}

impl ForwardObserver for () {}

/// Answers questions.
#[derive(Clone)]
pub struct Forwarder(Arc<ForwarderParts>);

/// What a forwarder is made of.
pub struct ForwarderParts {
    /// What is known of names.
    pub names: Names,
    /// The servers that it asks.
    pub upstream: Upstream,
    /// How long the data plane takes to follow a confirmed policy.
    pub settle: Duration,
    /// Whether this replica leads.
    pub leads: Leads,
    /// Finds out who asked.
    pub askers: FindAsker,
    /// The time.
    pub clock: Clock,
    /// The hosts that the operator itself talks to.
    pub own: OwnHosts,
    /// Who counts events.
    pub observer: Arc<dyn ForwardObserver>,
}

/// How many resources there are, where this replica leads.
pub type Leads = Box<dyn Fn() -> Option<usize> + Send + Sync>;

/// Who asked, by the address of the cluster's DNS server and by what that says of its client; `None` where it is not known.
pub type FindAsker = Box<dyn Fn(IpAddr, IpAddr) -> BoxFuture<'static, Option<Asker>> + Send + Sync>;

/// An answer, and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedAnswer {
    /// The reply; nothing if the message deserves none.
    pub reply: Option<Vec<u8>>,
    /// How it was made.
    pub how: Forwarded,
}

/// How an answer ended its wait.
enum Release {
    /// Every address is in force, at once or after a wait.
    All(Forwarded),
    /// Only these are.
    Some(BTreeSet<IpAddr>),
    /// None is, and no more time is left.
    Early,
    /// None ever will be.
    Barred,
}

impl Forwarder {
    /// One of these parts.
    #[must_use]
    pub fn new(parts: ForwarderParts) -> Self {
        Self(Arc::new(parts))
    }

    /// A question for which there is no room was left out.
    pub fn dropped(&self) {
        self.0.observer.forwarded(None, Forwarded::Dropped, Duration::ZERO);
    }

    /// The answer to a message `from` a server.
    pub async fn answer(&self, message: &[u8], from: IpAddr, transport: QuestionTransport) -> ForwardedAnswer {
        let began = self.0.clock.instant();
        let question = match ForwardedQuestion::read(message) {
            Ok(question) => question,
            Err(reply) => return self.answered(None, reply, Forwarded::Refused, Duration::ZERO),
        };
        let resources = (self.0.leads)();
        if let Some((label, zone)) = question.probe() {
            let (reply, how) = match self.0.names.probe_arrived(&label, &zone, resources) {
                true => (question.answer_with_text("citrix-allowlist"), Forwarded::Probe),
                false => (question.refuse(ResponseCode::Refused), Forwarded::Refused),
            };
            return self.answered(None, Some(reply), how, Duration::ZERO);
        }
        let interest = |name| self.0.names.interest(name, resources);
        let interest = question.name.as_ref().map_or(Interest::NotServed, interest);
        let (name, interest) = match (&question.name, interest) {
            (None, _) | (_, Interest::NotServed) => {
                let refused = question.refuse(ResponseCode::Refused);
                return self.answered(Some(&question), Some(refused), Forwarded::Refused, Duration::ZERO);
            }
            (_, Interest::Looping) => {
                return self.answered(Some(&question), None, Forwarded::Looping, Duration::ZERO);
            }
            (Some(name), interest) => (name, interest),
        };
        let Some((server, reply)) = self.0.upstream.ask(&question, transport).await else {
            // Of a server that is silent, CoreDNS turns to the next; a failure it would pass on.
            return self.answered(Some(&question), None, Forwarded::Failed, Duration::ZERO);
        };
        let asked = self.0.clock.instant();
        self.0.observer.upstream_took(asked.saturating_duration_since(began));
        let (reply, how) = match interest {
            Interest::Unknown => (question.answer_with(reply), Forwarded::Standby),
            Interest::Wanted if self.0.own.contains(name) => (question.answer_with(reply), Forwarded::Own),
            Interest::Wanted => self.give((&question, from), name, (server, reply), began).await,
            _ => (question.answer_with(reply), Forwarded::Passed),
        };
        let held = self.0.clock.instant().saturating_duration_since(asked);
        self.answered(Some(&question), Some(reply), how, held)
    }

    /// Counts an answer.
    fn answered(
        &self,
        question: Option<&ForwardedQuestion>,
        reply: Option<Vec<u8>>,
        how: Forwarded,
        held: Duration,
    ) -> ForwardedAnswer {
        self.0.observer.forwarded(question.and_then(|question| question.name.as_ref()), how, held);
        if let Some(question) = question {
            // Before the reply is sent: every answer that a client has is in the log, even of a process that was killed.
            let id = question.message.metadata.id;
            tracing::trace!(name = %question.spelled, kind = %question.kind, id, result = how.label(), ?held, "answered");
        }
        ForwardedAnswer { reply, how }
    }

    /// The upstream's reply about a wanted name, once what it holds is in force.
    async fn give(
        &self,
        (question, from): (&ForwardedQuestion, IpAddr),
        name: &DomainName,
        (server, bytes): (SocketAddr, Vec<u8>),
        began: Instant,
    ) -> (Vec<u8>, Forwarded) {
        let Ok(reply) = Message::from_vec(&bytes) else { return (question.answer_with(bytes), Forwarded::Passed) };
        if reply.metadata.truncation {
            // What is left of it may be used all the same: it is asked for again over TCP.
            let emptied = reply::emptied(reply).to_vec();
            return (question.answer_with(emptied.unwrap_or(bytes)), Forwarded::Passed);
        }
        let addresses = reply::addresses(&reply);
        let is_signed = reply::is_signed(question, &reply);
        let (reply, bytes) = match reply::has_additional_addresses(&reply) && !is_signed {
            true => {
                // Nobody knows whether these are in force: clients ask for them.
                let reply = reply::cut(reply, &addresses);
                let bytes = reply.to_vec().unwrap_or(bytes);
                (reply, bytes)
            }
            false => (reply, bytes),
        };
        if addresses.is_empty() {
            return (question.answer_with(bytes), Forwarded::Passed);
        }
        let asked_by = match question.client.filter(|_| self.0.names.is_new(name)) {
            Some(client) => {
                // Who asked matters less than the answer: it then counts for nobody.
                let left = LONGEST_HOLD.saturating_sub(self.0.clock.instant().saturating_duration_since(began));
                let asking = (self.0.askers)(from, client);
                tokio::time::timeout(left, asking).await.unwrap_or_else(|_| Some(Asker::default()))
            }
            None => None,
        };
        let heard = reply::heard(question, name, &reply, server);
        if !heard.is_empty() {
            let learned = self.0.names.hear(name, &heard, asked_by.as_ref());
            if learned > 0 {
                self.0.observer.learned(name, learned);
            }
        }
        let release = self.hold(name, &addresses, asked_by.as_ref(), is_signed, began).await;
        match release {
            Release::All(how) => (question.answer_with(bytes), how),
            Release::Early => (question.answer_with(bytes), Forwarded::Early),
            Release::Barred => (question.answer_with(bytes), Forwarded::Barred),
            Release::Some(given) => match reply::cut(reply, &given).to_vec() {
                Ok(cut) => (question.answer_with(cut), Forwarded::Cut),
                Err(error) => {
                    tracing::warn!(%name, %error, "an answer cannot be cut, and goes out as it came");
                    (question.answer_with(bytes), Forwarded::Early)
                }
            },
        }
    }

    /// Waits until an address is in force; until all are where the answer is signed, since nothing can be taken from it.
    async fn hold(
        &self,
        name: &DomainName,
        addresses: &BTreeSet<IpAddr>,
        asked_by: Option<&Asker>,
        is_signed: bool,
        began: Instant,
    ) -> Release {
        let all: Vec<IpAddr> = addresses.iter().copied().collect();
        let deadline = began + LONGEST_HOLD;
        let mut enforcements = self.0.names.enforcements();
        let mut how = Forwarded::Passed;
        loop {
            enforcements.borrow_and_update();
            let now = self.0.clock.instant();
            let address_states = self.0.names.address_states(name, &all, asked_by);
            let settled = |since: &Option<Instant>| since.is_none_or(|since| since + self.0.settle <= now);
            let is_ready = |state: &AddressState| matches!(state, AddressState::InForce(since) if settled(since));
            let pairs = || all.iter().zip(&address_states);
            let ready: BTreeSet<IpAddr> =
                pairs().filter(|(_, state)| is_ready(state)).map(|(address, _)| *address).collect();
            if ready.len() == all.len() {
                return Release::All(how);
            }
            if !ready.is_empty() && !is_signed {
                return Release::Some(ready);
            }
            let soon = address_states.iter().filter(|state| !is_ready(state)).filter_map(|state| match state {
                AddressState::InForce(since) => since.map(|since| since + self.0.settle),
                AddressState::Pending | AddressState::Never => None,
            });
            let (soon, is_pending) = (soon.min(), address_states.contains(&AddressState::Pending));
            if !is_pending && (soon.is_none() || (is_signed && address_states.contains(&AddressState::Never))) {
                return Release::Barred;
            }
            if now >= deadline {
                return Release::Early;
            }
            how = Forwarded::Waited;
            let wake = soon.map_or(deadline, |soon| soon.min(deadline));
            tokio::select! {
                changed = enforcements.changed() => if changed.is_err() { return Release::Early },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }
}
