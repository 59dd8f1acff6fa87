//! An attack by a pod: on the port that serves metrics and `/debug/state`.

use super::kinds::Ground;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Connections that say nothing, at each port.
const SILENT: usize = 300;
/// Readers of `/debug/state` that do not read, at each port.
const READERS: usize = 100;
/// The pod's address: not the one that the kubelet's probes come from.
const POD: [u8; 4] = [127, 0, 0, 7];
/// How soon a connection that was closed is opened again.
const AGAIN: Duration = Duration::from_millis(100);

pub async fn flood(ground: Ground) {
    let mut held = JoinSet::new();
    for port in ground.ports {
        for number in 0..SILENT + READERS {
            held.spawn(async move {
                loop {
                    // What fails is tried again: that is the attack.
                    let _ = hold(port, number >= SILENT).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
    }
    while held.join_next().await.is_some() {}
}

/// Opens a connection and keeps it until it is closed.
async fn hold(port: SocketAddr, asks: bool) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((POD, 0).into())?;
    let mut stream: TcpStream = socket.connect(port).await?;
    if asks {
        stream.write_all(b"GET /debug/state HTTP/1.1\r\nhost: operator\r\n\r\n").await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    } else {
        let _ = stream.read(&mut [0]).await?;
    }
    Ok(())
}
