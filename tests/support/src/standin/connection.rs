//! Connections that can be cut from outside: reset in the middle of an answer, or all at once when the server stops.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::task::AtomicWaker;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Cuts one connection.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    cut: AtomicBool,
    tls: bool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Switch {
    /// Whether the connection is an HTTPS one.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Resets the connection: its next read or write fails and the peer sees a RST.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }
}

/// The switches of every connection that may still be open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Vec<Weak<Switch>>>>);

impl Connections {
    fn add(&self, tls: bool) -> Arc<Switch> {
        let switch = Arc::new(Switch { tls, ..Switch::default() });
        let mut switches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        switches.retain(|switch| switch.strong_count() > 0);
        switches.push(Arc::downgrade(&switch));
        switch
    }

    /// Resets every open connection.
    pub(crate) fn cut_all(&self) {
        let switches = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for switch in switches.iter().filter_map(Weak::upgrade) {
            switch.cut();
        }
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    switch: Arc<Switch>,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if !self.switch.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        // Without lingering, closing sends a RST instead of a FIN.
        stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.switch.reader.register(cx.waker());
        self.check()?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.switch.writer.register(cx.waker());
        self.check()?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Hands accepted connections, after their TLS handshake where there is one, to axum.
#[derive(Debug)]
pub(crate) struct Connecting {
    accepted: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
    _acceptor: JoinSet<()>,
}

/// A client that does not finish its handshake must not hold a task forever.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

impl Connecting {
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        connections: Connections,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(64);
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, tls.map(TlsAcceptor::from), connections, sender));
        Ok(Self { accepted, address, _acceptor: acceptor })
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Connections,
    sender: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        while handshakes.try_join_next().is_some() {}
        let switch = connections.add(tls.is_some());
        let (tls, sender) = (tls.clone(), sender.clone());
        handshakes.spawn(async move {
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    // The client refused the certificate, or never spoke: there is nobody to answer.
                    Ok(Err(_)) | Err(_) => return,
                },
            };
            // Nobody receives only when the server is being stopped.
            let _stopped = sender.send((Connection { stream, switch }, peer)).await;
        });
    }
}

impl Listener for Connecting {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// What a handler knows about the connection its request came on.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) switch: Arc<Switch>,
}

impl Connected<IncomingStream<'_, Connecting>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connecting>) -> Self {
        Self { address: *stream.remote_addr(), switch: stream.io().switch.clone() }
    }
}
