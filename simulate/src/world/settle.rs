//! What must hold once nothing has been wrong for a while.

use super::SimulatedWorld;
use super::laws::Law;
use super::plan::{EXPIRED, QUIET};
use super::pods::{Pods, is_hidden};
use super::tenants::{POLICIES, RESOURCES};
use super::watcher::Name;
use crate::api::Stored;
use citrix_allowlist::cluster::saved_lists::SAVED_LABEL;
use connectivity_allowlist::net::{canonical_set, cidr};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long an address that is no longer answered may stay allowed in a time without faults: its retention of an hour, the next
/// sweep, and its TTL, of a week at most here.
const GONE: Duration = Duration::from_secs(3600 + 3600 / 8 + 300);
/// How long after its last use a list is kept (`forget_after`, ten minutes), and some time for it.
const FORGOTTEN: Duration = Duration::from_secs(1200);
/// How long after a change its history may be written: it gathers changes for ten seconds, and writes once a minute.
const TOLD: Duration = Duration::from_secs(150);
/// What was answered in this time has to be allowed: a little less than the time without faults.
const FRESH: Duration = Duration::from_secs(2300);
/// How long after it was published a list has to be in use, where lists are fetched every half hour: with its jitter.
const NOTICED: SignedDuration = SignedDuration::from_mins(35);
/// How often a status is written in a quiet time, at most: a list is fetched again, and confirmed once.
const STATUSES: usize = 2;
/// The metrics that count known names, addresses and lists.
const KNOWN_BY_METRICS: [&str; 3] =
    ["citrix_allowlist_names{", "citrix_allowlist_addresses ", "citrix_allowlist_feed_fetched_timestamp"];
/// How often a name is queried in a time: once a TTL, once more for its jitter, at each server, for both families.
const QUERIES: u64 = 2 * super::SERVERS.len() as u64;
/// The shortest time between two queries for a name (`--min-ttl`), in seconds.
const SHORTEST: u64 = 5;

impl SimulatedWorld {
    /// Everything has to be right now, and to stay so.
    pub(super) async fn settled(&mut self) {
        self.history
            .note(&format!("settled; answers to pods:{}", self.pods.as_ref().map_or_else(String::new, Pods::counts)));
        self.compact();
        for (name, wrong) in self.unready() {
            self.history.violated(Law::Settles, &format!("{}/{}: {wrong}", name.0, name.1));
            self.watcher.each(|known, of| {
                if let Some(object) = of.object.as_ref().filter(|_| *known == name) {
                    self.history.note(&format!("its status: {}", object["status"]));
                }
            });
        }
        self.current();
        self.bounded();
        self.exact(false);
        self.watcher.undone();
        let began = Instant::now();
        let (written, queries) = (self.watcher.written(), self.dns.queries());
        // A history follows what it tells of.
        tokio::time::sleep(TOLD).await;
        let told = self.watcher.written().histories;
        tokio::time::sleep(QUIET - TOLD).await;
        self.told();
        let now = self.watcher.written();
        let (policies, narrowed) = (now.policies.saturating_sub(written.policies), now.narrowed - written.narrowed);
        // Addresses expire in a quiet time too, and their ConfigMap follows.
        let maps = if narrowed == 0 { now.maps - written.maps } else { 0 };
        let statuses = if narrowed == 0 { now.statuses - written.statuses } else { 0 };
        if statuses > STATUSES * self.resources.len() {
            self.history
                .violated(Law::Quiet, &format!("{statuses} writes of status in {QUIET:?} in which nothing happened"));
        }
        if policies + maps > 0 && !self.dns.is_news_since(began) {
            let what = format!(
                "{policies} writes of policies and {maps} of ConfigMaps in {QUIET:?} in which nothing happened"
            );
            self.history.violated(Law::Quiet, &what);
        }
        if now.histories > told && policies + narrowed == 0 {
            let what = format!("{} writes of histories in a time in which no policy changed", now.histories - told);
            self.history.violated(Law::Quiet, &what);
        }
        let queries = (self.dns.queries() - queries) as u64;
        let most: u64 = self.dns.ttls().map(|ttl| (QUIET.as_secs() / ttl.as_secs().max(SHORTEST) + 2) * QUERIES).sum();
        if queries > most {
            self.history.violated(Law::Quiet, &format!("{queries} queries in {QUIET:?}: TTLs allow {most}"));
        }
        self.pods.iter().for_each(|pods| pods.set_asking(true));
    }

