//! How well anomalies are told from what is normal, on a small corpus. docs/anomalies.md has the figures of large ones.

use cofferdam::baseline::anomaly::Settings;
use cofferdam_tests::corpus::{Kind, Operator, Size, evaluate};

#[test]
fn most_attacks_are_noticed_and_few_alerts_are_false() {
    let sum = evaluate(1, Size::SMALL, Settings::default(), Operator::Looks);
    let missed = Kind::ALL.into_iter().filter(|kind| sum.recall(*kind) < 1.0);
    assert!(missed.count() <= 1, "{}\n{:#?}", sum.table(), sum.missed);
    assert!(sum.false_alerts() <= 1.5, "{}\n{:#?}", sum.table(), sum.unexplained);
}

#[test]
fn the_same_seed_is_the_same_corpus() {
    let size = Size { days: 8, projects: 1, attacks: 1 };
    let once = || format!("{:?}", evaluate(7, size, Settings::default(), Operator::Looks));
    assert_eq!(once(), once());
}
