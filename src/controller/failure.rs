//! Why a reconcile failed, and what kind of failure that is. Pure.

use crate::cluster::apply::WriteError;
use crate::cluster::report::StatusError;
use std::time::Duration;

/// The longest time of one reconcile: a policy, a ConfigMap and a status, each with its own deadline.
pub(super) const RECONCILE_DEADLINE: Duration = Duration::from_secs(60);

/// Why a reconcile failed, by step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Writing objects.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Writing status.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// It took too long.
    #[error("not done within {} s", RECONCILE_DEADLINE.as_secs())]
    Deadline,
    /// The operator's own fault: it panicked.
    #[error("a defect in the operator, to be reported with the panic logged above; what is applied stays")]
    Defect,
}

/// What kind of failure it is, and so how soon to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// An object changed meanwhile: the decision is made again.
    Conflict,
    /// The cluster recovers by itself.
    Transient,
    /// A person has to act.
    User,
}

impl Error {
    pub(super) const fn class(&self) -> ErrorClass {
        match self {
            Self::Write(WriteError::Changed(_) | WriteError::NotLeading)
            | Self::Status(StatusError::Changed | StatusError::NotLeading) => ErrorClass::Conflict,
            Self::Write(WriteError::Refused { .. } | WriteError::NotOurs(_)) => ErrorClass::User,
            Self::Write(WriteError::Unavailable { .. })
            | Self::Status(StatusError::Failed(_))
            | Self::Deadline
            | Self::Defect => ErrorClass::Transient,
        }
    }
}
