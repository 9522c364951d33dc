//! An actor of a scene (`tests/scenes`): serves, and tries what it is told on standard input.
//!
//! An attempt is a number of eight bytes, which the server notes and answers. Raw packets end with it.

use std::{
    io::{self, BufRead as _, Error, Write as _},
    net::{IpAddr, SocketAddr},
    str::FromStr as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use cofferdam_tests::scenes::{
    Service,
    actor::{Ask, Numbers, Try, answer_to, is_attempt},
    protocol::{ICMP, TCP, UDP, UDPLITE},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

/// ICMP's number for IPv6, and what asks for an echo and what is one.
const ICMPV6: i32 = 58;
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;
const REPLIES: [u8; 2] = [0, 129];
/// How long a connection may take that was accepted.
const LONGEST: Duration = Duration::from_secs(10);

/// Attempts that are under way at the same time, of those that are awaited: the kernel drops packets where there are more than
/// a thousand before a CPU.
const AT_ONCE: usize = 32;

#[derive(Args)]
pub(crate) struct Act {
    /// Addresses to serve at.
    #[arg(long, value_delimiter = ',', default_value = "0.0.0.0,::")]
    at: Vec<IpAddr>,
    /// What to serve: `tcp/80`, `udp/53`, `ip/253`.
    #[arg(long, value_delimiter = ',', value_parser = Service::from_str)]
    serve: Vec<Service>,
}

/// Numbers that have arrived.
type Arrived = Arc<Mutex<Numbers>>;

impl Act {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (sender, asked) = mpsc::channel(1);
        thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.act(asked))
    }

    async fn act(&self, mut asked: mpsc::Receiver<String>) -> anyhow::Result<()> {
        let arrived = Arrived::default();
        for (address, service) in self.at.iter().flat_map(|at| self.serve.iter().map(move |it| (*at, *it))) {
            serve(address, service, &arrived).with_context(|| format!("{service} at {address}"))?;
        }
        answer(&Numbers::new())?;
        while let Some(line) = asked.recv().await {
            match serde_json::from_str(&line)? {
                Ask::Try { tries, silence, patience } => {
                    let [silence, patience] = [silence, patience].map(Duration::from_millis);
                    answer(&attempt_all(tries, silence, patience).await)?;
                }
                Ask::Arrived => answer(&std::mem::take(&mut *lock(&arrived)))?,
            }
        }
        Ok(())
    }
}

pub(crate) fn answer(numbers: &Numbers) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, numbers)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket for a protocol, bound if it is a server's.
fn socket(domain: Domain, protocol: u8, bound: Option<SocketAddr>) -> io::Result<Socket> {
    let (kind, number) = match (protocol, domain) {
        (TCP, _) => (Type::STREAM, i32::from(TCP)),
        (UDP | UDPLITE, _) => (Type::DGRAM, i32::from(protocol)),
        (ICMP, Domain::IPV6) => (Type::RAW, ICMPV6),
        _ => (Type::RAW, i32::from(protocol)),
    };
    let socket = Socket::new(domain, kind, Some(Protocol::from(number)))?;
    socket.set_nonblocking(true)?;
    if let Some(address) = bound {
        // Raw ones are of one family anyway, and refuse to be told.
        if domain == Domain::IPV6 && kind != Type::RAW {
            socket.set_only_v6(true)?;
        }
        if protocol == TCP {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
    }
    Ok(socket)
}

fn serve(address: IpAddr, service: Service, arrived: &Arrived) -> io::Result<()> {
    let at = SocketAddr::from((address, service.port));
    let socket = socket(Domain::for_address(at), service.protocol, Some(at))?;
    let arrived = Arc::clone(arrived);
    if service.protocol == TCP {
        socket.listen(512)?;
        tokio::spawn(connections(TcpListener::from_std(socket.into())?, arrived));
    } else {
        tokio::spawn(datagrams(UdpSocket::from_std(socket.into())?, arrived));
    }
    Ok(())
}

async fn connections(listener: TcpListener, arrived: Arrived) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let arrived = Arc::clone(&arrived);
        tokio::spawn(timeout(LONGEST, async move {
            let number = stream.read_u64().await?;
            lock(&arrived).push(number);
            stream.write_u64(answer_to(number)).await?;
            // The client ends it.
            stream.read_u8().await
        }));
    }
}

