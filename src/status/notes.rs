//! Which changes of status are worth an event. Pure.

use crate::crd::CitrixAllowlistStatus;
use crate::reason::Reason;

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

/// The conditions whose changes are told, each once: the others repeat what these say.
const REPORTED_CONDITIONS: [&str; 3] = ["Ready", "FeedCurrent", "NamesResolved"];

/// The events that a change of status is worth: one for each condition whose status or reason changed.
#[must_use]
pub fn notes(
    previous: Option<&CitrixAllowlistStatus>,
    next: &CitrixAllowlistStatus,
    transaction: Option<&str>,
) -> Vec<Note> {
    let said = |status: Option<&CitrixAllowlistStatus>, type_: &str| {
        let condition = status?.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((condition.status.clone(), condition.reason.clone(), condition.message.clone()))
    };
    let mut notes = Vec::new();
    for type_ in REPORTED_CONDITIONS {
        let Some((status, reason, message)) = said(Some(next), type_) else { continue };
        let before = said(previous, type_);
        if before.as_ref().is_some_and(|(held, why, _)| (held, why) == (&status, &reason)) {
            continue;
        }
        // A first fetch, and names that resolve at once, are what everybody expects.
        let expected = status == "True" && type_ != "Ready" && before.is_none();
        let Some(reason) = Reason::ALL.into_iter().find(|known| known.as_str() == reason) else { continue };
        if expected || reason.is_passing() {
            continue;
        }
        let message = match transaction {
            Some(id) if type_ == "FeedCurrent" => format!("{message} (transaction {id})"),
            _ => message,
        };
        notes.push(Note { warning: status != "True", reason, message });
    }
    notes
}
