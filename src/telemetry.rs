//! What the operator says about itself: log lines and metrics.

pub mod logging;
pub mod metrics;
mod observers;
pub mod reference;

pub use logging::{LogFormat, LoggingError};
pub use metrics::{Metrics, ReconcileOutcome};
pub use reference::{MetricDoc, MetricKind};
