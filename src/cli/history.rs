//! `history`: what a resource's policies allowed, since when, for which name, and why.

use crate::cluster::client::{CALL_TIMEOUT, deadline};
use crate::cluster::histories::{self, history_name};
use crate::crd::CitrixAllowlist;
use crate::operator::period;
use crate::preview::connection::{ConnectionArguments, NamespaceArguments, not_found, resource_name};
use crate::text::output::{Form, Printer, print, warn};
use crate::text::table;
use crate::trail::history::ResourceHistory;
use crate::trail::rows::{HistoryRow, RowChange, rows};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use connectivity_allowlist::visible::visible;
use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use serde::Serialize;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct HistoryArguments {
    /// The CitrixAllowlist
    #[arg(value_name = "NAME", value_parser = resource_name)]
    name: String,
    /// Only networks that contain this address: since when it is allowed, for which name, and why
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Only changes of the last PERIOD, such as 7d or 12h
    #[arg(long, value_name = "PERIOD", value_parser = days_or_period)]
    since: Option<Duration>,
    /// Print a row for each network, for programs
    #[arg(short, long, value_enum)]
    output: Option<HistoryForm>,
    #[command(flatten)]
    namespace: NamespaceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HistoryForm {
    /// One JSON value
    Json,
    /// One YAML document
    Yaml,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
}

/// The version of what `-o json|yaml` prints.
const SCHEMA: &str = "citrix-allowlist.io/history-rows/v1";

/// What `-o json|yaml` prints.
#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    namespace: &'a str,
    name: &'a str,
    /// Since when every change is known.
    since: Option<Timestamp>,
    rows: Vec<HistoryRow>,
}

/// A period as flags take it, or days: `7d`.
fn days_or_period(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        _ => period(text).map_err(|error| format!("{error}; a number of days such as 7d is allowed too")),
    }
}

pub(super) fn run(arguments: &HistoryArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (namespace, history) = runtime.block_on(read(arguments))?;
    let since = arguments.since.map(|since| Timestamp::now().checked_sub(since)).transpose()?;
    let rows = rows(&history, arguments.address, since);
    let form = match arguments.output {
        None => return print(text(&history, arguments, since, &rows)),
        Some(HistoryForm::Csv) => return print(csv(&rows)),
        Some(HistoryForm::Json) => Form::Json,
        Some(HistoryForm::Yaml) => Form::Yaml,
    };
    let shown = Shown { schema: SCHEMA, namespace: &namespace, name: &arguments.name, since: history.since(), rows };
    let mut printer = Printer::new(std::io::stdout().lock(), form);
    printer.value(&shown)?;
    printer.finish()
}

async fn read(arguments: &HistoryArguments) -> anyhow::Result<(String, ResourceHistory)> {
    let connected = arguments.connection.connect(arguments.namespace.namespace.as_deref()).await?;
    let (name, namespace) = (&arguments.name, connected.namespace);
    let maps: Api<ConfigMap> = Api::namespaced(connected.client.clone(), &namespace);
    let found = deadline(CALL_TIMEOUT, maps.get_opt(&history_name(name))).await?;
    let Some(found) = found else {
        let api: Api<CitrixAllowlist> = Api::namespaced(connected.client, &namespace);
        deadline(CALL_TIMEOUT, api.get(name)).await.map_err(|error| not_found(error, &namespace, name))?;
        anyhow::bail!(
            "CitrixAllowlist {namespace}/{name} has no history yet: the operator writes one some seconds after the first policy, unless --history-retention is 0s"
        );
    };
    let history = histories::read(&found).map_err(anyhow::Error::msg);
    let history = history.with_context(|| format!("ConfigMap {namespace}/{} is no history", history_name(name)))?;
    Ok((namespace, history))
}

fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

