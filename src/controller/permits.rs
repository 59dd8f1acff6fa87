//! Worker permits: bounded concurrency that is fair between namespaces. A thousand resources of one tenant do not delay the
//! one resource of another. Within a namespace policies come before their status.

use crate::lock::lock;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Hands out a bounded number of permits at a time, to namespaces in rotation.
#[derive(Clone, Debug)]
pub struct Permits {
    queue: Arc<Mutex<FairQueue>>,
}

/// How urgent a reconcile is, within its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Policies may have to change.
    High,
    /// Policies are up to date; ConfigMaps and status follow.
    Low,
}

/// After this many permits of high priority in a row, a namespace gets one of low priority: reports do not wait for ever.
const HIGH_IN_A_ROW: usize = 16;

/// Namespaces rotate, whatever priority their resources have. So if one namespace always has policies to write, another's
/// status is still written after one permit for each waiting namespace. And if a thousand namespaces begin at once, each has
/// its policies before the first gets a permit for its status.
#[derive(Debug, Default)]
struct FairQueue {
    free: usize,
    waiting: BTreeMap<Arc<str>, Waiting>,
    /// The namespace that was served last.
    served: Option<Arc<str>>,
}

/// The waiting resources of one namespace.
#[derive(Debug, Default)]
struct Waiting {
    high: VecDeque<oneshot::Sender<Permit>>,
    low: VecDeque<oneshot::Sender<Permit>>,
    /// Permits of high priority in a row, while resources of low priority waited.
    in_a_row: usize,
}

/// The right to reconcile one resource now; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    queue: Option<Arc<Mutex<FairQueue>>>,
}

impl Permits {
    /// At most `concurrency` permits at a time; at least one.
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        let queue = FairQueue { free: concurrency.max(1), ..FairQueue::default() };
        Self { queue: Arc::new(Mutex::new(queue)) }
    }

    /// Whether a resource of high priority waits.
    #[must_use]
    pub fn are_wanted_for_policies(&self) -> bool {
        lock(&self.queue).waiting.values().any(|waiting| !waiting.high.is_empty())
    }

    /// Waits for a permit of this namespace.
    pub async fn take(&self, namespace: &Arc<str>, priority: Priority) -> Permit {
        let receiver = {
            let mut queue = lock(&self.queue);
            if queue.free > 0 {
                queue.free -= 1;
                return Permit { queue: Some(Arc::clone(&self.queue)) };
            }
            let (sender, receiver) = oneshot::channel();
            let waiting = queue.waiting.entry(Arc::clone(namespace)).or_default();
            match priority {
                Priority::High => waiting.high.push_back(sender),
                Priority::Low => waiting.low.push_back(sender),
            }
            receiver
        };
        // The sender is dropped only together with the queue: then nothing else waits.
        receiver.await.unwrap_or(Permit { queue: None })
    }
}

impl FairQueue {
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let after = self.served.as_ref().and_then(|served| {
            let range = (Bound::Excluded(Arc::clone(served)), Bound::Unbounded);
            self.waiting.range(range).next().map(|(namespace, _)| Arc::clone(namespace))
        });
        let namespace = after.or_else(|| self.waiting.keys().next().cloned())?;
        let waiting = self.waiting.get_mut(&namespace)?;
        let sender = waiting.next();
        if waiting.high.is_empty() && waiting.low.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.served = Some(namespace);
        sender
    }
}

impl Waiting {
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        if self.low.is_empty() {
            self.in_a_row = 0;
        } else if self.in_a_row >= HIGH_IN_A_ROW || self.high.is_empty() {
            self.in_a_row = 0;
            return self.low.pop_front();
        }
        self.in_a_row += 1;
        self.high.pop_front()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        loop {
            let next = {
                let mut queue = lock(&queue);
                let next = queue.next();
                // Under one lock: otherwise a resource could begin to wait while a permit is free.
                queue.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            // A resource that gave up waiting has dropped its receiver: the next one gets the permit. The refused permit
            // comes back, and must not be dropped with its queue: it would be handed on twice.
            match next.send(Permit { queue: Some(Arc::clone(&queue)) }) {
                Ok(()) => return,
                Err(mut refused) => refused.queue = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low};
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    /// One permit, and the resources that wait for it, each with a label.
    struct Bench {
        permits: Permits,
        taken: Option<Permit>,
        waiting: Vec<(&'static str, BoxFuture<'static, Permit>)>,
    }

    impl Bench {
        fn new() -> Self {
            let permits = Permits::new(1);
            let taken = permits.take(&"first".into(), High).now_or_never();
            assert!(taken.is_some(), "a free permit is given at once");
            Self { permits, taken, waiting: Vec::new() }
        }

        /// One namespace with three resources of high priority that wait.
        fn busy() -> Self {
            let mut bench = Self::new();
            ["busy 1", "busy 2", "busy 3"].into_iter().for_each(|label| bench.wait(label, "busy", High));
            bench
        }

        fn wait(&mut self, label: &'static str, namespace: &'static str, priority: Priority) {
            let permits = self.permits.clone();
            let mut permit = async move { permits.take(&namespace.into(), priority).await }.boxed();
            assert!((&mut permit).now_or_never().is_none(), "{label} waits");
            self.waiting.push((label, permit));
        }

        /// Gives the permit back; returns who has it then.
        fn next(&mut self) -> Option<&'static str> {
            self.taken = None;
            let polled = self.waiting.iter_mut().enumerate();
            let mut given = polled.filter_map(|(at, (_, permit))| Some((at, permit.now_or_never()?)));
            let (at, permit) = given.next()?;
            assert!(given.next().is_none(), "one permit is given once");
            self.taken = Some(permit);
            Some(self.waiting.remove(at).0)
        }

        fn order(&mut self) -> Vec<&'static str> {
            std::iter::from_fn(|| self.next()).collect()
        }
    }

    #[test]
    fn namespaces_rotate_however_many_resources_wait_in_one() {
        let mut bench = Bench::busy();
        bench.wait("quiet", "quiet", High);
        assert_eq!(bench.order(), ["busy 1", "quiet", "busy 2", "busy 3"]);
    }

    #[test]
    fn a_permit_passes_those_that_gave_up() {
        let mut bench = Bench::new();
        bench.wait("gone", "one", Low);
        bench.wait("stays", "one", Low);
        drop(bench.waiting.remove(0));
        assert_eq!(bench.order(), ["stays"]);
        assert!(bench.permits.take(&"one".into(), Low).now_or_never().is_some(), "the permit comes back");
    }

    #[test]
    fn within_a_namespace_policies_come_first_but_not_for_ever() {
        let mut bench = Bench::new();
        bench.wait("report", "one", Low);
        assert!(!bench.permits.are_wanted_for_policies());
        for _ in 0..=HIGH_IN_A_ROW {
            bench.wait("policies", "one", High);
        }
        assert!(bench.permits.are_wanted_for_policies());
        let order = bench.order();
        assert_eq!(order.iter().position(|label| *label == "report"), Some(HIGH_IN_A_ROW));
    }

    #[test]
    fn a_report_does_not_wait_for_policies_of_other_namespaces() {
        let mut bench = Bench::busy();
        bench.wait("report", "quiet", Low);
        assert_eq!(bench.order(), ["busy 1", "report", "busy 2", "busy 3"]);
    }
}
