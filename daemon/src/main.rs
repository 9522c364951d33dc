//! `cofferdam`: parses arguments, sets up the log, exits with the right code.
#![forbid(unsafe_code)]

use std::{io::Write, process::ExitCode};

use clap::Parser;
use cofferdam::cli::{Cli, log_to_stderr, printable};

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
