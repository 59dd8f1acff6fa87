//! `learn`: the names that pods asked for under wildcards, as a `wildcards` block for the spec.

use crate::cluster::client::{CALL_TIMEOUT, deadline};
use crate::crd::{CitrixAllowlist, CitrixAllowlistStatus, Wildcard};
use crate::engines::Engines;
use crate::export::{self, ExportedTarget, endpoints};
use crate::preview::connection::{ConnectionArguments, NamespaceArguments, not_found, resource_name};
use crate::preview::live;
use crate::text::output::{Form, Printer, print, warn};
use crate::text::table;
use clap::Args;
use connectivity_allowlist::net::{DomainName, NamePattern};
use kube::api::Api;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The most names of one entry of `wildcards`, by the schema.
const MOST_NAMES: usize = 64;

#[derive(Debug, Args)]
pub(super) struct LearnArguments {
    /// The CitrixAllowlist
    #[arg(value_name = "NAME", value_parser = resource_name)]
    name: String,
    /// Print a block for the spec: its wildcards with these names
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    namespace: NamespaceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What `-o json|yaml` prints: a merge patch of the resource.
#[derive(Serialize)]
struct Patch {
    spec: PatchSpec,
}

#[derive(Serialize)]
struct PatchSpec {
    wildcards: Vec<Wildcard>,
}

/// A name that pods asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AskedName {
    pattern: String,
    name: DomainName,
    /// Otherwise it is only suggested.
    is_allowed: bool,
}

pub(super) fn run(arguments: &LearnArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (resource, asked) = runtime.block_on(read(arguments))?;
    let status = resource.status.unwrap_or_default();
    for line in unlisted(&status) {
        warn(&format!("warning: {line}"));
    }
    let Some(form) = arguments.output else {
        return print(shown(&asked));
    };
    let (wildcards, cut) = block(&resource.spec.wildcards, &asked);
    for pattern in cut {
        warn(&format!("warning: {pattern}: an entry of wildcards holds {MOST_NAMES} names; the others are left out"));
    }
    let mut printer = Printer::new(std::io::stdout().lock(), form);
    printer.value(&Patch { spec: PatchSpec { wildcards } })?;
    printer.finish()
}

async fn read(arguments: &LearnArguments) -> anyhow::Result<(CitrixAllowlist, BTreeSet<AskedName>)> {
    let connected = arguments.connection.connect(arguments.namespace.namespace.as_deref()).await?;
    let (name, namespace) = (&arguments.name, &connected.namespace);
    let api: Api<CitrixAllowlist> = Api::namespaced(connected.client.clone(), namespace);
    let resource = deadline(CALL_TIMEOUT, api.get(name)).await.map_err(|error| not_found(error, namespace, name))?;
    let live = live::of(&connected.client, &Engines::default(), namespace, name).await?;
    let (mut learned, mut patterns) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in endpoints(&export::config_maps(&live.objects)) {
        match endpoint.target {
            ExportedTarget::Name(name) if endpoint.learned => drop(learned.insert(name)),
            ExportedTarget::Wildcard(pattern, _) => drop(patterns.insert(pattern)),
            ExportedTarget::Name(_) | ExportedTarget::Network(_) => {}
        }
    }
    let asked = asked(&learned, &patterns, resource.status.as_ref());
    Ok((resource, asked))
}

/// The names that are allowed, and those that status suggests.
fn asked(
    learned: &BTreeSet<DomainName>,
    patterns: &BTreeSet<NamePattern>,
    status: Option<&CitrixAllowlistStatus>,
) -> BTreeSet<AskedName> {
    let allowed = learned.iter().flat_map(|name| {
        let patterns = patterns.iter().filter(|pattern| pattern.matches_labels(name));
        patterns.map(|pattern| AskedName { pattern: pattern.to_string(), name: name.clone(), is_allowed: true })
    });
    let suggested = status.iter().flat_map(|status| &status.wildcards).flat_map(|wildcard| {
        let names = wildcard.suggested.iter().filter_map(|name| DomainName::parse(name).ok());
        names.map(|name| AskedName { pattern: wildcard.pattern.clone(), name, is_allowed: false })
    });
    allowed.chain(suggested).collect()
}

