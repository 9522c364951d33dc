//! Finds where the fields that the programs read lie in the running kernel's structures.
//!
//! Parsing the kernel's BTF leaves some 57 MB behind, so the daemon does it in a short-lived child
//! ([`from_child`]), a run of its own executable.

use std::{io::Read as _, path::Path, process::Command};

use anyhow::{Context as _, bail};
use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use cofferdam_common::{
    offsets::Offsets,
    record::family::{self, CONTAINER, NETWORK, PROCESS},
};
use zerocopy::{FromBytes, IntoBytes};

/// Where the kernel describes its types.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Structure, member, the field of [`Offsets`], and the family of hooks that cannot do without it.
type Field = (&'static str, &'static str, fn(&mut Offsets) -> &mut u32, u32);

const FIELDS: [Field; 16] = [
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
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Located {
    /// The offsets; zero where a field is missing.
    pub offsets: Offsets,
    /// Fields that this kernel does not have, by the family that needs them.
    pub missing: Vec<(u32, String)>,
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
        .filter_map(|(family, field)| Some((family.parse().ok()?, field.to_owned())))
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
    for (family, field) in &located.missing {
        writeln!(out, "{family} {field}")?;
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
    for (structure, member, field, family) in FIELDS {
        match offset(&types, structure, member) {
            Some(offset) => *field(&mut located.offsets) = offset,
            None => located.missing.push((family, format!("{structure}.{member}"))),
        }
    }
    Ok(located)
}

impl Located {
    /// Why hooks of a family cannot be attached; `None` when they can.
    #[must_use]
    pub fn refusal(&self, family: &str) -> Option<String> {
        let missing: Vec<&str> = self
            .missing
            .iter()
            .filter(|(number, _)| family::NAMES.get(*number as usize) == Some(&family))
            .map(|(_, field)| field.as_str())
            .collect();
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
