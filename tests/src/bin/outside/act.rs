//! An actor of a scene (`tests/scenes`), as `traffic act`: tries and serves numbers of eight bytes, by TCP and UDP.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Write as _},
    sync::mpsc::{self, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use cofferdam_tests::scenes::{
    Service,
    actor::{Ask, Numbers, Try, answer_to},
    protocol::{TCP, UDP},
};
use smoltcp::{
    iface::SocketHandle,
    socket::{tcp, udp},
};

use crate::stack::Stack;

/// Connections that a port serves at the same time.
const LISTENERS: usize = 24;
/// Longest that a connection may be silent.
const SILENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(2);
/// Ports of attempts.
const PORTS: std::ops::Range<u16> = 20_000..60_000;

/// Those who play.
struct Play<'a> {
    stack: &'a mut Stack,
    listeners: Vec<(SocketHandle, u16)>,
    datagrams: Vec<SocketHandle>,
    arrived: Numbers,
    port: u16,
}

/// Serves, and answers what it is asked until there is nothing more.
pub(crate) fn run(stack: &mut Stack, serve: &[Service]) -> Result<()> {
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line).ok())
    });
    let mut play =
        Play { stack, listeners: Vec::new(), datagrams: Vec::new(), arrived: Vec::new(), port: PORTS.start };
    for service in serve {
        play.serve(*service)?;
    }
    answer(&Numbers::new())?;
    loop {
        play.turn()?;
        match asked.try_recv() {
            Ok(line) => match serde_json::from_str(&line)? {
                Ask::Try { tries, silence, patience } => {
                    let [silence, patience] = [silence, patience].map(Duration::from_millis);
                    let answered = play.attempt(&tries, silence, patience)?;
                    answer(&answered)?;
                }
                Ask::Arrived => answer(&std::mem::take(&mut play.arrived))?,
            },
            Err(TryRecvError::Empty) => (),
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

fn answer(numbers: &Numbers) -> Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, numbers)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk().map(|last| u64::from_be_bytes(*last))
}

/// An attempt that is under way.
struct Attempt {
    what: Try,
    handle: SocketHandle,
    /// Of a connection whether its number is on the way.
    sent: bool,
}

impl Play<'_> {
    fn serve(&mut self, service: Service) -> Result<()> {
        match service.protocol {
            TCP => {
                let listeners = (0..LISTENERS).map(|_| (self.stack.tcp(), service.port));
                self.listeners.extend(listeners);
            }
            UDP => {
                self.datagrams.push(self.stack.udp(service.port)?);
            }
            _ => bail!("{service} is not known outside"),
        }
        Ok(())
    }

    /// Lets packets come and go, and serves.
    fn turn(&mut self) -> Result<()> {
        for (listener, port) in &self.listeners {
            let socket = self.stack.sockets.get_mut::<tcp::Socket<'_>>(*listener);
            if !socket.is_open() {
                socket.listen(*port)?;
                socket.set_timeout(Some(SILENCE));
            }
            let mut bytes = [0; 8];
            if socket.recv_queue() >= bytes.len() && socket.recv_slice(&mut bytes)? == bytes.len() {
                let number = u64::from_be_bytes(bytes);
                self.arrived.push(number);
                socket.send_slice(&answer_to(number).to_be_bytes())?;
            }
            if socket.may_send() && !socket.may_recv() {
                socket.close();
            }
        }
        for handle in &self.datagrams {
            let socket = self.stack.sockets.get_mut::<udp::Socket<'_>>(*handle);
            while let Ok((bytes, from)) = socket.recv() {
                if let Some(number) = number(bytes) {
                    self.arrived.push(number);
                    // What finds no room is lost, as on any network.
                    let _ = socket.send_slice(&answer_to(number).to_be_bytes(), from.endpoint);
                }
            }
        }
        self.stack.turn()
    }

    /// Tries all at once; which were answered.
    fn attempt(&mut self, tries: &[Try], silence: Duration, patience: Duration) -> Result<Numbers> {
        let mut open = HashMap::new();
        for it in tries {
            open.insert(it.number, Attempt { what: *it, handle: self.begin(it)?, sent: it.protocol != TCP });
        }
        let (mut since, mut answered, mut waits) = (Instant::now(), Numbers::new(), true);
        while !open.is_empty() {
            if waits && (since.elapsed() >= silence || !open.values().any(|attempt| attempt.what.awaited)) {
                (waits, since) = (false, Instant::now());
            }
            if !waits && since.elapsed() >= patience {
                break;
            }
            self.turn()?;
            for attempt in open.values_mut() {
                if self.go_on(attempt)? {
                    answered.push(attempt.what.number);
                    if waits {
                        since = Instant::now();
                    }
                }
            }
            for number in &answered {
                if let Some(attempt) = open.remove(number) {
                    self.end(&attempt)?;
                }
            }
        }
        for attempt in open.values() {
            self.end(attempt)?;
        }
        Ok(answered)
    }

    fn begin(&mut self, it: &Try) -> Result<SocketHandle> {
        self.port = if self.port + 1 < PORTS.end { self.port + 1 } else { PORTS.start };
        if it.protocol == TCP {
            let handle = self.stack.tcp();
            self.stack.dial(handle, it.to, self.port)?;
            return Ok(handle);
        }
        let handle = self.stack.udp(self.port)?;
        let socket = self.stack.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(&it.number.to_be_bytes(), it.to)?;
        Ok(handle)
    }

    /// Whether the answer is there.
    fn go_on(&mut self, attempt: &mut Attempt) -> Result<bool> {
        let Attempt { what: it, handle, sent } = attempt;
        let handle = *handle;
        if it.protocol != TCP {
            let socket = self.stack.sockets.get_mut::<udp::Socket<'_>>(handle);
            return Ok(socket.recv().is_ok_and(|(bytes, _)| number(bytes) == Some(answer_to(it.number))));
        }
        let socket = self.stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let mut bytes = [0; 8];
        if socket.recv_queue() >= bytes.len() {
            socket.recv_slice(&mut bytes)?;
            return Ok(number(&bytes) == Some(answer_to(it.number)));
        }
        if socket.may_send() && !*sent {
            socket.send_slice(&it.number.to_be_bytes())?;
            *sent = true;
        }
        Ok(false)
    }

    /// Lets the socket go; of a connection the other end is told.
    fn end(&mut self, attempt: &Attempt) -> Result<()> {
        if attempt.what.protocol == TCP {
            self.stack.sockets.get_mut::<tcp::Socket<'_>>(attempt.handle).abort();
            self.stack.turn()?;
        }
        self.stack.sockets.remove(attempt.handle);
        Ok(())
    }
}
