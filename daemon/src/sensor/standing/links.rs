//! The hooks at the links of containers: attached, pinned, before those of others, and known whose link it is.

use std::{io, time::Duration};

use aya::programs::TcAttachType;
use cofferdam_query::{Side, attached_to_device};
use nix::net::if_::if_indextoname;

use super::{
    super::{
        Sensor, lock,
        veths::{Attached, Veths, has_tcx, pin, programs},
    },
    Finding, Order, What,
};

/// Longest time between two lists of all links; it is some seconds.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

impl Sensor {
    /// Looks whether each link that is to be covered is, and whose programs are there beside ours. What is wrong with ours is
    /// mended. Nothing is looked at while nothing is judged.
    #[must_use]
    pub fn verify_links(&self) -> Vec<Finding> {
        if !self.stays() {
            return Vec::new();
        }
        let (all, listed) = {
            let veths = lock(&self.veths);
            (veths.indices(), veths.listed.elapsed())
        };
        let unlisted = (listed > LISTED_WITHIN).then(|| {
            let text = "links of containers are not listed any more: new ones are not covered";
            Finding::open(What::Link, text.to_owned())
        });
        // One after the other: a link that is new meanwhile is covered without waiting for all.
        unlisted.into_iter().chain(all.into_iter().flat_map(|index| self.verify_link(index))).collect()
    }

    fn verify_link(&self, index: u32) -> Vec<Finding> {
        let mut veths = lock(&self.veths);
        // What is gone meanwhile, or let go, whoever covers links knows or will know.
        let Some(name) = name_of(index) else { return Vec::new() };
        if let Some(why) = veths.why_uncovered(index) {
            return vec![Finding::open(What::Link, format!("{name} is not covered: {why}"))];
        }
        if veths.attached(index).is_none() {
            return Vec::new();
        }
        let mut findings: Vec<_> = programs()
            .flat_map(|(hook, side)| self.verify_veth(&mut veths, hook, index, &name, side))
            .collect();
        let text = || format!("whose link {name} is was not as it was written");
        match veths.rewrite_owner(index) {
            Ok(false) => {}
            Ok(true) => findings.push(Finding::mended(What::Owners, 1, text(), Ok(()))),
            Err(error) => findings.push(Finding::mended(What::Owners, 1, text(), Err(error))),
        }
        // Of one that was just taken away nothing can be told.
        if name_of(index).is_some() { findings } else { Vec::new() }
    }

    fn verify_veth(
        &self,
        veths: &mut Veths,
        hook: &'static str,
        index: u32,
        name: &str,
        side: TcAttachType,
    ) -> Vec<Finding> {
        let place = format!("{hook} of {name}");
        let Some(program) = self.programs.get(hook).copied() else { return Vec::new() };
        let lost = format!("{place} was not attached any more");
        match has_tcx() {
            Ok(true) => {}
            // Whose filter it is that is at our place, tc does not tell.
            Ok(false) => {
                let added = self.add_missing_filter(hook, name, side).map(|added| added.then_some(()));
                let mended = added.transpose();
                return mended.map(|it| Finding::mended(What::Link, 1, lost, it)).into_iter().collect();
            }
            Err(error) => return vec![Finding::open(What::Link, format!("{place}: {error:#}"))],
        }
        let attached = match attached(index, side) {
            Ok(attached) => attached,
            Err(error) => {
                let text = format!("what is attached as {place} cannot be told: {error}");
                return vec![Finding::open(What::Link, text)];
            }
        };
        let order = Order::of(program, &attached);
        let mut findings = order.foreign(&place);
        if !order.is_here {
            let mending = self.cover_again(veths, hook, index, name, side);
            findings.push(Finding::mended(What::Link, 1, lost, mending));
        } else if !self.holds(veths, hook, index) {
            let mending = self.pin_link_again(veths, hook, index);
            findings.push(Finding::mended(What::Pin, 1, format!("the pin of {place} was gone"), mending));
        }
        findings
    }

    /// Whether what is attached to a link is pinned.
    fn holds(&self, veths: &mut Veths, hook: &str, index: u32) -> bool {
        let attached = veths.attached(index).and_then(|all| all.get(hook));
        matches!(attached, Some(Attached::Tcx(link)) if self.kept.holds(&pin(hook, index), link))
    }

    /// The kernel attaches no program twice to a link: should it be there after all, this fails.
    fn cover_again(
        &self,
        veths: &mut Veths,
        hook: &'static str,
        index: u32,
        name: &str,
        side: TcAttachType,
    ) -> anyhow::Result<()> {
        let Some(all) = veths.attached(index) else { return Ok(()) };
        drop(all.remove(hook));
        self.kept.unpin(&pin(hook, index))?;
        all.insert(hook, self.attach_to_veth(hook, index, name, side)?);
        Ok(())
    }

    /// Where something else is in the place of the pin, it goes. What cannot be pinned is gone, and attached again next time.
    fn pin_link_again(&self, veths: &mut Veths, hook: &'static str, index: u32) -> anyhow::Result<()> {
        let pin = pin(hook, index);
        self.kept.unpin(&pin)?;
        let Some(all) = veths.attached(index) else { return Ok(()) };
        if let Some(Attached::Tcx(link)) = all.remove(hook) {
            all.insert(hook, Attached::Tcx(self.kept.pin(&pin, link)?));
        }
        Ok(())
    }
}

/// The name of a link, if it is there.
fn name_of(index: u32) -> Option<String> {
    if_indextoname(index).ok().map(|name| name.to_string_lossy().into_owned())
}

/// The programs that are attached to a link, in the order in which they run.
fn attached(index: u32, side: TcAttachType) -> io::Result<Vec<u32>> {
    match side {
        TcAttachType::Ingress => attached_to_device(index, Side::Ingress),
        TcAttachType::Egress => attached_to_device(index, Side::Egress),
        TcAttachType::Custom(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