fn text(
    history: &ResourceHistory,
    arguments: &HistoryArguments,
    since: Option<Timestamp>,
    rows: &[HistoryRow],
) -> String {
    let Some(begins) = history.since() else { return "nothing has been allowed yet\n".to_owned() };
    let from = since.filter(|since| *since > begins);
    if from.is_none() && arguments.since.is_some() {
        warn(&format!("warning: every change is known since {}; the history holds none of before", time(begins)));
    }
    let table = match arguments.address {
        Some(address) => of_address(address, rows),
        None => of_records(rows),
    };
    format!("{table}\nChanges since {}; the newest follow within a minute or two.\n", time(begins))
}

/// A row for each change of a network with the address.
fn of_address(address: IpAddr, rows: &[HistoryRow]) -> String {
    if rows.iter().all(|row| row.peer.is_empty()) {
        return format!(
            "no policy of this resource allowed {address} in this time; pods that no policy isolates may reach every address\n"
        );
    }
    let row = |row: &HistoryRow| {
        let change = row.change.as_str().to_owned();
        let names = if row.names.is_empty() { "-".to_owned() } else { row.names.join(" ") };
        let network = if row.peer.is_empty() { "-".to_owned() } else { row.peer.clone() };
        let to = format!("{} {}", row.direction, row.ports).trim_end().to_owned();
        vec![time(row.at), change, to, network, names, why(row), row.list.as_deref().unwrap_or("-").to_owned()]
    };
    let headings = ["TIME", "CHANGE", "PORTS", "NETWORK", "NAMES", "CAUSE", "LIST"];
    table(&headings, &rows.iter().map(row).collect::<Vec<_>>())
}

/// A row for each change as a whole: how many networks.
fn of_records(rows: &[HistoryRow]) -> String {
    if rows.is_empty() {
        return "nothing changed in this time\n".to_owned();
    }
    let is_same = |a: &HistoryRow, b: &HistoryRow| {
        (a.at, &a.policy, &a.resource_version) == (b.at, &b.policy, &b.resource_version)
    };
    let mut lines = Vec::new();
    for rows in rows.chunk_by(is_same) {
        let Some(first) = rows.first() else { continue };
        let count = |change| {
            let mut peers: Vec<&str> =
                rows.iter().filter(|row| row.change == change).map(|row| row.peer.as_str()).collect();
            peers.sort_unstable();
            peers.dedup();
            peers.len().to_string()
        };
        let isolation =
            |row: &&HistoryRow| matches!(row.change, RowChange::Isolated | RowChange::Opened | RowChange::Released);
        let mut pods: Vec<String> =
            rows.iter().filter(isolation).map(|row| format!("{} {}", row.change.as_str(), row.direction)).collect();
        if pods.is_empty() {
            pods.push("-".to_owned());
        }
        lines.push(vec![
            time(first.at),
            count(RowChange::Added),
            count(RowChange::Removed),
            pods.join(", "),
            why(first),
        ]);
    }
    table(&["TIME", "ADDED", "REMOVED", "PODS", "CAUSE"], &lines)
}

fn why(row: &HistoryRow) -> String {
    let causes = if row.causes.is_empty() { "-".to_owned() } else { row.causes.join(",") };
    match &row.by {
        Some(by) => format!("{causes} by {by}"),
        None => causes,
    }
}

fn csv(rows: &[HistoryRow]) -> String {
    let mut text = String::from(
        "at,change,direction,pods,ports,peer,names,causes,by,list,transactionId,generation,policy,resourceVersion\r\n",
    );
    for row in rows {
        let optional = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let cells = [
            row.at.to_string(),
            format!("{:?}", row.change),
            row.direction.to_owned(),
            row.pods.to_string(),
            row.ports.to_string(),
            row.peer.clone(),
            row.names.join(" "),
            row.causes.join(" "),
            optional(&row.by),
            optional(&row.list),
            optional(&row.transaction_id),
            row.generation.map(|generation| generation.to_string()).unwrap_or_default(),
            optional(&row.policy),
            optional(&row.resource_version),
        ];
        text.push_str(&cells.map(|cell| quoted(&visible(&cell))).join(","));
        text.push_str("\r\n");
    }
    text
}

/// A cell as RFC 4180 has it. A spreadsheet takes a cell that begins with one of `=+-@` for a formula: an apostrophe keeps it text.
fn quoted(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}
