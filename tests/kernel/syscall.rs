//! Family syscall: calls of selected cgroups, counted in the kernel.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use cofferdam::sensor::counts::{Calls as _, HookStatus};
use cofferdam_common::{
    ids::CgroupId,
    syscall::{FORKS, SIGNAL_RETURN, abi},
};
use nix::{errno::Errno, unistd::getppid};

use crate::node::{Cgroup, Node};

const GETPPID: u16 = 110;
const OPENAT: u16 = 257;
const ENOENT: u16 = Errno::ENOENT as u16;

/// ABI, number and outcome, and how often.
type Counts = BTreeMap<(u32, u16, u16), u64>;

fn hook(node: &Node) -> HookStatus {
    let hooks = node.loaded.sensor.hooks().list();
    hooks.into_iter().find(|hook| hook.name == "sys_exit").expect("the hook is in the table")
}

fn need(node: &Node, needed: bool) {
    node.loaded.sensor.need("syscall", needed);
    assert_eq!(hook(node).attached(), needed, "{:?}", hook(node));
}

fn select(node: &Node, cgroup: &Cgroup) {
    node.loaded.calls.select(cgroup.id, cgroup.id).expect("there is room");
}

/// A node with a cgroup whose calls are counted.
fn counting() -> (Node, Cgroup) {
    let node = Node::start();
    let cgroup = node.cgroup();
    select(&node, &cgroup);
    need(&node, true);
    (node, cgroup)
}

fn counts(node: &Node, account: CgroupId) -> Counts {
    let counts = node.loaded.calls.counts().expect("counts");
    let own = counts.into_iter().filter(|(key, count)| key.account == account && *count > 0);
    own.map(|(key, count)| ((key.abi, key.number, key.errno), count)).collect()
}

/// Calls whose numbers are known: so many of each.
fn act(getppids: u64, failing_opens: u64) {
    for _ in 0..getppids {
        getppid();
    }
    for _ in 0..failing_opens {
        assert_eq!(File::open("/nonexistent").expect_err("nothing").kind(), ErrorKind::NotFound);
    }
}

#[test]
fn calls_and_errors_of_a_selected_cgroup_are_counted_exactly_and_nothing_of_another() {
    let node = Node::start();
    let (selected, other) = (node.cgroup(), node.cgroup());
    select(&node, &selected);
    need(&node, true);
    selected.enter(|| act(1000, 37));
    other.enter(|| act(500, 11));
    let counted = counts(&node, selected.id);
    assert_eq!(counted.get(&(abi::NATIVE, GETPPID, 0)), Some(&1000));
    assert_eq!(counted.get(&(abi::NATIVE, OPENAT, ENOENT)), Some(&37));
    assert_eq!(counts(&node, other.id), Counts::new());
    assert_eq!(node.failures("syscalls_full") + node.failures("syscalls_overfull"), 0);
}

#[test]
fn nothing_runs_at_system_calls_until_it_is_needed_and_after() {
    let node = Node::start();
    let cgroup = node.cgroup();
    select(&node, &cgroup);
    let status = hook(&node);
    assert_eq!((status.attached(), status.off.as_deref()), (false, Some("nothing selects it")));
    cgroup.enter(|| act(100, 0));
    assert_eq!(counts(&node, cgroup.id), Counts::new());
    for round in 1..=2 {
        need(&node, true);
        cgroup.enter(|| act(100, 0));
        need(&node, false);
        cgroup.enter(|| act(100, 0));
        assert_eq!(counts(&node, cgroup.id).get(&(abi::NATIVE, GETPPID, 0)), Some(&(round * 100)));
    }
}

#[test]
fn a_cgroup_that_is_left_is_counted_no_more_and_its_counts_can_be_taken() {
    let (node, cgroup) = counting();
    cgroup.enter(|| act(10, 0));
    node.loaded.calls.leave(cgroup.id).expect("left");
    cgroup.enter(|| act(10, 0));
    let taken = node.loaded.calls.take(&[cgroup.id].into()).expect("taken");
    let getppids = taken.iter().filter(|(key, _)| key.number == GETPPID).map(|(_, count)| count).sum::<u64>();
    assert_eq!((getppids, counts(&node, cgroup.id)), (10, Counts::new()));
}

#[test]
fn a_new_cgroup_is_counted_from_its_first_call_on_where_that_is_asked_for() {
    let node = Node::start();
    need(&node, true);
    let before = node.cgroup();
    node.loaded.calls.count_new_cgroups(true).expect("on");
    let new = node.cgroup();
    new.enter(|| act(10, 1));
    before.enter(|| act(10, 1));
    node.loaded.calls.count_new_cgroups(false).expect("off");
    let after = node.cgroup();
    after.enter(|| act(10, 1));
    assert_eq!(counts(&node, new.id).get(&(abi::NATIVE, GETPPID, 0)), Some(&10));
    assert_eq!(counts(&node, new.id).get(&(abi::NATIVE, OPENAT, ENOENT)), Some(&1));
    for other in [&before, &after] {
        assert_eq!(counts(&node, other.id), Counts::new());
    }
}

#[test]
fn several_cgroups_can_be_counted_under_one_account() {
    let node = Node::start();
    let container = node.cgroup();
    let inner = container.nested("inner");
    node.loaded.calls.select(container.id, container.id).expect("there is room");
    node.loaded.calls.select(inner.id, container.id).expect("there is room");
    need(&node, true);
    container.enter(|| act(3, 0));
    inner.enter(|| act(4, 0));
    assert_eq!(counts(&node, container.id).get(&(abi::NATIVE, GETPPID, 0)), Some(&7));
    assert_eq!(counts(&node, inner.id), Counts::new());
}

