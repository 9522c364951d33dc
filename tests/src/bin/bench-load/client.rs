//! The one that acts, and times itself: what starts and stops around it is not in the figure.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use cofferdam_tests::load::{CHUNK, Done, MESSAGE, Order, Workload, port};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::Linger},
    unistd::getppid,
};

/// An answer that takes longer will not come: a lost datagram, or a server that is gone.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Client {
    server: Ipv4Addr,
    /// Where it lives when it is not visiting.
    home: PathBuf,
    /// A small file for [`Workload::OpenReadClose`].
    file: PathBuf,
}

impl Client {
    pub(crate) fn new(server: Ipv4Addr, home: PathBuf) -> anyhow::Result<Self> {
        let file = std::env::temp_dir().join(format!("cofferdam-bench-{}", std::process::id()));
        fs::write(&file, [7; MESSAGE]).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { server, home, file })
    }

    /// Follows orders until there are no more.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        crate::say("ready")?;
        for line in io::stdin().lines() {
            let order: Order = serde_json::from_str(&line?).context("an order that is none")?;
            let done = self.follow(&order).map_err(|error| format!("{error:#}"));
            crate::say(&serde_json::to_string(&done)?)?;
        }
        Ok(())
    }

    fn follow(&self, order: &Order) -> anyhow::Result<Done> {
        match order {
            Order::Run { workload, count } => {
                let time = self.act(*workload, *count).with_context(|| workload.to_string())?;
                Ok(Done { count: *count, nanoseconds: time.as_nanos() as u64 })
            }
            Order::Pace { per_second, seconds } => self.pace(*per_second, *seconds),
            Order::Visit { cgroups } => self.visit(cgroups),
        }
    }

    fn act(&self, workload: Workload, count: u64) -> anyhow::Result<Duration> {
        match workload {
            Workload::Getppid => timed(count, || {
                std::hint::black_box(getppid());
                Ok(())
            }),
            Workload::OpenReadClose => timed(count, || {
                let mut buffer = [0; MESSAGE];
                ensure!(File::open(&self.file)?.read(&mut buffer)? == MESSAGE, "a short read");
                Ok(())
            }),
            Workload::ForkExec => timed(count, || {
                ensure!(Command::new("/bin/true").status()?.success(), "/bin/true failed");
                Ok(())
            }),
            Workload::Connect => timed(count, || self.connect()),
            Workload::ConnectReset => timed(count, || {
                let mut stream = self.stream(port::BYTE)?;
                stream.read_exact(&mut [0])?;
                setsockopt(&stream, Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
                Ok(())
            }),
            Workload::TcpExchange => {
                let mut stream = self.stream(port::ECHO)?;
                stream.set_nodelay(true)?;
                let mut message = [0; MESSAGE];
                timed(count, || {
                    stream.write_all(&message)?;
                    Ok(stream.read_exact(&mut message)?)
                })
            }
            Workload::UdpExchange => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect((self.server, port::ECHO))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                let mut message = [0; MESSAGE];
                timed(count, || {
                    socket.send(&message)?;
                    ensure!(socket.recv(&mut message)? == MESSAGE, "a short answer");
                    Ok(())
                })
            }
            Workload::Bulk => self.bulk(count),
        }
    }

    /// The server ends it, so that the port is free for the next one at once.
    fn connect(&self) -> anyhow::Result<()> {
        let mut stream = self.stream(port::CLOSE)?;
        if stream.read(&mut [0])? > 0 {
            bail!("a byte that nobody sent");
        }
        Ok(())
    }

    fn bulk(&self, count: u64) -> anyhow::Result<Duration> {
        let mut stream = self.stream(port::SINK)?;
        let mut chunk = vec![0; CHUNK];
        chunk[..8].copy_from_slice(&(count * CHUNK as u64).to_be_bytes());
        let begun = Instant::now();
        for _ in 0..count {
            stream.write_all(&chunk)?;
        }
        stream.read_exact(&mut [0])?;
        Ok(begun.elapsed())
    }

    /// Late ones are made up for at once: the rate is that of all together.
    fn pace(&self, per_second: u64, seconds: u64) -> anyhow::Result<Done> {
        let count = per_second * seconds;
        let begun = Instant::now();
        for number in 0..count {
            let due = Duration::from_nanos(number * 1_000_000_000 / per_second);
            thread::sleep(due.saturating_sub(begun.elapsed()));
            self.connect()?;
        }
        Ok(Done { count, nanoseconds: begun.elapsed().as_nanos() as u64 })
    }

    fn visit(&self, cgroups: &[PathBuf]) -> anyhow::Result<Done> {
        let begun = Instant::now();
        for cgroup in cgroups {
            crate::enter(cgroup)?;
            self.connect()?;
        }
        crate::enter(&self.home)?;
        Ok(Done { count: cgroups.len() as u64, nanoseconds: begun.elapsed().as_nanos() as u64 })
    }

    fn stream(&self, port: u16) -> anyhow::Result<TcpStream> {
        let server = SocketAddr::from((self.server, port));
        let stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn timed(count: u64, mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    for _ in 0..count {
        act()?;
    }
    Ok(begun.elapsed())
}
