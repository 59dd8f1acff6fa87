//! What an answer from off the path would have to guess.

use crate::{EXACT, Forwarding, unseen};
use std::collections::BTreeSet;
use test_support::dns::DnsTransport;

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_reply_has_to_guess_port_number_and_case() {
    let forwarding = Forwarding::start().await;
    // Since then the upstream is known to keep the case.
    forwarding.client().resolve(EXACT).await;
    forwarding.stage.dns.clear_questions();
    let client = forwarding.client();
    futures::future::join_all((0..64).map(|number| async move { client.resolve(&unseen(number)).await })).await;
    // Those of pods as they are forwarded, and the operator's own.
    let mut questions = forwarding.stage.dns.questions();
    questions.retain(|question| {
        question.transport == DnsTransport::Udp && (0..64).any(|number| question.name == unseen(number))
    });
    assert!(questions.len() >= 64, "{}", questions.len());
    let nearly_all = questions.len() * 9 / 10;
    let ports: BTreeSet<u16> = questions.iter().map(|question| question.client.port()).collect();
    assert!(ports.len() >= nearly_all, "{} ports of {} questions", ports.len(), questions.len());
    let numbers: BTreeSet<u16> = questions.iter().map(|question| question.number).collect();
    assert!(numbers.len() >= nearly_all, "{} numbers of {} questions", numbers.len(), questions.len());
    let in_a_row = questions.windows(2).filter(|pair| pair[0].number.abs_diff(pair[1].number) <= 1).count();
    assert!(in_a_row < questions.len() / 10, "{in_a_row} numbers follow another");
    let spellings: BTreeSet<&str> = questions.iter().map(|question| &*question.spelled).collect();
    assert!(spellings.len() >= nearly_all, "{} spellings of {} questions", spellings.len(), questions.len());
    let mixed = questions.iter().filter(|question| question.spelled != question.name).count();
    assert!(mixed >= nearly_all, "{mixed} of {} questions are in mixed case", questions.len());
}
