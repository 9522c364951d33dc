//! How well anomalies are told from what is normal: docs/anomalies.md has the table that this prints.
#![expect(clippy::print_stdout, reason = "its output is the result")]

use clap::Parser;
use cofferdam::baseline::anomaly::Settings;
use cofferdam_tests::corpus::{Operator, Score, Size, evaluate};

/// Drives simulated weeks with labelled attacks through the detector, and says what it noticed.
#[derive(Parser)]
struct Arguments {
    /// First seed.
    #[arg(long, default_value_t = 101)]
    from: u64,
    /// Last seed.
    #[arg(long, default_value_t = 110)]
    to: u64,
    /// Nobody looks at the alerts; else what is of no attack is acknowledged each morning.
    #[arg(long)]
    absent: bool,
    /// Names each alert that no attack explains.
    #[arg(long)]
    explain: bool,
}

fn main() {
    let Arguments { from, to, absent, explain } = Arguments::parse();
    let operator = if absent { Operator::Absent } else { Operator::Looks };
    let mut sum = Score::default();
    for seed in from..=to {
        sum.add(evaluate(seed, Size::WHOLE, Settings::default(), operator));
    }
    println!("{}", sum.table());
    println!("Not noticed:\n");
    for missed in &sum.missed {
        println!("- {missed}");
    }
    if explain {
        println!("\nFalse:\n");
        for alert in &sum.unexplained {
            println!("- {alert}");
        }
    }
}
