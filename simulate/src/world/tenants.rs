//! People in the cluster: what they do to policies, resources, namespaces and the definition, and how they undo it.

use super::{NAMESPACES, SimulatedWorld, Size, customer_of, namespace_of, resource_of};
use crate::api::Stored;
use citrix_allowlist::crd::REFRESH_ANNOTATION;
use fastrand::Rng;
use serde_json::{Value, json};

/// The resource of policies, by group and plural name.
pub const POLICIES: (&str, &str) = ("networking.k8s.io", "networkpolicies");
/// The operator's own.
pub const RESOURCES: (&str, &str) = ("citrix-allowlist.io", "citrixallowlists");
/// The end of a name that a resource has for a while.
const RENAMED: &str = "-renamed";
/// How many resources a flood has: more than the vendor takes requests in half an hour.
const FLOOD: usize = 20;

/// What somebody does. Numbers are those of namespaces, or of resources.
#[derive(Clone, Copy, Debug)]
pub enum Tenant {
    /// Deletes every policy of a namespace.
    DeletePolicies(usize),
    /// Opens every policy of a namespace to the world.
    Open(usize),
    /// Puts an address of the cluster among those of every policy of a namespace.
    Forge(usize),
    /// Takes every rule out of the policies of a namespace.
    Cut(usize),
    /// Takes the owner and the labels from the policies of a namespace, and deletes them at the end.
    Take(usize),
    /// Adds a label to the policies of a namespace, which is nobody's business.
    Label(usize),
    /// Deletes a resource, and creates it again.
    DeleteResource(usize),
    /// Gives a resource another customer.
    Respecify(usize, usize),
    /// Deletes a namespace, and creates it again with its resources.
    DeleteNamespace(usize),
    /// Uninstalls the definition, and installs it again with all resources.
    Uninstall,
    /// Creates resources of customers that the vendor does not know, and deletes them.
    Flood(usize),
    /// Replaces a resource by one of another name and the same spec, and that by the first again.
    Rename(usize),
}

impl Tenant {
    /// The next deed of a seed.
    pub fn pick(random: &mut Rng, size: Size) -> Self {
        let (namespace, resource) = (random.usize(..NAMESPACES), random.usize(..size.resources));
        match random.u8(..12) {
            0 | 1 => Self::DeletePolicies(namespace),
            2 => Self::Open(namespace),
            3 => Self::Cut(namespace),
            4 => Self::Take(namespace),
            5 => Self::Label(namespace),
            6 => Self::DeleteResource(resource),
            7 => Self::Respecify(resource, random.usize(..size.customers)),
            8 => Self::DeleteNamespace(namespace),
            9 => Self::Uninstall,
            10 => Self::Forge(namespace),
            _ => Self::Flood(namespace),
        }
    }
}

