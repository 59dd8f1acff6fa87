use super::*;
use crate::clock::Clock;
use crate::cluster::resources::ResourceStore;
use crate::crd::CitrixAllowlist;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// A moment: each is later than those before it.
type Moment = u64;

/// Work that only records when each resource was reconciled, and in which generation.
struct Recorder {
    store: Arc<ResourceStore>,
    owned: watch::Sender<bool>,
    moments: AtomicU64,
    reconciled: Mutex<HashMap<ResourceRef, (Moment, i64)>>,
    /// How many sessions began.
    sessions: AtomicU64,
    facts: Mutex<Arc<ClusterFacts>>,
    /// The facts each time that all resources were requested.
    known: Mutex<Vec<Arc<ClusterFacts>>>,
    panics: AtomicBool,
    /// Whether the lists are not what the cluster has, until somebody looks.
    is_behind: AtomicBool,
}

impl Recorder {
    fn now(&self) -> Moment {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::SeqCst)
    }
}

impl Work for Recorder {
    fn resources(&self) -> Vec<ResourceRef> {
        let facts = Arc::clone(&self.facts.lock().expect("a lock"));
        self.known.lock().expect("a lock").push(facts);
        self.store.all()
    }

    fn lists(&self) -> Vec<watch::Receiver<bool>> {
        vec![self.store.listed(), self.owned.subscribe()]
    }

    fn leads(&self, _leads: bool) {}

    async fn is_current(&self) -> bool {
        !self.is_behind.swap(false, Ordering::SeqCst)
    }

    async fn restore(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }

    fn begins(&self) {}

    fn changed(&self, _resource: &ResourceRef) {}

    async fn work(self: Arc<Self>, key: ResourceRef, dirty: DirtyFlag) -> Requeue {
        assert!(!self.panics.load(Ordering::SeqCst), "a defect outside what guards a reconcile");
        self.store.get(&key)?;
        // A worker waits for its permit, and then takes its time.
        tokio::time::sleep(Duration::from_millis(2)).await;
        dirty.mark_processing();
        let resource = self.store.get(&key)?;
        let read = (self.now(), resource.metadata.generation.unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.reconciled.lock().expect("a lock").insert(key, read);
        None
    }

    fn overdue(&self) -> Vec<ResourceRef> {
        Vec::new()
    }

    fn learn(&self, facts: Arc<ClusterFacts>) -> bool {
        *self.facts.lock().expect("a lock") = facts;
        true
    }

    fn forget(&self, key: &ResourceRef) {
        self.reconciled.lock().expect("a lock").remove(key);
    }

    fn start_over(&self) {
        self.owned.send_replace(false);
    }
}

/// The loop with everything that it listens to.
struct World {
    recorder: Arc<Recorder>,
    changes: UnboundedSender<Vec<ResourceChange>>,
    wake: UnboundedSender<ResourceRef>,
    facts: watch::Sender<Arc<ClusterFacts>>,
    facts_complete: watch::Sender<bool>,
    leading: watch::Sender<bool>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), QueueEnded>>,
    /// The moment of each resource after which it has to be reconciled.
    wanted: HashMap<ResourceRef, Moment>,
    generation: i64,
}

fn resource(number: u8) -> ResourceRef {
    ResourceRef::new("web", format!("r{number}"))
}

impl World {
    fn new() -> Self {
        let recorder = Arc::new(Recorder {
            store: Arc::default(),
            owned: watch::channel(false).0,
            moments: AtomicU64::new(1),
            reconciled: Mutex::default(),
            sessions: AtomicU64::new(0),
            facts: Mutex::default(),
            known: Mutex::default(),
            panics: AtomicBool::new(false),
            is_behind: AtomicBool::new(false),
        });
        let (changes, mut changed) = unbounded_channel();
        let (wake, woken) = unbounded_channel();
        let (facts, facts_receiver) = watch::channel(Arc::default());
        let (facts_complete, complete) = watch::channel(false);
        let (leading, leads) = watch::channel(false);
        let inputs = LoopInputs {
            changes: futures::stream::poll_fn(move |context| changed.poll_recv(context)),
            woken,
            facts: facts_receiver,
            leading: leads,
            facts_complete: complete,
            health: Health::new(Clock::System, Duration::from_secs(60), []),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(Arc::clone(&recorder), inputs, stop.clone()));
        let (wanted, generation) = (HashMap::new(), 0);
        Self { recorder, changes, wake, facts, facts_complete, leading, stop, running, wanted, generation }
    }

