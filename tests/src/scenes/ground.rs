//! What all stages have in common: the host and whoever is on it without a container, and the machines beyond it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::{Context as _, Result};

use super::{
    Places,
    actor::Actor,
    cast::{CAST, Member, Place, SERVED, SERVED_HERE},
};
use crate::{
    command::run,
    node::{Node, built},
    outside::Outside,
    unit::Unit,
};

/// The host's addresses as peers outside see them; the first is the node's anyway.
const FACADE: [&str; 2] = ["198.19.7.1", "fd00:c0ff:7::1"];
/// Where a proxy listens that passes on what comes to published ports.
const PROXY: [&str; 2] = ["127.0.0.1", "::1"];

/// The host and what is beyond it. Gone when dropped, with whoever was started there.
#[derive(Debug)]
pub struct Ground {
    node: Arc<Node>,
    outside: Outside,
    /// Of those who are in no container, by name.
    units: BTreeMap<&'static str, Unit>,
}

impl Ground {
    /// Lays the cable to the machines beyond, and gives everybody on the host addresses of his own.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn lay(node: &Arc<Node>, places: &mut Places) -> Result<Self> {
        let ground =
            Self { node: Arc::clone(node), outside: Outside::plug_in(node)?, units: BTreeMap::new() };
        ground.ip(&format!("addr add {}/64 dev beyond nodad", FACADE[1]))?;
        places.facade = addresses(&FACADE)?;
        places.proxy = addresses(&PROXY)?;
        for (number, member) in CAST.iter().enumerate() {
            if member.is_on_host() {
                let own = [format!("198.19.8.{}", number + 1), format!("fd00:c0ff:8::{}", number + 1)];
                let own = addresses(&own)?;
                for address in &own {
                    let nodad = if address.is_ipv6() { " nodad" } else { "" };
                    ground.ip(&format!("addr add {address} dev lo{nodad}"))?;
                }
                places.host.insert(member.name, own);
            }
            if let Place::Outside(address) = member.place {
                ground.ip(&format!("route add {address} dev beyond"))?;
            }
        }
        Ok(ground)
    }

    /// Runs `ip` on the host with these arguments.
    ///
    /// # Errors
    /// It fails.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        run(self.node.command("ip").args(arguments.split_whitespace())).map(drop)
    }

    /// Starts somebody who is in no container.
    ///
    /// # Errors
    /// He does not act.
    pub fn start(&mut self, member: &'static Member, places: &Places) -> Result<Actor> {
        if let Place::Outside(address) = member.place {
            let program = built("outside")?.display().to_string();
            let words = [&program, "act", &address.to_string(), "--serve", SERVED];
            return Actor::start(&mut self.outside.command(&words));
        }
        let path = match member.place {
            Place::Unit => format!("{}/{}", self.node.slice(), member.name),
            _ => String::new(),
        };
        let unit = Unit::make(&self.node, &path)?;
        let program = built("traffic")?.display().to_string();
        let actor = Actor::start(unit.command(&[&program]).args(arguments(member, places)))?;
        self.units.insert(member.name, unit);
        Ok(actor)
    }

    /// Where somebody is who was started so and is not outside.
    #[must_use]
    pub fn unit(&self, member: &Member) -> Option<&Unit> {
        self.units.get(member.name)
    }
}

/// What `traffic` is told to act as somebody.
#[must_use]
pub fn arguments(member: &Member, places: &Places) -> Vec<String> {
    let mut words = vec!["act".to_owned(), "--serve".to_owned(), format!("{SERVED},{SERVED_HERE}")];
    if let Some(own) = places.host.get(member.name) {
        let own: Vec<_> = own.iter().map(ToString::to_string).collect();
        words.extend(["--at".to_owned(), own.join(",")]);
    }
    words
}

/// Reads addresses.
///
/// # Errors
/// One is none.
pub fn addresses(texts: &[impl AsRef<str>]) -> Result<Vec<IpAddr>> {
    let address = |text: &str| text.parse().with_context(|| text.to_owned());
    texts.iter().map(|text| address(text.as_ref())).collect()
}
