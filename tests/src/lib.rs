//! The harness: a machine of its own for each test, real containers on it, and the daemon that watches them.
//!
//! Nothing of a test touches the machine's own network, iptables or Docker: a [`Node`] is a network and a mount
//! namespace. The kernel and its cgroups are shared with the rest of the machine, as on any host.

pub mod command;

pub mod corpus;

mod bpffs;

mod node;

mod containerd;
mod docker;
mod image;
mod pod;
mod podman;
mod unit;

mod container;

mod namespace;
mod outside;

mod daemon;
mod events;

pub mod edges;

pub mod flood;
pub mod foreign;

pub mod alertmanager;
pub mod prometheus;

pub mod socket;

pub mod leftovers;

pub mod load;

mod long;

pub mod recording;

pub mod scenes;

pub use self::{
    bpffs::private_bpffs,
    container::{Container, Counts, Options, connect_from, counts},
    containerd::Containerd,
    daemon::{Daemon, refusal, sum},
    docker::Docker,
    edges::{check, edge},
    events::Events,
    long::rounds,
    namespace::Namespace,
    node::{Node, built},
    outside::Outside,
    pod::{Network, Pod},
    podman::Podman,
    unit::{Unit, cgroup_root},
};