    fn want(&mut self, key: ResourceRef) {
        self.wanted.insert(key, self.recorder.now());
    }

    fn want_all(&mut self) {
        for key in self.recorder.store.all() {
            self.want(key);
        }
    }

    /// Completes the lists of resources and of owned objects.
    fn list(&self) {
        self.recorder.store.complete();
        self.recorder.owned.send_replace(true);
    }

    /// As the watch does: the store first, then the change.
    fn change(&mut self, number: u8) {
        self.generation += 1;
        let spec = serde_json::from_value(serde_json::json!({ "customerId": "kitsune" })).expect("a spec");
        let mut changed = CitrixAllowlist::new(&format!("r{number}"), spec);
        changed.metadata.namespace = Some("web".to_owned());
        changed.metadata.generation = Some(self.generation);
        let changes = self.recorder.store.insert(changed);
        self.want(resource(number));
        self.changes.send(changes).expect("the loop listens");
    }

    fn wake(&mut self, number: u8) {
        self.want(resource(number));
        self.wake.send(resource(number)).expect("the loop listens");
    }

    fn lead(&mut self, leads: bool) {
        let is_new = self.leading.send_if_modified(|leading| std::mem::replace(leading, leads) != leads);
        if is_new && leads {
            self.want_all();
        }
    }

    /// Ends the loop once everything is listed and this process leads. Returns the resources that were not reconciled since
    /// they had to be, with their last reconcile.
    async fn settle(mut self) -> Vec<(ResourceRef, Option<(Moment, i64)>)> {
        self.lead(true);
        self.facts_complete.send_replace(true);
        // The watch of owned objects lists again whenever a session ended.
        for _ in 0..5 {
            self.list();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.stop.cancel();
        assert_eq!(self.running.await.expect("the loop does not fail"), Ok(()));
        let reconciled = self.recorder.reconciled.lock().expect("a lock");
        let wanted = self.wanted.into_iter();
        let lost = wanted.filter_map(|(key, wanted)| {
            let generation = self.recorder.store.get(&key)?.metadata.generation?;
            let last = reconciled.get(&key).copied();
            (!last.is_some_and(|(at, seen)| at > wanted && seen == generation)).then_some((key, last))
        });
        let mut lost: Vec<_> = lost.collect();
        lost.sort();
        lost
    }
}

/// The facts were published, then their completeness. The loop sometimes saw the second first, and a restart wrote policies
/// for a cluster without Services and pods.
#[tokio::test(start_paused = true)]
async fn no_session_decides_on_incomplete_facts() {
    for _ in 0..64 {
        let mut world = World::new();
        world.change(1);
        world.lead(true);
        world.list();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let found = ClusterFacts { nat64_prefix: "64:ff9b::/96".parse().ok(), ..ClusterFacts::default() };
        world.facts.send_replace(Arc::new(found.clone()));
        world.facts_complete.send_replace(true);
        let recorder = Arc::clone(&world.recorder);
        assert_eq!(world.settle().await, []);
        let known = recorder.known.lock().expect("a lock");
        assert!(!known.is_empty() && known.iter().all(|known| **known == found), "{known:?}");
    }
}

/// An event before the first session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Leads,
    ResourceArrives,
    ResourcesListed,
    OwnedListed,
    FactsComplete,
}

