//! `probe`: what `helm test` runs in its pods, so that it needs no image but the operator's own.

use crate::crd::Period;
use crate::text::output::say;
use clap::{Args, ValueEnum};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The time limit of one attempt: packets that a policy drops are never answered.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How many attempts in a row have to fail before an address counts as cut off: one may fail for another reason.
const FAILURES: u32 = 3;
/// The exit code of an unmet expectation; usage errors have another.
const UNMET: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    /// What is expected
    #[arg(value_enum)]
    expected: Expected,
    // No flag: a flag has an environment variable, and Kubernetes sets CITRIX_ALLOWLIST_PORT for a Service of that name.
    /// IP address of the operator, or of its Service
    address: IpAddr,
    /// Port that it serves /readyz on
    port: u16,
    /// How long to try
    #[arg(long, value_name = "TIME", value_parser = period, default_value = "90s")]
    within: Duration,
}

/// What a probe expects of the operator's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Expected {
    /// /readyz answers 200
    Ready,
    /// Nothing answers, as a NetworkPolicy without any egress has it
    CutOff,
}

/// The longest time to try: the caller has given up by then.
const LONGEST: Duration = Duration::from_secs(3600);

fn period(text: &str) -> Result<Duration, String> {
    let period = Period::try_from(text.to_owned()).map(Period::duration)?;
    if period > LONGEST { Err(format!("{text} is too long: at most 1h is allowed")) } else { Ok(period) }
}

pub(super) fn run(arguments: &ProbeArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = SocketAddr::new(arguments.address, arguments.port);
    let (met, text) = runtime.block_on(probe(arguments.expected, address, arguments.within));
    text.lines().try_for_each(say)?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::from(UNMET) })
}

async fn probe(expected: Expected, address: SocketAddr, within: Duration) -> (bool, String) {
    let deadline = Instant::now() + within;
    let mut failures = 0;
    loop {
        let answer = ask(address).await;
        match (expected, &answer) {
            (Expected::Ready, Ok(status)) if status.contains(" 200 ") => {
                return (true, format!("ready: http://{address}/readyz"));
            }
            (Expected::CutOff, Err(_)) => failures += 1,
            _ => failures = 0,
        }
        // Some CNIs drop packets, others refuse connections. The error is printed, since a Service without a ready pod refuses
        // them too.
        if let Err(error) = &answer
            && failures == FAILURES
        {
            return (true, format!("enforced: {address} is out of reach, as the NetworkPolicy says ({error})"));
        }
        if Instant::now() + PAUSE >= deadline {
            return (false, unmet(expected, address, &answer));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The status line of /readyz, over a new connection: many CNIs do not cut existing ones.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let attempt = async {
        let mut connection = TcpStream::connect(address).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // A status line at most: any server may answer.
        connection.take(256).read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    tokio::time::timeout(ATTEMPT, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn unmet(expected: Expected, address: SocketAddr, answer: &io::Result<String>) -> String {
    let last = match answer {
        Ok(status) => format!("answered `{status}`"),
        Err(error) => format!("failed: {error}"),
    };
    match expected {
        Expected::Ready => format!(
            "NOT READY: http://{address}/readyz last {last}\n\
             See `kubectl logs` and `kubectl describe pod` of the operator."
        ),
        Expected::CutOff => format!(
            "NOT ENFORCED: http://{address}/readyz {last} to a pod whose NetworkPolicy allows no egress.\n\
             This cluster accepts NetworkPolicies and does nothing with them (plain flannel, for one). A CitrixAllowlist can \
             be\nReady there and still protect nothing. Install a CNI that enforces them, or set tests.enforcement=false."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// The address of a server that answers each request with this status line.
    async fn answering(status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = [0; 256];
                let _ = connection.read(&mut request).await;
                let _ =
                    connection.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            }
        });
        address
    }

    /// An address where nothing listens.
    async fn silent() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    }

    const SHORTLY: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn ready_is_what_answers_200() {
        let (met, text) = probe(Expected::Ready, answering("200 OK").await, LONG).await;
        assert!(met && text.starts_with("ready: http://127.0.0.1:"), "{text}");
        let (met, text) = probe(Expected::Ready, answering("503 Service Unavailable").await, SHORTLY).await;
        assert!(!met && text.contains("last answered `HTTP/1.1 503 Service Unavailable`"), "{text}");
        let (met, text) = probe(Expected::Ready, silent().await, SHORTLY).await;
        assert!(!met && text.contains("last failed: "), "{text}");
    }

    #[tokio::test]
    async fn cut_off_is_what_does_not_answer_at_all() {
        let (met, text) = probe(Expected::CutOff, silent().await, LONG).await;
        assert!(met && text.starts_with("enforced: 127.0.0.1:"), "{text}");
        // One that is not ready has been reached all the same.
        for status in ["200 OK", "503 Service Unavailable"] {
            let (met, text) = probe(Expected::CutOff, answering(status).await, SHORTLY).await;
            assert!(!met && text.starts_with("NOT ENFORCED: ") && text.contains(status), "{text}");
        }
    }

    #[tokio::test]
    async fn one_failure_is_not_yet_cut_off() {
        let (met, text) = probe(Expected::CutOff, silent().await, SHORTLY).await;
        assert!(!met && text.starts_with("NOT ENFORCED: "), "{text}");
    }
}
