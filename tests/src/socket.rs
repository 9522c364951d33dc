//! A runtime's socket that behaves as badly as it is told, and passes all on to the real one otherwise.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

mod grpc;

/// How the socket behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// It is not there.
    Absent,
    /// It is there, and nobody listens.
    Refuses,
    /// It accepts and never answers.
    Hangs,
    /// It answers one byte a second.
    Drips,
    /// It answers each question with a gigabyte.
    SendsAGigabyte,
    /// It answers, and where events are asked for it sends a gigabyte: without a line break, or of long events.
    FloodsEvents,
    /// It answers with JSON of another kind, or where JSON should not be.
    SendsOtherJson,
    /// It answers with what is no HTTP of any version.
    SendsNoHttp,
    /// It dies in the middle of each answer.
    DiesInAnswers,
    /// It answers, and dies after a moment, again and again.
    DiesInStreams,
    /// It passes all on.
    Behaves,
}

impl Manner {
    /// Every way to misbehave.
    pub const BAD: [Self; 10] = [
        Self::Absent,
        Self::Refuses,
        Self::Hangs,
        Self::Drips,
        Self::SendsAGigabyte,
        Self::FloodsEvents,
        Self::SendsOtherJson,
        Self::SendsNoHttp,
        Self::DiesInAnswers,
        Self::DiesInStreams,
    ];

    /// Whether a daemon hears its first answers.
    #[must_use]
    pub fn answers(self) -> bool {
        matches!(self, Self::FloodsEvents | Self::DiesInStreams | Self::Behaves)
    }
}

const GIGABYTE: usize = 1 << 30;

/// The socket. Gone when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    real: Real,
    listening: Option<Listening>,
}

/// Who is behind the socket.
#[derive(Clone, Debug)]
struct Real {
    socket: PathBuf,
    /// Speaks containerd's protocol, not Docker's.
    grpc: bool,
}

impl Socket {
    /// A socket at `path` that is not there yet; the real one, which speaks as Docker does, is `behind` it.
    #[must_use]
    pub fn new(path: PathBuf, behind: PathBuf) -> Self {
        Self { path, real: Real { socket: behind, grpc: false }, listening: None }
    }

    /// The same in front of a containerd.
    #[must_use]
    pub fn of_containerd(path: PathBuf, behind: PathBuf) -> Self {
        Self { path, real: Real { socket: behind, grpc: true }, listening: None }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Behaves in this manner from now on. Connections that are open end.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn behave(&mut self, manner: Manner) -> io::Result<()> {
        self.close();
        match manner {
            Manner::Absent => {}
            Manner::Refuses => drop(UnixListener::bind(&self.path)?),
            _ => self.listening = Some(Listening::start(&self.path, &self.real, manner)?),
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.stop(&self.path);
        }
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Listening {
    ended: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<UnixStream>>>,
    thread: JoinHandle<()>,
}

impl Listening {
    fn start(path: &Path, real: &Real, manner: Manner) -> io::Result<Self> {
        let (listener, real) = (UnixListener::bind(path)?, real.clone());
        let (ended, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, streams) = (Arc::clone(&ended), Arc::clone(&open));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(kept), real) = (stream.try_clone(), real.clone()) else { continue };
                streams.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
                // An error is the end of the connection, and meant to be.
                thread::spawn(move || match manner {
                    Manner::SendsAGigabyte | Manner::FloodsEvents | Manner::SendsOtherJson if real.grpc => {
                        grpc::serve(stream, manner)
                    }
                    Manner::Drips if real.grpc => drip(stream, &real.socket),
                    _ => answer(stream, &real.socket, manner),
                });
            }
        });
        Ok(Self { ended, open, thread })
    }

    fn stop(self, path: &Path) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes it up.
        let _ = UnixStream::connect(path);
        let _ = self.thread.join();
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn answer(mut stream: UnixStream, behind: &Path, manner: Manner) -> io::Result<()> {
    let question = read_head(&mut stream)?;
    match manner {
        Manner::Absent | Manner::Refuses => Ok(()),
        // Until the other end, or ours, has enough.
        Manner::Hangs => io::copy(&mut stream, &mut io::sink()).map(drop),
        Manner::Drips => {
            stream.write_all(&head(1_000_000))?;
            loop {
                stream.write_all(b"[")?;
                thread::sleep(Duration::from_secs(1));
            }
        }
        Manner::SendsAGigabyte => flood(stream, r#"[{"Id": ""#),
        Manner::FloodsEvents if asks_for_events(&question) => flood(stream, r#"{"Action": ""#),
        Manner::SendsOtherJson => {
            let body = br#"{"Version": ["20.10"], "ApiVersion": {}, "Id": 7}"#;
            stream.write_all(&[&head(body.len()), &body[..]].concat())
        }
        Manner::SendsNoHttp => stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n\x00\x01\x02\r\n\r\n"),
        Manner::DiesInAnswers => {
            let mut real = send_on(&stream, behind, &question)?.take(300);
            io::copy(&mut real, &mut stream)?;
            stream.shutdown(Shutdown::Both)
        }
        Manner::DiesInStreams => {
            let dying = stream.try_clone()?;
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(700));
                dying.shutdown(Shutdown::Both)
            });
            pass_on(stream, behind, &question)
        }
        Manner::FloodsEvents | Manner::Behaves => pass_on(stream, behind, &question),
    }
}

/// The head of a question. The clients that are tested send no bodies.
fn read_head(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

fn asks_for_events(question: &[u8]) -> bool {
    String::from_utf8_lossy(question).lines().next().is_some_and(|line| line.contains("/events"))
}

fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}

/// A gigabyte that begins as the answer should.
fn flood(mut stream: UnixStream, start: &str) -> io::Result<()> {
    stream.write_all(&[&head(GIGABYTE), start.as_bytes()].concat())?;
    let part = vec![b'a'; 1 << 16];
    for _ in 0..GIGABYTE / part.len() {
        stream.write_all(&part)?;
    }
    Ok(())
}

fn pass_on(mut stream: UnixStream, behind: &Path, question: &[u8]) -> io::Result<()> {
    let mut real = send_on(&stream, behind, question)?;
    let copied = io::copy(&mut real, &mut stream);
    stream.shutdown(Shutdown::Both)?;
    copied.map(drop)
}

/// The real answers, a byte a second.
fn drip(mut stream: UnixStream, behind: &Path) -> io::Result<()> {
    let mut real = send_on(&stream, behind, &[])?;
    let mut byte = [0];
    while real.read(&mut byte)? > 0 {
        stream.write_all(&byte)?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Hands to the real one what was read already and what comes; where its answers are.
fn send_on(stream: &UnixStream, behind: &Path, question: &[u8]) -> io::Result<UnixStream> {
    let mut real = UnixStream::connect(behind)?;
    real.write_all(question)?;
    let (mut from, mut to) = (stream.try_clone()?, real.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        copied
    });
    Ok(real)
}