    /// The end of a world: everything that is no longer answered has expired, and nothing is left of what is deleted.
    pub(super) async fn end(&mut self) {
        self.pods.iter().for_each(|pods| pods.set_asking(false));
        tokio::time::sleep(EXPIRED).await;
        self.exact(true);
        self.replicas.iter().flatten().for_each(|process| self.woke(process));
        let metrics = |process: &super::Process| (process.metrics)();
        let known: String = self.replicas.iter().flatten().map(metrics).collect();
        if let Some(name) = KNOWN_BY_METRICS.iter().find(|name| !known.contains(**name)) {
            self.history.violated(Law::Forgets, &format!("no metric begins with {name}"));
        }
        for namespace in 0..super::NAMESPACES {
            self.api.delete_all(RESOURCES, &super::namespace_of(namespace), |_| true);
        }
        tokio::time::sleep(FORGOTTEN).await;
        let left = self.api.read(|store| {
            let policies = store.kinds().find(POLICIES.0, POLICIES.1)?;
            let maps = store.kinds().find("", "configmaps")?;
            let is_list = |stored: &Stored| stored.value["metadata"]["labels"][SAVED_LABEL] == "list";
            let maps =
                store.objects(maps, None).filter(|(key, stored)| key.namespace != super::HOME || is_list(stored));
            let (key, stored) = store.objects(policies, None).chain(maps).next()?;
            Some(format!("{} {}/{}", stored.value["kind"], key.namespace, key.name))
        });
        if let Some(left) = left {
            self.history.violated(Law::Forgets, &format!("{left} is left, and every resource is deleted"));
        }
        for replica in self.replicas.iter().flatten() {
            let metrics = (replica.metrics)();
            for name in KNOWN_BY_METRICS {
                let lines = metrics.lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0"));
                for line in lines {
                    self.history.violated(
                        Law::Forgets,
                        &format!("{}: `{line}`, and every resource is deleted", replica.account),
                    );
                }
            }
        }
    }

    /// Where lists are fetched every half hour, status names the newest one.
    fn current(&self) {
        if !self.variety.refreshes {
            return;
        }
        let long_ago = self.vendor.now().saturating_sub(NOTICED).unwrap_or_default();
        self.watcher.each(|name, known| {
            let Some(object) = &known.object else { return };
            let versions = self.vendor.versions(object["spec"]["customerId"].as_str().unwrap_or_default());
            let newest =
                versions.iter().map(|version| version.published).filter(|published| *published <= long_ago).max();
            let used = object["status"]["feed"]["version"].as_str().and_then(|used| used.parse::<Timestamp>().ok());
            if used < newest {
                let what = format!("{}/{}: status names the list {used:?}, and {newest:?} is out", name.0, name.1);
                self.history.violated(Law::Settles, &what);
            }
        });
    }

    /// No process knows more names and addresses than there are, or watches anything twice.
    fn bounded(&self) {
        let most = [("names{", self.dns.names()), ("addresses ", self.dns.answered(|answered| answered.len()))];
        let live = self.replicas.iter().flatten().filter(|process| self.calls.lives(&process.account));
        for process in live {
            let metrics = (process.metrics)();
            for (metric, most) in most {
                let lines =
                    metrics.lines().filter_map(|line| line.strip_prefix("citrix_allowlist_")?.strip_prefix(metric));
                let known: f64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
                if known > most as f64 {
                    let what = format!("{} knows {known} {metric}, and there are {most}", process.account);
                    self.history.violated(Law::Bounded, &what);
                }
            }
        }
        let mut watched = BTreeSet::new();
        for (call, _) in self.api.open_watches() {
            let selected = ["labelSelector", "fieldSelector"].map(|name| call.parameter(name).to_owned());
            let what = (call.account.clone(), call.plural.clone(), call.namespace.clone(), selected);
            if !watched.insert(what) {
                let what = format!("{} watches {} twice, in {:?}", call.account, call.plural, call.namespace);
                self.history.violated(Law::Bounded, &what);
            }
        }
    }

