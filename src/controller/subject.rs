//! The resource that a reconcile is about.

use crate::cluster::apply::OwnerIdentity;
use crate::crd::{CitrixAllowlist, Mode};
use crate::subscriber::Subscriber;
use kube::ResourceExt;
use tracing::Span;

/// A resource being reconciled.
pub(super) struct Subject<'a> {
    pub resource: &'a CitrixAllowlist,
    pub identity: OwnerIdentity,
    pub generation: i64,
    /// The span of this reconcile.
    pub span: Span,
}

impl<'a> Subject<'a> {
    pub fn of(resource: &'a CitrixAllowlist) -> Self {
        let subscriber = Subscriber::new(resource.namespace().unwrap_or_default(), resource.name_any());
        let uid = resource.uid().unwrap_or_default().into();
        Self {
            resource,
            identity: OwnerIdentity { subscriber, uid },
            generation: resource.metadata.generation.unwrap_or_default(),
            span: Span::current(),
        }
    }

    pub fn who(&self) -> &Subscriber {
        &self.identity.subscriber
    }

    pub fn mode(&self) -> Mode {
        self.resource.spec.mode
    }
}
