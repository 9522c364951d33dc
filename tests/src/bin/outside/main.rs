//! A peer outside: a TCP/IP stack of its own on `eth0`, so that the kernel knows no socket of it. Speaks as `traffic`.

mod act;
mod stack;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    str::FromStr as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use cofferdam_tests::{Counts, scenes::Service};
use smoltcp::{
    iface::SocketHandle,
    socket::{tcp, udp},
};
use stack::Stack;

/// Answers or makes traffic beyond the kernel.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers pings and requests until it is killed.
    Serve {
        /// Its address.
        address: Ipv4Addr,
        /// Where it answers TCP.
        #[arg(long)]
        tcp: u16,
        /// Where it answers UDP.
        #[arg(long)]
        udp: u16,
    },
    /// Makes requests one after the other, then prints what was made.
    Connect {
        /// Its address.
        address: Ipv4Addr,
        /// The server.
        server: SocketAddrV4,
        /// Connections to make, or UDP exchanges.
        #[arg(long, default_value_t = 1)]
        count: u16,
        /// Payload bytes to send on each.
        #[arg(long, default_value_t = 64)]
        send: u32,
        /// Payload bytes to ask for on each.
        #[arg(long, default_value_t = 64)]
        receive: u32,
        /// UDP instead of TCP.
        #[arg(long)]
        udp: bool,
    },
    /// Plays in a scene: serves, and tries what it is told on standard input.
    Act {
        /// Its address.
        address: IpAddr,
        /// What it serves.
        #[arg(long, value_delimiter = ',', value_parser = Service::from_str)]
        serve: Vec<Service>,
    },
}

/// Length of the two numbers that a request begins with: its own length, and that of the answer.
const HEAD: usize = 8;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that are served at the same time.
const LISTENERS: usize = 8;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Serve { address, tcp, udp } => serve(&mut Stack::new(address.into())?, tcp, udp),
        Command::Connect { address, server, count, send, receive, udp } => {
            ensure!(send as usize >= HEAD, "--send is at least {HEAD}");
            let mut stack = Stack::new(address.into())?;
            let mut counts = Counts::default();
            let request =
                [&send.to_be_bytes()[..], &receive.to_be_bytes(), &vec![0; send as usize - HEAD]].concat();
            // Another run may have used the same ports a moment ago.
            let first =
                20_000 + (SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_micros() % 40_000) as u16;
            for port in (0..count).map(|number| first + number) {
                let received = if udp {
                    ask(&mut stack, server, port, &request)?
                } else {
                    connect(&mut stack, server, port, &request, receive as usize)?
                };
                counts.connections += 1;
                counts.bytes_sent += u64::from(send);
                counts.bytes_received += received as u64;
            }
            print(&counts)
        }
        Command::Act { address, serve } => act::run(&mut Stack::new(address)?, &serve),
    }
}

#[expect(clippy::print_stdout, reason = "printing is this program's answer")]
fn print(counts: &Counts) -> Result<()> {
    println!("{}", serde_json::to_string(counts)?);
    Ok(())
}

fn serve(stack: &mut Stack, tcp_port: u16, udp_port: u16) -> Result<()> {
    let listeners: Vec<SocketHandle> = (0..LISTENERS).map(|_| stack.tcp()).collect();
    let datagrams = stack.udp(udp_port)?;
    loop {
        stack.turn()?;
        for listener in &listeners {
            let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(*listener);
            if !socket.is_open() {
                socket.listen(tcp_port)?;
            }
            while let Some((request, answer)) = lengths(socket.peek(HEAD).unwrap_or_default()) {
                if socket.recv_queue() < request {
                    break;
                }
                socket.recv_slice(&mut vec![0; request])?;
                socket.send_slice(&vec![0; answer])?;
            }
            if socket.may_send() && !socket.may_recv() {
                socket.close();
            }
        }
        let socket = stack.sockets.get_mut::<udp::Socket<'_>>(datagrams);
        while let Ok((request, from)) = socket.recv() {
            if let Some((_, answer)) = lengths(request).filter(|(_, answer)| *answer > 0) {
                socket.send_slice(&vec![0; answer], from.endpoint)?;
            }
        }
    }
}

/// How long a request is, and how long its answer is to be.
fn lengths(request: &[u8]) -> Option<(usize, usize)> {
    let (request, rest) = request.split_first_chunk::<4>()?;
    let answer = rest.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*request) as usize, u32::from_be_bytes(*answer) as usize))
}

/// One connection; the bytes that were received.
fn connect(
    stack: &mut Stack,
    server: SocketAddrV4,
    port: u16,
    request: &[u8],
    answer: usize,
) -> Result<usize> {
    let handle = stack.tcp();
    stack.dial(handle, server.into(), port)?;
    let (mut asked, mut received) = (false, 0);
    let begun = Instant::now();
    loop {
        stack.turn()?;
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !asked && socket.may_send() {
            socket.send_slice(request)?;
            asked = true;
        }
        while socket.can_recv() {
            received += socket.recv(|bytes| (bytes.len(), bytes.len()))?;
        }
        if asked && received >= answer && socket.may_send() {
            socket.close();
        }
        if asked && matches!(socket.state(), tcp::State::TimeWait | tcp::State::Closed) {
            return Ok(received);
        }
        ensure!(begun.elapsed() < PATIENCE, "{server} is {} after {received} bytes", socket.state());
    }
}

/// One exchange of datagrams; the bytes that were received.
fn ask(stack: &mut Stack, server: SocketAddrV4, port: u16, request: &[u8]) -> Result<usize> {
    let handle = stack.udp(port)?;
    let socket = stack.sockets.get_mut::<udp::Socket<'_>>(handle);
    socket.send_slice(request, server)?;
    let begun = Instant::now();
    loop {
        stack.turn()?;
        if let Ok((answer, _)) = stack.sockets.get_mut::<udp::Socket<'_>>(handle).recv() {
            return Ok(answer.len());
        }
        ensure!(begun.elapsed() < PATIENCE, "{server} does not answer");
    }
}
