//! The changes of status that become events. Pure.

use crate::crd::{CitrixAllowlistStatus, ProblemKind, WildcardStatus};
use crate::explain_texts::reason_of;
use crate::reason::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// An event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether a person should look.
    pub warning: bool,
    /// Why.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// The conditions whose changes are reported; the others repeat them.
const REPORTED_CONDITIONS: [&str; 4] = ["Ready", "FeedCurrent", "NamesResolved", "WildcardsCovered"];

/// The events of a change of status: one for each condition whose status or reason changed, one where the guard begins or ceases to
/// refuse something, and one for each wildcard under which the first names are learned.
#[must_use]
pub fn notes(
    previous: Option<&CitrixAllowlistStatus>,
    next: &CitrixAllowlistStatus,
    transaction: Option<&str>,
) -> Vec<Note> {
    fn find<'a>(status: &'a CitrixAllowlistStatus, type_: &str) -> Option<&'a Condition> {
        status.conditions.iter().find(|condition| condition.type_ == type_)
    }
    let note = |type_: &str| {
        let Condition { status, reason, message, .. } = find(next, type_)?;
        let before = previous.and_then(|previous| find(previous, type_));
        let is_known = before.is_some_and(|before| (&before.status, &before.reason) == (status, reason));
        // A first fetch, and names that resolve at once, are expected.
        let is_expected = status == "True" && type_ != "Ready" && before.is_none();
        let reason = reason_of(reason).filter(|reason| !is_known && !is_expected && !reason.is_passing())?;
        let message = match transaction {
            Some(id) if type_ == "FeedCurrent" => format!("{message} (transaction {id})"),
            _ => message.clone(),
        };
        Some(Note { warning: status != "True", reason, message })
    };
    let mut notes: Vec<Note> = REPORTED_CONDITIONS.into_iter().filter_map(note).collect();
    notes.extend(refusals(previous, next));
    notes.extend(next.wildcards.iter().filter_map(|wildcard| first_learned(previous?, wildcard)));
    notes
}

/// The event of the first refusal by the guard, and of the end of the last.
fn refusals(previous: Option<&CitrixAllowlistStatus>, next: &CitrixAllowlistStatus) -> Option<Note> {
    // Status shows at least one problem of each kind.
    let first = |status: &CitrixAllowlistStatus| {
        status.problems.iter().find(|problem| problem.kind == ProblemKind::Refused).cloned()
    };
    let note = |warning, message| Some(Note { warning, reason: Reason::AddressRefused, message });
    match (previous.and_then(first), first(next)) {
        (None, Some(problem)) => note(true, format!("{}: {}", problem.subject, problem.message)),
        (Some(_), None) => note(false, "no address and no network is refused any more".to_owned()),
        _ => None,
    }
}

/// The event of the first names that are learned under a wildcard.
fn first_learned(previous: &CitrixAllowlistStatus, wildcard: &WildcardStatus) -> Option<Note> {
    let WildcardStatus { pattern, learned, suggested_total, .. } = wildcard;
    let before = previous.wildcards.iter().find(|before| before.pattern == *pattern);
    let is_first = |count: i64, of: fn(&WildcardStatus) -> i64| count > 0 && before.map_or(0, of) == 0;
    let message = if is_first(*learned, |before| before.learned) {
        format!(
            "{pattern}: the first names that pods asked for are allowed ({learned}); `citrix-allowlist learn` prints them"
        )
    } else if is_first(*suggested_total, |before| before.suggested_total) {
        format!(
            "{pattern}: pods asked for the first names ({suggested_total}), which are only suggested; `citrix-allowlist learn` prints them"
        )
    } else {
        return None;
    };
    Some(Note { warning: false, reason: Reason::NamesLearned, message })
}
