//! Leadership on a real API server: hand-over, theft, and an API server that is gone for a while.

use citrix_allowlist::clock::Clock;
use citrix_allowlist::cluster::lease::election::Timing;
use citrix_allowlist::cluster::lease::{self, Leadership, LeaseSettings};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::time::{Duration, Instant};
use test_support::ControlPlane;
use test_support::control_plane::Component;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NAME: &str = "citrix-allowlist-operator";

struct Candidate {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    fn start(client: &kube::Client, namespace: &str, pod: &str, timing: Timing) -> Self {
        let settings = LeaseSettings { namespace: namespace.to_owned(), identity: lease::identity(pod), timing };
        let stop = CancellationToken::new();
        let (leadership, task) = lease::start(client.clone(), Clock::System, settings, stop.clone());
        Self { leadership, stop, task }
    }

    /// Waits until it leads, or does not, and says how long that took.
    async fn becomes(&self, leading: bool, limit: Duration) -> Duration {
        let started = Instant::now();
        let mut receiver = self.leadership.receiver();
        tokio::time::timeout(limit, receiver.wait_for(|now| *now == leading))
            .await
            .unwrap_or_else(|_| panic!("leading={leading} did not come within {limit:?}"))
            .expect("the election runs");
        assert_eq!(self.leadership.is_leading(), leading);
        started.elapsed()
    }
}

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// What comes sooner has waited neither for a lease of 15 s to run out nor for its renewal, which is after 5 s.
const AT_ONCE: Duration = Duration::from_secs(4);

/// A sixth of the defaults, so that a test takes seconds: lease 3 s, renewal after 1 s, fence 2 s.
fn quick() -> Timing {
    Timing::of(Duration::from_secs(3))
}

async fn lease(client: &kube::Client, namespace: &str) -> Lease {
    Api::<Lease>::namespaced(client.clone(), namespace).get(NAME).await.expect("the Lease")
}

#[tokio::test(flavor = "multi_thread")]
async fn release_hands_over_at_once_and_theft_is_noticed() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let client = control_plane.client().await.expect("a client");
    let namespace = control_plane.fresh_namespace("lease").await.expect("a namespace");
    let second = Duration::from_secs(1);

    // With the defaults: nothing below may wait for a lease of 15 s to run out.
    let first = Candidate::start(&client, &namespace, "first", Timing::default());
    first.becomes(true, PATIENCE).await;
    let successor = Candidate::start(&client, &namespace, "successor", Timing::default());
    tokio::time::sleep(second).await;
    assert!(first.leadership.is_leading() && !successor.leadership.is_leading());

    first.stop.cancel();
    let took = successor.becomes(true, PATIENCE).await;
    println!("hand-over on release: {took:?}");
    assert!(took < AT_ONCE, "hand-over took {took:?}");
    assert!(!first.leadership.is_leading());
    first.task.await.expect("ends");
    let spec = lease(&client, &namespace).await.spec.expect("a spec");
    assert!(spec.holder_identity.is_some_and(|holder| holder.starts_with("successor_")));
    assert_eq!(spec.lease_duration_seconds, Some(15));

    // Somebody else writes the Lease without asking.
    let api = Api::<Lease>::namespaced(client.clone(), &namespace);
    let theft = json!({ "spec": { "holderIdentity": "thief" } });
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(theft)).await.expect("stolen");
    let took = successor.becomes(false, PATIENCE).await;
    println!("theft noticed after {took:?}");
    assert!(took < AT_ONCE, "theft was noticed after {took:?}");
    assert_eq!(successor.leadership.time_left(), Duration::ZERO);

    // And deletes it: the next one takes it.
    api.delete(NAME, &DeleteParams::default()).await.expect("deleted");
    successor.becomes(true, PATIENCE).await;
    successor.stop.cancel();
    successor.task.await.expect("ends");
    let spec = lease(&client, &namespace).await.spec.expect("a spec");
    assert_eq!((spec.holder_identity, spec.lease_duration_seconds), (None, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_dies_is_followed_when_its_lease_has_run_out() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let client = control_plane.client().await.expect("a client");
    let namespace = control_plane.fresh_namespace("lease").await.expect("a namespace");
    let first = Candidate::start(&client, &namespace, "first", quick());
    first.becomes(true, PATIENCE).await;
    let successor = Candidate::start(&client, &namespace, "successor", quick());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    first.task.abort();
    let died = Instant::now();
    while first.leadership.is_leading() {
        assert!(!successor.leadership.is_leading());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(died.elapsed() < Duration::from_secs(3), "the fence holds without the task that tends it");
    successor.becomes(true, PATIENCE).await;
    assert!(died.elapsed() >= Duration::from_millis(1_900), "not before the lease had run out");
    let spec = lease(&client, &namespace).await.spec.expect("a spec");
    assert_eq!(spec.lease_transitions, Some(1));
    successor.stop.cancel();
    successor.task.await.expect("ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_api_server_ends_leading_in_time_and_nothing_else() {
    let mut control_plane =
        ControlPlane::builder().without_controller_manager().start().await.expect("a control plane of its own");
    let client = control_plane.client().await.expect("a client");
    let first = Candidate::start(&client, "default", "first", quick());
    first.becomes(true, PATIENCE).await;
    let second = Candidate::start(&client, "default", "second", quick());
    tokio::time::sleep(Duration::from_millis(500)).await;

    // Frozen: connections stay open and nothing is answered. Then gone: connections are refused.
    control_plane.freeze(Component::ApiServer).expect("frozen");
    let took = first.becomes(false, PATIENCE).await;
    println!("fenced {took:?} after the API server froze, with a lease of 3 s");
    assert!(took < Duration::from_secs(3), "fenced after {took:?}");
    assert!(!second.leadership.is_leading());
    control_plane.thaw(Component::ApiServer).expect("thawed");
    control_plane.kill(Component::ApiServer).expect("killed");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!first.leadership.is_leading() && !second.leadership.is_leading());
    assert!(!first.task.is_finished() && !second.task.is_finished());

    control_plane.start_again(Component::ApiServer).await.expect("back");
    let both = async {
        tokio::select! {
            _ = first.becomes(true, PATIENCE) => (&first, &second),
            _ = second.becomes(true, PATIENCE) => (&second, &first),
        }
    };
    let (leader, standby) = both.await;
    for _ in 0..30 {
        assert!(leader.leadership.is_leading() && !standby.leadership.is_leading());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for candidate in [&first, &second] {
        candidate.stop.cancel();
    }
    for candidate in [first, second] {
        candidate.task.await.expect("ends");
    }
}
