//! Why what is in force changed. Pure.

use crate::names::Addresses;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// One cause of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The vendor's list.
    List,
    /// Answers of DNS, or addresses whose retention was over.
    Answer,
    /// The resource's spec.
    Spec,
    /// `spec.mode`.
    Mode,
    /// Facts about the cluster, such as its DNS servers, or the operator's flags.
    Cluster,
    /// The operator undid another client's change.
    Repair,
    /// Another client changed or deleted a policy.
    Drift,
    /// The resource was deleted.
    Deletion,
    /// The operator started, or another replica began to lead: it happened before, or the inputs of before are not known.
    Restart,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 9] = [
        Self::List,
        Self::Answer,
        Self::Spec,
        Self::Mode,
        Self::Cluster,
        Self::Repair,
        Self::Drift,
        Self::Deletion,
        Self::Restart,
    ];

    /// Its word in records, metrics and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "List",
            Self::Answer => "Answer",
            Self::Spec => "Spec",
            Self::Mode => "Mode",
            Self::Cluster => "Cluster",
            Self::Repair => "Repair",
            Self::Drift => "Drift",
            Self::Deletion => "Deletion",
            Self::Restart => "Restart",
        }
    }

    /// As a person reads it, after "cause: ".
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::List => "a new version of the list",
            Self::Answer => "new DNS answers, or addresses that no answer had for the retention time",
            Self::Spec => "the spec changed",
            Self::Mode => "spec.mode changed",
            Self::Cluster => "the cluster's networks or DNS servers, or the operator's flags, changed",
            Self::Repair => "the operator put right what another client had changed",
            Self::Drift => "another client changed or deleted a policy",
            Self::Deletion => "the resource was deleted",
            Self::Restart => "found after a start or a change of leader",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the operator writes the objects of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteCause {
    /// The causes, sorted; several inputs may have changed at once.
    pub causes: Vec<Cause>,
    /// The field manager that caused it: that of the spec, or of a change that is undone.
    pub by: Option<Arc<str>>,
    /// The version of the list.
    pub list: Option<Arc<str>>,
    /// The id of the request that brought the list.
    pub transaction_id: Option<Arc<str>>,
    /// The resource's generation.
    pub generation: i64,
    /// The addresses of names that the write was decided with.
    pub addresses: Option<Arc<Addresses>>,
}
