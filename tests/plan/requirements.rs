//! docs/requirements.md: every row of its table, held by what its last cell says.
//!
//! That cell is a list of these, one a line:
//!
//! - `render EXAMPLE allows TARGET ...`: with `examples/EXAMPLE.yaml` over the fixture of its cloud, selected pods may open
//!   each connection. A target is `HOST:PORTS/PROTOCOLS`, such as `accounts.citrixcloud.jp:443/tcp`, `10.20.0.7:53,88/tcp,udp`.
//! - `render EXAMPLE refuses TARGET ...`: they may open none of them.
//! - `render EXAMPLE admits TARGET ...`: they may be reached from each address, on their own ports.
//! - `render EXAMPLE bars TARGET ...`: they may be reached from none of them.
//! - `render EXAMPLE reports PATTERN ...`: the list has each wildcard, and status says that it is not named.
//! - `... over LIST ...` after the example: over another fixture, such as `static-japan`.
//! - `test NAME ...`: there are tests of these names.
//! - a link: the page and its section are there, and a person has read them.

use crate::builders::{Case, allows, answers};
use citrix_allowlist::crd::{CitrixAllowlist, CloudChoice, GeoChoice, ProblemKind};
use connectivity_allowlist::document::{Reading, parse};
use connectivity_allowlist::net::{Direction, Protocol};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/requirements.md";
const VERDICTS: [&str; 3] = ["works", "not applicable", "limit"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A row of the table.
struct Row {
    number: usize,
    source: String,
    asks: String,
    how: String,
    verdict: String,
    held: String,
}

fn rows() -> Vec<Row> {
    let page = text(PAGE);
    let lines = page
        .lines()
        .filter(|line| line.strip_prefix("| ").is_some_and(|l| l.starts_with(|c: char| c.is_ascii_digit())));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [number, source, asks, how, verdict, held] = cells.as_slice() else {
                panic!("six cells are needed: {line}");
            };
            Row {
                number: number.parse().expect("a number"),
                source: (*source).to_owned(),
                asks: (*asks).to_owned(),
                how: (*how).to_owned(),
                verdict: (*verdict).to_owned(),
                held: (*held).to_owned(),
            }
        })
        .collect()
}

/// An example over a list, with an address of its own for each name, and what comes of it.
struct Rendered {
    case: Case,
    addresses: BTreeMap<String, IpAddr>,
    policies: Vec<NetworkPolicy>,
}

fn rendered(example: &str, list: Option<&str>) -> Rendered {
    let file = format!("examples/{example}.yaml");
    let resource: CitrixAllowlist =
        serde_saphyr::from_str(&text(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let japan = resource.spec.cloud == CloudChoice::Japan
        || (resource.spec.cloud == CloudChoice::Auto && resource.spec.geo == GeoChoice::Jp);
    let list = list.unwrap_or(if japan { "allowlist-japan" } else { "allowlist" });
    let document = text(&format!("tests/fixtures/{list}.json"));
    let reading = Reading::for_customer(&resource.spec.customer_id);
    let mut case = Case::new(json!({}), &json!({ "services": [] }), &[]);
    case.list = parse(document.as_bytes(), &reading).expect("a list").allowlist;
    case.spec = resource.spec;
    let names: Vec<String> = case.select().names.iter().map(ToString::to_string).collect();
    let first = u32::from(Ipv4Addr::new(52, 1, 0, 1));
    // Two apart: neighbours would be merged, and be each other's.
    let addresses: BTreeMap<String, IpAddr> =
        (0..).zip(names).map(|(index, name)| (name, IpAddr::V4(Ipv4Addr::from(first + 2 * index)))).collect();
    let texts: Vec<(String, String)> =
        addresses.iter().map(|(name, address)| (name.clone(), address.to_string())).collect();
    let by_name: Vec<(&str, [&str; 1])> =
        texts.iter().map(|(name, address)| (name.as_str(), [address.as_str()])).collect();
    let by_name: Vec<(&str, &[&str])> = by_name.iter().map(|(name, addresses)| (*name, &addresses[..])).collect();
    case.addresses = answers(&by_name);
    let policies = case.objects().policies;
    Rendered { case, addresses, policies }
}

impl Rendered {
    /// Whether each connection of a target is allowed: for all of them, or for none.
    fn allows(&self, direction: Direction, target: &str) -> Result<bool, String> {
        let (end, protocols) = target.rsplit_once('/').ok_or_else(|| format!("{target}: no protocol"))?;
        let (host, ports) = end.rsplit_once(':').ok_or_else(|| format!("{target}: no port"))?;
        let peer = match host.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) => self.addresses.get(host).copied(),
        };
        let mut found = BTreeSet::new();
        for protocol in protocols.split(',') {
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                other => return Err(format!("{target}: {other} is neither tcp nor udp")),
            };
            for port in ports.split(',').flat_map(|port| port.split('-')) {
                let port: u16 = port.parse().map_err(|_| format!("{target}: {port} is no port"))?;
                found.insert(peer.is_some_and(|peer| allows(&self.policies, direction, peer, protocol, port)));
            }
        }
        match found.into_iter().collect::<Vec<_>>().as_slice() {
            [one] => Ok(*one),
            _ => Err(format!("{target}: some of it is allowed, and some is not")),
        }
    }
}