impl SimulatedWorld {
    pub(super) fn act(&mut self, tenant: &Tenant) {
        let edit = |namespace: usize, change: &dyn Fn(&mut Value)| {
            self.api.edit(POLICIES, &namespace_of(namespace), "kubectl-edit", |_| true, change);
        };
        match *tenant {
            Tenant::DeletePolicies(namespace) => self.api.delete_all(POLICIES, &namespace_of(namespace), |_| true),
            Tenant::Open(namespace) => edit(namespace, &|policy| policy["spec"]["egress"] = json!([{}])),
            Tenant::Forge(namespace) => edit(namespace, &|policy| {
                for rule in policy["spec"]["egress"].as_array_mut().into_iter().flatten() {
                    if let Some(peers) =
                        rule["to"].as_array_mut().filter(|peers| peers.iter().any(|peer| peer.get("ipBlock").is_some()))
                    {
                        peers.push(json!({ "ipBlock": { "cidr": "10.96.0.1/32" } }));
                    }
                }
            }),
            Tenant::Cut(namespace) => edit(namespace, &|policy| policy["spec"]["egress"] = json!([])),
            Tenant::Take(namespace) => edit(namespace, &|policy| {
                policy["metadata"]["ownerReferences"] = json!([]);
                policy["metadata"]["labels"] = json!({ "owner": "somebody" });
            }),
            Tenant::Label(namespace) => {
                edit(namespace, &|policy| policy["metadata"]["labels"]["cost-centre"] = "42".into())
            }
            Tenant::DeleteResource(resource) => {
                let (namespace, name) = resource_of(resource);
                self.api.delete_all(RESOURCES, &namespace, |stored| stored.metadata("name") == name);
            }
            Tenant::Respecify(resource, customer) => {
                let (namespace, name) = resource_of(resource);
                self.resources[resource]["spec"]["customerId"] = customer_of(customer).into();
                let is_meant = |stored: &Stored| stored.metadata("name") == name;
                let change = |object: &mut Value| object["spec"]["customerId"] = customer_of(customer).into();
                self.api.edit(RESOURCES, &namespace, "kubectl-edit", is_meant, change);
            }
            Tenant::DeleteNamespace(namespace) => {
                let name = namespace_of(namespace);
                self.api.delete_all(("", "namespaces"), "", |stored| stored.metadata("name") == name);
            }
            Tenant::Uninstall => {
                self.api.with(|store| store.install(RESOURCES.0, RESOURCES.1, false));
            }
            Tenant::Rename(resource) => {
                let (namespace, name) = resource_of(resource);
                self.api.delete_all(RESOURCES, &namespace, |stored| stored.metadata("name") == name);
                let mut renamed = self.resources[resource].clone();
                renamed["metadata"]["name"] = format!("{name}{RENAMED}").into();
                // The namespace may be gone.
                let _ = self.api.add(&renamed);
            }
            Tenant::Flood(namespace) => {
                for number in 0..FLOOD {
                    let spec = json!({ "customerId": format!("nobody{number}"), "geo": "us" });
                    // The namespace may be gone.
                    let _ = self.api.add(&resource(&namespace_of(namespace), &format!("flood{number}"), &spec));
                }
            }
        }
    }

    /// A flood is over, and a resource has its old name again.
    fn drain(&self, namespace: usize) {
        let flood = |stored: &Stored| {
            let name = stored.metadata("name");
            name.starts_with("flood") || name.ends_with(RENAMED)
        };
        self.api.delete_all(RESOURCES, &namespace_of(namespace), flood);
    }

    pub(super) fn undo(&mut self, tenant: &Tenant) {
        match *tenant {
            Tenant::Take(namespace) => {
                let taken = |stored: &Stored| stored.value["metadata"]["labels"]["owner"] == "somebody";
                self.api.delete_all(POLICIES, &namespace_of(namespace), taken);
            }
            Tenant::Uninstall => {
                self.api.with(|store| store.install(RESOURCES.0, RESOURCES.1, true));
                // A flood that was over meanwhile could not be deleted.
                (0..NAMESPACES).for_each(|namespace| self.drain(namespace));
            }
            Tenant::Flood(namespace) => self.drain(namespace),
            Tenant::Rename(resource) => self.drain(resource % NAMESPACES),
            Tenant::DeletePolicies(_)
            | Tenant::Open(_)
            | Tenant::Cut(_)
            | Tenant::Forge(_)
            | Tenant::Label(_)
            | Tenant::DeleteResource(_)
            | Tenant::Respecify(..)
            | Tenant::DeleteNamespace(_) => {}
        }
        self.create_missing();
    }

    /// Somebody asks for newer lists.
    pub(super) fn refresh(&self, number: usize) {
        for namespace in 0..NAMESPACES {
            self.api.edit(
                RESOURCES,
                &namespace_of(namespace),
                "kubectl-annotate",
                |_| true,
                |object| {
                    object["metadata"]["annotations"][REFRESH_ANNOTATION] = number.to_string().into();
                },
            );
        }
    }

    /// Creates whatever namespace and resource is not there, as GitOps does. A namespace that still terminates stays away until the
    /// next time.
    pub(super) fn create_missing(&self) {
        for namespace in 0..NAMESPACES {
            let _ = self.api.add_namespace(&namespace_of(namespace));
        }
        for resource in &self.resources {
            let _ = self.api.add(resource);
        }
    }
}

/// A resource.
pub fn resource(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}
