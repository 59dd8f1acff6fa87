//! The stand-in for the allowlist API from the command line, as the demo starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use test_support::standin::{Source, Standin, StandinConfig, Validity};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Serves a stand-in for the Connectivity AllowList API until it is interrupted.

  --listen ADDR:PORT           where to listen (127.0.0.1:8081; port 0 takes a free one)
  --valid-for SECONDS          each list is valid so long, window after window (the documents' own validUntil)
  --fixture FILE               the Global cloud's document, unfiltered
  --japan-fixture FILE         the Japan cloud's document, unfiltered
  --requests-per-minute N      from one address to one cloud; 0 for no limit (5)

POST /admin/publish[?cloud=japan] with a document publishes it; POST /admin/valid-for with a number of seconds changes
how long lists are valid.";

fn configured(mut arguments: impl Iterator<Item = String>) -> Result<Option<StandinConfig>> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 8081));
    let mut config = StandinConfig { listen, admin: true, ..StandinConfig::default() };
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            return Ok(None);
        }
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), value.to_owned()),
            None => {
                let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
                (argument, value)
            }
        };
        let number = || value.parse::<u32>().with_context(|| format!("{flag} {value}: must be a whole number"));
        match flag.as_str() {
            "--listen" => {
                config.listen = value.parse().with_context(|| format!("{flag} {value}: must be ADDR:PORT"))?;
            }
            "--valid-for" => {
                config.validity = match number()? {
                    0 => Validity::AsPublished,
                    seconds => Validity::Rolling(Duration::from_secs(u64::from(seconds))),
                }
            }
            "--fixture" => config.global = read(&value.into())?,
            "--japan-fixture" => config.japan = read(&value.into())?,
            "--requests-per-minute" => config.requests_per_minute = Some(number()?).filter(|limit| *limit > 0),
            _ => bail!("{flag}: there is no such flag; --help lists them"),
        }
    }
    Ok(Some(config))
}

fn read(file: &PathBuf) -> Result<test_support::standin::Document> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{}: must be a document in format=json", file.display()))
}

async fn serve(config: StandinConfig) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut standin = Standin::start(config).await?;
    println!("global {}", standin.base_url_global());
    println!("japan {}", standin.base_url_japan());
    println!("static {}", standin.url(Source::StaticCommercial));
    println!("static {}", standin.url(Source::StaticJapan));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    standin.stop().await;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match configured(std::env::args().skip(1)) {
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(config)) => serve(config).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
