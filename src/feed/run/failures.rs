//! What a request that brought nothing means to an entry. Pure.

use crate::feed::client::FetchError;
use crate::feed::entry::Answer;
use crate::feed::schedule::Outcome;
use crate::reason::Reason;

pub(super) fn failed(reason: Reason, detail: String, outcome: Outcome) -> Answer {
    Answer::Failed { reason, detail, outcome }
}

pub(super) fn answer_to(error: &FetchError) -> Answer {
    let detail = error.to_string();
    match error {
        FetchError::Rejected { .. } => {
            let advice = "check spec.customerId, spec.cloud and the operator's URLs; asked again when the spec changes, \
                          or in an hour";
            failed(Reason::FeedRejected, format!("{detail}: {advice}"), Outcome::Rejected)
        }
        FetchError::RateLimited { retry_after } => {
            failed(Reason::RateLimited, detail, Outcome::Paused { retry_after: *retry_after })
        }
        FetchError::Unavailable { retry_after: Some(pause), .. } => {
            failed(Reason::FeedUnavailable, detail, Outcome::Paused { retry_after: Some(*pause) })
        }
        FetchError::Unavailable { retry_after: None, .. } => failed(Reason::FeedUnavailable, detail, Outcome::Failed),
        FetchError::Malformed { .. } => failed(Reason::FeedMalformed, detail, Outcome::Failed),
    }
}
