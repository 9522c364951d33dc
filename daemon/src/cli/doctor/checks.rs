//! What is looked at, and what each finding means. Pure.

use serde::Serialize;

use super::{
    super::output::{bytes, number, plural},
    up,
};
use crate::{
    api::{Health, State},
    attribution::{RuntimeState, RuntimeStatus},
    enforcement::{Verified, What},
    history,
    sensor::{
        counts::{Counters, HookStatus},
        features::Features,
    },
};

/// The oldest kernel that the programs are tested on, and the oldest that has all they need (the ring buffer).
const TESTED: (u32, u32) = (6, 1);
const POSSIBLE: (u32, u32) = (5, 8);

/// What to do where the kernel does not have programs judge among its security modules.
const BOOT_WITH_BPF_LSM: &str = "boot a kernel with CONFIG_BPF_LSM=y and `bpf` added to the list that /sys/kernel/security/lsm shows (lsm=...)";

/// From this part on a map counts as nearly full.
const NEARLY_FULL_PERCENT: u64 = 90;

/// How it stands with one thing.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) level: Level,
    pub(super) subject: String,
    pub(super) finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// Whether somebody has to do something.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Well,
    Note,
    Problem,
}

impl Check {
    pub(super) fn well(subject: &str, finding: &str) -> Self {
        Self::new(Level::Well, subject, finding, None)
    }

    pub(super) fn note(subject: &str, finding: &str, advice: Option<&str>) -> Self {
        Self::new(Level::Note, subject, finding, advice)
    }

    fn problem(subject: &str, finding: &str, advice: &str) -> Self {
        Self::new(Level::Problem, subject, finding, Some(advice))
    }

    fn new(level: Level, subject: &str, finding: &str, advice: Option<&str>) -> Self {
        let (subject, finding, advice) = (subject.to_owned(), finding.to_owned(), advice.map(str::to_owned));
        Self { level, subject, finding, advice }
    }
}

pub(super) fn daemon(health: &Health) -> Check {
    let version = format!("{}, {}", health.version, up(health.uptime_seconds));
    match health.state {
        State::Observing => Check::well("daemon", &format!("observing ({version})")),
        State::Blind => {
            Check::problem("daemon", &format!("no hook is attached ({version})"), "see the hooks below")
        }
        State::Stalled => Check::problem(
            "daemon",
            &format!("its pipeline does not turn ({version})"),
            "look into `journalctl -u cofferdam`, then restart it",
        ),
    }
}

/// Whether what happens is written down; nothing where it is turned off.
pub(super) fn history(report: &history::Report) -> Option<Check> {
    let file = report.file.as_ref().map(|file| file.display().to_string());
    match (&report.problem, file) {
        (Some(problem), _) => Some(Check::note(
            "history",
            problem,
            Some(
                "make room, or name another folder (history.folder, and ReadWritePaths= of the unit); nothing but the history waits for it",
            ),
        )),
        (None, Some(file)) => Some(Check::well("history", &format!("{file}, {}", bytes(report.bytes)))),
        (None, None) => None,
    }
}

pub(super) fn features(features: &Features) -> Vec<Check> {
    vec![
        kernel(features),
        btf(features),
        cgroups(features),
        bpffs(features),
        capabilities(features),
        lsms(features),
    ]
}

fn kernel(features: &Features) -> Check {
    let release = &features.kernel;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= TESTED {
        Check::well("kernel", release)
    } else if version >= POSSIBLE {
        Check::note("kernel", &format!("{release}; tested from {}.{} on", TESTED.0, TESTED.1), None)
    } else {
        let needed = format!("update it to {}.{} or later", TESTED.0, TESTED.1);
        Check::problem("kernel", &format!("{release} has no BPF ring buffer"), &needed)
    }
}

fn btf(features: &Features) -> Check {
    if features.btf {
        return Check::well("BTF", "the kernel describes its types");
    }
    Check::problem(
        "BTF",
        "/sys/kernel/btf/vmlinux is missing: the programs cannot be fitted to this kernel",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as the distributions build them; in a container, mount /sys",
    )
}

