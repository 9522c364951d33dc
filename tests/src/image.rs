//! The one image of all test containers, made here: nothing is pulled.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::Context;

use crate::{
    command::run,
    docker::{Docker, pipe},
    node::{Node, built},
};

/// Hands the image over to a Docker.
pub(crate) fn import(docker: &Docker) -> anyhow::Result<()> {
    let root = root(docker.node())?;
    let mut tar = Command::new("tar");
    pipe(tar.arg("-C").arg(&root).args(["-c", "."]), docker.docker().args(["import", "-", docker.image()]))
}

/// Makes the root of all containers of a node: busybox, `traffic`, and the libraries that it is linked to.
/// Made once: runtimes that start at the same time share it.
pub(crate) fn root(node: &Node) -> anyhow::Result<PathBuf> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let root = node.directory().join("image");
    // What is made last.
    if root.join("bin/traffic").exists() {
        return Ok(root);
    }
    for folder in ["bin", "tmp", "etc", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.context("no busybox: apt-get install busybox-static")?;
    // By another process: one that this one forks meanwhile would hold it open for writing, and it could not be run.
    run(Command::new("cp").arg(busybox).arg(root.join("bin/busybox")))?;
    run(Command::new("chroot").arg(&root).args(["/bin/busybox", "--install", "-s", "/bin"]))?;
    let traffic = built("traffic")?;
    for library in libraries(&run(Command::new("ldd").arg(&traffic))?) {
        let inside = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().context("a library without a folder")?)?;
        fs::copy(library, &inside)?;
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    }
    run(Command::new("strip").arg("-o").arg(root.join("bin/traffic")).arg(&traffic))
        .or_else(|_| fs::copy(&traffic, root.join("bin/traffic")).map(|_| String::new()))?;
    Ok(root)
}

/// Paths of the libraries that ldd names.
fn libraries(said: &str) -> impl Iterator<Item = &str> {
    said.split_whitespace().filter(|word| word.starts_with('/'))
}
