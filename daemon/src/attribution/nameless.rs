//! Containers, and what may be one, that nobody told about: to be looked for on disk.

use std::{collections::VecDeque, sync::Arc};

use super::{
    cgroup::{ContainerPlace, Place},
    container::user_of_slice,
};
use crate::event::Runtime;

/// Most that wait to be looked for. What exceeds it has to wait for its runtime's API.
pub(super) const LIMIT: usize = 1_024;

/// One that is looked for.
#[derive(Clone, Debug)]
pub(super) struct Nameless {
    /// Under which key the tables hold it, if it is what it seems.
    pub(super) key: Arc<str>,
    /// Its id by its path.
    pub(super) id: String,
    /// Whether the id is a number, unique by itself. Else somebody chose it, and only `path` tells.
    pub(super) is_id: bool,
    /// Whose it is, as far as its path says.
    pub(super) runtime: Option<Runtime>,
    /// The user whose own runtime made it.
    pub(super) user: Option<u32>,
    /// Its own cgroup.
    pub(super) path: String,
}

impl Nameless {
    /// What is to be looked for when a cgroup was made at `path`; nothing where the path tells all.
    fn of(path: &str, place: &Place<'_>) -> Option<Self> {
        match place {
            // A machine's name is in its path.
            Place::Container(ContainerPlace { runtime: Some(Runtime::Systemd), .. }) | Place::Host => None,
            Place::Container(place) => Some(Self {
                key: place.key(),
                id: place.id.to_owned(),
                is_id: true,
                runtime: place.runtime,
                user: match place.user_slice {
                    Some(slice) => Some(user_of_slice(slice)?),
                    None => None,
                },
                path: place.own.to_owned(),
            }),
            Place::Unclaimed | Place::Unit(_) | Place::UserUnit(..) => {
                let last = path.rsplit('/').next()?;
                // `ctr-web.scope` is container `web`.
                let scope = last.strip_suffix(".scope").and_then(|scope| Some(scope.split_once('-')?.1));
                if !matches!(place, Place::Unclaimed) && scope.is_none() {
                    return None;
                }
                let id = scope.unwrap_or(last).to_owned();
                Some(Self {
                    key: path.into(),
                    id,
                    is_id: false,
                    runtime: None,
                    user: None,
                    path: path.to_owned(),
                })
            }
        }
    }
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Nameless>);

impl Queue {
    /// A cgroup was made, and nobody told who lives there. A container's nested cgroups are no news.
    pub(super) fn made(&mut self, path: &str, place: &Place<'_>) {
        let nested = matches!(place, Place::Container(place) if place.own.len() != path.len());
        if !nested
            && self.0.len() < LIMIT
            && let Some(nameless) = Nameless::of(path, place)
        {
            self.0.push_back(nameless);
        }
    }

    /// Whether any waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that wait.
    pub(super) fn take(&mut self) -> Vec<Nameless> {
        self.0.drain(..).collect()
    }
}