    /// Each resource of which status does not say that its policies are applied, and why.
    fn unready(&self) -> Vec<(Name, String)> {
        let mut unready = Vec::new();
        self.watcher.each(|name, known| {
            let Some(object) = &known.object else { return };
            if !is_ready(object) {
                unready.push((name.clone(), ready(object)));
            } else if self.pods.is_some() && !are_forwarded(object) {
                unready.push((name.clone(), format!("its zones are forwarded: {}", object["status"]["forwarder"])));
            }
        });
        let count = self.api.read(|store| {
            store.kinds().find(RESOURCES.0, RESOURCES.1).map_or(0, |kind| store.objects(kind, None).count())
        });
        if count != self.resources.len() {
            let what = format!("the world has {count} resources in place of {}", self.resources.len());
            unready.push((Name::default(), what));
        }
        unready
    }

    /// Compares what is allowed with the list that status names and with DNS. `strictly`: what is no longer answered has expired.
    fn exact(&self, strictly: bool) {
        let (history, now) = (self.history.clone(), Instant::now());
        self.watcher.each(|name, known| {
            let Some(object) = &known.object else { return };
            let customer = object["spec"]["customerId"].as_str().unwrap_or_default();
            let used = object["status"]["feed"]["version"].as_str().unwrap_or_default();
            let versions = self.vendor.versions(customer);
            let Some(version) = versions.iter().find(|version| version.published.to_string() == used) else {
                history.violated(
                    Law::Exact,
                    &format!("{}/{}: status names the list {used:?}, which never was", name.0, name.1),
                );
                return;
            };
            let networks = version.content.networks.iter().filter_map(|text| text.parse::<IpNet>().ok());
            let (fresh, recent) = self.dns.answered(|answered| {
                let since = |most: Duration| {
                    // What pods ask for may be learned, and need not be.
                    let of_names = answered.iter().filter(|((name, _), _)| {
                        version.content.names.contains(name) || (most == GONE && is_hidden(name, customer))
                    });
                    let recent = of_names.filter(|(_, (at, until))| {
                        now.duration_since(*at) < most || (most == GONE && now < *until + GONE)
                    });
                    recent.map(|((_, address), _)| IpNet::from(*address)).collect::<BTreeSet<_>>()
                };
                (since(FRESH), since(GONE))
            });
            let allowed = known.allowed();
            let least: Vec<IpNet> = networks.clone().chain(fresh).collect();
            let most = canonical_set(networks.chain(recent));
            if let Some(missing) = least.iter().find(|network| !cidr::covers(&allowed, network)) {
                history.violated(Law::Exact, &format!("{}/{}: {missing} is not allowed", name.0, name.1));
            }
            let more = allowed.iter().find(|network| !cidr::covers(&most, network));
            if let Some(more) = more.filter(|_| strictly) {
                history.violated(Law::Exact, &format!("{}/{}: {more} is still allowed", name.0, name.1));
            }
            if let Some((policy, _)) = known.policies.iter().find(|(_, allowed)| allowed.is_empty()) {
                history.violated(Law::Exact, &format!("{}/{}: {policy} allows nothing", name.0, name.1));
            }
        });
    }
}

fn condition(object: &Value) -> Option<&Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")
}

fn is_ready(object: &Value) -> bool {
    condition(object).is_some_and(|condition| {
        condition["status"] == "True" && condition["observedGeneration"] == object["metadata"]["generation"]
    })
}

/// Whether status says that the zones of the list arrive, as they do here.
fn are_forwarded(object: &Value) -> bool {
    let forwarder = &object["status"]["forwarder"];
    forwarder["zonesTotal"].as_i64().is_some_and(|total| total > 0) && forwarder["forwarded"] == forwarder["zonesTotal"]
}

fn ready(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    condition(object).map_or_else(
        || "no status".to_owned(),
        |condition| format!("{}: {}", text(&condition["reason"]), text(&condition["message"])),
    )
}
