//! Who waits for an entry of a shared table, and how it is woken. Pure but for the channel.

use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// A `CitrixAllowlist` by namespace and name: what watches entries of the shared tables. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ResourceRef {
    /// The resource of that namespace and name.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a table sends the subscribers of an entry that changed. The controller reconciles each of them.
#[derive(Clone, Debug)]
pub struct Waker(UnboundedSender<ResourceRef>);

impl Waker {
    /// A waker that sends into `sender`.
    #[must_use]
    pub const fn new(sender: UnboundedSender<ResourceRef>) -> Self {
        Self(sender)
    }

    /// Wakes one subscriber. Where nobody listens any more the process is on its way out, and nothing is lost.
    pub fn wake(&self, subscriber: &ResourceRef) {
        let _ = self.0.send(subscriber.clone());
    }
}
