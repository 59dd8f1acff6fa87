//! Why a condition is as it is: one enum that feeds conditions, events, metric labels and the documentation. Pure.

use std::fmt;

/// The reason of a condition or an event, in CamelCase as Kubernetes asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The policies in the cluster say what the newest usable list and answers say.
    Applied,
    /// Audit mode: everything is computed, no policy is kept.
    Audit,
    /// `suspend: true`: nothing is done.
    Suspended,
    /// The first list has not arrived yet.
    WaitingForFeed,
    /// The first policy waits for the first answers of DNS.
    WaitingForNames,
    /// The operator is close to its memory limit: the first policy of a new resource waits until it is not.
    WaitingForMemory,
    /// The newest fetch brought a usable list, or confirmed the one held.
    Fetched,
    /// The API could not be reached, or failed; the last good list stays.
    FeedUnavailable,
    /// The API refuses the request (400 or 404): the customer id or the URL is wrong.
    FeedRejected,
    /// What came back is no list; the last good one stays.
    FeedMalformed,
    /// The API, or the operator's own limiter, is over its rate.
    RateLimited,
    /// A list that lost more than half of the last one is held back for one more fetch.
    FeedShrank,
    /// A list that opens very much more than the last one is held back for one more fetch.
    FeedGrew,
    /// The list in use is past its `validUntil`.
    FeedExpired,
    /// Every name has been answered.
    Resolved,
    /// Names without a usable answer.
    Unresolved,
    /// Wildcards that nothing in the spec stands in for.
    WildcardsUnenforceable,
    /// The spec matches nothing of the list, so that no policy can be written.
    NoMatch,
    /// Nothing is left to allow in a direction, and its policies stay: only the user's word takes them away.
    LastPolicyKept,
    /// The spec cannot be acted on: a label selector Kubernetes refuses.
    InvalidSpec,
    /// The namespace is protected, or the selector matches the operator's own pods.
    Protected,
    /// An object of a needed name belongs to somebody else, or somebody keeps changing ours.
    Conflict,
    /// The API server refused, or could not be reached.
    ApplyFailed,
    /// A list saved in the cluster cannot be used, and is asked for again.
    SavedListIgnored,
    /// Work goes on.
    Progressing,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 25] = [
        Self::Applied,
        Self::Audit,
        Self::Suspended,
        Self::WaitingForFeed,
        Self::WaitingForNames,
        Self::WaitingForMemory,
        Self::Fetched,
        Self::FeedUnavailable,
        Self::FeedRejected,
        Self::FeedMalformed,
        Self::RateLimited,
        Self::FeedShrank,
        Self::FeedGrew,
        Self::FeedExpired,
        Self::Resolved,
        Self::Unresolved,
        Self::WildcardsUnenforceable,
        Self::NoMatch,
        Self::LastPolicyKept,
        Self::InvalidSpec,
        Self::Protected,
        Self::Conflict,
        Self::ApplyFailed,
        Self::SavedListIgnored,
        Self::Progressing,
    ];

    /// Whether it is a station on the way that passes by itself, and so worth a condition but no event.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::WaitingForFeed | Self::WaitingForNames | Self::Progressing)
    }

    /// Whether it tells of something that went wrong with the list.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::FeedUnavailable
                | Self::FeedRejected
                | Self::FeedMalformed
                | Self::FeedShrank
                | Self::FeedGrew
                | Self::FeedExpired
                | Self::RateLimited
        )
    }

    /// The reason as conditions and events carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Audit => "Audit",
            Self::Suspended => "Suspended",
            Self::WaitingForFeed => "WaitingForFeed",
            Self::WaitingForNames => "WaitingForNames",
            Self::WaitingForMemory => "WaitingForMemory",
            Self::Fetched => "Fetched",
            Self::FeedUnavailable => "FeedUnavailable",
            Self::FeedRejected => "FeedRejected",
            Self::FeedMalformed => "FeedMalformed",
            Self::RateLimited => "RateLimited",
            Self::FeedShrank => "FeedShrank",
            Self::FeedGrew => "FeedGrew",
            Self::FeedExpired => "FeedExpired",
            Self::Resolved => "Resolved",
            Self::Unresolved => "Unresolved",
            Self::WildcardsUnenforceable => "WildcardsUnenforceable",
            Self::NoMatch => "NoMatch",
            Self::LastPolicyKept => "LastPolicyKept",
            Self::InvalidSpec => "InvalidSpec",
            Self::Protected => "Protected",
            Self::Conflict => "Conflict",
            Self::ApplyFailed => "ApplyFailed",
            Self::SavedListIgnored => "SavedListIgnored",
            Self::Progressing => "Progressing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
