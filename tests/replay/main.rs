//! What needs no root: the daemon against recorded records (bytes in, JSON lines out), and its configuration.
#![expect(clippy::tests_outside_test_module, reason = "this binary is tests only")]
#![expect(clippy::expect_used, reason = "a test that cannot go on says where and why")]

mod anomalies;
mod commands;
mod config;
mod history;
mod scenes;
mod stream;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use cofferdam::{
    attribution::{Attribution, ContainerFacts, Source},
    event::{Event, Runtime},
    sensor::{clock::Clock, record::Record},
};
use cofferdam_tests::recording;
use jiff::Timestamp;
use proptest::prelude::*;

/// A host that knows the two containers of the recording from Docker.
fn host() -> Attribution {
    let attribution = Attribution::new(PathBuf::from("/nonexistent"));
    for (letter, service) in [("a", "web"), ("b", "db")] {
        let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", service)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let facts = ContainerFacts {
            name: Some(format!("shop-{service}-1")),
            image: Some(format!("shop/{service}:1.2")),
            labels: Some(BTreeMap::from(labels)),
            ..ContainerFacts::new(letter.repeat(64))
        };
        attribution.learn(&Source::api(Runtime::Docker, "docker.sock"), facts);
    }
    attribution
}

fn replay(records: &[Vec<u8>]) -> Vec<Event> {
    let attribution = host();
    let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
    let records = records.iter().filter_map(|bytes| Record::decode(bytes).ok());
    records.zip(1..).map(|(record, seq)| attribution.attribute(&record, &clock, seq)).collect()
}

fn shop() -> Vec<Vec<u8>> {
    recording::read(&recording::fixture("shop.records")).expect("the recording")
}

#[test]
fn the_shop_is_told_in_the_same_words_as_ever() {
    let events = replay(&shop());
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).expect("JSON")).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("shop", lines.join("\n"));
    });
}

#[test]
fn an_event_survives_the_way_through_json() {
    for event in replay(&shop()) {
        let json = serde_json::to_string(&event).expect("JSON");
        assert_eq!(serde_json::from_str::<Event>(&json).expect("an event"), event);
    }
}

proptest! {
    #[test]
    fn a_duration_survives_the_way_through_json_to_its_last_bit(nanoseconds in any::<u64>()) {
        let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
        let json = serde_json::to_string(&seconds).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<f64>(&json).expect("a number"), seconds);
    }

    #[test]
    fn damaged_records_never_stop_the_daemon(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut records = shop();
        for (which, place, value) in damage {
            let record = which.get_mut(&mut records);
            // The kind stays, so that the damage gets beyond decoding.
            let place = 8 + place.index(record.len() - 8);
            record[place] = value;
        }
        let last = cut.get_mut(&mut records);
        last.truncate(cut.index(last.len()));
        for event in replay(&records) {
            serde_json::to_string(&event).expect("JSON");
        }
    }
}
