//! The work queue: which resource is reconciled now, which again after that, and which later.
//!
//! kube's `applier` does the same, but it polls every running reconcile whenever one finishes. With 1,000 resources waiting
//! this used a fifth of a CPU, and the cost grows quadratically.

use futures::{Stream, StreamExt as _};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue;

/// After how long to reconcile again although nothing changed; `None` where only a change does it.
pub type Requeue = Option<Duration>;

/// The longest wait of the timer, which takes no more than two years. Reconciling early is harmless: nothing has changed.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A dirty flag: set when the resource is requested, cleared just before a reconcile reads its inputs. So a request made
/// while the reconcile is still queued costs no second one.
#[derive(Clone, Debug, Default)]
pub struct DirtyFlag(Arc<AtomicBool>);

impl DirtyFlag {
    /// To be called before the reconcile reads anything: it meets every request so far.
    pub(super) fn mark_processing(&self) {
        self.0.swap(false, Ordering::SeqCst);
    }

    fn mark_dirty(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was requested again since.
    pub(super) fn is_dirty(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Reconciles each resource that is requested or due, never one twice at the same time, until `requests` end. Then waits for
/// the reconciles that run.
///
/// # Panics
/// Where a worker does.
pub(super) async fn run<K, Requests, Begin, Worker>(mut requests: Requests, mut begin: Begin)
where
    K: Clone + Eq + Hash + Send + 'static,
    Requests: Stream<Item = K> + Unpin,
    Begin: FnMut(&K, DirtyFlag) -> Worker,
    Worker: Future<Output = Requeue> + Send + 'static,
{
    let mut queue = Queue::default();
    loop {
        let next = tokio::select! {
            request = requests.next() => match request {
                Some(key) => queue.requested(key),
                None => break,
            },
            Some(ended) = queue.workers.join_next() => {
                let (key, requeue_after) = outcome(ended);
                queue.ended(key, requeue_after)
            }
            Some(due) = queue.later.next() => queue.due(due.into_inner()),
        };
        if let Some(key) = next {
            let dirty = DirtyFlag::default();
            let worker = begin(&key, dirty.clone());
            queue.begin(key, dirty, worker);
        }
    }
    while let Some(ended) = queue.workers.join_next().await {
        outcome(ended);
    }
}

/// A worker is aborted only together with the queue.
fn outcome<K: 'static>(ended: Result<(K, Requeue), JoinError>) -> (K, Requeue) {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[derive(Debug)]
struct Queue<K> {
    workers: JoinSet<(K, Requeue)>,
    /// The resources being reconciled; a dirty one is reconciled once more.
    running: HashMap<K, DirtyFlag>,
    later: DelayQueue<K>,
    due: HashMap<K, delay_queue::Key>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { workers: JoinSet::new(), running: HashMap::new(), later: DelayQueue::new(), due: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Queue<K> {
    /// Accepts a request; returns the resource if it can be reconciled at once.
    fn requested(&mut self, key: K) -> Option<K> {
        if let Some(dirty) = self.running.get(&key) {
            dirty.mark_dirty();
            return None;
        }
        if let Some(due) = self.due.remove(&key) {
            self.later.remove(&due);
        }
        Some(key)
    }

    fn begin(&mut self, key: K, dirty: DirtyFlag, worker: impl Future<Output = Requeue> + Send + 'static) {
        self.running.insert(key.clone(), dirty);
        self.workers.spawn(async move { (key, worker.await) });
    }

    fn ended(&mut self, key: K, requeue_after: Requeue) -> Option<K> {
        if self.running.remove(&key).is_some_and(|dirty| dirty.is_dirty()) {
            return Some(key);
        }
        let wait = requeue_after?;
        if wait.is_zero() {
            return Some(key);
        }
        let due = self.later.insert(key.clone(), wait.min(LONGEST));
        self.due.insert(key, due);
        None
    }

    fn due(&mut self, key: K) -> Option<K> {
        self.due.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    /// Which worker begins or ends, and when, in milliseconds.
    type Moment = (&'static str, &'static str, u128);

    /// A queue whose workers wait a millisecond, process for ten, and return the next result listed for their resource.
    struct Bench {
        requests: Option<UnboundedSender<&'static str>>,
        log: Arc<Mutex<Vec<Moment>>>,
        task: JoinHandle<()>,
    }

    impl Bench {
        fn with(results: impl IntoIterator<Item = (&'static str, Requeue)>) -> Self {
            let (requests, mut received) = unbounded_channel();
            let log = Arc::new(Mutex::new(Vec::new()));
            let started = Instant::now();
            let mut results: Vec<_> = results.into_iter().collect();
            let moments = Arc::clone(&log);
            let task = tokio::spawn(async move {
                let stream = futures::stream::poll_fn(move |waker| received.poll_recv(waker));
                run(stream, |key: &&'static str, dirty| {
                    let position = results.iter().position(|(of, _)| of == key).expect("no worker more than expected");
                    let (key, requeue_after) = results.remove(position);
                    let moments = Arc::clone(&moments);
                    async move {
                        let log =
                            |what| moments.lock().expect("a log").push((key, what, started.elapsed().as_millis()));
                        sleep(Duration::from_millis(1)).await;
                        dirty.mark_processing();
                        log("begins");
                        sleep(Duration::from_millis(10)).await;
                        log("ends");
                        requeue_after
                    }
                })
                .await;
            });
            Self { requests: Some(requests), log, task }
        }

        fn request(&self, key: &'static str) {
            self.requests.as_ref().expect("open").send(key).expect("the queue listens");
        }

        async fn finished(mut self) -> Vec<Moment> {
            self.requests = None;
            self.task.await.expect("no worker panicked");
            Arc::try_unwrap(self.log).expect("no worker runs").into_inner().expect("a log")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_resource_is_reconciled_once_at_a_time_and_others_with_it() {
        let bench = Bench::with([("a", None), ("b", None), ("a", None)]);
        // A request before the worker processes costs no second reconcile.
        bench.request("a");
        bench.request("a");
        bench.request("b");
        sleep(Duration::from_millis(5)).await;
        // Two requests while it processes cost one.
        bench.request("a");
        bench.request("a");
        sleep(2 * SECOND).await;
        let first = [("a", "begins", 1), ("b", "begins", 1), ("a", "ends", 11), ("b", "ends", 11)];
        assert_eq!(bench.finished().await, [&first[..], &[("a", "begins", 12), ("a", "ends", 22)]].concat());
    }

    #[tokio::test]
    async fn a_worker_that_ends_without_processing_meets_no_request() {
        let mut queue: Queue<&str> = Queue::default();
        for processes in [false, true] {
            assert_eq!(queue.requested("a"), Some("a"));
            let dirty = DirtyFlag::default();
            queue.begin("a", dirty.clone(), async { None });
            assert_eq!(queue.requested("a"), None);
            if processes {
                dirty.mark_processing();
            }
            assert_eq!(queue.ended("a", None), (!processes).then_some("a"), "{processes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requeue_fires_once_even_if_woken_earlier() {
        let requeued = [Some(SECOND), Some(Duration::ZERO), Some(SECOND), None].map(|requeue| ("a", requeue));
        let bench = Bench::with(requeued.into_iter().chain([("b", Some(Duration::MAX))]));
        bench.request("a");
        bench.request("b");
        sleep(2 * SECOND).await;
        // The third ended by now, and requeues after a second: this request comes sooner.
        bench.request("a");
        sleep(3 * SECOND).await;
        let log = bench.finished().await;
        let begins = log.iter().filter(|(key, what, _)| (*key, *what) == ("a", "begins"));
        assert_eq!(begins.map(|(.., at)| *at).collect::<Vec<_>>(), [1, 1012, 1023, 2001]);
    }

    #[tokio::test(start_paused = true)]
    async fn running_workers_end_and_no_other_begins() {
        let bench = Bench::with([("b", Some(SECOND)), ("a", None)]);
        bench.request("b");
        sleep(Duration::from_millis(20)).await;
        bench.request("a");
        sleep(Duration::from_millis(5)).await;
        bench.request("a");
        sleep(Duration::from_millis(1)).await;
        let ended = [("b", "begins", 1), ("b", "ends", 11), ("a", "begins", 21), ("a", "ends", 31)];
        assert_eq!(bench.finished().await, ended);
    }
}