/// Suggested names that status has no room for.
fn unlisted(status: &CitrixAllowlistStatus) -> Vec<String> {
    let more = |shown: usize, total: i64| total.saturating_sub(i64::try_from(shown).unwrap_or(i64::MAX));
    let wildcards =
        status.wildcards.iter().map(|wildcard| (wildcard, more(wildcard.suggested.len(), wildcard.suggested_total)));
    let unlisted = wildcards.filter(|(_, more)| *more > 0);
    unlisted.map(|(wildcard, more)| format!("{}: status has no room for {more} more names", wildcard.pattern)).collect()
}

fn shown(asked: &BTreeSet<AskedName>) -> String {
    if asked.is_empty() {
        return "no pod has asked for a name under a wildcard; `explain` says which zones the cluster's DNS forwards\n"
            .to_owned();
    }
    let row = |asked: &AskedName| {
        let now = if asked.is_allowed { "allowed" } else { "suggested" };
        vec![asked.pattern.clone(), asked.name.to_string(), now.to_owned()]
    };
    table(&["WILDCARD", "NAME", "NOW"], &asked.iter().map(row).collect::<Vec<_>>())
}

/// The entries of a spec's `wildcards` with these names added, and the patterns whose entry has no room for all of them.
fn block(before: &[Wildcard], asked: &BTreeSet<AskedName>) -> (Vec<Wildcard>, Vec<String>) {
    let mut wildcards = before.to_vec();
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for asked in asked {
        names.entry(&asked.pattern).or_default().push(asked.name.to_string());
    }
    let mut cut = Vec::new();
    for (pattern, names) in names {
        let known = wildcards.iter().position(|wildcard| wildcard.pattern == pattern);
        let index = known.unwrap_or_else(|| {
            wildcards.push(Wildcard { pattern: pattern.to_owned(), names: vec![], observe: None, within: vec![] });
            wildcards.len() - 1
        });
        let Some(wildcard) = wildcards.get_mut(index) else { continue };
        let new = names.into_iter().filter(|name| !wildcard.names.contains(name)).collect::<Vec<_>>();
        let room = MOST_NAMES.saturating_sub(wildcard.names.len());
        if new.len() > room {
            cut.push(pattern.to_owned());
        }
        wildcard.names.extend(new.into_iter().take(room));
    }
    (wildcards, cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Observe, WildcardStatus};

    const PATTERN: &str = "*.blob.example.com";

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).expect("a name")
    }

    #[test]
    fn allowed_and_suggested_names_become_a_block() {
        let learned = [name("a.blob.example.com"), name("x.other.example.com")].into();
        let patterns = [NamePattern::parse(PATTERN).expect("a pattern")].into();
        let suggesting = WildcardStatus {
            pattern: "*.bus.example.com".to_owned(),
            suggested: vec!["b.bus.example.com".to_owned()],
            suggested_total: 3,
            ..WildcardStatus::default()
        };
        let status = CitrixAllowlistStatus { wildcards: vec![suggesting], ..CitrixAllowlistStatus::default() };
        let asked = asked(&learned, &patterns, Some(&status));
        let before = Wildcard {
            pattern: "*.bus.example.com".to_owned(),
            names: vec!["z.bus.example.com".to_owned()],
            observe: Some(Observe::Suggest),
            within: vec![],
        };
        let (wildcards, cut) = block(std::slice::from_ref(&before), &asked);
        let names = vec!["z.bus.example.com".to_owned(), "b.bus.example.com".to_owned()];
        let new = Wildcard {
            pattern: PATTERN.to_owned(),
            names: vec!["a.blob.example.com".to_owned()],
            observe: None,
            within: vec![],
        };
        assert_eq!((wildcards, cut), (vec![Wildcard { names, ..before }, new], vec![]));
        assert_eq!(unlisted(&status), ["*.bus.example.com: status has no room for 2 more names"]);
        let lines: Vec<String> =
            shown(&asked).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "WILDCARD NAME NOW",
            "*.blob.example.com a.blob.example.com allowed",
            "*.bus.example.com b.bus.example.com suggested",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_entry_holds_what_the_schema_allows_and_says_so() {
        let learned: BTreeSet<DomainName> =
            (0..70).map(|number| name(&format!("n{number:02}.blob.example.com"))).collect();
        let asked = asked(&learned, &[NamePattern::parse(PATTERN).expect("a pattern")].into(), None);
        let (wildcards, cut) = block(&[], &asked);
        assert_eq!((wildcards[0].names.len(), cut), (64, vec![PATTERN.to_owned()]));
    }
}
