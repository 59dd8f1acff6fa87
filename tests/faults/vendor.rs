//! What the vendor's list may do to policies that are applied.

use super::matrix::Row;
use super::trial::{Closed, Trial};
use citrix_allowlist::reason::Reason;
use test_support::standin::Cloud;

/// The vendor spells every region of its list so.
fn spell(trial: &Trial, geo: &str) {
    trial.world.standin.edit(Cloud::Global, |list| {
        let endpoints = list.services.iter_mut().flat_map(|service| &mut service.endpoints);
        endpoints.for_each(|endpoint| endpoint.geo = Some(geo.to_owned()));
    });
}

pub async fn list_matches_nothing(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    spell(&trial, "north-america");
    trial.ask().await;
    trial.says("FeedCurrent", "False", Reason::FeedShrank.as_str()).await;
    // The second fetch confirms the list, and it is believed.
    trial.ask().await;
    let message = trial.says("Ready", "False", Reason::LastPolicyKept.as_str()).await;
    assert!(message.contains("daas-egress stays as it was applied"), "{message}");
    spell(&trial, "us");
    trial.ask().await;
    trial.close(row).await
}
