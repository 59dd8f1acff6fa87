//! Whose turn it is: bounded concurrency that is fair between namespaces, so that a thousand resources of one tenant
//! do not hold up the one resource of another; and policies before whatever only tells of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Hands out at most so many turns at a time, namespace by namespace in rotation.
#[derive(Clone, Debug)]
pub struct Turns {
    queue: Arc<Mutex<Queue>>,
}

/// What a turn is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What pods may do may have to change.
    Policies,
    /// Policies are as they should be; ConfigMaps and status follow.
    Rest,
}

/// After so many turns for policies in a row, one is for the rest: reports wait long, and not for ever.
const IN_A_ROW: usize = 16;

#[derive(Debug, Default)]
struct Queue {
    free: usize,
    policies: Line,
    rest: Line,
    /// Turns in a row that were for policies while others waited with the rest.
    in_a_row: usize,
}

/// Those who wait for the same, by namespace.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<Arc<str>, VecDeque<oneshot::Sender<Turn>>>,
    /// The namespace that was served last; the next in order follows it.
    served: Option<Arc<str>>,
}

/// A turn; over when dropped.
#[derive(Debug)]
pub struct Turn {
    queue: Option<Arc<Mutex<Queue>>>,
}

impl Turns {
    /// At most `concurrency` turns at a time; at least one.
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        let queue = Queue { free: concurrency.max(1), ..Queue::default() };
        Self { queue: Arc::new(Mutex::new(queue)) }
    }

    /// Whether somebody waits whose policies may have to change.
    #[must_use]
    pub fn are_wanted_for_policies(&self) -> bool {
        !lock(&self.queue).policies.waiting.is_empty()
    }

    /// Waits for a turn of this namespace.
    pub async fn take(&self, namespace: &Arc<str>, want: Want) -> Turn {
        let receiver = {
            let mut queue = lock(&self.queue);
            if queue.free > 0 {
                queue.free -= 1;
                return Turn { queue: Some(Arc::clone(&self.queue)) };
            }
            let (sender, receiver) = oneshot::channel();
            let line = match want {
                Want::Policies => &mut queue.policies,
                Want::Rest => &mut queue.rest,
            };
            line.waiting.entry(Arc::clone(namespace)).or_default().push_back(sender);
            receiver
        };
        // The sender is dropped only together with the queue: then nobody is left to be fair to.
        receiver.await.unwrap_or(Turn { queue: None })
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        if self.rest.waiting.is_empty() {
            self.in_a_row = 0;
        } else if self.in_a_row >= IN_A_ROW || self.policies.waiting.is_empty() {
            self.in_a_row = 0;
            return self.rest.next();
        }
        self.in_a_row += 1;
        self.policies.next()
    }
}

impl Line {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let after = self.served.as_ref().and_then(|served| {
            let range = (std::ops::Bound::Excluded(Arc::clone(served)), std::ops::Bound::Unbounded);
            self.waiting.range(range).next().map(|(namespace, _)| Arc::clone(namespace))
        });
        let namespace = after.or_else(|| self.waiting.keys().next().cloned())?;
        let line = self.waiting.get_mut(&namespace)?;
        let sender = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.served = Some(namespace);
        sender
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        loop {
            let next = {
                let mut queue = lock(&queue);
                let next = queue.next();
                // Under one lock: a resource that lines up in between would wait beside a free turn.
                queue.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            // A resource that gave up waiting has dropped its receiver: the turn goes on to the next. A refused turn comes
            // back whole and must not be dropped as one, or it would hand itself on a second time.
            match next.send(Turn { queue: Some(Arc::clone(&queue)) }) {
                Ok(()) => return,
                Err(mut refused) => refused.queue = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn namespaces_take_turns_however_long_their_lines() {
        let turns = Turns::new(1);
        let (busy, quiet): (Arc<str>, Arc<str>) = ("busy".into(), "quiet".into());
        let first = turns.take(&busy, Want::Policies).await;
        let mut line: Vec<_> = (0..3).map(|_| Box::pin(turns.take(&busy, Want::Policies))).collect();
        for waiting in &mut line {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        let mut late = Box::pin(turns.take(&quiet, Want::Policies));
        assert!(late.as_mut().now_or_never().is_none());
        drop(first);
        let second = line.remove(0).now_or_never().expect("the busy namespace waited first");
        drop(second);
        assert!(line[0].as_mut().now_or_never().is_none(), "the busy namespace has had its turn");
        drop(late.now_or_never().expect("the quiet namespace is next"));
        assert!(line.remove(0).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_turn_goes_past_those_that_gave_up() {
        let turns = Turns::new(1);
        let namespace: Arc<str> = "one".into();
        let held = turns.take(&namespace, Want::Policies).await;
        let mut gone = Box::pin(turns.take(&namespace, Want::Rest));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut stays = Box::pin(turns.take(&namespace, Want::Rest));
        assert!(stays.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(stays.now_or_never().expect("the turn reaches the one that still waits"));
        assert!(turns.take(&namespace, Want::Rest).now_or_never().is_some(), "and comes back in the end");
    }

    #[tokio::test]
    async fn policies_come_before_the_rest_which_is_not_forgotten() {
        let turns = Turns::new(1);
        let namespace: Arc<str> = "one".into();
        let mut held = turns.take(&namespace, Want::Policies).await;
        let mut rest = Box::pin(turns.take(&namespace, Want::Rest));
        assert!(rest.as_mut().now_or_never().is_none());
        assert!(!turns.are_wanted_for_policies());
        let mut passed = 0;
        let told = loop {
            let mut next = Box::pin(turns.take(&namespace, Want::Policies));
            assert!(next.as_mut().now_or_never().is_none());
            assert!(turns.are_wanted_for_policies());
            drop(held);
            match next.as_mut().now_or_never() {
                Some(turn) => held = turn,
                None => break rest.as_mut().now_or_never().expect("it is the turn of the rest"),
            }
            passed += 1;
        };
        assert_eq!(passed, IN_A_ROW);
        drop(told);
    }
}
