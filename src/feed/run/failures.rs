//! What a failed request means to an entry. Pure.

use crate::feed::entry::Answer;
use crate::feed::settings::in_words;
use crate::reason::Reason;
use connectivity_allowlist::FetchError;
use connectivity_allowlist::schedule::FetchOutcome;

pub(super) fn failed(reason: Reason, detail: String, outcome: FetchOutcome) -> Answer {
    Answer::Failed { reason, detail, outcome }
}

pub(super) fn answer_to(error: &FetchError) -> Answer {
    let detail = in_words(error);
    match error {
        FetchError::Rejected { .. } => {
            let advice = "check spec.customerId, spec.cloud and the operator's URLs; asked again when the spec changes, \
                          or in an hour";
            failed(Reason::FeedRejected, format!("{detail}: {advice}"), FetchOutcome::Rejected)
        }
        FetchError::RateLimited { retry_after } => {
            failed(Reason::RateLimited, detail, FetchOutcome::Paused { retry_after: *retry_after })
        }
        FetchError::Unavailable { retry_after: Some(pause), .. } => {
            failed(Reason::FeedUnavailable, detail, FetchOutcome::Paused { retry_after: Some(*pause) })
        }
        FetchError::Unavailable { retry_after: None, .. } | FetchError::UnknownAuthority { .. } => {
            failed(Reason::FeedUnavailable, detail, FetchOutcome::Failed)
        }
        FetchError::Malformed { .. } => failed(Reason::FeedMalformed, detail, FetchOutcome::Failed),
    }
}
