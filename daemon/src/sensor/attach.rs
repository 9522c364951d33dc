//! Has the kernel check the programs and attaches them.

use std::fs::File;

use anyhow::{Context as _, bail, ensure};
use aya::{
    Btf, Ebpf,
    programs::{CgroupAttachMode, CgroupSkbAttachType, Program, links::FdLink},
};

use cofferdam_query::Place;

use super::{
    features,
    hooks::{Attach, Hook},
};

/// What the kernel calls BPF among its security modules.
const BPF_LSM: &str = "bpf";

/// Has the kernel check a program. Returns the kernel's number of it.
pub(super) fn load_program(ebpf: &mut Ebpf, hook: &Hook, btf: &Btf) -> anyhow::Result<u32> {
    match (hook.attach, program(ebpf, hook)?) {
        (Attach::Tracepoint, Program::BtfTracePoint(program)) => program.load(hook.name, btf)?,
        (Attach::CgroupEgress | Attach::CgroupIngress, Program::CgroupSkb(program)) => program.load()?,
        (Attach::CgroupAddress, Program::CgroupSockAddr(program)) => program.load()?,
        (Attach::VethIngress | Attach::VethEgress, Program::SchedClassifier(program)) => program.load()?,
        (Attach::Lsm, Program::Lsm(program)) => {
            has_bpf_lsm()?;
            program.load(hook.name, btf)?;
        }
        _ => bail!("is of another kind in the object"),
    }
    Ok(program(ebpf, hook)?.info()?.id())
}

/// A kernel that knows BPF as a security module and does not run it attaches programs there all the same, and never asks
/// them.
fn has_bpf_lsm() -> anyhow::Result<()> {
    let active = features::lsms();
    ensure!(
        !active.is_empty(),
        "which security modules the kernel runs is not known: securityfs is not mounted"
    );
    ensure!(
        active.iter().any(|module| module == BPF_LSM),
        "`{BPF_LSM}` is not among the kernel's security modules: {}",
        active.join(",")
    );
    Ok(())
}

/// The cgroup hooks are links, which always let other programs of the same cgroup run as well.
pub(super) fn attach(ebpf: &mut Ebpf, hook: &Hook, root: &File) -> anyhow::Result<FdLink> {
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    Ok(match (hook.attach, program(ebpf, hook)?) {
        (Attach::Tracepoint, Program::BtfTracePoint(program)) => {
            let link = program.attach()?;
            program.take_link(link)?.into()
        }
        (Attach::CgroupEgress, Program::CgroupSkb(program)) => {
            let link = program.attach(root, CgroupSkbAttachType::Egress, MODE)?;
            program.take_link(link)?.try_into()?
        }
        (Attach::CgroupIngress, Program::CgroupSkb(program)) => {
            let link = program.attach(root, CgroupSkbAttachType::Ingress, MODE)?;
            program.take_link(link)?.try_into()?
        }
        (Attach::CgroupAddress, Program::CgroupSockAddr(program)) => {
            let link = program.attach(root, MODE)?;
            program.take_link(link)?.try_into()?
        }
        (Attach::Lsm, Program::Lsm(program)) => {
            let link = program.attach()?;
            program.take_link(link)?.into()
        }
        _ => bail!("is of another kind in the object"),
    })
}

/// Where at a cgroup a hook is attached, if it is one of a cgroup.
pub(super) fn place(hook: &Hook) -> Option<Place> {
    Some(match (hook.attach, hook.name) {
        (Attach::CgroupEgress, _) => Place::Egress,
        (Attach::CgroupIngress, _) => Place::Ingress,
        (Attach::CgroupAddress, "connect4") => Place::Connect4,
        (Attach::CgroupAddress, "connect6") => Place::Connect6,
        _ => return None,
    })
}

fn program<'a>(ebpf: &'a mut Ebpf, hook: &Hook) -> anyhow::Result<&'a mut Program> {
    ebpf.program_mut(hook.name).context("is not in the object")
}