fn cgroups(features: &Features) -> Check {
    match &features.cgroup_root {
        Some(root) => {
            let mut finding = format!("{}, v2 tree at {}", features.cgroup_mode, root.display());
            if features.cgroup_mode == "hybrid" {
                finding += "; what a runtime left out of that tree counts as the host";
            }
            Check::well("cgroups", &finding)
        }
        None => Check::problem(
            "cgroups",
            &format!(
                "{}: no v2 tree is mounted; sockets belong to cgroups of that tree, so that without it \
                 there is no map, no name and no flow",
                features.cgroup_mode
            ),
            "boot with systemd.unified_cgroup_hierarchy=1, or: mkdir -p /sys/fs/cgroup/unified && \
             mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
        ),
    }
}

fn bpffs(features: &Features) -> Check {
    match &features.bpffs {
        Some(path) => Check::well("bpffs", &format!("mounted at {}", path.display())),
        None => Check::problem("bpffs", "not mounted", "mount -t bpf bpf /sys/fs/bpf"),
    }
}

fn capabilities(features: &Features) -> Check {
    match features.missing_capabilities.join(", ") {
        missing if missing.is_empty() => Check::well("capabilities", "all that are needed"),
        missing => Check::problem(
            "capabilities",
            &format!("missing: {missing}"),
            "run as root, with what dist/cofferdam.service leaves it; in a container: --privileged --pid=host --cgroupns=host",
        ),
    }
}

fn lsms(features: &Features) -> Check {
    match features.lsms.join(", ") {
        none if none.is_empty() => {
            Check::note("security modules", "not known: securityfs is not mounted", None)
        }
        active => Check::well("security modules", &active),
    }
}

pub(super) fn runtime(runtime: &RuntimeStatus) -> Check {
    let name = runtime.runtime.name();
    let (version, endpoint) = (runtime.version.as_deref().unwrap_or("of unknown version"), &runtime.endpoint);
    match runtime.state {
        RuntimeState::Connected => Check::well(name, &format!("{version} at {endpoint}")),
        RuntimeState::Awaited => Check::note(name, &format!("{endpoint} has not answered yet"), None),
        RuntimeState::Absent => Check::note(name, &format!("not there: {endpoint} does not exist"), None),
        RuntimeState::Unreachable => {
            let reason = runtime.reason.as_deref().unwrap_or("it does not answer");
            if let Some(note) = user_keeps_us_out(runtime) {
                return note;
            }
            let finding = format!("{endpoint}: {reason}; its containers go by what is on disk");
            Check::problem(name, &finding, "see whether it runs, and whether the daemon may use its socket")
        }
    }
}

/// Whoever connects has to have the right to write, which CAP_DAC_READ_SEARCH does not give: a user's own Podman listens at a
/// socket that only he may write to.
fn user_keeps_us_out(runtime: &RuntimeStatus) -> Option<Check> {
    let RuntimeStatus { endpoint, .. } = runtime;
    let is_so = endpoint.starts_with("/run/user/") && runtime.keeps_us_out();
    let finding =
        format!("{endpoint}: the user keeps us out; of his containers only what is on disk is known");
    let advice = "install dist/podman.socket.d/cofferdam.conf (docs/attribution.md, \"Runtimes\")";
    is_so.then(|| Check::note(runtime.runtime.name(), &finding, Some(advice)))
}

pub(super) fn hook(hook: &HookStatus) -> Check {
    let HookStatus { name, kind, family, refused, off, optional, without, min_kernel } = hook;
    match (refused, off) {
        (None, None) => Check::well(name, &format!("attached ({kind}, {family})")),
        (None, Some(reason)) => Check::well(name, &format!("off ({kind}, {family}): {reason}")),
        (Some(reason), _) => {
            let finding = format!("not attached ({kind}, {family}): {reason}; without it, {without}");
            if *optional {
                return Check::note(name, &finding, Some(BOOT_WITH_BPF_LSM));
            }
            Check::problem(name, &finding, &format!("it needs Linux {min_kernel} or later"))
        }
    }
}

/// What goes on judging although no daemon answers.
pub(super) fn left(hooks: usize) -> Option<Check> {
    let finding = format!(
        "{} of a daemon that does not answer judge on by its policies; containers that have started since are unresolved",
        plural(hooks, "hook")
    );
    let advice = "start it; to end this: `cofferdam stop --clear`";
    (hooks > 0).then(|| Check::note("enforcement", &finding, Some(advice)))
}

