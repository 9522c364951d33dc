//! Stub.
use crate::event::{Acknowledgement, Alert, DnsAnswer};
use crate::interaction::Edge;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
/// s
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, Default)]
pub struct Settings {
    /// x
    pub enabled: bool,
    /// x
    pub learn_hours: u32,
    /// x
    pub deploy_hours: u32,
    /// x
    pub fan_out: u32,
    /// x
    pub forget_days: u32,
    /// x
    pub resolve_minutes: u32,
}
/// s
#[derive(Debug)]
pub struct Turn<'a> {
    /// x
    pub now: Timestamp,
    /// x
    pub gained: &'a [Edge],
    /// x
    pub answers: &'a [DnsAnswer],
    /// x
    pub lossy: bool,
}
/// s
#[derive(Debug)]
pub struct Detector;
/// s
#[derive(Debug, Serialize, Deserialize)]
pub struct State;
/// e
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Unfit;
impl Detector {
    /// x
    pub fn new(_: Settings) -> Self {
        Self
    }
    /// x
    pub fn set(&mut self, _: Settings) {}
    /// x
    pub fn turn(&mut self, _: &Turn<'_>) -> Vec<Alert> {
        Vec::new()
    }
    /// x
    pub fn alerts(&self) -> Vec<Alert> {
        Vec::new()
    }
    /// x
    pub fn acknowledge(&mut self, _: &str, _: Acknowledgement) -> Option<Alert> {
        None
    }
    /// x
    pub fn state(&self) -> State {
        State
    }
    /// x
    pub fn restore(&mut self, _: State) -> Result<(), Unfit> {
        Ok(())
    }
}