#[test]
fn a_full_table_folds_into_other_and_loses_no_call() {
    // Room for the two `other` rows and one more.
    let node = Node::with(|options| options.syscall_counts = 3);
    let cgroup = node.cgroup();
    select(&node, &cgroup);
    need(&node, true);
    let program =
        program(&[(Gate::Native, 110), (Gate::Native, 110), (Gate::Native, 39), (Gate::Native, 600)]);
    run_in(&cgroup, &program);
    let counted = counts(&node, cgroup.id);
    let folded = node.failures("syscalls_full");
    assert_eq!(counted.len(), 3, "{counted:?}");
    let others: u64 = counted.iter().filter(|((_, number, _), _)| *number == u16::MAX).map(|(_, n)| n).sum();
    assert!(others == folded && folded > 4, "{counted:?}, {folded} folded");
    assert_eq!(node.failures("syscalls_overfull"), 0);
}

/// By which door a program enters the kernel.
#[derive(Clone, Copy)]
enum Gate {
    /// `syscall`
    Native,
    /// `int 0x80`
    Compat,
}

/// A program that makes these calls without arguments and ends: an ELF file of one segment, written as bytes, because
/// no library makes 32-bit calls and calls that do not exist.
fn program(calls: &[(Gate, u32)]) -> PathBuf {
    let mut code = Vec::new();
    let exit = (Gate::Native, 60);
    for (gate, number) in calls.iter().copied().chain([exit]) {
        // xor edi, edi; xor ebx, ebx; mov eax, NUMBER
        code.extend([0x31, 0xff, 0x31, 0xdb, 0xb8]);
        code.extend(number.to_le_bytes());
        code.extend(match gate {
            Gate::Native => [0x0f, 0x05],
            Gate::Compat => [0xcd, 0x80],
        });
    }
    let (base, head) = (0x40_0000_u64, 64 + 56_u64);
    let size = head + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Executable, x86-64, version 1; entry, program headers; no sections; sizes and numbers of headers.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend([base + head, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend([0_u32.to_le_bytes(), [64, 0, 56, 0], [1, 0, 0, 0], [0; 4]].concat());
    // One segment to be loaded, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    elf.extend([0, base, base, size, size, 4096].iter().flat_map(|word: &u64| word.to_le_bytes()));
    elf.extend(code);
    let path = std::env::temp_dir().join(format!("cofferdam-test-{}-calls", std::process::id()));
    let _ = fs::remove_file(&path);
    fs::write(&path, elf).expect("it is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may run");
    path
}

/// Runs a program as a member from its first call on.
fn run_in(cgroup: &Cgroup, program: &PathBuf) {
    let mut child = cgroup.enter(|| Command::new(program).spawn().expect("it runs"));
    let status = child.wait().expect("it ends");
    let _ = fs::remove_file(program);
    assert!(status.success(), "{status}");
}

#[test]
fn the_same_number_through_the_32_bit_gate_is_another_call() {
    let (node, cgroup) = counting();
    // getppid is 64 there and 110 here; 64 here is semget, which nobody calls.
    run_in(&cgroup, &program(&[(Gate::Compat, 64), (Gate::Compat, 64), (Gate::Native, 110)]));
    let mut counted = counts(&node, cgroup.id);
    counted.retain(|(abi, number, _), _| *abi == abi::COMPAT || [GETPPID, 64].contains(number));
    assert_eq!(counted, [((abi::NATIVE, GETPPID, 0), 1), ((abi::COMPAT, 64, 0), 2)].into());
}

#[test]
fn numbers_that_no_kernel_has_are_one_row_however_many_they_are() {
    let (node, cgroup) = counting();
    let numbers = (0..50).map(|at| (Gate::Native, 1024 + at * 7919)).chain([(Gate::Native, 0x4000_0027)]);
    run_in(&cgroup, &program(&numbers.collect::<Vec<_>>()));
    let counted = counts(&node, cgroup.id);
    let unknown: Vec<_> = counted.iter().filter(|((_, number, _), _)| *number >= 1024).collect();
    assert_eq!(unknown, [(&(abi::NATIVE, u16::MAX - 1, Errno::ENOSYS as u16), &51)], "{counted:?}");
}

#[test]
fn a_fork_is_one_call_though_two_processes_return_from_it() {
    let node = Node::start();
    let cgroup = node.cgroup();
    let program = program(&[]);
    select(&node, &cgroup);
    need(&node, true);
    for _ in 0..3 {
        let mut child = cgroup.enter(|| Command::new(&program).spawn().expect("it runs"));
        child.wait().expect("it ends");
    }
    let _ = fs::remove_file(program);
    let counted = counts(&node, cgroup.id);
    let forks = counted.iter().filter(|((_, number, errno), _)| FORKS[0].contains(number) && *errno == 0);
    assert_eq!(forks.map(|(_, count)| count).sum::<u64>(), 3, "{counted:?}");
    let execs = 59;
    assert_eq!(counted.get(&(abi::NATIVE, execs, 0)), Some(&3), "{counted:?}");
}

#[test]
fn the_return_from_a_signal_is_counted_as_such_and_is_no_error() {
    let (node, cgroup) = counting();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap : USR1; kill -USR1 $$; kill -USR1 $$; true"]).stdout(Stdio::null());
    let mut child = cgroup.enter(|| shell.spawn().expect("it runs"));
    assert!(child.wait().expect("it ends").success());
    let counted = counts(&node, cgroup.id);
    assert_eq!(counted.get(&(abi::NATIVE, SIGNAL_RETURN[0], 0)), Some(&2), "{counted:?}");
}