/// Whether what is in force is enforced, and who else is where it is.
pub(super) fn enforcement(verified: &Verified) -> Vec<Check> {
    const SUBJECT: &str = "enforcement";
    let state = match verified.problem() {
        None => {
            let right_at = verified.tried.as_ref().and_then(|tried| tried.right_at);
            let tried =
                right_at.map(|at| format!("; canaries found it right at {at:.0}")).unwrap_or_default();
            Check::well(SUBJECT, &format!("verified at {:.0}{tried}", verified.looked_at))
        }
        Some(problem) => {
            let last = verified
                .verified_at
                .map_or_else(|| "never before".to_owned(), |last| format!("the last time at {last:.0}"));
            let finding = format!("not as the policies say: {problem}; verified {last}");
            Check::problem(SUBJECT, &finding, "look into `journalctl -u cofferdam` and docs/policy.md")
        }
    };
    let noted = verified.noted().map(|finding| {
        let advice = match finding.what {
            What::Canary => {
                "see what canaries need (docs/policy.md); `policies.canaries: false` turns them off"
            }
            _ => "see who attached it: `bpftool prog show`, `bpftool cgroup tree`, `bpftool net`",
        };
        Check::note(SUBJECT, &finding.text, Some(advice))
    });
    std::iter::once(state).chain(noted).collect()
}

