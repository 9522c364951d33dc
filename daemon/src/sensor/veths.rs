//! The host's ends of virtual Ethernet links: attaches what judges the frames that no socket owns, and tells the kernel
//! whose links they are.
//!
//! As tcx links from kernel 6.6 on, which are pinned where they shall stay should the daemon end; before as tc filters,
//! which stay by themselves, and which the next daemon replaces in place.

use std::{
    collections::{HashMap, HashSet},
    mem::ManuallyDrop,
    time::Instant,
};

use anyhow::{Context as _, bail};
use aya::{
    Ebpf,
    maps::{self, MapData},
    programs::{
        LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{
            self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
        },
    },
    sys::NetlinkError,
    util::KernelVersion,
};
use cofferdam_common::{ids::CgroupId, name::Entrance};
use nix::{errno::Errno, net::if_::if_nameindex};

use super::{
    Sensor,
    hooks::{Attach, HOOKS},
    kept::Kept,
    lock, take,
    walk::{found, set_members, was_there},
};

/// Where our tc filters stand among those of others: first, and at a place that no other tool is likely to use.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0xc0ff, 0xd);

/// What is attached where. The only writer of the map of links.
pub(super) struct Veths {
    owners: maps::HashMap<MapData, u32, CgroupId>,
    known_owners: HashMap<u32, CgroupId>,
    entrances: maps::HashMap<MapData, Entrance, u32>,
    known_entrances: HashSet<Entrance>,
    attached: HashMap<u32, HashMap<&'static str, Attached>>,
    /// Links that could not be covered when that was tried last, and why.
    uncovered: HashMap<u32, String>,
    /// When all links were last listed.
    pub(super) listed: Instant,
}

/// A program that is attached to a link.
pub(super) enum Attached {
    /// Detached when it is dropped, unless it is pinned.
    Tcx(FdLink),
    /// Detached when it is taken out and dropped.
    Filter(ManuallyDrop<SchedClassifierLink>),
}

impl Veths {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        let owners = take(ebpf, "LINKS")?.try_into()?;
        Ok(Self {
            owners,
            known_owners: HashMap::new(),
            entrances: take(ebpf, "ENTRANCES")?.try_into()?,
            known_entrances: HashSet::new(),
            attached: HashMap::new(),
            uncovered: HashMap::new(),
            listed: Instant::now(),
        })
    }

    fn set_owner(&mut self, index: u32, owner: CgroupId) -> anyhow::Result<()> {
        if self.known_owners.get(&index) != Some(&owner) {
            self.owners.insert(index, owner, 0).context("there is no room for one more link")?;
            self.known_owners.insert(index, owner);
        }
        Ok(())
    }

    /// Links that are to be covered.
    pub(super) fn indices(&self) -> Vec<u32> {
        self.attached.keys().chain(self.uncovered.keys()).copied().collect()
    }

    /// Why a link that is to be covered is not.
    pub(super) fn why_uncovered(&self, index: u32) -> Option<&str> {
        self.uncovered.get(&index).map(String::as_str)
    }

    /// What is attached to a link.
    pub(super) fn attached(&mut self, index: u32) -> Option<&mut HashMap<&'static str, Attached>> {
        self.attached.get_mut(&index)
    }

    /// Writes again whose a link is, unless the kernel still has it so. Returns whether that was needed.
    pub(super) fn rewrite_owner(&mut self, index: u32) -> anyhow::Result<bool> {
        let Some(owner) = self.known_owners.get(&index).copied() else { return Ok(false) };
        if found(self.owners.get(&index, 0))? == Some(owner) {
            return Ok(false);
        }
        self.owners.insert(index, owner, 0)?;
        Ok(true)
    }

    fn uncover(&mut self, kept: &Kept, index: u32) -> anyhow::Result<()> {
        if self.known_owners.remove(&index).is_some() {
            was_there(self.owners.remove(&index)).context("cannot forget a link")?;
        }
        self.uncovered.remove(&index);
        self.attached.remove(&index).into_iter().flatten().for_each(|(_, attached)| attached.detach());
        programs().try_for_each(|(program, _)| kept.unpin(&pin(program, index)))
    }
}

impl Attached {
    fn detach(self) {
        if let Self::Filter(filter) = self {
            drop(ManuallyDrop::into_inner(filter));
        }
    }
}

impl Sensor {
    /// Has all be judged that passes the host's end of a link, from now on, and also without the daemon if what judges
    /// shall stay.
    ///
    /// # Errors
    /// When the kernel refuses, as where the link is gone. Then nothing is attached to it.
    pub fn cover(&self, index: u32, name: &str) -> anyhow::Result<()> {
        let mut veths = lock(&self.veths);
        if veths.attached.contains_key(&index) {
            return Ok(());
        }
        for (program, side) in programs() {
            let attached = self
                .attach_to_veth(program, index, name, side)
                .with_context(|| format!("cannot attach {program} to {name}"));
            match attached {
                Ok(attached) => drop(veths.attached.entry(index).or_default().insert(program, attached)),
                Err(error) => {
                    let cleared = veths.uncover(&self.kept, index);
                    veths.uncovered.insert(index, format!("{error:#}"));
                    return cleared.and(Err(error));
                }
            }
        }
        veths.uncovered.remove(&index);
        Ok(())
    }

    /// Judges nothing more that passes a link, which may be gone.
    ///
    /// # Errors
    /// When a map cannot be written or a pin not removed.
    pub fn uncover(&self, index: u32) -> anyhow::Result<()> {
        lock(&self.veths).uncover(&self.kept, index)
    }

