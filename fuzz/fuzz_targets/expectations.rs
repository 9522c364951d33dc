//! Text of a file of expectations: what is taken can be tried, and what is not is told in words that are safe to print.
#![no_main]

use std::path::Path;

use cofferdam::{
    config::Policies,
    policy::{Plan, RuleNumbers, Settings, expect, folder::Set},
};
use cofferdam_fuzz::plain;
use libfuzzer_sys::fuzz_target;

const POLICY: &str = "
policy: shop
mode: enforce
rules:
  - {to: {labels: {tier: store}}, allow: [{from: {name: 'shop/*'}, port: tcp/5432}], audit: [{from: any, port: icmp}]}
  - {from: {image: 'api:*'}, allow: [{to: {dns: '*.example.org'}, port: tcp/443}], deny: [{to: {cidr: 192.0.2.0/24}}]}
";

/// Most expectations that are tried: what one costs is the same for all.
const MOST: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match expect::parse(Path::new("shop.test.yaml"), text) {
        Ok(expectations) => {
            let mut set = Set::default();
            set.add_text(Path::new("shop.yaml"), POLICY.to_owned()).expect("a policy that is whole");
            let settings = Settings::from(&Policies::default());
            let plan = Plan::new(set.into_parts().0, settings, &mut RuleNumbers::default());
            let some = &expectations[..expectations.len().min(MOST)];
            let outcomes = expect::run(some, &mut plan.expect("a plan"), &[]).expect("room for all");
            assert_eq!(outcomes.len(), some.len());
            for outcome in outcomes {
                assert!((1..=text.split(['\n', '\r']).count()).contains(&outcome.line), "{outcome:?}");
                serde_json::to_string(&outcome).expect("an outcome becomes JSON");
            }
        }
        Err(problem) => plain(problem.line()),
    }
});
