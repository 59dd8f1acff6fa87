//! A plan becomes Kubernetes objects. Pure: a file per engine.
