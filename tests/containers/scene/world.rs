//! The host itself, and who is beyond it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use cofferdam::event::WorkloadKind;
use cofferdam_tests::{Node, Outside, built, command::run};

use super::cast::Cast;

pub(super) fn set(node: &Arc<Node>) -> Result<Cast> {
    let (traffic, peer) = (built("traffic")?, built("outside")?);
    let traffic = [traffic.to_str().context("a path of letters")?, "connect"];
    let peer = [peer.to_str().context("a path of letters")?, "connect", "198.19.7.4"];
    let mut outside = Outside::plug_in(node)?;
    outside.serve("198.19.7.3", 443, 514)?;
    let mut cast = Cast::default();
    for address in ["198.19.7.3", "198.19.7.4"] {
        cast.show(WorkloadKind::Outside, address);
    }
    let outside = Arc::new(outside);
    let machine = Arc::clone(&outside);
    cast.actor("peer", &peer, move |words| outside.run(words));
    cast.actor("machine", &traffic, move |words| machine.run(words));
    let host = Arc::clone(node);
    cast.actor("host", &traffic, move |words| {
        let (program, arguments) = words.split_first().context("no program")?;
        run(host.command(program).args(arguments))
    });
    Ok(cast)
}
