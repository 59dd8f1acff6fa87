//! Sends each change of what a resource's policies allow to the recorder, in the order in which it was observed.

use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::resource_ref::ResourceRef;
use crate::trail::record::{ChangedBy, PolicyStep};
use crate::trail::{PolicyAllows, WriteCause};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// What resources' policies allow, by resource.
pub type Allowed = HashMap<ResourceRef, Vec<Arc<PolicyAllows>>>;

/// What the recorder is told.
#[derive(Debug)]
pub enum TrailEvent {
    /// This process leads, and knows every object: what policies allow now. Steps follow.
    Begins(Allowed),
    /// What one resource's policies allow has changed.
    Step(ResourceRef, PolicyStep),
    /// The policies of a resource of the same name were taken over: its history has to follow.
    Adopted(ResourceRef, Vec<Arc<PolicyAllows>>),
    /// This process does not lead any more, or stops. No step follows before the next begin.
    Ends,
}

/// Where changes are sent, and the writes whose answers have not arrived yet.
#[derive(Debug, Default)]
pub(super) struct Trail {
    to: Option<UnboundedSender<TrailEvent>>,
    is_on: bool,
    writing: HashMap<ObjectKey, Writing>,
}

/// A write that was sent.
#[derive(Debug)]
struct Writing {
    /// What the policy allows once it is written; `None` for a deletion.
    allows: Option<Arc<PolicyAllows>>,
    cause: Arc<WriteCause>,
}

impl Trail {
    /// Sends to `to` from the next begin on.
    pub fn record_to(&mut self, to: UnboundedSender<TrailEvent>) {
        self.to = Some(to);
    }

    /// Whether changes of this object are sent.
    pub const fn follows(&self, key: &ObjectKey) -> bool {
        self.is_on && key.is_policy()
    }

    /// Begins, with what is in force now.
    pub fn begin(&mut self, allowed: Allowed) {
        self.is_on = self.send(TrailEvent::Begins(allowed));
    }

    /// Ends.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_on) {
            self.send(TrailEvent::Ends);
        }
        self.writing.clear();
    }

    /// Forgets everything but where changes are sent.
    pub fn start_over(&mut self) -> Self {
        self.end();
        Self { to: self.to.take(), ..Self::default() }
    }

    /// Notes that an object is about to be written, or deleted (`None`): its watch may show that before the answer arrives.
    pub fn writes(&mut self, key: &ObjectKey, allows: Option<Arc<PolicyAllows>>, cause: &Arc<WriteCause>) {
        if self.follows(key) {
            self.writing.insert(key.clone(), Writing { allows, cause: Arc::clone(cause) });
        }
    }

    /// Notes that a write ended. One that may have happened without an answer stays noted until its watch shows it.
    pub fn wrote(&mut self, key: &ObjectKey) {
        self.writing.remove(key);
    }

    /// Who made an object what it is now: `None` where it is gone.
    pub fn origin(&mut self, key: &ObjectKey, now: Option<&Observed>) -> ChangedBy {
        let is_ours = self.writing.get(key).is_some_and(|writing| match now {
            Some(now) => now.assumed || (now.edited_by.is_none() && now.allows == writing.allows),
            None => writing.allows.is_none(),
        });
        match (is_ours, now) {
            // Its watch shows it: what comes next is another change.
            (true, _) => {
                self.writing.remove(key).map_or(ChangedBy::Deleted, |writing| ChangedBy::Written(writing.cause))
            }
            (false, Some(now)) => ChangedBy::Edited(now.edited_by.clone()),
            (false, None) => ChangedBy::Deleted,
        }
    }

    /// Tells that policies were taken over.
    pub fn adopted(&self, owner: &ResourceRef, allowed: Vec<Arc<PolicyAllows>>) {
        if self.is_on {
            self.send(TrailEvent::Adopted(owner.clone(), allowed));
        }
    }

    /// Sends a step, where it changed anything.
    pub fn step(&self, owner: ResourceRef, step: PolicyStep) {
        if step.before != step.after {
            self.send(TrailEvent::Step(owner, step));
        }
    }

    fn send(&self, event: TrailEvent) -> bool {
        // The recorder ends only with the process.
        self.to.as_ref().is_some_and(|to| to.send(event).is_ok())
    }
}
