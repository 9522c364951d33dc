//! Cuts connections that were open when policies began to deny them: destroys their sockets, so that whoever has one is
//! told (ECONNRESET) and what is queued there never arrives.
//!
//! A socket is copied out of a process that has it (`pidfd_getfd`) and disconnected (`connect` with AF_UNSPEC, in the
//! kernel `tcp_disconnect`), which needs no capability but CAP_SYS_PTRACE. Of a copy it is certain what it is, for nobody
//! else can put another socket in its place.

mod backlog;

mod ends;

mod search;

mod silent;

mod socket;

use std::{
    collections::{BTreeMap, HashMap},
    sync::mpsc::sync_channel,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cofferdam_common::{
    ids::CgroupId,
    network::{Flow, FlowKey},
};

pub use self::silent::{is_unseen, unseen};
use self::{
    backlog::Backlog,
    ends::{Ends, ends_here, once_each},
};
use crate::{attribution::Home, enforcement::Uncut};

/// Most connections that are cut at the same time: twice as many copies of sockets may be held.
const AT_ONCE: usize = 4_096;
/// How long the sockets of one workload are looked for at most.
const LOOK_FOR: Duration = Duration::from_secs(2);
/// How long that is waited for. A process can keep the thread that looks through its sockets: closing a copy waits where
/// the process has closed its own meanwhile and wants to wait (SO_LINGER). It keeps the thread of its own workload only.
const WAIT_FOR: Duration = Duration::from_secs(3);

/// What became of one connection.
pub type Outcome = Result<(), Uncut>;

/// Cuts connections, and remembers which were tried.
#[derive(Default)]
pub struct Cutter {
    backlog: Backlog,
    /// Threads that were not waited for any longer, by whose sockets they look through.
    kept: HashMap<CgroupId, JoinHandle<()>>,
}

/// The ends of connections of one workload.
struct Job {
    home: Home,
    /// With the number of their connection.
    ends: Vec<(usize, Ends)>,
}

impl Cutter {
    /// Of flows that are denied, those whose connections are to be tried now. All others than `denied` are forgotten.
    pub fn due(&mut self, denied: Vec<(FlowKey, Flow)>, now: Instant) -> Vec<(FlowKey, Flow)> {
        self.backlog.due(once_each(denied), now)
    }

    /// Whether it is not certain yet of some connections that they are denied, so that it is to be looked again soon.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.backlog.waits()
    }

    /// Cuts connections, at both ends where both are on this host. Returns what became of those of which that was not
    /// returned before. Blocks, for some seconds at most for each workload.
    pub fn cut(&mut self, due: &[(FlowKey, Flow)], home: impl Fn(CgroupId) -> Option<Home>) -> Vec<Outcome> {
        self.kept.retain(|_, thread| !thread.is_finished());
        let mut news = Vec::new();
        for part in due.chunks(AT_ONCE) {
            let outcomes = self.cut_part(part, &home);
            let now = Instant::now();
            for ((key, flow), outcome) in part.iter().zip(outcomes) {
                if self.backlog.tried(key, flow, outcome, now) {
                    news.push(outcome);
                }
            }
        }
        news
    }

    fn cut_part(
        &mut self,
        due: &[(FlowKey, Flow)],
        home: &impl Fn(CgroupId) -> Option<Home>,
    ) -> Vec<Outcome> {
        let mut jobs = BTreeMap::<CgroupId, Job>::new();
        for (number, (key, flow)) in due.iter().enumerate() {
            for (cgroup, ends) in ends_here(key, flow) {
                let Some(home) = home(cgroup) else { continue };
                let job = jobs.entry(home.cgroup).or_insert_with(|| Job { home, ends: Vec::new() });
                job.ends.push((number, ends));
            }
        }
        let mut outcomes = vec![Err(Uncut::NotFound); due.len()];
        let mut note = |number: usize, outcome| {
            if let Some(known) = outcomes.get_mut(number) {
                *known = better(*known, outcome);
            }
        };
        // All before the first is destroyed: its reset would end the other, and leave what that has received.
        let mut found = Vec::new();
        for (cgroup, Job { home, ends }) in jobs {
            let wanted = ends.iter().map(|(_, ends)| *ends).collect();
            match self.run(cgroup, move || search::find(&home, &wanted, Instant::now() + LOOK_FOR)) {
                Some(sockets) => found.push((cgroup, ends, sockets)),
                None => ends.iter().for_each(|(number, _)| note(*number, Err(Uncut::Late))),
            }
        }
        for (cgroup, ends, sockets) in found {
            let numbers: Vec<_> = ends.iter().map(|(number, _)| *number).collect();
            let destroyed = self.run(cgroup, move || -> Vec<Outcome> {
                ends.iter().map(|(_, ends)| sockets.destroy(ends)).collect()
            });
            let late = || vec![Err(Uncut::Late); numbers.len()];
            let destroyed = destroyed.unwrap_or_else(late);
            numbers.iter().zip(destroyed).for_each(|(number, outcome)| note(*number, outcome));
        }
        outcomes
    }

    /// Does something for a workload on a thread of its own. `None` where it takes too long, or where the thread before it
    /// has taken too long and is still there.
    fn run<T: Send + 'static>(
        &mut self,
        cgroup: CgroupId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.kept.contains_key(&cgroup) {
            return None;
        }
        let (sender, done) = sync_channel(1);
        // Nobody may be waiting any more.
        let work = move || drop(sender.send(work()));
        let thread = thread::Builder::new().name("cut".to_owned()).spawn(work).ok()?;
        let result = done.recv_timeout(WAIT_FOR);
        if result.is_err() {
            self.kept.insert(cgroup, thread);
        }
        result.ok()
    }
}