/// What does not hold of a `render`.
fn failing_render(check: &str) -> Option<String> {
    let mut words = check.split_whitespace().skip(1).peekable();
    let example = words.next()?;
    let list = words.next_if_eq(&"over").and_then(|_| words.next());
    let verb = words.next().unwrap_or_default();
    let rendered = rendered(example, list);
    let targets: Vec<&str> = words.collect();
    if targets.is_empty() {
        return Some(format!("{check}: no target"));
    }
    for target in targets {
        let judged = match verb {
            "allows" => rendered.allows(Direction::Outbound, target),
            "refuses" => rendered.allows(Direction::Outbound, target).map(|allowed| !allowed),
            "admits" => rendered.allows(Direction::Inbound, target),
            "bars" => rendered.allows(Direction::Inbound, target).map(|allowed| !allowed),
            "reports" => Ok(rendered
                .case
                .problems()
                .iter()
                .any(|problem| problem.kind == ProblemKind::Wildcard && problem.subject == target)),
            other => Err(format!("`{other}` is no verb")),
        };
        match judged {
            Ok(true) => {}
            Ok(false) => return Some(format!("`{check}` is not so: {target}")),
            Err(error) => return Some(format!("`{check}`: {error}")),
        }
    }
    None
}

/// The names of all tests of both crates.
fn tests() -> BTreeSet<String> {
    fn collect(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a file");
                let mut lines = text.lines().map(str::trim);
                while lines.any(|line| line == "#[test]" || line.starts_with("#[tokio::test")) {
                    let function = lines.by_ref().find_map(|line| line.split_once("fn ")).map(|(_, rest)| rest);
                    names.extend(function.and_then(|rest| rest.split('(').next()).map(str::to_owned));
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    for folder in ["src", "crates", "tests"] {
        collect(&root().join(folder), &mut names);
    }
    names
}

/// The anchors that GitHub gives a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let headings = page.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

fn links(cell: &str) -> Vec<&str> {
    cell.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

fn failing_link(link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let Ok(page) = std::fs::read_to_string(root().join("docs").join(path)) else {
        return Some(format!("{link}: no such page"));
    };
    (!anchor.is_empty() && !anchors(&page).contains(anchor)).then(|| format!("{link}: no such section"))
}

#[test]
fn every_requirement_is_held_as_its_row_says() {
    let tests = tests();
    let mut failing = Vec::new();
    let mut rendered = 0;
    for row in rows() {
        let mut fail = |why: String| failing.push(format!("row {}: {why}", row.number));
        if row.source.is_empty() || row.asks.is_empty() || row.how.is_empty() {
            fail("an empty cell".to_owned());
        }
        if !VERDICTS.contains(&row.verdict.as_str()) {
            fail(format!("`{}` is no verdict", row.verdict));
        }
        if row.verdict == "limit" && links(&row.how).is_empty() {
            fail("a limit names the page that says so".to_owned());
        }
        for link in links(&row.how) {
            failing_link(link).into_iter().for_each(&mut fail);
        }
        let items: Vec<&str> = row.held.split("<br>").map(str::trim).filter(|item| !item.is_empty()).collect();
        if items.is_empty() {
            fail("nothing holds it".to_owned());
        }
        for item in items {
            match item.strip_prefix('`').and_then(|item| item.strip_suffix('`')) {
                Some(check) if check.starts_with("render ") => {
                    rendered += 1;
                    failing_render(check).into_iter().for_each(&mut fail);
                }
                Some(check) if check.starts_with("test ") => {
                    for name in check.split_whitespace().skip(1).filter(|name| !tests.contains(*name)) {
                        fail(format!("no test is called {name}"));
                    }
                }
                Some(check) => fail(format!("`{check}` is neither `render` nor `test`")),
                None if item.starts_with('[') && links(item).len() == 1 => {
                    failing_link(links(item)[0]).into_iter().for_each(&mut fail);
                }
                None => fail(format!("{item} is neither a check nor a link")),
            }
        }
    }
    assert!(failing.is_empty(), "{}", failing.join("\n"));
    assert!(rendered > 60, "only {rendered} rows were run");
}

#[test]
fn the_table_is_whole_and_counts_itself() {
    let rows = rows();
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=190).collect::<Vec<_>>());
    let page = text(PAGE);
    for verdict in VERDICTS {
        let count = rows.iter().filter(|row| row.verdict == verdict).count();
        let line = format!("| {verdict} | {count} |");
        assert!(page.lines().any(|found| found.starts_with(&line)), "{line}");
    }
}

#[test]
fn a_row_that_does_not_hold_is_found() {
    for wrong in [
        "render japan-cloud-connector allows accounts.citrixcloud.jp:22/tcp",
        "render japan-cloud-connector allows accounts.citrixcloud.jp:443/udp",
        "render japan-cloud-connector allows nowhere.example:443/tcp",
        "render japan-cloud-connector refuses accounts.citrixcloud.jp:443/tcp",
        "render japan-cloud-connector allows accounts.citrixcloud.jp:22,443/tcp",
        "render japan-cloud-connector allows accounts.citrixcloud.jp",
        "render japan-cloud-connector allows",
        "render japan-cloud-connector reports *.g.nssvc.jp",
        "render japan-cloud-connector admits 10.20.0.7:443/tcp",
        "render cloud-connector-inbound bars 10.20.0.7:443/tcp",
        "render japan-cloud-connector opens accounts.citrixcloud.jp:443/tcp",
    ] {
        assert!(failing_render(wrong).is_some(), "{wrong}");
    }
    assert_eq!(failing_render("render japan-cloud-connector allows accounts.citrixcloud.jp:443/tcp"), None);
    assert!(failing_link("guides/nowhere.md").is_some() && failing_link("guides/japan.md#nowhere").is_some());
    assert_eq!(failing_link("guides/japan.md#connectors"), None);
    assert!(!tests().contains("no_such_test") && tests().contains("a_row_that_does_not_hold_is_found"));
}
