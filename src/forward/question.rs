//! A pod's question as the cluster's DNS forwards it, and the replies that need no upstream. Pure.

use super::probe::PROBE_LABEL;
use connectivity_allowlist::net::DomainName;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

/// Bytes of a header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// The bit of a header's third byte that marks a reply.
const REPLY: u8 = 0x80;
/// The bit of a header's fourth byte that offers recursion: resolvers turn away from a reply without it.
const RECURSION: u8 = 0x80;
/// The bits of a header's third byte that a reply repeats: the opcode, and whether recursion is desired.
const REPEATED: u8 = 0x79;

/// The EDNS option with the client's address, as CoreDNS writes it: `rewrite edns0 local set 0xffee {client_ip}`.
const CLIENT: EdnsCode = EdnsCode::Unknown(0xffee);

/// A question.
#[derive(Clone, Debug)]
pub struct ForwardedQuestion {
    /// The name; none if it is no name that a list can have.
    pub name: Option<DomainName>,
    /// The name, as it was spelled.
    pub spelled: Name,
    /// The type of the records.
    pub kind: RecordType,
    /// Whether signatures are asked for (DO).
    pub wants_signatures: bool,
    /// Who asked the cluster's DNS, where that says so.
    pub client: Option<IpAddr>,
    /// The whole message.
    pub message: Message,
    /// The header and the question, as they came.
    head: Vec<u8>,
}

impl ForwardedQuestion {
    /// Reads a message.
    ///
    /// # Errors
    /// The reply to a message that is not understood; nothing where it cannot even be replied to, or is itself a reply.
    pub fn read(bytes: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let header = bytes.get(..HEADER).filter(|header| header[2] & REPLY == 0).ok_or(None)?;
        let refuse = |code: ResponseCode| Some(reply_to(header, &bytes[HEADER..HEADER], code));
        let mut message = Message::from_vec(bytes).map_err(|_| refuse(ResponseCode::FormErr))?;
        let metadata = &message.metadata;
        if metadata.message_type != MessageType::Query || metadata.op_code != OpCode::Query {
            return Err(refuse(ResponseCode::NotImp));
        }
        let [query] = &*message.queries else { return Err(refuse(ResponseCode::FormErr)) };
        let question = question_of(&bytes[HEADER..]).ok_or_else(|| refuse(ResponseCode::FormErr))?;
        Ok(Self {
            name: DomainName::parse(&query.name().to_ascii()).ok(),
            spelled: query.name().clone(),
            kind: query.query_type(),
            wants_signatures: message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            client: take_client(&mut message),
            head: bytes[..HEADER + question].to_vec(),
            message,
        })
    }

    /// The first label and the zone of a probe: a question that only the forwarder can answer.
    #[must_use]
    pub fn probe(&self) -> Option<(String, DomainName)> {
        let first = self.spelled.iter().next().filter(|_| self.kind == RecordType::TXT)?;
        let begins = first.get(..PROBE_LABEL.len())?.eq_ignore_ascii_case(PROBE_LABEL.as_bytes());
        let label = begins.then(|| String::from_utf8_lossy(first).to_ascii_lowercase())?;
        Some((label, DomainName::parse(&self.spelled.base_name().to_ascii()).ok()?))
    }

    /// A reply with one text, which no cache may keep.
    #[must_use]
    pub fn answer_with_text(&self, text: &str) -> Vec<u8> {
        let mut reply = Message::response(self.message.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = self.message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries.clone_from(&self.message.queries);
        let data = RData::TXT(TXT::new(vec![text.to_owned()]));
        reply.answers.push(Record::from_rdata(self.spelled.clone(), 0, data));
        reply.to_vec().map_or_else(|_| self.refuse(ResponseCode::ServFail), |bytes| self.answer_with(bytes))
    }

    /// A reply without records.
    #[must_use]
    pub fn refuse(&self, code: ResponseCode) -> Vec<u8> {
        reply_to(&self.head[..HEADER], &self.head[HEADER..], code)
    }

    /// An upstream's reply as one to this question: with its id and its spelling of the name, and otherwise as it came.
    #[must_use]
    pub fn answer_with(&self, mut reply: Vec<u8>) -> Vec<u8> {
        if let Some(id) = reply.get_mut(..2) {
            id.copy_from_slice(&self.head[..2]);
        }
        // Both are the same name, in the same number of bytes.
        let has_question = reply.get(4..6) == Some(&[0, 1]);
        if let Some(question) = reply.get_mut(HEADER..self.head.len()).filter(|_| has_question) {
            question.copy_from_slice(&self.head[HEADER..]);
        }
        reply
    }
}

/// Takes out who asked: the upstream has no need to know the addresses of pods. Of two such options the pod wrote one.
fn take_client(message: &mut Message) -> Option<IpAddr> {
    let options = message.edns.as_mut()?.options_mut();
    let client = match &*options.get_all(CLIENT) {
        [EdnsOption::Unknown(_, bytes)] => match bytes.len() {
            4 => <[u8; 4]>::try_from(&**bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(&**bytes).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    };
    options.remove(CLIENT);
    client.map(|client| client.to_canonical())
}

/// How many bytes the first question takes: its name, which is not compressed, its type and its class.
fn question_of(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => break,
            label @ 1..=63 => at += label + 1,
            _ => return None,
        }
    }
    let end = at + 5;
    (end <= bytes.len()).then_some(end)
}

/// A reply with a header and at most a question.
fn reply_to(header: &[u8], question: &[u8], code: ResponseCode) -> Vec<u8> {
    let questions = u8::from(!question.is_empty());
    let mut reply = vec![header[0], header[1], (header[2] & REPEATED) | REPLY, RECURSION | code.low(), 0, questions];
    reply.extend([0; 6]);
    reply.extend(question);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns, Query};

