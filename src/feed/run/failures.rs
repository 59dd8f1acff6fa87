//! What a failed request means to an entry. Pure.

use crate::feed::entry::Answer;
use crate::feed::settings::in_words;
use crate::reason::Reason;
use connectivity_allowlist::FetchError;
use connectivity_allowlist::schedule::FetchOutcome;

pub(super) fn answer_to(error: &FetchError) -> Answer {
    let mut detail = in_words(error);
    let (reason, outcome) = match error {
        FetchError::Rejected { .. } => {
            detail.push_str(
                ": check spec.customerId, spec.cloud and the operator's URLs; asked again when the spec changes, or in an hour",
            );
            (Reason::FeedRejected, FetchOutcome::Rejected)
        }
        FetchError::RateLimited { retry_after } => {
            (Reason::RateLimited, FetchOutcome::Paused { retry_after: *retry_after })
        }
        FetchError::Unavailable { retry_after: pause @ Some(_), .. } => {
            (Reason::FeedUnavailable, FetchOutcome::Paused { retry_after: *pause })
        }
        FetchError::Unavailable { retry_after: None, .. } | FetchError::UnknownAuthority { .. } => {
            (Reason::FeedUnavailable, FetchOutcome::Failed)
        }
        FetchError::Malformed { .. } => (Reason::FeedMalformed, FetchOutcome::Failed),
    };
    Answer::Failed { reason, detail, outcome }
}
