//! What the vendor's list may do to policies that are applied.

use super::matrix::Row;
use super::trial::{Closed, Trial};
use citrix_allowlist::reason::Reason;
use test_support::dns::RecordType;
use test_support::standin::StandinCloud;

/// The vendor spells every region of its list so.
fn spell(trial: &Trial, geo: &str) {
    trial.world.standin.edit(StandinCloud::Global, |list| {
        let endpoints = list.services.iter_mut().flat_map(|service| &mut service.endpoints);
        endpoints.for_each(|endpoint| endpoint.geo = Some(geo.to_owned()));
    });
}

/// How many names the list gets at once, of two that it has.
const GROWN: usize = 300;

pub async fn list_grew(row: &Row) -> Closed {
    let mut trial = Trial::begin().await;
    trial.fault();
    let before = trial.world.standin.document(StandinCloud::Global);
    trial.world.standin.edit(StandinCloud::Global, |list| {
        let names = (0..GROWN).map(|number| format!("n{number}.grown.example.com"));
        list.services.iter_mut().for_each(|service| service.endpoints[0].fqdns.extend(names.clone()));
    });
    trial.ask().await;
    let message = trial.says("FeedCurrent", "False", Reason::FeedGrew.as_str()).await;
    assert!(message.contains("over 100 times as many"), "{message}");
    assert_eq!(trial.world.dns.count("n0.grown.example.com", RecordType::A), 0, "nothing of it is asked for");
    trial.world.standin.publish(StandinCloud::Global, before);
    trial.ask().await;
    trial.close(row).await
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
