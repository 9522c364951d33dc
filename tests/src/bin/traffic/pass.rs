//! A proxy for a published port, as a runtime starts one: what comes to one address is passed on to another as its own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use cofferdam_tests::scenes::{
    Service,
    actor::Numbers,
    protocol::{TCP, UDP},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use crate::act::answer;

/// How long an answer may take.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Pass {
    /// What is passed on: `tcp/127.0.0.1:18080/198.18.0.2:80`.
    #[arg(required = true)]
    ways: Vec<Way>,
}

/// From where to where.
#[derive(Clone, Copy)]
struct Way {
    protocol: u8,
    from: SocketAddr,
    to: SocketAddr,
}

impl FromStr for Way {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let [name, from, to] = text.split('/').collect::<Vec<_>>()[..] else {
            anyhow::bail!("`{text}` is not PROTOCOL/FROM/TO")
        };
        let protocol = Service::from_str(name)?.protocol;
        let address = |text: &str| text.parse().with_context(|| format!("`{text}` is no address"));
        Ok(Self { protocol, from: address(from)?, to: address(to)? })
    }
}

impl Pass {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut all = JoinSet::new();
            for way in self.ways.clone() {
                match way.protocol {
                    TCP => drop(all.spawn(connections(TcpListener::bind(way.from).await?, way.to))),
                    UDP => drop(all.spawn(datagrams(UdpSocket::bind(way.from).await?, way.to))),
                    _ => anyhow::bail!("only TCP and UDP are passed on"),
                }
            }
            // As an actor says that its servers are up.
            answer(&Numbers::new())?;
            all.join_next().await;
            Ok(())
        })
    }
}

async fn connections(listener: TcpListener, to: SocketAddr) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut server = TcpStream::connect(to).await?;
            copy_bidirectional(&mut client, &mut server).await
        });
    }
}

/// Each datagram has a socket of its own, at which one answer is waited for.
async fn datagrams(socket: UdpSocket, to: SocketAddr) {
    let (socket, mut buffer) = (Arc::new(socket), [0; 2048]);
    loop {
        // Errors are those of earlier answers.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let (socket, request) = (Arc::clone(&socket), buffer[..length].to_vec());
        tokio::spawn(timeout(LONGEST, async move {
            let local =
                if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
            let server = UdpSocket::bind((local, 0)).await?;
            server.connect(to).await?;
            server.send(&request).await?;
            let mut answer = [0; 2048];
            let length = server.recv(&mut answer).await?;
            socket.send_to(&answer[..length], from).await
        }));
    }
}
