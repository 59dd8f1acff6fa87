//! What each reason, each kind of problem and each alert means, and what a person can do: one table that `explain` prints
//! and the documentation repeats. Pure.

mod alerts;

use crate::crd::ProblemKind;
use crate::reason::Reason;
pub use alerts::{Alert, alert};

/// An explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// What it means, as one sentence.
    pub means: &'static str,
    /// What a person can do, as one sentence.
    pub remedy: &'static str,
}

const fn text(means: &'static str, remedy: &'static str) -> Text {
    Text { means, remedy }
}

/// What a kind of problem means.
#[must_use]
pub const fn problem(kind: ProblemKind) -> Text {
    match kind {
        ProblemKind::Wildcard => text(
            "The list allows every name under a wildcard, which DNS cannot enumerate and a NetworkPolicy cannot say.",
            "Name under spec.wildcards the names that your pods use.",
        ),
        ProblemKind::NoPorts => text(
            "The list gives no ports for an entry; it opens nothing, since no ports in a NetworkPolicy mean every port.",
            "Where your pods need it, name it with its ports under spec.additional.",
        ),
        ProblemKind::NoMatch => text(
            "A filter of the spec, or the whole of it, matches nothing of the list.",
            "Compare spec.services, geo, direction and wildcards with the names in the list.",
        ),
        ProblemKind::Unresolved => text(
            "A name of the list has no address that can be used, so that nothing is opened for it.",
            "Ask the cluster's DNS for the name; where it is gone for good, the vendor's list is ahead or behind.",
        ),
        ProblemKind::Refused => text(
            "An address or network lies in a range that is never opened on the vendor's or DNS's word, or a name of additional outside the domains that the administrator allows.",
            "Where it is meant, such as a private link, the operator's --allow-private-cidr opens the range, but for what clouds answer on, which nothing opens; --additional-suffix allows a domain.",
        ),
        ProblemKind::Malformed => text(
            "A part of the list or of the spec cannot be understood; the rest is used.",
            "Correct it where it is the spec's; else tell Citrix's support, with the transaction id.",
        ),
        ProblemKind::FeedShrank => text(
            "The newest list lost more than half of what it held, and is followed only once a second fetch confirms it.",
            "Nothing, or `refresh` to have it confirmed now.",
        ),
        ProblemKind::Conflict => text(
            "An object of the name that is needed belongs to somebody else, or somebody keeps changing ours.",
            "Rename one of the two, stop the other writer, or hand the object over with citrix-allowlist.io/adopt: \"true\".",
        ),
        ProblemKind::Limit => text(
            "A bound of the operator or of the cluster's network plugin is reached.",
            "Narrow the spec by services, geo or direction, or raise the bound that the message names.",
        ),
    }
}