async fn datagrams(socket: UdpSocket, arrived: Arrived) {
    let mut buffer = [0; 2048];
    loop {
        // Errors are those of earlier answers.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(number) = number(&buffer[..length]).filter(|number| is_attempt(*number)) {
            lock(&arrived).push(number);
            let _ = socket.send_to(&answer_to(number).to_be_bytes(), from).await;
        }
    }
}

/// What a packet ends with: with raw ones goes their header.
fn number(packet: &[u8]) -> Option<u64> {
    packet.last_chunk().map(|last| u64::from_be_bytes(*last))
}

async fn attempt_all(tries: Vec<Try>, silence: Duration, patience: Duration) -> Numbers {
    let (mut awaited, mut others, mut answered) = (JoinSet::new(), JoinSet::new(), Numbers::new());
    // Some are begun long after the first.
    let begun = Arc::new(Mutex::new(Instant::now()));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    for it in tries {
        let attempts = if it.awaited { &mut awaited } else { &mut others };
        let (begun, turns) = (Arc::clone(&begun), Arc::clone(&turns));
        attempts.spawn(async move {
            // What is denied would keep its turn.
            let _turn = if it.awaited { turns.acquire().await.ok() } else { None };
            *lock(&begun) = Instant::now();
            attempt(it).await.is_ok().then_some(it.number)
        });
    }
    loop {
        match timeout(silence, awaited.join_next()).await {
            Ok(Some(ended)) => answered.extend(ended.ok().flatten()),
            Err(_) if lock(&begun).elapsed() < silence => (),
            Ok(None) | Err(_) => break,
        }
    }
    let rest = async {
        while let Some(ended) = others.join_next().await {
            answered.extend(ended.ok().flatten());
        }
    };
    let _ = timeout(patience, rest).await;
    answered
}

async fn attempt(it: Try) -> io::Result<()> {
    if it.protocol == TCP {
        let mut stream = TcpStream::connect(it.to).await?;
        stream.write_u64(it.number).await?;
        let answer = stream.read_u64().await?;
        return if answer == answer_to(it.number) { Ok(()) } else { Err(Error::other("another number")) };
    }
    let socket = socket(Domain::for_address(it.to), it.protocol, None)?;
    // Tokio knows no other datagrams, and calls nothing that is only for UDP.
    let socket = UdpSocket::from_std(socket.into())?;
    let packet = if it.protocol == ICMP { echo(&it) } else { it.number.to_be_bytes().to_vec() };
    if it.connected {
        socket.connect(it.to).await?;
        socket.send(&packet).await?;
    } else {
        socket.send_to(&packet, it.to).await?;
    }
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let packet = &buffer[..length];
        let is_echo = packet.len().checked_sub(16).is_some_and(|start| REPLIES.contains(&packet[start]));
        let awaited = if it.protocol == ICMP { it.number } else { answer_to(it.number) };
        if number(packet) == Some(awaited) && (is_echo || it.protocol != ICMP) {
            return Ok(());
        }
    }
}

/// Asks for an echo. The checksum of ICMPv6 is the kernel's affair.
fn echo(it: &Try) -> Vec<u8> {
    let kind = if it.to.is_ipv4() { ECHO } else { ECHO_V6 };
    let mut packet = [&[kind, 0, 0, 0, 0, 1, 0, 1][..], &it.number.to_be_bytes()].concat();
    let words = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[2..4].copy_from_slice(&(!sum).to_be_bytes()[2..]);
    packet
}
