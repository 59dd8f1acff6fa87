//! Leadership by a Lease: one replica writes, the others keep their caches warm.
//!
//! [`election`] decides and this file acts. It watches the Lease, writes it by compare-and-swap (`replace` with the
//! resourceVersion of the decision), and shows the fence to every writer.

pub mod election;

use super::client::{CallError, deadline};
use super::watch_pauses::jittered;
use crate::clock::Clock;
use crate::crd::FIELD_MANAGER;
use crate::lock::lock;
use election::{Election, ElectionStep, Record, Timing};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::watch_object;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long each of the two attempts to release the Lease may take at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The Lease and its candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The Lease's namespace: the operator's own (`POD_NAMESPACE`).
    pub namespace: String,
    /// This process: see [`identity`].
    pub identity: String,
    /// The intervals.
    pub timing: Timing,
}

/// The name of the Lease of all replicas.
pub const NAME: &str = "citrix-allowlist-operator";

/// The pod of an [`identity`]; `None` for one of another program.
#[must_use]
pub fn pod_of(identity: &str) -> Option<&str> {
    identity.rsplit_once('_').map(|(pod, _)| pod).filter(|pod| !pod.is_empty())
}

/// An identity that no other process has, nor this one after a restart: the pod's name and a random part.
#[must_use]
pub fn identity(pod: &str) -> String {
    format!("{pod}_{}", uuid::Uuid::new_v4())
}

/// Whether this process may write, checked at every write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writes: Mutex<MayWrite>,
    leading: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MayWrite {
    Always,
    Until(Instant),
    Never,
}

fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Leadership {
    fn new(writes: MayWrite) -> Self {
        let (leading, _) = watch::channel(writes == MayWrite::Always);
        Self { shared: Arc::new(Shared { writes: Mutex::new(writes), leading }) }
    }

    /// Leadership without an election: the only replica there is (`--no-leader-election`).
    #[must_use]
    pub fn always() -> Self {
        Self::new(MayWrite::Always)
    }

    /// Leadership that nobody renews and that ends after `lasting`, and of whose end nobody tells.
    #[cfg(test)]
    pub(crate) fn until(lasting: Duration) -> Self {
        let leadership = Self::new(MayWrite::Never);
        leadership.publish(Some(monotonic() + lasting));
        leadership
    }

    /// How long writes may still be sent: until the fence, a third of the lease before a successor may start. Zero for a standby.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        match *lock(&self.shared.writes) {
            MayWrite::Always => Duration::MAX,
            MayWrite::Until(fence) => fence.saturating_duration_since(monotonic()),
            MayWrite::Never => Duration::ZERO,
        }
    }

    /// The time limit of a write that may take `longest`; `None` for a standby. A leader's write never is in flight when another
    /// may lead.
    #[must_use]
    pub fn limit(&self, longest: Duration) -> Option<Duration> {
        Some(longest.min(self.time_left())).filter(|limit| !limit.is_zero())
    }

    /// Whether this process leads at this moment: the fence is checked now, whatever the renewing task does.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        !self.time_left().is_zero()
    }

    /// Follows gains and losses of leadership. A process that was stopped and continued learns of its loss here a
    /// moment later than from [`Self::is_leading`].
    #[must_use]
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.shared.leading.subscribe()
    }

    fn publish(&self, fence: Option<Instant>) {
        *lock(&self.shared.writes) = fence.map_or(MayWrite::Never, MayWrite::Until);
        self.shared.leading.send_if_modified(|leading| std::mem::replace(leading, fence.is_some()) != fence.is_some());
    }
}

/// Takes part in the election until `stop`, then releases the Lease so that a successor starts at once. Cancel `stop` only
/// after the last write; the task ends within five seconds of it, usually within milliseconds.
#[must_use]
pub fn start(
    client: kube::Client,
    clock: Clock,
    settings: LeaseSettings,
    stop: CancellationToken,
) -> (Leadership, JoinHandle<()>) {
    let leadership = Leadership::new(MayWrite::Never);
    let candidate = Candidate {
        api: Api::namespaced(client, &settings.namespace),
        clock,
        election: Election::new(settings.identity.clone(), settings.timing, fastrand::f64()),
        settings,
        lease: None,
        leadership: leadership.clone(),
        complaint: String::new(),
    };
    (leadership, tokio::spawn(candidate.run(stop)))
}

/// Restarts a broken watch at an even pace: kube's own pauses of up to 30 s are longer than a lease.
struct Steady(Duration);

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(jittered(self.0))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

struct Candidate {
    api: Api<Lease>,
    /// What it writes for people to read; the election itself runs on monotonic time.
    clock: Clock,
    settings: LeaseSettings,
    election: Election,
    /// The Lease as the election knows it: the next write replaces it.
    lease: Option<Lease>,
    leadership: Leadership,
    /// The last logged failure, so that an outage is logged once.
    complaint: String,
}

