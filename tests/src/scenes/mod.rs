//! Scenes of policies: what is written in `tests/scenes`, who plays in it, and what must come of it.
//!
//! A scene is played three times: by what the daemon would say (`tests/replay`), by real containers
//! (`tests/containers`), and by cgroups and namespaces under other kernels (`tests/kernel`).

mod cells;
mod places;
mod text;

pub mod protocol;

pub mod cast;

pub mod actor;

pub mod matrix;

pub mod ground;

pub use self::{
    cells::{Cell, Service},
    places::Places,
    text::{Scene, all},
};