#[tokio::test(start_paused = true)]
async fn resources_older_than_the_start_are_reconciled_in_any_order() {
    use Start::{FactsComplete, Leads, OwnedListed, ResourceArrives, ResourcesListed};
    let all = [Leads, ResourceArrives, ResourcesListed, OwnedListed, FactsComplete];
    let mut orders = 0;
    for code in 0..5_usize.pow(5) {
        let order: Vec<Start> = (0..5_u32).map(|place| all[code / 5_usize.pow(place) % 5]).collect();
        if all.iter().any(|event| !order.contains(event)) {
            continue;
        }
        for pause in [Duration::ZERO, Duration::from_millis(1)] {
            orders += 1;
            let mut world = World::new();
            for event in &order {
                let sessions = world.recorder.sessions();
                assert!(sessions == 0 || *event == ResourceArrives, "{order:?}: a session began before all was known");
                match event {
                    Leads => world.lead(true),
                    ResourceArrives => world.change(1),
                    ResourcesListed => world.recorder.store.complete(),
                    OwnedListed => drop(world.recorder.owned.send_replace(true)),
                    FactsComplete => drop(world.facts_complete.send_replace(true)),
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            assert_eq!(world.settle().await, [], "{order:?} with pauses of {pause:?}");
        }
    }
    assert_eq!(orders, 240);
}

#[tokio::test(start_paused = true)]
async fn regained_leadership_begins_a_new_session() {
    let mut world = World::new();
    world.lead(true);
    world.facts_complete.send_replace(true);
    world.list();
    world.change(1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.recorder.sessions(), 1);
    // The loop sees one change, to the value it had.
    world.lead(false);
    world.lead(true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!*world.recorder.owned.borrow(), "owned objects are listed again before the next session");
    let recorder = Arc::clone(&world.recorder);
    assert_eq!(world.settle().await, []);
    assert_eq!(recorder.sessions(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_is_listed_again_before_a_session() {
    let world = World::new();
    let recorder = Arc::clone(&world.recorder);
    recorder.is_behind.store(true, Ordering::SeqCst);
    world.facts_complete.send_replace(true);
    world.list();
    world.leading.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((recorder.sessions(), *recorder.owned.borrow()), (0, false), "nothing is decided on what is behind");
    world.list();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(recorder.sessions(), 1, "what was listed meanwhile needs no second look");
    assert!(world.settle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_ends_by_itself_ends_the_loop() {
    let mut world = World::new();
    world.recorder.panics.store(true, Ordering::SeqCst);
    world.change(1);
    world.list();
    world.lead(true);
    world.facts_complete.send_replace(true);
    let ended = tokio::time::timeout(Duration::from_secs(60), world.running).await.expect("the loop ends");
    assert_eq!(ended.expect("the loop does not panic"), Err(QueueEnded));
}

/// An event at any time.
#[derive(Clone, Copy, Debug)]
enum Event {
    Change(u8),
    Wake(u8),
    Facts,
    Lead(bool),
    OwnedListed,
    ResourcesListed,
    FactsComplete,
    Pause(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Event::Change),
        4 => (0..3_u8).prop_map(Event::Wake),
        1 => Just(Event::Facts),
        2 => any::<bool>().prop_map(Event::Lead),
        2 => Just(Event::OwnedListed),
        1 => Just(Event::ResourcesListed),
        1 => Just(Event::FactsComplete),
        6 => (0..12_u8).prop_map(Event::Pause),
    ]
}

proptest! {
    /// Whatever happens when, a resource is reconciled after each event that concerns it, in its newest generation.
    #[test]
    fn no_wake_is_lost(events in prop::collection::vec(event(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let lost = runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            for event in events {
                match event {
                    Event::Change(number) => world.change(number),
                    Event::Wake(number) => world.wake(number),
                    Event::Facts => {
                        world.want_all();
                        world.facts.send_replace(Arc::default());
                    }
                    Event::Lead(leads) => world.lead(leads),
                    Event::OwnedListed => drop(world.recorder.owned.send_replace(true)),
                    Event::ResourcesListed => world.recorder.store.complete(),
                    Event::FactsComplete => drop(world.facts_complete.send_replace(true)),
                    Event::Pause(millis) => tokio::time::sleep(Duration::from_millis(millis.into())).await,
                }
            }
            world.settle().await
        });
        prop_assert_eq!(lost, vec![]);
    }
}