impl Candidate {
    async fn run(mut self, stop: CancellationToken) {
        let retry = Steady(self.settings.timing.retry / 2);
        let mut events = std::pin::pin!(watch_object(self.api.clone(), NAME).backoff(retry));
        while !stop.is_cancelled() {
            match self.election.decide(monotonic()) {
                ElectionStep::Wait(until) => tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep_until(until.into()) => {}
                    Some(event) = events.next() => match event {
                        Ok(lease) => self.watched(lease),
                        Err(error) => tracing::debug!(%error, "the Lease cannot be watched for now"),
                    },
                },
                ElectionStep::Look => self.look().await,
                ElectionStep::Acquire | ElectionStep::Renew => self.write().await,
                ElectionStep::Lost => {
                    self.election.stopped();
                    self.leadership.publish(None);
                    tracing::warn!(lease = NAME, "no longer leading");
                }
            }
        }
        let led = self.election.fence().is_some();
        self.leadership.publish(None);
        if led {
            self.release().await;
        }
    }

    fn watched(&mut self, lease: Option<Lease>) {
        self.election.watched(lease.as_ref().map(record_of), monotonic());
        // A leader's next write replaces its own last one, even if the watch lags behind.
        if self.election.fence().is_none() {
            self.lease = lease;
        }
    }

    async fn look(&mut self) {
        match deadline(self.call_limit(), self.api.get_opt(NAME)).await {
            Ok(lease) => {
                self.election.read(lease.as_ref().map(record_of), monotonic());
                self.lease = lease;
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn write(&mut self) {
        let (transitions, ours) = self.election.transitions();
        let now = self.clock.now();
        let acquired = self.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.acquire_time.clone());
        let spec = LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.settings.timing.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: acquired.filter(|_| ours).or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if ours || self.lease.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        };
        let sent = monotonic();
        match self.store(spec, self.call_limit()).await {
            Ok(lease) => {
                let led = self.leadership.is_leading();
                self.election.written(record_of(&lease), sent);
                self.lease = Some(lease);
                self.leadership.publish(self.election.fence());
                self.complaint.clear();
                if !led {
                    tracing::info!(lease = NAME, identity = self.settings.identity, "leading");
                }
            }
            // It changed since it was read, or exists although none was seen, or is gone.
            Err(error) if matches!(error.code(), Some(409 | 404)) => self.election.outdated(),
            Err(error) => self.failed(&error),
        }
    }

    /// Replaces the last known Lease, or creates it. The API server refuses that unless it is the newest.
    async fn store(&self, spec: LeaseSpec, limit: Duration) -> Result<Lease, CallError> {
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match &self.lease {
            Some(known) => {
                let lease = Lease { spec: Some(spec), ..known.clone() };
                deadline(limit, self.api.replace(NAME, &parameters, &lease)).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                deadline(limit, self.api.create(&parameters, &Lease { metadata, spec: Some(spec) })).await
            }
        }
    }

    /// A leader's call ends at the fence at the latest, so that losing the Lease is published in time.
    fn call_limit(&self) -> Duration {
        let limit = self.settings.timing.call();
        self.election.fence().map_or(limit, |fence| limit.min(fence.saturating_duration_since(monotonic())))
    }

    fn failed(&mut self, error: &CallError) {
        self.election.failed(monotonic());
        let complaint = error.to_string();
        if complaint != self.complaint {
            tracing::warn!(lease = NAME, error = complaint, "the Lease cannot be read or written");
            self.complaint = complaint;
        }
    }

    async fn release(&mut self) {
        for _ in 0..2 {
            let Some(lease) = &self.lease else { return };
            let spec = LeaseSpec {
                holder_identity: None,
                // One second is the least valid value, and client-go's.
                lease_duration_seconds: Some(1),
                ..lease.spec.clone().unwrap_or_default()
            };
            match self.store(spec, RELEASE_TIMEOUT).await {
                Ok(_) => {
                    tracing::info!(lease = NAME, "released");
                    return;
                }
                // An earlier renewal may have arrived without its answer: read, and try once more if it is ours.
                Err(error) if error.code() == Some(409) => {
                    let read = deadline(RELEASE_TIMEOUT, self.api.get_opt(NAME)).await;
                    let ours = |lease: &Lease| record_of(lease).holder == self.settings.identity;
                    self.lease = read.ok().flatten().filter(ours);
                }
                Err(error) => {
                    tracing::warn!(lease = NAME, %error, "the Lease was not released; it runs out");
                    return;
                }
            }
        }
    }
}

fn record_of(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_election_one_always_leads() {
        let leadership = Leadership::always();
        assert!(leadership.is_leading() && *leadership.receiver().borrow());
        assert_eq!(leadership.time_left(), Duration::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn leading_ends_at_the_fence_without_the_renewing_task() {
        let leadership = Leadership::new(MayWrite::Never);
        assert!(!leadership.is_leading());
        leadership.publish(Some(monotonic() + Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!((leadership.is_leading(), leadership.time_left()), (true, Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!leadership.is_leading());
        let mut receiver = leadership.receiver();
        leadership.publish(None);
        assert!(receiver.has_changed().expect("open") && !*receiver.borrow_and_update());
    }

    #[test]
    fn a_released_or_foreign_lease_reads_as_such() {
        assert_eq!(record_of(&Lease::default()), Record::default());
        let spec = LeaseSpec {
            holder_identity: Some("other".to_owned()),
            lease_duration_seconds: Some(-3),
            lease_transitions: Some(7),
            ..LeaseSpec::default()
        };
        let expected = Record { holder: "other".to_owned(), transitions: 7, ..Record::default() };
        assert_eq!(record_of(&Lease { spec: Some(spec), ..Lease::default() }), expected);
    }

    #[test]
    fn identities_differ_even_for_one_pod() {
        assert_ne!(identity("operator-0"), identity("operator-0"));
        assert_eq!(pod_of(&identity("operator-0")), Some("operator-0"));
        assert_eq!((pod_of("kitsune"), pod_of("_x")), (None, None));
    }
}
