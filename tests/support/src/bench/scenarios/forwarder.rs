//! The forwarder: what a known name costs beside CoreDNS' own `forward`, how long a first-seen one waits, and what learned names
//! take.

use super::{LIMIT, POLICY, seconds};
use crate::bench::candidate::{Candidate, Running, Usage, mebibytes};
use crate::bench::counts::ApiCalls;
use crate::bench::figures::{Report, Sample};
use crate::bench::floor::{self, Written};
use crate::bench::load::{LoadAnswer, Questions, ask};
use crate::bench::stage::Stage;
use crate::bench::wildcards;
use crate::coredns::CoreDns;
use crate::free_port::free_port;
use crate::standin::StandinCloud;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How many questions for known names are asked in a second.
const KNOWN_PER_SECOND: f64 = 2000.0;
/// How many names that were learned are among the known ones; there are as many exact names.
const KNOWN_LEARNED: usize = 100;
/// How many first-seen names are asked for in a second.
const UNSEEN_PER_SECOND: f64 = 20.0;
/// How many names are learned in a second where only their memory is of interest: the operator learns 50 at most.
const MANY_PER_SECOND: f64 = 45.0;
/// `--forward-settle`, its default, in milliseconds.
const SETTLE_MS: f64 = 250.0;
/// How often the policy is applied without an operator, to compare the wait with.
const BARE_WRITES: usize = 50;
/// How long the API server is asked nothing before the operator counts as quiet.
const QUIET: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct ForwarderExtent {
    /// How often CoreDNS and the operator are asked in turn for known names, and for how long each time.
    pub pairs: usize,
    /// See [`Self::pairs`].
    pub slice: Duration,
    /// How many first-seen names.
    pub unseen: usize,
    /// How many names are learned for their memory.
    pub many: usize,
}

/// Measures the forwarder of this operator.
///
/// # Errors
/// Where something does not come about.
pub async fn forwarder(own: &Candidate, report: &mut Report, extent: ForwarderExtent) -> anyhow::Result<()> {
    let known: Vec<String> = wildcards::exact().into_iter().chain(wildcards::under("known", KNOWN_LEARNED)).collect();
    let unseen = wildcards::under("unseen", extent.unseen);
    let forwarding = Forwarding::start(own, known.iter().chain(&unseen)).await?;
    let all: Vec<String> = (0..wildcards::SERVICES).map(wildcards::service).chain(["Exact".to_owned()]).collect();
    forwarding.resource("pods", &all).await?;
    known_names(&forwarding, report, &known, extent).await?;
    first_seen(&forwarding, report, unseen).await?;
    drop(forwarding);
    memory(own, report, extent.many).await
}

/// An operator that forwards, and what is around it.
struct Forwarding {
    // Dropped first: it would log that everything else is gone.
    operator: Running,
    stage: Stage,
    /// Where the operator is asked.
    address: SocketAddr,
    /// A CoreDNS that forwards everything to the upstream, as the operator does.
    plain: CoreDns,
    /// The upstream of both, with a zone file, in a process of its own.
    upstream: CoreDns,
    /// The cluster's DNS, which forwards the zone to the operator: it answers the operator's probes, and nothing else is asked of it.
    cluster_dns: CoreDns,
}

