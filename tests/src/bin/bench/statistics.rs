//! Medians, their intervals, and quantiles.

/// The middle of what was measured; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which so much of all lies, between two values in proportion.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let sorted = sorted(values);
    let at = part * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * (at - below as f64),
        _ => 0.0,
    }
}

/// An interval that holds the true median in 95 of 100 cases at least, whatever the distribution: by the signs of
/// the values around it. With fewer than six values there is none, and all of them are the answer.
pub(crate) fn interval(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    let count = sorted.len();
    // As many as may be left out at each end: P(fewer than that lie below the median) stays within 2.5 %.
    let (mut probability, mut ways, mut out) = (0.0, 0.5_f64.powi(count as i32), 0);
    for index in 0..count / 2 {
        probability += ways;
        if probability > 0.025 {
            break;
        }
        out = index + 1;
        ways *= (count - index) as f64 / (index + 1) as f64;
    }
    // `out` values may be passed over; the last of these is the end of the interval.
    let end = out.saturating_sub(1);
    match (sorted.get(end), sorted.get(count.wrapping_sub(1 + end))) {
        (Some(low), Some(high)) => (*low, *high),
        _ => (0.0, 0.0),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_a_quantile_where_it_should_be() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[0.0, 10.0], 0.99), 9.9);
        assert_eq!((median(&[]), interval(&[])), (0.0, (0.0, 0.0)));
    }

    #[test]
    fn the_interval_leaves_out_what_the_table_of_the_sign_test_says() {
        let ranks = |count: u32| interval(&(1..=count).map(f64::from).collect::<Vec<_>>());
        assert_eq!(ranks(5), (1.0, 5.0));
        assert_eq!(ranks(6), (1.0, 6.0));
        assert_eq!(ranks(9), (2.0, 8.0));
        assert_eq!(ranks(15), (4.0, 12.0));
        assert_eq!(ranks(20), (6.0, 15.0));
    }
}
