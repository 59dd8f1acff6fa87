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

/// How long the plugin waits until it follows a policy, at most: 200 ms with the time that nft itself takes.
const LONGEST_DELAY: Duration = Duration::from_millis(180);
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

/// What is to be done inside the namespace.
enum Wanted {
    Connect(Ipv4Addr, oneshot::Sender<bool>),
    /// Commands of nft.
    Change(String, oneshot::Sender<anyhow::Result<()>>),
}

/// What lets connections pass.
#[derive(Clone)]
enum Filter {
    /// A network namespace, by its name, and the threads in it that connect and that change the filter.
    Namespace(String, [mpsc::Sender<Wanted>; 2]),
    /// The networks that are allowed.
    Set(Arc<Mutex<BTreeSet<IpNet>>>),
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).stderr(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}

fn nft(commands: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes())?;
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "nft: {status}: {commands}");
    Ok(())
}

/// A thread in the namespace; what `begin` says once it is there.
fn thread_in(namespace: &str, begin: fn() -> anyhow::Result<()>) -> anyhow::Result<mpsc::Sender<Wanted>> {
    let (sender, wanted) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    let path = format!("/run/netns/{namespace}");
    std::thread::spawn(move || {
        let enter = || {
            let file = std::fs::File::open(path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            begin()
        };
        let _ = begun.send(enter());
        for wanted in wanted {
            match wanted {
                Wanted::Connect(address, reply) => {
                    let connected = TcpStream::connect_timeout(&(address, PORT).into(), Duration::from_secs(1));
                    let _ = reply.send(connected.is_ok());
                }
                Wanted::Change(commands, reply) => drop(reply.send(nft(&commands))),
            }
        }
    });
    has_begun.recv()??;
    Ok(sender)
}

/// Listens at every address.
fn listen() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

impl Filter {
    /// A namespace whose filter allows nothing yet.
    fn namespace() -> anyhow::Result<Self> {
        let name = format!("citrix-allowlist-{}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let threads = NAMESPACE
            .iter()
            .try_for_each(|arguments| ip(&format!("-n {name} {arguments}")))
            .and_then(|()| Ok([thread_in(&name, listen)?, thread_in(&name, || nft(RULES))?]));
        match threads {
            Ok(threads) => Ok(Self::Namespace(name, threads)),
            Err(error) => {
                ip(&format!("netns delete {name}"))?;
                Err(error)
            }
        }
    }

    /// Allows `after` and nothing else; `before` is what it allows until now.
    async fn change(&self, before: &BTreeSet<IpNet>, after: &BTreeSet<IpNet>) {
        match self {
            Self::Set(set) => set.lock().unwrap_or_else(PoisonError::into_inner).clone_from(after),
            Self::Namespace(_, [_, changing]) => {
                let elements = |networks: Vec<&IpNet>| networks.iter().map(|network| format!("{network},")).collect();
                let removed: String = elements(before.difference(after).collect());
                let added: String = elements(after.difference(before).collect());
                let command = |verb: &str, elements: &str| match elements.is_empty() {
                    true => String::new(),
                    false => format!("{verb} element inet plugin allowed {{ {elements} }}\n"),
                };
                let commands = command("delete", &removed) + &command("add", &added);
                let (reply, changed) = oneshot::channel();
                changing.send(Wanted::Change(commands, reply)).expect("the thread lasts");
                changed.await.expect("the thread lasts").expect("the filter is changed");
            }
        }
    }

    async fn allows(&self, address: Ipv4Addr) -> bool {
        match self {
            Self::Set(set) => {
                let set = set.lock().unwrap_or_else(PoisonError::into_inner);
                set.iter().any(|network| network.contains(&IpAddr::V4(address)))
            }
            Self::Namespace(_, [connecting, _]) => {
                let (reply, connected) = oneshot::channel();
                connecting.send(Wanted::Connect(address, reply)).expect("the thread lasts");
                connected.await.expect("the thread lasts")
            }
        }
    }
}

/// How the filter followed.
#[derive(Debug, Default)]
struct Delays {
    longest: Duration,
    /// Since when it allows each network, or allowed it last.
    allowed: BTreeMap<IpNet, Instant>,
}

/// A plugin that follows the policies of a namespace.
pub struct Plugin {
    filter: Filter,
    states: Arc<Mutex<VecDeque<Due>>>,
    delays: Arc<Mutex<Delays>>,
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
        let (states, delays) = (Arc::<Mutex<VecDeque<Due>>>::default(), Arc::<Mutex<Delays>>::default());
        let (changed, changes) = watch::channel(());
        let (follows, followed) = watch::channel(0);
        let policies = Api::namespaced(client, namespace);
        let watching = tokio::spawn(watch_policies(policies, Arc::clone(&states), changed));
        let following =
            tokio::spawn(follow(filter.clone(), Arc::clone(&states), changes, follows, Arc::clone(&delays)));
        Self { filter, states, delays, followed, tasks: [watching, following] }
    }

    /// Waits until the filter allows something.
    pub async fn follows(&mut self) {
        self.followed.wait_for(|networks| *networks > 0).await.expect("it follows");
    }

    /// Waits until the filter has followed what the policies are now.
    pub async fn follows_all(&self) {
        tokio::time::sleep(2 * LONGEST_DELAY).await;
        while !self.states.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            tokio::time::sleep(LONGEST_DELAY).await;
        }
        tokio::time::sleep(2 * LONGEST_DELAY).await;
    }

    /// Connects; false where the filter refuses it.
    pub async fn connect(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { panic!("{address} is of the other family") };
        self.filter.allows(address).await
    }

    /// How long the filter took to follow a policy at most, on this machine.
    pub fn longest(&self) -> Duration {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner).longest
    }

    /// When the filter last began to allow an address.
    pub fn allowed_since(&self, address: IpAddr) -> Option<Instant> {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.allowed.iter().filter(|(network, _)| network.contains(&address)).map(|(_, at)| *at).max()
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
    delays: Arc<Mutex<Delays>>,
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
            filter.change(&before, &after).await;
            let (now, mut delays) = (Instant::now(), delays.lock().unwrap_or_else(PoisonError::into_inner));
            delays.longest = delays.longest.max(now - since);
            delays.allowed.extend(after.difference(&before).map(|network| (*network, now)));
            before = after;
        }
        follows.send_replace(before.len());
    }
}
