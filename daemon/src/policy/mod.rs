//! Policy: who may interact with whom. From a text to what the kernel looks up.
//!
//! ```text
//! document (YAML) -> model -> compile (identities, spans) -> sensor: two slots of maps
//! ```

pub mod model;

pub mod document;

pub mod folder;

pub mod check;
