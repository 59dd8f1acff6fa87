//! Attacks by many resources. How many is bounded by what the machine's etcd and API server bear beside.

use super::kinds::Ground;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of annotations, of the 256 KiB that the API server takes.
const ANNOTATION_BYTES: usize = 250 << 10;

/// Each of a customer that nobody knows, each second one of one that the list is known of; then the oldest go and others come.
pub async fn resources(ground: Ground) {
    let most = ground.scale(40, 500);
    for number in 0.. {
        let customer = if number % 2 == 0 { format!("madeup{number}") } else { "testcustomer".to_owned() };
        let spec = json!({ "customerId": customer, "geo": "us" });
        ground.create(&format!("one-of-many-{number}"), spec, json!({})).await;
        if let Some(oldest) = usize::checked_sub(number, most) {
            let oldest = format!("one-of-many-{oldest}");
            ground.resources().delete(&oldest, &DeleteParams::default()).await.expect("deleted");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Suspended resources with all the annotations that they may have; then these change, one by one.
pub async fn annotations(ground: Ground) {
    let most = ground.scale(20, 300);
    let annotations =
        |number: usize| json!({ "note": number.to_string().repeat(ANNOTATION_BYTES)[..ANNOTATION_BYTES] });
    let name = |number: usize| format!("large-{number}");
    for number in 0..most {
        let spec: Value = json!({ "customerId": "testcustomer", "geo": "us", "suspend": true });
        ground.create(&name(number), spec, annotations(number)).await;
        tokio::time::sleep(PAUSE).await;
    }
    for number in 0.. {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations(number) } }));
        let resource = name(number % most);
        ground.resources().patch(&resource, &PatchParams::default(), &patch).await.expect("an accepted change");
        // etcd keeps every version for five minutes.
        tokio::time::sleep(PAUSE * 10).await;
    }
}
