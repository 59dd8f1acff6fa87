//! Why a reconcile failed, and whose that is to mend. Pure.

use crate::cluster::apply::WriteError;
use crate::cluster::report::StatusError;
use std::time::Duration;

/// The longest that one reconcile may take: a policy, a ConfigMap and a status, each with its own deadline, on a bad day.
pub(super) const RECONCILE_DEADLINE: Duration = Duration::from_secs(60);

/// Why a reconcile failed, by station.
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

/// Whose a failure is to mend, and so how soon to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mender {
    /// Nobody's: the cluster moved on meanwhile, and the decision is made again.
    Nobody,
    /// The cluster's: it recovers, sooner or later.
    Cluster,
    /// A person's: nothing changes before somebody acts.
    Person,
}

impl Error {
    pub(super) const fn mender(&self) -> Mender {
        match self {
            Self::Write(WriteError::Changed(_) | WriteError::NotLeading)
            | Self::Status(StatusError::Changed | StatusError::NotLeading) => Mender::Nobody,
            Self::Write(WriteError::Refused { .. } | WriteError::NotOurs(_)) => Mender::Person,
            Self::Write(WriteError::Unavailable { .. })
            | Self::Status(StatusError::Failed(_))
            | Self::Deadline
            | Self::Defect => Mender::Cluster,
        }
    }
}
