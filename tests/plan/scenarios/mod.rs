//! Scenarios: this world in, this decision out.

mod basics;
mod behind;
mod keeps;
mod lists;
mod random;
mod restarts;
mod waits;

use citrix_allowlist::crd::{CitrixAllowlist, SELECTION_ANNOTATION};
use citrix_allowlist::engines::{Engines, Limits, network_policy};
use citrix_allowlist::export;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::feed::FeedView;
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState, Reached};
use citrix_allowlist::objects::changes::Change;
use citrix_allowlist::objects::desired::Desired;
use citrix_allowlist::objects::key::ObjectKey;
use citrix_allowlist::objects::observed::{self, Observed, RecoveredObject};
use citrix_allowlist::pipeline::*;
use citrix_allowlist::plan::{KnownZones, Selection};
use citrix_allowlist::reason::Reason;
use connectivity_allowlist::document::{self, Reading};
use connectivity_allowlist::net::{DomainName, cidr};
use connectivity_allowlist::{Allowlist, Cloud};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long names whose servers fail hold a first policy here.
const WAIT: Duration = Duration::from_secs(300);
/// `addressRetention` here.
const RETENTION: Duration = Duration::from_secs(3600);
/// The time of day, where it matters.
const NOW: &str = "2026-06-02T00:00:00Z";
/// A name of the usual list, outbound on 443.
const A: &str = "a.example.com";
/// Another one.
const B: &str = "b.example.com";
/// The network of the usual list, outbound on 443.
const NETWORK: &str = "20.0.0.0/24";

/// A world that changes step by step. At first: one resource for `us`, outbound; a list with two names and a network; both
/// names answered; nothing applied.
struct Scene {
    resource: Value,
    list: Arc<Allowlist>,
    /// Whether no list is there yet.
    lacks_list: bool,
    /// The list that was followed before, and how many fetches have returned the present one.
    previous: Option<Arc<Allowlist>>,
    confirmations: u32,
    /// When the list was last answered.
    answered: Option<Timestamp>,
    answers: BTreeMap<String, (Vec<&'static str>, NameState)>,
    facts: Arc<ClusterFacts>,
    own_pod: OwnPod,
    pods: AffectedPods,
    zones: KnownZones,
    lacks_memory: bool,
    now: Instant,
    carry: Carry,
    memo: Memo,
    objects: BTreeMap<ObjectKey, Desired>,
    /// Whether objects say what was selected when they were written: those of 0.1.0 do not.
    says_selection: bool,
    /// What objects tell a process that has just begun; `None` once it has been asked.
    memories: Option<Vec<RecoveredObject>>,
    /// The names that it has learned.
    learned: Arc<BTreeSet<DomainName>>,
    /// When each object was last written, in writes of a whole decision, a second each.
    written: BTreeMap<ObjectKey, i64>,
    seconds: i64,
}

/// A service of a list for `us`: outbound on TCP 443, with these names and networks.
fn service(name: &str, names: &[&str], networks: &[&str]) -> Value {
    json!({ "name": name, "direction": "outbound", "tcpPorts": "443", "required": true,
        "endpoints": [{ "geo": "us", "fqdns": names, "ips": networks }] })
}

/// The same towards the cluster.
fn inbound(name: &str, networks: &[&str]) -> Value {
    json!({ "name": name, "direction": "inbound", "tcpPorts": "443", "required": true,
        "endpoints": [{ "geo": "us", "ips": networks }] })
}

fn list(services: &[Value]) -> Arc<Allowlist> {
    list_of("v1", services)
}

fn list_of(version: &str, services: &[Value]) -> Arc<Allowlist> {
    let text = json!({ "meta": { "version": version }, "services": services }).to_string();
    let document = document::parse(text.as_bytes(), &Reading::for_customer("acme")).expect("a list");
    Arc::new(document.received_at(time("2026-06-01T00:00:00Z")))
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn failing() -> NameState {
    NameState::Failing { error: "SERVFAIL".into(), stale: false, ever_answered: false }
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            resource: json!({
                "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
                "metadata": { "name": "daas", "namespace": "web", "uid": "1", "generation": 1 },
                "spec": { "customerId": "acme", "geo": "us", "dnsEgress": "None", "addressRetention": "1h" },
            }),
            list: Arc::default(),
            lacks_list: false,
            previous: None,
            confirmations: 1,
            answered: None,
            answers: BTreeMap::new(),
            facts: Arc::default(),
            own_pod: OwnPod::None,
            pods: AffectedPods::default(),
            zones: KnownZones::default(),
            lacks_memory: false,
            now: Instant::now(),
            carry: Carry::default(),
            memo: Memo::default(),
            objects: BTreeMap::new(),
            says_selection: true,
            memories: Some(Vec::new()),
            learned: Arc::default(),
            written: BTreeMap::new(),
            seconds: 0,
        };
        scene.begin_with(&[service("DaaS", &[A, B], &[NETWORK])]);
        scene.answer(A, &["13.64.0.1"]);
        scene.answer(B, &["13.64.0.2"]);
        scene
    }

