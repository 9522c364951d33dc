//! What a test may leave behind: nothing. Ends what is left, and can show that there is none.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command::run,
    node::{MARK, PREFIX},
};

/// Ends every process of a node and of its containers, and removes the cgroups of its containers.
pub(crate) fn sweep(directory: &Path) {
    let own = cgroup_of(directory);
    let mut containers = containers(directory);
    // Its slice as well, which begins with the same name.
    containers.push(own.clone());
    let mark = format!("{MARK}={}", directory.display());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let left = processes(|pid| is_marked(pid, &mark) || is_in(pid, &containers));
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(50));
    }
    for cgroup in docker_cgroups() {
        if containers.iter().any(|id| cgroup.ends_with(id)) {
            let _ = fs::remove_dir(cgroup);
        }
    }
    for root in hierarchies() {
        for name in [own.clone(), slice_of(&own)] {
            remove_tree(&root.join(name.trim_start_matches('/')));
        }
    }
    for parent in docker_parents() {
        // Only succeeds when it is empty; runc makes it anew when it is needed.
        let _ = fs::remove_dir(parent);
    }
}

/// The cgroup of a node whose directory this is.
pub(crate) fn cgroup_of(directory: &Path) -> String {
    format!("/{}", directory.file_name().unwrap_or_default().to_string_lossy())
}

/// The slice of a node whose cgroup this is.
pub(crate) fn slice_of(cgroup: &str) -> String {
    format!("{cgroup}.slice")
}

/// Removes a cgroup and all below it; nobody may be in it.
fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// Ends what the nodes of killed test runs left.
pub(crate) fn sweep_dead_nodes() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()) else {
            continue;
        };
        if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
            sweep(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ids of the containers of a node's Docker, from its data root.
fn containers(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("docker/containers")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn processes(wanted: impl Fn(i32) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id().cast_signed() && wanted(*pid)).collect()
}

fn is_marked(pid: i32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

fn is_in(pid: i32, containers: &[String]) -> bool {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    containers.iter().any(|id| cgroup.contains(id))
}

/// Where hierarchies of cgroups may be mounted.
fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let inside = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    inside.chain([PathBuf::from("/sys/fs/cgroup")])
}

/// Where Docker makes its cgroups, in all hierarchies.
fn docker_parents() -> Vec<PathBuf> {
    hierarchies().map(|root| root.join("docker")).filter(|parent| parent.is_dir()).collect()
}

/// Cgroups of Docker's containers, in all hierarchies.
fn docker_cgroups() -> BTreeSet<PathBuf> {
    let parents = docker_parents();
    let children = parents.iter().flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten());
    children.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()).collect()
}

/// The state of the machine, as far as a test could change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// Looks at interfaces, addresses, rules of iptables, cgroups of containers, mounts and directories of nodes.
    #[must_use]
    pub fn look() -> Self {
        let mut found = BTreeSet::new();
        let mut note = |what: &str, text: &str| {
            found.extend(
                text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{what}: {line}")),
            );
        };
        for (what, command) in [
            ("interface", "ip -o link | cut -d' ' -f2"),
            ("address", "ip -o addr | awk '{print $2, $4}'"),
            ("rule", "iptables-save | sed 's/\\[[0-9:]*\\]//'; ip6tables-save | sed 's/\\[[0-9:]*\\]//'"),
            ("mount", "cut -d' ' -f1-3 /proc/self/mounts"),
            ("sysctl", "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding"),
        ] {
            let text = run(std::process::Command::new("sh").args(["-c", command])).unwrap_or_default();
            note(what, &text);
        }
        for cgroup in docker_cgroups().into_iter().chain(docker_parents()) {
            note("cgroup", &cgroup.display().to_string());
        }
        for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{PREFIX}{}-", std::process::id())) {
                note("directory", &name);
            }
        }
        let marked = processes(is_marked_by_this);
        note("processes of nodes", &marked.len().to_string());
        Self(found)
    }

    /// What is there now and was not there before, and the other way round; empty when all is as it was.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let new = self.0.difference(&before.0).map(|line| format!("left behind: {line}"));
        // An empty cgroup of an earlier Docker may go with ours.
        let gone = before.0.difference(&self.0).filter(|line| !line.starts_with("cgroup"));
        let gone = gone.map(|line| format!("taken away: {line}"));
        new.chain(gone).collect()
    }
}

fn is_marked_by_this(pid: i32) -> bool {
    let mark =
        format!("{MARK}={}", env::temp_dir().join(format!("{PREFIX}{}-", std::process::id())).display());
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
}
