//! `cofferdam policy explain`: what `cofferdam why` tells, with its arguments by name.

use clap::Args;

use crate::cli::{Client, Failure, why};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Who begins it: its name, its container's name, its project, its DNS name, the beginning of its id, or an address.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// With whom.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Protocol and port: `tcp/5432`, `5432`, `icmp`. Without it: all at which the two were seen.
    #[arg(long, value_name = "PORT", value_parser = why::service)]
    port: Option<why::Service>,
    /// As JSON (docs/api.md, /v1/policy/explain).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    let Arguments { from, to, port, json } = arguments;
    why::answer(client, from, to, port, json)
}
