//! A simulated world for the operator: the whole controller on virtual time, in a world that breaks by a seed. So far it has the
//! cluster, [`api`]: a model of the Kubernetes API server that a [`kube::Client`] speaks to in process.
//!
//! # What the model does
//!
//! - Objects of the kinds in `src/api/kinds.yaml` and of CustomResourceDefinitions: get, list, watch, create, update, merge patch,
//!   JSON patch, server-side apply, delete, the status subresource, dry runs, and answers with metadata alone.
//! - Managed fields as structured-merge-diff v6 keeps them: owners, conflicts, forced applies, the removal of fields that are no
//!   longer applied, lists with keys, sets and atomic values.
//! - Optimistic concurrency by version and uid, generations, finalizers, propagation of deletions, generated names.
//! - Lists page by page, at the version of their first page; 410 for an expired token.
//! - Watches with selectors, bookmarks, time limits, and 410 after compaction.
//! - Defaults, pruning and validation by schema: types, enumerations, bounds, required fields, keys of lists, names.
//! - Garbage collection and the end of namespaces, one step a call. Kinds that are uninstalled and come back.
//! - Rights, admission, quotas, throttling, lost answers, delays, and watches that are held, ended or broken: see [`api::Hooks`].
//!
//! # What it does not
//!
//! - CEL rules, patterns of schemas, and Go's own validation beyond enumerations and bounds (CIDRs, keys of labels).
//! - Strategic merge patches, deletions of collections, tables, streaming lists (`sendInitialEvents`), discovery, reviews of tokens and
//!   rights, CustomResourceDefinitions as objects, several served versions, conversion.
//! - Limits of size, and the expiry of events.
//! - Managed fields of the specs of pods, services, nodes and namespaces: they are merged by field, without their lists' keys.
//! - Sentences of validations, which are Go's; their codes, reasons and fields are the same.
//!
//! `tests/differential` compares the model with a real API server. Time is tokio's, so a paused clock works. A call is served by
//! the task that polls it; only a slow one is a task of its own, since it arrives whatever its client does.

pub mod api;
pub mod world;
