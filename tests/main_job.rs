//! The main job, end to end on real parts: a resource becomes policies, and they follow.

mod common;

use common::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let stage = Stage::set().await;
    let operator = test_support::operator::Operator::start_unready(&stage.operator_config()).unwrap();
    stage.apply("daas-us", "{ customerId: testcustomer, geo: us, direction: outbound }").await;
    let r = std::panic::AssertUnwindSafe(stage.ready("daas-us"));
    let r = futures::FutureExt::catch_unwind(r).await;
    println!("{}", operator.log());
    println!(
        "{}",
        stage
            .cluster
            .kubectl(&["-n", stage.namespace.name(), "get", "cal,netpol,cm,events", "-o", "wide"])
            .await
            .unwrap()
    );
    println!("{}", stage.cluster.kubectl(&["-n", stage.namespace.name(), "get", "cal", "-o", "yaml"]).await.unwrap());
    r.unwrap();
}
