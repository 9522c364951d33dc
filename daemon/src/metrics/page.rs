//! Collects values and writes them as Prometheus reads them (text format 0.0.4).

use std::collections::BTreeMap;

use prometheus::{
    TextEncoder,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use super::definitions::Definition;

/// One answer to a scrape, in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Page {
    /// Adds one series. `labels` stand in the order of the definition.
    pub(super) fn add(&mut self, metric: &Definition, labels: &[&str], value: f64) {
        let family = self.families.entry(metric.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(metric.kind);
            family
        });
        let mut series = Metric::from_label(metric.labels.iter().zip(labels).map(pair).collect());
        if metric.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
        family.mut_metric().push(series);
    }

    /// Adds one series with a whole number. Prometheus knows only floats: beyond 2^53 it is rounded.
    #[expect(clippy::cast_precision_loss, reason = "the text format has floats only")]
    pub(super) fn count(&mut self, metric: &Definition, labels: &[&str], value: u64) {
        self.add(metric, labels, value as f64);
    }

    /// The text.
    pub(super) fn text(self) -> prometheus::Result<String> {
        let families: Vec<_> = self.families.into_values().collect();
        TextEncoder::new().encode_to_string(&families)
    }
}

fn pair((name, value): (&&str, &&str)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name((*name).to_owned());
    pair.set_value((*value).to_owned());
    pair
}
