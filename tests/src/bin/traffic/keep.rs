//! A connection that stays open until it ends, and how it did.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use crate::connect::request;

/// Bytes of one request; none is answered.
const REQUEST: u32 = 64;

#[derive(Args)]
pub(crate) struct Keep {
    /// The server.
    server: SocketAddr,
    /// Milliseconds between two requests; with zero there is only one, and whatever comes is waited for.
    #[arg(long, default_value_t = 20)]
    every: u64,
    /// Milliseconds after which it is ended here.
    #[arg(long, default_value_t = 60_000)]
    longest: u64,
}

/// What became of it, as JSON.
#[derive(Serialize)]
pub(crate) struct Kept {
    /// Payload bytes that were handed to the kernel.
    bytes_sent: u64,
    /// `reset`, `closed` by the other end, `time`, or the error.
    ended: String,
}

impl Keep {
    pub(crate) fn run(&self) -> io::Result<Kept> {
        let until = Instant::now() + Duration::from_millis(self.longest);
        let mut stream = TcpStream::connect(self.server)?;
        stream.set_nodelay(true)?;
        let mut bytes_sent = 0;
        let mut ended = "time".to_owned();
        while Instant::now() < until {
            match self.turn(&mut stream, bytes_sent, until) {
                Ok(sent) => bytes_sent += sent,
                Err(error) => {
                    ended = match error.kind() {
                        ErrorKind::WouldBlock => continue,
                        // Whoever waits at a socket that is cut is told either.
                        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset".to_owned(),
                        ErrorKind::UnexpectedEof => "closed".to_owned(),
                        _ => error.to_string(),
                    };
                    break;
                }
            }
        }
        Ok(Kept { bytes_sent, ended })
    }

    fn turn(&self, stream: &mut TcpStream, sent: u64, until: Instant) -> io::Result<u64> {
        if self.every > 0 || sent == 0 {
            stream.write_all(&request(REQUEST, 0))?;
            thread::sleep(Duration::from_millis(self.every));
            return Ok(REQUEST.into());
        }
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut [0])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(0),
        }
    }
}