pub(super) fn counters(counters: &Counters) -> Vec<Check> {
    let lost = counters.families.iter().filter(|family| family.lost > 0).map(|family| {
        let finding = format!("{} of {} {} records lost", number(family.lost), number(family.issued), family.family);
        Check::note(
            "records",
            &finding,
            Some("map and metrics stay exact, events have gaps: enlarge the ring (cofferdam run --flow-ring-bytes)"),
        )
    });
    let shed = counters.families.iter().filter(|family| family.shed > 0).map(|family| {
        let finding = format!("{} of {} {} records shed", number(family.shed), number(family.issued), family.family);
        Check::note(
            "records",
            &finding,
            Some("map and metrics stay exact: cofferdam_workload_records_missing_total tells who floods (or: cofferdam run --records-per-second)"),
        )
    });
    // Packets of other protocols are no trouble; the metric tells about them.
    let failures = counters.failures.iter().filter(|named| named.count > 0 && named.name != "other_protocol");
    let failures = failures.map(|named| {
        let advice = match named.name.as_str() {
            "ledger_full" | "ledger_overfull" => {
                Some("more rows keep more apart (cofferdam run --ledger-rows)")
            }
            "budgets_full" => Some("very many cgroups: the last to come share one budget of records"),
            _ => None,
        };
        Check::note("hooks", &format!("{} times {}", number(named.count), named.name), advice)
    });
    let full = counters.maps.iter().filter(|map| map.used * 100 >= map.capacity * NEARLY_FULL_PERCENT);
    let full = full.map(|map| {
        let finding =
            format!("{} is nearly full: {} of {}", map.name, number(map.used), number(map.capacity));
        let advice = map.name.strip_prefix("policy_").map(|part| {
            format!("what does not fit is not in force: raise policies.room.{part} in the configuration and restart the daemon")
        });
        Check::note("maps", &finding, advice.as_deref())
    });
    lost.chain(shed).chain(failures).chain(full).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        api::samples,
        enforcement::{Finding, Look, Outcome, Tried},
        event::Runtime,
    };

    #[test]
    fn what_is_not_enforced_is_a_problem_and_a_program_of_others_is_a_note() {
        let found =
            |outcome, text: &str| Finding { what: What::Hook, outcome, count: 1, text: text.to_owned() };
        let left =
            vec![found(Outcome::Noted, "program 7 runs before ours"), found(Outcome::Open, "it is gone")];
        let look = Look { left, ..Look::default() };
        let checks = enforcement(&Verified::after(None, look, Timestamp::UNIX_EPOCH));
        let told: Vec<_> = checks.iter().map(|check| (check.level, check.finding.as_str())).collect();
        assert_eq!(
            told,
            [
                (Level::Problem, "not as the policies say: it is gone; verified never before"),
                (Level::Note, "program 7 runs before ours"),
            ]
        );
        let well = enforcement(&Verified::after(None, Look::default(), Timestamp::UNIX_EPOCH));
        assert_eq!(well.iter().map(|check| check.level).collect::<Vec<_>>(), [Level::Well]);
        assert_eq!(well[0].finding, "verified at 1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_canaries_found_is_told_and_that_they_find_nothing_out_is_a_note() {
        let told = |tried| {
            let tried = Tried::after(None, tried, None, Timestamp::UNIX_EPOCH);
            let look = Look { left: tried.findings(), ..Look::default() };
            let verified = Verified::after(None, look, Timestamp::UNIX_EPOCH);
            enforcement(&Verified { tried: Some(tried), ..verified })
        };
        let right = told(Ok(Vec::new()));
        let text = "verified at 1970-01-01T00:00:00Z; canaries found it right at 1970-01-01T00:00:00Z";
        assert_eq!((right.len(), right[0].finding.as_str()), (1, text));
        let wrong = told(Ok(vec!["tcp/7009 over IPv4 was to be denied at connect, and arrived".to_owned()]));
        assert_eq!(wrong[0].level, Level::Problem);
        assert!(wrong[0].finding.contains("canary: tcp/7009 over IPv4"), "{}", wrong[0].finding);
        let impossible = told(Err("no veth".to_owned()));
        assert_eq!(impossible.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Well, Level::Note]);
        assert!(impossible[1].advice.as_ref().is_some_and(|advice| advice.contains("policies.canaries")));
    }

    #[test]
    fn each_thing_that_is_missing_comes_with_what_to_do() {
        let nothing = Features {
            kernel: "5.4.0-150-generic".to_owned(),
            btf: false,
            lsms: Vec::new(),
            cgroup_mode: "v1".to_owned(),
            cgroup_root: None,
            bpffs: None,
            missing_capabilities: vec!["CAP_BPF".to_owned()],
        };
        let checks = features(&nothing);
        let problems: Vec<_> = checks.iter().filter(|check| check.level == Level::Problem).collect();
        let subjects: Vec<_> = problems.iter().map(|check| check.subject.as_str()).collect();
        assert_eq!(subjects, ["kernel", "BTF", "cgroups", "bpffs", "capabilities"]);
        assert!(problems.iter().all(|check| check.advice.is_some()), "{problems:?}");
    }

    #[test]
    fn a_kernel_older_than_the_tested_ones_is_a_note() {
        let level = |kernel: &str| {
            super::kernel(&Features { kernel: kernel.to_owned(), ..samples::features() }).level
        };
        assert_eq!(level("6.12.8-amd64"), Level::Well);
        assert_eq!(level("6.1.0"), Level::Well);
        assert_eq!(level("5.15.0-91-generic"), Level::Note);
        assert_eq!(level("5.4.0"), Level::Problem);
    }

    #[test]
    fn an_absent_runtime_is_no_problem_and_one_that_does_not_answer_is() {
        let status = |state| RuntimeStatus {
            runtime: Runtime::Docker,
            user: None,
            endpoint: "/var/run/docker.sock".to_owned(),
            state,
            version: None,
            reason: Some("permission denied".to_owned()),
        };
        assert_eq!(runtime(&status(RuntimeState::Absent)).level, Level::Note);
        let deaf = runtime(&status(RuntimeState::Unreachable));
        assert_eq!(deaf.level, Level::Problem);
        assert!(deaf.finding.contains("permission denied"), "{}", deaf.finding);
    }

    #[test]
    fn that_a_user_keeps_us_out_is_noted_with_what_lets_us_in() {
        let status = RuntimeStatus {
            runtime: Runtime::Podman,
            user: None,
            endpoint: "/run/user/1000/podman/podman.sock".to_owned(),
            state: RuntimeState::Unreachable,
            version: None,
            reason: Some("Permission denied (os error 13)".to_owned()),
        };
        let kept_out = runtime(&status);
        assert_eq!(kept_out.level, Level::Note);
        assert!(kept_out.advice.is_some_and(|advice| advice.contains("dist/podman.socket.d/cofferdam.conf")));
        let hangs = RuntimeStatus { reason: Some("it does not answer".to_owned()), ..status };
        assert_eq!(runtime(&hangs).level, Level::Problem);
    }
}
