//! Podman, on the node's network.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use cofferdam::event::Runtime;
use cofferdam_tests::{Node, Podman, command::run};

use super::cast::Cast;

/// Also the archive of its image.
pub(super) fn set(node: &Arc<Node>) -> Result<(Cast, PathBuf)> {
    let mut podman = Podman::new(node)?;
    podman.serve()?;
    let podman = Arc::new(podman);
    let mut cast = Cast::default();
    for (name, program) in [
        ("registry", ["traffic", "serve", "--tcp", "5000"]),
        ("runner", ["traffic", "serve", "--udp", "5001"]),
    ] {
        let id = podman.container(name, &[], &program)?;
        cast.show_container(name, Runtime::Podman, &id, Some(Podman::IMAGE));
        let podman = Arc::clone(&podman);
        cast.actor(name, &["traffic", "connect"], move |words| {
            run(podman.podman().args(["exec", name]).args(words))
        });
    }
    Ok((cast, podman.archive()?))
}
