//! Finds the sockets of a workload by their ends, among all that its processes have open.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    time::Instant,
};

use procfs::{
    ProcError,
    process::{FDTarget, Process},
};
use rustix::{
    fs::fstat,
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{Outcome, ends::Ends, socket};
use crate::{attribution::Home, enforcement::Uncut};

/// Most cgroups, and most processes, of one workload that are looked at.
const MEMBERS_LIMIT: usize = 16_384;

/// A copy of a socket that a process has.
struct Copy {
    pid: i32,
    /// Which socket it is: several processes may have the same.
    inode: u64,
    socket: OwnedFd,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    copies: HashMap<Ends, Vec<Copy>>,
    /// The kernel did not hand out some socket.
    refused: bool,
    /// There was not time enough.
    late: bool,
}

/// Looks for sockets with these ends until `until`.
pub(super) fn find(home: &Home, wanted: &HashSet<Ends>, until: Instant) -> Found {
    let processes_here = home.processes(MEMBERS_LIMIT);
    let mut found = Found { late: processes_here.len() >= MEMBERS_LIMIT, ..Found::default() };
    for pid in processes_here {
        found.look_through(pid, wanted, until);
    }
    // A number may have been given to another process since: whoever had it then is not among them now.
    let again = if found.copies.is_empty() { Vec::new() } else { home.processes(MEMBERS_LIMIT) };
    let members: HashSet<i32> = again.into_iter().collect();
    found.copies.values_mut().for_each(|copies| copies.retain(|copy| members.contains(&copy.pid)));
    found
}

impl Found {
    /// Looks through all sockets of a process. One that ends meanwhile has none any more.
    fn look_through(&mut self, pid: i32, wanted: &HashSet<Ends>, until: Instant) {
        let Some(number) = Pid::from_raw(pid) else { return };
        let Ok(handle) = pidfd_open(number, PidfdFlags::empty()) else { return };
        let open = match Process::new(pid).and_then(|process| process.fd()) {
            Ok(open) => open,
            Err(error) => {
                self.refused |= matches!(error, ProcError::PermissionDenied(_));
                return;
            }
        };
        for file in open.flatten() {
            if !matches!(file.target, FDTarget::Socket(_)) {
                continue;
            }
            if Instant::now() >= until {
                self.late = true;
                return;
            }
            let socket = match pidfd_getfd(&handle, file.fd, PidfdGetfdFlags::empty()) {
                Ok(socket) => socket,
                Err(error) => {
                    self.refused |= matches!(error, Errno::PERM | Errno::ACCESS);
                    self.late |= error == Errno::MFILE;
                    continue;
                }
            };
            if let Some(ends) = socket::ends(&socket).filter(|ends| wanted.contains(ends))
                && let Ok(stat) = fstat(&socket)
            {
                let copies = self.copies.entry(ends).or_default();
                if copies.iter().all(|known| known.inode != stat.st_ino) {
                    copies.push(Copy { pid, inode: stat.st_ino, socket });
                }
            }
        }
    }

    /// Destroys the only connection with these ends.
    pub(super) fn destroy(&self, ends: &Ends) -> Outcome {
        match self.copies.get(ends).map_or(&[][..], Vec::as_slice) {
            [] if self.late => Err(Uncut::Late),
            [] if self.refused => Err(Uncut::Refused),
            [] => Err(Uncut::NotFound),
            [copy] => socket::destroy(&copy.socket).map_err(|error| {
                tracing::debug!(%error, ?ends, "a connection cannot be cut");
                Uncut::Refused
            }),
            _ => Err(Uncut::Ambiguous),
        }
    }
}