    /// These are all links that are to be covered, and it was just tried. Of those that could not be, no other needs to be.
    pub fn links_listed(&self, there: &HashSet<u32>) {
        let mut veths = lock(&self.veths);
        veths.uncovered.retain(|index, _| there.contains(index));
        veths.listed = Instant::now();
    }

    /// Adds a tc filter unless there is one at our place. Returns whether it was missing.
    pub(super) fn add_missing_filter(
        &self,
        hook: &str,
        name: &str,
        side: TcAttachType,
    ) -> anyhow::Result<bool> {
        let mut ebpf = self.write();
        let program = classifier(&mut ebpf, hook)?;
        add_clsact(name)?;
        match attach_filter(program, name, side) {
            Err(error) if is_there(&error) => Ok(false),
            added => {
                // It stays by itself, as the one that was there.
                let _ = ManuallyDrop::new(program.take_link(added?)?);
                Ok(true)
            }
        }
    }

    /// Says whose a link is: a container's cgroup, or none for what no policy knows. Until it is said, what passes there and
    /// has no socket is of somebody unresolved.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_owner(&self, index: u32, owner: CgroupId) -> anyhow::Result<()> {
        lock(&self.veths).set_owner(index, owner)
    }

    /// Says by which links answers of the DNS from outside can reach whom, and that nobody is reached by any other.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_entrances(&self, wanted: &HashSet<Entrance>) -> anyhow::Result<()> {
        let mut veths = lock(&self.veths);
        let Veths { entrances, known_entrances, .. } = &mut *veths;
        set_members(entrances, known_entrances, wanted)
            .context("not all links by which answers come can be told to the kernel")
    }

    /// Removes what an earlier daemon, on a kernel without tcx, has left at a link.
    pub fn remove_filters(&self, name: &str) {
        remove_filters(name);
    }

    pub(super) fn uncover_all(&self) -> anyhow::Result<()> {
        let mut veths = lock(&self.veths);
        veths.uncovered.clear();
        let all: Vec<u32> = veths.attached.keys().copied().collect();
        all.into_iter().try_for_each(|index| veths.uncover(&self.kept, index))
    }

    pub(super) fn attach_to_veth(
        &self,
        hook: &str,
        index: u32,
        name: &str,
        side: TcAttachType,
    ) -> anyhow::Result<Attached> {
        let mut ebpf = self.write();
        let program = classifier(&mut ebpf, hook)?;
        if !has_tcx()? {
            let filter = add_filter(program, name, side)?;
            return Ok(Attached::Filter(ManuallyDrop::new(filter)));
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(name, side, order)?;
        let link = program.take_link(id)?.try_into()?;
        Ok(Attached::Tcx(if self.stays() { self.kept.pin(&pin(hook, index), link)? } else { link }))
    }
}

fn remove_filters(name: &str) {
    for (_, side) in programs() {
        // It is removed when it is dropped, if it is there.
        drop(SchedClassifierLink::attached(name, side, PRIORITY, HANDLE, None));
    }
}

/// Removes what daemons have left at all links of this network namespace, where that stays by itself.
pub(super) fn remove_all_filters() -> anyhow::Result<()> {
    if !has_tcx()? {
        let links = if_nameindex().context("links cannot be listed")?;
        links.iter().for_each(|link| remove_filters(&link.name().to_string_lossy()));
    }
    Ok(())
}

/// Whether links of tcx can be attached, or filters of tc only.
pub(super) fn has_tcx() -> anyhow::Result<bool> {
    Ok(KernelVersion::current()? >= KernelVersion::new(6, 6, 0))
}

/// The programs, and at which side of a link's end each is.
pub(super) fn programs() -> impl Iterator<Item = (&'static str, TcAttachType)> {
    HOOKS.iter().filter_map(|hook| {
        let side = match hook.attach {
            Attach::VethIngress => TcAttachType::Ingress,
            Attach::VethEgress => TcAttachType::Egress,
            _ => return None,
        };
        Some((hook.name, side))
    })
}

/// Adds a tc filter, or puts the program in the place of the one that an earlier daemon has left.
fn add_filter(
    program: &mut SchedClassifier,
    name: &str,
    side: TcAttachType,
) -> anyhow::Result<SchedClassifierLink> {
    add_clsact(name)?;
    let id = match attach_filter(program, name, side) {
        Err(error) if is_there(&error) => {
            let before = SchedClassifierLink::attached(name, side, PRIORITY, HANDLE, None)?;
            program.attach_to_link(before)?
        }
        added => added?,
    };
    Ok(program.take_link(id)?)
}

fn attach_filter(
    program: &mut SchedClassifier,
    name: &str,
    side: TcAttachType,
) -> Result<SchedClassifierLinkId, ProgramError> {
    let filter = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    program.attach_with_options(name, side, TcAttachOptions::Netlink(filter))
}

/// The queueing discipline that filters belong to.
fn add_clsact(name: &str) -> anyhow::Result<()> {
    match tc::qdisc_add_clsact(name) {
        Err(TcError::NetlinkError(error)) if exists(&error) => Ok(()),
        added => Ok(added?),
    }
}

/// Whether there is a filter at our place.
fn is_there(error: &ProgramError) -> bool {
    matches!(error, ProgramError::TcError(TcError::NetlinkError(error)) if exists(error))
}

fn exists(error: &NetlinkError) -> bool {
    error.raw_os_error() == Some(Errno::EEXIST as i32)
}

fn classifier<'a>(ebpf: &'a mut Ebpf, hook: &str) -> anyhow::Result<&'a mut SchedClassifier> {
    match ebpf.program_mut(hook) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => bail!("is not in the object"),
    }
}

/// What the pin of a program at a link is called.
pub(super) fn pin(program: &str, index: u32) -> String {
    format!("{program}-{index}")
}
