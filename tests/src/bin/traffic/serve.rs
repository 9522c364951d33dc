//! The server's half.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use clap::Args;

use crate::{Counts, HEAD};

/// Where a server answers for its counts, unless told otherwise: a unix socket, so that asking is no traffic.
pub(crate) const CONTROL: &str = "/tmp/traffic.sock";

/// Connections that one port serves at the same time.
const WORKERS: usize = 16;

#[derive(Args)]
pub(crate) struct Serve {
    /// TCP ports or addresses to listen on; a bare port means IPv4 and IPv6.
    #[arg(long, value_delimiter = ',')]
    tcp: Vec<String>,
    /// UDP ports or addresses to listen on.
    #[arg(long, value_delimiter = ',')]
    udp: Vec<String>,
    /// End each connection after one answer, as HTTP/1.0 does; by default the client ends it.
    #[arg(long)]
    close: bool,
    /// Where to answer for the counts.
    #[arg(long, default_value = CONTROL)]
    control: PathBuf,
}

#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Serve {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let totals = Arc::new(Totals::default());
        for address in &self.tcp {
            let listener = TcpListener::bind(whole(address)?)?;
            for _ in 0..WORKERS {
                let (listener, totals) = (listener.try_clone()?, totals.clone());
                let close = self.close;
                thread::spawn(move || accept(&listener, &totals, close));
            }
        }
        for address in &self.udp {
            let (socket, totals) = (UdpSocket::bind(whole(address)?)?, totals.clone());
            thread::spawn(move || datagrams(&socket, &totals));
        }
        // Made last: once it is there, all ports are open.
        let _ = std::fs::remove_file(&self.control);
        for stream in UnixListener::bind(&self.control)?.incoming() {
            stream?.write_all(&serde_json::to_vec(&totals.counts())?)?;
        }
        Ok(())
    }
}

/// Prints the counts of the server that answers there.
pub(crate) fn ask(control: &Path) -> anyhow::Result<()> {
    io::copy(&mut UnixStream::connect(control)?, &mut io::stdout())?;
    Ok(())
}

fn whole(address: &str) -> anyhow::Result<SocketAddr> {
    Ok(match address.parse::<u16>() {
        Ok(port) => SocketAddr::from(([0_u16; 8], port)),
        Err(_) => address.parse()?,
    })
}

fn accept(listener: &TcpListener, totals: &Totals, close: bool) {
    while let Ok((mut stream, _)) = listener.accept() {
        totals.connections.fetch_add(1, Relaxed);
        // The client may reset at any time; what passed until then was counted.
        let _ = answer(&mut stream, totals, close);
    }
}

fn answer(stream: &mut TcpStream, totals: &Totals, close: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        let mut have = 0;
        while have < HEAD {
            let more = stream.read(&mut buffer[have..])?;
            if more == 0 {
                return Ok(());
            }
            have += more;
            totals.bytes_received.fetch_add(more as u64, Relaxed);
        }
        let (request, reply) = head(&buffer);
        while have < request {
            let more = stream.read(&mut buffer)?;
            if more == 0 {
                return Ok(());
            }
            have += more;
            totals.bytes_received.fetch_add(more as u64, Relaxed);
        }
        let mut left = reply;
        while left > 0 {
            let sent = stream.write(&buffer[..left.min(buffer.len())])?;
            left -= sent;
            totals.bytes_sent.fetch_add(sent as u64, Relaxed);
        }
        if close {
            return Ok(());
        }
    }
}

fn datagrams(socket: &UdpSocket, totals: &Totals) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok((received, from)) = socket.recv_from(&mut buffer) {
        totals.connections.fetch_add(1, Relaxed);
        totals.bytes_received.fetch_add(received as u64, Relaxed);
        let reply = if received < HEAD { 0 } else { head(&buffer).1.min(buffer.len()) };
        if reply > 0
            && let Ok(sent) = socket.send_to(&buffer[..reply], from)
        {
            totals.bytes_sent.fetch_add(sent as u64, Relaxed);
        }
    }
}

fn head(buffer: &[u8]) -> (usize, usize) {
    let number = |at: usize| u32::from_be_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]]);
    (number(0) as usize, number(4) as usize)
}

impl Totals {
    fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Relaxed),
            failed: 0,
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
        }
    }
}
