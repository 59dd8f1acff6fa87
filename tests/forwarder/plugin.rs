//! What a network plugin does with policies: it follows each of them up to 200 ms later, and connections that its filter does not
//! allow are refused. The filter is nftables in a network namespace of its own; where that cannot be had, a set of addresses.

use crate::common::cidrs;
use futures::StreamExt as _;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use test_support::left_out;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long the plugin takes to follow a policy, at most.
pub const LONGEST_DELAY: Duration = Duration::from_millis(200);
/// The port that is connected to.
const PORT: u16 = 443;

/// Every IPv4 address is the namespace's own, so that something listens at each.
const NAMESPACE: [&str; 3] =
    ["link set lo up", "address add 192.168.0.1/32 dev lo", "route add local 0.0.0.0/0 dev lo src 192.168.0.1"];
const RULES: &str = "table inet plugin {
    set allowed { type ipv4_addr; flags interval; }
    chain output {
        type filter hook output priority 0;
        tcp dport 443 ip daddr @allowed accept
        tcp dport 443 reject with tcp reset
    }
}";

/// A connection to be made inside the namespace.
type Wanted = (Ipv4Addr, oneshot::Sender<bool>);

/// What lets connections pass.
#[derive(Clone)]
enum Filter {
    /// A network namespace, by its name, and the thread in it that connects.
    Namespace(String, mpsc::Sender<Wanted>),
    /// The networks that are allowed.
    Set(Arc<Mutex<BTreeSet<IpNet>>>),
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).stderr(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}

fn nft(namespace: &str, commands: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "nft", "-f", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes())?;
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "nft: {status}: {commands}");
    Ok(())
}

/// Listens in the namespace, and connects there for as long as somebody wants it to.
fn connect_in(namespace: &str, wanted: &mpsc::Receiver<Wanted>, ready: &mpsc::Sender<anyhow::Result<()>>) {
    let enter = || {
        let file = std::fs::File::open(format!("/run/netns/{namespace}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?)
    };
    let entered = enter().map(|listener| {
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                drop(connection);
            }
        })
    });
    let _ = ready.send(entered.map(drop));
    for (address, reply) in wanted {
        let connected = TcpStream::connect_timeout(&(address, PORT).into(), Duration::from_secs(1));
        let _ = reply.send(connected.is_ok());
    }
}

