//! What has happened, on disk: interactions by the minute, denials, alerts.

mod past;

pub use self::past::Past;
