//! Users' own (rootless) Podmans: their sockets come and go with their users' sessions.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Attribution, container::Source},
    docker, listening,
};
use crate::event::Runtime;

/// How often new sockets are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Most users that are listened to at once.
const USERS_LIMIT: usize = 32;
/// Most entries of the folder that are read.
const ENTRIES_LIMIT: usize = 4_096;

/// Listens to each user's Podman below `folder` for as long as its socket is there, until `cancel`.
pub(super) async fn watch(attribution: Arc<Attribution>, folder: PathBuf, cancel: CancellationToken) {
    let mut heard: HashMap<u32, CancellationToken> = HashMap::new();
    let mut watches = JoinSet::new();
    loop {
        let found = tokio::task::spawn_blocking({
            let folder = folder.clone();
            move || sockets(&folder)
        });
        let found = found.await.unwrap_or_default();
        heard.retain(|user, watch| {
            let stays = found.contains_key(user);
            if !stays {
                watch.cancel();
                attribution.unreport(&found_at(&folder, *user).display().to_string());
            }
            stays
        });
        for (user, socket) in found {
            if heard.len() >= USERS_LIMIT || heard.contains_key(&user) {
                continue;
            }
            let cancel = cancel.child_token();
            heard.insert(user, cancel.clone());
            let source = Source { user: Some(user), ..Source::api(Runtime::Podman, socket) };
            watches.spawn(listening::keep::<docker::Api>(Arc::clone(&attribution), source, cancel));
        }
        while watches.try_join_next().is_some() {}
        tokio::select! {
            () = cancel.cancelled() => break,
            () = sleep(LOOK_EVERY) => {}
        }
    }
    while watches.join_next().await.is_some() {}
}

/// Users whose Podman has a socket. Blocks.
fn sockets(folder: &Path) -> HashMap<u32, PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(ENTRIES_LIMIT).flatten();
    let users = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    users.map(|user| (user, found_at(folder, user))).filter(|(_, socket)| socket.exists()).collect()
}

fn found_at(folder: &Path, user: u32) -> PathBuf {
    folder.join(user.to_string()).join("podman/podman.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_users_are_found_by_their_numbers() {
        let folder = std::env::temp_dir().join(format!("cofferdam-users-{}", std::process::id()));
        for name in ["1000", "1001", "nobody"] {
            std::fs::create_dir_all(folder.join(name).join("podman")).unwrap();
        }
        std::fs::write(folder.join("1000/podman/podman.sock"), "").unwrap();
        std::fs::write(folder.join("nobody/podman/podman.sock"), "").unwrap();
        assert_eq!(sockets(&folder).into_keys().collect::<Vec<_>>(), [1000]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(sockets(&folder).is_empty());
    }
}
