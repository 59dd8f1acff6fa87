//! What admission of a cluster does to writes, while a fault lasts.

use super::namespace_of;
use super::tenants::POLICIES;
use crate::api::{Admission, Admit, ApiServer, Phase};
use citrix_allowlist::lock::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The steps of the faults that last, by their numbers. Clones are the same.
#[derive(Clone, Default)]
pub struct WorldAdmission(Arc<Mutex<BTreeMap<usize, Admit>>>);

impl WorldAdmission {
    /// The admission of a server.
    pub fn of(api: &ApiServer) -> Self {
        let all = Self::default();
        let steps = all.clone();
        let admit: Admit =
            Box::new(move |admission, object| lock(&steps.0).values_mut().try_for_each(|step| step(admission, object)));
        api.set(|hooks| hooks.admission.push(admit));
        all
    }

    /// Adds the step of a fault.
    pub fn add(&self, number: usize, step: Admit) {
        lock(&self.0).insert(number, step);
    }

    /// Takes it away.
    pub fn remove(&self, number: usize) {
        lock(&self.0).remove(&number);
    }
}

/// Each policy of a namespace gets a label and an annotation, as by a webhook.
pub fn altering(namespace: usize) -> Admit {
    let namespace = namespace_of(namespace);
    Box::new(move |admission: &Admission<'_>, object| {
        let is_meant = admission.kind.plural == POLICIES.1 && admission.key.namespace == namespace;
        if is_meant && admission.phase == Phase::Alter {
            object["metadata"]["labels"]["webhook"] = "was-here".into();
            object["metadata"]["annotations"]["webhook"] = admission.manager.into();
        }
        Ok(())
    })
}