/// What a reason of a condition or an event means.
#[must_use]
pub const fn reason(reason: Reason) -> Text {
    match reason {
        Reason::Applied => text(
            "The policies in the cluster say what the newest usable list and the newest usable answers say.",
            "Nothing.",
        ),
        Reason::Audit => text(
            "Everything is computed and reported, and no policy is kept.",
            "Set spec.mode to Enforce once the report is as you want it.",
        ),
        Reason::Suspended => {
            text("What is applied stays as it is, and nothing else is done.", "Set spec.suspend to false to go on.")
        }
        Reason::WaitingForFeed => text(
            "The first list has not arrived yet.",
            "Wait; where it lasts, see whether the operator reaches the API, through a proxy perhaps.",
        ),
        Reason::WaitingForNames => text(
            "The first policy would isolate pods, and waits until DNS has answered for every name.",
            "Wait; where it lasts, see whether the operator reaches the DNS servers that pods ask.",
        ),
        Reason::WaitingForMemory => text(
            "The operator is close to its memory limit, and takes up no new resource until it is not; what is applied is kept current.",
            "Raise the memory limit of the operator's container, or delete what fills it: many names, many addresses, long retention.",
        ),
        Reason::Fetched => {
            text("The newest fetch brought a usable list, or confirmed the one that is held.", "Nothing.")
        }
        Reason::FeedUnavailable => text(
            "The API could not be reached, or failed; the last good list stays in use.",
            "See whether the operator reaches the API, and whether a proxy inspects its TLS (--extra-ca-file).",
        ),
        Reason::FeedRejected => text(
            "The API refuses the request, so that asking again is no use.",
            "Correct spec.customerId or spec.cloud, or the operator's --global-url or --japan-url.",
        ),
        Reason::FeedMalformed => text(
            "What came back is no list; the last good one stays in use.",
            "See whether a proxy answers in the API's place; else tell Citrix's support, with the transaction id.",
        ),
        Reason::RateLimited => text(
            "The API takes five requests a minute from one address, and they are used up.",
            "Wait; where it lasts, find what else asks from the same address, or use --shared-template.",
        ),
        Reason::FeedShrank => text(
            "A list that lost more than half of the last one is held back until a second fetch confirms it.",
            "Nothing, or `refresh` to have it confirmed now.",
        ),
        Reason::FeedGrew => text(
            "A list that holds over a hundred times as much as the last one, or whose networks in sum are more than one address in 256, is held back until a second fetch confirms it.",
            "Compare what the message says with what Citrix publishes; `refresh` has it confirmed now.",
        ),
        Reason::FeedExpired => text(
            "The list in use is past the time that the vendor vouches for; it stays in use.",
            "See why fetches bring no newer one: the message of FeedCurrent says.",
        ),
        Reason::Resolved => text("Every name has been answered.", "Nothing."),
        Reason::Unresolved => text(
            "Some names have no usable address; everything else is allowed.",
            "See the problems of kind Unresolved: each says why.",
        ),
        Reason::WildcardsUnenforceable => text(
            "The list holds wildcards that nothing in the spec stands in for; names under them are not allowed.",
            "Name under spec.wildcards the names that your pods use.",
        ),
        Reason::NoMatch => text(
            "The spec matches nothing of the list, and a policy that allows nothing would cut everything.",
            "Compare spec.services, geo and direction with the list; `render --summary` shows what matches.",
        ),
        Reason::LastPolicyKept => text(
            "Nothing is left to allow in a direction: the vendor, DNS or the cluster changed, and the spec did not. The last policy stays as it was applied, since without it the selected pods would be open.",
            "See the problem of that policy. Select what the list has now, or let the policy go: delete the resource, set mode: Audit, or take the direction out of spec.direction.",
        ),
        Reason::InvalidSpec => text(
            "The spec cannot be acted on, though its schema is right.",
            "Correct the field that the message names.",
        ),
        Reason::Protected => text(
            "The pods selected are the cluster's or the operator's own, which a policy would cut off.",
            "Choose another namespace or a narrower spec.podSelector.",
        ),
        Reason::Conflict => text(
            "An object of the name that is needed belongs to somebody else, or somebody keeps changing ours.",
            "Rename one of the two, stop the other writer, or hand the object over with citrix-allowlist.io/adopt: \"true\".",
        ),
        Reason::ApplyFailed => text(
            "The API server refused a write, or could not be reached; it is tried again.",
            "See the message: a missing permission, a quota or an admission webhook.",
        ),
        Reason::SavedListIgnored => text(
            "A list saved in the operator's namespace cannot be used, or somebody else wrote it; the vendor is asked again.",
            "Find out who writes ConfigMaps there; the operator saves the list again by itself.",
        ),
        Reason::Progressing => text("The operator works on it.", "Wait."),
    }
}

/// The reason that a condition carries as text.
#[must_use]
pub fn reason_of(text: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_reason_and_alert_has_sentences_of_its_own() {
        let problems = ProblemKind::ALL.map(problem);
        let reasons = Reason::ALL.map(reason);
        assert_eq!(problems.iter().map(|text| text.means).collect::<BTreeSet<_>>().len(), ProblemKind::ALL.len());
        assert_eq!(reasons.iter().map(|text| text.means).collect::<BTreeSet<_>>().len(), Reason::ALL.len());
        let alerts = Alert::ALL.map(alert);
        assert_eq!(alerts.iter().map(|text| text.means).collect::<BTreeSet<_>>().len(), Alert::ALL.len());
        for text in problems.iter().chain(&reasons).chain(&alerts) {
            assert!(text.means.ends_with('.') && text.remedy.ends_with('.'), "{text:?}");
        }
        assert_eq!(reason_of("NoMatch"), Some(Reason::NoMatch));
        assert_eq!(reason_of("nomatch"), None);
    }
}
