//! The client's half.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::anyhow;
use clap::Args;
use nix::{
    libc,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
    },
};

use crate::{Counts, HEAD};

#[derive(Args)]
pub(crate) struct Connect {
    /// Servers by address or name, taken in turn. Names are looked up as any program does, before all else.
    #[arg(required = true, value_delimiter = ',', value_parser = look_up)]
    servers: Vec<SocketAddr>,
    /// Connections to make, or UDP exchanges, each from a socket of its own.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Payload bytes to send on each.
    #[arg(long, default_value_t = 64)]
    send: u32,
    /// Payload bytes to ask for on each.
    #[arg(long, default_value_t = 64)]
    receive: u32,
    /// How many at the same time.
    #[arg(long, default_value_t = 1)]
    parallel: u64,
    /// UDP instead of TCP.
    #[arg(long)]
    udp: bool,
    /// End each connection by a reset instead of in order.
    #[arg(long)]
    reset: bool,
    /// Bind to this port first.
    #[arg(long)]
    source_port: Option<u16>,
    /// Let the server end each connection.
    #[arg(long)]
    wait_for_end: bool,
    /// Exchanges on each TCP connection.
    #[arg(long, default_value_t = 1)]
    exchanges: u64,
    /// Milliseconds that each connection stays open after an exchange.
    #[arg(long, default_value_t = 0)]
    hold: u64,
    /// Milliseconds to wait for a connection or an answer.
    #[arg(long, default_value_t = 10_000)]
    timeout: u64,
    /// Fail with the first that does not work, and say why, instead of counting them.
    #[arg(long)]
    strict: bool,
}

#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    failed: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Connect {
    pub(crate) fn run(&self) -> anyhow::Result<Counts> {
        anyhow::ensure!(self.send == 0 || self.send as usize >= HEAD, "--send is zero or at least {HEAD}");
        let (totals, next, problem) = (Totals::default(), AtomicU64::new(0), OnceLock::new());
        thread::scope(|scope| {
            for _ in 0..self.parallel {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Relaxed);
                        if number >= self.count || problem.get().is_some() {
                            break;
                        }
                        let server = self.servers[number as usize % self.servers.len()];
                        let done = if self.udp {
                            self.datagram(server, &totals)
                        } else {
                            self.stream(server, &totals)
                        };
                        if let Err(error) = done {
                            totals.failed.fetch_add(1, Relaxed);
                            if self.strict {
                                let _ = problem.set(anyhow!("connection {number} to {server}: {error}"));
                            }
                        }
                    }
                });
            }
        });
        problem.into_inner().map_or_else(|| Ok(totals.counts()), Err)
    }

    fn stream(&self, server: SocketAddr, totals: &Totals) -> io::Result<()> {
        let timeout = Duration::from_millis(self.timeout);
        let mut stream = match self.source_port {
            Some(port) => from_port(port, server)?,
            None => TcpStream::connect_timeout(&server, timeout)?,
        };
        totals.connections.fetch_add(1, Relaxed);
        stream.set_read_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        for _ in 0..self.exchanges {
            self.exchange(&mut stream, totals)?;
            thread::sleep(Duration::from_millis(self.hold));
        }
        if self.wait_for_end {
            while stream.read(&mut [0])? > 0 {}
        }
        if self.reset {
            setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        }
        Ok(())
    }

    fn exchange(&self, stream: &mut TcpStream, totals: &Totals) -> io::Result<()> {
        if self.send == 0 {
            return Ok(());
        }
        stream.write_all(&request(self.send, self.receive))?;
        totals.bytes_sent.fetch_add(u64::from(self.send), Relaxed);
        let mut buffer = [0_u8; 16 * 1024];
        let mut left = self.receive as usize;
        while left > 0 {
            let more = stream.read(&mut buffer)?;
            if more == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= more.min(left);
            totals.bytes_received.fetch_add(more as u64, Relaxed);
        }
        Ok(())
    }

    fn datagram(&self, server: SocketAddr, totals: &Totals) -> io::Result<()> {
        let any: SocketAddr = (unspecified(server), self.source_port.unwrap_or(0)).into();
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_millis(self.timeout)))?;
        // Not connected, as most UDP programs are: the answer's source may differ.
        totals
            .bytes_sent
            .fetch_add(socket.send_to(&request(self.send, self.receive), server)? as u64, Relaxed);
        totals.connections.fetch_add(1, Relaxed);
        if self.receive > 0 {
            let received = socket.recv_from(&mut vec![0_u8; 64 * 1024])?.0;
            totals.bytes_received.fetch_add(received as u64, Relaxed);
        }
        thread::sleep(Duration::from_millis(self.hold));
        Ok(())
    }
}

/// A request of so many bytes for so many.
pub(crate) fn request(send: u32, receive: u32) -> Vec<u8> {
    let mut request = vec![0_u8; send as usize];
    request[..4].copy_from_slice(&send.to_be_bytes());
    request[4..HEAD].copy_from_slice(&receive.to_be_bytes());
    request
}

fn look_up(server: &str) -> io::Result<SocketAddr> {
    server.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn from_port(port: u16, server: SocketAddr) -> io::Result<TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((unspecified(server), port))))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(socket.into())
}

fn unspecified(server: SocketAddr) -> std::net::IpAddr {
    match server {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

impl Totals {
    fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Relaxed),
            failed: self.failed.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
        }
    }
}
