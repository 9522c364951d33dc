//! `cofferdam`: parses arguments, sets up the log, exits with the right code.
#![forbid(unsafe_code)]

use std::{io::Write, process::ExitCode};

use clap::Parser;
use cofferdam::cli::{Cli, printable};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.log_level());
    let Err(failure) = cli.execute() else { return ExitCode::SUCCESS };
    if let Some(report) = failure.report() {
        let _ = write!(anstream::stderr(), "{report}");
    }
    if let Some(sentence) = failure.sentence() {
        // Nobody is left to tell where stderr is closed.
        let _ = writeln!(anstream::stderr(), "cofferdam: {}", printable(&sentence));
    }
    ExitCode::from(failure.code())
}

/// `RUST_LOG` decides; `level` where it does not.
fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