    fn message(name: &str) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        message.metadata.recursion_desired = true;
        message
    }

    #[test]
    fn a_question_is_read_with_its_spelling() {
        let mut message = message("Agent.Example.COM.");
        message.set_edns(Edns::new()).edns.as_mut().expect("just set").set_dnssec_ok(true);
        let question = ForwardedQuestion::read(&message.to_vec().expect("bytes")).expect("a question");
        assert_eq!(question.name.as_ref().map(DomainName::as_str), Some("agent.example.com"));
        assert!(question.spelled.eq_case(&Name::from_ascii("Agent.Example.COM.").expect("a name")));
        assert!(question.wants_signatures && question.kind == RecordType::A);
    }

    #[test]
    fn the_client_is_read_and_goes_no_further() {
        let with_all = |all: &[&[u8]]| {
            let mut message = message("a.example.com.");
            let edns = message.set_edns(Edns::new()).edns.as_mut().expect("just set");
            all.iter().for_each(|bytes| edns.options_mut().insert(EdnsOption::Unknown(0xffee, bytes.to_vec())));
            ForwardedQuestion::read(&message.to_vec().expect("bytes")).expect("a question")
        };
        let with = |bytes: &[u8]| with_all(&[bytes]);
        assert_eq!(with(&[10, 244, 0, 7]).client, Some(IpAddr::from([10, 244, 0, 7])));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 0, 7];
        assert_eq!(with(&mapped).client, Some(IpAddr::from([10, 244, 0, 7])), "an old CoreDNS on a dual-stack socket");
        let (short, two) = (with(&[10, 244]), with_all(&[&[10, 244, 0, 7], &[10, 244, 0, 8]]));
        assert_eq!((short.client, two.client), (None, None), "of two, a pod wrote one itself");
        assert!(two.message.edns.expect("it stays").options().get(CLIENT).is_none());
        assert!(short.message.edns.expect("it stays").options().get(CLIENT).is_none());
    }

    #[test]
    fn a_reply_gets_the_id_and_the_spelling_of_its_question() {
        let question =
            ForwardedQuestion::read(&message("Agent.Example.com.").to_vec().expect("bytes")).expect("a question");
        let mut upstream = message("aGENT.eXAMPLE.cOM.");
        (upstream.metadata.message_type, upstream.metadata.id) = (MessageType::Response, 7);
        let reply = question.answer_with(upstream.to_vec().expect("bytes"));
        let reply = Message::from_vec(&reply).expect("a reply");
        assert_eq!(reply.metadata.id, question.message.metadata.id);
        assert!(reply.queries[0].name().eq_case(&question.spelled));
    }

    #[test]
    fn what_is_no_question_is_answered_so_or_not_at_all() {
        assert_eq!(ForwardedQuestion::read(&[0; 5]).expect_err("too short"), None);
        let mut reply = message("a.example.com.");
        reply.metadata.message_type = MessageType::Response;
        assert_eq!(
            ForwardedQuestion::read(&reply.to_vec().expect("bytes")).expect_err("a reply"),
            None,
            "it would be reflected"
        );
        let code = |bytes: &[u8]| {
            let reply = ForwardedQuestion::read(bytes).expect_err("no question").expect("a reply");
            Message::from_vec(&reply).expect("a reply").metadata.response_code
        };
        let mut update = message("a.example.com.");
        update.metadata.op_code = OpCode::Update;
        assert_eq!(code(&update.to_vec().expect("bytes")), ResponseCode::NotImp);
        let mut two = message("a.example.com.");
        two.add_query(two.queries[0].clone());
        assert_eq!(code(&two.to_vec().expect("bytes")), ResponseCode::FormErr);
        let mut cut = message("a.example.com.").to_vec().expect("bytes");
        cut.truncate(20);
        assert_eq!(code(&cut), ResponseCode::FormErr);
    }

    #[test]
    fn refusals_repeat_the_question() {
        let question =
            ForwardedQuestion::read(&message("A.example.com.").to_vec().expect("bytes")).expect("a question");
        let refused = Message::from_vec(&question.refuse(ResponseCode::Refused)).expect("a reply");
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
        assert!(refused.queries[0].name().eq_case(&question.spelled) && refused.metadata.recursion_desired);
        assert!(refused.metadata.recursion_available);
    }
}