impl Filter {
    /// A namespace whose filter allows nothing yet.
    fn namespace() -> anyhow::Result<Self> {
        let name = format!("citrix-allowlist-{}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let (sender, wanted) = mpsc::channel();
        let filter = Self::Namespace(name.clone(), sender);
        for arguments in NAMESPACE {
            ip(&format!("-n {name} {arguments}"))?;
        }
        nft(&name, RULES)?;
        let (ready, entered) = mpsc::channel();
        std::thread::spawn(move || connect_in(&name, &wanted, &ready));
        entered.recv()??;
        Ok(filter)
    }

    /// Allows `after` and nothing else; `before` is what it allows until now.
    fn change(&self, before: &BTreeSet<IpNet>, after: &BTreeSet<IpNet>) {
        match self {
            Self::Set(set) => set.lock().unwrap_or_else(PoisonError::into_inner).clone_from(after),
            Self::Namespace(name, _) => {
                let elements = |networks: Vec<&IpNet>| networks.iter().map(|network| format!("{network},")).collect();
                let removed: String = elements(before.difference(after).collect());
                let added: String = elements(after.difference(before).collect());
                let command = |verb: &str, elements: &str| match elements.is_empty() {
                    true => String::new(),
                    false => format!("{verb} element inet plugin allowed {{ {elements} }}\n"),
                };
                let commands = command("delete", &removed) + &command("add", &added);
                nft(name, &commands).expect("the filter is changed");
            }
        }
    }

    async fn allows(&self, address: Ipv4Addr) -> bool {
        match self {
            Self::Set(set) => {
                let set = set.lock().unwrap_or_else(PoisonError::into_inner);
                set.iter().any(|network| network.contains(&IpAddr::V4(address)))
            }
            Self::Namespace(_, connecting) => {
                let (reply, connected) = oneshot::channel();
                connecting.send((address, reply)).expect("the thread lasts");
                connected.await.expect("the thread lasts")
            }
        }
    }
}

/// A plugin that follows the policies of a namespace.
pub struct Plugin {
    filter: Filter,
    longest: Arc<Mutex<Duration>>,
    followed: watch::Receiver<usize>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Filter::Namespace(name, _) = &self.filter {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

/// What the policies allow from a moment on, and when the filter follows.
type Due = (Instant, Instant, BTreeSet<IpNet>);

impl Plugin {
    /// Starts to follow policies; says so where it does without nftables.
    pub async fn start(test: &str, client: Client, namespace: &str) -> Self {
        let filter = Filter::namespace().unwrap_or_else(|error| {
            left_out(test, &format!("no nftables in a network namespace, so a set of addresses stands in: {error}"));
            Filter::Set(Arc::default())
        });
        let (states, longest) = (Arc::<Mutex<VecDeque<Due>>>::default(), Arc::<Mutex<Duration>>::default());
        let (changed, changes) = watch::channel(());
        let (follows, followed) = watch::channel(0);
        let policies = Api::namespaced(client, namespace);
        let watching = tokio::spawn(watch_policies(policies, Arc::clone(&states), changed));
        let following = tokio::spawn(follow(filter.clone(), states, changes, follows, Arc::clone(&longest)));
        Self { filter, longest, followed, tasks: [watching, following] }
    }

    /// Waits until the filter allows something.
    pub async fn follows(&mut self) {
        self.followed.wait_for(|networks| *networks > 0).await.expect("it follows");
    }

    /// Connects; false where the filter refuses it.
    pub async fn connect(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { panic!("{address} is of the other family") };
        self.filter.allows(address).await
    }

    /// How long the filter took to follow a policy at most, on this machine.
    pub fn longest(&self) -> Duration {
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues what the policies allow, with the moment at which the filter follows: never before what came earlier.
async fn watch_policies(policies: Api<NetworkPolicy>, states: Arc<Mutex<VecDeque<Due>>>, changed: watch::Sender<()>) {
    let mut events = watcher::watcher(policies, watcher::Config::default()).boxed();
    let (mut all, mut last_due): (BTreeMap<String, BTreeSet<IpNet>>, Option<Instant>) = (BTreeMap::new(), None);
    while let Some(event) = events.next().await {
        let now = Instant::now();
        match event.expect("the test's own watch lasts") {
            Event::Init => continue,
            Event::InitDone => {}
            Event::InitApply(policy) | Event::Apply(policy) => drop(all.insert(policy.name_any(), cidrs(&policy))),
            Event::Delete(policy) => drop(all.remove(&policy.name_any())),
        }
        let due = now + LONGEST_DELAY.mul_f64(fastrand::f64());
        let due = last_due.map_or(due, |last| due.max(last));
        last_due = Some(due);
        let networks = all.values().flatten().filter(|network| matches!(network, IpNet::V4(_))).copied().collect();
        states.lock().unwrap_or_else(PoisonError::into_inner).push_back((now, due, networks));
        changed.send_replace(());
    }
}

/// Follows what is due.
async fn follow(
    filter: Filter,
    states: Arc<Mutex<VecDeque<Due>>>,
    mut changes: watch::Receiver<()>,
    follows: watch::Sender<usize>,
    longest: Arc<Mutex<Duration>>,
) {
    let mut before = BTreeSet::new();
    loop {
        changes.borrow_and_update();
        let first = states.lock().unwrap_or_else(PoisonError::into_inner).front().map(|(_, due, _)| *due);
        let Some(first) = first else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::time::sleep_until(first.into()).await;
        let (mut since, mut newest) = (None, None);
        {
            let (now, mut states) = (Instant::now(), states.lock().unwrap_or_else(PoisonError::into_inner));
            while states.front().is_some_and(|(_, due, _)| *due <= now) {
                let (at, _, networks) = states.pop_front().expect("just seen");
                since.get_or_insert(at);
                newest = Some(networks);
            }
        }
        let (Some(since), Some(after)) = (since, newest) else { continue };
        if after != before {
            let (filter, earlier) = (filter.clone(), before);
            let changing = tokio::task::spawn_blocking(move || {
                filter.change(&earlier, &after);
                after
            });
            before = changing.await.expect("the filter is changed");
            let mut longest = longest.lock().unwrap_or_else(PoisonError::into_inner);
            *longest = longest.max(since.elapsed());
        }
        follows.send_replace(before.len());
    }
}