impl Forwarding {
    /// With these names in the upstream.
    async fn start<'a>(own: &Candidate, names: impl Iterator<Item = &'a String>) -> anyhow::Result<Self> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?);
        let corefile = ".:{port} {\n bind {address}\n file {zones}/root.db . { reload 0 }\n}\n";
        let upstream = CoreDns::start(corefile, &[("root.db", &wildcards::zone(names))]).await?;
        let forward = |zone: &str, to: SocketAddr| {
            format!("{zone}:{{port}} {{\n bind {{address}}\n errors\n forward . {to}\n}}\n")
        };
        let everything = forward(".", upstream.address());
        let plain = CoreDns::start(&everything, &[]).await?;
        let both = forward(wildcards::ZONE, address) + &everything;
        let cluster_dns = CoreDns::start(&both, &[]).await?;
        let mut candidate = own.clone();
        let upstream_flag = format!("--forward-upstream={}", upstream.address());
        candidate.command.extend([format!("--forward-listen={address}"), upstream_flag]);
        let stage = Stage::set(&candidate).await?;
        stage.standin.publish(StandinCloud::Global, wildcards::document());
        let operator = stage.operator_asking(cluster_dns.address()).await?;
        Ok(Self { operator, stage, address, plain, upstream, cluster_dns })
    }

    /// Creates a resource with these services of the list, in a namespace of its own, and waits until it is quiet.
    async fn resource(&self, namespace: &str, services: &[String]) -> anyhow::Result<()> {
        self.stage.namespace(namespace).await?;
        let spec = json!({ "customerId": "benchcust", "geo": "us", "services": { "include": services } });
        self.stage.create_own(namespace, "one", spec).await?;
        let started = Instant::now();
        while self.stage.ready(namespace).await? < 1 {
            anyhow::ensure!(started.elapsed() < LIMIT, "{namespace} is not ready within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// With another process of the operator.
    async fn restarted(self) -> anyhow::Result<Self> {
        let Self { operator, stage, address, plain, upstream, cluster_dns } = self;
        drop(operator);
        let operator = stage.operator_asking(cluster_dns.address()).await?;
        Ok(Self { operator, stage, address, plain, upstream, cluster_dns })
    }

    /// Waits until every zone is known to be forwarded, and nothing is written any more.
    async fn quiet(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let forwarded = "citrix_allowlist_forward_zones{state=\"forwarded\"}";
        while self.metric(forwarded).await? < wildcards::WILDCARDS as f64 {
            anyhow::ensure!(started.elapsed() < LIMIT, "not every zone is forwarded within {LIMIT:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        loop {
            let before = self.calls().await?;
            tokio::time::sleep(QUIET).await;
            if self.calls().await?.since(before).writes < 0.5 {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < LIMIT, "it is not quiet within {LIMIT:?}");
        }
    }

    async fn calls(&self) -> anyhow::Result<ApiCalls> {
        ApiCalls::so_far(&self.stage.client, &self.stage.candidate.plural).await
    }

    /// The sum of this operator's metrics whose lines begin so.
    async fn metric(&self, begins: &str) -> anyhow::Result<f64> {
        let text = self.operator.get("/metrics").await?;
        let lines = text.lines().filter(|line| line.starts_with(begins));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    async fn answered(&self, how: &str) -> anyhow::Result<f64> {
        self.metric(&format!("citrix_allowlist_forwarded_questions_total{{result=\"{how}\"}}")).await
    }

    /// Asks for names that are to be learned, once each, and says what came of it.
    async fn learn(&self, names: Vec<String>, per_second: f64) -> anyhow::Result<LoadAnswer> {
        let mut asked = LoadAnswer::default();
        // An id has 16 bits.
        for names in names.chunks(20_000) {
            let questions = Questions::of(names.to_vec())?;
            asked = ask(self.address, &questions, questions.count(), per_second).await?;
        }
        Ok(asked)
    }
}

/// Known names, of CoreDNS and of the operator in turns.
async fn known_names(
    forwarding: &Forwarding,
    report: &mut Report,
    known: &[String],
    extent: ForwarderExtent,
) -> anyhow::Result<()> {
    forwarding.learn(known.to_vec(), UNSEEN_PER_SECOND).await?;
    forwarding.quiet().await?;
    let questions = Questions::of(known.to_vec())?;
    let of_slice = |slice: Duration| (KNOWN_PER_SECOND * seconds(slice)) as usize;
    let servers = [forwarding.plain.address(), forwarding.address, forwarding.upstream.address()];
    for server in servers {
        ask(server, &questions, of_slice(Duration::from_secs(1)), KNOWN_PER_SECOND).await?;
    }
    let (writes, calls) = (forwarding.metric("citrix_allowlist_writes_total").await?, forwarding.calls().await?);
    let passed = forwarding.answered("passed").await?;
    let [mut plain, mut own, mut upstream] = [(); 3].map(|()| Slices::default());
    let (mut ratios_p50, mut ratios_p99) = (Sample::default(), Sample::default());
    for pair in 0..extent.pairs {
        // Each is the first one in turn: the other meets what it leaves behind.
        let order = if pair.is_multiple_of(2) { [0, 1, 2] } else { [1, 0, 2] };
        for server in order {
            let asked = ask(servers[server], &questions, of_slice(extent.slice), KNOWN_PER_SECOND).await?;
            match server {
                0 => plain.add(&asked),
                1 => own.add(&asked),
                _ => upstream.add(&asked),
            }
        }
        ratios_p50.add(own.p50.last() / plain.p50.last().max(1e-6));
        ratios_p99.add(own.p99.last() / plain.p99.last().max(1e-6));
    }
    let calls = forwarding.calls().await?.since(calls);
    let written = forwarding.metric("citrix_allowlist_writes_total").await? - writes;
    let passed = forwarding.answered("passed").await? - passed;
    report.note(
        "a known name, asked 2,000 times a second: the forwarder beside CoreDNS' own `forward` to the same upstream",
        format!(
            "{ratios_p50} times at p50, {ratios_p99} times at p99 ({} pairs of {:.0} s); p50 {:.2} and p99 {:.2} ms against {:.2} \
             and {:.2}; the upstream itself: {:.2} and {:.2}; sent late by p99 {:.2} ms; lost: {} against {}",
            extent.pairs,
            seconds(extent.slice),
            own.p50.median(),
            own.p99.median(),
            plain.p50.median(),
            plain.p99.median(),
            upstream.p50.median(),
            upstream.p99.median(),
            own.late.median(),
            own.lost,
            plain.lost
        ),
        "1.5 times at p50 and at p99",
        Some(ratios_p50.median() <= 1.5 && ratios_p99.median() <= 1.5 && own.lost <= plain.lost),
        &[
            ("ratio_p50", ratios_p50.median()),
            ("ratio_p99", ratios_p99.median()),
            ("p50_ms", own.p50.median()),
            ("p99_ms", own.p99.median()),
            ("coredns_p50_ms", plain.p50.median()),
            ("coredns_p99_ms", plain.p99.median()),
            ("upstream_p50_ms", upstream.p50.median()),
            ("upstream_p99_ms", upstream.p99.median()),
            ("sent_late_p99_ms", own.late.median()),
            ("lost", own.lost as f64),
            ("coredns_lost", plain.lost as f64),
        ],
    );
    report.note(
        "writes while pods ask only for known names",
        format!("{:.0}, in {passed:.0} questions", calls.writes.max(written)),
        "0",
        Some(calls.writes.max(written) < 0.5),
        &[("writes", calls.writes.max(written)), ("questions", passed)],
    );
    Ok(())
}

/// The slices of one server.
#[derive(Default)]
struct Slices {
    p50: Sample,
    p99: Sample,
    late: Sample,
    lost: usize,
}

impl Slices {
    fn add(&mut self, asked: &LoadAnswer) {
        self.p50.add(asked.times.median());
        self.p99.add(asked.times.percentile(99));
        self.late.add(asked.late.percentile(99));
        self.lost += asked.lost;
    }
}

/// Names that nobody has asked for.
async fn first_seen(forwarding: &Forwarding, report: &mut Report, unseen: Vec<String>) -> anyhow::Result<()> {
    let (waited, early) = (forwarding.answered("waited").await?, forwarding.answered("early").await?);
    let asked = forwarding.learn(unseen, UNSEEN_PER_SECOND).await?;
    let waited = forwarding.answered("waited").await? - waited;
    let early = forwarding.answered("early").await? - early;
    let policy = forwarding.stage.candidate.policy_of("one");
    let written = Written::policy(&forwarding.stage.client, "pods", &policy).await?;
    let bare = floor::bare_writes(&forwarding.stage.client, "pods", &written, BARE_WRITES).await?.applied;
    let beyond = |percent| asked.times.percentile(percent) - SETTLE_MS;
    report.note(
        "a first-seen name, 20 a second: the wait beyond `--forward-settle` (250 ms), its upstream included",
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, {:.1} ms at most ({} names); {waited:.0} waited, {early:.0} early; one bare apply of the \
             policy of {} peers: p50 {:.1} ms, p99 {:.1} ms",
            beyond(50),
            beyond(99),
            beyond(100),
            asked.times.count(),
            written.peers(),
            bare.median(),
            bare.percentile(99)
        ),
        "60 ms at p99, none early",
        Some(beyond(99) < 60.0 && early < 0.5 && asked.lost == 0),
        &[
            ("p50_ms", beyond(50)),
            ("p99_ms", beyond(99)),
            ("most_ms", beyond(100)),
            ("names", asked.times.count() as f64),
            ("waited", waited),
            ("early", early),
            ("bare_apply_p50_ms", bare.median()),
            ("bare_apply_p99_ms", bare.percentile(99)),
            ("lost", asked.lost as f64),
        ],
    );
    Ok(())
}

/// Many learned names: each service's wildcards are those of a resource in a namespace of its own, beside the exact names.
async fn memory(own: &Candidate, report: &mut Report, many: usize) -> anyhow::Result<()> {
    let names = wildcards::under("many", many);
    let exact = wildcards::exact();
    let mut forwarding = Forwarding::start(own, exact.iter().chain(&names)).await?;
    for number in 0..wildcards::SERVICES {
        forwarding.resource(&format!("pods-{number}"), &["Exact".to_owned(), wildcards::service(number)]).await?;
    }
    forwarding.quiet().await?;
    let before = forwarding.operator.usage()?;
    forwarding.learn(names, MANY_PER_SECOND).await?;
    forwarding.quiet().await?;
    let after = forwarding.operator.usage()?;
    let learned = forwarding.metric("citrix_allowlist_learned_names ").await?;
    let policies: usize =
        (0..wildcards::SERVICES).map(|number| forwarding.stage.seen.count(POLICY, &format!("pods-{number}"))).sum();
    // Learning writes each policy some hundred times, and what that leaves in the process is not the names'.
    let mut forwarding = forwarding.restarted().await?;
    forwarding.quiet().await?;
    let restarted = forwarding.operator.usage()?;
    let known = forwarding.metric("citrix_allowlist_learned_names ").await?;
    anyhow::ensure!(
        learned.min(known) >= many as f64,
        "{learned} names were learned, and {known} known after a restart"
    );
    let beyond = |usage: Usage| mebibytes(usage.anonymous.saturating_sub(before.anonymous));
    report.note(
        &format!("the whole process with {many} learned names, their policies and ConfigMaps"),
        format!(
            "{:.1} MiB more than the {:.1} MiB without after a restart ({known:.0} names in {policies} policies); {:.1} MiB more right \
             after they were learned",
            beyond(restarted),
            mebibytes(before.anonymous),
            beyond(after)
        ),
        "known",
        None,
        &[
            ("more_after_restart_mib", beyond(restarted)),
            ("more_mib", beyond(after)),
            ("before_mib", mebibytes(before.anonymous)),
            ("learned", learned),
        ],
    );
    Ok(())
}
