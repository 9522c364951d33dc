//! A history of a test's own.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{Batch, Bounds, History, Store};
use crate::{event::Event, interaction::Edge};

/// A history in a folder that is removed with it.
pub(crate) struct Written {
    pub(crate) history: Arc<History>,
    folder: PathBuf,
}

impl Written {
    /// Of these edges, at the time when each was seen last, and of these events.
    pub(crate) fn new(edges: &[Edge], events: Vec<Event>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("cofferdam-written-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        let (mut store, _) = Store::open(&folder, Bounds { bytes: 8_000_000, days: 30 }).expect("it opens");
        let mut batch = Batch::default();
        for edge in edges {
            batch.add(std::slice::from_ref(edge), edge.last_seen);
        }
        for event in events {
            batch.add_event(event);
        }
        store.write(&batch).expect("it is written");
        let history = History::default();
        history.opened(&store, None);
        Self { history: history.into(), folder }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