    /// The same after everything was applied once.
    fn applied() -> Self {
        let mut scene = Self::new();
        assert_eq!(scene.apply(), "Applied | daas-egress 13.64.0.1/32 13.64.0.2/32 20.0.0.0/24");
        scene
    }

    /// This list is the first that there is.
    fn begin_with(&mut self, services: &[Value]) {
        self.list = list(services);
        self.previous = None;
    }

    /// The vendor publishes a list; the first fetch brings it.
    fn publish(&mut self, services: &[Value]) {
        self.lacks_list = false;
        let newest = list(services);
        if newest == self.list {
            return self.confirm();
        }
        self.previous = Some(std::mem::replace(&mut self.list, newest));
        self.confirmations = 1;
    }

    /// The next fetch brings the same.
    fn confirm(&mut self) {
        self.confirmations += 1;
        self.previous = None;
    }

    fn answer(&mut self, name: &str, addresses: &[&'static str]) {
        let state = if addresses.is_empty() { NameState::Absent } else { NameState::Answered };
        self.answers.insert(name.to_owned(), (addresses.to_vec(), state));
    }

    /// No answer, in this state: what was known of the name is forgotten.
    fn no_answer(&mut self, name: &str, state: NameState) {
        self.answers.insert(name.to_owned(), (Vec::new(), state));
    }

    /// The user edits a field of the spec.
    fn edit(&mut self, field: &str, value: Value) {
        self.resource["spec"][field] = value;
        let generation = self.resource["metadata"]["generation"].as_i64().unwrap_or_default();
        self.resource["metadata"]["generation"] = json!(generation + 1);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Another process takes over: it knows what the cluster holds and the saved lists, and has asked nobody yet.
    fn restart(&mut self) {
        self.carry = Carry::default();
        self.memories = Some(self.tell());
        for name in [A, B] {
            self.no_answer(name, NameState::Waiting);
        }
    }

    fn tell(&self) -> Vec<RecoveredObject> {
        let described = |(key, object)| {
            let written_at = self.written.get(key).and_then(|seconds| Timestamp::from_second(*seconds).ok());
            RecoveredObject { memory: Arc::new(self.remembered(key, object)), written_at }
        };
        self.objects.iter().map(described).collect()
    }

    fn remembered(&self, key: &ObjectKey, object: &Desired) -> observed::RecoveredState {
        let body = object.body.json.get();
        if key.is_policy() {
            let spec: NetworkPolicySpec = serde_json::from_str(body).expect("a spec");
            let policy = NetworkPolicy { metadata: object.metadata.clone(), spec: Some(spec) };
            let rules = network_policy::remembered(std::slice::from_ref(&policy));
            let selection = self.observed(object).selection;
            observed::RecoveredState::Rules { rules, users: Vec::new(), selection }
        } else {
            let data = serde_json::from_str(body).ok();
            let map = ConfigMap { data, ..ConfigMap::default() };
            let (names, networks) = (export::remembered(&map), export::remembered_networks(&map));
            observed::RecoveredState::Attribution { names, networks, learned: export::remembered_learned(&map) }
        }
    }

    fn observed(&self, object: &Desired) -> Observed {
        let annotations = object.metadata.annotations.as_ref();
        let selection = annotations.and_then(|all| all.get(SELECTION_ANNOTATION)?.parse().ok());
        Observed {
            selection: selection.filter(|_| self.says_selection),
            ..observed::fold_answer(&object.metadata, object)
        }
    }

    fn existing(&self) -> BTreeMap<ObjectKey, Observed> {
        self.objects.iter().map(|(key, object)| (key.clone(), self.observed(object))).collect()
    }

    fn view(&self) -> FeedView {
        FeedView {
            allowlist: (!self.lacks_list).then(|| Arc::clone(&self.list)),
            previous: self.previous.clone(),
            confirmations: self.confirmations,
            digest: 1,
            reason: if self.lacks_list { Reason::WaitingForFeed } else { Reason::Fetched },
            message: String::new(),
            current: !self.lacks_list,
            problems: Vec::new(),
            cloud: Cloud::Global,
            fetched_at: self.answered,
            next_fetch: None,
            transaction_id: None,
            handled_refresh: None,
        }
    }

    fn known(&self, selection: &Selection) -> Arc<Addresses> {
        let known = |name: &DomainName| {
            let waiting = || (Vec::new(), NameState::Waiting);
            let (addresses, state) = self.answers.get(name.as_str()).cloned().unwrap_or_else(waiting);
            let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
            let known = NameAddresses { addresses, state, refused: vec![], evicted: 0, reached: Reached::default() };
            (name.clone(), Arc::new(known))
        };
        Arc::new(Addresses { by_name: selection.names.iter().map(known).collect() })
    }

    /// What the controller gathers where there is a list.
    fn gather(
        &mut self,
        request: &Request,
        carry: &Carry,
        existing: &BTreeMap<ObjectKey, Observed>,
        guard: &Arc<Guard>,
        newest: Arc<Allowlist>,
    ) -> Gathered {
        let view = self.view();
        let mut objects = self.memories.take();
        if let Some(objects) = &objects {
            Arc::make_mut(&mut self.learned).extend(learned(objects));
        }
        let select = |list: &Arc<Allowlist>| self.memo.selection(&request.choices, list, guard, &self.learned);
        let accepted = accept(carry, request.generation, &view, &newest, |list| select(list).listed());
        let selection = select(&accepted.list);
        if must_recover_again(carry, &selection) {
            objects = Some(self.tell());
        }
        let (state, list) = ((carry, request, &view), (&*accepted.list, &*selection));
        let not_yet = objects.as_deref().and_then(|it| NotYet::judge(state, list, existing, it, time(NOW)));
        if let Some(not_yet) = not_yet {
            self.memories = objects;
            return Gathered::NoList(not_yet.view(view));
        }
        let recovered = objects.map(|objects| recover(&objects, request.selected, &selection, &self.facts));
        let (answers, pods) = (self.known(&selection), self.pods.clone());
        let view = Some(view);
        Gathered::Everything(Box::new(Inputs {
            view,
            newest,
            accepted,
            selection,
            recovered,
            answers,
            answers_read: self.now,
            zones: self.zones.clone(),
            pods,
        }))
    }

    /// The steps of a reconcile up to its decision, as the controller takes them.
    fn decide(&mut self) -> Decision {
        let resource: CitrixAllowlist = serde_json::from_value(self.resource.clone()).expect("a resource");
        let carry = std::mem::take(&mut self.carry);
        let request = match validate(&resource, &["kube-system".to_owned()], &self.own_pod) {
            Ok(request) => request,
            Err(refusal) => return Decision::refuse(refusal, carry),
        };
        let existing = self.existing();
        let guard = Arc::new(Guard::new(GuardSettings::default(), &self.facts));
        let is_known = carry.accepted.is_some() || existing.keys().any(ObjectKey::is_policy);
        let gathered = match self.view().allowlist {
            _ if self.lacks_memory && !is_known => Gathered::WaitsForMemory("memory is short".to_owned()),
            None => Gathered::NoList(self.view()),
            Some(newest) => self.gather(&request, &carry, &existing, &guard, newest),
        };
        let world = World {
            request: &request,
            existing: &existing,
            facts: &self.facts,
            guard: &guard,
            engines: &Engines::default(),
            limits: &Limits::default(),
            first_policy_wait: WAIT,
            preview: false,
            gathered,
            now: self.now,
        };
        decide(&world, carry, &self.memo)
    }

    /// Decides and applies. Says the outcome, then what each policy in the cluster allows by then.
    fn apply(&mut self) -> String {
        let decision = self.decide();
        self.carry_out(&decision)
    }

    fn carry_out(&mut self, decision: &Decision) -> String {
        self.carry = decision.next.clone();
        self.seconds += 1;
        for change in decision.changes(&self.existing()).writes {
            self.written.insert(change.key().clone(), self.seconds);
            match change {
                Change::Create(key, desired) | Change::Update(key, desired, _) => {
                    drop(self.objects.insert(key, desired))
                }
                Change::Delete(key, _) => drop(self.objects.remove(&key)),
            }
        }
        let shown = format!("{:?}", decision.outcome);
        let mut text = shown.split([' ', '(']).next().unwrap_or_default().to_owned();
        for (key, object) in self.objects.iter().filter(|(key, _)| key.is_policy()) {
            let spec: NetworkPolicySpec = serde_json::from_str(object.body.json.get()).expect("a spec");
            let rules = network_policy::rules(&spec);
            let networks: BTreeSet<String> = rules.iter().flat_map(|(.., networks)| networks).map(cidr::text).collect();
            let networks: Vec<String> = networks.into_iter().collect();
            text.push_str(&format!(" | {} {}", key.name, networks.join(" ")));
        }
        text
    }

    /// The kinds of the problems that the present decision tells.
    fn problems(&mut self) -> Vec<String> {
        let carry = self.carry.clone();
        let decision = self.decide();
        self.carry = carry;
        decision.problems.iter().map(|problem| format!("{:?} {}", problem.kind, problem.subject)).collect()
    }
}