/// A connection is cut where one of its ends is; else the worst that hindered it counts.
fn better(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Err(one), Err(other)) => Err(one.max(other)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{ErrorKind, Read as _, Write as _},
        net::{Ipv4Addr, TcpListener, TcpStream},
        os::unix::fs::MetadataExt as _,
    };

    use cofferdam_common::{
        ids::Address,
        network::{PROTOCOL_TCP, flag},
    };

    use super::*;

    /// The cgroup that this process is in.
    fn home() -> Home {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find(|line| line.contains(" cgroup2 ")).unwrap().split(' ').nth(1).unwrap();
        let directory = format!("{root}{}", path.trim_end_matches('/')).into();
        let cgroup = CgroupId(fs::metadata(&directory).unwrap().ino());
        Home { cgroup, directory, whole: false }
    }

    fn connection(listener: &TcpListener) -> ((FlowKey, Flow), TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        let [low, high] = [&client, &server].map(|stream| socket::endpoint(stream.local_addr().unwrap()));
        let key = FlowKey {
            low: low.0,
            high: high.0,
            low_port: low.1,
            high_port: high.1,
            protocol: PROTOCOL_TCP,
            ..backlog::tests::key()
        };
        let flags = flag::CLIENT_IS_LOW | flag::SERVER_IS_LOCAL | flag::OPENED;
        let [web, db] = [7, 8].map(CgroupId);
        let flow = Flow { client: web, server: db, ..backlog::tests::flow(flags) };
        ((key, flow), client, server)
    }

    #[test]
    fn both_ends_lose_what_they_have_received_and_not_read_and_others_lose_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (denied, mut client, mut server) = connection(&listener);
        let (_, mut another, mut anothers) = connection(&listener);
        for (from, to) in [(&client, &server), (&server, &client), (&another, &anothers)] {
            let mut from = from;
            from.write_all(&[1; 10]).unwrap();
            to.peek(&mut [0]).unwrap();
        }
        let mut cutter = Cutter::default();
        assert_eq!(cutter.cut(&[denied], |_| Some(home())), [Ok(())]);
        for end in [&mut client, &mut server] {
            assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        anothers.read_exact(&mut [0; 10]).unwrap();
        another.write_all(&[1; 10]).unwrap();
        let next = connection(&listener);
        let elsewhere = FlowKey { high: Address::mapped(9), ..next.0.0 };
        assert_eq!(cutter.cut(&[(elsewhere, next.0.1)], |_| Some(home())), [Err(Uncut::NotFound)]);
        assert!(next.1.peer_addr().is_ok() && next.2.peer_addr().is_ok());
        assert_eq!(cutter.cut(&[next.0], |_| None), [Err(Uncut::NotFound)]);
    }

    #[test]
    fn a_workload_that_keeps_its_thread_is_not_waited_for_again() {
        let mut cutter = Cutter::default();
        let (busy, other) = (CgroupId(7), CgroupId(8));
        let (release, waits) = sync_channel::<()>(0);
        assert_eq!(cutter.run(busy, move || waits.recv().is_ok()), None);
        assert_eq!(cutter.run(busy, || 1), None);
        assert_eq!(cutter.run(other, || 1), Some(1));
        drop(release);
        while !cutter.kept[&busy].is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        cutter.cut(&[], |_| None);
        assert_eq!(cutter.run(busy, || 1), Some(1));
    }
}
