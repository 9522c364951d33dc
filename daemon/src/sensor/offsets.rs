//! Finds where the fields that the programs read lie in the running kernel's structures.
//!
//! Parsing the kernel's BTF leaves some 57 MB behind, so the daemon does it in a short-lived child
//! ([`from_child`]), a run of its own executable.

use std::{io::Read as _, path::Path, process::Command};

use anyhow::{Context as _, bail};
use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use cofferdam_common::offsets::Offsets;
use zerocopy::{FromBytes, IntoBytes};

use super::hooks::Hook;

/// Where the kernel describes its types.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Structure, member, the field of [`Offsets`], and who cannot do without it: a family of hooks, or one hook.
type Field = (&'static str, &'static str, fn(&mut Offsets) -> &mut u32, &'static str);

const PROCESS: &str = "process";
const CONTAINER: &str = "container";
const NETWORK: &str = "network";
const ERRORS: &str = "inet_sk_error_report";
const SYSCALL: &str = "syscall";
const POLICY: &str = "policy";
const SENDMSG: &str = "socket_sendmsg";
/// Whose call it was: no hook needs it.
const CALLER: &str = "caller";

const FIELDS: [Field; 48] = [
    ("task_struct", "pid", |o| &mut o.task_pid, PROCESS),
    ("task_struct", "tgid", |o| &mut o.task_tgid, PROCESS),
    ("task_struct", "start_boottime", |o| &mut o.task_start_boottime, PROCESS),
    ("task_struct", "real_parent", |o| &mut o.task_real_parent, PROCESS),
    ("task_struct", "mm", |o| &mut o.task_mm, PROCESS),
    ("task_struct", "exit_code", |o| &mut o.task_exit_code, PROCESS),
    ("task_struct", "signal", |o| &mut o.task_signal, PROCESS),
    ("signal_struct", "live", |o| &mut o.signal_live, PROCESS),
    ("mm_struct", "arg_start", |o| &mut o.mm_arg_start, PROCESS),
    ("mm_struct", "arg_end", |o| &mut o.mm_arg_end, PROCESS),
    ("linux_binprm", "filename", |o| &mut o.binprm_filename, PROCESS),
    ("cgroup", "kn", |o| &mut o.cgroup_kn, CONTAINER),
    ("kernfs_node", "id", |o| &mut o.kernfs_id, CONTAINER),
    ("cgroup", "root", |o| &mut o.cgroup_root, CONTAINER),
    ("cgroup_root", "hierarchy_id", |o| &mut o.root_hierarchy, CONTAINER),
    ("sock_common", "skc_net", |o| &mut o.sock_net, NETWORK),
    ("sock_common", "skc_family", |o| &mut o.sock_family, ERRORS),
    ("inet_sock", "inet_sport", |o| &mut o.sock_sport, ERRORS),
    ("sock_common", "skc_dport", |o| &mut o.sock_dport, ERRORS),
    ("sock_common", "skc_rcv_saddr", |o| &mut o.sock_rcv_saddr, ERRORS),
    ("sock_common", "skc_daddr", |o| &mut o.sock_daddr, ERRORS),
    ("sock_common", "skc_v6_rcv_saddr", |o| &mut o.sock_v6_rcv_saddr, ERRORS),
    ("sock_common", "skc_v6_daddr", |o| &mut o.sock_v6_daddr, ERRORS),
    ("sock", "sk_protocol", |o| &mut o.sock_protocol, ERRORS),
    ("sock", "sk_err", |o| &mut o.sock_err, ERRORS),
    ("pt_regs", "orig_ax", |o| &mut o.regs_orig_ax, SYSCALL),
    ("task_struct", "thread_info", |o| &mut o.task_thread_info, SYSCALL),
    ("thread_info", "status", |o| &mut o.thread_status, SYSCALL),
    ("task_struct", "group_leader", |o| &mut o.task_group_leader, CALLER),
    ("task_struct", "tgid", |o| &mut o.task_tgid, CALLER),
    ("task_struct", "start_boottime", |o| &mut o.task_start_boottime, CALLER),
    ("task_struct", "real_parent", |o| &mut o.task_real_parent, CALLER),
    ("task_struct", "mm", |o| &mut o.task_mm, CALLER),
    ("task_struct", "comm", |o| &mut o.task_comm, CALLER),
    ("task_struct", "cred", |o| &mut o.task_cred, CALLER),
    ("cred", "uid", |o| &mut o.cred_uid, CALLER),
    ("task_struct", "cgroups", |o| &mut o.task_cgroups, CALLER),
    ("css_set", "dfl_cgrp", |o| &mut o.css_set_dfl_cgrp, CALLER),
    ("sock", "sk_socket", |o| &mut o.sock_socket, POLICY),
    ("socket", "file", |o| &mut o.socket_file, POLICY),
    ("socket", "sk", |o| &mut o.socket_sk, SENDMSG),
    ("sock_common", "skc_family", |o| &mut o.sock_family, SENDMSG),
    ("sock", "sk_cgrp_data", |o| &mut o.sock_cgrp_data, SENDMSG),
    ("sock_cgroup_data", "cgroup", |o| &mut o.cgrp_data_cgroup, SENDMSG),
    ("cgroup", "kn", |o| &mut o.cgroup_kn, SENDMSG),
    ("kernfs_node", "id", |o| &mut o.kernfs_id, SENDMSG),
    ("cgroup", "level", |o| &mut o.cgroup_level, SENDMSG),
    ("cgroup", "ancestors", |o| &mut o.cgroup_ancestors, SENDMSG),
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Located {
    /// The offsets; zero where a field is missing.
    pub offsets: Offsets,
    /// Fields that this kernel does not have, by the family or the hook that needs them.
    pub missing: Vec<(String, String)>,
}

/// Reads the BTF in a child that runs `argument` of this program's own executable, which calls [`print`].
///
/// # Errors
/// When the child cannot be run or what it prints makes no sense.
pub fn from_child(argument: &str) -> anyhow::Result<Located> {
    let output = Command::new("/proc/self/exe")
        .arg(argument)
        .output()
        .context("cannot run /proc/self/exe to read the kernel's types")?;
    if !output.status.success() {
        bail!("cannot read the kernel's types: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let (offsets, missing) = Offsets::read_from_prefix(&output.stdout)
        .map_err(|_| anyhow::anyhow!("the child that reads the kernel's types printed too little"))?;
    let missing = String::from_utf8_lossy(missing)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(needed_by, field)| (needed_by.to_owned(), field.to_owned()))
        .collect();
    Ok(Located { offsets, missing })
}

/// The child's side of [`from_child`]: the offsets as bytes, then a line for each missing field.
///
/// # Errors
/// When the BTF cannot be read or `out` not written.
pub fn print(out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let located = read(Path::new(BTF_PATH))?;
    out.write_all(located.offsets.as_bytes())?;
    for (needed_by, field) in &located.missing {
        writeln!(out, "{needed_by} {field}")?;
    }
    Ok(())
}

/// Reads the BTF in this process.
///
/// # Errors
/// When the file cannot be read or is no BTF.
pub fn read(path: &Path) -> anyhow::Result<Located> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let types = TypeInformation::new(&Bytes(&bytes))
        .map_err(|error| anyhow::anyhow!("{} is no BTF: {error:?}", path.display()))?;
    let mut located = Located::default();
    for (structure, member, field, needed_by) in FIELDS {
        match offset(&types, structure, member) {
            Some(offset) => *field(&mut located.offsets) = offset,
            None => located.missing.push((needed_by.to_owned(), format!("{structure}.{member}"))),
        }
    }
    if located.no_callers().is_some() {
        located.offsets.task_group_leader = 0;
    }
    Ok(located)
}

impl Located {
    /// Why a hook cannot be attached; `None` when it can.
    #[must_use]
    pub fn refusal(&self, hook: &Hook) -> Option<String> {
        self.lacks(|needed_by| needed_by == hook.family || needed_by == hook.name)
    }

    /// Why denials cannot name who tried; `None` when they can.
    #[must_use]
    pub fn no_callers(&self) -> Option<String> {
        self.lacks(|needed_by| needed_by == CALLER || needed_by == CONTAINER)
    }

    fn lacks(&self, needs: impl Fn(&str) -> bool) -> Option<String> {
        let missing = self.missing.iter().filter(|(needed_by, _)| needs(needed_by));
        let missing: Vec<&str> = missing.map(|(_, field)| field.as_str()).collect();
        (!missing.is_empty()).then(|| format!("this kernel has no {}", missing.join(", ")))
    }
}

/// Several types may bear a structure's name: the one that has the member is meant.
fn offset(types: &TypeInformation, structure: &str, member: &str) -> Option<u32> {
    types
        .get()
        .iter()
        .filter(|(id, kind)| {
            matches!(kind, TypeVariant::Struct(_)) && types.name_of(**id).as_deref() == Some(structure)
        })
        .find_map(|(id, _)| match types.offset_of(*id, member) {
            Ok((_, Offset::ByteOffset(bytes))) => Some(bytes),
            _ => None,
        })
}

struct Bytes<'a>(&'a [u8]);

impl Readable for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let source = self.0.get(start..end).ok_or_else(|| {
            btfparse::Error::new(btfparse::ErrorKind::IOError, "the file ends before the types do")
        })?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}
